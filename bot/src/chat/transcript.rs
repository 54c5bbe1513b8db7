//! The text of a turn's live message: the model's words, and its tools as short lines. Pure;
//! the room feeds it events.

use adapters::markdown::code_span;
use agents::claude::{AgentEvent, ToolUse};
use serde_json::Value;

use crate::{replies, tools::OWN_TOOLS};

/// How much of an unfinished block is shown, in bytes: more than any messenger shows of a message on its way.
const LONGEST_WRITING: usize = 256 * 1024;

/// Tools that do nothing without asking people.
const ASKING_TOOLS: [&str; 3] = ["AskUserQuestion", "ExitPlanMode", "plan_stories"];

/// The model's words and tool calls in a turn so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TurnTranscript {
    items: Vec<TranscriptItem>,
    /// Text whose block is not finished.
    writing: String,
    retrying: Option<String>,
    /// Items before this one are in an earlier message.
    shown_before: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum TranscriptItem {
    Text(String),
    Tool {
        id: String,
        name: String,
        detail: String,
        state: ToolState,
    },
    /// Our own line about the session.
    Note(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToolState {
    Running,
    Done,
    Failed,
}

impl TurnTranscript {
    /// Applies an event; returns whether the shown text changes.
    pub fn apply(&mut self, event: &AgentEvent) -> bool {
        if !matches!(event, AgentEvent::Retrying { .. } | AgentEvent::Noise(_)) {
            self.retrying = None;
        }
        match event {
            AgentEvent::TextDelta(text) => return self.append_delta(text),
            AgentEvent::Text(text) => {
                self.writing.clear();
                self.items.push(TranscriptItem::Text(text.clone()));
            }
            AgentEvent::ToolUse(tool) => self.items.push(TranscriptItem::of(tool)),
            AgentEvent::ToolResult { id, is_error } => return self.tool_ended(id, *is_error),
            AgentEvent::Retrying { attempt, max, delay, status, error } => {
                // The call is repeated, and with it what came of it so far.
                self.writing.clear();
                self.retrying = Some(replies::retrying(*attempt, *max, *delay, *status, error));
            }
            AgentEvent::Compacted { automatic, before, after } => {
                self.items.push(TranscriptItem::Note(replies::compacted(*automatic, *before, *after)));
            }
            _ => return false,
        }
        true
    }

    /// Whether a call has no result yet.
    pub fn runs_a_tool(&self) -> bool {
        let runs =
            |item: &TranscriptItem| matches!(item, TranscriptItem::Tool { state: ToolState::Running, .. });
        self.items.iter().any(runs)
    }

    /// Whether nothing would be shown but calls that have no result yet.
    pub fn shows_only_running_tools(&self) -> bool {
        let is_running =
            |item: &TranscriptItem| matches!(item, TranscriptItem::Tool { state: ToolState::Running, .. });
        self.writing.is_empty()
            && self.retrying.is_none()
            && self.items.iter().skip(self.shown_before).filter(|item| item.is_shown()).all(is_running)
    }

    // Pieces beyond [`LONGEST_WRITING`] are dropped: the whole block follows when it is finished.
    fn append_delta(&mut self, text: &str) -> bool {
        let was_full = self.writing.len() >= LONGEST_WRITING;
        if !was_full {
            self.writing.push_str(text);
            if self.writing.len() >= LONGEST_WRITING {
                self.writing.push('…');
            }
        }
        !was_full
    }

    fn tool_ended(&mut self, ended: &str, is_error: bool) -> bool {
        // From the back: results belong to recent calls, and a long turn has hundreds of items.
        for item in self.items.iter_mut().rev() {
            if let TranscriptItem::Tool { id, state, .. } = item
                && id == ended
            {
                *state = if is_error { ToolState::Failed } else { ToolState::Done };
                return true;
            }
        }
        false
    }

    /// Everything written, without tools: decides whether an ambient room stays silent.
    pub fn text(&self) -> String {
        let texts = self.items.iter().filter_map(|item| match item {
            TranscriptItem::Text(text) => Some(text.as_str()),
            TranscriptItem::Tool { .. } | TranscriptItem::Note(_) => None,
        });
        let unfinished = Some(self.writing.as_str()).filter(|text| !text.is_empty());
        texts.chain(unfinished).collect::<Vec<_>>().join("\n\n")
    }

    /// The text while the turn runs; empty while there is nothing to show.
    pub fn progress_text(&self, verbosity: u8) -> String {
        let mut blocks = self.blocks(verbosity);
        if !self.writing.is_empty() {
            blocks.push(self.writing.clone());
        }
        blocks.extend(self.retrying.clone());
        blocks.join("\n\n")
    }

    /// The final text. `answer` is the CLI's result, shown unless the stream already ended with it.
    pub fn final_text(&self, verbosity: u8, answer: &str) -> String {
        let mut blocks = self.blocks(verbosity);
        let last = self.items.iter().rev().find_map(|item| match item {
            TranscriptItem::Text(text) => Some(text.as_str()),
            TranscriptItem::Tool { .. } | TranscriptItem::Note(_) => None,
        });
        if !answer.trim().is_empty() && last.map(str::trim) != Some(answer.trim()) {
            blocks.push(answer.to_owned());
        }
        blocks.join("\n\n")
    }

    /// The text up to here, as the final state of its message; later text belongs to the next message. A tool that
    /// still runs (mostly it waits for permission) moves to the next one, unless there is nothing else to show: text
    /// after a question must not appear above it.
    pub fn cut_at_question(&mut self, verbosity: u8) -> String {
        let running =
            |item: &TranscriptItem| matches!(item, TranscriptItem::Tool { state: ToolState::Running, .. });
        let done = self.items.len() - self.items.iter().rev().take_while(|item| running(item)).count();
        if done <= self.shown_before && self.writing.is_empty() {
            let text = self.progress_text(verbosity);
            self.shown_before = self.items.len();
            return text;
        }
        let still_running = self.items.split_off(done.max(self.shown_before));
        let text = self.progress_text(verbosity);
        self.shown_before = self.items.len();
        self.items.extend(still_running);
        text
    }

    fn blocks(&self, verbosity: u8) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut lines: Vec<String> = Vec::new();
        for item in &self.items[self.shown_before..] {
            match item {
                TranscriptItem::Text(text) | TranscriptItem::Note(text) => {
                    push_lines(&mut lines, &mut blocks);
                    blocks.push(text.clone());
                }
                TranscriptItem::Tool { name, detail, state, .. } if verbosity > 0 && item.is_shown() => {
                    lines.push(tool_line(name, if verbosity > 1 { detail } else { "" }, *state));
                }
                TranscriptItem::Tool { .. } => {}
            }
        }
        push_lines(&mut lines, &mut blocks);
        blocks
    }
}

/// Tool lines that follow each other are one list.
fn push_lines(lines: &mut Vec<String>, blocks: &mut Vec<String>) {
    if !lines.is_empty() {
        blocks.push(lines.join("\n"));
        lines.clear();
    }
}

fn tool_line(name: &str, detail: &str, state: ToolState) -> String {
    let mark = match state {
        ToolState::Running => "…",
        ToolState::Done => "✓",
        ToolState::Failed => "✗",
    };
    match detail {
        "" => format!("- {name} {mark}"),
        detail => format!("- {name} {} {mark}", code_span(detail)),
    }
}

impl TranscriptItem {
    fn of(tool: &ToolUse) -> Self {
        Self::Tool {
            id: tool.id.clone(),
            name: tool.name.strip_prefix(OWN_TOOLS).unwrap_or(&tool.name).to_owned(),
            detail: tool_detail(&tool.input),
            state: ToolState::Running,
        }
    }

    // The question of such a tool says it all.
    fn is_shown(&self) -> bool {
        !matches!(self, Self::Tool { name, .. } if ASKING_TOOLS.contains(&name.as_str()))
    }
}

/// The most telling part of a tool's input, on one line of at most 80 characters.
fn tool_detail(input: &Value) -> String {
    const TELLING: &[&str] =
        &["command", "file_path", "notebook_path", "pattern", "url", "query", "description", "prompt"];
    let text = TELLING.iter().find_map(|key| input.get(key).and_then(Value::as_str)).unwrap_or_default();
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn tool(id: &str, name: &str, input: Value) -> AgentEvent {
        AgentEvent::ToolUse(ToolUse { id: id.into(), name: name.into(), input })
    }

    fn done(id: &str, is_error: bool) -> AgentEvent {
        AgentEvent::ToolResult { id: id.into(), is_error }
    }

    fn sample() -> TurnTranscript {
        let mut transcript = TurnTranscript::default();
        for event in [
            AgentEvent::TextDelta("Let me ".into()),
            AgentEvent::TextDelta("look.".into()),
            AgentEvent::Text("Let me look.".into()),
            tool("1", "Bash", json!({ "command": "ls\n -l" })),
            done("1", false),
            tool("2", "Edit", json!({ "file_path": "/a/b.rs" })),
            done("2", true),
            AgentEvent::Text("Done.".into()),
        ] {
            assert!(transcript.apply(&event), "{event:?}");
        }
        transcript
    }

    #[test]
    fn a_tool_that_only_asks_is_not_shown_beside_its_question() {
        let mut transcript = TurnTranscript::default();
        let call = |id: &str, name: &str| {
            AgentEvent::ToolUse(ToolUse { id: id.into(), name: name.into(), input: Value::Null })
        };
        transcript.apply(&call("1", "AskUserQuestion"));
        assert!(transcript.runs_a_tool() && transcript.shows_only_running_tools());
        transcript.apply(&AgentEvent::ToolResult { id: "1".into(), is_error: false });
        transcript.apply(&call("2", "mcp__storkit__list_stories"));
        assert!(transcript.shows_only_running_tools());
        assert_eq!(transcript.progress_text(1), "- list_stories …");
    }

    #[test]
    fn an_endless_block_is_kept_in_part_and_shown_whole_when_it_is_finished() {
        let mut transcript = TurnTranscript::default();
        let piece = AgentEvent::TextDelta("x".repeat(1024));
        let shown = (0..10_000).filter(|_| transcript.apply(&piece)).count();
        assert_eq!(shown, LONGEST_WRITING / 1024);
        assert_eq!(transcript.progress_text(1).len(), LONGEST_WRITING + "…".len());
        transcript.apply(&AgentEvent::Text("x".repeat(10_000 * 1024)));
        assert_eq!(transcript.progress_text(1).len(), 10_000 * 1024);
    }

    #[test]
    fn text_shows_as_it_is_written_and_once_when_its_block_is_done() {
        let mut transcript = TurnTranscript::default();
        transcript.apply(&AgentEvent::TextDelta("Hel".into()));
        assert_eq!(transcript.progress_text(1), "Hel");
        transcript.apply(&AgentEvent::TextDelta("lo".into()));
        transcript.apply(&AgentEvent::Text("Hello".into()));
        assert_eq!(transcript.progress_text(1), "Hello");
        assert_eq!(transcript.final_text(1, "Hello"), "Hello");
    }

    #[test]
    fn verbosity_chooses_how_much_of_the_tools_is_seen() {
        insta::assert_snapshot!(sample().final_text(0, "Done."), @r"
        Let me look.

        Done.
        ");
        insta::assert_snapshot!(sample().final_text(2, "Done."), @r"
        Let me look.

        - Bash `ls -l` ✓
        - Edit `/a/b.rs` ✗

        Done.
        ");
    }

    #[test]
    fn an_answer_that_was_not_streamed_is_shown_at_the_end() {
        assert_eq!(TurnTranscript::default().final_text(1, "late"), "late");
    }

    #[test]
    fn after_a_cut_only_what_is_new_shows() {
        let mut transcript = sample();
        transcript.apply(&tool("3", "Bash", json!({ "command": "make" })));
        assert_eq!(transcript.cut_at_question(0), "Let me look.\n\nDone.");
        insta::assert_snapshot!(transcript.progress_text(1), @"- Bash …");
        transcript.apply(&done("3", false));
        insta::assert_snapshot!(transcript.cut_at_question(1), @"- Bash ✓");
        assert_eq!(transcript.progress_text(2), "");
        transcript.apply(&AgentEvent::Text("More.".into()));
        assert_eq!(transcript.final_text(2, "More."), "More.");
    }

    #[test]
    fn a_lone_running_tool_stays_where_it_was_shown() {
        let mut transcript = TurnTranscript::default();
        transcript.apply(&tool("1", "Bash", json!({ "command": "make" })));
        assert_eq!(transcript.cut_at_question(1), "- Bash …");
        transcript.apply(&done("1", false));
        transcript.apply(&AgentEvent::Text("Made.".into()));
        assert_eq!(transcript.final_text(1, "Made."), "Made.");
    }

    #[test]
    fn a_retry_is_said_until_something_else_happens() {
        let mut transcript = TurnTranscript::default();
        transcript.apply(&AgentEvent::Retrying {
            attempt: 1,
            max: 3,
            delay: Duration::from_secs(2),
            status: Some(529),
            error: "overloaded".into(),
        });
        assert!(transcript.progress_text(1).contains("529"));
        transcript.apply(&AgentEvent::TextDelta("x".into()));
        assert_eq!(transcript.progress_text(1), "x");
    }
}
