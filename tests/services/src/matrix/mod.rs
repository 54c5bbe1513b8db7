//! Matrix for the tests: the homeserver Synapse, a person with an independent client, and faults between.

mod person;
mod proxy;
mod synapse;

use std::path::PathBuf;

use needs::Need;
pub use person::{Message, Person, Seen};
pub use proxy::{Fault, Proxy};
pub use synapse::{Account, Limits, Synapse};

/// Where `script/synapse` put its programs; tests that come here begin with `needs!(Synapse)`.
///
/// # Panics
/// If it did not.
fn tools() -> PathBuf {
    Need::Synapse.path().unwrap_or_else(|| panic!("{}", Need::Synapse.missing()))
}
