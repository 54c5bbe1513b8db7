//! What Claude Code's own settings allow without a question: to everybody in a room, since the rooms' agents run with them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::config::BotConfig;

/// The settings that an administrator of the machine prescribes.
const MANAGED: &str = "/etc/claude-code/managed-settings.json";

/// What one file of settings allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnaskedCalls {
    /// Rules such as `Bash(npm test:*)`.
    pub rules: Vec<String>,
    /// Folders that count as the working directory.
    pub folders: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClaudeSettings {
    permissions: ClaudePermissions,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaudePermissions {
    allow: Vec<String>,
    additional_directories: Vec<String>,
}

/// The files of settings that every agent runs with.
pub fn files(config: &BotConfig) -> Vec<PathBuf> {
    folder(config).map(|folder| folder.join("settings.json")).into_iter().chain([MANAGED.into()]).collect()
}

/// The CLI's own folder, as agents are started.
pub fn folder(config: &BotConfig) -> Option<PathBuf> {
    let variable = |name: &str| {
        let configured = config.claude.env.get(name).map(Into::into);
        configured.or_else(|| std::env::var_os(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    variable("CLAUDE_CONFIG_DIR").or_else(|| variable("HOME").map(|home| home.join(".claude")))
}

/// The permissions in a file; none if it does not exist. Fails where it cannot be read.
pub fn unasked_calls(file: &Path) -> io::Result<UnaskedCalls> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(UnaskedCalls::default()),
        text => text?,
    };
    let ClaudePermissions { allow, additional_directories } =
        serde_json::from_str::<ClaudeSettings>(&text)?.permissions;
    Ok(UnaskedCalls { rules: allow, folders: additional_directories })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_settings_allow_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings.json");
        assert_eq!(unasked_calls(&file).unwrap(), UnaskedCalls::default(), "no file");
        let of = |text: &str| {
            fs::write(&file, text).unwrap();
            unasked_calls(&file)
        };
        assert_eq!(
            of(r#"{"model": "opus", "permissions": {"deny": ["Read"]}}"#).unwrap(),
            UnaskedCalls::default()
        );
        let found =
            of(r#"{"permissions": {"allow": ["Bash(curl:*)"], "additionalDirectories": ["/srv"]}}"#).unwrap();
        assert_eq!(found, UnaskedCalls { rules: vec!["Bash(curl:*)".into()], folders: vec!["/srv".into()] });
        assert!(of("{").is_err() && of(r#"{"permissions": {"allow": "Bash"}}"#).is_err());
    }

    #[test]
    fn the_agents_own_configuration_names_the_file() {
        let mut config = BotConfig::default();
        config.claude.env.insert("HOME".into(), "/h".into());
        config.claude.env.insert("CLAUDE_CONFIG_DIR".into(), "/c".into());
        assert_eq!(files(&config), [PathBuf::from("/c/settings.json"), MANAGED.into()]);
    }
}
