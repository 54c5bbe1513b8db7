//! `POST /api/upload`: a file of a person's, which their next message brings along.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    extract::{Query, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use super::{WebServices, view::UploadedView, visitors::Visitor};
use crate::{
    http::{
        connection_table::ConnectionPlace,
        connections::{self, BodyLimits},
    },
    replies,
    sent_files::FILE_MAX,
};

/// Files that are read at a time, each held in memory.
pub const AT_ONCE: usize = 4;

/// A phone takes a minute for a few megabytes.
const BODY: BodyLimits = BodyLimits { bytes: FILE_MAX as usize, time: Duration::from_secs(5 * 60) };

/// The longest name that is kept, in bytes.
const NAME_MAX: usize = 255;

#[derive(Deserialize)]
pub struct UploadQuery {
    #[serde(default)]
    name: String,
}

pub async fn upload(
    State(services): State<Arc<WebServices>>,
    Extension(visitor): Extension<Visitor>,
    Query(UploadQuery { mut name }): Query<UploadQuery>,
    request: Request,
) -> Response {
    name.truncate(name.floor_char_boundary(NAME_MAX));
    let refused =
        |status: StatusCode, why: &str| (status, replies::upload_refused(&name, why)).into_response();
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > FILE_MAX) {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, &replies::file_too_large(FILE_MAX));
    }
    let Ok(_place) = services.uploading.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, replies::WEB_UPLOADS_BUSY).into_response();
    };
    // Somebody who is signed in does not make way for strangers; the semaphore bounds what they bring.
    if let Some(connection) = request.extensions().get::<ConnectionPlace>() {
        connection.request_is_whole();
    }
    let whole = match connections::whole(request, BODY).await {
        Ok(whole) => whole,
        Err(refusal) => return refusal,
    };
    let bytes = whole.into_body().to_vec();
    match services.chat.uploads().put(&visitor.speaker().id, &name, bytes, Instant::now()) {
        Ok(id) => Json(UploadedView { id }).into_response(),
        Err(why) => refused(StatusCode::TOO_MANY_REQUESTS, &why.to_string()),
    }
}
