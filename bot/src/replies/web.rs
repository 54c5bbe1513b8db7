//! What the web page's server says, and what is said about it in rooms.

use std::time::SystemTime;

use adapters::markdown::inert;
use settings::duration::human;

use super::visible::visible_line;
use crate::{
    store::WebSession,
    web_sessions::{LINK_LASTS, SignInLink, SignInRefused},
};

/// The title of everybody's room.
pub const TEAM_ROOM: &str = "Everybody";

pub const WEB_SESSION_ENDED: &str = "Your session has ended. Send `web` to the bot in a direct message, or run `storkit web`, and open the link.";
pub const WEB_NOT_ALLOWED: &str = "You are on no list of people in bot.toml any more, so this page shows you nothing. Ask whoever runs this storkit.";

/// The title of a person's own room of this number.
pub fn own_room(number: u32, is_new: bool) -> String {
    match number {
        1 => "Me and the bot".into(),
        _ if is_new => "New chat".into(),
        _ => format!("Chat {number}"),
    }
}

/// Somebody could not sign in.
pub fn sign_in_refused(why: SignInRefused) -> &'static str {
    match why {
        SignInRefused::NotValid => {
            "This link or code was used already, is older than 10 minutes, or storkit was restarted since. Ask for a new one: send \
             `web` to the bot in a direct message, or run `storkit web`."
        }
        SignInRefused::TooManyTries => {
            "Too many wrong codes were tried since this one was made. Open its link instead, or ask for a new one."
        }
        SignInRefused::NotStored => "The session cannot be stored. storkit's log says why.",
    }
}

/// The page of a storkit that was built without it.
pub const WEB_NOT_BUILT: &str =
    "This storkit was built without its web page. `script/web` builds the page; then build storkit again.";

pub const WEB_FAILED: &str = "That did not work. storkit's log says why.";
/// Files of a message that were uploaded too long ago, or before a restart.
pub const WEB_FILES_GONE: &str = "storkit does not have these files any more. Send them again.";

pub const WEB_UPLOADS_BUSY: &str = "Other files are being uploaded. Try again in a moment.";

/// A file that is not taken; why, as the end of a sentence.
pub fn upload_refused(name: &str, why: &str) -> String {
    format!("“{}” was not uploaded: {why}.", visible_line(name, 60))
}

pub const WEB_NOT_YOUR_ROOM: &str = "That room is not yours.";
pub const WEB_STOPPING: &str = "storkit is stopping.";

pub const NO_WEB_PAGE: &str = "There is no web page: `[web] listen` in bot.toml is empty. Write an address like \"127.0.0.1:3003\" and restart me.";

pub const WEB_ASK_ALONE: &str = "The link would sign in whoever opens it first, and here others read along. Send me `web` in a direct message.";

/// A link that signs one browser in.
pub fn web_link(address: &str, link: &SignInLink) -> String {
    let minutes = LINK_LASTS.as_secs() / 60;
    let SignInLink { token, code } = link;
    let reach = match address.starts_with("http://") {
        true => "\n\nThat address is this machine's alone; `docs/web.md` says how a phone reaches it.",
        false => "",
    };
    format!(
        "Open this in the browser that should be signed in as you. It works once, within {minutes} minutes; give it to nobody.\n\n\
         <{address}/#l={token}>\n\n\
         Or type the code `{code}` at <{address}/login>.{reach}"
    )
}

/// The browsers that are signed in as somebody.
pub fn web_sessions(sessions: &[WebSession], now: SystemTime) -> String {
    if sessions.is_empty() {
        return "No browser is signed in as you. `web` gives you a link.".into();
    }
    let age = |at: SystemTime| human(now.duration_since(at).unwrap_or_default());
    let line = |it: &WebSession| {
        format!(
            "- `{}` {}, signed in {} ago, last used {} ago",
            it.number,
            inert(&it.browser),
            age(it.created),
            age(it.used)
        )
    };
    let lines: Vec<String> = sessions.iter().map(line).collect();
    format!(
        "Signed in as you:\n{}\n\n`web revoke N` signs one of them out, `web revoke all` every one.",
        lines.join("\n")
    )
}

pub fn web_revoke_what() -> String {
    "Write `web`, `web sessions`, `web revoke N` with a number of that list, or `web revoke all`.".into()
}

pub fn no_web_session(number: i64) -> String {
    format!("You have no session {number}. `web sessions` lists those that you have.")
}

pub fn web_sessions_ended(count: usize) -> String {
    match count {
        0 => "No browser was signed in as you.".into(),
        1 => "That browser is signed out.".into(),
        count => format!("{count} browsers are signed out."),
    }
}
