//! Problems that the operator should know about while connected: a refused token, channels without the bot, a second program.

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::{adapter::Slack, event::text, manifest::SCOPES};
use crate::{
    AdapterError, Inbox,
    slack::{call_failure::CallFailure, incoming::BotIdentity, notices},
};

// The app subscribes to no event about its own membership in channels, so the bot has to look.
const EVERY: Duration = Duration::from_secs(60);
// Only `hello` carries the number of connections, so each look costs a new connection.
const SECOND_LOOK: Duration = Duration::from_secs(300);
// An address for a connection works once, for half a minute.
const ADDRESS_AGE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub struct ConnectionWatch(Mutex<WatchState>);

#[derive(Default)]
struct WatchState {
    scopes: Option<String>,
    channels: Option<String>,
    second: Option<String>,
    second_since: Option<Instant>,
    // Until when Slack may still count connections of ours that broke without a close.
    broken: Vec<Instant>,
    // An address for a connection that was not used yet.
    address: Option<(String, Instant)>,
}

impl ConnectionWatch {
    pub fn keep_address(&self, url: String, now: Instant) {
        self.0.lock().address = Some((url, now));
    }

    /// The address that was kept, once and only as long as it works.
    pub fn take_address(&self, now: Instant) -> Option<String> {
        let (url, since) = self.0.lock().address.take()?;
        (now.duration_since(since) < ADDRESS_AGE).then_some(url)
    }

    /// Records that a connection broke; Slack may count it for the time `counted`.
    pub fn connection_broke(&self, now: Instant, counted: Duration) {
        self.0.lock().broken.push(now + counted);
    }

    /// How many broken connections Slack may still count.
    pub fn broken_connections(&self, now: Instant) -> u64 {
        let mut state = self.0.lock();
        state.broken.retain(|until| *until > now);
        state.broken.len().try_into().unwrap_or(u64::MAX)
    }

    /// Sets or clears the note about another program that uses the same app.
    pub fn note_second(&self, note: Option<String>, inbox: &Inbox) {
        let mut state = self.0.lock();
        state.second_since = note.is_some().then(Instant::now);
        state.second = note;
        state.publish(inbox);
    }

    pub fn second_is_due(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        let due = state.second_since.is_some_and(|since| now.duration_since(since) > SECOND_LOOK);
        if due {
            state.second_since = Some(now);
        }
        due
    }
}

impl WatchState {
    fn publish(&self, inbox: &Inbox) {
        let notes: Vec<&str> =
            [&self.scopes, &self.channels, &self.second].into_iter().flatten().map(String::as_str).collect();
        inbox.set_note((!notes.is_empty()).then(|| notes.join(" ")));
    }
}

impl Slack {
    pub(super) async fn identify(&self) -> Result<(), CallFailure> {
        let answer = self.web().call("auth.test", &json!({})).await?;
        let me = BotIdentity {
            user: text(&answer, "user_id").to_owned(),
            name: text(&answer, "user").to_owned(),
            workspace: text(&answer, "url").to_owned(),
        };
        if me.user.is_empty() {
            return Err(CallFailure::Unreachable("Slack does not say who the bot is".into()));
        }
        self.receiver().set_me(me);
        Ok(())
    }

    /// Which of these scopes the bot token lacks, as one list; `None` if it has all, or Slack sends no list.
    pub(super) async fn missing_scopes(&self, wanted: &[&str]) -> Option<String> {
        let granted = self.web().scopes().await?;
        let missing: Vec<&str> =
            wanted.iter().copied().filter(|scope| !granted.iter().any(|granted| granted == scope)).collect();
        (!missing.is_empty()).then(|| missing.join("`, `"))
    }

    /// Checks token and channels regularly; returns once Slack refuses the bot token.
    pub(super) async fn run_checks(&self, inbox: &Inbox) -> AdapterError {
        let scopes = self
            .missing_scopes(SCOPES)
            .await
            .map(|scopes| format!("`slack.bot_token`: {}", notices::missing_scopes(&scopes)));
        self.watch().0.lock().scopes = scopes;
        loop {
            let note = self.channels_without_me().await;
            {
                let mut state = self.watch().0.lock();
                state.channels = note;
                state.publish(inbox);
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.token_refused() => {}
            }
            if let Err(CallFailure::Auth(code)) = self.identify().await {
                return AdapterError::Rejected(notices::token_gone(&code));
            }
        }
    }

    // Slack sends nothing from a channel without the bot, so nobody would know why it is silent there.
    async fn channels_without_me(&self) -> Option<String> {
        let (mut outside, mut archived) = (Vec::new(), Vec::new());
        for channel in &self.config().channel_ids {
            // Not `conversations.info`: that would need two more scopes, and this one the bot has for its events anyway.
            let body = [("channel", channel.as_str()), ("limit", "1")];
            if let Err(CallFailure::Refused(code)) =
                self.web().call_with("conversations.history", &body).await
            {
                match code.as_str() {
                    "not_in_channel" | "channel_not_found" => outside.push(channel.clone()),
                    "is_archived" => archived.push(notices::archived(channel)),
                    _ => {}
                }
            }
        }
        let outside = (!outside.is_empty())
            .then(|| notices::not_in_channels(&outside, &self.receiver().bot_identity().name));
        let notes: Vec<String> = outside.into_iter().chain(archived).collect();
        (!notes.is_empty()).then(|| notes.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::AdapterHealth;

    #[tokio::test]
    async fn notes_stand_together_until_each_is_over() {
        let health = Arc::new(AdapterHealth::new("slack"));
        let inbox = Inbox::new(tokio::sync::mpsc::channel(1).0, health.clone());
        let watch = ConnectionWatch::default();
        watch.0.lock().channels = Some("Not in `C1`.".into());
        watch.note_second(Some("Two of us.".into()), &inbox);
        assert_eq!(health.snapshot().note.as_deref(), Some("Not in `C1`. Two of us."));
        watch.note_second(None, &inbox);
        assert_eq!(health.snapshot().note.as_deref(), Some("Not in `C1`."));
    }

    #[test]
    fn an_address_is_used_once_and_only_while_it_works() {
        let (watch, now) = (ConnectionWatch::default(), Instant::now());
        watch.keep_address("wss://a".into(), now);
        assert_eq!(watch.take_address(now).as_deref(), Some("wss://a"));
        assert_eq!(watch.take_address(now), None);
        watch.keep_address("wss://b".into(), now);
        assert_eq!(watch.take_address(now + ADDRESS_AGE), None);
    }

    #[test]
    fn a_broken_connection_is_not_taken_for_another_program_for_a_while() {
        let (watch, now) = (ConnectionWatch::default(), Instant::now());
        watch.connection_broke(now, Duration::from_secs(300));
        assert_eq!(watch.broken_connections(now), 1);
        assert_eq!(watch.broken_connections(now + Duration::from_secs(301)), 0);
    }
}
