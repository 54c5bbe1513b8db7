//! Matrix: an encrypted, verified bot on matrix-sdk.

mod config;

pub use config::{Approvals, Config};

/// The adapter's name in rooms and in `bot.toml`.
pub const NAME: &str = "matrix";

#[cfg(feature = "matrix")]
mod adapter;

#[cfg(feature = "matrix")]
pub use adapter::Matrix;
