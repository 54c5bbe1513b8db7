//! People's display names, looked up once and cached.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::{event::text, web::WebApi};

// The message waits for its sender's name. After this time the id must do.
const WAIT: Duration = Duration::from_secs(2);
// People rarely change their names. A failed look-up is repeated sooner, but not for each message.
const KEEP: Duration = Duration::from_secs(24 * 3600);
const KEEP_NOTHING: Duration = Duration::from_secs(300);
const MOST: usize = 10_000;

#[derive(Default)]
pub struct UserNames(Mutex<HashMap<String, (Option<String>, Instant)>>);

impl UserNames {
    /// The person's display name; asks Slack if need be, for two seconds at most.
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
            // Simpler than a least-recently-used order; names cost one call each to fetch again.
            known.clear();
        }
        known.insert(user.to_owned(), (name.clone(), Instant::now()));
        name
    }

    fn cached(&self, user: &str) -> Option<Option<String>> {
        let known = self.0.lock();
        let (name, since) = known.get(user)?;
        let keep = if name.is_some() { KEEP } else { KEEP_NOTHING };
        (since.elapsed() < keep).then(|| name.clone())
    }
}
