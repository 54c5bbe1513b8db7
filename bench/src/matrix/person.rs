//! Somebody in a room, by the client-server API alone: the driver must cost less than the bots.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use services::matrix::Synapse;

use crate::world::PATIENCE;

/// A user who is logged in.
pub struct Person {
    http: reqwest::Client,
    url: String,
    token: String,
    id: String,
    since: Option<String>,
}

impl Person {
    pub async fn new(synapse: &Synapse) -> anyhow::Result<Self> {
        let account = synapse.register("ann").await;
        let (_, token) = synapse.log_in(&account).await;
        // The homeserver is on this machine.
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, url: synapse.url(), token, id: account.id, since: None })
    }

    /// The whole id, `@name:server`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Makes a room without encryption that anybody may join.
    pub async fn create_room(&self, invited: &str) -> anyhow::Result<String> {
        let body = json!({ "preset": "public_chat", "invite": [invited] });
        let answer = self.call(self.http.post(self.address("createRoom")).json(&body)).await?;
        Ok(answer["room_id"].as_str().context("no room")?.to_owned())
    }

    /// Brings somebody else into the room, with their token.
    pub async fn bring(&self, room: &str, token: &str) -> anyhow::Result<()> {
        let request = self.http.post(self.address(&format!("join/{room}"))).json(&json!({}));
        let answer = request.bearer_auth(token).send().await?;
        ensure!(answer.status().is_success(), "the homeserver refuses: {}", answer.text().await?);
        Ok(())
    }

    /// Waits until somebody is in the room.
    pub async fn until_joined(&self, room: &str, who: &str) -> anyhow::Result<()> {
        let address = self.address(&format!("rooms/{room}/joined_members"));
        let joined = async {
            loop {
                let answer = self.call(self.http.get(&address)).await?;
                if answer["joined"].get(who).is_some() {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE / 5, joined).await.with_context(|| format!("{who} does not join"))?
    }

    /// Sends a message; returns the event's id.
    pub async fn say(&self, room: &str, text: &str) -> anyhow::Result<String> {
        let path = format!("rooms/{room}/send/m.room.message/{}", uuid::Uuid::new_v4());
        let body = json!({ "msgtype": "m.text", "body": text });
        let answer = self.call(self.http.put(self.address(&path)).json(&body)).await?;
        Ok(answer["event_id"].as_str().context("no event id")?.to_owned())
    }

    /// Skips all messages so far.
    pub async fn skip(&mut self) -> anyhow::Result<()> {
        self.since = None;
        self.sync(Duration::ZERO).await.map(|_| ())
    }

    /// Waits for a message.
    pub async fn hear(&mut self, room: &str, message: &str) -> anyhow::Result<()> {
        // What others read and type wakes it, too.
        let until = Instant::now() + PATIENCE / 5;
        while Instant::now() < until {
            let answer = self.sync(Duration::from_secs(10)).await?;
            let events = answer["rooms"]["join"][room]["timeline"]["events"].as_array();
            if events.is_some_and(|events| events.iter().any(|event| event["event_id"] == message)) {
                return Ok(());
            }
        }
        bail!("a message of the bot does not arrive")
    }

    async fn sync(&mut self, timeout: Duration) -> anyhow::Result<Value> {
        let filter = json!({ "presence": { "types": [] }, "room": { "ephemeral": { "types": [] }, "state": { "types": [] } } });
        let mut query = vec![("filter", filter.to_string()), ("timeout", timeout.as_millis().to_string())];
        query.extend(self.since.clone().map(|since| ("since", since)));
        let query = form(&query);
        let answer = self.call(self.http.get(format!("{}?{query}", self.address("sync")))).await?;
        self.since = Some(answer["next_batch"].as_str().context("no position")?.to_owned());
        Ok(answer)
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.bearer_auth(&self.token).send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        ensure!(status.is_success(), "the homeserver refuses: {body}");
        Ok(body)
    }

    fn address(&self, rest: &str) -> String {
        format!("{}/_matrix/client/v3/{rest}", self.url)
    }
}

fn form(pairs: &[(&str, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
