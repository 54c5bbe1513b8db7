//! Answers the emoji verification of people on the allow-list.
//!
//! The bot cannot compare emoji: it shows its own and confirms, and the person decides.
//! <https://spec.matrix.org/v1.15/client-server-api/#short-authentication-string-sas-verification>

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use matrix_sdk::{
    Client, Room,
    deserialized_responses::ProcessedToDeviceEvent,
    encryption::verification::{
        SasState, SasVerification, Verification, VerificationRequest, VerificationRequestState,
    },
    ruma::{UserId, events::key::verification::VerificationMethod},
};
use serde_json::{Value, json};

use super::{bot::MatrixBot, event::EventFields, pace::SendPriority, rooms::RoomAddress, send};
use crate::matrix::notices;

// The specification's timeout for a verification.
// <https://spec.matrix.org/v1.15/client-server-api/#error-and-exception-handling>
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// Handles verification requests among the events sent to the device.
pub(super) async fn requested(bot: &Arc<MatrixBot>, client: &Client, events: &[ProcessedToDeviceEvent]) {
    for event in events {
        let Ok(event) = serde_json::from_str::<Value>(event.as_raw().json().get()) else { continue };
        let transaction = event["content"]["transaction_id"].as_str().unwrap_or_default();
        let Some(sender) = event["sender"].as_str().and_then(|sender| <&UserId>::try_from(sender).ok())
        else {
            continue;
        };
        match event["type"].as_str() {
            Some("m.key.verification.request") => request(bot, client, None, sender, transaction).await,
            Some("m.key.verification.start") => started(bot, client, sender, transaction).await,
            _ => {}
        }
    }
}

pub(super) async fn requested_in(bot: &Arc<MatrixBot>, room: &Room, event: &EventFields) {
    if let Ok(sender) = <&UserId>::try_from(event.sender.as_str()) {
        request(bot, &room.client(), Some(room.clone()), sender, &event.event_id).await;
    }
}

async fn request(bot: &Arc<MatrixBot>, client: &Client, room: Option<Room>, sender: &UserId, flow: &str) {
    if !bot.is_allowed(sender.as_str()) {
        return tracing::info!(%sender, "a stranger asks to be verified");
    }
    if let Some(request) = client.encryption().get_verification_request(sender, flow).await {
        // In the background: the answers arrive through the sync loop, which calls this.
        bot.spawn_with_timeout(LONGEST, answer(bot.clone(), room, request));
    }
}

// Older apps start without a request. One that follows a request is handled there.
async fn started(bot: &Arc<MatrixBot>, client: &Client, sender: &UserId, flow: &str) {
    let known = client.encryption().get_verification(sender, flow).await;
    if let Some(sas) = known.and_then(Verification::sas)
        && !sas.started_from_request()
        && bot.is_allowed(sender.as_str())
    {
        bot.spawn_with_timeout(LONGEST, compare(bot.clone(), None, sas));
    }
}

async fn answer(bot: Arc<MatrixBot>, room: Option<Room>, request: VerificationRequest) {
    let mut changes = Box::pin(request.changes());
    if let Err(error) = request.accept_with_methods(vec![VerificationMethod::SasV1]).await {
        return tracing::warn!(%error, "a verification could not be accepted");
    }
    let mut state = Some(request.state());
    while let Some(now) = state {
        match now {
            VerificationRequestState::Transitioned { verification, .. } => {
                return match verification.sas() {
                    Some(sas) => compare(bot, room, sas).await,
                    None => drop(request.cancel().await),
                };
            }
            VerificationRequestState::Done | VerificationRequestState::Cancelled(_) => return,
            VerificationRequestState::Created { .. }
            | VerificationRequestState::Requested { .. }
            | VerificationRequestState::Ready { .. } => {}
        }
        state = changes.next().await;
    }
}

async fn compare(bot: Arc<MatrixBot>, room: Option<Room>, sas: SasVerification) {
    let who = sas.other_user_id().to_owned();
    let mut changes = Box::pin(sas.changes());
    if !sas.we_started()
        && let Err(error) = sas.accept().await
    {
        return tracing::warn!(%error, "a verification could not be begun");
    }
    let mut state = Some(sas.state());
    while let Some(now) = state {
        match now {
            SasState::KeysExchanged { .. } => {
                // The bot cannot compare, so it confirms at once. The person's own confirmation decides.
                show(&bot, room.as_ref(), &sas).await;
                if let Err(error) = sas.confirm().await {
                    return tracing::warn!(%error, "a verification could not be confirmed");
                }
            }
            SasState::Done { .. } => return tracing::info!(%who, "verified"),
            SasState::Cancelled(why) => {
                return tracing::info!(%who, reason = why.reason(), "a verification was cancelled");
            }
            SasState::Created { .. }
            | SasState::Started { .. }
            | SasState::Accepted { .. }
            | SasState::Confirmed => {}
        }
        state = changes.next().await;
    }
}

// The log too, since a request to the device has no room in which the person could see the emoji.
async fn show(bot: &MatrixBot, room: Option<&Room>, sas: &SasVerification) {
    let shown = match (sas.emoji(), sas.decimals()) {
        (Some(emoji), _) => {
            let pairs: Vec<_> = emoji.iter().map(|it| format!("{} {}", it.symbol, it.description)).collect();
            pairs.join(", ")
        }
        (None, Some((a, b, c))) => format!("{a} {b} {c}"),
        (None, None) => return,
    };
    tracing::info!(who = %sas.other_user_id(), "verification: {shown}");
    let Some(room) = room else { return };
    let content = json!({ "msgtype": "m.notice", "body": notices::emoji(&shown), "m.mentions": {} });
    let place = RoomAddress::new(room.room_id(), None);
    if let Err(error) =
        send::dispatch(bot, &place, "m.room.message", content, Some(SendPriority::Question)).await
    {
        tracing::warn!(%error, "the emoji could not be shown");
    }
}
