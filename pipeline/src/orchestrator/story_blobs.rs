//! The content of story files as git names it, so that a commit reads only files that changed since the last one.

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use git2::{ObjectType, Oid};
use parking_lot::Mutex;

// A file that changed this short a time before it was read may have changed again with the same time stamp.
const UNSETTLED: Duration = Duration::from_millis(50);

/// What tells two states of a file apart: inode, size, and time of change.
type FileState = (u64, u64, i64, i64);

/// Cheap to clone; all copies are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoryBlobCache(Arc<Mutex<HashMap<PathBuf, (FileState, Oid)>>>);

impl StoryBlobCache {
    /// The object that the file's content is. `None` where it cannot be read: it is gone meanwhile.
    pub(super) fn of(&self, root: &Path, path: &Path, found: &Metadata) -> Option<Oid> {
        let state = (found.ino(), found.len(), found.ctime(), found.ctime_nsec());
        if let Some((known, blob)) = self.0.lock().get(path)
            && *known == state
        {
            return Some(*blob);
        }
        // The time of change, which no editor sets back.
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(found.ctime().try_into().ok()?);
        let changed = changed + Duration::from_nanos(found.ctime_nsec().try_into().ok()?);
        let blob = Oid::hash_object(ObjectType::Blob, &fs::read(root.join(path)).ok()?).ok()?;
        if SystemTime::now().duration_since(changed).is_ok_and(|age| age > UNSETTLED) {
            self.0.lock().insert(path.to_owned(), (state, blob));
        }
        Some(blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_even_with_the_same_size_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, path) = (StoryBlobCache::default(), folder.path().join("a"));
        let blob = || cache.of(folder.path(), Path::new("a"), &path.metadata().unwrap()).unwrap();
        let mut seen = Vec::new();
        for round in 0..20 {
            fs::write(&path, if round % 2 == 0 { "one" } else { "two" }).unwrap();
            fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            seen.push(blob());
        }
        let (one, two) = (seen[0], seen[1]);
        assert_ne!(one, two);
        assert!(seen.chunks(2).all(|pair| pair == [one, two]), "{seen:?}");
    }
}
