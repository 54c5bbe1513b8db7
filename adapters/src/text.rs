//! Text on its way in and out: the bot's address, Markdown, and messages that are too long.

pub mod address;
#[cfg(any(feature = "matrix", feature = "whatsapp"))]
pub(crate) mod emoji;
#[cfg(any(feature = "slack", feature = "whatsapp"))]
pub(crate) mod excerpt;
#[cfg(any(feature = "matrix", feature = "web"))]
pub mod html;
pub mod markdown;
#[cfg(any(feature = "slack", feature = "whatsapp"))]
pub(crate) mod marks;
pub mod mentions;
pub mod split;
