//! The stories' part of `status`: one walk over the board, with details only for stories in work.

use std::{fmt::Write as _, time::SystemTime};

use adapters::markdown::inert;
use pipeline::{
    event::{MergeView, PipelineSnapshot, RunInfo, RunPhase, WallState},
    merge::MergeStep,
    stage::Stage,
    story::Story,
};
use settings::duration::human;

use super::text::{count, sentence, shorten};

const TITLE: usize = 60;

/// More stories of one stage are only counted.
const MOST: usize = 15;

/// More problems are only counted.
const PROBLEMS: usize = 5;

/// The board; empty for a project without stories.
pub fn board(snapshot: &PipelineSnapshot, now: SystemTime) -> String {
    let mut text = String::new();
    if let Some(why) = &snapshot.paused {
        let _ = writeln!(text, "**No agents start**: {}\n", sentence(&inert(why)));
    }
    if let Some(notice) = &snapshot.settings_notice {
        let _ = writeln!(text, "**Settings**: {}\n", sentence(&inert(notice)));
    }
    if snapshot.wall == WallState::TurnedOff {
        let _ = writeln!(text, "**No wall**: agents and gates can do what the operator can.\n");
    }
    if let Some(gap) = snapshot.wall.network_gap() {
        let _ = writeln!(text, "**Network**: {gap}\n");
    }
    for problem in snapshot.board.problems.iter().take(PROBLEMS) {
        let _ = writeln!(text, "- {problem}");
    }
    if snapshot.board.problems.len() > PROBLEMS {
        let _ = writeln!(
            text,
            "- and {} that cannot be read",
            count(snapshot.board.problems.len() - PROBLEMS, "more file", "more files")
        );
    }
    if snapshot.board.is_empty() {
        return text;
    }
    let _ = writeln!(text, "**Stories**");
    for stage in Stage::ALL {
        let count = snapshot.board.in_stage(stage).count();
        if count == 0 {
            continue;
        }
        let held = quarantined(snapshot, stage);
        let held = if held > 0 { format!(", {held} in quarantine") } else { String::new() };
        let _ = writeln!(text, "- {stage}: {count}{held}");
        if in_work(stage) {
            for story in snapshot.board.in_stage(stage).take(MOST) {
                let _ = writeln!(text, "  - {}", line(story, snapshot, now));
            }
            if count > MOST {
                let _ = writeln!(text, "  - and {} more", count - MOST);
            }
        }
    }
    text.push('\n');
    text
}

/// How many stories of a stage that lists none are in quarantine.
fn quarantined(snapshot: &PipelineSnapshot, stage: Stage) -> usize {
    let stages = snapshot.quarantined.keys().filter_map(|id| Some(snapshot.board.story(*id)?.stage));
    if in_work(stage) { 0 } else { stages.filter(|other| *other == stage).count() }
}

fn in_work(stage: Stage) -> bool {
    matches!(stage, Stage::Current | Stage::Qa | Stage::Merge)
}

fn line(story: &Story, snapshot: &PipelineSnapshot, now: SystemTime) -> String {
    let id = story.id();
    let mut line = format!("{id} {}", inert(&shorten(&story.front.name, TITLE)));
    if let Some(run) = snapshot.runs.iter().find(|run| run.story == id) {
        line.push_str(&format!(": {}", worker(run, now)));
    } else if let Some(merge) = snapshot.merges.get(&id) {
        line.push_str(&format!(": {}", merge_words(merge)));
    } else if let Some(hold) = snapshot.holds.get(&id) {
        line.push_str(&format!(": {}", inert(&shorten(hold, 160))));
    } else {
        line.push_str(": waits for a free agent");
    }
    if snapshot.quarantined.contains_key(&id) {
        line.push_str(", in quarantine");
    }
    let age = now.duration_since(story.since).unwrap_or_default();
    format!("{line}, here for {}", human(age))
}

pub(super) fn worker(run: &RunInfo, now: SystemTime) -> String {
    let age = human(now.duration_since(run.since).unwrap_or_default());
    let phase = match &run.phase {
        RunPhase::Working => "works".to_owned(),
        other => other.to_string(),
    };
    format!("`{}` {phase} for {age}, ${:.2}", run.slot, run.cost_usd)
}

/// A merge's state in a few words.
pub fn merge_words(merge: &MergeView) -> String {
    match merge {
        MergeView::Queued { ahead: 0 } => "next in the merge queue".into(),
        MergeView::Queued { ahead } => format!("in the merge queue, {ahead} before it"),
        MergeView::Running { step: MergeStep::Waiting { why } } => format!("waits: {why}"),
        MergeView::Running { step: MergeStep::Squash } => "merging: squashing the branch".into(),
        MergeView::Running { step: MergeStep::Gates } => "merging: gates run on the result".into(),
        MergeView::Running { step: MergeStep::Landing } => "merging: updating the base branch".into(),
        MergeView::Conflict { files } => {
            format!("conflict in {}", count(files.len(), "file", "files"))
        }
        MergeView::Merged { commit } => format!("merged as `{commit:.10}`"),
        MergeView::GateFailed { gate, .. } => {
            format!("its merge failed: on the merged result {}", inert(gate))
        }
        MergeView::Failed { why } => inert(why).to_string(),
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use std::{
        collections::BTreeMap,
        sync::Arc,
        time::{Duration, UNIX_EPOCH},
    };

    use pipeline::{
        board::Board,
        event::RunId,
        stage::Role,
        story::{FileName, FrontMatter, StoryId, StoryKind},
    };

    use super::*;

    pub fn story(id: u32, name: &str, stage: Stage) -> Arc<Story> {
        Arc::new(Story {
            file: FileName { id: StoryId(id), kind: StoryKind::Story, slug: "x".into() },
            stage,
            since: UNIX_EPOCH,
            front: FrontMatter { name: name.into(), ..FrontMatter::default() },
            criteria: Vec::new(),
        })
    }

    /// One story in each stage; the second is worked on, the third held, the fourth queued.
    pub fn snapshot() -> PipelineSnapshot {
        let stories = vec![
            story(1, "First", Stage::Backlog),
            story(2, "Second", Stage::Current),
            story(3, "Third", Stage::Qa),
            story(4, "Fourth", Stage::Merge),
            story(5, "Fifth", Stage::Done),
            story(6, "Sixth", Stage::Current),
        ];
        let run = RunInfo {
            id: RunId("2-coder-1".into()),
            branch: None,
            story: StoryId(2),
            title: "Second".into(),
            slot: "coder".into(),
            agent: "coder".into(),
            role: Role::Coder,
            since: UNIX_EPOCH + Duration::from_secs(30),
            phase: RunPhase::Working,
            pid: None,
            session: None,
            cost_usd: 0.25,
        };
        PipelineSnapshot {
            seq: 7,
            board: Arc::new(Board::new(stories, Vec::new())),
            runs: vec![run],
            workers: Vec::new(),
            merges: BTreeMap::from([(StoryId(4), MergeView::Queued { ahead: 1 })]),
            holds: BTreeMap::from([(StoryId(3), "waits for a person to accept or reject it".into())]),
            parked: BTreeMap::new(),
            paused: None,
            day_budget_usd: None,
            settings_notice: None,
            base: "main".into(),
            wall: WallState::default(),
            quarantined: Arc::default(),
            strangers_read: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_board_shows_stages_workers_holds_and_merges() {
        let now = UNIX_EPOCH + Duration::from_secs(90);
        insta::assert_snapshot!(board(&fixture::snapshot(), now), @r"
        **Stories**
        - backlog: 1
        - current: 2
          - 2 Second: `coder` works for 1m, $0.25, here for 1m 30s
          - 6 Sixth: waits for a free agent, here for 1m 30s
        - qa: 1
          - 3 Third: waits for a person to accept or reject it, here for 1m 30s
        - merge: 1
          - 4 Fourth: in the merge queue, 1 before it, here for 1m 30s
        - done: 1

        ");
    }

    #[test]
    fn a_pause_is_said_first_and_a_project_without_stories_says_nothing() {
        let empty = PipelineSnapshot { paused: Some("No space.".into()), ..PipelineSnapshot::default() };
        assert_eq!(board(&empty, UNIX_EPOCH), "**No agents start**: No space.\n\n");
        assert_eq!(board(&PipelineSnapshot::default(), UNIX_EPOCH), "");
        let open = PipelineSnapshot { wall: WallState::TurnedOff, ..PipelineSnapshot::default() };
        assert!(board(&open, UNIX_EPOCH).starts_with("**No wall**"));
    }
}
