//! Records whether a room's messages arrive, and tells the operator where they do not.

use std::sync::Arc;

use adapters::{AdapterError, AdapterHealth, Room};

use crate::{
    chat::{rooms::RoomInput, services::ChatServices},
    replies,
};

/// Whether the messages of one room arrive.
pub struct DeliveryReport {
    room: Room,
    health: Option<Arc<AdapterHealth>>,
    tell: Box<dyn Fn(String) + Send + Sync>,
}

impl DeliveryReport {
    /// Tells the rooms that follow the pipeline, since the room itself cannot be told.
    pub fn new(services: &Arc<ChatServices>, room: &Room) -> Self {
        let health = services.commands.messengers.health_of(room.adapter());
        let (services, failed) = (services.clone(), room.clone());
        let tell = move |text: String| {
            let followers = services.commands.messengers.followers(&services.config().pipeline);
            let elsewhere = |room: &&Room| {
                (room.adapter(), room.conversation()) != (failed.adapter(), failed.conversation())
            };
            for room in followers.iter().filter(elsewhere) {
                services.rooms.post(room, RoomInput::Notice(text.clone()));
            }
        };
        Self { room: room.clone(), health, tell: Box::new(tell) }
    }

    /// One that nobody reads.
    #[cfg(test)]
    pub fn unread(room: &Room) -> Self {
        Self { room: room.clone(), health: None, tell: Box::new(|_| {}) }
    }

    pub fn arrived(&self) {
        if let Some(health) = &self.health {
            health.delivered(&self.room);
        }
    }

    pub fn lost(&self, error: &AdapterError) {
        tracing::error!(%error, room = %self.room, "a message could not be delivered");
        let why = error.to_string();
        if self.health.as_ref().is_some_and(|health| health.not_delivered(&self.room, &why)) {
            (self.tell)(replies::not_delivered(&self.room, &why));
        }
    }
}
