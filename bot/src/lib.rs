//! The program `storkit` as a library, so that tests start the same bot that people run.

pub mod access;
mod agents;
mod ambient;
mod app;
mod clock;
pub mod command;
pub mod commands;
pub mod config;
pub mod demo;
pub mod doctor;
mod host;
pub mod http;
mod live;
mod lock;
pub mod logging;
pub mod messengers;
mod metrics;
mod notify;
pub mod permission;
mod prompt;
mod replies;
mod room;
mod rooms;
mod router;
mod services;
mod sessions;
mod store;
mod turn;

pub use agents::AgentEntry;
pub use app::{App, Options, StartError};
pub use clock::Clock;
pub use lock::LockError;
pub use pipeline::duration;
pub use room::RetryPolicy;
pub use services::Services;
