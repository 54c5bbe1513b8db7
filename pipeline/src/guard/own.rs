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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_one_part_notes_is_known_to_all() {
        let own = OwnCommits::default();
        let other = own.clone();
        other.add("1234");
        assert_eq!(own.all(), BTreeSet::from(["1234".to_owned()]));
    }
}
