//! A value that can be replaced while others read it.

use std::sync::{Arc, PoisonError, RwLock};

/// The current value of something that is replaced as a whole. Readers keep the one they took.
#[derive(Debug, Default)]
pub struct CurrentValue<T>(RwLock<Arc<T>>);

impl<T> CurrentValue<T> {
    /// Begins with this value.
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The value now.
    pub fn get(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}
