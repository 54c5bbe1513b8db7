//! The texts that the adapter itself writes, to people and to the operator.

#![cfg_attr(not(feature = "slack"), allow(dead_code))]

#[cfg(feature = "slack")]
use crate::slack::sent_files::AbsentFile;

/// To somebody who is not on the allow-list and presses a button or calls a slash command; only they see it.
pub fn stranger(id: &str) -> String {
    format!(
        "You are not on my allow-list, so I ignore your messages. Ask the person who runs me to add `{id}` to `slack.allowed_users`."
    )
}

/// To somebody who calls a slash command in a channel that is not served; only they see it.
pub fn not_served(channel: &str) -> String {
    format!(
        "I do not serve this channel. The person who runs me can add `{channel}` to `slack.channel_ids`; a direct message to me always works."
    )
}

/// The line below a question whose buttons Slack does not show.
pub fn type_one_of(labels: &[&str]) -> String {
    format!("\nAnswer with `{}`.", labels.join("` or `"))
}

/// A message inside one that is quoted.
pub fn forwarded(text: &str) -> String {
    format!("[Forwarded: {text}]")
}

/// A file of a message that is quoted.
pub fn file_in_thread(name: &str) -> String {
    format!("[With a file that is not passed on: {name}]")
}

/// Why a file does not arrive; the end of a sentence, as are those below.
#[cfg(feature = "slack")]
pub fn absent_file(why: AbsentFile) -> &'static str {
    match why {
        AbsentFile::Deleted => "it is not in Slack any more",
        AbsentFile::HiddenByLimit => "Slack hides it, because it is older than this workspace's plan shows",
        AbsentFile::External => "it is a link to another service, and I fetch files from Slack only",
        AbsentFile::AccessDenied => {
            "Slack does not let me see it; send it again in this conversation, or upload a copy"
        }
    }
}

pub fn too_large(max: u64) -> String {
    format!("it is larger than {} MB", max >> 20)
}

/// Slack answers with its login page.
pub const FILES_NEED_SCOPE: &str = "this Slack app lacks the scope `files:read`; whoever runs me adds it at https://api.slack.com/apps under OAuth & \
     Permissions, Scopes, Bot Token Scopes, and presses Reinstall to Workspace";

/// The token must not go to another host.
pub const FOREIGN_ADDRESS: &str = "its address is not Slack's";

/// One redirect follows another.
pub const ENDLESS_REDIRECTS: &str = "Slack sends me in a circle for it";

/// For `status`: the bot is not a member of channels that it is to serve.
pub fn not_in_channels(channels: &[String], name: &str) -> String {
    let list = channels.join("`, `");
    format!("I am not in `{list}`, so I receive nothing there; type `/invite @{name}` in it.")
}

/// For `status`: Slack counts more connections to this app than this process has.
pub fn second_instance(connections: u64, ours: u64) -> String {
    format!(
        "Slack counts {connections} connections to this app, of which {ours} is mine. Another program uses the same app and gets \
         part of the messages; stop it, or give it an app of its own."
    )
}

/// What to do about missing scopes.
pub fn missing_scopes(scopes: &str) -> String {
    format!(
        "it lacks `{scopes}`; at https://api.slack.com/apps open the app, add that under OAuth & Permissions, Scopes, Bot Token \
         Scopes, and press Reinstall to Workspace."
    )
}

/// What to do about a bot token that Slack refuses.
pub fn bot_token(code: &str) -> String {
    format!(
        "Slack refuses it (`{code}`); copy the Bot User OAuth Token (xoxb-...) from OAuth & Permissions of the app at \
         https://api.slack.com/apps."
    )
}

/// What to do about an app token that Slack refuses.
pub fn app_token(code: &str) -> String {
    format!(
        "Slack refuses it (`{code}`); make one under Basic Information, App-Level Tokens, with the scope `connections:write` \
         (xapp-...)."
    )
}

/// The bot token stopped working while the bot ran.
pub fn token_gone(code: &str) -> String {
    format!(
        "Slack no longer takes `slack.bot_token` (`{code}`); reinstall the app and put the new token into bot.toml."
    )
}

/// Why the bot cannot write in a channel, and what to do; `None` for a code that says nothing about that.
pub fn cannot_write(channel: &str, code: &str) -> Option<String> {
    Some(match code {
        "not_in_channel" | "channel_not_found" | "user_not_in_channel" => format!(
            "Slack does not let me into `{channel}` (`{code}`); invite me there with `/invite`, and check `slack.channel_ids`."
        ),
        "is_archived" => archived(channel),
        "restricted_action"
        | "restricted_action_read_only_channel"
        | "restricted_action_thread_only_channel"
        | "restricted_action_non_threadable_channel"
        | "restricted_action_thread_locked"
        | "no_permission" => format!(
            "I am not allowed to write in `{channel}` (`{code}`); let this app write there in the channel's settings (posting permissions), \
             or ask an admin of the workspace."
        ),
        _ => return None,
    })
}

/// A channel in which nobody can write.
pub fn archived(channel: &str) -> String {
    format!(
        "`{channel}` is archived (`is_archived`), so nobody can write there; unarchive it, or take it out of `slack.channel_ids`."
    )
}

/// Socket Mode was switched off in the app.
pub const LINK_DISABLED: &str = "Socket Mode is switched off in the app; switch it on under Settings, Socket Mode, at https://api.slack.com/apps.";
