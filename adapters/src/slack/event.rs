//! Reads Slack's events from raw JSON: only the fields in use, so that nothing unknown, missing or null causes an error.
//!
//! <https://docs.slack.dev/reference/events>, <https://docs.slack.dev/reference/interaction-payloads/block_actions-payload>,
//! <https://docs.slack.dev/interactivity/implementing-slash-commands>.

use serde_json::Value;

use crate::{
    SentFile,
    slack::{
        conversation::{ConversationAddress, is_ts},
        sent_files::sent_files,
        shared_messages::{SharedMessage, shared_messages},
    },
};

/// Messages of these subtypes are still a person's words; all others are notices, edits and bots.
/// <https://docs.slack.dev/reference/events/message#subtypes>
pub const WORDS: &[&str] = &["file_share", "me_message", "message_share", "thread_broadcast"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlackEvent {
    Said(SlackMessage),
    /// Somebody pressed one of our buttons.
    Picked(ButtonPress),
    /// Somebody called a slash command.
    Slash(SlashCommand),
    /// Somebody changed the text of a message of theirs.
    Edited(EditedMessage),
    /// Somebody deleted a message of theirs.
    Deleted(DeletedMessage),
    /// The app was removed, or its tokens were revoked.
    Uninstalled,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlackMessage {
    pub place: ConversationAddress,
    pub ts: String,
    pub user: String,
    /// Slack's encoding of the text, with `<@U1>` and entities.
    pub text: String,
    pub files: Vec<SentFile>,
    /// Messages that it forwards or shows.
    pub shared: Vec<SharedMessage>,
    /// Who wrote the message that the thread is below.
    pub parent: Option<String>,
    /// Whether it is in a direct conversation of several people.
    pub group: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ButtonPress {
    pub place: ConversationAddress,
    pub on: String,
    pub user: String,
    /// How Slack calls this person in the payload.
    pub user_name: String,
    pub key: String,
    /// The time of the press as a `ts`; empty if unknown.
    pub at: String,
    /// Unique for each press, for recognising repeats.
    pub trigger: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlashCommand {
    pub channel: String,
    pub user: String,
    /// How Slack calls this person in the payload.
    pub user_name: String,
    /// The command with its slash.
    pub command: String,
    /// The rest of the line.
    pub text: String,
    /// Where an answer that only this person sees can be sent for half an hour.
    pub response_url: String,
    /// Unique for each call, for recognising repeats.
    pub trigger: String,
    /// Whether it is in a direct conversation of several people.
    pub group: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditedMessage {
    /// The message as it is now.
    pub said: SlackMessage,
    /// The time of the change as a `ts`.
    pub at: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedMessage {
    pub place: ConversationAddress,
    pub ts: String,
    pub user: String,
    /// Whether it is in a direct conversation of several people.
    pub group: bool,
}

impl SlackEvent {
    /// A key that repeats of one act share. A mention comes twice, as `app_mention` and as `message`, with different event ids
    /// but the same channel and `ts`.
    pub fn key(&self) -> String {
        match self {
            Self::Said(said) => format!("said {} {}", said.place.channel, said.ts),
            Self::Picked(picked) => format!("picked {}", picked.trigger),
            Self::Slash(slash) => format!("slash {}", slash.trigger),
            Self::Edited(edited) => {
                format!("edited {} {} {}", edited.said.place.channel, edited.said.ts, edited.at)
            }
            Self::Deleted(deleted) => format!("deleted {} {}", deleted.place.channel, deleted.ts),
            Self::Uninstalled => "uninstalled".into(),
        }
    }

    /// The conversation in which it keeps its order.
    pub fn lane(&self) -> String {
        match self {
            Self::Said(said) | Self::Edited(EditedMessage { said, .. }) => said.place.room().id().to_owned(),
            Self::Picked(picked) => picked.place.room().id().to_owned(),
            Self::Deleted(deleted) => deleted.place.room().id().to_owned(),
            Self::Slash(slash) => slash.channel.clone(),
            Self::Uninstalled => String::new(),
        }
    }
}

pub fn from_event(payload: &Value) -> Option<SlackEvent> {
    let event = &payload["event"];
    match text(event, "type") {
        "message" | "app_mention" => from_message(event),
        "app_uninstalled" => Some(SlackEvent::Uninstalled),
        // Tokens of single people do not concern the bot: `{"tokens": {"oauth": [], "bot": ["U0"]}}`.
        "tokens_revoked" => {
            let bot = event["tokens"]["bot"].as_array();
            bot.is_some_and(|bot| !bot.is_empty()).then_some(SlackEvent::Uninstalled)
        }
        _ => None,
    }
}

fn from_message(event: &Value) -> Option<SlackEvent> {
    match text(event, "subtype") {
        "message_deleted" => return deleted(event),
        "message_changed" => return changed(event),
        _ => {}
    }
    said(event, event).map(SlackEvent::Said)
}

/// A message's words. `event` names the conversation, also where `message` is only a part of it.
fn said(event: &Value, message: &Value) -> Option<SlackMessage> {
    let subtype = text(message, "subtype");
    if !subtype.is_empty() && !WORDS.contains(&subtype) {
        return None;
    }
    // The bot never obeys bots, itself included: two of them could answer each other without end.
    if !text(message, "bot_id").is_empty() || message["bot_profile"].is_object() {
        return None;
    }
    let ts = some_ts(message, "ts")?;
    Some(SlackMessage {
        place: address_of(text(event, "channel"), &ts, message)?,
        user: some(message, "user")?,
        text: text(message, "text").to_owned(),
        files: sent_files(message),
        shared: shared_messages(message),
        parent: some(message, "parent_user_id"),
        group: is_group(event),
        ts,
    })
}

// Slack also reports previews of links, pins and new replies as changes. Only a person's edit has `edited`, and only its new text is
// news. <https://docs.slack.dev/reference/events/message/message_changed>
fn changed(event: &Value) -> Option<SlackEvent> {
    let (now, before) = (&event["message"], &event["previous_message"]);
    if text(now, "subtype") == "tombstone" {
        // A message with a thread below it leaves this behind when it is deleted.
        return deleted(event);
    }
    let at = some_ts(&now["edited"], "ts")?;
    if before["text"].is_string() && text(before, "text") == text(now, "text") {
        return None;
    }
    said(event, now).map(|said| SlackEvent::Edited(EditedMessage { said, at }))
}

fn deleted(event: &Value) -> Option<SlackEvent> {
    let before = &event["previous_message"];
    let ts = some_ts(event, "deleted_ts").or_else(|| some_ts(before, "ts"))?;
    if !text(before, "bot_id").is_empty() {
        return None;
    }
    Some(SlackEvent::Deleted(DeletedMessage {
        place: address_of(text(event, "channel"), &ts, before)?,
        user: some(before, "user")?,
        group: is_group(event),
        ts,
    }))
}

// Their ids begin like those of channels, so only the kind tells. `app_mention` has none.
// <https://docs.slack.dev/reference/events/message.mpim>
fn is_group(event: &Value) -> bool {
    text(event, "channel_type") == "mpim"
}

pub fn from_interaction(payload: &Value) -> Vec<SlackEvent> {
    if text(payload, "type") != "block_actions" {
        return Vec::new();
    }
    let actions = payload["actions"].as_array().into_iter().flatten();
    actions.enumerate().filter_map(|(index, action)| picked(payload, index, action)).collect()
}

fn picked(payload: &Value, index: usize, action: &Value) -> Option<SlackEvent> {
    let (container, message, user) = (&payload["container"], &payload["message"], &payload["user"]);
    let on = some_ts(container, "message_ts").or_else(|| some_ts(message, "ts"))?;
    let channel = some(container, "channel_id").or_else(|| some(&payload["channel"], "id"))?;
    let thread = if text(container, "thread_ts").is_empty() { message } else { container };
    let user_id = some(user, "id")?;
    let names = [text(user, "username"), text(user, "name"), &user_id];
    let user_name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned();
    let at = some_ts(action, "action_ts").unwrap_or_default();
    // A press has no id of its own. Without a trigger its time, person and message identify it.
    let trigger = match text(payload, "trigger_id") {
        "" => format!("{at}.{user_id}.{on}.{index}"),
        trigger => format!("{trigger}.{index}"),
    };
    Some(SlackEvent::Picked(ButtonPress {
        place: address_of(&channel, &on, thread)?,
        user_name,
        key: some(action, "value")?,
        user: user_id,
        on,
        at,
        trigger,
    }))
}

pub fn from_slash(payload: &Value) -> Option<SlackEvent> {
    let user = some(payload, "user_id")?;
    let user_name = some(payload, "user_name").unwrap_or_else(|| user.clone());
    let command = some(payload, "command")?;
    let words = text(payload, "text").trim().to_owned();
    let channel = some(payload, "channel_id")?;
    let trigger = some(payload, "trigger_id").or_else(|| some(payload, "response_url"))?;
    let response_url = text(payload, "response_url").to_owned();
    Some(SlackEvent::Slash(SlashCommand {
        channel,
        user,
        user_name,
        command,
        text: words,
        response_url,
        trigger,
        // Slack makes these names of the members': `mpdm-ann--bob--timmy-1`.
        group: text(payload, "channel_name").starts_with("mpdm-"),
    }))
}

// A root message has its own `ts` as `thread_ts` once there are replies; it is still in the channel.
fn address_of(channel: &str, ts: &str, message: &Value) -> Option<ConversationAddress> {
    let thread = some_ts(message, "thread_ts").filter(|thread| thread != ts);
    (!channel.is_empty() && !channel.contains('/'))
        .then(|| ConversationAddress { channel: channel.to_owned(), thread })
}

pub fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn some(value: &Value, key: &str) -> Option<String> {
    Some(text(value, key)).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn some_ts(value: &Value, key: &str) -> Option<String> {
    some(value, key).filter(|ts| is_ts(ts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn said(event: Value) -> SlackMessage {
        match from_event(&json!({ "type": "event_callback", "event": event })) {
            Some(SlackEvent::Said(said)) => said,
            other => panic!("{other:?}"),
        }
    }

    fn message_event(more: Value) -> Value {
        let mut event = json!({
            "type": "message", "channel": "C1", "channel_type": "channel", "user": "U1", "text": "hello", "ts": "5.1",
        });
        for (key, value) in more.as_object().unwrap() {
            event[key] = value.clone();
        }
        event
    }

    #[test]
    fn a_message_is_said_in_its_channel_or_thread() {
        let root = said(message_event(json!({ "team": null, "client_msg_id": "x" })));
        assert_eq!((root.place.thread, root.ts.as_str(), root.user.as_str()), (None, "5.1", "U1"));
        let root = said(message_event(json!({ "thread_ts": "5.1" })));
        assert_eq!(root.place.thread, None, "a root is not in its own thread");
        let reply = said(message_event(json!({ "thread_ts": "4.1", "parent_user_id": "UBOT" })));
        assert_eq!((reply.place.thread.as_deref(), reply.parent.as_deref()), (Some("4.1"), Some("UBOT")));
        let with_file = said(message_event(
            json!({ "subtype": "file_share", "text": "", "files": [{ "id": "F1", "name": "a.png" }, {}] }),
        ));
        assert_eq!((with_file.files.len(), with_file.files[0].name.as_str()), (1, "a.png"));
    }

    #[test]
    fn a_mention_and_its_message_are_one() {
        let mention = message_event(json!({ "type": "app_mention", "channel_type": null }));
        let both = [message_event(json!({})), mention].map(|event| SlackEvent::Said(said(event)).key());
        assert_eq!(both[0], both[1]);
    }

    #[test]
    fn bots_edits_and_notices_are_not_heard() {
        for more in [
            json!({ "bot_id": "B1" }),
            json!({ "bot_profile": {} }),
            json!({ "subtype": "bot_message", "user": null }),
            json!({ "subtype": "message_changed" }),
            json!({ "subtype": "channel_join" }),
            json!({ "user": null }),
            json!({ "ts": "yesterday" }),
            json!({ "channel": "C1/2.3" }),
        ] {
            assert_eq!(from_event(&json!({ "event": message_event(more.clone()) })), None, "{more}");
        }
        let own = json!({ "event": { "type": "reaction_added", "user": "U1" } });
        assert_eq!(from_event(&own), None);
    }

    #[test]
    fn an_edit_is_a_persons_new_text_and_no_other_change_is() {
        let change = |message: Value, before: Value| {
            let event = message_event(
                json!({ "subtype": "message_changed", "message": message, "previous_message": before }),
            );
            from_event(&json!({ "event": event }))
        };
        let now = json!({ "user": "U1", "text": "new", "ts": "3.1", "thread_ts": "2.1", "edited": { "user": "U1", "ts": "4.1" } });
        let Some(SlackEvent::Edited(edited)) = change(now.clone(), json!({ "text": "old" })) else {
            panic!()
        };
        assert_eq!(
            (edited.said.text.as_str(), edited.said.ts.as_str(), edited.at.as_str()),
            ("new", "3.1", "4.1")
        );
        assert_eq!(
            edited.said.place,
            ConversationAddress { channel: "C1".into(), thread: Some("2.1".into()) }
        );
        assert_eq!(change(now.clone(), json!({ "text": "new" })), None, "a preview");
        let with = |key: &str, value: Value| {
            let mut other = now.clone();
            other[key] = value;
            change(other, json!({ "text": "old" }))
        };
        assert_eq!((with("edited", Value::Null), with("bot_id", json!("B1"))), (None, None));
        assert_eq!(with("subtype", json!("bot_message")), None);
        let gone =
            change(json!({ "subtype": "tombstone", "ts": "3.1" }), json!({ "user": "U1", "ts": "3.1" }));
        assert!(matches!(gone, Some(SlackEvent::Deleted(deleted)) if deleted.ts == "3.1"));
    }

    #[test]
    fn a_deleted_message_names_what_is_gone_and_whose_it_was() {
        let event = message_event(json!({
            "subtype": "message_deleted", "user": null, "deleted_ts": "3.1", "previous_message": { "user": "U1", "thread_ts": "2.1" },
        }));
        let place = ConversationAddress { channel: "C1".into(), thread: Some("2.1".into()) };
        let deleted = DeletedMessage { place, ts: "3.1".into(), user: "U1".into(), group: false };
        assert_eq!(from_event(&json!({ "event": event })), Some(SlackEvent::Deleted(deleted)));
    }

    #[test]
    fn a_press_names_message_person_and_key_also_on_an_org_wide_install() {
        let payload = json!({
            "type": "block_actions", "team": null, "enterprise": { "id": "E1" }, "is_enterprise_install": true,
            "user": { "id": "U1", "username": "ann" }, "trigger_id": "t.1",
            "container": { "type": "message", "message_ts": "5.1", "channel_id": "C1", "thread_ts": "4.1", "is_ephemeral": false },
            "actions": [{ "action_id": "storkit:0", "value": "question:7:yes", "type": "button", "action_ts": "6.1" }],
        });
        let [SlackEvent::Picked(picked)] = &from_interaction(&payload)[..] else { panic!("not one press") };
        assert_eq!((picked.on.as_str(), picked.key.as_str()), ("5.1", "question:7:yes"));
        assert_eq!(picked.place, ConversationAddress { channel: "C1".into(), thread: Some("4.1".into()) });
        assert_eq!(picked.user_name, "ann");
        assert!(from_interaction(&json!({ "type": "view_submission" })).is_empty());
    }

    #[test]
    fn the_bot_is_gone_with_its_token_only() {
        let revoked = |tokens: Value| json!({ "event": { "type": "tokens_revoked", "tokens": tokens } });
        assert_eq!(from_event(&revoked(json!({ "oauth": ["U1"] }))), None);
        assert_eq!(from_event(&revoked(json!({ "bot": ["UBOT"] }))), Some(SlackEvent::Uninstalled));
    }

    /// JSON of the shapes that Slack sends, with anything in place of anything.
    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "(C1|U1|5\\.1|message|app_mention|block_actions|message_deleted|\\PC{0,6})".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            let key = "(type|event|subtype|user|channel|id|ts|thread_ts|text|files|container|message|message_ts|actions|value\
                       |channel_id|user_id|command|trigger_id|deleted_ts|previous_message|tokens|bot|attachments|is_share\
                       |author_id|message_blocks|blocks|elements|mode|url_private)";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn no_payload_is_too_odd(payload in anything()) {
            let all = from_event(&payload).into_iter().chain(from_interaction(&payload)).chain(from_slash(&payload));
            for heard in all {
                prop_assert!(!heard.key().is_empty());
            }
        }
    }
}
