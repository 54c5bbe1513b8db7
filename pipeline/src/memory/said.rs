//! Which notes people said here, kept outside of what git can bring. Any other note came with the repository or was written by hand, and
//! counts as text by a stranger.

use std::path::PathBuf;

use settings::atomic;
use sha2::{Digest as _, Sha256};

use super::{MemoryFault, MemoryNote, MemoryScope, disk};
use crate::Project;

const FILE: &str = "memory.json";

/// More digests than this are older than any note can be.
const MOST: usize = 20_000;

/// Digests, in the order in which the notes were said.
pub(super) struct SaidNotes(Vec<String>);

impl SaidNotes {
    /// One that cannot be read vouches for nothing.
    pub(super) fn read(project: &Project) -> Self {
        let text = std::fs::read_to_string(path(project)).unwrap_or_default();
        Self(serde_json::from_str(&text).unwrap_or_default())
    }

    pub(super) fn has(&self, scope: &MemoryScope, note: &MemoryNote) -> bool {
        self.0.contains(&digest(scope, note))
    }

    pub(super) fn add(&mut self, scope: &MemoryScope, note: &MemoryNote) {
        self.0.push(digest(scope, note));
        if self.0.len() > MOST {
            self.0.drain(..self.0.len() - MOST);
        }
    }

    pub(super) fn write(&self, project: &Project) -> Result<(), MemoryFault> {
        let path = path(project);
        let text = serde_json::to_vec(&self.0).unwrap_or_default();
        atomic::write(&path, &text).map_err(disk(path))
    }
}

fn path(project: &Project) -> PathBuf {
    project.state_dir().join(FILE)
}

fn digest(scope: &MemoryScope, note: &MemoryNote) -> String {
    let file = scope.file();
    let text = serde_json::json!([file.to_string_lossy(), note.number, note.by, note.text]).to_string();
    hex::encode(Sha256::digest(text.as_bytes()))
}
