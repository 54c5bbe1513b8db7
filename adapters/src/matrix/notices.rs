//! The texts that the adapter itself writes into a room.

use crate::text::markdown::code_span;

/// An encrypted message whose key never came.
pub(super) const UNDECRYPTABLE: &str = "I could not decrypt your message: its key did not reach me. Please send it again. If that does not \
     help, leave the app open for a minute, or start a new conversation key with `/discardsession` in Element.";

/// A message of a device that its owner has not signed. The device cannot read encrypted words of the bot, so this one is plain.
pub(super) const UNSIGNED_DEVICE: &str = "I ignore this device, because you have not verified it. Verify it once in your app (Element: \
     Settings → Sessions → Verify session, or Settings → Encryption), then send your message again. This notice is not \
     encrypted, since your device could not read it otherwise.";

/// For an encrypted message whose key the sender's app withholds from the bot.
pub(super) const WITHHELD: &str = "I could not decrypt your message: your app does not give me its key, probably because it does not trust my \
     device. Verify me, or allow unverified devices in your app's security settings, and send it again.";

/// A plain message where all is encrypted: the homeserver itself could have written it.
pub(super) const NOT_ENCRYPTED: &str = "I do not act on a message that is not encrypted in an encrypted room. Please send it again from an app that encrypts.";

/// In a room without encryption, where the operator requires it.
pub(super) const PLAIN_ROOM: &str = "I ignore this room, because it is not encrypted: the homeserver could read everything here, and write in \
     your name. Switch encryption on in the room's settings. The operator of this bot can allow such rooms with `require_encryption = false`.";

/// A reaction to a question where `approvals` are by words.
pub(super) const WANTS_WORDS: &str = "A reaction does not answer this question: reactions are not encrypted, and the operator of this bot wants \
     answers that are (`approvals = \"replies\"` in bot.toml). Reply to it with yes or no.";

/// In place of a quoted message, as are those below.
pub(super) const QUOTED_UNREADABLE: &str =
    "(I could not read this message: I do not have its key, or do not trust its device.)";
pub(super) const QUOTED_DELETED: &str = "(This message was deleted.)";

/// The end of a sentence about a file that did not arrive, as are those below.
pub(super) const FILE_WITHOUT_ADDRESS: &str = "its message does not say where it is";
pub(super) const FILE_GONE: &str = "the homeserver does not have it";
pub(super) const FILE_DAMAGED: &str = "it could not be decrypted, or was changed on its way";
pub(super) const FILE_NOT_ENCRYPTED: &str =
    "it is not encrypted although its message is, so the homeserver could have changed it";

pub(super) fn file_too_large(max: u64) -> String {
    format!("it is larger than {} MB", max >> 20)
}

pub(super) fn file_refused(status: u16) -> String {
    format!("the homeserver does not give it to me ({status})")
}

/// A file in a quoted message.
pub(super) fn quoted_file(name: &str) -> String {
    format!("(a file: {name})")
}

/// The emoji of a verification, for the room in which it was requested.
pub(super) fn emoji(shown: &str) -> String {
    format!("My emoji are: {shown}. Confirm in your app only if yours are the same.")
}

/// The meaning of each choice's emoji, shown below the message.
pub(super) fn legend(choices: &[(String, String)]) -> String {
    let entries: Vec<_> = choices.iter().map(|(emoji, label)| format!("{emoji} {label}")).collect();
    entries.join(" · ")
}

/// For the operator: a room that is ignored.
pub(super) fn not_encrypted(room: &str) -> String {
    format!(
        "the room {} is not encrypted, so the bot ignores it; switch encryption on there, or set `matrix.require_encryption = false`",
        code_span(room)
    )
}

/// The bot is not in a room in which it is to write.
pub(super) fn not_a_member(room: &str, me: &str, banned: bool) -> String {
    let (room, me) = (code_span(room), code_span(me));
    match banned {
        true => format!("I am banned from the room {room}; lift the ban of {me} there, and invite me again"),
        false => format!("I am not in the room {room}; invite {me} there"),
    }
}

/// The room does not let the bot write.
pub(super) fn may_not_write(room: &str, me: &str, why: &str) -> String {
    format!(
        "I may not write in the room {} ({why}); raise the power level of {} there, or lower the one that messages need",
        code_span(room),
        code_span(me)
    )
}

/// For the operator: somebody removed the bot from a room.
pub(super) fn removed(room: &str, me: &str, by: &str) -> String {
    format!(
        "{} removed me from the room {}; invite {} there again, or take the room out of bot.toml",
        code_span(by),
        code_span(room),
        code_span(me)
    )
}

/// A room of `matrix.room_ids` that the bot is not in and cannot join.
pub(super) fn cannot_join(room: &str, why: &str, me: &str) -> String {
    format!(
        "the room {} of `matrix.room_ids` cannot be joined ({why}); invite {} there, or take it out of bot.toml",
        code_span(room),
        code_span(me)
    )
}

/// For the operator: an invitation that cannot be followed.
pub(super) fn cannot_follow_invitation(room: &str, by: &str, why: &str, over: bool) -> String {
    let (room, by) = (code_span(room), code_span(by));
    match over {
        false => format!("{by} invited me to the room {room}, which I cannot join ({why}); I keep trying"),
        true => format!(
            "I gave up joining the room {room} to which {by} invited me ({why}); invite me again once that is solved"
        ),
    }
}

/// For the operator: a room was upgraded, and the bot cannot follow.
pub(super) fn cannot_follow_upgrade(old: &str, new: &str, why: &str, me: &str) -> String {
    format!(
        "the room {} was upgraded to {}, which I cannot join ({why}); invite {} there, and I go on there",
        code_span(old),
        code_span(new),
        code_span(me)
    )
}

/// Why a replacement is not followed yet although the bot is in it.
pub(super) const REPLACEMENT_NOT_ENCRYPTED: &str =
    "it is not encrypted, and the old room is: switch encryption on there";

/// For the operator: a room was closed in favour of one that does not claim to replace it.
pub(super) fn not_its_replacement(old: &str, new: &str) -> String {
    format!(
        "the room {} was closed in favour of {}, which is not made as its replacement, so I do not follow; upgrade the room with your app, or list the new one in `matrix.room_ids`",
        code_span(old),
        code_span(new)
    )
}

/// For the operator: `room_ids` has the id of a room that was replaced.
pub(super) fn write_new_id(old: &str, new: &str) -> String {
    format!(
        "the room {} of `matrix.room_ids` was upgraded to {}, where I go on; write the new id there (other entries of bot.toml may keep the old one)",
        code_span(old),
        code_span(new)
    )
}
