//! Messengers: what one is ([`messenger`]), what all share ([`delivery`], [`text`]), and each of them in a folder of its own.
//!
//! Knows nothing of stories, of Claude or of commands.

// Futures of matrix-sdk nest deeper than the compiler's usual limit.
#![recursion_limit = "256"]

#[cfg(feature = "console")]
pub mod console;
mod delivery;
mod health;
pub mod matrix;
mod messenger;
mod people;
mod plugin;
pub mod private_files;
mod secret;
pub mod slack;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
#[cfg(feature = "web")]
pub mod web;
pub mod whatsapp;

pub use delivery::{
    deliver, supervise,
    webhook::{self, Webhooks},
};
pub use health::{AdapterHealth, HealthSnapshot, UnreachedConversation};
pub use messenger::{
    Activity, ActivityState, Adapter, AdapterContext, AdapterError, Addressed, Attachment, Capabilities,
    Choice, ChoiceForm, CommandInfo, Enclosed, Identity, Inbox, Incoming, MessageId, MessengerNews, Outgoing,
    PersonAct, Quotation, QuotedAuthor, Room, Sender, SentFile, Tone,
};
pub use people::AllowedPeople;
pub use plugin::{BuiltMessenger, MessengerConfig, MessengerKind, MessengerSection, MessengerSections};
pub use secret::Secret;
#[cfg(any(feature = "matrix", feature = "web"))]
pub use text::html::html;
pub use text::{address, markdown, mentions, split};

/// The messengers that a `bot.toml` can name. A new one adds its row here, and nothing outside this crate changes.
pub static MESSENGERS: &[MessengerKind] = &[
    MessengerKind::of::<matrix::MatrixConfig>(),
    MessengerKind::of::<slack::SlackConfig>(),
    MessengerKind::of::<whatsapp::WhatsAppConfig>(),
];
