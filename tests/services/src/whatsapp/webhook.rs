//! Meta's calls to the program: signed as Meta signs, repeated until they are taken.
//! <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>

use std::time::{Duration, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{APP_SECRET, Graph, VERIFY_TOKEN};

// Meta's pauses grow, for up to seven days; a test cannot wait for those.
const AGAIN: Duration = Duration::from_millis(50);
const TRIES: u32 = 400;

impl Graph {
    /// Registers the webhook: asks it for the challenge, and returns its answer if it passed.
    pub async fn register(&self, word: &str) -> Result<(), u16> {
        let Some(url) = self.callback() else { return Err(0) };
        let challenge = self.number().to_string();
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("hub.mode", "subscribe"),
                ("hub.challenge", &challenge),
                ("hub.verify_token", word),
            ])
            .finish();
        let answer = self.inner.http.get(format!("{url}?{query}")).send().await.map_err(|_| 0_u16)?;
        let status = answer.status().as_u16();
        let passed = status == 200 && answer.text().await.is_ok_and(|text| text == challenge);
        if passed { Ok(()) } else { Err(status) }
    }

    /// Registers it with the right word, which must pass.
    pub async fn register_rightly(&self) {
        assert_eq!(self.register(VERIFY_TOKEN).await, Ok(()), "the webhook is not taken");
    }

    /// Sends these values in one notification, repeated until it is accepted.
    pub async fn notify(&self, values: Vec<Value>) {
        let body = notification(values);
        for _ in 0..TRIES {
            if self.state().lost_webhooks > 0 {
                // Sent to where nobody listens.
                self.state().lost_webhooks -= 1;
            } else if self.post(&body, Some(&sign(&body))).await == 200 {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
        panic!("the webhook never took a notification");
    }

    /// Sends these values once; the status it was answered with.
    pub async fn notify_once(&self, values: Vec<Value>) -> u16 {
        let body = notification(values);
        self.post(&body, Some(&sign(&body))).await
    }

    /// Posts any body with any signature; the status, 0 for none.
    pub async fn post(&self, body: &[u8], signature: Option<&str>) -> u16 {
        let Some(url) = self.callback() else { return 0 };
        let mut request =
            self.inner.http.post(url).header("Content-Type", "application/json").body(body.to_vec());
        if let Some(signature) = signature {
            request = request.header("X-Hub-Signature-256", signature);
        }
        request.send().await.map_or(0, |answer| answer.status().as_u16())
    }

    /// Reports later that a message was not delivered, after an earlier report about its delivery.
    pub async fn fail_later(&self, id: &str, person: &str, code: i64) {
        let told = self.state().deliveries.remove(id);
        if let Some(told) = told {
            let _ = told.await;
        }
        let failure = self.failure(id, person, code);
        self.state().last_failure = failure.clone();
        self.notify(vec![failure]).await;
    }

    /// Repeats the last such report unchanged.
    pub async fn repeat_failure(&self) {
        let failure = self.state().last_failure.clone();
        self.notify(vec![failure]).await;
    }

    /// News that are faster than the answer to the call they are about: Meta promises no order.
    pub(super) async fn tell_what_outruns(&self) {
        let values = std::mem::take(&mut self.state().outrunning);
        if !values.is_empty() {
            self.notify(values).await;
        }
    }

    /// Statuses may get lost on the way: nothing is to depend on them.
    pub(super) fn tell_delivery(&self, id: &str, person: &str) {
        let mut status = self.status(id, person, "delivered");
        status["statuses"][0]["pricing"] =
            json!({ "billable": true, "pricing_model": "PMP", "category": "service" });
        let graph = self.clone();
        let telling = tokio::spawn(async move { graph.notify_once(vec![status]).await });
        self.state().deliveries.insert(id.to_owned(), telling);
    }

    pub(super) fn tell_failure(&self, id: &str, person: &str, code: i64) {
        let value = self.failure(id, person, code);
        self.state().outrunning.push(value);
    }

    fn status(&self, id: &str, person: &str, status: &str) -> Value {
        let is_theirs = |contact: &&Value| contact["wa_id"] == person || contact["user_id"] == person;
        let contact = self.state().contacts.iter().rfind(is_theirs).cloned();
        let mut told = json!({ "id": id, "status": status, "timestamp": self.seconds().to_string() });
        for (field, of) in [("recipient_id", "wa_id"), ("recipient_user_id", "user_id")] {
            if let Some(id) = contact.as_ref().map(|contact| &contact[of]).filter(|id| id.is_string()) {
                told[field] = id.clone();
            }
        }
        json!({
            "messaging_product": "whatsapp",
            "metadata": Self::metadata(),
            "contacts": contact.into_iter().collect::<Vec<_>>(),
            "statuses": [told],
        })
    }

    fn failure(&self, id: &str, person: &str, code: i64) -> Value {
        let mut value = self.status(id, person, "failed");
        let late = "Message failed to send because more than 24 hours have passed since the customer last replied to this number.";
        let details = if code == 131_047 { late } else { "Message undeliverable." };
        value["statuses"][0]["errors"] = json!([{ "code": code, "title": "Failed", "message": "Failed", "error_data": { "details": details } }]);
        value
    }

    fn seconds(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    fn callback(&self) -> Option<String> {
        let state = self.state();
        state.callback.clone().filter(|_| !state.deaf)
    }
}

/// The notification's bytes. Meta escapes slashes and non-ASCII characters; whoever serialises it again gets another signature.
fn notification(values: Vec<Value>) -> Vec<u8> {
    let changes: Vec<Value> =
        values.into_iter().map(|value| json!({ "value": value, "field": "messages" })).collect();
    let body = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "102290129340398", "changes": changes }] });
    let mut escaped = String::new();
    for unit in body.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(b'/') => escaped.push_str("\\/"),
            Ok(byte) if byte.is_ascii() => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("\\u{unit:04x}")),
        }
    }
    escaped.into_bytes()
}

pub fn sign(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes()).expect("any key");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

impl Graph {
    /// The header that is right for a body.
    pub fn signature(body: &[u8]) -> String {
        sign(body)
    }

    /// Nobody can be called, or everybody again.
    pub fn set_deaf(&self, deaf: bool) {
        self.state().deaf = deaf;
    }
}
