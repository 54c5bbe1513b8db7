//! Whose worktree it is: a story's or a chat room's. Folder, branch and refs follow from that, safe in paths by construction.

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

use super::name::{BRANCH_PREFIX, WorktreeName};

/// The prefix of every room's branch.
pub const ROOM_BRANCHES: &str = "room/";

/// The folder of a room's worktree begins with it; no folder of a story does.
const ROOM_FOLDERS: &str = "room-";

/// At most so much of a room's own name is part of its slug: the whole path must stay short.
const READABLE: usize = 24;

/// A chat room as paths and refs name it: `[a-z0-9-]` only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(String);

/// The owner of a worktree.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorktreeOwner {
    Story(WorktreeName),
    Room(RoomName),
}

impl RoomName {
    /// The name of the room `messenger:id`. Two rooms never share one: it ends with a digest of the whole text, since an id may
    /// have letters that a path or a ref cannot have.
    pub fn of(room: &str) -> Self {
        let mut slug = String::new();
        for letter in room.chars().map(|letter| letter.to_ascii_lowercase()) {
            if slug.len() >= READABLE {
                break;
            }
            match letter {
                'a'..='z' | '0'..='9' => slug.push(letter),
                _ if slug.is_empty() || slug.ends_with('-') => {}
                _ => slug.push('-'),
            }
        }
        if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        // 80 bits: nobody can make a room whose name is that of a given other one.
        for byte in &Sha256::digest(room.as_bytes())[..10] {
            let _ = write!(slug, "{byte:02x}");
        }
        Self(slug)
    }

    /// Reads what `Display` writes; `None` for any other folder.
    pub fn parse(folder: &str) -> Option<Self> {
        let slug = folder.strip_prefix(ROOM_FOLDERS)?;
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        (!slug.is_empty() && slug.bytes().all(fits)).then(|| Self(slug.to_owned()))
    }

    pub fn slug(&self) -> &str {
        &self.0
    }

    /// `room/SLUG/work`: the folder above is the room's own, so that a sandbox can bind it alone.
    pub fn branch(&self) -> String {
        format!("{ROOM_BRANCHES}{}/work", self.0)
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ROOM_FOLDERS}{}", self.0)
    }
}

impl WorktreeOwner {
    pub fn branch(&self) -> String {
        match self {
            Self::Story(name) => name.branch(),
            Self::Room(name) => name.branch(),
        }
    }

    /// `refs/heads/` and the branch.
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.branch())
    }

    /// The folder of refs that belongs to this owner alone.
    pub(super) fn ref_folder(&self) -> String {
        match self {
            Self::Story(name) => format!("refs/heads/{BRANCH_PREFIX}{name}"),
            Self::Room(name) => format!("refs/heads/{ROOM_BRANCHES}{}", name.slug()),
        }
    }

    /// The story, if it is one's.
    pub fn story(&self) -> Option<&WorktreeName> {
        match self {
            Self::Story(name) => Some(name),
            Self::Room(_) => None,
        }
    }
}

impl fmt::Display for WorktreeOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Story(name) => name.fmt(f),
            Self::Room(name) => name.fmt(f),
        }
    }
}

impl From<&Self> for WorktreeOwner {
    fn from(owner: &Self) -> Self {
        owner.clone()
    }
}

impl From<&WorktreeName> for WorktreeOwner {
    fn from(name: &WorktreeName) -> Self {
        Self::Story(name.clone())
    }
}

impl From<&RoomName> for WorktreeOwner {
    fn from(name: &RoomName) -> Self {
        Self::Room(name.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rooms_that_differ_in_anything_have_different_names() {
        let rooms = [
            "slack:C0123",
            "slack:c0123",
            "slack:C0123:1700.5",
            "slack:C0123:1700.50",
            "matrix:!abc:example.org",
            "matrix:!ABC:example.org",
            "matrix:!abc:example-org",
            "console:main",
            "console-main",
            "",
            "é",
        ];
        let names: BTreeSet<RoomName> = rooms.iter().map(|room| RoomName::of(room)).collect();
        assert_eq!(names.len(), rooms.len(), "{names:?}");
        let long = RoomName::of(&format!("matrix:{}", "x".repeat(500)));
        assert!(names.iter().chain([&long]).all(|name| name.to_string().len() <= 50));
    }

    #[test]
    fn a_name_is_safe_in_paths_and_refs_and_reads_back() {
        for room in ["whatsapp:DE.1349/../..", "matrix:!a\n:b", "a:.lock", "a:@{x}~^:?*[", "console:main"] {
            let name = RoomName::of(room);
            assert_eq!(RoomName::parse(&name.to_string()), Some(name.clone()), "{room:?}");
            assert!(git2::Reference::is_valid_name(&WorktreeOwner::from(&name).reference()), "{room:?}");
            assert_eq!(WorktreeName::parse(&name.to_string()), None, "it is no story's");
        }
        for folder in ["room-", "room-../x", "room-A", "7_x", "merge", "room-a/b"] {
            assert_eq!(RoomName::parse(folder), None, "{folder:?}");
        }
    }
}
