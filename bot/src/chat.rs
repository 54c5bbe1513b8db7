//! The chat rooms: from a message that comes in to everything that is posted in reply.

pub mod ambient;
pub mod delivery;
mod evidence;
pub mod network;
pub mod news;
pub mod notify;
mod outbox;
pub mod prompt;
mod received_files;
pub mod room;
pub mod rooms;
pub mod router;
pub mod services;
mod session;
mod thread;
mod transcript;
mod workspace;
