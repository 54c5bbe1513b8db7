//! The app's manifest, from which Slack makes the app: <https://docs.slack.dev/reference/app-manifest>.

use serde_json::{Value, json};

use crate::Identity;

/// The bot token's scopes: exactly the ones in use, so that an admin who approves the app sees no others.
pub const SCOPES: &[&str] = &[
    "app_mentions:read", // event app_mention
    "channels:history",  // event message.channels, threads there, and whether the bot is in a channel
    "channels:read",     // conversations.members: whether somebody in a channel may answer a question
    "chat:write",        // chat.postMessage, chat.update, chat.postEphemeral
    "commands",          // slash commands
    "files:read",        // files that people send, and files.info
    "files:write",       // files.getUploadURLExternal, files.completeUploadExternal
    "groups:history",    // event message.groups, and threads there
    "groups:read",       // conversations.members of a private channel
    "im:history",        // event message.im, and threads there
    "im:write",          // conversations.open: a question to a person directly
    "mpim:history",      // event message.mpim, and threads there
    "reactions:write",   // reactions.add, reactions.remove
    "users:read",        // users.info, for people's names
];

/// The scopes without which the bot does not start. Without the others only one kind of conversation, or people's files, are
/// missing, and an app that was made by an older version has none of them.
#[cfg(feature = "slack")]
pub const NEEDED_SCOPES: &[&str] = &[
    "app_mentions:read",
    "channels:history",
    "chat:write",
    "commands",
    "files:write",
    "groups:history",
    "im:history",
    "reactions:write",
    "users:read",
];

/// The events the app subscribes to.
pub const EVENTS: &[&str] = &[
    "app_mention",
    "app_uninstalled",
    "message.channels",
    "message.groups",
    "message.im",
    "message.mpim",
    "tokens_revoked",
];

const NAME_MAX: usize = 35;
const DESCRIPTION: &str = "A team of coding agents on a git project, driven from chat.";

/// The manifest as JSON: Socket Mode, or HTTP with the webhooks below `url`, the public address of `http.webhook_listen`.
pub fn manifest(identity: &Identity, url: Option<&str>) -> String {
    let url = url.map(|url| url.trim_end_matches('/'));
    let mut events = json!({ "bot_events": EVENTS });
    let mut interactivity = json!({ "is_enabled": true });
    if let Some(url) = url {
        events["request_url"] = format!("{url}/webhook/slack").into();
        interactivity["request_url"] = format!("{url}/webhook/slack/interactive").into();
    }
    let name = app_name(&identity.display_name);
    let manifest = json!({
        "display_information": { "name": name, "description": DESCRIPTION },
        "features": {
            "app_home": {
                "home_tab_enabled": false,
                "messages_tab_enabled": true,
                "messages_tab_read_only_enabled": false,
            },
            "bot_user": { "display_name": name, "always_online": true },
            "slash_commands": commands(identity, url),
        },
        "oauth_config": { "scopes": { "bot": SCOPES } },
        "settings": {
            "event_subscriptions": events,
            "interactivity": interactivity,
            "org_deploy_enabled": false,
            "socket_mode_enabled": url.is_none(),
            // Rotated tokens expire after 12 hours, and the bot has nowhere to store new ones.
            "token_rotation_enabled": false,
        },
    });
    format!("{manifest:#}\n")
}

// `/storkit COMMAND` for everything, and `/storkit-NAME` for completion. All carry the name: where two apps have the same
// command, Slack calls only the one installed last.
fn commands(identity: &Identity, url: Option<&str>) -> Vec<Value> {
    let all =
        ("/storkit".to_owned(), "Any command of the bot; `help` lists them".to_owned(), "help".to_owned());
    let each = identity
        .commands
        .iter()
        .map(|command| (format!("/storkit-{}", command.name), command.summary.clone(), command.args.clone()));
    let command = |(command, description, usage): (String, String, String)| {
        // Only with this does Slack send people, channels and links as `<@U1>`; without it a name could be anybody's.
        let mut entry = json!({ "command": command, "description": description, "should_escape": true });
        if !usage.is_empty() {
            entry["usage_hint"] = usage.into();
        }
        if let Some(url) = url {
            entry["url"] = format!("{url}/webhook/slack/command").into();
        }
        entry
    };
    std::iter::once(all).chain(each).map(command).collect()
}

fn app_name(display_name: &str) -> String {
    let allowed = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '\'');
    let name: String = display_name.chars().filter(allowed).take(NAME_MAX).collect();
    match name.trim() {
        "" => "storkit".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CommandInfo;

    fn identity() -> Identity {
        let command = |name: &str, args: &str| CommandInfo {
            name: name.into(),
            args: args.into(),
            summary: format!("Does {name}"),
        };
        Identity {
            display_name: "Timmy 🤖".into(),
            prefixes: vec!["!".into()],
            commands: vec![command("status", ""), command("htop", "[5m|stop]")],
        }
    }

    #[test]
    fn every_command_is_a_slash_command_and_socket_mode_needs_no_address() {
        let manifest: Value = serde_json::from_str(&manifest(&identity(), None)).unwrap();
        insta::assert_snapshot!(format!("{:#}", manifest["features"]), @r#"
        {
          "app_home": {
            "home_tab_enabled": false,
            "messages_tab_enabled": true,
            "messages_tab_read_only_enabled": false
          },
          "bot_user": {
            "always_online": true,
            "display_name": "Timmy"
          },
          "slash_commands": [
            {
              "command": "/storkit",
              "description": "Any command of the bot; `help` lists them",
              "should_escape": true,
              "usage_hint": "help"
            },
            {
              "command": "/storkit-status",
              "description": "Does status",
              "should_escape": true
            },
            {
              "command": "/storkit-htop",
              "description": "Does htop",
              "should_escape": true,
              "usage_hint": "[5m|stop]"
            }
          ]
        }
        "#);
        assert_eq!(manifest["settings"]["socket_mode_enabled"], true);
        assert!(!manifest.to_string().contains("url"));
    }

    #[test]
    fn http_mode_names_every_address() {
        let manifest: Value =
            serde_json::from_str(&manifest(&identity(), Some("https://bot.example.org/"))).unwrap();
        assert_eq!(
            manifest["settings"]["event_subscriptions"]["request_url"],
            "https://bot.example.org/webhook/slack"
        );
        let commands = manifest["features"]["slash_commands"].as_array().unwrap();
        assert!(
            commands.iter().all(|command| command["url"] == "https://bot.example.org/webhook/slack/command")
        );
        assert_eq!(manifest["settings"]["socket_mode_enabled"], false);
    }

    #[test]
    fn a_name_of_nothing_but_emoji_is_replaced() {
        assert_eq!(app_name("🤖"), "storkit");
        assert_eq!(app_name(&"x".repeat(60)).len(), 35);
    }
}
