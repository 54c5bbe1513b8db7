//! Why nobody may work on a story. In the front matter `blocked` is the sentence for people, and `blocked_cause` the
//! reason itself: only that decides anything. A `blocked` without its cause is a person's own words.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sentence::one_line;

/// Most files that a sentence names.
const MOST_FILES: usize = 10;

/// A reason with what its sentence needs. [`fmt::Display`] is that sentence, on one line and without a full stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BlockReason {
    /// Somebody stopped its run.
    StoppedBy { who: String },
    /// Its runs have cost what `budget.story_usd` allows.
    StoryBudget { limit_usd: f64 },
    /// A run reached its own limit of money.
    RunBudget { spent_usd: f64 },
    /// A person's uncommitted files in the main checkout would be overwritten by its merge.
    FilesInTheWay { files: Vec<String> },
    /// A reviewer or the merge's gates rejected it too often.
    SentBack { times: u32, reason: String },
    /// Its agent changed what belongs to others.
    Tampering { found: Vec<String> },
    /// The model's service did not become free.
    ServiceBusy { times: u32 },
    /// Its worktree cannot be prepared until a person has made room for it.
    Worktree { why: String },
    /// Its file cannot go to the next stage.
    CannotMove { why: String },
    /// Its coder proposed a plan, and no person has decided about it.
    PlanProposed {},
    /// A person's own words, and all that an older storkit wrote.
    #[serde(skip)]
    Person(String),
}

impl BlockReason {
    /// Whether more money lets the story go on.
    pub fn is_budget(&self) -> bool {
        match self {
            Self::StoryBudget { .. } | Self::RunBudget { .. } => true,
            Self::StoppedBy { .. }
            | Self::FilesInTheWay { .. }
            | Self::SentBack { .. }
            | Self::Tampering { .. }
            | Self::ServiceBusy { .. }
            | Self::Worktree { .. }
            | Self::CannotMove { .. }
            | Self::PlanProposed {}
            | Self::Person(_) => false,
        }
    }

    /// Joins the two keys. A cause whose sentence is not the one that `blocked` holds belongs to an earlier block,
    /// which a person has replaced.
    pub(super) fn read(sentence: Option<String>, cause: Option<Self>) -> Option<Self> {
        let sentence = sentence?;
        Some(cause.filter(|cause| cause.to_string() == sentence).unwrap_or(Self::Person(sentence)))
    }
}

impl fmt::Display for BlockReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoppedBy { who } => write!(f, "stopped by {}", one_line(who)),
            Self::StoryBudget { limit_usd } => write!(
                f,
                "the budget (`story_usd`, ${limit_usd:.2}) is spent; `retry` lets the story spend as much again"
            ),
            Self::RunBudget { spent_usd } => {
                write!(f, "the budget is spent: a run reached its own limit after ${spent_usd:.2}")
            }
            Self::FilesInTheWay { files } => {
                let named: Vec<&str> = files.iter().take(MOST_FILES).map(String::as_str).collect();
                write!(f, "files are in the way of its merge: {}", one_line(&named.join(", ")))
            }
            Self::SentBack { times: 1, reason } => write!(f, "sent back: {}", one_line(reason)),
            Self::SentBack { times, reason } => {
                write!(f, "sent back {times} times, the last time for: {}", one_line(reason))
            }
            Self::Tampering { found } => {
                write!(f, "the agent touched what is not its own: {}", one_line(&found.join("; ")))
            }
            Self::ServiceBusy { times } => {
                write!(f, "the model's service was busy {times} times in a row")
            }
            Self::Worktree { why } | Self::CannotMove { why } => {
                f.write_str(one_line(why).trim_end_matches('.'))
            }
            Self::PlanProposed {} => f.write_str("its plan waits for a person to accept or reject it"),
            Self::Person(words) => f.write_str(&one_line(words)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::StoryDocument;

    pub(crate) fn every_reason() -> Vec<BlockReason> {
        let text = || "two\nlines with: \"quotes\", #, {x} \u{2028}\u{7f} and the budget".to_owned();
        vec![
            BlockReason::StoppedBy { who: text() },
            BlockReason::StoryBudget { limit_usd: 0.4 },
            BlockReason::StoryBudget { limit_usd: 2.0 },
            BlockReason::RunBudget { spent_usd: 0.51 },
            BlockReason::FilesInTheWay { files: vec!["a.txt".into(), text()] },
            BlockReason::SentBack { times: 3, reason: text() },
            BlockReason::Tampering { found: vec![text(), "main moved".into()] },
            BlockReason::ServiceBusy { times: 5 },
            BlockReason::Worktree { why: "The branch `x` is in the way.".into() },
            BlockReason::PlanProposed {},
            BlockReason::CannotMove { why: "é".repeat(400) },
        ]
    }

    #[test]
    fn every_reason_is_read_back_from_a_storys_file() {
        for reason in every_reason() {
            let mut document = StoryDocument::parse("---\nname: x\n---\n# x\n").unwrap();
            document.block(&reason).unwrap();
            let again = StoryDocument::parse(document.text()).unwrap();
            assert_eq!(again.front().blocked, Some(reason), "{}", document.text());
            document.unblock().unwrap();
            assert_eq!(document.text(), "---\nname: x\n---\n# x\n");
        }
    }

    #[test]
    fn words_alone_never_become_a_cause() {
        for words in ["the budget is spent", "stopped by Ann", "files are in the way of its merge: a.txt"] {
            let story = StoryDocument::parse(format!("---\nblocked: \"{words}\"\n---\n")).unwrap();
            assert_eq!(story.front().blocked, Some(BlockReason::Person(words.into())));
            assert!(!BlockReason::Person(words.into()).is_budget());
        }
    }

    #[test]
    fn a_person_who_writes_another_reason_replaces_the_cause() {
        let mut document = StoryDocument::parse("---\nname: x\n---\n").unwrap();
        document.block(&BlockReason::StoryBudget { limit_usd: 1.0 }).unwrap();
        assert!(document.front().blocked.as_ref().is_some_and(BlockReason::is_budget));
        document.set("blocked", "waits for Bob").unwrap();
        assert_eq!(document.front().blocked, Some(BlockReason::Person("waits for Bob".into())));
        document.remove("blocked").unwrap();
        assert_eq!(document.front().blocked, None, "a cause without its sentence blocks nothing");
    }

    #[test]
    fn a_cause_that_this_storkit_does_not_know_is_its_sentence() {
        for cause in ["{kind: from_the_future, x: 1}", "soon", "[1]", "{kind: story_budget}"] {
            let text = format!("---\nblocked: wait\nblocked_cause: {cause}\n---\n");
            let story = StoryDocument::parse(text).unwrap();
            assert_eq!(story.front().blocked, Some(BlockReason::Person("wait".into())), "{cause}");
        }
    }

    #[test]
    fn only_money_is_a_budget() {
        let budgets = every_reason().iter().filter(|reason| reason.is_budget()).count();
        assert_eq!(budgets, 3);
    }

    #[test]
    fn sentences_are_one_short_line() {
        for reason in every_reason() {
            let sentence = reason.to_string();
            assert!(sentence.chars().count() < 360 && !sentence.contains('\n'), "{sentence}");
            assert!(!sentence.ends_with('.'), "{sentence}");
        }
        assert_eq!(BlockReason::SentBack { times: 1, reason: "x".into() }.to_string(), "sent back: x");
        let files = vec!["z".to_owned(); 30];
        assert_eq!(BlockReason::FilesInTheWay { files }.to_string().matches('z').count(), 10);
    }
}
