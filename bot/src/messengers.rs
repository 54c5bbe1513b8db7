//! The messengers this bot is connected to, with their health.

use std::sync::Arc;

use adapters::{Adapter, AdapterHealth, HealthSnapshot};

/// Every messenger of one bot. Cheap to clone.
#[derive(Clone)]
pub struct ConnectedMessengers(Arc<[(Arc<dyn Adapter>, Arc<AdapterHealth>)]>);

impl ConnectedMessengers {
    /// These messengers.
    pub fn new(messengers: impl IntoIterator<Item = (Arc<dyn Adapter>, Arc<AdapterHealth>)>) -> Self {
        Self(messengers.into_iter().collect())
    }

    /// The messenger of this name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Adapter>> {
        self.0.iter().map(|(adapter, _)| adapter).find(|adapter| adapter.name() == name).cloned()
    }

    /// The health of each.
    pub fn health(&self) -> Vec<HealthSnapshot> {
        self.0.iter().map(|(_, health)| health.snapshot()).collect()
    }
}
