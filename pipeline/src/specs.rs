//! What agents are told about the project, below `.storkit/specs`: written and committed to base after people agreed to it.

use std::{fs, path::Path};

use crate::{
    Project,
    base_commit::{BaseCommit, BaseCommitError, CommitSigning, CommittedFile, checked_out_elsewhere},
    git::program::GitProgram,
    guard::{BaseGuard, OwnCommits},
    project::{CONTEXT, OLD_CONTEXT, STACK, TEMPLATE_MARK},
    trust,
};

const MESSAGE: &str = "storkit: what this project is";

/// Both texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectSpecs {
    /// What the project is for.
    pub context: String,
    /// What it is built with.
    pub stack: String,
}

impl ProjectSpecs {
    /// As the files will have them, without the mark of a template; `None` where one is empty.
    pub fn new(context: &str, stack: &str) -> Option<Self> {
        let filled = |text: &str| {
            let lines = text.lines().filter(|line| !line.contains(TEMPLATE_MARK));
            let text = lines.collect::<Vec<_>>().join("\n");
            (!text.trim().is_empty()).then(|| format!("{}\n", text.trim()))
        };
        Some(Self { context: filled(context)?, stack: filled(stack)? })
    }
}

/// Writes both files and commits them to base; the commit is noted in `own` before anybody else can see it. Files that a person has
/// changed and not committed are left alone, and nothing is done then. The error is a sentence. Blocks.
pub(crate) fn write(
    project: &Project,
    base: &str,
    specs: &ProjectSpecs,
    own: &OwnCommits,
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let guard = BaseGuard::lock(project).map_err(|error| text(&error))?;
    let repository = git2::Repository::open(project.root()).map_err(|error| text(&error))?;
    let on_base = |name: &str| trust::text_on(&repository, base, name).map_err(|error| text(&error));
    let root = project.root();
    if let Some(folder) = checked_out_elsewhere(root, base).map_err(|error| text(&error))? {
        return Err(format!(
            "`{base}` is checked out in `{folder}`, whose files would not follow a commit of storkit's."
        ));
    }
    let is_here = is_checked_out(root, base)?;
    for name in [CONTEXT, STACK, OLD_CONTEXT].into_iter().filter(|_| is_here) {
        let path = root.join(name);
        let is_there = path.symlink_metadata().is_ok();
        if is_there && fs::read_to_string(&path).ok() != on_base(name)? {
            return Err(format!(
                "`{name}` has changes that are not committed. Commit or discard them, then try again."
            ));
        }
    }
    let mut files = vec![
        CommittedFile { name: CONTEXT, text: Some(&specs.context) },
        CommittedFile { name: STACK, text: Some(&specs.stack) },
    ];
    if on_base(OLD_CONTEXT)?.is_some() {
        files.push(CommittedFile { name: OLD_CONTEXT, text: None });
    }
    let landed = BaseCommit::new(project, base, &files, (MESSAGE, CommitSigning::Never)).and_then(|commit| {
        // Known before anybody compares base with what it was.
        own.add(commit.id());
        commit.land(&guard)
    });
    landed.map_err(|error: BaseCommitError| text(&error))?;
    if is_here {
        files.iter().try_for_each(|file| bring_along(&root.join(file.name), file.text))?;
    }
    Ok(())
}

/// The checkout follows base.
fn bring_along(path: &Path, text: Option<&str>) -> Result<(), String> {
    let done = match text {
        Some(text) => settings::unlinked::create_dir_all(path.parent().unwrap_or(path))
            .and_then(|()| settings::atomic::write(path, text.as_bytes()))
            .and_then(|()| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))),
        None if path.symlink_metadata().is_ok() => fs::remove_file(path),
        None => Ok(()),
    };
    done.map_err(|error| {
        format!("The texts are committed, but `{}` cannot be written: {error}.", path.display())
    })
}

fn is_checked_out(root: &Path, base: &str) -> Result<bool, String> {
    let head = GitProgram::at(root).answer(["symbolic-ref", "--quiet", "HEAD"], &[]);
    let head = head.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&head.stdout).trim_end() == format!("refs/heads/{base}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{project::ProjectContext, worktree::fixture::WorktreeFixture};

    fn specs() -> ProjectSpecs {
        ProjectSpecs::new("# Doors\n\nWe make doors.", "# Wood\n").unwrap()
    }

    #[test]
    fn both_texts_are_committed_to_base_and_the_checkout_follows() {
        let git = WorktreeFixture::new();
        git.write(OLD_CONTEXT, "# Old\n");
        git.git(&["add", "-f", OLD_CONTEXT]);
        git.git(&["commit", "-q", "-m", "context"]);
        git.write("staged.txt", "mine");
        git.git(&["add", "staged.txt"]);
        let own = OwnCommits::default();
        write(&git.project, "main", &specs(), &own).unwrap();
        assert_eq!(git.project.context("main"), ProjectContext::Text("# Doors\n\nWe make doors.\n".into()));
        assert_eq!(git.project.stack("main"), ProjectContext::Text("# Wood\n".into()));
        assert_eq!(git.git(&["status", "--porcelain"]), "A  staged.txt");
        assert!(own.all().contains(&git.git(&["rev-parse", "main"])));
        assert!(!git.root().join(OLD_CONTEXT).exists());
        let briefing = git.project.briefing("main", true);
        assert!(briefing.contains("We make doors.") && briefing.contains("# Wood"), "{briefing}");
    }

    #[test]
    fn agents_know_the_folder_that_the_project_is() {
        let git = WorktreeFixture::new();
        assert_eq!(git.project.briefing("main", true), "");
        git.write(".storkit/project.toml", "folder = \"packages/api\"\n");
        assert_eq!(git.project.folder("main"), None, "base has none yet");
        git.git(&["add", "-f", ".storkit/project.toml"]);
        git.git(&["commit", "-q", "-m", "settings"]);
        let briefing = git.project.briefing("main", true);
        assert!(
            briefing.contains("The project is the folder `packages/api` of this repository"),
            "{briefing}"
        );
    }

    #[test]
    fn another_branch_that_is_checked_out_is_left_alone() {
        let git = WorktreeFixture::new();
        git.git(&["switch", "-q", "-c", "side"]);
        write(&git.project, "main", &specs(), &OwnCommits::default()).unwrap();
        assert_eq!(git.git(&["rev-list", "--count", "side"]), "1");
        assert!(!git.root().join(CONTEXT).exists());
        assert_eq!(git.project.stack("main"), ProjectContext::Text("# Wood\n".into()));
    }

    #[test]
    fn what_a_person_has_changed_is_not_written_over() {
        let git = WorktreeFixture::new();
        write(&git.project, "main", &specs(), &OwnCommits::default()).unwrap();
        git.write(STACK, "# Mine\n");
        let tip = git.git(&["rev-parse", "main"]);
        let why = write(&git.project, "main", &specs(), &OwnCommits::default()).unwrap_err();
        assert!(why.contains("STACK.md` has changes that are not committed"), "{why}");
        assert_eq!((git.git(&["rev-parse", "main"]), git.read(STACK)), (tip, "# Mine\n".into()));
    }

    #[test]
    fn a_text_that_is_empty_or_still_the_template_is_none() {
        assert_eq!(ProjectSpecs::new("x", " \n"), None);
        let marked = format!("<!-- {TEMPLATE_MARK}: x -->\n# Doors\n");
        assert_eq!(ProjectSpecs::new(&marked, "y").unwrap().context, "# Doors\n");
        assert_eq!(ProjectSpecs::new(&format!("<!-- {TEMPLATE_MARK} -->"), "y"), None);
    }
}
