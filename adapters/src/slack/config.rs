//! `[slack]` of `bot.toml`.

use serde::{Deserialize, Serialize};

use crate::{AdapterError, People, Secret};

/// `[slack]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// How Slack reaches the bot.
    pub mode: Mode,
    /// The bot's token, `xoxb-...`.
    pub bot_token: Secret,
    /// The app's token for Socket Mode, `xapp-...`.
    pub app_token: Secret,
    /// By which requests of the HTTP mode are known to be Slack's.
    pub signing_secret: Secret,
    /// The channels it serves; direct messages are always served.
    pub channel_ids: Vec<String>,
    /// Who is heard.
    #[serde(flatten)]
    pub people: People,
    /// The Web API's address.
    pub api_url: String,
}

/// How Slack reaches the bot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Socket Mode: a connection from here to Slack.
    #[default]
    Socket,
    /// Requests from Slack to `http.webhook_listen`.
    Http,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            bot_token: Secret::default(),
            app_token: Secret::default(),
            signing_secret: Secret::default(),
            channel_ids: Vec::new(),
            people: People::default(),
            api_url: "https://slack.com/api".into(),
        }
    }
}

impl Config {
    /// What is wrong in the section, without asking Slack.
    pub fn check(&self) -> Result<(), AdapterError> {
        let wrong = |key, why: &str| Err(AdapterError::Config { key, why: why.to_owned() });
        if self.people.is_empty() {
            return wrong(
                "slack.allowed_users",
                "it is empty, so nobody would be heard; add your member id, like [\"U0123ABCD\"].",
            );
        }
        Ok(())
    }
}
