//! People's display names, looked up once and cached.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::{event::text, web::WebApi};

/// How long a message waits for its sender's name; after that the id has to do.
const WAIT: Duration = Duration::from_secs(2);
/// How long a name holds, and how long it is not asked for again where Slack did not tell.
const KEEP: Duration = Duration::from_secs(24 * 3600);
const KEEP_NOTHING: Duration = Duration::from_secs(300);
/// More are not kept.
const MOST: usize = 10_000;

#[derive(Default)]
pub struct UserNames(Mutex<HashMap<String, (Option<String>, Instant)>>);

impl UserNames {
    /// What this person is called; asks Slack if need be, for two seconds at most.
    pub async fn of(&self, web: &WebApi, user: &str) -> Option<String> {
        if let Some(name) = self.cached(user) {
            return name;
        }
        let asked = tokio::time::timeout(WAIT, web.call_with("users.info", &[("user", user)])).await;
        let answer = asked.ok().and_then(Result::ok).unwrap_or_else(|| json!({}));
        let user_object = &answer["user"];
        let profile = &user_object["profile"];
        let names = [text(profile, "display_name"), text(profile, "real_name"), text(user_object, "name")];
        let name = names.into_iter().find(|name| !name.trim().is_empty()).map(str::to_owned);
        let mut known = self.0.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(user.to_owned(), (name.clone(), Instant::now()));
        name
    }

    /// The outer `None`: it has to be asked.
    fn cached(&self, user: &str) -> Option<Option<String>> {
        let known = self.0.lock();
        let (name, since) = known.get(user)?;
        let keep = if name.is_some() { KEEP } else { KEEP_NOTHING };
        (since.elapsed() < keep).then(|| name.clone())
    }
}
