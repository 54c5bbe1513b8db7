//! People of the workspace: the direct conversation with one, and those in a channel.

use std::sync::Arc;

use serde_json::json;

use super::{adapter::Slack, event::text};
use crate::{AdapterError, Room, slack::conversation::ConversationAddress};

// Slack recommends no more than 200 in one answer.
// <https://docs.slack.dev/reference/methods/conversations.members>
const PAGE: &str = "200";
// In a larger channel it is not known who is there.
const PAGES_MAX: usize = 10;

impl Slack {
    /// The conversation of two, which Slack finds or makes: <https://docs.slack.dev/reference/methods/conversations.open>
    pub(super) async fn open_direct(&self, person: &str) -> Result<Room, AdapterError> {
        let opened = self.web().call("conversations.open", &json!({ "users": person })).await;
        let opened = opened.map_err(|failure| failure.in_channel(person))?;
        match text(&opened["channel"], "id") {
            "" => Err(AdapterError::Rejected(format!("Slack names no conversation with `{person}`"))),
            id => Ok(Room::new(super::NAME, id)),
        }
    }

    /// The members of a channel. In a conversation of two it is whoever wrote there.
    pub(super) async fn members(&self, place: &ConversationAddress) -> Result<Vec<Arc<str>>, AdapterError> {
        if place.is_direct() {
            return match self.receiver().direct_person(&place.channel) {
                Some(person) => Ok(vec![person]),
                None => Err(AdapterError::Unsupported("naming a person who has not written yet")),
            };
        }
        let me = self.receiver().bot_identity().user;
        let (mut people, mut cursor) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let mut parameters = vec![("channel", place.channel.as_str()), ("limit", PAGE)];
            if !cursor.is_empty() {
                parameters.push(("cursor", &cursor));
            }
            let page = self.web().call_with("conversations.members", &parameters).await;
            let page = page.map_err(|failure| failure.in_channel(&place.channel))?;
            let members = page["members"].as_array().into_iter().flatten();
            people.extend(members.filter_map(|id| id.as_str()).filter(|id| *id != me).map(Arc::from));
            cursor = text(&page["response_metadata"], "next_cursor").to_owned();
            if cursor.is_empty() {
                return Ok(people);
            }
        }
        Err(AdapterError::Unsupported("naming the people of so large a channel"))
    }
}
