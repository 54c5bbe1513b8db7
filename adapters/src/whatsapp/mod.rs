//! WhatsApp: Meta's Cloud API, called over HTTPS and calling back by webhook.

mod config;

pub use config::Config;

/// The adapter's name in rooms and in `bot.toml`.
pub const NAME: &str = "whatsapp";

#[cfg(feature = "whatsapp")]
mod adapter;

#[cfg(feature = "whatsapp")]
pub use adapter::WhatsApp;
