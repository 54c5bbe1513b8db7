//! The proof that a story is merged: its merge commit's message, and a record on disk.

use std::path::Path;

use git2::{Commit, Oid, Repository};
use serde::{Deserialize, Serialize};

use super::paths::proof_path;
use crate::{gates::GateReport, story::StoryId};

/// Longest title in a commit's first line, in characters.
const MAX_TITLE: usize = 120;

/// A gate as a proof names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateProof {
    /// The command line, white space folded.
    pub command: String,
    /// Its exit code. Anything but 0 proves nothing.
    pub code: i32,
}

/// How much a merge changed, the story's own file not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffStat {
    pub files: usize,
    pub insertions: usize,
    pub deletions: usize,
}

/// Proves that a story is merged. Stored as `.storkit/proofs/ID.json`; the merge commit's trailers have the same facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeProof {
    pub story: StoryId,
    pub file: String,
    /// The branch it was merged to.
    pub base: String,
    /// Base before: the merge commit's parent.
    pub before: String,
    /// Base after: the merge commit.
    pub commit: String,
    /// The tree that passed the gates: the merge commit's.
    pub tree: String,
    pub diff: DiffStat,
    /// The gates that passed.
    pub gates: Vec<GateProof>,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// The trailers of a merge commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeTrailers {
    pub story: StoryId,
    /// `Storkit-Base`: base before.
    pub base: String,
    pub tree: String,
    /// `Storkit-Gate: CODE COMMAND`, once for each.
    pub gates: Vec<GateProof>,
}

impl MergeProof {
    /// Reads a story's proof. `None` where there is none.
    pub fn read(root: &Path, story: StoryId) -> std::io::Result<Option<Self>> {
        match std::fs::read(proof_path(root, story)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The gates of a report that passed, as a proof names them. Empty for one that did not pass.
pub(crate) fn gate_proofs(report: &GateReport) -> Vec<GateProof> {
    let proof = |result: &crate::gates::GateResult| {
        Some(GateProof { command: one_line(&result.command, usize::MAX), code: result.code? })
    };
    report.results.iter().filter_map(proof).collect()
}

/// The merge commit's message. The title cannot reach the trailers: it has one line.
pub(crate) fn message(title: &str, trailers: &MergeTrailers) -> String {
    let MergeTrailers { story, base, tree, gates } = trailers;
    let title = one_line(title, MAX_TITLE);
    let subject = format!("storkit: merge {story} {title}");
    let mut message = format!(
        "{}\n\nStorkit-Story: {story}\nStorkit-Base: {base}\nStorkit-Tree: {tree}\n",
        subject.trim_end()
    );
    for GateProof { command, code } in gates {
        message.push_str(&format!("Storkit-Gate: {code} {command}\n"));
    }
    message
}

fn one_line(text: &str, max: usize) -> String {
    let spaced: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(max).collect()
}

/// Reads the trailers of a message that [`message`] made.
pub fn trailers(message: &str) -> Option<MergeTrailers> {
    // Git takes only the last paragraph for trailers (git-interpret-trailers(1)).
    let (_, block) = message.trim_end().rsplit_once("\n\n")?;
    block_trailers(block)
}

/// Those of every merge in a message: a person's rebase can melt several into one commit, whose message has one paragraph of each.
fn all_trailers(message: &str) -> Vec<MergeTrailers> {
    // The subject is no trailer.
    message.split("\n\n").skip(1).filter_map(block_trailers).collect()
}

fn block_trailers(block: &str) -> Option<MergeTrailers> {
    let all = |name: &'static str| {
        block.lines().filter_map(move |line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
    };
    let one = |name| {
        let mut found = all(name);
        // A trailer that is there twice proves nothing.
        found.next().filter(|_| found.next().is_none())
    };
    let gate = |line: String| {
        let (code, command) = line.split_once(' ')?;
        Some(GateProof { command: command.to_owned(), code: code.parse().ok()? })
    };
    Some(MergeTrailers {
        story: one("Storkit-Story")?.parse().ok()?,
        base: one("Storkit-Base")?,
        tree: one("Storkit-Tree")?,
        gates: all("Storkit-Gate").map(gate).collect::<Option<_>>()?,
    })
}

/// The story that a commit's first line names as merged, by today's prefix or the older `story-kit:`. Older ones
/// name the file (`story-kit: merge 12_story_login`), ours the number.
pub fn merged_story(subject: &str) -> Option<StoryId> {
    let rest = subject.strip_prefix("storkit:").or_else(|| subject.strip_prefix("story-kit:"))?;
    let mut words = rest.split_whitespace();
    if !matches!(words.next()?, "merge" | "merged" | "squash-merge") {
        return None;
    }
    let named = words.find(|word| !matches!(*word, "story" | "bug" | "spike" | "refactor"))?;
    let digits: String = named.trim_start_matches('#').chars().take_while(char::is_ascii_digit).collect();
    let rest = named.trim_start_matches('#').strip_prefix(&digits)?;
    let ends = rest.is_empty() || rest.starts_with(['_', ':', ',']);
    digits.parse().ok().filter(|_| ends)
}

/// The merge of a story, as a commit's message tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryMerge {
    pub story: StoryId,
    pub commit: Oid,
    /// `None` for a merge of the program before storkit, whose messages have none.
    pub trailers: Option<MergeTrailers>,
}

/// Every merge of a story on `branch`, newest first: by its trailers, which survive a rebase and a reworded subject, or else by its
/// subject. Blocks: some 10 us a commit.
pub fn merges(repository: &Repository, branch: &str) -> Result<Vec<StoryMerge>, git2::Error> {
    let mut walk = repository.revwalk()?;
    walk.push_ref(&format!("refs/heads/{branch}"))?;
    let mut found = Vec::new();
    for id in walk {
        found.extend(merged_by(&repository.find_commit(id?)?));
    }
    Ok(found)
}

/// The stories that a commit merged: one, as storkit makes them.
pub fn merged_by(commit: &Commit<'_>) -> Vec<StoryMerge> {
    let message = String::from_utf8_lossy(commit.message_bytes());
    let merge = |story, trailers| StoryMerge { story, commit: commit.id(), trailers };
    let by_trailers: Vec<StoryMerge> =
        all_trailers(&message).into_iter().map(|trailers| merge(trailers.story, Some(trailers))).collect();
    if !by_trailers.is_empty() {
        return by_trailers;
    }
    merged_story(message.lines().next().unwrap_or_default())
        .map(|story| merge(story, None))
        .into_iter()
        .collect()
}

/// Each file that differs between two trees, with added and removed lines.
pub(crate) fn diff_of(
    repository: &Repository,
    before: Option<Oid>,
    after: Oid,
) -> Result<Vec<(std::path::PathBuf, usize, usize)>, git2::Error> {
    let before = before.map(|tree| repository.find_tree(tree)).transpose()?;
    let after = repository.find_tree(after)?;
    let mut options = git2::DiffOptions::new();
    options.context_lines(0);
    let diff = repository.diff_tree_to_tree(before.as_ref(), Some(&after), Some(&mut options))?;
    let mut files = Vec::new();
    for index in 0..diff.deltas().len() {
        let path = diff.get_delta(index).and_then(|delta| delta.new_file().path().map(Path::to_owned));
        let (_, added, removed) = match git2::Patch::from_diff(&diff, index)? {
            Some(patch) => patch.line_stats()?,
            None => (0, 0, 0),
        };
        files.extend(path.map(|path| (path, added, removed)));
    }
    Ok(files)
}

/// The files in which two trees differ, without storkit's own in `.storkit/work`.
pub(crate) fn diff_stat(repository: &Repository, before: Oid, after: Oid) -> Result<DiffStat, git2::Error> {
    let (before, after) = (repository.find_tree(before)?, repository.find_tree(after)?);
    let mut options = git2::DiffOptions::new();
    options.context_lines(0).skip_binary_check(false);
    let diff = repository.diff_tree_to_tree(Some(&before), Some(&after), Some(&mut options))?;
    let mut stat = DiffStat::default();
    for index in 0..diff.deltas().len() {
        let path = diff.get_delta(index).and_then(|delta| delta.new_file().path().map(Path::to_owned));
        if path.is_some_and(|path| path.starts_with(".storkit/work")) {
            continue;
        }
        stat.files += 1;
        if let Some(patch) = git2::Patch::from_diff(&diff, index)? {
            let (_, insertions, deletions) = patch.line_stats()?;
            stat.insertions += insertions;
            stat.deletions += deletions;
        }
    }
    Ok(stat)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> MergeTrailers {
        MergeTrailers {
            story: StoryId(12),
            base: "b".repeat(40),
            tree: "c".repeat(40),
            gates: vec![GateProof { command: "script/test --all".into(), code: 0 }],
        }
    }

    #[test]
    fn a_message_says_what_the_proof_says() {
        insta::assert_snapshot!(message("Log in", &some()), @r"
        storkit: merge 12 Log in

        Storkit-Story: 12
        Storkit-Base: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
        Storkit-Tree: cccccccccccccccccccccccccccccccccccccccc
        Storkit-Gate: 0 script/test --all
        ");
        assert_eq!(trailers(&message("Log in", &some())), Some(some()));
    }

    #[test]
    fn a_title_forges_no_trailer() {
        let title = format!("x\n\nStorkit-Story: 13\r\u{85}{}", "y".repeat(10_000));
        let message = message(&title, &some());
        assert_eq!(trailers(&message), Some(some()));
        assert!(message.lines().next().unwrap().len() < 200);
        assert_eq!(trailers(&format!("{message}Storkit-Story: 13\n")), None, "a doubled trailer is none");
    }

    #[test]
    fn old_story_kit_merges_are_found() {
        for (subject, story) in [
            ("storkit: merge 12 Log in", Some(12)),
            ("storkit: merge 12_story_log_in", Some(12)),
            ("story-kit: merge 12_story_log_in", Some(12)),
            ("story-kit: merge story 12: Log in", Some(12)),
            ("story-kit: merge #7", Some(7)),
            ("story-kit: done 12_story_log_in", None),
            ("storkit: merge 12th century", None),
            ("storkit: merged nothing 12", None),
            ("merge 12", None),
        ] {
            assert_eq!(merged_story(subject), story.map(StoryId), "{subject}");
        }
    }
}
