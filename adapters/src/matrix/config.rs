//! `[matrix]` of `bot.toml`.

use serde::{Deserialize, Serialize};

use crate::{AdapterError, People, Secret};

/// `[matrix]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The homeserver's client address.
    pub homeserver: String,
    /// The bot's user name, or its whole id.
    pub username: String,
    /// Its password; or else an access token.
    pub password: Secret,
    /// An access token of a device made for the bot; wants `device_id`.
    pub access_token: Secret,
    /// The device that `access_token` belongs to.
    pub device_id: String,
    /// The recovery key of the bot's account, where it has one.
    pub recovery_key: Secret,
    /// Whether devices that their owner has not signed are unheard.
    pub require_verified: bool,
    /// The rooms it serves.
    pub room_ids: Vec<String>,
    /// By what permission questions are answered.
    pub approvals: Approvals,
    /// Who is heard.
    #[serde(flatten)]
    pub people: People,
}

/// By what permission questions are answered. A reaction is never encrypted, so a homeserver could forge one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approvals {
    /// Reactions and words.
    #[default]
    Reactions,
    /// Words only.
    Replies,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            homeserver: String::new(),
            username: String::new(),
            password: Secret::default(),
            access_token: Secret::default(),
            device_id: String::new(),
            recovery_key: Secret::default(),
            require_verified: true,
            room_ids: Vec::new(),
            approvals: Approvals::default(),
            people: People::default(),
        }
    }
}

impl Config {
    /// What is wrong in the section, without asking the homeserver.
    pub fn check(&self) -> Result<(), AdapterError> {
        let wrong = |key, why: &str| Err(AdapterError::Config { key, why: why.to_owned() });
        if self.people.is_empty() {
            return wrong(
                "matrix.allowed_users",
                "it is empty, so nobody would be heard; add yourself, like [\"@you:example.org\"].",
            );
        }
        Ok(())
    }
}
