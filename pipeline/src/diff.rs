//! What a story changes, line by line, for people who review it. Bounded: a generated file of a million lines must not stop a browser.

use std::path::{Path, PathBuf};

use git2::{Delta, DiffFindOptions, DiffOptions, Oid, Patch, Repository, Tree};

use crate::git::fork_point::fork_point;

/// Most files with lines.
const FILES: usize = 300;

/// Most lines of one file.
const LINES_OF_A_FILE: usize = 2_000;

/// Most lines of all files.
const LINES: usize = 20_000;

/// Most characters of one line.
const LINE: usize = 2_000;

/// Lines around a change.
const CONTEXT: u32 = 3;

/// Files of the board, which merges by earlier versions moved too.
const OWN: &str = ".storkit/work";

/// The changes of one story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoryDiff {
    /// The commit that it is compared with; `None` for an empty tree.
    pub against: Option<String>,
    pub files: Vec<FileDiff>,
    /// Files that did not fit.
    pub more_files: usize,
    /// Lines added and removed, in all files.
    pub added: usize,
    pub removed: usize,
}

/// The changes of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiff {
    pub path: PathBuf,
    pub change: FileChange,
    pub binary: bool,
    pub added: usize,
    pub removed: usize,
    pub hunks: Vec<DiffHunk>,
    /// Lines of hunks that did not fit.
    pub more_lines: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    Added,
    Changed,
    Removed,
    /// It was at this path.
    Renamed(PathBuf),
    /// It can be executed now, or not any more; or it is something else than a file now.
    Mode,
}

/// Changed lines that are close to each other, with some around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffHunk {
    /// `@@ -1,4 +1,5 @@ fn main()`
    pub head: String,
    pub lines: Vec<DiffLine>,
}

/// A line with its number on the side before and on the side after; on only one of them where it was removed or added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffLine {
    pub old: Option<u32>,
    pub new: Option<u32>,
    pub text: String,
}

/// What a branch has that base had not when it began. Blocks.
pub(crate) fn of_branch(repository: &Repository, base: &str, tip: Oid) -> Result<StoryDiff, git2::Error> {
    // Not base's tip, whose newer commits would look like work undone.
    let fork = fork_point(repository, base, tip)?.map(|fork| fork.commit);
    let before = fork.map(|commit| repository.find_commit(commit)?.tree()).transpose()?;
    let diff = between(repository, before.as_ref(), &repository.find_commit(tip)?.tree()?)?;
    Ok(StoryDiff { against: fork.map(|commit| commit.to_string()), ..diff })
}

/// What a merge commit changed on base. Blocks.
pub(crate) fn of_merge(repository: &Repository, merge: Oid) -> Result<StoryDiff, git2::Error> {
    let commit = repository.find_commit(merge)?;
    let parent = commit.parents().next();
    let before = parent.as_ref().map(git2::Commit::tree).transpose()?;
    let diff = between(repository, before.as_ref(), &commit.tree()?)?;
    Ok(StoryDiff { against: parent.map(|parent| parent.id().to_string()), ..diff })
}

fn between(
    repository: &Repository,
    before: Option<&Tree<'_>>,
    after: &Tree<'_>,
) -> Result<StoryDiff, git2::Error> {
    let mut options = DiffOptions::new();
    options.context_lines(CONTEXT).include_typechange(true);
    let mut found = repository.diff_tree_to_tree(before, Some(after), Some(&mut options))?;
    found.find_similar(Some(DiffFindOptions::new().renames(true)))?;
    let mut diff = StoryDiff::default();
    let mut left = LINES;
    for index in 0..found.deltas().len() {
        let Some(delta) = found.get_delta(index) else { continue };
        let path = delta.new_file().path().or(delta.old_file().path()).map(Path::to_owned);
        let Some(path) = path.filter(|path| !path.starts_with(OWN)) else { continue };
        if diff.files.len() == FILES {
            diff.more_files += 1;
            continue;
        }
        let mut file = FileDiff {
            path,
            change: change_of(&delta),
            binary: false,
            added: 0,
            removed: 0,
            hunks: Vec::new(),
            more_lines: 0,
        };
        match Patch::from_diff(&found, index)? {
            // Only known once its content was looked at.
            Some(patch) if patch.delta().flags().is_binary() => file.binary = true,
            Some(patch) => fill(&mut file, &patch, &mut left)?,
            None => {}
        }
        diff.added += file.added;
        diff.removed += file.removed;
        diff.files.push(file);
    }
    Ok(diff)
}

fn change_of(delta: &git2::DiffDelta<'_>) -> FileChange {
    match delta.status() {
        Delta::Added => FileChange::Added,
        Delta::Deleted => FileChange::Removed,
        Delta::Renamed => FileChange::Renamed(delta.old_file().path().unwrap_or(Path::new("")).to_owned()),
        Delta::Typechange => FileChange::Mode,
        _ if delta.old_file().id() == delta.new_file().id() => FileChange::Mode,
        _ => FileChange::Changed,
    }
}

fn fill(file: &mut FileDiff, patch: &Patch<'_>, left: &mut usize) -> Result<(), git2::Error> {
    (_, file.added, file.removed) = patch.line_stats()?;
    let mut shown = 0;
    for index in 0..patch.num_hunks() {
        let (hunk, lines) = patch.hunk(index)?;
        let room = LINES_OF_A_FILE.saturating_sub(shown).min(*left);
        let taken = lines.min(room);
        file.more_lines += lines - taken;
        if taken == 0 {
            continue;
        }
        let head = String::from_utf8_lossy(hunk.header()).trim_end().to_owned();
        let lines: Result<Vec<_>, _> = (0..taken).map(|line| patch.line_in_hunk(index, line)).collect();
        // Marks that a file has no line break at its end have no number.
        let lines = lines?.into_iter().filter(|line| matches!(line.origin(), ' ' | '+' | '-'));
        let lines = lines.map(|line| DiffLine {
            old: line.old_lineno(),
            new: line.new_lineno(),
            text: short(&String::from_utf8_lossy(line.content())),
        });
        file.hunks.push(DiffHunk { head, lines: lines.collect() });
        shown += taken;
        *left -= taken;
    }
    Ok(())
}

/// The line without its end, cut where no screen shows it.
fn short(line: &str) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    /// What `feature` changes, in a repository where base went on meanwhile.
    fn diff(before: &[(&str, &str)], script: &str) -> StoryDiff {
        let fixture = WorktreeFixture::new();
        for (path, content) in before {
            fixture.write(path, content);
        }
        fixture.git(&["add", "."]);
        fixture.git(&["commit", "-q", "-m", "before"]);
        fixture.git(&["checkout", "-q", "-b", "feature"]);
        let status =
            std::process::Command::new("sh").args(["-ec", script]).current_dir(fixture.root()).status();
        assert!(status.unwrap().success());
        fixture.git(&["add", "-A"]);
        fixture.git(&["commit", "-q", "-m", "work"]);
        let tip = Oid::from_str(&fixture.git(&["rev-parse", "HEAD"])).unwrap();
        fixture.git(&["checkout", "-q", "main"]);
        fixture.write("later.txt", "base went on");
        fixture.git(&["add", "."]);
        fixture.git(&["commit", "-q", "-m", "later"]);
        of_branch(&Repository::open(fixture.root()).unwrap(), "main", tip).unwrap()
    }

    fn lines(file: &FileDiff) -> Vec<String> {
        let number = |number: Option<u32>| number.map_or("-".into(), |number| number.to_string());
        let line = |line: &DiffLine| format!("{} {} {}", number(line.old), number(line.new), line.text);
        file.hunks.iter().flat_map(|hunk| hunk.lines.iter().map(line)).collect()
    }

    #[test]
    fn a_change_has_its_lines_with_their_numbers_on_both_sides() {
        let diff = diff(&[("f", "a\nb\nc\n")], r"printf 'a\nB\nc\nd' > f");
        assert_eq!((diff.files.len(), diff.added, diff.removed), (1, 2, 1));
        let file = &diff.files[0];
        assert_eq!((file.path.as_path(), &file.change), (Path::new("f"), &FileChange::Changed));
        assert_eq!(lines(file), ["1 1 a", "2 - b", "- 2 B", "3 3 c", "- 4 d"]);
        assert_eq!(file.hunks[0].head, "@@ -1,3 +1,4 @@");
        assert!(diff.against.is_some());
    }

    #[test]
    fn files_that_came_went_moved_or_became_executable_say_so() {
        let long = "the same text\n".repeat(20);
        let before = [("gone", "x\n"), ("old", long.as_str()), ("run", "echo\n"), ("link", "to\n")];
        let script = r"rm gone; git mv old new; chmod +x run; rm link; ln -s run link; printf 'a\000b' > binary; mkdir -p .storkit/work; echo s > .storkit/work/1.md";
        let diff = diff(&before, script);
        let found: Vec<_> = diff
            .files
            .iter()
            .map(|file| (file.path.to_str().unwrap(), file.change.clone(), file.binary))
            .collect();
        let expected = [
            ("binary", FileChange::Added, true),
            ("gone", FileChange::Removed, false),
            ("link", FileChange::Mode, false),
            ("new", FileChange::Renamed("old".into()), false),
            ("run", FileChange::Mode, false),
        ];
        assert_eq!(found, expected);
        assert!(diff.files[3].hunks.is_empty(), "it only moved");
    }

    #[test]
    fn more_than_anybody_reads_is_counted_and_left_out() {
        let script = r"seq 1 5000 > long; for n in $(seq 1 305); do echo $n > many-$n; done; head -c 9000 /dev/zero | tr '\0' x > wide";
        let diff = diff(&[("f", "a\n")], script);
        assert_eq!((diff.files.len(), diff.more_files), (FILES, 7));
        let long = &diff.files[0];
        assert_eq!((long.hunks[0].lines.len(), long.more_lines, long.added), (LINES_OF_A_FILE, 3000, 5000));
        assert_eq!(short(&"x".repeat(LINE + 1)).chars().count(), LINE + 1);
        assert_eq!(short("x\r\n"), "x");
    }
}
