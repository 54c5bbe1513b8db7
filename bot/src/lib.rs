//! The program `storkit` as a library, so that tests start the same bot that people run.

pub mod chat;
mod clock;
pub mod commands;
pub mod config;
pub mod http;
mod metrics;
pub mod permission;
pub mod program;
mod replies;
mod store;

pub use agents::turn::RetryPolicy;
pub use chat::{AgentEntry, services::Services};
pub use clock::Clock;
pub use program::{
    app::{App, AppOptions, StartError},
    lock::LockError,
    restart::RunningProgram,
};
pub use settings::duration;
