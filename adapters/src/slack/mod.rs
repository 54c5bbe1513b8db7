//! Slack: Socket Mode or signed HTTP, on slack-morphism.

mod config;

pub use config::{Config, Mode};

/// The adapter's name in rooms and in `bot.toml`.
pub const NAME: &str = "slack";

#[cfg(feature = "slack")]
mod adapter;

#[cfg(feature = "slack")]
pub use adapter::Slack;
