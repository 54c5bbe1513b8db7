//! The answer of the `git` command, short enough for a phone.

use std::{fmt::Write as _, path::Path, time::SystemTime};

use adapters::markdown::{code_span, inert};
use pipeline::git::{Commit, GitSummary, LinkedWorktree, WorktreeState};
use settings::duration::human;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns for a name: a phone shows this many on one line after a bullet.
const WIDTH: usize = 40;
const MOST_FILES: usize = 5;
const MOST_WORKTREES: usize = 10;

/// Markdown of a summary; ages are counted from `now`.
pub fn git_report(summary: &GitSummary, now: SystemTime) -> String {
    let mut text = where_we_are(summary);
    let commit = summary.last_commit.as_ref();
    text.push_str(&commit.map_or_else(|| "No commit yet.\n".into(), |commit| last(commit, now)));
    let kinds = [
        ("Conflicted", &summary.conflicted),
        ("Staged", &summary.staged),
        ("Modified", &summary.modified),
        ("Untracked", &summary.untracked),
    ];
    if kinds.iter().all(|(_, names)| names.is_empty()) {
        text += "\nNothing uncommitted.\n";
    }
    for (kind, names) in kinds {
        text.push_str(&list(kind, names, MOST_FILES, |name| shown(name)));
    }
    text.push_str(&list("Worktrees", &summary.worktrees, MOST_WORKTREES, worktree));
    text
}

fn where_we_are(summary: &GitSummary) -> String {
    let branch = match &summary.branch {
        Some(branch) => format!("On {}", shown(branch)),
        None => "On no branch (detached HEAD)".into(),
    };
    let upstream = match &summary.upstream {
        None if summary.branch.is_some() => ", no upstream".into(),
        None => String::new(),
        Some((name, 0, 0)) => format!(", level with {}", shown(name)),
        Some((name, ahead, 0)) => format!(", {ahead} ahead of {}", shown(name)),
        Some((name, 0, behind)) => format!(", {behind} behind {}", shown(name)),
        Some((name, ahead, behind)) => format!(", {ahead} ahead of and {behind} behind {}", shown(name)),
    };
    format!("{branch}{upstream}\n\n")
}

fn last(commit: &Commit, now: SystemTime) -> String {
    let age = now.duration_since(commit.time).unwrap_or_default();
    let Commit { id, subject, author, .. } = commit;
    format!(
        "Last commit {} by {}, {} ago: {}\n",
        code_span(id),
        shown(author),
        human(age),
        subject_line(subject)
    )
}

fn worktree(worktree: &LinkedWorktree) -> String {
    let folder = worktree.path.file_name().map_or_else(|| worktree.path.as_path(), Path::new);
    let folder = shown(folder.to_string_lossy());
    let branch = worktree.branch.as_deref().map_or_else(|| "no branch".into(), shown);
    let state = match worktree.state {
        WorktreeState::Clean => "clean".into(),
        WorktreeState::Changed(count) => format!("{count} changed"),
        WorktreeState::Missing => "**missing**".into(),
    };
    format!("{folder} on {branch}: {state}")
}

/// A heading with the count, and the first entries.
fn list<T>(heading: &str, entries: &[T], most: usize, show: impl Fn(&T) -> String) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let mut text = format!("\n**{heading}** ({})\n\n", entries.len());
    for entry in entries.iter().take(most) {
        let _ = writeln!(text, "- {}", show(entry));
    }
    if entries.len() > most {
        let _ = writeln!(text, "- and {} more", entries.len() - most);
    }
    text
}

// A branch or file name is text from outside: its control characters are escaped, and a code span takes its marks
// away. A long one is cut at the front, because names differ mostly in their last part.
fn shown(name: impl AsRef<str>) -> String {
    let name = visible(name.as_ref());
    let (mut start, mut width) = (0, 0);
    if name.width() > WIDTH {
        for (at, letter) in name.char_indices().rev() {
            width += letter.width().unwrap_or(0);
            if width >= WIDTH {
                break;
            }
            start = at;
        }
    }
    let ellipsis = if start > 0 { "…" } else { "" };
    code_span(&format!("{ellipsis}{}", &name[start..]))
}

// A subject is cut at its tail: the beginning matters most.
fn subject_line(subject: &str) -> String {
    let subject = visible(subject);
    let mut width = 0;
    let end = subject.char_indices().find(|(_, letter)| {
        width += letter.width().unwrap_or(0);
        width > 2 * WIDTH
    });
    code_span(&end.map_or_else(|| subject.clone(), |(end, _)| format!("{}…", &subject[..end])))
}

fn visible(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => escaped.extend(letter.escape_default()),
            false => escaped.push(letter),
        }
    }
    inert(&escaped).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn commit(subject: &str, author: &str) -> Option<Commit> {
        let time = now() - Duration::from_secs(7500);
        Some(Commit { id: "1a2b3c4".into(), subject: subject.into(), author: author.into(), time })
    }

    fn worktree(path: &str, branch: Option<&str>, state: WorktreeState) -> LinkedWorktree {
        LinkedWorktree { path: path.into(), branch: branch.map(Into::into), state }
    }

    #[test]
    fn a_busy_repository_is_told_in_full() {
        let summary = GitSummary {
            branch: Some("main".into()),
            upstream: Some(("origin/main".into(), 2, 1)),
            last_commit: commit("pipeline: read the repository", "Ada"),
            staged: names(&["src/git.rs"]),
            modified: names(&["a", "b", "c", "d", "e", "f", "g"]),
            untracked: names(&["notes/"]),
            conflicted: names(&["Cargo.lock"]),
            worktrees: vec![
                worktree("/srv/trees/7_story", Some("feature/story-7_page"), WorktreeState::Changed(3)),
                worktree("/srv/trees/8_bug", Some("feature/story-8_bug"), WorktreeState::Clean),
                worktree("/srv/trees/look", None, WorktreeState::Missing),
            ],
        };
        insta::assert_snapshot!(git_report(&summary, now()), @"
        On `main`, 2 ahead of and 1 behind `origin/main`

        Last commit `1a2b3c4` by `Ada`, 2h 05m ago: `pipeline: read the repository`

        **Conflicted** (1)

        - `Cargo.lock`

        **Staged** (1)

        - `src/git.rs`

        **Modified** (7)

        - `a`
        - `b`
        - `c`
        - `d`
        - `e`
        - and 2 more

        **Untracked** (1)

        - `notes/`

        **Worktrees** (3)

        - `7_story` on `feature/story-7_page`: 3 changed
        - `8_bug` on `feature/story-8_bug`: clean
        - `look` on no branch: **missing**
        ");
    }

    #[test]
    fn a_new_repository_is_told_in_three_lines() {
        let summary = GitSummary { branch: Some("main".into()), ..GitSummary::default() };
        insta::assert_snapshot!(git_report(&summary, now()), @"
        On `main`, no upstream

        No commit yet.

        Nothing uncommitted.
        ");
    }

    #[test]
    fn each_relation_to_the_upstream_has_its_words() {
        let first_line = |branch: Option<&str>, upstream: Option<(usize, usize)>| {
            let upstream = upstream.map(|(ahead, behind)| ("origin/main".into(), ahead, behind));
            let summary = GitSummary { branch: branch.map(Into::into), upstream, ..GitSummary::default() };
            git_report(&summary, now()).lines().next().unwrap().to_owned()
        };
        let told = [
            first_line(None, None),
            first_line(Some("main"), Some((0, 0))),
            first_line(Some("main"), Some((3, 0))),
            first_line(Some("main"), Some((0, 4))),
        ];
        insta::assert_snapshot!(told.join("\n"), @"
        On no branch (detached HEAD)
        On `main`, level with `origin/main`
        On `main`, 3 ahead of `origin/main`
        On `main`, 4 behind `origin/main`
        ");
    }

    #[test]
    fn odd_names_do_nothing_and_show_what_they_are() {
        let odd = [
            "a`b``c",
            "line\nend\ttab",
            "\u{1b}[31mred",
            "user\u{202e}txt.exe",
            "<!channel> @room",
            "*x* [y](z)",
        ];
        let summary = GitSummary {
            branch: Some("main".into()),
            untracked: names(&odd[..5]),
            modified: names(&odd[5..]),
            ..GitSummary::default()
        };
        let text = git_report(&summary, now());
        assert!(
            !text.contains(['\u{1b}', '\u{202e}', '\t'])
                && !text.contains("@room")
                && !text.contains("<!channel")
        );
        insta::assert_snapshot!(text.replace('\u{200b}', "ZWSP"), @r"
        On `main`, no upstream

        No commit yet.

        **Modified** (1)

        - `*x* [y](z)`

        **Untracked** (5)

        - ```a`b``c```
        - `line\nend\ttab`
        - `\u{1b}[31mred`
        - `usertxt.exe`
        - `<ZWSP!channel> @ZWSProom`
        ");
    }

    #[test]
    fn a_commits_words_cannot_break_out_of_their_line() {
        let summary =
            GitSummary { last_commit: commit("`x` @room\n# big", "a\n- b"), ..GitSummary::default() };
        insta::assert_snapshot!(git_report(&summary, now()).replace('\u{200b}', "ZWSP"), @r"
        On no branch (detached HEAD)

        Last commit `1a2b3c4` by `a\n- b`, 2h 05m ago: `` `x` @ZWSProom\n# big ``

        Nothing uncommitted.
        ");
    }

    #[test]
    fn a_commit_from_the_future_is_new() {
        let summary = GitSummary { last_commit: commit("x", "Ada"), ..GitSummary::default() };
        let earlier = now() - Duration::from_secs(100_000);
        assert!(git_report(&summary, earlier).contains("0s ago"));
    }

    #[test]
    fn long_names_keep_their_end_and_long_subjects_their_beginning() {
        let summary = GitSummary {
            branch: Some("main".into()),
            last_commit: commit(&"subject ".repeat(50), "Ada"),
            staged: vec![format!("{}/the_file.rs", "deep/".repeat(30)), format!("{}.txt", "長".repeat(60))],
            ..GitSummary::default()
        };
        insta::assert_snapshot!(git_report(&summary, now()), @"
        On `main`, no upstream

        Last commit `1a2b3c4` by `Ada`, 2h 05m ago: `subject subject subject subject subject subject subject subject subject subject …`

        **Staged** (2)

        - `…p/deep/deep/deep/deep/deep//the_file.rs`
        - `…長長長長長長長長長長長長長長長長長.txt`
        ");
    }

    #[test]
    fn of_many_worktrees_the_rest_is_counted() {
        let worktrees =
            (0..30).map(|n| worktree(&format!("/w/{n}"), Some("b"), WorktreeState::Clean)).collect();
        let text = git_report(&GitSummary { worktrees, ..GitSummary::default() }, now());
        assert!(text.contains("**Worktrees** (30)") && text.ends_with("- and 20 more\n"), "{text}");
    }
}
