//! `POST /login` and `POST /logout`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use super::{
    WebServices,
    view::Login,
    visitors::{NoVisitor, Visitor},
};
use crate::{
    http::connections::{self, BodyLimits},
    replies,
    web_sessions::SignInProof,
};

/// A token and nothing else.
const BODY: BodyLimits = BodyLimits { bytes: 1024, time: std::time::Duration::from_secs(10) };

#[derive(Deserialize)]
#[serde(untagged)]
enum LoginBody {
    Token { token: String },
    Code { code: String },
}

/// Signs a browser in.
pub async fn login(State(services): State<Arc<WebServices>>, request: Request) -> Response {
    let browser = browser(request.headers());
    let whole = match connections::whole(request, BODY).await {
        Ok(whole) => whole,
        Err(refusal) => return refusal,
    };
    let proof = match serde_json::from_slice(whole.body()) {
        Ok(LoginBody::Token { token }) => SignInProof::Token(token),
        Ok(LoginBody::Code { code }) => SignInProof::Code(code),
        Err(_) => {
            return (StatusCode::BAD_REQUEST, "A `token` or a `code` is expected, as JSON.").into_response();
        }
    };
    let (secret, session) = match services.sessions.sign_in(&proof, &browser) {
        Ok(signed_in) => signed_in,
        Err(why) => return (StatusCode::FORBIDDEN, replies::sign_in_refused(why)).into_response(),
    };
    match services.visitor(&secret) {
        Ok(visitor) => Json(Login { me: visitor.me(&services), secret }).into_response(),
        Err(why) => {
            // It would only wait for the day on which they are on a list again.
            let _ = services.sessions.end(&session.person, Some(session.number));
            (StatusCode::FORBIDDEN, NoVisitor::sentence(why)).into_response()
        }
    }
}

/// Ends the session that asks for it.
pub async fn logout(
    State(services): State<Arc<WebServices>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    match services.sessions.end(&visitor.session.person, Some(visitor.session.number)) {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            tracing::error!(%error, "a session of the web page cannot be ended");
            (StatusCode::INTERNAL_SERVER_ERROR, "The session could not be ended. storkit's log says why.")
                .into_response()
        }
    }
}

/// What a browser calls itself, in a few words.
fn browser(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let first = |names: &[(&str, &str)]| {
        names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| (*name).to_owned())
    };
    // The others name Safari, and Edge and Opera name Chrome, too.
    let program = first(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = first(&[
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "Mac"),
        ("Linux", "Linux"),
    ]);
    match (program, system) {
        (Some(program), Some(system)) => format!("{program} on {system}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "a browser".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_named_in_a_few_words() {
        let name = |agent: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, agent.parse().unwrap());
            browser(&headers)
        };
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1";
        assert_eq!(name(phone), "Safari on iPhone");
        let chromium = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";
        assert_eq!(name(chromium), "Chrome on Linux");
        assert_eq!(name("curl/8.0"), "a browser");
        assert_eq!(browser(&HeaderMap::new()), "a browser");
    }
}
