//! `[matrix]` of `bot.toml`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{AdapterError, AllowedPeople, Secret};

/// The section `[matrix]` of `bot.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct MatrixConfig {
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
    /// Whether to ignore devices that their owner has not signed.
    pub require_verified: bool,
    /// Whether to ignore rooms that are not encrypted, and to send nothing there.
    pub require_encryption: bool,
    /// The rooms it serves; empty for every room to which somebody it hears invites it.
    pub room_ids: Vec<String>,
    /// How people answer permission questions.
    pub approvals: ApprovalMode,
    #[serde(flatten)]
    pub people: AllowedPeople,
    /// One request may take so long; a `/sync` that waits for events has this on top. No key of bot.toml: tests of a homeserver
    /// that hangs would wait long.
    #[serde(skip)]
    pub request_timeout: Duration,
}

/// How people answer permission questions. A reaction is never encrypted, so a homeserver could forge one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalMode {
    /// By a reaction or by a reply in words.
    #[default]
    Reactions,
    /// By a reply in words only.
    Replies,
}

impl Default for MatrixConfig {
    fn default() -> Self {
        Self {
            homeserver: String::new(),
            username: String::new(),
            password: Secret::default(),
            access_token: Secret::default(),
            device_id: String::new(),
            recovery_key: Secret::default(),
            require_verified: true,
            require_encryption: true,
            room_ids: Vec::new(),
            approvals: ApprovalMode::default(),
            people: AllowedPeople::default(),
            request_timeout: Duration::from_secs(30),
        }
    }
}

impl MatrixConfig {
    /// Checks the section without a network; fails with [`AdapterError::Config`] for the first wrong key.
    pub fn check(&self) -> Result<(), AdapterError> {
        self.check_account()?;
        // Fails closed: other bots took an empty list for "everybody", and any member of a room could approve.
        if self.people.is_empty() {
            return wrong(
                "matrix.allowed_users",
                "it is empty, so nobody could talk to the bot; add yourself, like [\"@you:example.org\"].",
            );
        }
        let lists = [
            ("matrix.allowed_users", &self.people.allowed_users),
            ("matrix.approvers", &self.people.approvers),
            ("matrix.operators", &self.people.operators),
        ];
        for (key, list) in lists {
            if let Some(id) = list.iter().find(|id| !id.starts_with('@') || !id.contains(':')) {
                return wrong(
                    key,
                    &format!("`{id}` is not a Matrix id; write it in full, like \"@you:example.org\"."),
                );
            }
        }
        // Not the server part, which ids of room version 12 do not have. <https://spec.matrix.org/v1.16/rooms/v12/>
        match self.room_ids.iter().find(|id| !id.starts_with('!') || !can_be_named(id)) {
            Some(id) => wrong(
                "matrix.room_ids",
                &format!(
                    "`{id}` is not a room id; one begins with `!` (Element: Room settings → Advanced → Internal room ID)."
                ),
            ),
            None => Ok(()),
        }
    }

    fn check_account(&self) -> Result<(), AdapterError> {
        let is_web = ["https://", "http://"]
            .iter()
            .any(|scheme| self.homeserver.len() > scheme.len() && self.homeserver.starts_with(scheme));
        if !is_web {
            let address = "write the homeserver's client address, like \"https://matrix.example.org\".";
            return wrong("matrix.homeserver", address);
        }
        if self.username.is_empty() {
            return wrong("matrix.username", "write the bot's user name, like \"timmy\".");
        }
        match (self.password.is_empty(), self.access_token.is_empty()) {
            (true, true) => {
                wrong("matrix.password", "it is empty; set it, or an `access_token` (docs/matrix.md).")
            }
            _ => Ok(()),
        }
    }
}

fn wrong(key: &'static str, why: &str) -> Result<(), AdapterError> {
    Err(AdapterError::Config { key, why: why.to_owned() })
}

/// Whether a room can have a name. Servers choose the ids of their rooms, and in a name a slash divides a room from its thread: one that
/// calls its room `!ROOM/x:evil.example` would lead into the sessions of another room.
pub(super) fn can_be_named(room: &str) -> bool {
    !room.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> MatrixConfig {
        MatrixConfig {
            homeserver: "https://matrix.example.org".into(),
            username: "timmy".into(),
            password: Secret::new("secret"),
            people: AllowedPeople {
                allowed_users: vec!["@ann:example.org".into()],
                ..AllowedPeople::default()
            },
            ..MatrixConfig::default()
        }
    }

    #[test]
    fn each_wrong_key_is_named_with_what_to_write() {
        sound().check().expect("sound");
        let changes: [fn(&mut MatrixConfig); 9] = [
            |it| it.homeserver.clear(),
            |it| it.homeserver = "matrix.example.org".into(),
            |it| it.username.clear(),
            |it| it.password = Secret::default(),
            |it| it.people = AllowedPeople::default(),
            |it| it.people.allowed_users.push("bob".into()),
            |it| it.people.approvers.push("@bob".into()),
            |it| it.people.operators.push("bob:example.org".into()),
            |it| it.room_ids.push("#room:example.org".into()),
        ];
        let said = changes.map(|change| {
            let mut config = sound();
            change(&mut config);
            config.check().expect_err("wrong").to_string()
        });
        insta::assert_snapshot!(said.join("\n"), @r#"
        `matrix.homeserver` in bot.toml: write the homeserver's client address, like "https://matrix.example.org".
        `matrix.homeserver` in bot.toml: write the homeserver's client address, like "https://matrix.example.org".
        `matrix.username` in bot.toml: write the bot's user name, like "timmy".
        `matrix.password` in bot.toml: it is empty; set it, or an `access_token` (docs/matrix.md).
        `matrix.allowed_users` in bot.toml: it is empty, so nobody could talk to the bot; add yourself, like ["@you:example.org"].
        `matrix.allowed_users` in bot.toml: `bob` is not a Matrix id; write it in full, like "@you:example.org".
        `matrix.approvers` in bot.toml: `@bob` is not a Matrix id; write it in full, like "@you:example.org".
        `matrix.operators` in bot.toml: `bob:example.org` is not a Matrix id; write it in full, like "@you:example.org".
        `matrix.room_ids` in bot.toml: `#room:example.org` is not a room id; one begins with `!` (Element: Room settings → Advanced → Internal room ID).
        "#);
    }
}
