//! `[slack]` of `bot.toml`.

use serde::{Deserialize, Serialize};

use crate::{AdapterError, AllowedPeople, Secret};

/// The section `[slack]` of `bot.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SlackConfig {
    /// How Slack reaches the bot.
    pub mode: ConnectionMode,
    /// The bot's token, `xoxb-...`.
    pub bot_token: Secret,
    /// The app's token for Socket Mode, `xapp-...`.
    pub app_token: Secret,
    /// Signs Slack's requests in HTTP mode, so that nobody else's are accepted.
    pub signing_secret: Secret,
    /// The channels it serves; direct messages are always served.
    pub channel_ids: Vec<String>,
    #[serde(flatten)]
    pub people: AllowedPeople,
    /// The Web API's address.
    pub api_url: String,
}

/// How Slack reaches the bot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionMode {
    /// Socket Mode: a connection from here to Slack.
    #[default]
    Socket,
    /// Requests from Slack to `http.webhook_listen`.
    Http,
}

impl Default for SlackConfig {
    fn default() -> Self {
        Self {
            mode: ConnectionMode::default(),
            bot_token: Secret::default(),
            app_token: Secret::default(),
            signing_secret: Secret::default(),
            channel_ids: Vec::new(),
            people: AllowedPeople::default(),
            api_url: "https://slack.com/api".into(),
        }
    }
}

impl SlackConfig {
    /// Checks the section without a network; fails with [`AdapterError::Config`] and a remedy for the first wrong key.
    pub fn check(&self) -> Result<(), AdapterError> {
        self.check_tokens()?;
        // Fails closed: an empty list means nobody, never everybody in the workspace.
        if self.people.is_empty() {
            return wrong(
                "slack.allowed_users",
                "it is empty, so nobody could talk to the bot; add your member id, like [\"U0123ABCD\"] (your profile in Slack, the \
                 three dots, Copy member ID).",
            );
        }
        for (key, ids) in self.id_lists() {
            if let Some(odd) = ids.iter().find(|id| !is_id(id)) {
                let why = format!(
                    "`{odd}` is not a Slack id; ids are capital letters and digits, like `U0123ABCD`, not names."
                );
                return wrong(key, &why);
            }
        }
        if !self.api_url.starts_with("https://") && !self.api_url.starts_with("http://") {
            return wrong(
                "slack.api_url",
                "it is no address; leave it out, or write one like \"https://slack.com/api\".",
            );
        }
        Ok(())
    }

    fn check_tokens(&self) -> Result<(), AdapterError> {
        let (bot, app) = (self.bot_token.reveal(), self.app_token.reveal());
        // The second form is a bot token with rotation: <https://docs.slack.dev/authentication/using-token-rotation>
        if !bot.starts_with("xoxb-") && !bot.starts_with("xoxe.xoxb-") {
            return wrong(
                "slack.bot_token",
                "it must be the Bot User OAuth Token, which begins with xoxb-; it is under OAuth & Permissions of the app at \
                 https://api.slack.com/apps.",
            );
        }
        if self.mode == ConnectionMode::Socket && !app.starts_with("xapp-") {
            return wrong(
                "slack.app_token",
                "Socket Mode needs the app-level token, which begins with xapp-; make one under Basic Information, App-Level \
                 Tokens, with the scope `connections:write`.",
            );
        }
        if self.mode == ConnectionMode::Http && self.signing_secret.is_empty() {
            return wrong(
                "slack.signing_secret",
                "mode \"http\" needs it, or anybody could send messages to the bot; it is under Basic Information, App Credentials.",
            );
        }
        Ok(())
    }

    fn id_lists(&self) -> [(&'static str, &[String]); 4] {
        [
            ("slack.channel_ids", &self.channel_ids),
            ("slack.allowed_users", &self.people.allowed_users),
            ("slack.approvers", &self.people.approvers),
            ("slack.operators", &self.people.operators),
        ]
    }
}

fn wrong(key: &'static str, why: &str) -> Result<(), AdapterError> {
    Err(AdapterError::Config { key, why: why.to_owned() })
}

// Ids are opaque but always of this alphabet, and people often write a name instead.
// <https://docs.slack.dev/reference/objects/conversation-object>
fn is_id(id: &str) -> bool {
    id.len() > 1 && id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> SlackConfig {
        SlackConfig {
            bot_token: Secret::new("xoxb-1"),
            app_token: Secret::new("xapp-1"),
            people: AllowedPeople { allowed_users: vec!["U1".into()], ..AllowedPeople::default() },
            ..SlackConfig::default()
        }
    }

    fn key_of(change: impl FnOnce(&mut SlackConfig)) -> &'static str {
        let mut config = good();
        change(&mut config);
        match config.check() {
            Err(AdapterError::Config { key, why }) => {
                assert!(why.ends_with('.') && !why.contains("xox1"), "{why}");
                key
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_mistake_names_its_key() {
        good().check().unwrap();
        assert_eq!(key_of(|c| c.bot_token = Secret::default()), "slack.bot_token");
        assert_eq!(key_of(|c| c.bot_token = Secret::new("xapp-1")), "slack.bot_token");
        assert_eq!(key_of(|c| c.app_token = Secret::new("xoxb-1")), "slack.app_token");
        assert_eq!(key_of(|c| c.mode = ConnectionMode::Http), "slack.signing_secret");
        assert_eq!(key_of(|c| c.people = AllowedPeople::default()), "slack.allowed_users");
        assert_eq!(key_of(|c| c.people.operators = vec!["@ann".into()]), "slack.operators");
        assert_eq!(key_of(|c| c.channel_ids = vec!["#general".into()]), "slack.channel_ids");
        assert_eq!(key_of(|c| c.api_url = "slack.com".into()), "slack.api_url");
    }
}
