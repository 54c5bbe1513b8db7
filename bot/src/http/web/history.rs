//! A story's history: what people and agents decided, its runs, its questions and its merge, each from where storkit keeps it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use pipeline::{
    PipelineError,
    event::millis,
    handle::StoryOverview,
    history::{HistoryEntry, StoryAct},
    ledger::LedgerEntry,
    story::StoryId,
};

use super::{
    WebServices,
    api::{ApiError, NO_STORY},
    cards,
    view::{HistoryKind, HistoryLine, HistoryPage},
};
use crate::{
    replies::history::{HistorySentence, merged_as, question_decided, run_began, run_ended, story_act},
    store::AuditEntry,
};

/// Decisions about questions of its agents.
const QUESTIONS: usize = 200;

/// Entries in one answer.
const ENTRIES: usize = 500;

pub async fn history(
    State(services): State<Arc<WebServices>>,
    Path(id): Path<u32>,
) -> Result<Json<HistoryPage>, ApiError> {
    let (pipeline, id) = (&services.pipeline, StoryId(id));
    if pipeline.snapshot().board.story(id).is_none() {
        return Err(NO_STORY);
    }
    let failed = |error: String| ApiError::Failed(PipelineError::Refused(error));
    let acts = pipeline.history().of_story(id).await.map_err(|error| failed(error.to_string()))?;
    let broker = services.broker.clone();
    let decided = tokio::task::spawn_blocking(move || broker.decisions_on(id, QUESTIONS));
    let decided = decided.await.map_err(|error| failed(error.to_string()))?;
    let decided = decided.map_err(|error| failed(error.to_string()))?;
    let questions = decided.iter().filter_map(|(at, entry)| question(millis(*at), entry)).collect::<Vec<_>>();
    let merged = pipeline.overview(id).await?;
    let runs = pipeline.ledger().of_story(id);
    Ok(Json(page(&acts, &runs, questions, merged.as_ref())))
}

/// What comes first within a second: most times are no finer. Nobody reads a question in the second in which its run began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum InSecond {
    Question,
    /// The end of a run or a merge, which moves the story.
    End,
    Act,
    /// A run, which follows a move.
    Beginning,
}

type PlacedLine = (InSecond, HistoryLine);

/// All of it, the newest first.
fn page(
    acts: &[HistoryEntry],
    runs: &[LedgerEntry],
    questions: Vec<HistoryLine>,
    merged: Option<&StoryOverview>,
) -> HistoryPage {
    let mut placed: Vec<PlacedLine> = acts.iter().map(|entry| (InSecond::Act, act(entry))).collect();
    placed.extend(runs.iter().flat_map(run));
    placed.extend(questions.into_iter().map(|question| (InSecond::Question, question)));
    placed.extend(merged.map(|merged| (InSecond::End, merge(merged))));
    placed.sort_by_key(|(place, line)| (line.at / 1000, *place, line.at));
    let is_cut = placed.len() > ENTRIES;
    let entries = placed.into_iter().rev().take(ENTRIES).map(|(_, line)| line).collect();
    let begins = acts.first().is_some_and(|entry| matches!(entry.act, StoryAct::Created { .. }));
    HistoryPage { entries, whole: begins && !is_cut }
}

fn line(at: u64, kind: HistoryKind, sentence: HistorySentence) -> HistoryLine {
    let HistorySentence { text, details } = sentence;
    HistoryLine { at, kind, text, details, run: None, failed: false }
}

fn act(entry: &HistoryEntry) -> HistoryLine {
    let failed = matches!(entry.act, StoryAct::NotMerged(_));
    let kind = if failed { HistoryKind::Merge } else { HistoryKind::Act };
    HistoryLine { failed, ..line(entry.at, kind, story_act(&entry.act)) }
}

fn run(entry: &LedgerEntry) -> impl Iterator<Item = PlacedLine> {
    let of_run = |at: u64, sentence| HistoryLine {
        run: Some(entry.run.clone()),
        ..line(cards::of_seconds(at), HistoryKind::Run, sentence)
    };
    let began = of_run(entry.started, run_began(&entry.slot));
    let ended = entry.ended.map(|at| HistoryLine {
        failed: entry.summary.failed,
        ..of_run(at, run_ended(&entry.slot, &entry.summary.outcome))
    });
    // No run ends before it began.
    let place = if entry.ended == Some(entry.started) { InSecond::Beginning } else { InSecond::End };
    let ended = ended.map(|line| (place, line));
    std::iter::once((InSecond::Beginning, began)).chain(ended)
}

/// `None` where nobody was asked.
fn question(at: u64, entry: &AuditEntry) -> Option<HistoryLine> {
    Some(line(at, HistoryKind::Question, question_decided(entry.question?, entry)))
}

fn merge(merged: &StoryOverview) -> HistoryLine {
    let at = cards::of_seconds(u64::try_from(merged.time).unwrap_or(0));
    let subject = merged.message.lines().next().unwrap_or_default();
    line(at, HistoryKind::Merge, merged_as(&merged.commit, subject))
}

#[cfg(test)]
mod tests {
    use pipeline::{event::Actor, stage::Stage};

    use super::*;

    fn entry(at: u64, act: StoryAct) -> HistoryEntry {
        HistoryEntry { story: StoryId(7), at, act }
    }

    fn created(at: u64) -> HistoryEntry {
        entry(at, StoryAct::Created { stage: Stage::Backlog, by: Actor::Person("Ann".into()) })
    }

    fn edited(at: u64) -> HistoryEntry {
        entry(at, StoryAct::Edited { by: Actor::Editor })
    }

    #[test]
    fn everything_is_in_the_order_of_its_time_newest_first() {
        let line = r#"{"run":"7-coder-1","story":7,"slot":"coder","agent":"coder","role":"coder","session":null,
            "started":2,"ended":4,"outcome":"the gate failed","failed":true}"#;
        let run: LedgerEntry = serde_json::from_str(line).unwrap();
        let acts = [created(1_000), edited(3_000)];
        let merged = StoryOverview {
            commit: "0123456789abcdef".into(),
            message: "story 7: A door\n\nmore".into(),
            time: 5,
            files: Vec::new(),
            gates: Vec::new(),
        };
        let page = page(&acts, &[run], Vec::new(), Some(&merged));
        let seen: Vec<_> =
            page.entries.iter().map(|it| (it.at, it.kind, it.failed, it.run.is_some())).collect();
        use HistoryKind::{Act, Merge, Run};
        let expected = [
            (5_000, Merge, false, false),
            (4_000, Run, true, true),
            (3_000, Act, false, false),
            (2_000, Run, false, true),
            (1_000, Act, false, false),
        ];
        assert_eq!(seen, expected);
        assert!(page.whole);
        assert_eq!(page.entries[0].details, ["story 7: A door"]);
    }

    #[test]
    fn within_a_second_a_move_comes_before_the_run_that_it_starts_and_after_the_one_that_ended() {
        let run = |number: u32, started: u64, ended: &str| -> LedgerEntry {
            serde_json::from_str(&format!(
                r#"{{"run":"7-coder-{number}","story":7,"slot":"coder","agent":"coder","role":"coder","session":null,
                    "started":{started},"ended":{ended},"outcome":"x"}}"#
            ))
            .unwrap()
        };
        let question = line(5_000, HistoryKind::Question, HistorySentence::default());
        let page = page(
            &[created(4_100), edited(5_400), edited(5_300)],
            &[run(1, 4, "5"), run(2, 5, "5")],
            vec![question],
            None,
        );
        let seen: Vec<_> = page.entries.iter().rev().map(|it| (it.at, it.kind)).collect();
        use HistoryKind::{Act, Question, Run};
        let expected = [
            (4_100, Act),
            (4_000, Run),
            (5_000, Question),
            (5_000, Run),
            (5_300, Act),
            (5_400, Act),
            (5_000, Run),
            (5_000, Run),
        ];
        assert_eq!(seen, expected);
        let texts = page.entries[..2].iter().map(|it| it.text.as_str()).collect::<Vec<_>>();
        assert_eq!(texts, ["The run of `coder` ended.", "`coder` started a run."], "the newest first");
    }

    #[test]
    fn a_history_without_its_beginning_says_so() {
        assert!(!page(&[edited(1)], &[], Vec::new(), None).whole);
        assert!(!page(&[], &[], Vec::new(), None).whole);
        let many: Vec<HistoryEntry> =
            std::iter::once(created(1)).chain((0..ENTRIES as u64).map(|at| edited(at + 2))).collect();
        let page = page(&many, &[], Vec::new(), None);
        assert_eq!((page.entries.len(), page.whole), (ENTRIES, false));
    }
}
