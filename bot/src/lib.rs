//! The program `storkit` as a library, so that tests start the same bot that people run.

mod bot_tasks;
pub mod chat;
mod clock;
pub mod commands;
pub mod config;
mod host_questions;
pub mod http;
#[cfg(test)]
mod layers;
mod live_agents;
mod messengers;
mod metrics;
pub mod permission;
pub mod program;
pub mod replies;
mod restart;
mod sent_files;
mod store;
pub mod tools;
mod web_sessions;

pub use agents::turn::RetryPolicy;
pub use chat::services::ChatServices;
pub use clock::{Clock, ClockHand};
pub use live_agents::AgentEntry;
pub use program::{
    app::{App, AppListeners, AppOptions, StartError},
    lock::LockError,
};
pub use replies::permission_answer;
pub use restart::RunningProgram;
pub use settings::duration;
