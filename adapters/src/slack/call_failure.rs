//! Why a call to Slack failed, and which options remain to the caller.

use std::time::Duration;

use serde_json::Value;
use slack_morphism::errors::SlackClientError;

use crate::{AdapterError, slack::notices};

// For a 429 without `Retry-After`. Slack documents that header for every 429: <https://docs.slack.dev/apis/web-api/rate-limits>
const USUAL_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    Limited(Duration),
    /// No answer, or a passing trouble of Slack's.
    Unreachable(String),
    /// Slack refuses the token, with this code.
    Auth(String),
    /// The token lacks this scope for the call.
    Scope(String),
    /// Slack refused with this code.
    Refused(String),
}

impl CallFailure {
    // The answer's body is dropped: it may hold addresses that are as good as keys, and errors go to the log.
    pub fn of(error: SlackClientError) -> Self {
        match error {
            SlackClientError::RateLimitError(limit) => Self::Limited(limit.retry_after.unwrap_or(USUAL_WAIT)),
            SlackClientError::ApiError(error) => {
                Self::from_code(&error.code, error.http_response_body.as_deref().unwrap_or_default())
            }
            SlackClientError::HttpError(error) if error.status_code.is_server_error() => {
                Self::Unreachable(format!("Slack answers {}", error.status_code))
            }
            SlackClientError::HttpError(error) => Self::Refused(format!("HTTP {}", error.status_code)),
            SlackClientError::ProtocolError(_) => {
                Self::Unreachable("Slack's answer is no JSON that can be read".into())
            }
            SlackClientError::SystemError(error) => Self::Unreachable(
                error.cause.map_or_else(|| "the network failed".into(), |cause| cause.to_string()),
            ),
            SlackClientError::HttpProtocolError(error) => Self::Unreachable(
                error.cause.map_or_else(|| "the network failed".into(), |cause| error_chain(&*cause)),
            ),
            SlackClientError::EndOfStream(_) | SlackClientError::SocketModeProtocolError(_) => {
                Self::Unreachable("the connection ended".into())
            }
        }
    }

    /// Reads an error code of the Web API: <https://docs.slack.dev/apis/web-api/#errors>.
    fn from_code(code: &str, body: &str) -> Self {
        match code {
            "ratelimited" | "rate_limited" => Self::Limited(USUAL_WAIT),
            "internal_error"
            | "fatal_error"
            | "service_unavailable"
            | "request_timeout"
            | "team_added_to_org" => Self::Unreachable(format!("Slack answers `{code}`")),
            "invalid_auth"
            | "not_authed"
            | "account_inactive"
            | "token_revoked"
            | "token_expired"
            | "org_login_required"
            | "not_allowed_token_type"
            | "team_access_not_granted" => Self::Auth(code.to_owned()),
            "missing_scope" => {
                let body: Value = serde_json::from_str(body).unwrap_or_default();
                Self::Scope(super::event::text(&body, "needed").to_owned())
            }
            code => Self::Refused(code.to_owned()),
        }
    }

    /// The error of a call with the bot token that was about this channel.
    pub fn in_channel(self, channel: &str) -> AdapterError {
        match self {
            Self::Limited(retry_after) => AdapterError::RateLimited { retry_after },
            Self::Unreachable(why) => AdapterError::Unreachable(why),
            Self::Auth(code) => AdapterError::Rejected(notices::token_gone(&code)),
            Self::Scope(scope) => {
                AdapterError::Rejected(format!("`slack.bot_token`: {}", notices::missing_scopes(&scope)))
            }
            Self::Refused(code) => {
                let why = notices::cannot_write(channel, &code);
                AdapterError::Rejected(why.unwrap_or_else(|| format!("Slack answers `{code}`")))
            }
        }
    }
}

// With the causes, since hyper's own text is only "client error (Connect)".
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: &str, body: &str) -> String {
        CallFailure::from_code(code, body).in_channel("C1").to_string()
    }

    #[test]
    fn what_a_person_can_mend_says_how() {
        let missing = said("missing_scope", r#"{"needed":"files:write","provided":"chat:write"}"#);
        assert!(missing.contains("`files:write`") && missing.contains("Reinstall"), "{missing}");
        assert!(said("not_in_channel", "").contains("/invite"));
        assert!(said("is_archived", "").contains("unarchive"));
        assert!(said("restricted_action", "").contains("posting permissions"));
        assert!(said("token_revoked", "").contains("reinstall the app"));
        assert!(said("something_new", "no json").contains("`something_new`"));
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        assert!(matches!(CallFailure::from_code("internal_error", ""), CallFailure::Unreachable(_)));
        assert!(matches!(CallFailure::from_code("ratelimited", ""), CallFailure::Limited(_)));
        assert!(matches!(CallFailure::from_code("msg_too_long", ""), CallFailure::Refused(_)));
    }
}
