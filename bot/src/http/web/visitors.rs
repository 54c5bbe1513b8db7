//! Who may look: the person behind a session's secret, with the rights that their messenger's lists give them now.

use std::sync::Arc;

use adapters::{
    Room,
    web::{PersonalChat, Web, WebSpeaker},
};
use agents::peer::PeerRefusal;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use pipeline::event::millis;

use super::{
    WebServices,
    view::{Me, PageRoom, SessionView},
};
use crate::{
    config::access::UserRole,
    http::connections::{ConnectionEnds, refuse},
    replies,
    store::WebSession,
};

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub session: WebSession,
    pub role: UserRole,
}

/// Why a secret opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVisitor {
    /// There is no such session, or it has ended.
    SessionEnded,
    /// The person is on no list any more.
    NotAllowed,
}

impl WebServices {
    /// The person of this session, with their rights now.
    pub fn visitor(&self, secret: &str) -> Result<Visitor, NoVisitor> {
        let session = self.sessions.find(secret).ok_or(NoVisitor::SessionEnded)?;
        let role = self.settings.access().role(&Web::team(), &session.person);
        role.map(|role| Visitor { session, role }).ok_or(NoVisitor::NotAllowed)
    }
}

impl Visitor {
    /// The room of this name, if this person may open it: one of their own, or everybody's.
    pub fn room(&self, web: &Web, name: &str) -> Option<Room> {
        let own = web.chats_of(&self.session.person).into_iter().map(|chat| chat.room);
        own.chain([Web::team()]).find(|room| room.to_string() == name)
    }

    pub fn speaker(&self) -> WebSpeaker {
        let session = &self.session;
        WebSpeaker { id: session.person.as_str().into(), name: session.name.as_str().into() }
    }

    /// The person as their page shows them.
    pub fn me(&self, services: &WebServices) -> Me {
        let sessions = services.sessions.of(&self.session.person).unwrap_or_else(|error| {
            tracing::error!(%error, "the sessions of a person cannot be read");
            Vec::new()
        });
        let session = |it: &WebSession| SessionView {
            number: it.number,
            browser: it.browser.clone(),
            created: millis(it.created),
            used: millis(it.used),
            this_one: it.number == self.session.number,
        };
        let own = services.chat.chats_of(&self.session.person).into_iter().map(|chat| {
            let PersonalChat { number, room, is_new } = chat;
            PageRoom { room: room.to_string(), title: replies::own_room(number, is_new) }
        });
        let team = PageRoom { room: Web::team().to_string(), title: replies::TEAM_ROOM.into() };
        Me {
            who: self.session.person.clone(),
            name: self.session.name.clone(),
            role: self.role,
            rooms: own.chain([team]).collect(),
            sessions: sessions.iter().map(session).collect(),
        }
    }
}

impl NoVisitor {
    pub fn sentence(self) -> &'static str {
        match self {
            Self::SessionEnded => replies::WEB_SESSION_ENDED,
            Self::NotAllowed => replies::WEB_NOT_ALLOWED,
        }
    }
}

/// Lets people through who are signed in; the handler finds the [`Visitor`] in the request's extensions.
pub async fn only_people(
    State(services): State<Arc<WebServices>>,
    mut request: Request,
    next: Next,
) -> Response {
    let secret = bearer(request.headers()).unwrap_or_default();
    match services.visitor(secret) {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(why) => (StatusCode::UNAUTHORIZED, why.sentence()).into_response(),
    }
}

/// Keeps agents' processes from signing in, and from acting with a session that they found. People come from other machines, through
/// tunnels and from sandboxed browsers, so that only a process that is known to be an agent's is refused.
pub async fn no_agents(State(services): State<Arc<WebServices>>, request: Request, next: Next) -> Response {
    let Some(ends) = request.extensions().get::<ConnectionEnds>().copied() else {
        return next.run(request).await;
    };
    let checks_peer = services.checks_peer;
    let checked = tokio::task::spawn_blocking(move || checks_peer(ends.peer, ends.local)).await;
    match checked {
        Ok(Err(why @ (PeerRefusal::Descendant(_) | PeerRefusal::Marked(_)))) => {
            tracing::warn!(%why, path = request.uri().path(), "an agent's process was turned away from the web page");
            refuse(StatusCode::FORBIDDEN, "An agent's process may not use the page, whatever it has found.")
        }
        Ok(Err(PeerRefusal::Unknown | PeerRefusal::Sandboxed(_) | PeerRefusal::OtherUser(_)) | Ok(()))
        | Err(_) => next.run(request).await,
    }
}

pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
