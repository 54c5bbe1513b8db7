//! Finds the branch that is meant, and reads what it changes.

use std::path::Path;

use git2::{Diff, DiffFormat, DiffOptions, ErrorCode, Oid, Repository};

use super::{BranchNow, ReviewFindings, ReviewedBranch};
use crate::{
    Project,
    board::BOARD_BRANCH,
    git::fork_point::fork_point,
    sentence::{self, one_line},
    visible::visible,
};

/// Most characters of a diff in a prompt; the worktree has all of it.
const MAX_DIFF: usize = 60_000;

/// Longest name that is looked up.
const MAX_NAME: usize = 250;

/// Most files that are listed in a prompt.
const MAX_FILES: usize = 300;

/// The branch of this name: a local one, or a remote's (`origin/x`). The error is a sentence. Blocks.
pub(crate) fn resolve(project: &Project, base: &str, name: &str) -> Result<ReviewedBranch, String> {
    let text = |error: git2::Error| format!("the repository cannot be read: {}.", one_line(error.message()));
    let shown = || one_line(name).replace('`', "'");
    let repository = Repository::open(project.root()).map_err(text)?;
    let (reference, tip) = find(&repository, name).map_err(text)?.ok_or_else(|| {
        format!("there is no branch `{}` here. A remote's branch is called as in `git branch -r`.", shown())
    })?;
    let name = reference.trim_start_matches("refs/heads/").trim_start_matches("refs/remotes/").to_owned();
    if name == BOARD_BRANCH {
        return Err(format!("`{BOARD_BRANCH}` holds the stories, and no work that could be reviewed."));
    }
    let fork = fork_point(&repository, base, tip).map_err(text)?;
    let Some(fork) = fork.map(|fork| fork.commit) else {
        let shown = shown();
        return Err(format!(
            "`{shown}` and `{base}` have no commit in common, so nobody can say what `{shown}` changes."
        ));
    };
    let (commits, _) = repository.graph_ahead_behind(tip, fork).map_err(text)?;
    let diff = diff(&repository, fork, tip).map_err(text)?;
    let stats = diff.stats().map_err(text)?;
    if commits == 0 || stats.files_changed() == 0 {
        return Err(format!(
            "`{}` changes nothing that `{base}` does not have, so there is nothing to review.",
            shown()
        ));
    }
    let files = diff
        .deltas()
        .filter_map(|delta| delta.new_file().path().or(delta.old_file().path()).map(Path::to_owned));
    let files =
        files.take(MAX_FILES).map(|path| visible(&path.display().to_string()).replace('\n', " ")).collect();
    let diff = sentence::diff(stats.files_changed(), stats.insertions(), stats.deletions());
    Ok(ReviewedBranch { name, reference, tip, fork, commits, diff, files })
}

/// No revision expressions: what people name is a branch, and `-x` is no option here.
fn find(repository: &Repository, name: &str) -> Result<Option<(String, Oid)>, git2::Error> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Ok(None);
    }
    let whole = name.starts_with("refs/heads/") || name.starts_with("refs/remotes/");
    let places = if whole { vec![""] } else { vec!["refs/heads/", "refs/remotes/"] };
    for place in places {
        let reference = format!("{place}{name}");
        match repository.find_reference(&reference).and_then(|found| found.peel_to_commit()) {
            Ok(commit) => return Ok(Some((reference, commit.id()))),
            // A remote's `HEAD` may lead to nothing.
            Err(error)
                if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec | ErrorCode::Peel) => {
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn diff(repository: &Repository, fork: Oid, tip: Oid) -> Result<Diff<'_>, git2::Error> {
    let tree = |commit| repository.find_commit(commit)?.tree();
    let (old, new) = (tree(fork)?, tree(tip)?);
    let mut options = DiffOptions::new();
    repository.diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options))
}

/// The branch's changes as text, and whether that is all of them. Characters that nobody sees are shown by their numbers. Blocks.
pub(crate) fn diff_text(project: &Project, branch: &ReviewedBranch) -> Result<(String, bool), git2::Error> {
    let repository = Repository::open(project.root())?;
    let diff = diff(&repository, branch.fork, branch.tip)?;
    let mut bytes = Vec::new();
    let printed = diff.print(DiffFormat::Patch, |_, _, line| {
        if matches!(line.origin(), '+' | '-' | ' ') {
            bytes.push(line.origin() as u8);
        }
        bytes.extend_from_slice(line.content());
        // A callback that stops ends the printing with an error.
        bytes.len() <= 4 * MAX_DIFF
    });
    let text = visible(&String::from_utf8_lossy(&bytes));
    let shown: String = text.chars().take(MAX_DIFF).collect();
    let is_whole = printed.is_ok() && shown.len() == text.len();
    Ok((shown, is_whole))
}

/// Takes lines away that the branch's files do not have: a place that leads nowhere helps nobody. Blocks.
pub(crate) fn check_places(
    project: &Project,
    branch: &ReviewedBranch,
    found: &mut ReviewFindings,
) -> Result<(), git2::Error> {
    let repository = Repository::open(project.root())?;
    let tree = repository.find_commit(branch.tip)?.tree()?;
    for finding in &mut found.findings {
        let file = finding.file.trim_start_matches("./").to_owned();
        let lines = tree.get_path(Path::new(&file)).and_then(|entry| repository.find_blob(entry.id()));
        let lines = lines.map_or(0, |blob| blob.content().split(|byte| *byte == b'\n').count());
        finding.line = finding.line.filter(|line| (1..=lines).contains(&(*line as usize)));
        finding.file = file;
    }
    Ok(())
}

/// Where the branch is now.
pub(crate) fn is_at(project: &Project, branch: &ReviewedBranch) -> BranchNow {
    let tip = Repository::open(project.root())
        .and_then(|repository| Ok(repository.find_reference(&branch.reference)?.peel_to_commit()?.id()));
    match tip {
        Ok(tip) if tip == branch.tip => BranchNow::Unchanged,
        Ok(_) => BranchNow::Moved,
        Err(_) => BranchNow::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{branch_review::ReviewFinding, worktree::fixture::WorktreeFixture};

    fn branch(git: &WorktreeFixture, name: &str, file: &str, text: &str) {
        git.git(&["switch", "-q", "-c", "made", "main"]);
        git.write(file, text);
        git.git(&["add", "-f", file]);
        git.git(&["commit", "-q", "-m", "change"]);
        git.git(&["switch", "-q", "main"]);
        git.git(&["update-ref", name, "made"]);
        git.git(&["branch", "-q", "-D", "made"]);
    }

    fn refusal(git: &WorktreeFixture, name: &str) -> String {
        resolve(&git.project, "main", name).unwrap_err()
    }

    #[test]
    fn local_and_remote_branches_are_found_by_their_names_and_nothing_else_is() {
        let git = WorktreeFixture::new();
        branch(&git, "refs/heads/feature/x", "x.txt", "x\n");
        branch(&git, "refs/remotes/origin/y", "y.txt", "y\n");
        branch(&git, "refs/heads/--output=x", "z.txt", "z\n");
        branch(&git, "refs/tags/t", "t.txt", "t\n");
        for (name, expected) in [
            ("feature/x", "feature/x"),
            ("refs/heads/feature/x", "feature/x"),
            ("origin/y", "origin/y"),
            ("refs/remotes/origin/y", "origin/y"),
            ("--output=x", "--output=x"),
        ] {
            let found = resolve(&git.project, "main", name).unwrap();
            assert_eq!(
                (found.name.as_str(), found.commits, found.diff.as_str()),
                (expected, 1, "1 file, +1 -0")
            );
        }
        for name in [
            "t",
            "nothing",
            "-x",
            "main~1",
            "main..feature/x",
            "HEAD",
            "",
            "a b",
            "x\u{1b}[31m",
            "refs/tags/t",
        ] {
            let why = refusal(&git, name);
            assert!(why.starts_with("there is no branch `"), "{name}: {why}");
        }
    }

    #[test]
    fn what_cannot_be_reviewed_is_refused_with_the_reason() {
        let git = WorktreeFixture::new();
        git.git(&["branch", "same", "main"]);
        git.git(&["branch", "storkit/board", "main"]);
        git.git(&["switch", "-q", "--orphan", "other"]);
        git.git(&["commit", "-q", "--allow-empty", "-m", "elsewhere"]);
        git.git(&["switch", "-q", "main"]);
        for name in ["same", "main"] {
            let why = refusal(&git, name);
            assert!(why.contains("changes nothing that `main` does not have"), "{why}");
        }
        assert!(refusal(&git, "other").contains("have no commit in common"));
        assert!(refusal(&git, "storkit/board").contains("holds the stories"));
    }

    #[test]
    fn the_changes_are_shown_with_all_that_hides_in_them_and_cut_where_they_are_too_long() {
        let git = WorktreeFixture::new();
        branch(&git, "refs/heads/x", "x.txt", "pay\u{202e}x\n");
        let found = resolve(&git.project, "main", "x").unwrap();
        let (text, is_whole) = diff_text(&git.project, &found).unwrap();
        assert!(text.contains("+++ b/x.txt") && text.contains("\n+pay<U+202E>x\n") && is_whole, "{text}");
        branch(&git, "refs/heads/long", "long.txt", &"line\n".repeat(100_000));
        let found = resolve(&git.project, "main", "long").unwrap();
        let (text, is_whole) = diff_text(&git.project, &found).unwrap();
        assert_eq!((text.chars().count(), is_whole), (MAX_DIFF, false));
    }

    #[test]
    fn a_line_that_the_file_does_not_have_is_no_place() {
        let git = WorktreeFixture::new();
        branch(&git, "refs/heads/x", "x.txt", "one\ntwo\n");
        let found = resolve(&git.project, "main", "x").unwrap();
        let finding =
            |file: &str, line| ReviewFinding { file: file.into(), line: Some(line), problem: "p".into() };
        let findings = [("./x.txt", 2), ("x.txt", 0), ("x.txt", 9), ("../../etc/passwd", 1), ("gone.txt", 1)];
        let findings = findings.map(|(file, line)| finding(file, line)).into();
        let mut findings = ReviewFindings { findings, summary: String::new() };
        check_places(&git.project, &found, &mut findings).unwrap();
        let lines: Vec<_> = findings.findings.iter().map(|found| found.line).collect();
        assert_eq!(
            (lines, findings.findings[0].file.as_str()),
            (vec![Some(2), None, None, None, None], "x.txt")
        );
    }

    #[test]
    fn a_branch_that_moved_or_went_during_its_review_is_known() {
        let git = WorktreeFixture::new();
        branch(&git, "refs/heads/x", "x.txt", "one\n");
        let found = resolve(&git.project, "main", "x").unwrap();
        assert_eq!(is_at(&git.project, &found), BranchNow::Unchanged);
        git.git(&["update-ref", "refs/heads/x", "main"]);
        assert_eq!(is_at(&git.project, &found), BranchNow::Moved);
        git.git(&["branch", "-q", "-D", "x"]);
        assert_eq!(is_at(&git.project, &found), BranchNow::Gone);
    }
}
