//! Each messenger against its real server or a faithful stand-in.

mod in_memory;
#[cfg(feature = "slack")]
mod slack;
#[cfg(feature = "whatsapp")]
mod whatsapp;
