//! From the bot's own types to what the page is told.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use adapters::{Choice, html, markdown::inert};
use pipeline::{
    event::{MergeView, PipelineSnapshot, RunInfo, millis},
    stage::{Mover, Stage},
    story::{BlockReason, Story, StoryId},
};

use super::view::{
    AgentView, BoardState, ChoiceView, MergeCard, MergeState, OptionView, OutcomeView, QuestionCard,
    QuestionForm, RunCard, StoryCard, Wanted,
};
use crate::{
    permission::{AnswerKind, AtDeadline, BoardQuestion, Question, RecordedQuestion, TrialNews},
    replies,
};

/// What stories have cost, in US dollars.
pub type StoryCosts = HashMap<StoryId, f64>;

/// One story of the board. `costs` has the runs that are over.
pub fn story(story: &Story, snapshot: &PipelineSnapshot, costs: &StoryCosts) -> StoryCard {
    let (id, stage, front) = (story.id(), story.stage, &story.front);
    let running = snapshot.runs.iter().filter(|run| run.story == id).map(|run| run.cost_usd).sum::<f64>();
    StoryCard {
        id: id.0,
        title: front.name.clone(),
        kind: story.file.kind.word().into(),
        stage,
        since: millis(story.since),
        agent: front.agent.clone(),
        manual_qa: front.manual_qa,
        depends_on: front.depends_on.iter().map(|id| id.0).collect(),
        criteria: story.criteria.len(),
        ticked: story.criteria.iter().filter(|(_, done)| *done).count(),
        retries: front.retry_count,
        waits: snapshot.holds.get(&id).cloned(),
        wanted: wanted(story, snapshot),
        quarantine: snapshot.quarantined.get(&id).map(|quarantine| quarantine.cause.to_string()),
        cost_usd: cents(costs.get(&id).copied().unwrap_or(0.0) + running),
        moves: Stage::ALL.into_iter().filter(|to| stage.may_move(*to, Mover::Person)).collect(),
    }
}

fn wanted(story: &Story, snapshot: &PipelineSnapshot) -> Option<Wanted> {
    let front = &story.front;
    if !matches!(story.stage, Stage::Current | Stage::Qa | Stage::Merge) {
        return None;
    }
    match &front.blocked {
        Some(BlockReason::PlanProposed {}) => Some(Wanted::Review),
        Some(block) if block.is_budget() => Some(Wanted::Budget),
        Some(_) => Some(Wanted::Retry),
        None if front.merge_failure.is_some() => Some(Wanted::Retry),
        None => {
            let by_person = front.manual_qa || snapshot.quarantined.contains_key(&story.id());
            (story.stage == Stage::Qa && by_person).then_some(Wanted::Review)
        }
    }
}

pub fn run(run: &RunInfo) -> RunCard {
    RunCard {
        id: run.id.to_string(),
        story: run.on_story().map(|story| story.0),
        title: run.title.clone(),
        worker: run.slot.clone(),
        agent: run.agent.clone(),
        role: run.role,
        since: millis(run.since),
        phase: run.phase.to_string(),
        cost_usd: cents(run.cost_usd),
    }
}

/// The merge queue, in its order; those that wait for somebody come last.
pub fn merges(snapshot: &PipelineSnapshot) -> Vec<MergeCard> {
    let card = |(id, merge): (&StoryId, &MergeView)| {
        let title = snapshot.board.story(*id).map(|story| story.front.name.clone()).unwrap_or_default();
        let (state, ahead, lines) = match merge {
            MergeView::Running { .. } => (MergeState::Running, 0, Vec::new()),
            MergeView::Queued { ahead } => (MergeState::Queued, *ahead, Vec::new()),
            MergeView::Conflict { files } => {
                let files = files.iter().map(|file| file.display().to_string()).collect();
                (MergeState::Conflict, 0, files)
            }
            MergeView::GateFailed { output, .. } => (MergeState::GateFailed, 0, output.clone()),
            MergeView::Failed { .. } => (MergeState::Failed, 0, Vec::new()),
            MergeView::Merged { .. } => return None,
        };
        Some(MergeCard { story: id.0, title, state, ahead, text: replies::board::merge_words(merge), lines })
    };
    let mut cards: Vec<MergeCard> = snapshot.merges.iter().filter_map(card).collect();
    let order = |card: &MergeCard| match card.state {
        MergeState::Running => (0, 0),
        MergeState::Queued => (1, card.ahead),
        MergeState::Conflict | MergeState::GateFailed | MergeState::Failed => (2, 0),
    };
    cards.sort_by_key(|card| (order(card), card.story));
    cards
}

pub fn state(snapshot: &PipelineSnapshot, spent_today: f64) -> BoardState {
    let problems = snapshot.board.problems.iter().map(ToString::to_string);
    let notices = [snapshot.settings_notice.clone(), snapshot.wall.network_gap().map(str::to_owned)];
    let mut agents: BTreeMap<&str, AgentView> = BTreeMap::new();
    for worker in &snapshot.workers {
        let none = || AgentView { name: worker.agent.clone(), role: worker.role, workers: 0 };
        agents.entry(&worker.agent).or_insert_with(none).workers += 1;
    }
    BoardState {
        base: snapshot.base.clone(),
        protection: snapshot.wall.to_string(),
        paused: snapshot.paused.clone(),
        problems: notices.into_iter().flatten().chain(problems).collect(),
        archived: snapshot.board.in_stage(Stage::Archived).count(),
        agents: agents.into_values().collect(),
        spent_today: cents(spent_today),
        budget_today: snapshot.day_budget_usd,
    }
}

pub fn question(recorded: &RecordedQuestion) -> QuestionCard {
    let question = &*recorded.question;
    let effect = match &recorded.trial {
        Some(TrialNews::Tried { number, .. }) => Some(*number),
        Some(TrialNews::Running { .. } | TrialNews::Failed(_) | TrialNews::NotKept(_)) | None => None,
    };
    let open = recorded.ended.is_none();
    QuestionCard {
        id: question.id.0,
        story: question.asker.story().map(|id| id.0),
        asked_for: question.asked_for.clone(),
        role: question.needs(),
        asked: millis(question.asked_at),
        deadline: question.deadline.map(millis),
        parks: matches!(question.at_deadline, AtDeadline::Parked { .. }),
        parked: question.parked_at.map(millis),
        warnings: replies::call_warnings(question),
        form: form(question),
        rooms: question.rooms.iter().map(ToString::to_string).collect(),
        trial: recorded.trial.as_ref().map(|news| html(&replies::trial_text(question.id, news))),
        choices: if open { choices(&question.choices(effect)) } else { Vec::new() },
        outcome: recorded.ended.as_ref().map(|(outcome, at)| OutcomeView {
            word: outcome.word().into(),
            sentence: html(&replies::settled(question, outcome)),
            at: millis(*at),
        }),
    }
}

fn form(question: &Question) -> QuestionForm {
    match &question.kind {
        AnswerKind::Tool { .. } => {
            let (text, language) = replies::call_text(question);
            let always = replies::always_offer(question);
            QuestionForm::Call {
                tool: replies::visible_line(&question.tool, 80),
                text,
                language: language.into(),
                always,
            }
        }
        AnswerKind::Plan { plan } => QuestionForm::Plan { html: html(&inert(&replies::visible(plan))) },
        AnswerKind::Choose { question, .. } => QuestionForm::Options {
            question: replies::visible(&question.question),
            options: question.options.iter().map(|(label, about)| option(label, about)).collect(),
            several: question.several,
        },
        AnswerKind::Board(about) => QuestionForm::Board {
            html: html(&replies::board_text(question).unwrap_or_default()),
            entries: match about {
                BoardQuestion::Plan(stories) => {
                    stories.iter().map(|story| replies::visible(&story.title)).collect()
                }
                BoardQuestion::Act { .. } => Vec::new(),
            },
        },
    }
}

fn option(label: &str, about: &str) -> OptionView {
    OptionView { label: replies::visible(label), about: replies::visible(about) }
}

pub fn choices(choices: &[Choice]) -> Vec<ChoiceView> {
    choices.iter().map(|choice| ChoiceView { key: choice.key.clone(), label: choice.label.clone() }).collect()
}

/// Without the dust of binary fractions, so that an equal amount is an equal number.
pub fn cents(usd: f64) -> f64 {
    // Also without a negative zero, which an empty sum is.
    (usd * 10_000.0).round() / 10_000.0 + 0.0
}

/// Milliseconds since 1970.
pub fn now(clock: &crate::clock::Clock) -> u64 {
    millis(clock.now())
}

/// The time of a second since 1970, in milliseconds.
pub fn of_seconds(seconds: u64) -> u64 {
    millis(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::replies::board::fixture;

    #[test]
    fn a_card_has_what_the_board_knows_of_a_story() {
        let snapshot = fixture::snapshot();
        let known = snapshot.board.stories().next().unwrap();
        let card = story(known, &snapshot, &StoryCosts::from([(known.id(), 1.234_56)]));
        assert_eq!(
            (card.id, card.title.as_str(), card.stage),
            (known.id().0, known.front.name.as_str(), known.stage)
        );
        assert_eq!(card.cost_usd, 1.2346);
        assert_eq!(card.moves, [Stage::Current]);
    }

    #[test]
    fn a_person_is_wanted_for_a_review_and_for_what_failed() {
        let snapshot = fixture::snapshot();
        let with = |stage, change: &dyn Fn(&mut Story)| {
            let mut story = Arc::unwrap_or_clone(fixture::story(77, "A door", stage));
            change(&mut story);
            wanted(&story, &snapshot)
        };
        use pipeline::story::BlockReason::{RunBudget, StoppedBy};
        assert_eq!(with(Stage::Qa, &|story| story.front.manual_qa = true), Some(Wanted::Review));
        assert_eq!(with(Stage::Current, &|story| story.front.manual_qa = true), None);
        assert_eq!(
            with(Stage::Merge, &|story| story.front.merge_failure = Some("x".into())),
            Some(Wanted::Retry)
        );
        let stopped = StoppedBy { who: "Ann".into() };
        assert_eq!(
            with(Stage::Current, &|story| story.front.blocked = Some(stopped.clone())),
            Some(Wanted::Retry)
        );
        let spent = RunBudget { spent_usd: 1.0 };
        assert_eq!(
            with(Stage::Current, &|story| story.front.blocked = Some(spent.clone())),
            Some(Wanted::Budget)
        );
        assert_eq!(with(Stage::Backlog, &|story| story.front.blocked = Some(spent.clone())), None);
    }

    #[test]
    fn the_merge_that_runs_comes_first_and_those_that_failed_last() {
        let mut snapshot = fixture::snapshot();
        let failed = MergeView::Failed { why: "It did not merge.".into() };
        let running = MergeView::Running { step: pipeline::merge::MergeStep::Gates };
        snapshot.merges = BTreeMap::from([
            (StoryId(1), failed),
            (StoryId(2), MergeView::Queued { ahead: 2 }),
            (StoryId(3), MergeView::Queued { ahead: 1 }),
            (StoryId(4), running),
            (StoryId(5), MergeView::Merged { commit: "a".into() }),
        ]);
        let order: Vec<(u32, MergeState)> =
            merges(&snapshot).iter().map(|card| (card.story, card.state)).collect();
        let expected = [
            (4, MergeState::Running),
            (3, MergeState::Queued),
            (2, MergeState::Queued),
            (1, MergeState::Failed),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn an_amount_has_no_dust_and_no_negative_zero() {
        assert_eq!(cents(0.1 + 0.2), 0.3);
        assert!(cents(-0.0).is_sign_positive());
    }
}
