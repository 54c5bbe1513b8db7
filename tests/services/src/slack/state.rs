//! The state of the workspace: people, conversations, messages, tokens, and a log of all requests.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};

use super::{APP_TOKEN, BOT, BOT_ID, BOT_TOKEN, deliver::SocketHandle, files::PersonFile};

/// The scopes that an app for this bot has, as its manifest asks for them.
const SCOPES: &[&str] = &[
    "app_mentions:read",
    "channels:history",
    "channels:read",
    "chat:write",
    "commands",
    "files:read",
    "files:write",
    "groups:history",
    "groups:read",
    "im:history",
    "im:write",
    "mpim:history",
    "reactions:write",
    "users:read",
];
/// `chat.update` is Tier 3: <https://docs.slack.dev/apis/web-api/rate-limits>
const UPDATES_A_MINUTE: usize = 50;

/// A call of the Web API, of a response URL or of an upload, as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    /// The method; `response_url` and `upload` for those.
    pub method: String,
    pub body: Value,
    pub ok: bool,
}

/// The fault of a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is never answered.
    Hang,
    /// An HTTP status without JSON.
    Status(u16),
    Code(String),
    /// 429 with this many seconds.
    Limited(u64),
    /// An answer that is no JSON.
    Garbage,
}

/// A message in its present state.
#[derive(Clone, Debug)]
pub struct Message {
    pub channel: String,
    pub ts: String,
    pub thread: Option<String>,
    pub user: String,
    /// Whether a bot wrote it.
    pub is_bot: bool,
    /// `text` or `markdown_text`.
    pub text: String,
    pub blocks: Vec<Value>,
    /// The one person who sees it.
    pub only_for: Option<String>,
    /// How often it was edited.
    pub edits: usize,
    /// The reactions of people and bot.
    pub reactions: BTreeSet<String>,
    /// Names and bytes of its files.
    pub files: Vec<(String, Vec<u8>)>,
    /// More fields of a person's message: its files, and what it shares.
    pub more: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelKind {
    Public,
    /// A conversation of two.
    Direct,
    /// A direct conversation of several people.
    Group,
}

impl ChannelKind {
    /// The `channel_type` of its events, and the event that an app subscribes to for its messages.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Public => ("channel", "message.channels"),
            Self::Direct => ("im", "message.im"),
            Self::Group => ("mpim", "message.mpim"),
        }
    }

    /// Slack sends its messages only to apps with this scope.
    pub fn scope(self) -> &'static str {
        match self {
            Self::Public => "channels:history",
            Self::Direct => "im:history",
            Self::Group => "mpim:history",
        }
    }
}

pub(super) struct Channel {
    pub name: String,
    pub kind: ChannelKind,
    pub members: BTreeSet<String>,
    pub archived: bool,
}

/// Where an answer to a command or a press can be sent.
#[derive(Clone)]
pub(super) struct ResponseUrl {
    pub channel: String,
    pub user: String,
    pub uses: u8,
}

/// An app's own addresses, in HTTP mode.
#[derive(Clone)]
pub(super) struct Hooks {
    pub events: String,
    pub commands: String,
    pub interactions: String,
}

pub(super) struct State {
    pub users: BTreeMap<String, String>,
    pub channels: BTreeMap<String, Channel>,
    pub messages: Vec<Message>,
    pub calls: Vec<Call>,
    pub faults: HashMap<String, VecDeque<Fault>>,
    pub scopes: BTreeSet<String>,
    /// The events that the app's manifest asks for; `None` for all.
    pub subscribed: Option<BTreeSet<String>>,
    /// The code with which a token is refused.
    pub refused: HashMap<&'static str, String>,
    pub sockets: Vec<SocketHandle>,
    pub foreign_sockets: usize,
    pub waiting: VecDeque<super::deliver::Envelope>,
    pub unacknowledged: HashMap<String, super::deliver::Envelope>,
    pub acknowledged: Vec<(String, Duration)>,
    pub response_urls: HashMap<String, ResponseUrl>,
    pub uploads: HashMap<String, (String, Vec<u8>)>,
    pub people_files: HashMap<String, PersonFile>,
    /// The most messages in an answer about a thread.
    pub replies_max: Option<usize>,
    pub hooks: Option<Hooks>,
    pub opened: usize,
    pub knows_markdown: bool,
    pub updates: VecDeque<Instant>,
    pub redelivers: bool,
    counter: u64,
    /// In microseconds.
    last_ts: u128,
}

impl State {
    pub fn new() -> Self {
        let people = [("U1", "Ann"), ("U2", "Bob"), ("U3", "Cleo"), (BOT, "timmy")];
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        let channel = |name: &str, kind, members: &[&str]| Channel {
            name: name.into(),
            kind,
            members: set(members),
            archived: false,
        };
        let (public, direct) = (ChannelKind::Public, ChannelKind::Direct);
        let channels = [
            ("C1", channel("general", public, &["U1", "U2", "U3", BOT])),
            ("C2", channel("without-the-bot", public, &["U1", "U2"])),
            ("D1", channel("directmessage", direct, &["U1", BOT])),
            ("D2", channel("directmessage", direct, &["U2", BOT])),
            // Its id begins like a channel's.
            ("C7", channel("mpdm-ann--bob--timmy-1", ChannelKind::Group, &["U1", "U2", BOT])),
        ];
        Self {
            users: people.into_iter().map(|(id, name)| (id.to_owned(), name.to_owned())).collect(),
            channels: channels.into_iter().map(|(id, channel)| (id.to_owned(), channel)).collect(),
            messages: Vec::new(),
            calls: Vec::new(),
            faults: HashMap::new(),
            scopes: set(SCOPES),
            subscribed: None,
            refused: HashMap::new(),
            sockets: Vec::new(),
            foreign_sockets: 0,
            waiting: VecDeque::new(),
            unacknowledged: HashMap::new(),
            acknowledged: Vec::new(),
            response_urls: HashMap::new(),
            uploads: HashMap::new(),
            people_files: HashMap::new(),
            replies_max: None,
            hooks: None,
            opened: 0,
            knows_markdown: true,
            updates: VecDeque::new(),
            redelivers: true,
            counter: 0,
            last_ts: 0,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// A `ts` that no other message has: the time in microseconds, as Slack's own.
    pub fn ts(&mut self) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_ts = now.as_micros().max(self.last_ts + 1);
        format!("{}.{:06}", self.last_ts / 1_000_000, self.last_ts % 1_000_000)
    }

    pub fn drop_sockets(&mut self) {
        for socket in self.sockets.drain(..) {
            socket.drop_connection();
        }
    }

    /// Everything that people were ever shown: messages and files in their present state, and the requests on the way there.
    pub fn all_shown(&self) -> String {
        let messages = self.messages.iter().map(Message::shown);
        let calls = self.calls.iter().map(|call| {
            let mut body = call.body.clone();
            // Where a token belongs.
            if let Some(arguments) = body.as_object_mut() {
                arguments.remove("token");
            }
            body.to_string()
        });
        messages.chain(calls).collect::<Vec<_>>().join("\n")
    }

    pub fn message(&mut self, channel: &str, ts: &str) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.channel == channel && message.ts == ts)
    }

    /// Whether the token is good, and has the scope.
    pub fn authorize(&self, token: &str, wanted: &'static str, scope: Option<&str>) -> Result<(), Value> {
        let refuse = |code: &str| Err(json!({ "ok": false, "error": code }));
        if token.is_empty() {
            return refuse("not_authed");
        }
        if token != wanted {
            return refuse(if token == BOT_TOKEN || token == APP_TOKEN {
                "not_allowed_token_type"
            } else {
                "invalid_auth"
            });
        }
        if let Some(code) = self.refused.get(wanted) {
            return refuse(code);
        }
        match scope.filter(|scope| wanted == BOT_TOKEN && !self.scopes.contains(*scope)) {
            Some(scope) => {
                let provided: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
                Err(
                    json!({ "ok": false, "error": "missing_scope", "needed": scope, "provided": provided.join(",") }),
                )
            }
            None => Ok(()),
        }
    }

    /// Whether the bot may speak there.
    pub fn speak_in(&self, channel: &str) -> Result<(), Value> {
        match self.channels.get(channel) {
            None => Err(json!({ "ok": false, "error": "channel_not_found" })),
            Some(channel) if !channel.members.contains(BOT) => {
                Err(json!({ "ok": false, "error": "not_in_channel" }))
            }
            Some(channel) if channel.archived => Err(json!({ "ok": false, "error": "is_archived" })),
            Some(_) => Ok(()),
        }
    }

    /// Whether the app hears of messages in this channel: it is in there, subscribes to them and has the scope.
    pub fn hears(&self, channel: &str, event: &str) -> bool {
        let Some(channel) = self.channels.get(channel) else { return true };
        channel.members.contains(BOT)
            && self.scopes.contains(channel.kind.scope())
            && self.subscribed.as_ref().is_none_or(|subscribed| subscribed.contains(event))
    }

    /// Counts an edit; the seconds to wait where it is one too many.
    pub fn count_update(&mut self) -> Result<(), u64> {
        let now = Instant::now();
        while self.updates.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(60)) {
            self.updates.pop_front();
        }
        if self.updates.len() >= UPDATES_A_MINUTE {
            let oldest = self.updates.front().map_or(Duration::ZERO, |at| now.duration_since(*at));
            return Err((Duration::from_secs(60).saturating_sub(oldest)).as_secs() + 1);
        }
        self.updates.push_back(now);
        Ok(())
    }
}

impl Message {
    /// The text that a person's client shows: that of its blocks, or its own.
    pub fn shown(&self) -> String {
        let texts: Vec<String> = self.blocks.iter().filter_map(super::blocks::shown).collect();
        let text = if texts.is_empty() { super::blocks::decoded(&self.text) } else { texts.join("\n") };
        let files = self.files.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
        std::iter::once(text).chain(files).collect::<Vec<_>>().join("\n")
    }

    /// The labels of its buttons.
    pub fn buttons(&self) -> Vec<String> {
        super::blocks::buttons(&self.blocks)
            .filter_map(|button| button["text"]["text"].as_str().map(str::to_owned))
            .collect()
    }

    /// As events and answers hold it.
    pub(super) fn json(&self, state: &State) -> Value {
        let mut json = json!({
            "type": "message", "user": self.user, "text": self.text, "ts": self.ts, "team": "T1",
        });
        self.more.as_object().into_iter().flatten().for_each(|(key, value)| json[key] = value.clone());
        if !self.blocks.is_empty() {
            json["blocks"] = Value::from(self.blocks.clone());
        }
        if let Some(thread) = &self.thread {
            json["thread_ts"] = thread.as_str().into();
            let parent =
                state.messages.iter().find(|root| root.channel == self.channel && root.ts == *thread);
            if let Some(parent) = parent {
                json["parent_user_id"] = parent.user.as_str().into();
            }
        }
        if self.is_bot {
            json["bot_id"] = if self.user == BOT { BOT_ID } else { "B0OTHER" }.into();
            json["app_id"] = "A1".into();
        }
        json
    }
}
