//! Slack: Socket Mode (outbound only) or signed HTTP.
//!
//! **slack-morphism and our own code.** Its client makes every Web API call, its verifier checks the signatures of
//! the HTTP mode. Its socket listener is not used: it reconnects by itself for ever, every 30 s, and reports nothing, so that
//! [`crate::Adapter::run`] could neither return nor report its health; it waits for a callback before it reads on; and its
//! strict shapes lose messages of org-wide installs (`team: null`) and of people whom it models differently. So `socket.rs` is
//! our own loop on tokio-tungstenite, and `event.rs` requires only the fields that it uses. Its rate control is off, since it
//! paces all channels as one; `pace.rs` is ours.
//!
//! **Rooms.** `slack:C0123` is a channel's top level or a direct conversation, `slack:C0123/TS` the thread below a message. A
//! prompt at a channel's top level opens the thread below it ([`crate::Adapter::open_thread`]), where its session continues.

mod config;
mod manifest;
mod notices;
mod plugin;

pub use config::{ConnectionMode, SlackConfig};
pub use manifest::{EVENTS, SCOPES, manifest};

/// The adapter's name in rooms and in `bot.toml`.
pub const NAME: &str = "slack";

#[cfg(feature = "slack")]
mod adapter;
#[cfg(feature = "slack")]
mod call_failure;
#[cfg(feature = "slack")]
mod connection_watch;
#[cfg(feature = "slack")]
mod conversation;
#[cfg(feature = "slack")]
mod ephemeral;
#[cfg(feature = "slack")]
mod event;
#[cfg(feature = "slack")]
mod http_mode;
#[cfg(feature = "slack")]
mod incoming;
#[cfg(feature = "slack")]
mod incoming_queue;
#[cfg(feature = "slack")]
mod mrkdwn;
#[cfg(feature = "slack")]
mod pace;
#[cfg(feature = "slack")]
mod people;
#[cfg(feature = "slack")]
mod render;
#[cfg(feature = "slack")]
mod send;
#[cfg(feature = "slack")]
mod sent_files;
#[cfg(feature = "slack")]
mod shared_messages;
#[cfg(feature = "slack")]
mod socket;
#[cfg(feature = "slack")]
mod thread_history;
#[cfg(feature = "slack")]
mod threads;
#[cfg(feature = "slack")]
mod unescape;
#[cfg(feature = "slack")]
mod user_names;
#[cfg(feature = "slack")]
mod web;

#[cfg(feature = "slack")]
pub use adapter::Slack;
