//! Files of what people asked storkit to remember: `.storkit/work/memory/NAME.toml`, one for the project and one for each room. The board's
//! branch keeps them at the same paths. What they hold is `crate::memory`'s.

use std::{
    fs::Metadata,
    io,
    path::{Path, PathBuf},
};

use git2::{ErrorCode, ObjectType, Oid, Repository};
use settings::unlinked;

use super::{
    attached::plain_files,
    branch::{StoryBlobs, WORK},
};
use crate::worktree::RoomName;

/// The folder's name, beside those of the stages.
pub(super) const MEMORY: &str = "memory";

/// The stem of the file of what holds for the whole project.
pub(crate) const PROJECT_STEM: &str = "project";

/// Longest file that is read or committed, in bytes. Fifty notes of the greatest length need a tenth of it.
pub(crate) const MAX_MEMORY: u64 = 256 << 10;

/// The folder of these files, from the project's root.
pub(crate) fn memory_folder() -> PathBuf {
    Path::new(WORK).join(MEMORY)
}

/// Whether a file of this name can be one of them; any other is left where it is.
fn is_memory_name(name: &str) -> bool {
    let stem = name.strip_suffix(".toml");
    stem.is_some_and(|stem| stem == PROJECT_STEM || RoomName::parse(stem).is_some())
}

/// Whether this path from the project's root is one of them.
pub(crate) fn is_memory(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent() == Some(memory_folder().as_path()) && name.is_some_and(is_memory_name)
}

/// The files in the checkout, by their paths from the project's root: plain files, where no link leads.
pub(crate) fn memory_on_disk(root: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let folder = memory_folder();
    if unlinked::check(&root.join(&folder)).is_err() {
        return Ok(Vec::new());
    }
    let files = plain_files(&root.join(&folder), is_memory_name)?;
    Ok(files.into_iter().map(|(name, metadata)| (folder.join(name), metadata)).collect())
}

/// The files in a commit of the board.
pub(super) fn memory_in(repository: &Repository, commit: Oid) -> Result<StoryBlobs, git2::Error> {
    let tree = repository.find_commit(commit)?.tree()?;
    let folder = memory_folder();
    let mut found = StoryBlobs::new();
    let entry = match tree.get_path(&folder) {
        Ok(entry) if entry.kind() == Some(ObjectType::Tree) => entry,
        Ok(_) => return Ok(found),
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in &repository.find_tree(entry.id())? {
        let is_file = matches!(entry.filemode(), 0o100_644 | 0o100_755 | 0o100_664);
        if let Ok(name) = entry.name()
            && is_file
            && is_memory_name(name)
        {
            found.insert(folder.join(name), entry.id());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_plain_files_of_the_project_and_of_rooms_count() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join(memory_folder());
        fs::create_dir_all(&folder).unwrap();
        let room = format!("{}.toml", RoomName::of("fake:ops"));
        for name in ["project.toml", room.as_str(), "notes.toml", "project.md", ".project.toml"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let other = format!("{}.toml", RoomName::of("fake:other"));
        symlink(folder.join("notes.toml"), folder.join(other)).unwrap();
        let names = || -> Vec<PathBuf> {
            let mut found: Vec<_> =
                memory_on_disk(place.path()).unwrap().into_iter().map(|(path, _)| path).collect();
            found.sort();
            found
        };
        assert_eq!(names(), ["project.toml", room.as_str()].map(|name| memory_folder().join(name)));
        assert!(names().iter().all(|path| is_memory(path)));
        assert!(!is_memory(Path::new("project.toml")) && !is_memory(&memory_folder().join("x/project.toml")));
        fs::rename(&folder, place.path().join("elsewhere")).unwrap();
        symlink(place.path().join("elsewhere"), &folder).unwrap();
        assert_eq!(names(), Vec::<PathBuf>::new());
    }
}
