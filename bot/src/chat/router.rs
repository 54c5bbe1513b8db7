//! One door for all messengers: drops bots, repeats and strangers, and hands the rest to its room.

use std::{sync::Arc, time::SystemTime};

use adapters::{Incoming, PersonAct};
use tokio::sync::mpsc;

use crate::{
    chat::{rooms::RoomInput, services::Services},
    replies,
};

/// How many messages one look at the inbox takes; they share one write of the store.
const BATCH: usize = 64;

/// Routes until the inbox closes or the bot stops.
pub async fn run(services: Arc<Services>, mut inbox: mpsc::Receiver<Incoming>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = services.stop.cancelled() => break,
            count = inbox.recv_many(&mut batch, BATCH) => if count == 0 { break },
        }
        route(&services, &mut batch);
    }
}

/// Routes a batch, leaving it empty.
pub fn route(services: &Services, batch: &mut Vec<Incoming>) {
    let now = services.clock.now();
    services.metrics.messages.inc_by(batch.len() as u64);
    batch.retain(|incoming| !incoming.sender.is_bot);
    let ids: Vec<_> = batch.iter().map(|incoming| (incoming.room.clone(), incoming.id.clone())).collect();
    let fresh = services.store.mark_seen(&ids, now).unwrap_or_else(|error| {
        // Better silent than twice: what cannot be remembered as seen is not run.
        tracing::error!(%error, "message ids could not be stored; {} messages are dropped", ids.len());
        vec![false; ids.len()]
    });
    for (incoming, fresh) in batch.drain(..).zip(fresh) {
        let passed = fresh && pass_on(services, incoming, now);
        if !passed {
            services.metrics.dropped.inc();
        }
    }
}

/// Hands one message on; `false` if nobody takes it.
fn pass_on(services: &Services, incoming: Incoming, now: SystemTime) -> bool {
    let room = incoming.room.clone();
    if services.access().role(&room, &incoming.sender.id).is_none() {
        tracing::info!(%room, sender = %incoming.sender.id, "a message from somebody who is not on the allow-list");
        return false;
    }
    let addressed = incoming.addressed.is_some()
        || !matches!(incoming.act, PersonAct::Said { .. })
        || services.ambient.is_on(&room);
    let age = now.duration_since(incoming.sent_at).unwrap_or_default();
    if addressed && age > services.config().catch_up.0 {
        return services.rooms.post(&room, RoomInput::Notice(replies::too_old(&incoming, age)));
    }
    let taken = services.rooms.offer(incoming, addressed);
    if !taken {
        tracing::warn!(%room, "the room is flooded or unknown; a message is dropped");
    }
    taken
}
