//! Commits of chosen paths in a person's checkout, without the files that the person has staged.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    thread,
    time::Duration,
};

use crate::{
    git::program::{GitAnswer, GitProgram, GitProgramError},
    guard::BaseGuard,
};

// A person's own git holds the index for milliseconds; after so many tries it is an error.
const ATTEMPTS: u32 = 20;

const PAUSE: Duration = Duration::from_millis(100);

/// Commits these paths as they are on disk (new, changed or deleted; relative to `root`) to the branch that is
/// checked out, and nothing else: a person's staged changes stay staged. Returns the commit, or `None` where
/// nothing differs from the last one. Blocks; waits up to 2 s for a person's git.
///
/// Fails with git's error, e.g. during a person's merge ("cannot do a partial commit during a merge"), or for a
/// path that is ignored. Then the index is as it was.
pub fn commit_paths(
    root: &Path,
    _base: &BaseGuard,
    paths: &[impl AsRef<Path>],
    message: &str,
) -> Result<Option<String>, GitProgramError> {
    let git = GitProgram::at(root).with_identity()?;
    commit_as_they_are(&git, root, paths, message, || ())
}

/// `sorted` is called when the paths are sorted and nothing is done yet, where a test can move one.
fn commit_as_they_are(
    git: &GitProgram,
    root: &Path,
    paths: &[impl AsRef<Path>],
    message: &str,
    mut sorted: impl FnMut(),
) -> Result<Option<String>, GitProgramError> {
    let mut left = ATTEMPTS;
    loop {
        let (known, new) = sort(git, root, paths)?;
        sorted();
        let committed = commit_sorted(git, known, &new, message);
        // Stories move while this runs: a new file that has left by now is no path that git knows.
        let moved = new.iter().any(|path| !exists(root, path));
        if committed.is_ok() || !moved || left == 0 {
            return committed;
        }
        left -= 1;
    }
}

fn commit_sorted(
    git: &GitProgram,
    known: Vec<OsString>,
    new: &[OsString],
    message: &str,
) -> Result<Option<String>, GitProgramError> {
    if known.is_empty() && new.is_empty() {
        return Ok(None);
    }
    if !new.is_empty() {
        // `commit --only` refuses a path that git does not know; an empty entry stages none of its content.
        patiently(|| git.answer(args(&["add", "--intent-to-add", "--"], new), &[]), &["add"])?;
    }
    let all: Vec<OsString> = known.into_iter().chain(new.iter().cloned()).collect();
    let committed = commit(git, &all, message);
    if committed.as_ref().map_or(true, Option::is_none) && !new.is_empty() {
        // Takes the empty entries back: a person's index is not to show files that were not committed.
        git.run(args(&["reset", "--quiet", "--"], new))?;
    }
    committed
}

fn exists(root: &Path, path: &OsStr) -> bool {
    root.join(path).symlink_metadata().is_ok()
}

fn commit(git: &GitProgram, paths: &[OsString], message: &str) -> Result<Option<String>, GitProgramError> {
    if !git.asks(["rev-parse", "--quiet", "--verify", "HEAD"])? {
        // The first commit has nothing to differ from.
    } else if git.asks(args(&["diff", "--quiet", "HEAD", "--"], paths))? {
        return Ok(None);
    }
    let head = ["commit", "--quiet", "--no-verify", "--message", message, "--only", "--"];
    patiently(|| git.answer(args(&head, paths), &[]), &head)?;
    git.run(["rev-parse", "HEAD"]).map(Some)
}

/// Those git knows, and those it does not and that are there; others were made and deleted again.
fn sort(
    git: &GitProgram,
    root: &Path,
    paths: &[impl AsRef<Path>],
) -> Result<(Vec<OsString>, Vec<OsString>), GitProgramError> {
    let wanted: Vec<OsString> = paths.iter().map(|path| path.as_ref().into()).collect();
    let listed = git.answer(args(&["ls-files", "-z", "--"], &wanted), &[])?;
    if listed.code != Some(0) {
        return Err(listed.refusal(&["ls-files"]));
    }
    let tracked: Vec<&[u8]> = listed.stdout.split(|byte| *byte == 0).collect();
    let (mut known, mut new) = (vec![], vec![]);
    for path in wanted {
        if tracked.contains(&path.as_encoded_bytes()) {
            known.push(path);
        } else if exists(root, &path) {
            new.push(path);
        } else if in_head(git, &path)? {
            known.push(path);
        }
    }
    Ok((known, new))
}

// Whether the last commit has it, though the index has not: a person staged its deletion.
fn in_head(git: &GitProgram, path: &OsStr) -> Result<bool, GitProgramError> {
    let mut object = OsString::from("HEAD:");
    object.push(path);
    Ok(git.answer([OsStr::new("cat-file"), OsStr::new("-e"), &object], &[])?.code == Some(0))
}

fn args(head: &[&str], paths: &[OsString]) -> Vec<OsString> {
    head.iter().map(OsString::from).chain(paths.iter().cloned()).collect()
}

/// Tries again while a person's git holds the index.
fn patiently(
    mut attempt: impl FnMut() -> Result<GitAnswer, GitProgramError>,
    shown: &[&str],
) -> Result<(), GitProgramError> {
    let is_held = |answer: &GitAnswer| answer.code != Some(0) && answer.stderr.contains("index.lock");
    let mut answer = attempt()?;
    for _ in 0..ATTEMPTS {
        if !is_held(&answer) {
            break;
        }
        thread::sleep(PAUSE);
        answer = attempt()?;
    }
    match answer.code {
        Some(0) => Ok(()),
        _ => Err(answer.refusal(shown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    fn commit(fixture: &WorktreeFixture, paths: &[&str]) -> Result<Option<String>, GitProgramError> {
        let guard = BaseGuard::lock(&fixture.project).expect("a lock");
        commit_paths(&fixture.root(), &guard, paths, "storkit: stories")
    }

    fn last(fixture: &WorktreeFixture) -> String {
        fixture.git(&["show", "--format=%s", "--name-status", "--no-renames", "HEAD"]).replace('\t', " ")
    }

    #[test]
    fn new_changed_and_deleted_paths_are_committed_and_a_persons_staged_files_stay_staged() {
        let fixture = WorktreeFixture::new();
        fixture.write("old.md", "old");
        fixture.git(&["add", "old.md"]);
        fixture.git(&["commit", "-q", "-m", "second"]);
        fixture.write("theirs.txt", "staged by a person");
        fixture.git(&["add", "theirs.txt"]);
        fixture.write("a.txt", "changed");
        fixture.write("a new one.md", "new");
        std::fs::remove_file(fixture.root().join("old.md")).expect("deleted");
        let id = commit(&fixture, &["a.txt", "a new one.md", "old.md", "never.md"]).expect("committed");
        assert_eq!(id, Some(fixture.git(&["rev-parse", "HEAD"])));
        insta::assert_snapshot!(last(&fixture), @r"
        storkit: stories

        A a new one.md
        M a.txt
        D old.md
        ");
        assert_eq!(fixture.git(&["status", "--porcelain"]), "A  theirs.txt");
    }

    #[test]
    fn nothing_to_commit_is_no_commit_and_no_error() {
        let fixture = WorktreeFixture::new();
        assert_eq!(commit(&fixture, &["a.txt", "never.md"]).expect("fine"), None);
        assert_eq!(commit(&fixture, &[]).expect("fine"), None);
        fixture.write("theirs.txt", "staged by a person");
        fixture.git(&["add", "theirs.txt"]);
        assert_eq!(commit(&fixture, &["a.txt"]).expect("fine"), None);
        assert_eq!(fixture.git(&["status", "--porcelain"]), "A  theirs.txt");
        assert_eq!(fixture.git(&["log", "--format=%s"]), "first");
    }

    #[test]
    fn a_new_file_that_moves_meanwhile_is_left_out_and_the_rest_is_committed() {
        let fixture = WorktreeFixture::new();
        for name in ["moves.md", "stays.md"] {
            fixture.write(name, name);
        }
        let git = GitProgram::at(&fixture.root()).with_identity().expect("git");
        let (from, to) = (fixture.root().join("moves.md"), fixture.root().join("ignored"));
        let commit = |paths: &[&str]| {
            commit_as_they_are(&git, &fixture.root(), paths, "stories", || drop(std::fs::rename(&from, &to)))
        };
        assert!(commit(&["moves.md", "stays.md"]).expect("no pathspec is missed").is_some());
        assert_eq!(fixture.git(&["show", "--name-only", "--format=", "HEAD"]), "stays.md");
        std::fs::rename(&to, &from).expect("back");
        assert_eq!(commit(&["moves.md"]).expect("nothing is left to commit"), None);
        assert_eq!(fixture.git(&["status", "--porcelain"]), "?? ignored");
    }

    #[test]
    fn a_path_is_never_a_pattern_or_an_option() {
        let fixture = WorktreeFixture::new();
        for name in ["*.md", "x.md", "--all", ":(top)y"] {
            fixture.write(name, name);
        }
        commit(&fixture, &["*.md", "--all", ":(top)y"]).expect("committed");
        assert_eq!(fixture.git(&["status", "--porcelain"]), "?? x.md");
    }

    #[test]
    fn the_first_commit_of_a_repository_can_be_storkits() {
        let fixture = WorktreeFixture::empty();
        fixture.write("story.md", "x");
        assert!(commit(&fixture, &["story.md"]).expect("committed").is_some());
    }

    #[test]
    fn a_path_whose_deletion_a_person_staged_is_committed() {
        let fixture = WorktreeFixture::new();
        fixture.git(&["rm", "-q", "a.txt"]);
        assert!(commit(&fixture, &["a.txt"]).expect("committed").is_some());
        assert_eq!(fixture.git(&["status", "--porcelain"]), "");
    }

    #[test]
    fn during_a_persons_merge_it_is_refused_and_the_index_stays() {
        let fixture = WorktreeFixture::new();
        fixture.git(&["switch", "-q", "-c", "side"]);
        fixture.git(&["commit", "-q", "--allow-empty", "-m", "side"]);
        fixture.git(&["switch", "-q", "main"]);
        fixture.git(&["commit", "-q", "--allow-empty", "-m", "mine"]);
        fixture.git(&["merge", "-q", "--no-commit", "--no-ff", "side"]);
        fixture.write("story.md", "x");
        let error = commit(&fixture, &["story.md"]).unwrap_err().to_string();
        assert!(error.contains("cannot do a partial commit during a merge"), "{error}");
        assert_eq!(fixture.git(&["status", "--porcelain"]), "?? story.md");
    }

    #[test]
    fn an_ignored_path_is_said_and_nothing_is_committed() {
        let fixture = WorktreeFixture::new();
        fixture.write(".gitignore", "*.log\n");
        fixture.write("x.log", "x");
        let error = commit(&fixture, &["x.log"]).unwrap_err().to_string();
        assert!(error.contains("ignored"), "{error}");
    }

    #[test]
    fn files_that_never_stop_moving_are_an_error_in_the_end() {
        let fixture = WorktreeFixture::new();
        let names: Vec<String> = (0..=ATTEMPTS + 1).map(|number| format!("{number}.md")).collect();
        names.iter().for_each(|name| fixture.write(name, name));
        let git = GitProgram::at(&fixture.root()).with_identity().expect("git");
        let mut left = names.iter();
        let gone = || drop(left.next().map(|name| std::fs::remove_file(fixture.root().join(name))));
        let error = commit_as_they_are(&git, &fixture.root(), &names, "stories", gone).unwrap_err();
        assert!(error.to_string().contains("did not match any files"), "{error}");
        assert_eq!(left.len(), 1, "it was tried so often");
        assert_eq!(fixture.git(&["status", "--porcelain"]).lines().count(), 1);
    }

    #[test]
    fn what_fails_while_nothing_moves_is_not_tried_again() {
        let fixture = WorktreeFixture::new();
        fixture.write(".gitignore", "*.log\n");
        fixture.write("x.log", "x");
        let git = GitProgram::at(&fixture.root()).with_identity().expect("git");
        let mut tries = 0;
        commit_as_they_are(&git, &fixture.root(), &["x.log"], "stories", || tries += 1).unwrap_err();
        assert_eq!(tries, 1);
    }

    #[test]
    fn paths_that_git_knows_are_told_from_new_ones_and_those_that_are_nowhere() {
        let fixture = WorktreeFixture::new();
        for name in ["b.txt", "new.md"] {
            fixture.write(name, name);
        }
        fixture.git(&["add", "b.txt"]);
        let git = GitProgram::at(&fixture.root());
        let sorted = sort(&git, &fixture.root(), &["a.txt", "new.md", "b.txt", "never.md"]).expect("sorted");
        assert_eq!(sorted, (vec!["a.txt".into(), "b.txt".into()], vec!["new.md".into()]));
    }

    #[test]
    fn only_a_held_index_is_waited_for() {
        let answer =
            |code, stderr: &str| GitAnswer { code: Some(code), stdout: vec![], stderr: stderr.into() };
        let held = || answer(128, "fatal: Unable to create '/p/.git/index.lock': File exists.");
        let mut answers = [held(), held(), answer(0, "")].into_iter();
        patiently(|| Ok(answers.next().expect("no more tries")), &["add"]).expect("the third went through");
        let mut answers = [answer(1, "ignored")].into_iter();
        let error = patiently(|| Ok(answers.next().expect("no more tries")), &["add"]).unwrap_err();
        assert_eq!(error.to_string(), "`git add` failed (1): ignored");
    }

    #[test]
    fn it_waits_while_a_persons_git_holds_the_index() {
        let fixture = WorktreeFixture::new();
        fixture.write("a.txt", "changed");
        fixture.write(".git/index.lock", "");
        std::thread::scope(|scope| {
            let committing = scope.spawn(|| commit(&fixture, &["a.txt"]));
            std::fs::remove_file(fixture.root().join(".git/index.lock")).expect("released");
            assert!(committing.join().expect("no panic").expect("committed").is_some());
        });
    }
}
