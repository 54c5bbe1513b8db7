//! Classifies matrix-sdk's errors by the action that remains to the caller.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use matrix_sdk::{
    HttpError,
    ruma::api::error::{ErrorKind, FromHttpResponseError, LimitExceededErrorData, RetryAfter},
};

use crate::AdapterError;

// Used where the homeserver names no time: Synapse's default lets one event pass in five seconds.
const LIMITED_FOR: Duration = Duration::from_secs(5);

/// Why a request was not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestFailure {
    /// Too fast; again after this.
    Limited(Duration),
    /// No answer, or one of a homeserver in trouble: worth another try.
    Unreachable(String),
    /// The access token is not valid any more.
    LoggedOut,
    /// The bot may not do this in the room.
    Forbidden(String),
    /// Refused, and a repetition would be refused too.
    Refused(String),
    /// The answer is not one of a Matrix homeserver.
    NotMatrix(String),
}

impl RequestFailure {
    // A lost login counts as unreachable, not as rejected: the next connection logs in again, so a repetition may succeed.
    pub(super) fn adapter_error(self) -> AdapterError {
        match self {
            Self::Limited(retry_after) => AdapterError::RateLimited { retry_after },
            Self::Unreachable(why) => AdapterError::Unreachable(why),
            Self::LoggedOut => AdapterError::Unreachable("the homeserver has logged the bot out".into()),
            Self::Forbidden(why) | Self::Refused(why) => AdapterError::Rejected(why),
            Self::NotMatrix(why) => AdapterError::Unreachable(why),
        }
    }
}

pub(super) fn failure(error: &matrix_sdk::Error) -> RequestFailure {
    match error {
        matrix_sdk::Error::Http(error) => http_failure(error),
        matrix_sdk::Error::Timeout | matrix_sdk::Error::ConcurrentRequestFailed => {
            RequestFailure::Unreachable(error_chain(error))
        }
        _ => nested(error),
    }
}

// An encrypted message first uploads and claims keys; the SDK wraps the errors of those requests in types of its own.
fn nested(error: &matrix_sdk::Error) -> RequestFailure {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(http) = inner.downcast_ref::<HttpError>() {
            return http_failure(http);
        }
        source = inner.source();
    }
    RequestFailure::Refused(error_chain(error))
}

pub(super) fn http_failure(error: &HttpError) -> RequestFailure {
    let status = error.as_client_api_error().map(|error| error.status_code.as_u16());
    match (error.client_api_error_kind(), status, error) {
        // The order matters: a proxy in front of the homeserver answers 429 and 5xx without a Matrix error body.
        (_, _, HttpError::Cached(inner)) => http_failure(inner),
        (Some(ErrorKind::LimitExceeded(limit)), ..) => RequestFailure::Limited(wait(limit)),
        (_, Some(429), _) => RequestFailure::Limited(LIMITED_FOR),
        (Some(ErrorKind::UnknownToken(_) | ErrorKind::MissingToken), ..) => RequestFailure::LoggedOut,
        (Some(ErrorKind::Forbidden), ..) => RequestFailure::Forbidden(error_chain(error)),
        (_, Some(500..), _) => RequestFailure::Unreachable(error_chain(error)),
        // An answer without an error code comes from something else, such as a proxy's error page.
        (None, Some(_), _) => RequestFailure::NotMatrix(error_chain(error)),
        (Some(_), ..) => RequestFailure::Refused(error_chain(error)),
        (_, _, HttpError::Api(api)) => match **api {
            FromHttpResponseError::Deserialization(_) => RequestFailure::NotMatrix(error_chain(error)),
            _ => RequestFailure::Refused(error_chain(error)),
        },
        (_, _, HttpError::Reqwest(_)) => RequestFailure::Unreachable(error_chain(error)),
        _ => RequestFailure::Refused(error_chain(error)),
    }
}

fn wait(limit: &LimitExceededErrorData) -> Duration {
    match limit.retry_after {
        Some(RetryAfter::Delay(delay)) => delay,
        Some(RetryAfter::DateTime(at)) => at.duration_since(SystemTime::now()).unwrap_or_default(),
        None => LIMITED_FOR,
    }
}

/// The error with its causes, in one line. Access tokens travel in headers and are in no such text.
pub(super) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
