//! Reads a person's act from an event's JSON. Unknown or malformed events are ignored, never an error.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

/// The fields that all events have.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct EventFields {
    pub event_id: String,
    pub sender: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Milliseconds since 1970, by the sender's homeserver.
    #[serde(default)]
    pub origin_server_ts: u64,
    #[serde(default)]
    pub content: Value,
    /// Where room versions before 11 have it.
    #[serde(default)]
    pub redacts: Option<String>,
    #[serde(default)]
    pub state_key: Option<String>,
    #[serde(default)]
    pub unsigned: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EventAct {
    Said(TextContent),
    /// Changed a message of theirs to this.
    Edited {
        message: String,
        said: TextContent,
    },
    /// Reacted to a message.
    Reacted {
        on: String,
        emoji: String,
    },
    /// Took a message or a reaction back.
    Redacted(String),
    /// Asks to be verified, in the room.
    AsksForVerification,
    /// Somebody's membership, or their profile, changed.
    Membership {
        of: String,
        from: Option<String>,
        to: String,
    },
}

/// A message's text and its references.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TextContent {
    /// The text, without the quotation that older clients put before a reply.
    pub text: String,
    /// The HTML, where there is some.
    pub html: String,
    /// The mentioned people: `m.mentions`; `None` where the client does not send it.
    pub mentions: Option<Vec<String>>,
    /// The thread it is in.
    pub thread: Option<String>,
    /// The message it replies to; in a thread only a reply that a person meant.
    pub reply_to: Option<String>,
    pub file: Option<MediaContent>,
    /// A notice: by convention what bots write, and what bots must not react to.
    /// <https://spec.matrix.org/v1.15/client-server-api/#mnotice>
    pub is_notice: bool,
}

/// A file, image, voice message, film or sticker in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MediaContent {
    pub name: String,
    /// In bytes, as its sender announces it.
    pub size: Option<u64>,
    /// The event's `file`, with the key, or its `url`, each below its name; nothing where the event has neither.
    pub source: Value,
}

impl EventFields {
    pub(super) fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The thread that the event names. Encryption leaves relations readable, so this also works for
    /// messages that cannot be decrypted.
    pub(super) fn thread(&self) -> Option<String> {
        let relation = &self.content["m.relates_to"];
        text_of(relation, "event_id").filter(|_| relation["rel_type"] == "m.thread")
    }

    pub(super) fn sent_at(&self) -> SystemTime {
        // The sender's homeserver chooses the number; a huge one must not overflow `SystemTime`.
        let year_2200 = 7_258_118_400_000;
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.origin_server_ts.min(year_2200))
    }

    /// The act; `None` for events that do not concern the bot.
    pub(super) fn act(&self) -> Option<EventAct> {
        match self.kind.as_str() {
            "m.room.message" if self.state_key.is_none() => said(&self.content),
            "m.sticker" if self.state_key.is_none() => {
                text_content("m.sticker", &self.content).map(EventAct::Said)
            }
            "m.reaction" => reacted(&self.content),
            "m.room.redaction" => {
                // Room version 11 moved `redacts` into the content. <https://spec.matrix.org/v1.15/rooms/v11/>
                let redacted = self.redacts.clone().or_else(|| text_of(&self.content, "redacts"));
                redacted.map(EventAct::Redacted)
            }
            "m.room.member" => Some(EventAct::Membership {
                of: self.state_key.clone()?,
                from: text_of(&self.unsigned["prev_content"], "membership"),
                to: text_of(&self.content, "membership")?,
            }),
            _ => None,
        }
    }
}

fn said(content: &Value) -> Option<EventAct> {
    let relation = &content["m.relates_to"];
    let kind = content["msgtype"].as_str()?;
    if kind == "m.key.verification.request" {
        return Some(EventAct::AsksForVerification);
    }
    if relation["rel_type"] == "m.replace" {
        // <https://spec.matrix.org/v1.15/client-server-api/#event-replacements>
        let new = &content["m.new_content"];
        let message = text_of(relation, "event_id")?;
        let said = text_content(new["msgtype"].as_str()?, new)?;
        // Another file in place of the first one is nothing that was said.
        return (!said.text.is_empty() || said.file.is_none()).then_some(EventAct::Edited { message, said });
    }
    text_content(kind, content).map(EventAct::Said)
}

fn text_content(kind: &str, content: &Value) -> Option<TextContent> {
    let relation = &content["m.relates_to"];
    let in_thread = relation["rel_type"] == "m.thread";
    // Clients with threads add a reply to the newest message for clients without; nobody chose that message.
    // <https://spec.matrix.org/v1.15/client-server-api/#fallback-for-unthreaded-clients>
    let fallback = in_thread && relation["is_falling_back"].as_bool().unwrap_or(false);
    let reply_to = text_of(&relation["m.in_reply_to"], "event_id").filter(|_| !fallback);
    let (body, file) = body_and_file(kind, content)?;
    let text = if reply_to.is_some() || fallback { without_quotation(&body) } else { body.as_str() };
    Some(TextContent {
        text: text.trim().to_owned(),
        html: text_of(content, "formatted_body").unwrap_or_default(),
        mentions: mentions_of(content),
        thread: text_of(relation, "event_id").filter(|_| in_thread),
        reply_to,
        file,
        is_notice: kind == "m.notice",
    })
}

// A file's body is a caption only where it differs from the file's name.
// <https://spec.matrix.org/v1.15/client-server-api/#media-captions>
fn body_and_file(kind: &str, content: &Value) -> Option<(String, Option<MediaContent>)> {
    let body = text_of(content, "body");
    match kind {
        "m.text" | "m.notice" | "m.emote" => Some((body?, None)),
        "m.file" | "m.image" | "m.audio" | "m.video" => {
            let (body, name) = (body.unwrap_or_default(), text_of(content, "filename"));
            let file = media_content(content, name.as_deref().unwrap_or(&body));
            Some((name.filter(|name| *name != body).map(|_| body).unwrap_or_default(), Some(file)))
        }
        // <https://spec.matrix.org/v1.15/client-server-api/#sticker-messages>
        "m.sticker" => Some((String::new(), Some(media_content(content, &body?)))),
        _ => None,
    }
}

// One without an address, too: its sender is to hear that it did not arrive.
fn media_content(content: &Value, name: &str) -> MediaContent {
    let source = ["file", "url"].into_iter().find_map(|key| Some((key, content.get(key)?)));
    let source = source.map_or(Value::Null, |(key, source)| serde_json::json!({ key: source }));
    MediaContent { name: name.to_owned(), size: content["info"]["size"].as_u64(), source }
}

fn reacted(content: &Value) -> Option<EventAct> {
    let relation = &content["m.relates_to"];
    let is_annotation = relation["rel_type"] == "m.annotation";
    let on = text_of(relation, "event_id").filter(|_| is_annotation)?;
    Some(EventAct::Reacted { on, emoji: text_of(relation, "key")? })
}

fn mentions_of(content: &Value) -> Option<Vec<String>> {
    let mentions = content.get("m.mentions")?;
    let users = mentions["user_ids"].as_array().into_iter().flatten();
    Some(users.filter_map(Value::as_str).map(str::to_owned).collect())
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

// Clients before version 1.13 of the specification quote the message they reply to: lines with `>`, then an empty line. The
// quoted words are the bot's or somebody else's and must not be read as this person's.
fn without_quotation(body: &str) -> &str {
    if !body.starts_with("> <") && !body.starts_with("> * <") {
        return body;
    }
    let mut rest = body;
    while rest.starts_with('>') {
        let Some((_, after)) = rest.split_once('\n') else { return body };
        rest = after;
    }
    rest.strip_prefix('\n').unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn deed(kind: &str, content: &Value) -> Option<EventAct> {
        let event = json!({ "event_id": "$1", "sender": "@ann:x", "type": kind, "content": content });
        EventFields::read(&event.to_string())?.act()
    }

    fn heard(content: &Value) -> TextContent {
        match deed("m.room.message", content) {
            Some(EventAct::Said(said)) => said,
            other => panic!("not words: {other:?}"),
        }
    }

    #[test]
    fn a_reply_loses_its_quotation_and_keeps_its_target() {
        let said = heard(&json!({
            "msgtype": "m.text",
            "body": "> <@bot:x> what I said\n> in two lines\n\nyes 3",
            "m.relates_to": { "m.in_reply_to": { "event_id": "$q" } },
        }));
        assert_eq!((said.text.as_str(), said.reply_to.as_deref()), ("yes 3", Some("$q")));
        let quoted = heard(&json!({ "msgtype": "m.text", "body": "> <a> is HTML\n\nright?" }));
        assert_eq!(quoted.text, "> <a> is HTML\n\nright?");
    }

    #[test]
    fn a_thread_is_told_from_a_reply() {
        let relation = json!({ "rel_type": "m.thread", "event_id": "$root", "is_falling_back": true,
                               "m.in_reply_to": { "event_id": "$last" } });
        let said = heard(&json!({ "msgtype": "m.text", "body": "in it", "m.relates_to": relation }));
        assert_eq!((said.thread.as_deref(), said.reply_to), (Some("$root"), None));
        let relation = json!({ "rel_type": "m.thread", "event_id": "$root",
                               "m.in_reply_to": { "event_id": "$q" } });
        let said = heard(&json!({ "msgtype": "m.text", "body": "yes", "m.relates_to": relation }));
        assert_eq!((said.thread.as_deref(), said.reply_to.as_deref()), (Some("$root"), Some("$q")));
    }

    #[test]
    fn an_edit_names_its_message_and_has_the_new_text() {
        let new = json!({ "msgtype": "m.text", "body": "@timmy:x status", "m.mentions": { "user_ids": ["@timmy:x"] } });
        let edit = json!({ "msgtype": "m.text", "body": "* @timmy:x status", "m.new_content": new,
                           "m.relates_to": { "rel_type": "m.replace", "event_id": "$1" } });
        let Some(EventAct::Edited { message, said }) = deed("m.room.message", &edit) else {
            panic!("no edit")
        };
        assert_eq!((message.as_str(), said.text.as_str()), ("$1", "@timmy:x status"));
        assert_eq!(said.mentions, Some(vec!["@timmy:x".to_owned()]));
    }

    #[test]
    fn stickers_taken_back_broken_edits_and_state_are_no_words() {
        let edit = json!({ "msgtype": "m.text", "body": "* x", "m.relates_to":
                           { "rel_type": "m.replace", "event_id": "$1" } });
        for content in [edit, json!({}), json!(null), json!({ "msgtype": 7, "body": [] })] {
            assert_eq!(deed("m.room.message", &content), None, "{content}");
        }
        assert_eq!(deed("m.sticker", &json!({})), None);
    }

    #[test]
    fn a_file_has_its_name_its_size_and_its_address_and_its_caption_is_the_text() {
        let image = |body: &str, name: Value| {
            let content = json!({ "msgtype": "m.image", "body": body, "filename": name, "url": "mxc://x/1",
                                  "info": { "size": 7 } });
            let said = heard(&content);
            let file = said.file.expect("a file");
            assert_eq!((file.size, file.source), (Some(7), json!({ "url": "mxc://x/1" })));
            (said.text, file.name)
        };
        let pair = |text: &str, name: &str| (text.to_owned(), name.to_owned());
        assert_eq!(image("cat.jpg", Value::Null), pair("", "cat.jpg"));
        assert_eq!(image("cat.jpg", json!("cat.jpg")), pair("", "cat.jpg"));
        assert_eq!(image("!what is this", json!("cat.jpg")), pair("!what is this", "cat.jpg"));

        let encrypted = json!({ "msgtype": "m.audio", "body": "Voice message.ogg", "url": "mxc://x/plain",
                                "file": { "url": "mxc://x/1" }, "org.matrix.msc3245.voice": {} });
        let voice = heard(&encrypted).file.expect("a file");
        let key = json!({ "file": { "url": "mxc://x/1" } });
        assert_eq!((voice.name.as_str(), voice.size, voice.source), ("Voice message.ogg", None, key));
        let nowhere = heard(&json!({ "msgtype": "m.file", "body": "cat.jpg" })).file.expect("a file");
        assert_eq!(nowhere.source, Value::Null, "its sender is told");
        let sticker = deed("m.sticker", &json!({ "body": "hi", "url": "mxc://x/2" }));
        assert!(matches!(sticker, Some(EventAct::Said(said)) if said.text.is_empty() && said.file.is_some()));
    }

    #[test]
    fn mentions_reactions_redactions_and_memberships_are_read() {
        let said =
            heard(&json!({ "msgtype": "m.notice", "body": "x", "m.mentions": { "user_ids": ["@a:x", 3] } }));
        assert_eq!((said.mentions, said.is_notice), (Some(vec!["@a:x".to_owned()]), true));
        let relation =
            json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": "$q", "key": "✅" } });
        assert_eq!(
            deed("m.reaction", &relation),
            Some(EventAct::Reacted { on: "$q".into(), emoji: "✅".into() })
        );
        let redacted = Some(EventAct::Redacted("$p".into()));
        assert_eq!(deed("m.room.redaction", &json!({ "redacts": "$p" })), redacted);
        let old =
            r#"{"event_id":"$1","sender":"@a:x","type":"m.room.redaction","redacts":"$p","content":{}}"#;
        assert_eq!(EventFields::read(old).and_then(|event| event.act()), redacted);
        let member = r#"{"event_id":"$1","sender":"@a:x","type":"m.room.member","state_key":"@b:x","content":{"membership":"join"}}"#;
        let deed = EventFields::read(member).and_then(|event| event.act());
        assert_eq!(deed, Some(EventAct::Membership { of: "@b:x".into(), from: None, to: "join".into() }));
    }

    proptest! {
        #[test]
        fn no_json_breaks_the_reading(
            kind in "(m.room.message|m.reaction|m.room.redaction|m.room.member|\\PC{0,5})",
            key in "(msgtype|body|m.relates_to|m.mentions|formatted_body|filename|redacts)",
            value in "(\\{.{0,20}|\"m.text\"|\\[1,null\\]|[0-9]{1,25}|null|\\PC{0,10})",
            body in "(> <)?\\PC{0,20}(\n)?\\PC{0,9}",
        ) {
            let value: Value = serde_json::from_str(&value).unwrap_or(Value::String(value));
            let content = json!({ "msgtype": "m.text", "body": body, key: value });
            let _ = deed(&kind, &content);
        }
    }
}
