//! Whether a person's git is in the middle of something that a move of base would break: a rebase of base, or conflicts or a command at work
//! in a checkout of base. Git itself refuses to move a branch by hand that is being rebased.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use git2::Repository;

use super::{checkout, outcome::MergeError, paths::MergePaths};

/// Why base cannot move now. Displayed as a clause for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseInUse {
    base: String,
    /// The checkout; `None` for the main one.
    folder: Option<PathBuf>,
    by: BaseUse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BaseUse {
    /// The end of the rebase fails if base is elsewhere by then, and `git rebase --abort` takes off base what has landed meanwhile.
    Rebase,
    /// Git brings no checkout along whose index has conflicts.
    Conflicts,
    /// Nor one whose index another git holds: `git commit -a` does, for as long as its editor is open.
    Git,
}

impl fmt::Display for BaseInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base, folder, by } = self;
        let folder = match folder {
            None => "the main checkout".to_owned(),
            Some(folder) => format!("`{}`", folder.display()),
        };
        match by {
            BaseUse::Rebase => write!(f, "a rebase of `{base}` is under way in {folder}"),
            BaseUse::Conflicts => write!(f, "there are unresolved conflicts in {folder}"),
            BaseUse::Git => {
                write!(
                    f,
                    "another git, such as a `git commit -a` with its editor open, holds `index.lock` in {folder}"
                )
            }
        }
    }
}

/// Looks at the checkouts of people. Those of storkit's own worktrees have no say: an agent could write there.
pub(crate) fn base_in_use(place: &MergePaths, base: &str) -> Result<Option<BaseInUse>, MergeError> {
    let found = |folder: &Path, by| {
        let is_main = fs::canonicalize(folder).is_ok_and(|folder| folder == place.root);
        let folder = (!is_main).then(|| folder.to_owned());
        Some(BaseInUse { base: base.to_owned(), folder, by })
    };
    let checkouts = checkout::all(place)?;
    let rebased = checkouts.iter().find(|checkout| {
        !checkout.work_tree.starts_with(place.root.join(".storkit")) && is_rebased(&checkout.git_dir, base)
    });
    if let Some(checkout) = rebased {
        return Ok(found(&checkout.work_tree, BaseUse::Rebase));
    }
    for checkout in checkout::on_base(place, base)? {
        if checkout.git_dir.join("index.lock").symlink_metadata().is_ok() {
            return Ok(found(&checkout.work_tree, BaseUse::Git));
        }
        if Repository::open(&checkout.work_tree)?.index()?.has_conflicts() {
            return Ok(found(&checkout.work_tree, BaseUse::Conflicts));
        }
    }
    Ok(None)
}

/// Whether a rebase in this checkout moves base when it ends: base itself is rebased, or lies below the branch that is
/// (`rebase.updateRefs`).
fn is_rebased(git_dir: &Path, base: &str) -> bool {
    let reference = format!("refs/heads/{base}");
    let names = |file: &str| {
        let text = fs::read_to_string(git_dir.join(file)).unwrap_or_default();
        text.lines().any(|line| line == reference)
    };
    ["rebase-merge/head-name", "rebase-apply/head-name", "rebase-merge/update-refs"].into_iter().any(names)
}
