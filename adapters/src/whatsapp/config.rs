//! `[whatsapp]` of `bot.toml`.

use serde::{Deserialize, Serialize};

use crate::{AdapterError, People, Secret};

/// `[whatsapp]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The id of the business phone number (not the number itself).
    pub phone_number_id: String,
    /// The token of a system user.
    pub access_token: Secret,
    /// The app's secret, by which webhooks are known to be Meta's.
    pub app_secret: Secret,
    /// The word that Meta sends when the webhook is registered.
    pub verify_token: Secret,
    /// Who is heard, by business-scoped user id or phone number.
    #[serde(flatten)]
    pub people: People,
    /// The approved template that is sent when a person's 24-hour window is closed; empty: what is to be told is held.
    pub window_template: String,
    /// The Graph API's address.
    pub api_url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            phone_number_id: String::new(),
            access_token: Secret::default(),
            app_secret: Secret::default(),
            verify_token: Secret::default(),
            people: People::default(),
            window_template: String::new(),
            api_url: "https://graph.facebook.com/v23.0".into(),
        }
    }
}

impl Config {
    /// What is wrong in the section, without asking Meta.
    pub fn check(&self) -> Result<(), AdapterError> {
        let wrong = |key, why: &str| Err(AdapterError::Config { key, why: why.to_owned() });
        if self.people.is_empty() {
            return wrong(
                "whatsapp.allowed_users",
                "it is empty, so nobody would be heard; add yourself, like [\"+491701234567\"].",
            );
        }
        Ok(())
    }
}
