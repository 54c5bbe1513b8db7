//! Commits that storkit itself puts on base while agents run: the comparison must not take them for theirs.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;

/// The commits of this process. Cheap to clone. Who commits to base notes it before the base lock is released.
#[derive(Clone, Debug, Default)]
pub struct OwnCommits(Arc<Mutex<BTreeSet<String>>>);

impl OwnCommits {
    pub fn add(&self, commit: &str) {
        self.0.lock().insert(commit.to_owned());
    }

    pub fn all(&self) -> BTreeSet<String> {
        self.0.lock().clone()
    }
}
