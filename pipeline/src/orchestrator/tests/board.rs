//! The board on its own branch, as people and merges meet it.

use std::fs;

use super::fixture::{Fixture, TEAM, ann};
use crate::{
    board::BOARD_BRANCH,
    event::PipelineEvent,
    migrate::migrate,
    story::{StoryId, StoryKind, stage::Stage},
    worktree::fixture::WorktreeFixture,
};

const ONE: &str = ".storkit/work/1_backlog/1_story_one.md";
const TWO: &str = ".storkit/work/1_backlog/2_story_two.md";

fn story(name: &str, text: &str) -> String {
    format!("---\nname: {name}\n---\n\n{text}\n")
}

/// A project of the version before: base tracks its two stories.
fn on_base() -> WorktreeFixture {
    let git = WorktreeFixture::new();
    git.write("gate.sh", "true\n");
    git.write(".storkit/project.toml", TEAM);
    for (path, name) in [(ONE, "One"), (TWO, "Two")] {
        git.write(path, &story(name, "old"));
    }
    git.git(&["add", "-f", "gate.sh", ".storkit/project.toml", ONE, TWO]);
    git.git(&["commit", "-q", "-m", "stories on base"]);
    git.git(&["branch", "old"]);
    git.confirm();
    git
}

fn restored(event: &PipelineEvent) -> bool {
    matches!(event, PipelineEvent::Alarm { text, .. } if text.starts_with("Git changed story files"))
}

#[tokio::test]
async fn thirty_new_stories_while_a_merge_is_gated_run_its_gates_once() {
    let git = WorktreeFixture::new();
    let (gated, open) = (git.root().with_file_name("gated"), git.root().with_file_name("open"));
    let gate = format!(
        "case $PWD in */worktrees/merge) echo gated >> '{}'; until test -e '{}'; do sleep 0.02; done ;; esac\n",
        gated.display(),
        open.display()
    );
    git.write("gate.sh", &gate);
    git.write(".storkit/project.toml", TEAM);
    git.git(&["add", "gate.sh", ".storkit/project.toml"]);
    git.git(&["commit", "-q", "-m", "gate"]);
    git.confirm();
    let mut fixture = Fixture::on(git, |_| ()).await;
    let id = fixture.start("Merges", "do: echo x > x.txt && git add x.txt && git commit -qm x").await;
    fixture.until_true("its merge is gated", || gated.exists()).await;
    let before = fixture.git.git(&["rev-parse", "main"]);
    for number in 0..30 {
        fixture.create(&format!("New {number}"), "x").await;
    }
    fixture.until_on_board(".storkit/work/1_backlog/31_story_new_29.md").await;
    fs::write(&open, "").unwrap();
    fixture.until_in(id, Stage::Done).await;
    assert_eq!(fs::read_to_string(&gated).unwrap(), "gated\n");
    assert_eq!(fixture.git.git(&["rev-parse", "main~1"]), before, "base has the merge and nothing else");
    assert_eq!(fixture.on_board().lines().count(), 31);
}

#[tokio::test]
async fn a_switch_to_a_branch_that_tracks_stories_is_no_edit_and_people_hear_of_it_once() {
    let git = on_base();
    migrate(&git.project, Some("main")).expect("it migrates");
    git.write(TWO, &story("Two", "newer"));
    let mut fixture = Fixture::on(git, |_| ()).await;
    fixture.create("Three", "x").await;
    fixture.until_on_board(".storkit/work/1_backlog/3_story_three.md").await;
    let board = fixture.git.git(&["rev-parse", BOARD_BRANCH]);
    fixture.git.git(&["switch", "-q", "old"]);
    fixture.until("people hear of it", restored).await;
    assert_eq!(fixture.git.read(TWO), story("Two", "newer"));
    fixture.git.git(&["switch", "-q", "main"]);
    fixture.pipeline.rescan().await.unwrap();
    assert_eq!(fixture.git.git(&["status", "--porcelain"]), "");
    // Whatever the switches set off has happened once this has.
    fixture.create("Four", "x").await;
    fixture.until_on_board(".storkit/work/1_backlog/4_story_four.md").await;
    assert_eq!(fixture.git.git(&["rev-parse", &format!("{BOARD_BRANCH}~1")]), board);
    fixture.until_in_or_created(StoryId(4)).await;
    // Files that were written again have another time, which `StoryChanged` reports and nobody is told.
    let edits = |event: &PipelineEvent| {
        matches!(event, PipelineEvent::StoryDeleted { .. } | PipelineEvent::StoryMoved { .. })
    };
    assert_eq!((fixture.told(edits), fixture.told(restored)), (0, 1), "{}", fixture.story_so_far());
    assert_eq!(fixture.pipeline.snapshot().board.in_stage(Stage::Backlog).count(), 4);
}

#[tokio::test]
async fn both_switches_while_storkit_is_down_take_no_story_away() {
    let git = on_base();
    migrate(&git.project, Some("main")).expect("it migrates");
    let fixture = Fixture::on(git, |_| ()).await;
    fixture.until_on_board(ONE).await;
    fixture.pipeline.shutdown().await;
    fixture.git.git(&["switch", "-q", "old"]);
    fixture.git.git(&["switch", "-q", "main"]);
    assert!(!fixture.git.root().join(ONE).exists(), "git removed it");
    let fixture = fixture.restart().await;
    assert_eq!(fixture.pipeline.snapshot().board.in_stage(Stage::Backlog).count(), 2);
    assert_eq!(fixture.on_board(), format!("{ONE}\n{TWO}"));
}

#[tokio::test]
async fn a_start_on_an_unmigrated_project_says_what_to_do_and_changes_nothing() {
    let fixture = Fixture::on(on_base(), |_| ()).await;
    let before = fixture.git.git(&["rev-parse", "main"]);
    let refused = fixture.pipeline.create(StoryKind::Story, "x", None, ann()).await.unwrap_err().to_string();
    assert!(refused.contains("run `storkit migrate` once"), "{refused}");
    assert_eq!((fixture.git.git(&["rev-parse", "main"]), fixture.on_board()), (before, String::new()));
    assert_eq!(fixture.git.git(&["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_clone_takes_the_board_from_its_origin_and_its_stories_are_in_quarantine() {
    let origin = on_base();
    migrate(&origin.project, Some("main")).expect("it migrates");
    let git = WorktreeFixture::new();
    git.git(&["remote", "add", "origin", origin.root().to_str().unwrap()]);
    git.git(&["fetch", "-q", "origin"]);
    git.git(&["reset", "-q", "--hard", "origin/main"]);
    git.confirm();
    let mut fixture = Fixture::on(git, |_| ()).await;
    let told = |event: &PipelineEvent| matches!(event, PipelineEvent::Alarm { text, .. } if text == "The board is that of `origin/storkit/board`.");
    fixture.until("people hear whose board it is", told).await;
    let quarantined: Vec<u32> = fixture.pipeline.snapshot().quarantined.keys().map(|id| id.0).collect();
    assert_eq!(quarantined, [1, 2]);
    assert_eq!(
        fixture.git.git(&["rev-parse", BOARD_BRANCH]),
        fixture.git.git(&["rev-parse", "origin/storkit/board"])
    );
    let own = fixture.create("Own", "x").await;
    fixture.until_on_board(".storkit/work/1_backlog/3_story_own.md").await;
    let fixture = fixture.restart().await;
    assert!(!fixture.pipeline.snapshot().quarantined.contains_key(&own), "a person wrote it here");
}
