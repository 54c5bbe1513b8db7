//! A story's history in sentences.

use adapters::markdown::inert;
use pipeline::{
    event::Actor,
    history::{MergeFault, StoryAct},
    stage::Stage,
};

use super::{
    text::count,
    visible::{visible, visible_line},
};
use crate::store::AuditEntry;

/// The longest reason in a history, in characters. A review is longer than most.
const REASON: usize = 2_000;

/// Files of a conflict that are named.
const FILES: usize = 20;

/// A sentence, and lines below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistorySentence {
    pub text: String,
    pub details: Vec<String>,
}

impl HistorySentence {
    fn plain(text: String) -> Self {
        Self { text, details: Vec::new() }
    }

    fn because(text: String, why: &str) -> Self {
        let why = visible_line(why, REASON);
        Self { text, details: if why.is_empty() { Vec::new() } else { vec![why] } }
    }
}

/// What somebody did with a story.
pub fn story_act(act: &StoryAct) -> HistorySentence {
    match act {
        StoryAct::Created { stage: Stage::Backlog, by } => {
            HistorySentence::plain(format!("{} added it to the backlog.", who(by)))
        }
        StoryAct::Created { stage, by } => {
            HistorySentence::plain(format!("{} added it in {}.", who(by), stage_name(*stage)))
        }
        StoryAct::Moved { from, to, by, why } => {
            let text = format!("{} moved it from {} to {}.", who(by), stage_name(*from), stage_name(*to));
            HistorySentence::because(text, why.as_deref().unwrap_or_default())
        }
        StoryAct::Deleted { by } => HistorySentence::plain(format!("{} deleted it.", who(by))),
        StoryAct::Assigned { agent: Some(agent), by } => {
            HistorySentence::plain(format!("{} assigned it to `{}`.", who(by), visible_line(agent, 80)))
        }
        StoryAct::Assigned { agent: None, by } => {
            HistorySentence::plain(format!("{} removed its preferred agent.", who(by)))
        }
        StoryAct::Edited { by } => HistorySentence::plain(format!("{} edited it.", who(by))),
        StoryAct::Continued { by } => HistorySentence::plain(format!("{} let it continue.", who(by))),
        StoryAct::Accepted { by } => HistorySentence::plain(format!("{} accepted it.", who(by))),
        StoryAct::NotMerged(fault) => not_merged(fault),
        StoryAct::Quarantined { why } => {
            HistorySentence::because("storkit put it in quarantine.".into(), why)
        }
        StoryAct::Released { by } => {
            HistorySentence::plain(format!("{} released it from quarantine.", who(by)))
        }
    }
}

fn not_merged(fault: &MergeFault) -> HistorySentence {
    match fault {
        MergeFault::Conflict { files } => {
            let count = count(files.len(), "file", "files");
            let mut details: Vec<String> = files
                .iter()
                .take(FILES)
                .map(|file| format!("`{}`", visible_line(&file.to_string_lossy(), 200)))
                .collect();
            if files.len() > FILES {
                details.push(format!("and {} more", files.len() - FILES));
            }
            HistorySentence { text: format!("Its merge stopped at conflicts in {count}."), details }
        }
        MergeFault::GateFailed { gate } => {
            HistorySentence::because("A gate failed on the merged result.".into(), gate)
        }
        MergeFault::Failed { why } => HistorySentence::because("It could not be merged.".into(), why),
    }
}

/// A run began. Workers are named as in `project.toml`.
pub fn run_began(worker: &str) -> HistorySentence {
    HistorySentence::plain(format!("`{worker}` started a run."))
}

/// A run ended, with what came of it as a clause.
pub fn run_ended(worker: &str, outcome: &str) -> HistorySentence {
    HistorySentence::because(format!("The run of `{worker}` ended."), outcome)
}

/// It is on base; `subject` is the first line of the merge commit.
pub fn merged_as(commit: &str, subject: &str) -> HistorySentence {
    HistorySentence::because(format!("Merged as `{commit:.10}`."), subject)
}

/// A decision about a question of its agents.
pub fn question_decided(number: i64, entry: &AuditEntry) -> HistorySentence {
    let what = format!("{number} (`{}`)", visible_line(&entry.tool, 80));
    let question = format!("question {what}");
    let by = inert(&visible_line(&entry.by, 80)).into_owned();
    // The audit's words. One of a newer storkit is shown as it is.
    let text = match entry.outcome.as_str() {
        "allow" => format!("{by} said yes to {question}."),
        "always" => format!("{by} said yes to {question}, and to such calls from now on."),
        "deny" => format!("{by} said no to {question}."),
        "try" => format!("{by} let the call of {question} run as a trial."),
        "keep" => format!("{by} kept what the trial of {question} changed."),
        "timeout" => format!("Nobody answered {question} in time, so storkit denied it."),
        "unreachable" => format!("No room could show {question}, so storkit denied it."),
        "withdrawn" => format!("Question {what} was closed before anybody answered it."),
        other => format!("The outcome of {question}: {}.", visible_line(other, 80)),
    };
    let rooms: Vec<String> =
        entry.rooms.iter().map(|room| format!("`{}`", visible_line(room, 120))).collect();
    let asked = (!rooms.is_empty()).then(|| format!("Asked in {}.", rooms.join(", ")));
    HistorySentence { text, details: asked.into_iter().collect() }
}

fn who(actor: &Actor) -> String {
    match actor {
        Actor::Person(name) => inert(&visible(name)).into_owned(),
        Actor::Approved(name) => format!("A room's agent, with the consent of {},", inert(&visible(name))),
        Actor::Agent(slot) => format!("`{}`", visible_line(slot, 80)),
        Actor::Pipeline => "storkit".into(),
        Actor::Editor => "An edit of its file".into(),
    }
}

/// As the page calls it.
fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Backlog => "the backlog",
        Stage::Current => "current",
        Stage::Qa => "QA",
        Stage::Merge => "merge",
        Stage::Done => "done",
        Stage::Archived => "the archive",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sentence: &HistorySentence) -> String {
        let lines = std::iter::once(&sentence.text).chain(&sentence.details);
        lines.map(String::as_str).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn every_act_is_a_sentence_with_who_did_it() {
        let ann = || Actor::Person("Ann".into());
        let acts = [
            StoryAct::Created { stage: Stage::Backlog, by: ann() },
            StoryAct::Created { stage: Stage::Qa, by: Actor::Editor },
            StoryAct::Moved {
                from: Stage::Qa,
                to: Stage::Current,
                by: Actor::Agent("qa".into()),
                why: Some("sent back: it squeaks".into()),
            },
            StoryAct::Moved {
                from: Stage::Backlog,
                to: Stage::Current,
                by: Actor::Approved("Ann".into()),
                why: None,
            },
            StoryAct::Moved { from: Stage::Done, to: Stage::Archived, by: Actor::Pipeline, why: None },
            StoryAct::Deleted { by: ann() },
            StoryAct::Assigned { agent: Some("opus".into()), by: ann() },
            StoryAct::Assigned { agent: None, by: ann() },
            StoryAct::Edited { by: ann() },
            StoryAct::Continued { by: ann() },
            StoryAct::Accepted { by: ann() },
            StoryAct::NotMerged(MergeFault::Conflict { files: vec!["a.txt".into(), "b.txt".into()] }),
            StoryAct::NotMerged(MergeFault::GateFailed { gate: "`make` failed with code 1".into() }),
            StoryAct::NotMerged(MergeFault::Failed { why: "People moved base.".into() }),
            StoryAct::Quarantined { why: "an agent wrote it after reading an issue".into() },
            StoryAct::Released { by: ann() },
        ];
        let lines: Vec<String> = acts.iter().map(|act| shown(&story_act(act))).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        Ann added it to the backlog.
        An edit of its file added it in QA.
        `qa` moved it from QA to current. | sent back: it squeaks
        A room's agent, with the consent of Ann, moved it from the backlog to current.
        storkit moved it from done to the archive.
        Ann deleted it.
        Ann assigned it to `opus`.
        Ann removed its preferred agent.
        Ann edited it.
        Ann let it continue.
        Ann accepted it.
        Its merge stopped at conflicts in 2 files. | `a.txt` | `b.txt`
        A gate failed on the merged result. | `make` failed with code 1
        It could not be merged. | People moved base.
        storkit put it in quarantine. | an agent wrote it after reading an issue
        Ann released it from quarantine.
        ");
    }

    #[test]
    fn a_decision_names_who_what_and_where() {
        let decided = |outcome: &str, by: &str| {
            let entry = AuditEntry {
                question: Some(12),
                tool: "Bash".into(),
                input_sha256: "00".into(),
                asked_for: "story 3 (coder-1)".into(),
                rooms: vec!["slack:C1".into(), "web:team".into()],
                outcome: outcome.into(),
                by: by.into(),
                account: None,
                story: Some(3),
            };
            shown(&question_decided(12, &entry))
        };
        let lines = [
            decided("allow", "U01"),
            decided("always", "U01"),
            decided("deny", "ann"),
            decided("try", "U01"),
            decided("keep", "U01"),
            decided("timeout", "deadline"),
            decided("unreachable", "nobody reachable"),
            decided("withdrawn", "stop"),
            decided("else", "x"),
        ];
        insta::assert_snapshot!(lines.join("\n"), @"
        U01 said yes to question 12 (`Bash`). | Asked in `slack:C1`, `web:team`.
        U01 said yes to question 12 (`Bash`), and to such calls from now on. | Asked in `slack:C1`, `web:team`.
        ann said no to question 12 (`Bash`). | Asked in `slack:C1`, `web:team`.
        U01 let the call of question 12 (`Bash`) run as a trial. | Asked in `slack:C1`, `web:team`.
        U01 kept what the trial of question 12 (`Bash`) changed. | Asked in `slack:C1`, `web:team`.
        Nobody answered question 12 (`Bash`) in time, so storkit denied it. | Asked in `slack:C1`, `web:team`.
        No room could show question 12 (`Bash`), so storkit denied it. | Asked in `slack:C1`, `web:team`.
        Question 12 (`Bash`) was closed before anybody answered it. | Asked in `slack:C1`, `web:team`.
        The outcome of question 12 (`Bash`): else. | Asked in `slack:C1`, `web:team`.
        ");
    }

    #[test]
    fn what_agents_wrote_has_no_hidden_characters_and_an_end() {
        let act = StoryAct::Moved {
            from: Stage::Qa,
            to: Stage::Current,
            by: Actor::Person("A\u{202e}nn".into()),
            why: Some(format!("x\u{202e}y {}", "z".repeat(9_000))),
        };
        let sentence = story_act(&act);
        assert!(!shown(&sentence).contains('\u{202e}'));
        assert!(sentence.details[0].chars().count() < REASON + 100);
    }
}
