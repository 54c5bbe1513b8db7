//! Matrix for the tests: the homeserver Synapse, a person with an independent client, and faults between.

mod person;
mod proxy;
mod synapse;

use std::path::{Path, PathBuf};

pub use person::{Message, Person, Seen};
pub use proxy::{Fault, Proxy};
pub use synapse::{Account, Limits, Synapse};

/// Where `script/synapse` put its programs.
///
/// # Panics
/// If it did not.
fn tools() -> PathBuf {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/synapse");
    let folder = std::env::var_os("STORKIT_TEST_SYNAPSE").map_or(usual, PathBuf::from);
    assert!(folder.join("bin/python").exists(), "run script/synapse first");
    folder
}
