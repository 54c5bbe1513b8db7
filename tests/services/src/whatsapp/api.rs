//! The API's side: routes, the token, limits by time, and the fate of accepted messages.

use std::time::{Duration, Instant};

use axum::{
    body::{self, Body, Bytes},
    http::{Method, Request, Response, StatusCode, header},
};
use serde_json::{Value, json};

use super::{
    Call, Graph, NUMBER, NUMBER_ID, Shown, StoredFile, TOKEN,
    check::{self, Refusal},
    multipart,
};

/// One message in 6 s to one person, bursts of 45.
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/overview#pair-rate-limits>
const PAIR_EVERY: Duration = Duration::from_secs(6);
const PAIR_BURST: usize = 45;
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-messages#customer-service-windows>
const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

impl Graph {
    pub(super) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        let path = parts.uri.path().trim_start_matches('/').to_owned();
        let (version, rest) = path.split_once('/').unwrap_or((&path, ""));
        let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let known = bearer == Some(&format!("Bearer {TOKEN}")) && !self.state().token_is_dead;
        let kind =
            parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if version == "files" {
            // As Meta's servers for files do.
            if !parts.headers.contains_key(header::USER_AGENT) {
                return respond(400, "text/html", "Bad Request".into());
            }
            if self.take_file_fault() {
                return respond(503, "text/html", "Service Unavailable".into());
            }
            let elsewhere = self.state().file_host.clone();
            return match elsewhere {
                Some(url) => moved_to(&url),
                None => self.file(rest, known),
            };
        }
        let result = match known && version.starts_with('v') {
            true => {
                self.route(&parts.method, rest, &body, kind, &bytes, parts.uri.query().unwrap_or_default())
            }
            false => Err(Refusal::new(190, 401, "Error validating access token")),
        };
        let (status, answer) = match result {
            Ok(answer) => (200, answer),
            Err(refusal) => (refusal.status, refusal.json()),
        };
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let user_agent = agent.unwrap_or_default().to_owned();
        let call = Call { method: parts.method.to_string(), path: rest.to_owned(), body, status, user_agent };
        self.state().calls.push(call);
        self.changed();
        self.tell_what_outruns().await;
        drop(self.inner.answers.lock().await);
        respond(status, "application/json", answer.to_string().into())
    }

    fn route(
        &self,
        method: &Method,
        path: &str,
        body: &Value,
        kind: &str,
        bytes: &Bytes,
        query: &str,
    ) -> Result<Value, Refusal> {
        match (method.as_str(), path.split_once('/')) {
            ("POST", Some((NUMBER_ID, "messages"))) => self.message(body),
            ("POST", Some((NUMBER_ID, "media"))) => self.upload(kind, bytes),
            ("POST", Some((NUMBER_ID, "conversational_automation"))) => self.set_menu(body),
            ("GET", None) if path == NUMBER_ID => Ok(self.about(query)),
            ("GET", None) if self.state().files.contains_key(path) => Ok(self.about_file(path)),
            _ => Err(Refusal::new(
                100,
                400,
                "Unsupported request: the object does not exist, or the token lacks a permission for it",
            )),
        }
    }

    fn message(&self, body: &Value) -> Result<Value, Refusal> {
        if body["status"] == "read" {
            let known = self.state().delivered.contains_key(body["message_id"].as_str().unwrap_or_default());
            return check::read(body, known).map(|()| json!({ "success": true }));
        }
        if let Some(fault) = self.state().faults.pop_front() {
            return Err(Refusal::new(fault.code, fault.status, "A fault of the test"));
        }
        check::message(
            body,
            |id| self.state().files.contains_key(id),
            |name, language| self.state().templates.contains(&(name.to_owned(), language.to_owned())),
        )?;
        let person = body["to"].as_str().or(body["recipient"].as_str()).unwrap_or_default();
        let person = person.trim_start_matches('+').to_owned();
        self.keep_pair_limit(&person)?;
        let id = self.wamid();
        if body["type"] != "template" && !self.is_open(&person) {
            // As Meta does: taken now, failed later.
            self.tell_failure(&id, &person, 131_047);
        } else {
            let shown = Shown::read(&id, &person, body, &self.state().files);
            self.state().shown.push(shown);
            self.changed();
            self.tell_delivery(&id, &person);
        }
        let contact = if body["to"].is_string() {
            json!({ "input": person, "wa_id": person })
        } else {
            json!({ "input": person, "user_id": person })
        };
        Ok(json!({ "messaging_product": "whatsapp", "contacts": [contact], "messages": [{ "id": id }] }))
    }

    fn is_open(&self, person: &str) -> bool {
        let heard = self.state().heard.get(person).copied();
        heard.is_some_and(|heard| self.now().duration_since(heard).unwrap_or_default() < WINDOW)
    }

    fn keep_pair_limit(&self, person: &str) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut state = self.state();
        let times = state.pairs.entry(person.to_owned()).or_default();
        // As if every message were worth six seconds: what 45 of them are worth may be borrowed.
        while times.front().is_some_and(|at| now.duration_since(*at) > PAIR_EVERY * PAIR_BURST as u32) {
            times.pop_front();
        }
        if times.len() >= PAIR_BURST {
            return Err(Refusal::new(
                131_056,
                400,
                "(Business Account, Consumer Account) pair rate limit hit",
            ));
        }
        times.push_back(now);
        Ok(())
    }

    fn upload(&self, kind: &str, bytes: &Bytes) -> Result<Value, Refusal> {
        let parts =
            multipart::read(kind, bytes).ok_or_else(|| Refusal::new(100, 400, "no multipart form"))?;
        let text = |name: &str| {
            let part = parts.iter().find(|part| part.name == name)?;
            Some(String::from_utf8_lossy(&part.bytes).into_owned())
        };
        if text("messaging_product").as_deref() != Some("whatsapp") {
            return Err(Refusal::new(100, 400, "The parameter messaging_product is required."));
        }
        let file = parts.iter().find(|part| part.name == "file");
        let file = file.ok_or_else(|| Refusal::new(100, 400, "The parameter file is required."))?;
        let mime = text("type").or(file.mime.clone()).unwrap_or_default();
        if !check::takes(&mime) {
            return Err(Refusal::new(100, 400, "Param file must be a file with one of the supported types"));
        }
        if file.bytes.is_empty() {
            return Err(Refusal::new(131_053, 400, "The file is empty"));
        }
        let name = file.file_name.clone().unwrap_or_default();
        Ok(json!({ "id": self.store(file.bytes.clone(), &mime, &name, None) }))
    }

    pub(super) fn store(&self, bytes: Bytes, mime: &str, name: &str, claims: Option<u64>) -> String {
        let id = format!("1375{:011}", self.number());
        let file = StoredFile { bytes, mime: mime.to_owned(), name: name.to_owned(), claims };
        self.state().files.insert(id.clone(), file);
        id
    }

    fn about_file(&self, id: &str) -> Value {
        let file = self.state().files[id].clone();
        json!({
            "messaging_product": "whatsapp",
            "url": format!("{}/files/{id}", self.host()),
            "mime_type": file.mime,
            "sha256": "73298ec14751f",
            "file_size": file.claims.unwrap_or(file.bytes.len() as u64),
            "id": id,
        })
    }

    fn file(&self, id: &str, known: bool) -> Response<Body> {
        match self.state().files.get(id).filter(|_| known) {
            Some(file) => respond(200, &file.mime, file.bytes.clone()),
            None => respond(401, "text/plain", "no".into()),
        }
    }

    fn about(&self, query: &str) -> Value {
        let commands: Vec<Value> = self
            .menu()
            .iter()
            .map(|(name, text)| json!({ "command_name": name, "command_description": text }))
            .collect();
        let mut about = json!({
            "id": NUMBER_ID,
            "verified_name": "storkit",
            "display_phone_number": "+1 555-078-3881",
            "quality_rating": "GREEN",
        });
        if query.contains("conversational_automation") {
            about["conversational_automation"] =
                json!({ "id": NUMBER_ID, "prompts": [], "commands": commands });
        }
        about
    }

    fn set_menu(&self, body: &Value) -> Result<Value, Refusal> {
        // Clients send the list as JSON or, as a form would, as a text of JSON.
        let commands = match &body["commands"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
            other => other.clone(),
        };
        self.state().menu = check::menu(&commands)?;
        Ok(json!({ "success": true }))
    }

    /// The number itself, as webhooks name it.
    pub(super) fn metadata() -> Value {
        json!({ "display_phone_number": NUMBER, "phone_number_id": NUMBER_ID })
    }
}

fn moved_to(url: &str) -> Response<Body> {
    let mut response = respond(302, "text/plain", "Found".into());
    if let Ok(url) = url.parse() {
        response.headers_mut().insert(header::LOCATION, url);
    }
    response
}

fn respond(status: u16, kind: &str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
