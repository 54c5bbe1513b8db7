//! The log of a run: `.storkit/logs/agents/RUN.log`, lines without escape sequences, cut at the beginning when it grows. Lines are
//! counted from 1 and keep their numbers when others are cut off.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use agents::claude::ToolUse;
use serde::Serialize;
use serde_json::Value;
use settings::unlinked;

use crate::{Project, event::RunId, gates::GateReport, sentence::plain, story::StoryId};

// A log that grows beyond this loses its beginning.
const MOST: u64 = 8 << 20;

/// How much of it stays then.
const KEPT: u64 = 4 << 20;

/// In the name of the log of a merge's gates, in the place of a worker: no agent can be called so.
const MERGE: &str = "merge.gates";

/// The folder of all logs.
pub(crate) fn folder(project: &Project) -> PathBuf {
    project.dir().join("logs/agents")
}

/// The newest run with a log, among those of which story and worker are wanted.
pub(crate) fn newest(folder: &Path, is_wanted: impl Fn(StoryId, &str) -> bool) -> io::Result<Option<RunId>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut newest: Option<((u64, bool), RunId)> = None;
    for entry in entries {
        let name = entry?.file_name();
        let Some(run) = name.to_str().and_then(|name| name.strip_suffix(".log")) else { continue };
        let run = RunId(run.into());
        let Some((story, slot, number)) = run.parts() else { continue };
        // A merge's gates have the number of the run before them.
        let order = (number, slot == MERGE);
        if is_wanted(story, slot) && newest.as_ref().is_none_or(|(other, _)| order > *other) {
            newest = Some((order, run));
        }
    }
    Ok(newest.map(|(_, run)| run))
}

/// Writes what the gates of a story's merge printed, as the log that follows the one of its newest run.
pub(crate) fn write_merge(project: &Project, story: StoryId, report: &GateReport) {
    forget_merge(project, story);
    let newest = newest(&folder(project), |of, _| of == story).ok().flatten();
    let number = newest.as_ref().and_then(RunId::parts).map_or(0, |(.., number)| number);
    let mut log = RunLog::create(project, &RunId(format!("{story}-{MERGE}-{number}").into()));
    log.write("(the gates of the merge, on the merged result)");
    for result in &report.results {
        if !result.passed() {
            log.write(&result.tail);
        }
        log.write(&result.to_string());
    }
}

/// Removes the logs of a story's merge gates.
pub(crate) fn forget_merge(project: &Project, story: StoryId) {
    for path in merge_logs(project, story) {
        let _ = fs::remove_file(path);
    }
}

/// Whether it is the log of a merge's gates.
pub(crate) fn is_merge(run: &RunId) -> bool {
    run.parts().is_some_and(|(_, slot, _)| slot == MERGE)
}

/// The last lines of what the gates of a story's last merge printed, if they failed and the story is not merged yet.
pub(crate) fn last_merge(project: &Project, story: StoryId, lines: usize) -> Vec<String> {
    let newest = merge_logs(project, story).pop();
    newest.and_then(|path| last_lines(&path, lines).ok()).unwrap_or_default()
}

fn merge_logs(project: &Project, story: StoryId) -> Vec<PathBuf> {
    let head = format!("{story}-{MERGE}-");
    let entries = fs::read_dir(folder(project)).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&head))
        .map(|entry| entry.path())
        .collect()
}

/// A line of a run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Counted from 1 over the whole run.
    pub number: u64,
    /// Without escape sequences, at most 500 characters.
    #[serde(rename = "line")]
    pub text: String,
}

/// A part of a run's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The number of the first line.
    pub from: u64,
    pub lines: Vec<String>,
}

impl LogPage {
    /// The number of the line after these.
    pub fn next(&self) -> u64 {
        self.from + self.lines.len() as u64
    }
}

/// A run's log, being written. A disk that is full costs the log, not the run.
pub(crate) struct RunLog {
    file: Option<File>,
    size: u64,
    /// Lines so far, also those that are cut off.
    written: u64,
    last: Vec<String>,
}

impl RunLog {
    pub(crate) fn create(project: &Project, run: &RunId) -> Self {
        let folder = folder(project);
        let path = folder.join(format!("{run}.log"));
        let open = || {
            unlinked::create_dir_all(&folder)?;
            unlinked::open(OpenOptions::new().create(true).read(true).append(true), &path)
        };
        let file = open().inspect_err(|error| tracing::warn!(%error, %run, "a run has no log")).ok();
        Self { file, size: 0, written: 0, last: Vec::new() }
    }

    /// Writes text, line by line, and returns the lines as they can be shown.
    pub(crate) fn write(&mut self, text: &str) -> Vec<LogLine> {
        let lines: Vec<String> = text.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
        for line in &lines {
            self.last.push(line.clone());
        }
        let keep = self.last.len().saturating_sub(40);
        self.last.drain(..keep);
        let before = self.written;
        self.written += lines.len() as u64;
        if let Err(error) = self.append(&lines) {
            tracing::warn!(%error, "a run's log cannot be written");
            self.file = None;
        }
        (before + 1..).zip(lines).map(|(number, text)| LogLine { number, text }).collect()
    }

    /// The last lines, for a person or the next run.
    pub(crate) fn tail(&self, lines: usize) -> String {
        self.last[self.last.len().saturating_sub(lines)..].join("\n")
    }

    fn append(&mut self, lines: &[String]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut text = lines.join("\n");
        text.push('\n');
        file.write_all(text.as_bytes())?;
        self.size += text.len() as u64;
        if self.size > MOST {
            self.size = cut(file, self.written)?;
        }
        Ok(())
    }
}

/// Drops all but the last [`KEPT`] bytes. `written`: the number of the last line.
fn cut(file: &mut File, written: u64) -> io::Result<u64> {
    let mut end = Vec::new();
    file.seek(SeekFrom::End(-i64::try_from(KEPT).unwrap_or(0)))?;
    file.read_to_end(&mut end)?;
    let whole = end.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let kept = &end[whole..];
    let lines = kept.iter().filter(|byte| **byte == b'\n').count() as u64;
    file.set_len(0)?;
    file.write_all(cut_mark(written.saturating_sub(lines)).as_bytes())?;
    file.write_all(kept)?;
    Ok(kept.len() as u64)
}

/// The first line of a log whose beginning is cut off. Its tab marks it as ours: no other line has one (see [`plain`]).
fn cut_mark(lines: u64) -> String {
    format!("({lines} earlier lines were cut off)\t\n")
}

/// How many lines were cut off before this first line of a log; `None` if it is an ordinary one.
fn cut_off(first: &str) -> Option<u64> {
    first.strip_suffix('\t')?.strip_prefix('(')?.split_once(' ')?.0.parse().ok()
}

/// At most `most` lines of a log, from this number on, or the last ones. Lines that are cut off are left out.
pub(crate) fn page(path: &Path, from: Option<u64>, most: usize) -> io::Result<LogPage> {
    // Never much more than `MOST`.
    let bytes = fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    // Without a line that is being written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines: Vec<&str> = whole.lines().collect();
    let cut = lines.first().and_then(|first| cut_off(first));
    if cut.is_some() {
        lines.remove(0);
    }
    let first = cut.unwrap_or(0) + 1;
    let skipped = match from {
        Some(from) => usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX),
        None => lines.len().saturating_sub(most),
    };
    let shown = lines.iter().skip(skipped).take(most).map(|line| plain(line)).collect();
    Ok(LogPage { from: first + skipped.min(lines.len()) as u64, lines: shown })
}

/// A tool call on one line: its name and main argument.
pub(crate) fn tool_line(tool: &ToolUse) -> String {
    let about = ["command", "file_path", "path", "pattern", "url", "description"]
        .into_iter()
        .find_map(|key| tool.input.get(key).and_then(Value::as_str));
    match about {
        Some(about) => format!("> {}: {}", tool.name, about.lines().next().unwrap_or_default()),
        None => format!("> {}", tool.name),
    }
}

/// The last lines of a log file. Reads at most 512 KiB.
pub(crate) fn last_lines(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    const READ: u64 = 512 << 10;
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(READ)))?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].iter().map(|line| plain(line)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sentence::LINE;

    #[test]
    fn escape_sequences_and_controls_never_reach_a_reader() {
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m\u{7} \u{1b}]0;title\u{7}x\ty\u{8}"), "red x y");
        assert_eq!(plain("a\u{1b}Mb\u{1b}[1;2~c\u{1b}]8;;x\u{1b}\\d"), "abcd");
        assert_eq!(plain("whole\u{1b}"), "whole");
        assert_eq!(plain(&"é".repeat(LINE)), "é".repeat(LINE));
        assert_eq!(plain(&"é".repeat(LINE + 1)), format!("{}…", "é".repeat(LINE)));
    }

    #[test]
    fn the_newest_log_is_the_one_with_the_highest_number() {
        let folder = tempfile::tempdir().unwrap();
        let newest = |slot: &str| {
            newest(folder.path(), |story, of| story == StoryId(1) && (slot.is_empty() || of == slot)).unwrap()
        };
        assert_eq!(newest(""), None);
        for name in ["1-coder-9", "1-coder-2-10", "1-qa-8", "11-coder-12", "1-x", "1-coder-more"] {
            fs::write(folder.path().join(format!("{name}.log")), "").unwrap();
        }
        assert_eq!(newest(""), Some(RunId("1-coder-2-10".into())));
        assert_eq!(newest("coder"), Some(RunId("1-coder-9".into())));
        assert_eq!(newest("mergemaster"), None);
    }

    fn log() -> (RunLog, PathBuf, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        git2::Repository::init(folder.path()).unwrap();
        let project = Project::open(folder.path()).unwrap();
        let log = RunLog::create(&project, &RunId("1-coder-1".into()));
        (log, super::folder(&project).join("1-coder-1.log"), folder)
    }

    #[test]
    fn a_log_has_one_line_for_each_that_is_not_blank_and_returns_them() {
        let (mut log, path, _folder) = log();
        let line = |number, text: &str| LogLine { number, text: text.into() };
        assert_eq!(log.write("one\n \t\n\ttwo\u{7}\n"), [line(1, "one"), line(2, " two")]);
        assert_eq!(log.write("three"), [line(3, "three")]);
        assert_eq!(fs::read_to_string(path).unwrap(), "one\n two\nthree\n");
        assert_eq!((log.tail(2), log.tail(9)), (" two\nthree".into(), "one\n two\nthree".into()));
    }

    #[test]
    fn the_end_of_a_log_is_read_and_no_more_of_it_than_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(last_lines(&path, 1).is_err());
        fs::write(&path, "one\ntwo\u{1b}[0m\nthree\n").unwrap();
        assert_eq!(last_lines(&path, 2).unwrap(), ["two", "three"]);
        assert_eq!(last_lines(&path, 9).unwrap(), ["one", "two", "three"]);
        let long = format!("{}\nlast\n", "x".repeat(1 << 20));
        fs::write(&path, long).unwrap();
        assert_eq!(last_lines(&path, 1).unwrap(), ["last"]);
    }

    #[test]
    fn a_tool_call_is_one_line_with_its_main_argument() {
        let line = |input| tool_line(&ToolUse { id: "1".into(), name: "Bash".into(), input });
        assert_eq!(line(serde_json::json!({"description": "List", "command": "ls\npwd"})), "> Bash: ls");
        assert_eq!(line(serde_json::json!({"command": 7})), "> Bash");
    }

    #[test]
    fn a_log_that_grows_keeps_its_end_and_its_numbers_also_the_second_time() {
        let (mut log, path, _folder) = log();
        // Lines are cut at 500 characters, so that each of these writes is many.
        let many = |number: usize| format!("{number} {}\n", "x".repeat(400)).repeat(2600);
        let mut last = Vec::new();
        for number in 10..25 {
            last = log.write(&many(number));
            assert!(fs::metadata(&path).unwrap().len() <= MOST + 60, "{number}");
        }
        assert_eq!(last.last().unwrap().number, 15 * 2600);
        let whole = page(&path, None, usize::MAX).unwrap();
        assert_eq!(whole.next(), 15 * 2600 + 1);
        assert_eq!(whole.lines.len() as u64, whole.next() - whole.from);
        assert!(whole.from > 20_000 && whole.lines[0].ends_with('x'));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            format!("({} earlier lines were cut off)\t", whole.from - 1)
        );
        assert_eq!(log.size + text.lines().next().unwrap().len() as u64 + 1, text.len() as u64);
        assert_eq!(page(&path, Some(1), 3).unwrap().from, whole.from, "what is cut off is left out");
    }

    #[test]
    fn a_part_of_a_log_is_read_from_any_line_on() {
        let (mut log, path, _folder) = log();
        log.write("one\ntwo\nthree\nfour");
        let part = |from, most| page(&path, from, most).unwrap();
        let lines =
            |from, lines: &[&str]| LogPage { from, lines: lines.iter().map(|it| (*it).into()).collect() };
        assert_eq!(part(None, 2), lines(3, &["three", "four"]));
        assert_eq!(part(Some(2), 2), lines(2, &["two", "three"]));
        assert_eq!(part(Some(5), 2), lines(5, &[]));
        assert_eq!(part(Some(900), 2), lines(5, &[]), "a log that was begun anew");
        assert_eq!(part(Some(0), 1), lines(1, &["one"]));
        assert_eq!((part(None, 2).next(), part(Some(2), 2).next()), (5, 4));
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"half").unwrap();
        assert_eq!(part(None, 1), lines(4, &["four"]));
        // An agent cannot pose as the mark: it writes no tab.
        let (mut log, path, _folder) = self::log();
        log.write("(900 earlier lines were cut off)\t\nnext");
        assert_eq!(page(&path, None, 9).unwrap().from, 1);
    }
}
