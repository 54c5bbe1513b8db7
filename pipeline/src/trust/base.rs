//! Reads a file of the repository from the tip of a branch, whatever is checked out.

use std::path::{Component, Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid, Repository, Tree};

/// The most of one file that is read, in bytes. Nobody reads a larger text before confirming it.
const MAX_BYTES: usize = 1 << 20;

/// Links in the repository that lead from one file to the other.
const MAX_LINKS: usize = 8;

const LINK: i32 = 0o120_000;

/// The file's text at the tip of the branch; `None` where it is missing, no text, or larger than 1 MiB. A link is followed
/// inside the branch and never out of it.
pub fn text_on(repository: &Repository, branch: &str, path: &str) -> Result<Option<String>, git2::Error> {
    let tip = match repository.refname_to_id(&format!("refs/heads/{branch}")) {
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        tip => tip?,
    };
    let tree = repository.find_commit(tip)?.tree()?;
    let mut path = PathBuf::from(path);
    for _ in 0..MAX_LINKS {
        let Some((object, is_link)) = entry(&tree, &path)? else { return Ok(None) };
        let blob = repository.find_blob(object)?;
        let text =
            (blob.size() <= MAX_BYTES).then(|| String::from_utf8(blob.content().to_vec()).ok()).flatten();
        match text {
            Some(target) if is_link => match beside(&path, &target) {
                Some(next) => path = next,
                None => return Ok(None),
            },
            text => return Ok(text),
        }
    }
    Ok(None)
}

/// The blob at this path, and whether it is a link.
fn entry(tree: &Tree<'_>, path: &Path) -> Result<Option<(Oid, bool)>, git2::Error> {
    match tree.get_path(path) {
        Ok(entry) if entry.kind() == Some(ObjectType::Blob) => {
            Ok(Some((entry.id(), entry.filemode() == LINK)))
        }
        Ok(_) => Ok(None),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a link of the repository leads; `None` if that is outside.
fn beside(link: &Path, target: &str) -> Option<PathBuf> {
    let mut path = link.parent()?.to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    #[test]
    fn a_file_is_read_from_the_branch_whatever_is_in_the_checkout() {
        let git = WorktreeFixture::new();
        git.write("notes.md", "on main\n");
        git.git(&["add", "notes.md"]);
        git.git(&["commit", "-q", "-m", "notes"]);
        git.git(&["switch", "-q", "-c", "side"]);
        git.write("notes.md", "changed\n");
        let repository = Repository::open(git.root()).unwrap();
        assert_eq!(text_on(&repository, "main", "notes.md").unwrap().as_deref(), Some("on main\n"));
        assert_eq!(text_on(&repository, "main", "gone.md").unwrap(), None);
        assert_eq!(text_on(&repository, "gone", "notes.md").unwrap(), None);
    }

    #[test]
    fn a_link_is_followed_inside_the_branch_and_never_out_of_it() {
        let git = WorktreeFixture::new();
        git.write("docs/real.md", "real\n");
        for (link, target) in [
            ("a.md", "docs/b.md"),
            ("docs/b.md", "../docs/./real.md"),
            ("out.md", "/etc/passwd"),
            ("up.md", "../x"),
            ("loop.md", "loop.md"),
        ] {
            std::os::unix::fs::symlink(target, git.root().join(link)).unwrap();
        }
        git.git(&["add", "."]);
        git.git(&["commit", "-q", "-m", "links"]);
        let repository = Repository::open(git.root()).unwrap();
        let read = |path: &str| text_on(&repository, "main", path).unwrap();
        assert_eq!(read("a.md").as_deref(), Some("real\n"));
        assert_eq!(["out.md", "up.md", "loop.md", "docs"].map(read), [None, None, None, None]);
    }
}
