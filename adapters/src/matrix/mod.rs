//! Matrix: an encrypted, verified bot on matrix-sdk.

mod config;
mod plugin;

pub use config::{ApprovalMode, MatrixConfig};

/// The adapter's name in rooms and in `bot.toml`.
pub const NAME: &str = "matrix";

// Without the feature only the section's keys remain, so that `bot.toml` is checked the same in every build.
#[cfg(feature = "matrix")]
mod adapter;
#[cfg(feature = "matrix")]
mod bot;
#[cfg(feature = "matrix")]
mod client;
#[cfg(feature = "matrix")]
mod direct;
#[cfg(feature = "matrix")]
mod errors;
#[cfg(feature = "matrix")]
mod event;
#[cfg(feature = "matrix")]
#[cfg(feature = "matrix")]
mod identity;
#[cfg(feature = "matrix")]
mod incoming;
#[cfg(feature = "matrix")]
mod media;
#[cfg(feature = "matrix")]
mod membership;
#[cfg(feature = "matrix")]
mod moves;
#[cfg(feature = "matrix")]
mod notices;
#[cfg(feature = "matrix")]
mod pace;
#[cfg(feature = "matrix")]
mod pending_joins;
#[cfg(feature = "matrix")]
mod pills;
#[cfg(feature = "matrix")]
mod quotations;
#[cfg(feature = "matrix")]
mod reactions;
#[cfg(feature = "matrix")]
mod receipts;
#[cfg(feature = "matrix")]
mod rooms;
#[cfg(feature = "matrix")]
mod saved_state;
#[cfg(feature = "matrix")]
mod send;
#[cfg(feature = "matrix")]
mod sent;
#[cfg(feature = "matrix")]
mod sync;
#[cfg(feature = "matrix")]
mod typing;
#[cfg(feature = "matrix")]
mod undecryptable;
#[cfg(feature = "matrix")]
mod upgrades;
#[cfg(feature = "matrix")]
mod verification;

#[cfg(feature = "matrix")]
pub use adapter::Matrix;
