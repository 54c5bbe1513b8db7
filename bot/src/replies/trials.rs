//! How trials of commands are worded: what one did, why there is none, why its changes are not kept.

use std::fmt::Write as _;

use adapters::markdown::{code_block, code_span, inert};
use agents::trial::{
    CallKind, FileChangeKind, KeepFailure, LineCount, NoKeep, OutsideKind, TRIAL_LIMIT, TrialEffect,
    TrialEnd, TrialFailure, TrialFileChange,
};
use settings::duration::human;

use super::{
    text::{count, sentence},
    visible::{visible, visible_line},
};
use crate::permission::{NoTrial, Person, QuestionId};

/// Files, places and hosts that are named one by one.
const FILES_SHOWN: usize = 8;
const OTHERS_SHOWN: usize = 4;

/// Of the output in a room: lines from its beginning, and characters.
const OUTPUT_LINES: usize = 12;
const OUTPUT_CHARS: usize = 1_000;

/// Characters of a path, of a reason.
const PATH_MAX: usize = 120;
const REASON_MAX: usize = 300;

/// Below a question whose command is being tried.
pub fn trial_runs(by: &Person) -> String {
    format!(
        "🧪 {} tries it: it runs in a copy, without a network, for at most {}.",
        inert(&by.name),
        human(TRIAL_LIMIT)
    )
}

/// Below a question whose command was tried.
pub fn trial_effect(by: &Person, effect: &TrialEffect) -> String {
    let mut text = format!("🧪 **Tried** by {}: {}.\n", inert(&by.name), summary(effect));
    for line in file_lines(&effect.files).into_iter().chain(notes(effect)) {
        let _ = writeln!(text, "- {line}");
    }
    if effect.output.bytes > 0 {
        let _ = write!(text, "\n{}\n", code_block(&shown_output(effect), ""));
    } else {
        text.push_str("\nNo output.\n");
    }
    text.push_str(match &effect.no_keep {
        None => "\nNothing of this is in effect. `keep` makes these changes of files, and the command does not run again. `yes` runs it for real.",
        Some(_) => "\nNothing of this is in effect. `yes` runs the command for real.",
    });
    if let Some(why) = &effect.no_keep {
        let _ = write!(text, " It has no effect to `keep`: {}.", no_keep(why));
    }
    text
}

/// One line: how it ended and how much it changed.
fn summary(effect: &TrialEffect) -> String {
    let mut parts = vec![match effect.end {
        TrialEnd::Exited(code) => format!("exit {code} after {:.1} s", effect.took.as_secs_f32()),
        TrialEnd::TimedOut => format!("not finished after {}, and ended", human(TRIAL_LIMIT)),
    }];
    parts.push(match effect.files.len() {
        0 => "no file changed".to_owned(),
        files => count(files, "file", "files"),
    });
    parts.extend(lines(effect.lines));
    parts.push(match effect.outside_count {
        0 => "nothing written outside its folder".to_owned(),
        outside => format!("{} outside its folder", count(outside, "file", "files")),
    });
    if !effect.hosts.is_empty() {
        let hosts = listed(effect.hosts.iter().map(String::as_str), effect.hosts.len());
        parts.push(format!("wanted to call {hosts}, which was refused"));
    }
    parts.join(", ")
}

fn lines(lines: LineCount) -> Option<String> {
    let counted = format!("+{} −{}", lines.added, lines.removed);
    match (lines.added + lines.removed, lines.uncounted) {
        (0, 0) => None,
        (_, 0) => Some(counted),
        (0, uncounted) => Some(format!("{} without text", count(uncounted, "file", "files"))),
        (_, uncounted) => Some(format!("{counted} and {} without text", count(uncounted, "file", "files"))),
    }
}

fn file_lines(files: &[TrialFileChange]) -> Vec<String> {
    let line = |change: &TrialFileChange| {
        let kind = match change.kind {
            FileChangeKind::Added => "added",
            FileChangeKind::Changed => "changed",
            FileChangeKind::Deleted => "deleted",
        };
        format!("{kind} {}", path(&change.path.display().to_string()))
    };
    let mut lines: Vec<String> = files.iter().take(FILES_SHOWN).map(line).collect();
    if files.len() > FILES_SHOWN {
        let more = &files[FILES_SHOWN..];
        let of = |kind: FileChangeKind| more.iter().filter(|change| change.kind == kind).count();
        lines.push(format!(
            "{} more: {} added, {} changed, {} deleted",
            more.len(),
            of(FileChangeKind::Added),
            of(FileChangeKind::Changed),
            of(FileChangeKind::Deleted)
        ));
    }
    lines
}

/// What happened outside of the agent's folder, and limits that were reached.
fn notes(effect: &TrialEffect) -> Vec<String> {
    let mut notes = Vec::new();
    for (kind, is_deleted, words) in [
        (OutsideKind::Shared, true, "⚠️ deleted in a folder that is shared with it:"),
        (OutsideKind::Shared, false, "⚠️ written in a folder that is shared with it:"),
        (OutsideKind::Git, true, "git's data deleted:"),
        (OutsideKind::Git, false, "git's data written:"),
        (OutsideKind::Private, true, "deleted in its own home, caches or temporary files:"),
        (OutsideKind::Private, false, "written in its own home, caches or temporary files:"),
    ] {
        let these =
            || effect.outside.iter().filter(|change| (change.kind, change.is_deleted) == (kind, is_deleted));
        let paths: Vec<String> = these().map(|change| change.path.display().to_string()).collect();
        if !paths.is_empty() {
            notes.push(format!("{words} {}", listed(paths.iter().map(String::as_str), paths.len())));
        }
    }
    for (kind, words) in [
        (CallKind::Delete, "⚠️ tried to delete, and could not:"),
        (CallKind::Write, "⚠️ tried to write, and could not:"),
        (CallKind::Connect, "⚠️ tried to connect past the proxy, and could not:"),
        (CallKind::Look, "looked for what is hidden from it:"),
    ] {
        let these = effect.attempts.iter().filter(|attempt| attempt.kind == kind);
        let names: Vec<&str> = these.map(|attempt| attempt.what.as_str()).collect();
        if !names.is_empty() {
            notes.push(format!("{words} {}", listed(names.iter().copied(), names.len())));
        }
    }
    if !effect.is_watched {
        notes.push("what else it tried is not reported on this machine".to_owned());
    }
    if effect.is_full {
        notes.push("⚠️ its changes did not fit into the copy".to_owned());
    }
    notes
}

/// The first of some names, and how many more there are.
fn listed<'a>(names: impl Iterator<Item = &'a str>, length: usize) -> String {
    let shown: Vec<String> = names.take(OTHERS_SHOWN).map(path).collect();
    match length.saturating_sub(OTHERS_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn path(path: &str) -> String {
    code_span(&visible_line(path, PATH_MAX))
}

fn shown_output(effect: &TrialEffect) -> String {
    let head = visible(&plain(&effect.output.head));
    let lines: Vec<&str> = head.lines().take(OUTPUT_LINES).collect();
    let mut shown: String = lines.join("\n").chars().take(OUTPUT_CHARS).collect();
    let is_all = effect.output.is_whole && shown.len() == head.trim_end_matches('\n').len();
    if !is_all {
        let _ = write!(shown, "\n… ({} bytes in all)", effect.output.bytes);
    }
    shown
}

/// An output without colours.
fn plain(output: &str) -> String {
    let mut plain = String::with_capacity(output.len());
    let mut rest = output;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        let sequence = &rest[at + 2..];
        let end = sequence.find(|c: char| !(c.is_ascii_digit() || c == ';')).unwrap_or(sequence.len());
        match sequence[end..].strip_prefix('m') {
            Some(after) => rest = after,
            // No colour: it may hide something, so it is spelled out.
            None => {
                plain.push_str(&rest[at..at + 2]);
                rest = sequence;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// Below a question whose trial has no effect to show.
pub fn trial_failed(failure: &TrialFailure) -> String {
    match failure {
        TrialFailure::Stopped => "🧪 The trial was ended. Nothing was changed.".to_owned(),
        TrialFailure::NotStarted(why) => format!(
            "🧪 It cannot be tried here: {} Nothing was run.",
            inert(&sentence(&visible_line(why, REASON_MAX)))
        ),
    }
}

/// To somebody who wants to try what cannot be tried.
pub fn no_trial(id: QuestionId, why: NoTrial) -> String {
    let why = match why {
        NoTrial::NoCommand => "it is no shell command",
        NoTrial::InBackground => "it is to run in the background",
        NoTrial::NoWall => {
            "agents run without a wall here, so a trial would show something else than what happens"
        }
        NoTrial::NoLayers => "that needs bubblewrap, which makes the copy and has no network",
        NoTrial::NoPlace => "I do not know where this agent works",
    };
    format!("Question {id} cannot be tried: {why}. Answer `yes {id}` or `no {id}`.")
}

/// To somebody who wants to try a command that is being tried.
pub fn being_tried(id: QuestionId) -> String {
    format!("Question {id} is being tried. Wait for its effect.")
}

/// To any answer while changes are made.
pub fn being_kept(id: QuestionId) -> String {
    format!("The changes of question {id} are being kept at this moment.")
}

/// To `keep` without an effect.
pub fn no_effect(id: QuestionId) -> String {
    format!("Question {id} shows no effect that you could keep. Nothing was changed. `try {id}` shows one.")
}

/// To `keep` by somebody who cannot have seen the effect.
pub fn effect_unseen(id: QuestionId) -> String {
    format!(
        "That answer was sent before the effect of question {id} was shown here. Nothing was changed. If you mean that effect, say `keep {id}`."
    )
}

/// To `keep` for an effect that another trial replaced.
pub fn other_effect(id: QuestionId) -> String {
    format!(
        "Question {id} was tried again, with another effect than you saw. Nothing was changed. Read that one first."
    )
}

/// Changes that were not made true.
pub fn not_kept(id: QuestionId, why: &KeepFailure) -> String {
    let open = format!("Question {id} is still open.");
    match why {
        KeepFailure::NotKept(why) => {
            format!(
                "The effect of question {id} cannot be kept: {}. Nothing was changed. {open}",
                no_keep(why)
            )
        }
        KeepFailure::Changed(changed) => format!(
            "{} is not as it was when the command was tried. Nothing was changed. {open} `try {id}` shows the effect as it would be now.",
            path(&changed.display().to_string())
        ),
        KeepFailure::Failed(why) => format!(
            "The changes could not be made: {} Nothing was changed. {open}",
            inert(&sentence(&visible_line(why, REASON_MAX)))
        ),
        KeepFailure::Partly { path: at, why } => format!(
            "⚠️ Only a part of the changes was made, since {} could not be written: {} {open}",
            path(&at.display().to_string()),
            inert(&sentence(&visible_line(why, REASON_MAX)))
        ),
    }
}

/// Why an effect cannot be kept, as a clause.
fn no_keep(why: &NoKeep) -> String {
    let named = |at: &std::path::Path| path(&at.display().to_string());
    match why {
        NoKeep::NotFinished => "the command did not finish".into(),
        NoKeep::Full => "its changes did not fit into the copy".into(),
        NoKeep::GitData => "it changed git's data, and only files can be kept".into(),
        NoKeep::Protected(at) => format!("it changed {}, which belongs to git or to me", named(at)),
        NoKeep::SpecialFile(at) => format!("{} is neither a file nor a folder nor a link", named(at)),
        NoKeep::TooMany => "it changed too many files to compare".into(),
        NoKeep::Unreadable(at) => format!("I cannot read {}", named(at)),
        NoKeep::ChangedMeanwhile(at) => format!("{} was changed by somebody else while it ran", named(at)),
    }
}

/// To the agent, in the place of the command's result.
pub fn command_kept(by: &Person, effect: &TrialEffect) -> String {
    let ended = match effect.end {
        TrialEnd::Exited(code) => format!("exit code {code}"),
        TrialEnd::TimedOut => "not finished".to_owned(),
    };
    let files = match effect.files.len() {
        0 => "It changed no files.".to_owned(),
        files => format!("Its changes of {} are in place.", count(files, "file", "files")),
    };
    let output = match effect.output.bytes {
        0 => "It printed nothing.".to_owned(),
        _ if effect.output.is_whole => format!("Its output:\n{}", effect.output.head),
        bytes => format!("The beginning of its output ({bytes} bytes in all):\n{}", effect.output.head),
    };
    format!(
        "This is no denial: the command has already been run once, without a network, and {} kept what it did ({ended}). {files} Do not run it \
         again. {output}",
        by.name
    )
}

/// How a question ended whose effect was kept, as the end of a sentence.
pub(super) fn kept_effect(effect: &TrialEffect) -> String {
    let mut parts = vec![match effect.files.len() {
        0 => "no file changed".to_owned(),
        files => count(files, "file", "files"),
    }];
    parts.extend(lines(effect.lines));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use agents::trial::{OutsideChange, TrialAttempt, TrialOutput};

    use super::*;

    fn ann() -> Person {
        Person::new("ann", "Ann")
    }

    fn effect() -> TrialEffect {
        TrialEffect {
            end: TrialEnd::Exited(0),
            took: Duration::from_millis(420),
            output: TrialOutput::default(),
            files: Vec::new(),
            lines: LineCount::default(),
            outside: Vec::new(),
            outside_count: 0,
            attempts: Vec::new(),
            is_watched: true,
            hosts: Vec::new(),
            is_full: false,
            no_keep: None,
        }
    }

    fn change(kind: FileChangeKind, path: &str) -> TrialFileChange {
        TrialFileChange { path: path.into(), kind }
    }

    #[test]
    fn a_command_that_does_nothing_says_so() {
        insta::assert_snapshot!(trial_effect(&ann(), &effect()), @"
        🧪 **Tried** by Ann: exit 0 after 0.4 s, no file changed, nothing written outside its folder.

        No output.

        Nothing of this is in effect. `keep` makes these changes of files, and the command does not run again. `yes` runs it for real.
        ");
    }

    #[test]
    fn an_effect_names_what_was_seen() {
        let outside =
            |kind, path: &str, is_deleted| OutsideChange { path: PathBuf::from(path), kind, is_deleted };
        let attempt = |kind, what: &str| TrialAttempt { kind, what: what.into() };
        let seen = TrialEffect {
            end: TrialEnd::Exited(1),
            output: TrialOutput { head: "\u{1b}[31mred\u{1b}[0m\n".into(), bytes: 13, is_whole: true },
            files: vec![change(FileChangeKind::Added, "a\u{202e}.rs"), change(FileChangeKind::Deleted, "b")],
            lines: LineCount { added: 41, removed: 2, uncounted: 1 },
            outside: vec![
                outside(OutsideKind::Shared, "/srv/data", true),
                outside(OutsideKind::Private, "/tmp/x", false),
            ],
            outside_count: 2,
            attempts: vec![
                attempt(CallKind::Delete, "/usr/bin/ls"),
                attempt(CallKind::Look, "/home/ann/.ssh"),
                attempt(CallKind::Connect, "192.0.2.1:443"),
            ],
            hosts: vec!["registry.npmjs.org:443".into()],
            no_keep: Some(NoKeep::GitData),
            ..effect()
        };
        insta::assert_snapshot!(trial_effect(&ann(), &seen), @r"
        🧪 **Tried** by Ann: exit 1 after 0.4 s, 2 files, +41 −2 and 1 file without text, 2 files outside its folder, wanted to call `registry.npmjs.org:443`, which was refused.
        - added `a\u{202e}.rs`
        - deleted `b`
        - ⚠️ deleted in a folder that is shared with it: `/srv/data`
        - written in its own home, caches or temporary files: `/tmp/x`
        - ⚠️ tried to delete, and could not: `/usr/bin/ls`
        - ⚠️ tried to connect past the proxy, and could not: `192.0.2.1:443`
        - looked for what is hidden from it: `/home/ann/.ssh`

        ```
        red
        ```

        Nothing of this is in effect. `yes` runs the command for real. It has no effect to `keep`: it changed git's data, and only files can be kept.
        ");
    }

    #[test]
    fn long_lists_and_outputs_are_cut_and_say_so() {
        let files = (0..20).map(|number| change(FileChangeKind::Added, &format!("{number:02}"))).collect();
        let head: String = (0..50).map(|number| format!("line {number}\n")).collect();
        let output = TrialOutput { bytes: 999_999, is_whole: false, head };
        let shown = trial_effect(&ann(), &TrialEffect { files, output, end: TrialEnd::TimedOut, ..effect() });
        assert!(shown.contains("not finished after 20s, and ended, 20 files"), "{shown}");
        assert!(shown.contains("- 12 more: 12 added, 0 changed, 0 deleted"), "{shown}");
        assert!(shown.contains("line 11\n… (999999 bytes in all)") && !shown.contains("line 12"), "{shown}");
    }

    #[test]
    fn the_agent_reads_that_the_command_has_run_with_its_output() {
        let output = TrialOutput { head: "made it\n".into(), bytes: 8, is_whole: true };
        let files = vec![change(FileChangeKind::Added, "a")];
        insta::assert_snapshot!(command_kept(&ann(), &TrialEffect { files, output, ..effect() }), @"
        This is no denial: the command has already been run once, without a network, and Ann kept what it did (exit code 0). Its changes of 1 file are in place. Do not run it again. Its output:
        made it
        ");
    }

    #[test]
    fn what_is_not_kept_leaves_the_question_open() {
        let id = QuestionId(3);
        for why in [
            KeepFailure::NotKept(NoKeep::Full),
            KeepFailure::Changed("a".into()),
            KeepFailure::Failed("No space left on device".into()),
            KeepFailure::Partly { path: "a".into(), why: "No space left on device".into() },
        ] {
            assert!(not_kept(id, &why).contains("Question 3 is still open."), "{why:?}");
        }
    }

    #[test]
    fn only_colours_are_taken_out_of_an_output() {
        assert_eq!(plain("\u{1b}[1;32mok\u{1b}[0m \u{1b}[8Dx\u{1b}["), "ok \u{1b}[8Dx\u{1b}[");
    }
}
