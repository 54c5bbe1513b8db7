//! Reads a webhook's body: every message and status in it; anything else is ignored. Pure.
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{config::PersonIdForm, numbers::same_number};
use crate::text::markdown;

const ID_MAX: usize = 512;
// A person can send 65,536 characters; UTF-8 has up to four bytes for each.
const TEXT_MAX: usize = 4 * 65_536;
const NAME_MAX: usize = 60;
const FILE_NAME_MAX: usize = 200;
// Meta sends seconds, as text. Numbers beyond this (the year 5138) must be milliseconds.
const MILLIS: u64 = 100_000_000_000;

#[derive(Debug, PartialEq)]
pub enum NotificationEvent {
    Message(PersonMessage),
    /// Meta's report about a message of ours.
    Status(DeliveryStatus),
    /// Meta reports a problem of its own or of the account.
    Trouble(String),
}

#[derive(Debug, PartialEq)]
pub struct PersonMessage {
    pub id: String,
    pub who: VouchedPerson,
    /// The time; now, if Meta sends none.
    pub at: SystemTime,
    /// The message it refers to.
    pub context: Option<String>,
    /// Whether its words, and its file, are somebody else's. Meta does not say whose.
    pub is_forwarded: bool,
    pub kind: MessageKind,
}

impl PersonMessage {
    /// The message that it answers, quotes or reacts to.
    pub fn refers_to(&self) -> Option<&str> {
        match &self.kind {
            MessageKind::Reacted { on, .. } => Some(on),
            _ => self.context.as_deref(),
        }
    }
}

/// A person, as Meta vouches for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VouchedPerson {
    /// The business-scoped user id.
    pub user_id: Option<String>,
    /// The id that all portfolios of an enterprise share.
    pub parent_id: Option<String>,
    /// The phone number's digits; it may be withheld.
    pub phone: Option<String>,
    /// How they call themselves.
    pub name: Option<String>,
}

#[derive(Debug, PartialEq)]
pub enum MessageKind {
    Text(String),
    /// Pressed the button, or picked the row, with this key.
    Chose(String),
    File(MediaFile),
    /// Put a reaction on a message; empty when it was taken away.
    Reacted {
        on: String,
        emoji: String,
    },
    /// Took a message back.
    Revoked(String),
    /// Sent something that the bot cannot read; the sender gets an answer.
    NotReadable,
    /// Something that wants no answer: edits, system messages, messages in groups.
    Ignored,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaFile {
    pub id: String,
    /// As the sender named it, or what it is.
    pub name: String,
    pub caption: String,
}

#[derive(Debug, PartialEq)]
pub struct DeliveryStatus {
    pub id: String,
    pub who: VouchedPerson,
    /// The time; now, if Meta sends none.
    pub at: SystemTime,
    pub failure: Option<DeliveryFailure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryFailure {
    /// Meta's code. <https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes>
    pub code: i64,
    pub text: String,
}

impl DeliveryFailure {
    // The details are the most specific of the three texts, but not always present.
    pub fn read(error: &Value) -> Self {
        let details = text(&error["error_data"]["details"]);
        let words = [details, text(&error["message"]), text(&error["title"])];
        let words = words.into_iter().find(|words| !words.is_empty()).unwrap_or_default();
        let code = error["code"].as_i64().or_else(|| text(&error["code"]).parse().ok()).unwrap_or_default();
        Self { code, text: line(&words, 200) }
    }
}

impl std::fmt::Display for DeliveryFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}) {}", self.code, self.text)
    }
}

/// Everything in the body that is for this phone number id. `None` if it is no JSON.
pub fn read(body: &[u8], number: &str, now: SystemTime) -> Option<Vec<NotificationEvent>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let mut events = Vec::new();
    let changes = list(&body["entry"]).iter().flat_map(|entry| list(&entry["changes"]));
    for change in changes.filter(|change| change["field"] == "messages") {
        let value = &change["value"];
        // One app may serve several numbers, each with its own program.
        if text(&value["metadata"]["phone_number_id"]) == number {
            read_value(value, now, &mut events);
        }
    }
    Some(events)
}

fn read_value(value: &Value, now: SystemTime, events: &mut Vec<NotificationEvent>) {
    let ours = number_of(&text(&value["metadata"]["display_phone_number"]));
    let contacts = list(&value["contacts"]);
    for message in list(&value["messages"]) {
        match read_message(message, contacts, now) {
            // Messages from the bot's own number, such as echoes of the Business app: obeying them could be a loop.
            Some(message) if ours.is_some() && message.who.number() == ours => {}
            Some(message) => events.push(NotificationEvent::Message(message)),
            None => tracing::warn!("a WhatsApp message without an id or a sender"),
        }
    }
    let statuses = list(&value["statuses"]).iter().filter_map(|status| read_status(status, contacts, now));
    events.extend(statuses.map(NotificationEvent::Status));
    events.extend(
        list(&value["errors"])
            .iter()
            .map(|error| NotificationEvent::Trouble(DeliveryFailure::read(error).to_string())),
    );
}

fn read_message(message: &Value, contacts: &[Value], now: SystemTime) -> Option<PersonMessage> {
    let id = id(&message["id"])?;
    let who = sender(message, contacts)?;
    let context = &message["context"];
    let is_forwarded =
        ["forwarded", "frequently_forwarded"].iter().any(|flag| context[flag].as_bool() == Some(true));
    // In a group others read along, and anybody could be added, so the bot never acts there.
    let grouped = !message["group_id"].is_null();
    let kind = if grouped { MessageKind::Ignored } else { read_kind(message) };
    let at = time(&message["timestamp"]).unwrap_or(now);
    Some(PersonMessage { id, who, at, context: self::id(&context["id"]), is_forwarded, kind })
}

fn read_kind(message: &Value) -> MessageKind {
    let what = text(&message["type"]);
    match what.as_str() {
        "text" => said(text(&message["text"]["body"])),
        "button" => said(text(&message["button"]["text"])),
        "interactive" => read_pick(&message["interactive"]),
        "image" | "document" | "audio" | "voice" | "video" | "sticker" => file(message, &what),
        "reaction" => match id(&message["reaction"]["message_id"]) {
            Some(on) => MessageKind::Reacted { on, emoji: line(&text(&message["reaction"]["emoji"]), 16) },
            None => MessageKind::Ignored,
        },
        "revoke" => {
            id(&message["revoke"]["original_message_id"]).map_or(MessageKind::Ignored, MessageKind::Revoked)
        }
        // An edit is not a new message: a command that ran must not run again. System messages report changed numbers.
        "edit" | "system" | "request_welcome" | "" => MessageKind::Ignored,
        // Without a subscription to them, Meta sends edits and deletions as `unsupported`. Both need no answer.
        "unsupported" if matches!(text(&message["unsupported"]["type"]).as_str(), "edit" | "revoke") => {
            MessageKind::Ignored
        }
        _ => MessageKind::NotReadable,
    }
}

fn said(text: String) -> MessageKind {
    if text.trim().is_empty() { MessageKind::Ignored } else { MessageKind::Text(text) }
}

fn read_pick(interactive: &Value) -> MessageKind {
    let reply = match text(&interactive["type"]).as_str() {
        "button_reply" => &interactive["button_reply"],
        "list_reply" => &interactive["list_reply"],
        _ => return MessageKind::NotReadable,
    };
    id(&reply["id"]).map_or(MessageKind::NotReadable, MessageKind::Chose)
}

fn file(message: &Value, what: &str) -> MessageKind {
    let file = &message[what];
    let Some(id) = id(&file["id"]) else { return MessageKind::NotReadable };
    let what = if file["voice"] == true { "voice message" } else { what };
    let name = match line(&text(&file["filename"]), FILE_NAME_MAX) {
        // Only documents have names.
        name if name.is_empty() => format!("{what}.{}", ending(&text(&file["mime_type"]))),
        name => name,
    };
    MessageKind::File(MediaFile { id, name, caption: text(&file["caption"]) })
}

fn ending(mime: &str) -> &'static str {
    match mime.split(';').next().unwrap_or_default().trim() {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/webp" => "webp",
        "audio/ogg" => "ogg",
        "audio/mpeg" => "mp3",
        "audio/mp4" | "audio/aac" => "m4a",
        "video/mp4" => "mp4",
        "application/pdf" => "pdf",
        "text/plain" => "txt",
        _ => "bin",
    }
}

fn read_status(status: &Value, contacts: &[Value], now: SystemTime) -> Option<DeliveryStatus> {
    let id = id(&status["id"])?;
    let failed = text(&status["status"]) == "failed";
    let failure =
        failed.then(|| DeliveryFailure::read(list(&status["errors"]).first().unwrap_or(&Value::Null)));
    let mut who = VouchedPerson::default();
    for field in ["recipient_user_id", "recipient_parent_user_id", "recipient_id"] {
        who.add(&text(&status[field]));
    }
    who.add_contact_ids(contacts);
    Some(DeliveryStatus { id, who, at: time(&status["timestamp"]).unwrap_or(now), failure })
}

fn sender(message: &Value, contacts: &[Value]) -> Option<VouchedPerson> {
    let mut who = VouchedPerson::default();
    for field in ["from_user_id", "from_parent_user_id", "from"] {
        who.add(&text(&message[field]));
    }
    who.add_contact_ids(contacts);
    (!who.id().is_empty()).then_some(who)
}

impl VouchedPerson {
    fn add(&mut self, id: &str) {
        match PersonIdForm::of(id) {
            Some(PersonIdForm::UserId(id)) => _ = self.user_id.get_or_insert(id),
            Some(PersonIdForm::ParentId(id)) => _ = self.parent_id.get_or_insert(id),
            Some(PersonIdForm::Phone(digits)) => _ = self.phone.get_or_insert(digits),
            None => {}
        }
    }

    // One notification may hold several people. Only the contact of the same id may add ids and a name: the
    // allow-list relies on them.
    fn add_contact_ids(&mut self, contacts: &[Value]) {
        let is_theirs = |contact: &&Value| {
            let number = number_of(&text(&contact["wa_id"]));
            let (id, parent) = (text(&contact["user_id"]), text(&contact["parent_user_id"]));
            number.is_some() && number == self.number()
                || self.user_id.as_ref() == Some(&id)
                || self.parent_id.as_ref() == Some(&parent)
        };
        let Some(contact) = contacts.iter().find(is_theirs) else { return };
        for field in ["user_id", "parent_user_id", "wa_id"] {
            self.add(&text(&contact[field]));
        }
        let names = [text(&contact["profile"]["name"]), text(&contact["profile"]["username"])];
        self.name = names.iter().map(|name| line(name, NAME_MAX)).find(|name| !name.is_empty());
    }

    /// The phone number in the form that stands for all of its forms.
    pub fn number(&self) -> Option<String> {
        self.phone.as_deref().map(same_number)
    }

    /// A name where none better is known: the id, in the form that an operator would add to the list.
    pub fn id(&self) -> String {
        let phone = self.phone.as_ref().map(|digits| format!("+{digits}"));
        self.user_id.clone().or(self.parent_id.clone()).or(phone).unwrap_or_default()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

// Longer than anything that Meta sends is cut, so that a forged body costs little.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(TEXT_MAX / 4).collect(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn id(value: &Value) -> Option<String> {
    let id = value.as_str()?;
    let fits = (1..=ID_MAX).contains(&id.len()) && !id.contains(|c: char| c.is_control() || c == '\u{FFFD}');
    fits.then(|| id.to_owned())
}

fn number_of(text: &str) -> Option<String> {
    match PersonIdForm::of(text) {
        Some(PersonIdForm::Phone(digits)) => Some(same_number(&digits)),
        _ => None,
    }
}

fn time(value: &Value) -> Option<SystemTime> {
    let seconds: u64 = text(value).parse().ok()?;
    let since = if seconds > MILLIS { Duration::from_millis(seconds) } else { Duration::from_secs(seconds) };
    UNIX_EPOCH.checked_add(since)
}

fn line(text: &str, max: usize) -> String {
    let text = markdown::inert(text);
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").chars().take(max).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: SystemTime = UNIX_EPOCH;

    fn notification(value: Value) -> Value {
        json!({ "object": "whatsapp_business_account", "entry": [
            { "id": "1", "changes": [{ "field": "messages", "value": value }] },
        ]})
    }

    fn value(messages: Value) -> Value {
        json!({
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "15550001111", "phone_number_id": "77" },
            "contacts": [
                { "profile": { "name": "Ann\u{202e} A." }, "wa_id": "491701234567", "user_id": "DE.1" },
                { "profile": { "name": "Bob" }, "user_id": "DE.2" },
            ],
            "messages": messages,
        })
    }

    fn events(value: Value) -> Vec<NotificationEvent> {
        read(notification(value).to_string().as_bytes(), "77", NOW).expect("JSON")
    }

    fn kind(message: Value) -> MessageKind {
        let mut whole = json!({ "id": "wamid.1", "from": "491701234567", "timestamp": "1700000000" });
        whole.as_object_mut().unwrap().extend(message.as_object().unwrap().clone());
        match events(value(json!([whole]))).pop() {
            Some(NotificationEvent::Message(message)) => message.kind,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_message_of_every_change_is_told_in_order_with_its_own_sender() {
        let text =
            |id: &str, from: &str| json!({ "id": id, "from": from, "type": "text", "text": { "body": id } });
        let by_id = json!({ "id": "c", "from_user_id": "DE.2", "type": "text", "text": { "body": "c" }, "context": { "id": "x" } });
        let change = |messages| json!({ "field": "messages", "value": value(messages) });
        let body = json!({ "entry": [
            { "changes": [change(json!([text("a", "491701234567"), text("b", "4915100000")])), change(json!([by_id]))] },
            { "changes": [{ "field": "flows", "value": {} }, change(json!([text("d", "491701234567")]))] },
        ]});
        let told: Vec<_> = read(body.to_string().as_bytes(), "77", NOW)
            .unwrap()
            .into_iter()
            .map(|event| match event {
                NotificationEvent::Message(message) => {
                    (message.id, message.who.user_id, message.who.phone, message.who.name)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                ("a".into(), some("DE.1"), some("491701234567"), some("Ann A.")),
                ("b".into(), None, some("4915100000"), None),
                ("c".into(), some("DE.2"), None, some("Bob")),
                ("d".into(), some("DE.1"), some("491701234567"), some("Ann A.")),
            ]
        );
    }

    #[test]
    fn what_is_for_another_number_or_from_our_own_is_not_ours() {
        let message =
            |from: &str| json!([{ "id": "a", "from": from, "type": "text", "text": { "body": "x" } }]);
        assert!(events(value(message("15550001111"))).is_empty());
        let other = notification(value(message("491701234567"))).to_string();
        assert_eq!(read(other.as_bytes(), "78", NOW), Some(Vec::new()));
    }

    #[test]
    fn each_kind_is_what_it_is() {
        assert_eq!(kind(json!({ "type": "text", "text": { "body": "hi" } })), MessageKind::Text("hi".into()));
        assert_eq!(
            kind(
                json!({ "type": "interactive", "interactive": { "type": "button_reply", "button_reply": { "id": "q:1:yes", "title": "Allow" } } })
            ),
            MessageKind::Chose("q:1:yes".into())
        );
        assert_eq!(
            kind(
                json!({ "type": "interactive", "interactive": { "type": "list_reply", "list_reply": { "id": "q:1:2" } } })
            ),
            MessageKind::Chose("q:1:2".into())
        );
        let document = json!({ "type": "document", "document": { "id": "9", "mime_type": "text/plain", "filename": "a\n.log", "caption": "look" } });
        let MessageKind::File(file) = kind(document) else { panic!("no file") };
        assert_eq!((file.name.as_str(), file.caption.as_str()), ("a .log", "look"));
        let voice = json!({ "type": "audio", "audio": { "id": "9", "mime_type": "audio/ogg; codecs=opus", "voice": true } });
        let MessageKind::File(file) = kind(voice) else { panic!("no file") };
        assert_eq!(file.name, "voice message.ogg");
        assert_eq!(
            kind(json!({ "type": "reaction", "reaction": { "message_id": "w", "emoji": "✅" } })),
            MessageKind::Reacted { on: "w".into(), emoji: "✅".into() }
        );
        assert_eq!(
            kind(json!({ "type": "revoke", "revoke": { "original_message_id": "w" } })),
            MessageKind::Revoked("w".into())
        );
        assert_eq!(kind(json!({ "type": "location", "location": {} })), MessageKind::NotReadable);
    }

    #[test]
    fn a_forwarded_message_is_known_as_one() {
        let forwarded = |context: Value| {
            let message = json!({ "id": "a", "from": "491701234567", "type": "text", "text": { "body": "x" }, "context": context });
            match events(value(json!([message]))).pop() {
                Some(NotificationEvent::Message(message)) => message.is_forwarded,
                other => panic!("{other:?}"),
            }
        };
        assert!(
            forwarded(json!({ "forwarded": true })) && forwarded(json!({ "frequently_forwarded": true }))
        );
        for context in
            [json!({ "forwarded": false }), json!({ "from": "1", "id": "w" }), json!(null), json!("x")]
        {
            assert!(!forwarded(context.clone()), "{context}");
        }
    }

    #[test]
    fn what_is_no_message_of_a_person_to_the_bot_runs_nothing() {
        let edit = json!({ "type": "edit", "edit": { "original_message_id": "w", "message": { "type": "text", "text": { "body": "!delete 12" } } } });
        for message in [
            edit,
            json!({ "type": "system", "system": { "body": "!delete 12" } }),
            json!({ "type": "unsupported", "unsupported": { "type": "edit" } }),
            json!({ "type": "text", "group_id": "g", "text": { "body": "!delete 12" } }),
            json!({ "type": "text", "text": { "body": "  " } }),
        ] {
            assert_eq!(kind(message.clone()), MessageKind::Ignored, "{message}");
        }
        let echo = json!({ "entry": [{ "changes": [{ "field": "smb_message_echoes", "value": value(json!([])) }] }] });
        assert_eq!(read(echo.to_string().as_bytes(), "77", NOW), Some(Vec::new()));
    }

    #[test]
    fn a_failure_carries_metas_code_and_words() {
        let statuses = json!({
            "metadata": { "phone_number_id": "77" },
            "statuses": [
                { "id": "w1", "status": "delivered", "recipient_id": "491701234567" },
                { "id": "w2", "status": "failed", "recipient_user_id": "DE.1", "errors": [
                    { "code": 131047, "title": "Re-engagement message", "error_data": { "details": "more than\n24 hours" } },
                ]},
                { "id": "w3", "status": "failed" },
            ],
        });
        let told: Vec<_> = events(statuses)
            .into_iter()
            .map(|event| match event {
                NotificationEvent::Status(status) => (status.id, status.failure.map(|it| it.to_string())),
                other => panic!("{other:?}"),
            })
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                ("w1".into(), None),
                ("w2".into(), some("(131047) more than 24 hours")),
                ("w3".into(), some("(0) "))
            ]
        );
    }

    #[test]
    fn times_are_seconds_milliseconds_or_now() {
        assert_eq!(time(&json!("1700000000")), time(&json!(1_700_000_000_000_u64)));
        assert_eq!(time(&json!("soon")), None);
        assert!(time(&json!(u64::MAX)).is_none_or(|time| time > NOW));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "(messages|text|77|wamid\\.1|DE\\.1|491701234567|\\PC{0,12})".prop_map(Value::from),
        ];
        let key = "(entry|changes|field|value|metadata|phone_number_id|messages|statuses|contacts|errors|id|from|from_user_id|type|text|body|\
                   interactive|button_reply|reaction|context|timestamp|image|code|wa_id|user_id|profile|name|[a-z]{1,4})";
        leaf.prop_recursive(8, 128, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&body, "77", NOW);
        }

        #[test]
        fn any_json_is_read(body in any_json(), value in any_json(), message in any_json(), message2 in any_json()) {
            read(body.to_string().as_bytes(), "77", NOW);
            let mut inside = value.clone();
            if let Some(object) = inside.as_object_mut() {
                object.insert("metadata".into(), json!({ "phone_number_id": "77" }));
                object.insert("messages".into(), json!([message, message2]));
                object.insert("statuses".into(), message2.clone());
            }
            for body in [notification(value), notification(inside)] {
                for event in read(body.to_string().as_bytes(), "77", NOW).unwrap() {
                    if let NotificationEvent::Message(message) = event {
                        prop_assert!(!message.id.is_empty() && !message.who.id().is_empty());
                        prop_assert!(!message.who.id().contains(char::is_whitespace));
                    }
                }
            }
        }
    }
}
