//! The settings in effect: replaced as a whole while others read them.

use std::{ops::Deref, sync::Arc};

use parking_lot::RwLock;

use super::{BotConfig, LoadedConfig, People, access::AccessTable};

/// The settings and the people they allow. Readers hold the version they took.
pub struct LiveSettings {
    loaded: RwLock<Arc<LoadedConfig>>,
    access: RwLock<Arc<AccessTable>>,
}

/// The settings at one moment.
pub struct CurrentSettings(Arc<LoadedConfig>);

impl Deref for CurrentSettings {
    type Target = BotConfig;

    fn deref(&self) -> &BotConfig {
        &self.0.config
    }
}

impl LiveSettings {
    pub fn new(loaded: LoadedConfig, access: AccessTable) -> Self {
        Self { loaded: RwLock::new(Arc::new(loaded)), access: RwLock::new(Arc::new(access)) }
    }

    pub fn config(&self) -> CurrentSettings {
        CurrentSettings(self.loaded())
    }

    /// The settings now, with the environment variables that went into them.
    pub fn loaded(&self) -> Arc<LoadedConfig> {
        self.loaded.read().clone()
    }

    /// The people of `[[person]]`, now.
    pub fn people(&self) -> People {
        self.loaded().people.clone()
    }

    /// Environment variables that hold the bot's secrets; agents do not get them.
    pub fn secret_env(&self) -> Vec<String> {
        self.loaded().secret_env.clone()
    }

    /// Who may do what, now.
    pub fn access(&self) -> Arc<AccessTable> {
        self.access.read().clone()
    }

    pub fn replace(&self, loaded: LoadedConfig, access: AccessTable) {
        // People first: between the two writes nobody acts on a right that the new settings take away.
        *self.access.write() = Arc::new(access);
        *self.loaded.write() = Arc::new(loaded);
    }
}
