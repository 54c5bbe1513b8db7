//! The verbs of a test: play people, look, break things.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{
    BOT, BOT_TOKEN, Call, Fault, Message, Slack, blocks, deliver,
    state::{Channel, ChannelKind, Hooks, ResponseUrl, State},
};

/// An event in its callback.
pub(super) fn callback(state: &mut State, event: Value) -> Value {
    let number = state.number();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({
        "token": "verification", "team_id": "T1", "api_app_id": "A1", "type": "event_callback", "event": event,
        "event_id": format!("Ev{number:08}"), "event_time": now, "is_ext_shared_channel": false,
        "authorizations": [{ "enterprise_id": null, "team_id": "T1", "user_id": BOT, "is_bot": true, "is_enterprise_install": false }],
    })
}

/// The event `message` for a message.
pub(super) fn message_event(state: &mut State, message: &Message) -> Value {
    let mut event = message.json(state);
    event["channel"] = message.channel.as_str().into();
    event["channel_type"] = kind_of(state, &message.channel).names().0.into();
    event["event_ts"] = message.ts.as_str().into();
    callback(state, event)
}

fn kind_of(state: &State, channel: &str) -> ChannelKind {
    state.channels.get(channel).map_or(ChannelKind::Public, |channel| channel.kind)
}

impl Slack {
    // --- people ---

    /// The person writes in the conversation; returns the message's `ts`. A mention of the bot comes as two events, as in Slack.
    pub fn say(&self, channel: &str, user: &str, text: &str) -> String {
        self.write(written(channel, user, text))
    }

    /// The person writes in the thread below a message.
    pub fn say_in_thread(&self, channel: &str, user: &str, thread: &str, text: &str) -> String {
        self.write(Message { thread: Some(thread.to_owned()), ..written(channel, user, text) })
    }

    pub fn bot_says(&self, channel: &str, text: &str) -> String {
        self.write(Message { is_bot: true, ..written(channel, "U0OTHER", text) })
    }

    pub(super) fn write(&self, message: Message) -> String {
        let (ts, events) = self.shared.change(|state| {
            let message = Message { ts: state.ts(), ..message };
            let events = events_of(state, &message);
            let ts = message.ts.clone();
            state.messages.push(message);
            (ts, events)
        });
        self.tell_all(events);
        ts
    }

    fn tell_all(&self, events: Vec<Value>) {
        for event in events {
            deliver::send_event(&self.shared, "events_api", event);
        }
    }

    /// Slack delivers this message once more.
    pub fn redeliver(&self, channel: &str, ts: &str) {
        let events = self.shared.change(|state| {
            let message = state.message(channel, ts).cloned();
            message.map(|message| events_of(state, &message)).unwrap_or_default()
        });
        self.tell_all(events);
    }

    /// The person changes a message of theirs.
    pub fn edit(&self, channel: &str, ts: &str, text: &str) {
        self.change_message(channel, ts, |message, at| {
            message.text = text.to_owned();
            Some(json!({ "user": message.user, "ts": at }))
        });
    }

    /// Slack adds the preview of a link to a message, which changes it, but not its text.
    pub fn unfurl(&self, channel: &str, ts: &str) {
        self.change_message(channel, ts, |_, _| None);
    }

    /// Slack's event about a changed message; `change` returns its field `edited`.
    fn change_message(
        &self,
        channel: &str,
        ts: &str,
        change: impl FnOnce(&mut Message, &str) -> Option<Value>,
    ) {
        let event = self.shared.change(|state| {
            let at = state.ts();
            let before = state.message(channel, ts).cloned()?;
            let edited = change(state.message(channel, ts)?, &at);
            let message = state.message(channel, ts).cloned()?;
            let (kind, event) = kind_of(state, channel).names();
            let mut after = message.json(state);
            if let Some(edited) = edited {
                after["edited"] = edited;
            }
            let changed = json!({
                "type": "message", "subtype": "message_changed", "channel": channel, "channel_type": kind, "hidden": true,
                "ts": at, "event_ts": at, "message": after, "previous_message": before.json(state),
            });
            state.hears(channel, event).then(|| callback(state, changed))
        });
        self.tell_all(event.into_iter().collect());
    }

    /// The person deletes a message of theirs.
    pub fn delete(&self, channel: &str, ts: &str) {
        let event = self.shared.change(|state| {
            let before = state.message(channel, ts).cloned()?;
            state.messages.retain(|message| message.ts != ts || message.channel != channel);
            let (kind, event) = kind_of(state, channel).names();
            let deleted = json!({
                "type": "message", "subtype": "message_deleted", "channel": channel, "channel_type": kind, "hidden": true,
                "deleted_ts": ts, "ts": state.ts(), "previous_message": before.json(state),
            });
            state.hears(channel, event).then(|| callback(state, deleted))
        });
        self.tell_all(event.into_iter().collect());
    }

    pub fn send_event(&self, event: Value) {
        let event = self.shared.change(|state| callback(state, event));
        deliver::send_event(&self.shared, "events_api", event);
    }

    /// Any payload in an envelope, as it is.
    pub fn tell_raw(&self, kind: &'static str, payload: Value) {
        deliver::send_event(&self.shared, kind, payload);
    }

    /// The person presses the button with this label, which the message must show.
    pub fn press(&self, channel: &str, ts: &str, user: &str, label: &str) {
        let button = self.shared.state().message(channel, ts).and_then(|message| button(message, label));
        let button = button.unwrap_or_else(|| panic!("no button {label:?} on {channel}/{ts}"));
        self.press_stale(channel, ts, user, &button);
    }

    /// The button with this label, to press it later on a client that shows an old state.
    pub fn button(&self, channel: &str, ts: &str, label: &str) -> Option<Value> {
        self.shared.state().message(channel, ts).and_then(|message| button(message, label))
    }

    /// The person presses a button that the message may no longer have.
    pub fn press_stale(&self, channel: &str, ts: &str, user: &str, button: &Value) {
        let payload = self.shared.change(|state| {
            let message = state.message(channel, ts).cloned().expect("a message");
            let url = response_url(&self.shared.base, state, channel, user);
            let mut container = json!({
                "type": "message", "message_ts": ts, "channel_id": channel, "is_ephemeral": message.only_for.is_some(),
            });
            if let Some(thread) = &message.thread {
                container["thread_ts"] = thread.as_str().into();
            }
            let name = state.users.get(user).cloned().unwrap_or_default();
            json!({
                "type": "block_actions", "api_app_id": "A1", "token": "verification", "container": container,
                "user": { "id": user, "username": name.to_lowercase(), "name": name.to_lowercase(), "team_id": "T1" },
                "trigger_id": format!("{}.trigger", state.number()), "team": { "id": "T1", "domain": "stand-in" },
                "enterprise": null, "is_enterprise_install": false, "channel": { "id": channel, "name": "general" },
                "message": message.json(state), "state": { "values": {} }, "response_url": url,
                "actions": [{
                    "action_id": button["action_id"], "block_id": "b", "text": button["text"], "value": button["value"],
                    "type": "button", "action_ts": state.ts(),
                }],
            })
        });
        deliver::send_event(&self.shared, "interactive", payload);
    }

    /// The person types a slash command.
    pub fn slash(&self, channel: &str, user: &str, command: &str, text: &str) {
        let payload = self.shared.change(|state| {
            let url = response_url(&self.shared.base, state, channel, user);
            let name = state.channels.get(channel).map(|channel| channel.name.clone()).unwrap_or_default();
            let user_name = state.users.get(user).map(|name| name.to_lowercase()).unwrap_or_default();
            json!({
                "token": "verification", "team_id": "T1", "team_domain": "stand-in", "channel_id": channel, "channel_name": name,
                "user_id": user, "user_name": user_name, "command": command, "text": text, "api_app_id": "A1",
                "is_enterprise_install": "false", "response_url": url, "trigger_id": format!("{}.trigger", state.number()),
            })
        });
        deliver::send_event(&self.shared, "slash_commands", payload);
    }

    // --- the workspace ---

    /// Another channel with everybody in it.
    pub fn add_channel(&self, id: &str) {
        self.shared.change(|state| {
            let members = state.users.keys().cloned().collect();
            state.channels.insert(
                id.to_owned(),
                Channel { name: id.to_lowercase(), kind: ChannelKind::Public, members, archived: false },
            );
        });
    }

    /// Somebody is in a channel no more.
    pub fn leave(&self, channel: &str, user: &str) {
        self.shared.change(|state| {
            if let Some(channel) = state.channels.get_mut(channel) {
                channel.members.remove(user);
            }
        });
    }

    /// The app is called at these addresses from now on, instead of over its sockets.
    pub fn call_app_at(&self, events: &str, commands: &str, interactions: &str) {
        let hooks =
            Hooks { events: events.into(), commands: commands.into(), interactions: interactions.into() };
        self.shared.change(|state| state.hooks = Some(hooks));
    }

    /// The app is made from this manifest: it has the scopes and gets the events that it names, and no others.
    pub fn install(&self, manifest: &str) {
        let manifest: Value = serde_json::from_str(manifest).expect("a manifest is JSON");
        let list = |names: &Value| {
            let names = names.as_array().into_iter().flatten();
            names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        self.shared.change(|state| {
            state.scopes = list(&manifest["oauth_config"]["scopes"]["bot"]);
            state.subscribed = Some(list(&manifest["settings"]["event_subscriptions"]["bot_events"]));
        });
    }

    /// The bot is removed from the channel.
    pub fn kick_bot(&self, channel: &str) {
        self.shared.change(|state| {
            state.channels.get_mut(channel).map(|channel| channel.members.remove(BOT));
        });
    }

    /// Somebody invites the bot to the channel.
    pub fn invite_bot(&self, channel: &str) {
        self.shared.change(|state| {
            state.channels.get_mut(channel).map(|channel| channel.members.insert(BOT.to_owned()));
        });
    }

    pub fn archive(&self, channel: &str, archived: bool) {
        self.shared.change(|state| {
            if let Some(channel) = state.channels.get_mut(channel) {
                channel.archived = archived;
            }
        });
    }

    /// The app loses a scope.
    pub fn remove_scope(&self, scope: &str) {
        self.shared.change(|state| state.scopes.remove(scope));
    }

    /// A token is refused with this code from now on; `None` takes it again.
    pub fn refuse_token(&self, token: &'static str, code: Option<&str>) {
        self.shared.change(|state| match code {
            Some(code) => drop(state.refused.insert(token, code.to_owned())),
            None => drop(state.refused.remove(token)),
        });
    }

    /// The app is removed from the workspace: its token is refused, and it gets the event.
    pub fn uninstall(&self) {
        self.refuse_token(BOT_TOKEN, Some("account_inactive"));
        self.send_event(json!({ "type": "app_uninstalled" }));
    }

    /// This Slack does not know Markdown.
    pub fn forget_markdown(&self) {
        self.shared.change(|state| state.knows_markdown = false);
    }

    /// So many other programs are connected to the same app.
    pub fn foreign_connections(&self, count: usize) {
        self.shared.change(|state| state.foreign_sockets = count);
    }

    // --- faults ---

    /// The next call of the method fails so; called twice, the next two do.
    pub fn fault(&self, method: &str, fault: Fault) {
        self.shared.change(|state| state.faults.entry(method.to_owned()).or_default().push_back(fault));
    }

    /// The next event sent to the app's address is taken for lost and sent again.
    pub fn doubt_next(&self) {
        self.fault("hook", Fault::Hang);
    }

    /// All connections break without a close frame.
    pub fn cut(&self) {
        self.shared.change(State::drop_sockets);
    }

    /// All connections are closed in order.
    pub fn close(&self) {
        self.shared.change(|state| state.sockets.iter().for_each(deliver::SocketHandle::close));
    }

    /// Slack announces that it will close all connections: `warning`,
    /// `refresh_requested`, `too_many_websockets`, `link_disabled`.
    pub fn announce_end(&self, reason: &str) {
        let frame = json!({ "type": "disconnect", "reason": reason, "debug_info": { "host": "stand-in" } });
        self.shared.change(|state| state.sockets.iter().for_each(|socket| socket.send(&frame)));
    }

    /// Any frame over all connections.
    pub fn send_frame(&self, frame: &Value) {
        self.shared.change(|state| state.sockets.iter().for_each(|socket| socket.send(frame)));
    }

    /// The connections stay open, but nothing comes through any more.
    pub fn deafen(&self) {
        self.shared.change(|state| state.sockets.iter_mut().for_each(deliver::SocketHandle::deafen));
    }

    // --- looking ---

    /// Waits for a message of the bot whose shown text contains `text`, in a channel, and returns it. Panics after a minute
    /// with the channel's messages, like every wait below.
    pub async fn see(&self, channel: &str, text: &str) -> Message {
        self.see_which(channel, &format!("{text:?}"), |message| message.shown().contains(text)).await
    }

    /// Waits for any message of the bot.
    pub async fn see_which(&self, channel: &str, what: &str, which: impl Fn(&Message) -> bool) -> Message {
        let found = self.shared.until(|state| {
            let mut of_bot =
                state.messages.iter().filter(|message| message.channel == channel && message.user == BOT);
            of_bot.find(|message| which(message)).cloned()
        });
        found.await.unwrap_or_else(|| panic!("never saw {what}:\n{}", self.transcript(channel)))
    }

    /// Waits until `check` is true of the messages of a channel.
    pub async fn until(&self, channel: &str, what: &str, check: impl Fn(&[Message]) -> bool) {
        let found = self.shared.until(|state| {
            let messages: Vec<Message> =
                state.messages.iter().filter(|message| message.channel == channel).cloned().collect();
            check(&messages).then_some(())
        });
        found.await.unwrap_or_else(|| panic!("never {what}:\n{}", self.transcript(channel)));
    }

    /// All messages of a channel, in order.
    pub fn messages(&self, channel: &str) -> Vec<Message> {
        self.shared.state().messages.iter().filter(|message| message.channel == channel).cloned().collect()
    }

    /// The messages of a channel as text, for a failed test.
    pub fn transcript(&self, channel: &str) -> String {
        let line = |message: &Message| {
            let place = message.thread.as_deref().map(|thread| format!(" in {thread}")).unwrap_or_default();
            let one = message.only_for.as_deref().map(|user| format!(" only for {user}")).unwrap_or_default();
            format!(
                "{} {}{place}{one}: {} {:?}\n",
                message.ts,
                message.user,
                message.shown(),
                message.buttons()
            )
        };
        self.messages(channel).iter().map(line).collect()
    }

    /// All calls of a method so far; every call if it is empty.
    pub fn calls(&self, method: &str) -> Vec<Call> {
        let state = self.shared.state();
        state.calls.iter().filter(|call| method.is_empty() || call.method == method).cloned().collect()
    }

    /// Waits until a method was called so often.
    pub async fn called(&self, method: &str, times: usize) {
        let found = self.shared.until(|state| {
            (state.calls.iter().filter(|call| call.method == method).count() >= times).then_some(())
        });
        found.await.unwrap_or_else(|| panic!("{method} was not called {times} times"));
    }

    pub fn acknowledged(&self) -> Vec<(String, Duration)> {
        self.shared.state().acknowledged.clone()
    }

    /// Waits until so many envelopes and requests were acknowledged.
    pub async fn acknowledged_at_least(&self, count: usize) {
        let found = self.shared.until(|state| (state.acknowledged.len() >= count).then_some(()));
        found.await.unwrap_or_else(|| panic!("only {} were acknowledged", self.acknowledged().len()));
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.state().sockets.len()
    }

    /// How many connections were made.
    pub fn opened(&self) -> usize {
        self.shared.state().opened
    }

    /// Waits until connections were made so often, and one is open.
    pub async fn connected(&self, opened: usize) {
        let found =
            self.shared.until(|state| (state.opened >= opened && !state.sockets.is_empty()).then_some(()));
        found.await.unwrap_or_else(|| panic!("the app did not connect {opened} times"));
    }
}

pub(super) fn written(channel: &str, user: &str, text: &str) -> Message {
    Message {
        channel: channel.to_owned(),
        ts: String::new(),
        thread: None,
        user: user.to_owned(),
        is_bot: false,
        text: text.to_owned(),
        blocks: Vec::new(),
        only_for: None,
        edits: 0,
        reactions: Default::default(),
        files: Vec::new(),
        more: Value::Null,
    }
}

// Slack sends an app nothing from channels without its bot.
fn events_of(state: &mut State, message: &Message) -> Vec<Value> {
    let kind = kind_of(state, &message.channel);
    let mut events = Vec::new();
    if message.text.contains(&format!("<@{BOT}>"))
        && kind != ChannelKind::Direct
        && state.hears(&message.channel, "app_mention")
    {
        let mut mention = message_event(state, message);
        mention["event"]["type"] = "app_mention".into();
        if let Some(event) = mention["event"].as_object_mut() {
            event.remove("channel_type");
        }
        events.push(mention);
    }
    if state.hears(&message.channel, kind.names().1) {
        events.push(message_event(state, message));
    }
    events
}

fn button(message: &Message, label: &str) -> Option<Value> {
    blocks::buttons(&message.blocks).find(|button| button["text"]["text"] == label).cloned()
}

fn response_url(base: &str, state: &mut State, channel: &str, user: &str) -> String {
    let id = uuid::Uuid::new_v4().to_string();
    let url = ResponseUrl { channel: channel.to_owned(), user: user.to_owned(), uses: 0 };
    state.response_urls.insert(id.clone(), url);
    format!("{base}/response/{id}")
}

/// For tests of the HTTP mode that make their own requests.
impl Slack {
    /// A request signed as Slack signs, at a time.
    pub fn signed_request(
        address: &str,
        body: &str,
        content_type: &str,
        at: SystemTime,
    ) -> reqwest::RequestBuilder {
        deliver::signed(address, body.to_owned(), content_type, at)
    }
}
