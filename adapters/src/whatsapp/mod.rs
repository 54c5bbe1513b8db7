//! WhatsApp: Meta's Cloud API, called over HTTPS and calling back by webhook.

mod config;
mod numbers;
mod plugin;

pub use config::WhatsAppConfig;

/// The adapter's name in rooms and in `bot.toml`.
pub const NAME: &str = "whatsapp";

#[cfg(feature = "whatsapp")]
mod adapter;
#[cfg(feature = "whatsapp")]
mod compose;
#[cfg(feature = "whatsapp")]
mod contacts;
#[cfg(feature = "whatsapp")]
mod graph;
#[cfg(feature = "whatsapp")]
mod incoming;
#[cfg(feature = "whatsapp")]
mod marks;
#[cfg(feature = "whatsapp")]
mod media;
#[cfg(feature = "whatsapp")]
mod notices;
#[cfg(feature = "whatsapp")]
mod notification;
#[cfg(feature = "whatsapp")]
mod operator_notes;
#[cfg(feature = "whatsapp")]
mod outgoing;
#[cfg(feature = "whatsapp")]
mod pace;
#[cfg(feature = "whatsapp")]
mod sent;
#[cfg(feature = "whatsapp")]
mod signature;

#[cfg(feature = "whatsapp")]
pub use adapter::{Clock, WhatsApp};
