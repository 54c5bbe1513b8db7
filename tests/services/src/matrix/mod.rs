//! Matrix for the tests: the homeserver Synapse, a person with an independent client, and faults between.

mod person;
mod proxy;
mod synapse;

use std::path::PathBuf;

use needs::Need;
pub use person::{Message, Person, PersonFile, Seen};
pub use proxy::{Fault, Proxy};
pub use synapse::{Account, Limits, Synapse};

/// The folder in which `script/synapse` put its programs; panics without it. Tests that come here begin with `needs!(Synapse)`.
fn tools() -> PathBuf {
    Need::Synapse.path().unwrap_or_else(|| panic!("{}", Need::Synapse.missing()))
}
