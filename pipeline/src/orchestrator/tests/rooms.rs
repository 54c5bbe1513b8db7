//! Rooms that work in worktrees of their own and land their changes, in whole lives of the pipeline.

use std::{fs, path::PathBuf};

use super::fixture::{Fixture, TEAM};
use crate::{
    event::{Actor, LandingNews, PipelineEvent},
    rooms::{self, LandRequest, LandedStory, RoomReadiness},
    story::{StoryId, stage::Stage},
    worktree::{RoomName, SizeLimits, WorktreeName, Worktrees, fixture::WorktreeFixture},
};

const ROOM: &str = "fake:a";

fn ann() -> Actor {
    Actor::Person("Ann".into())
}

async fn enter(fixture: &Fixture, room: &str) -> PathBuf {
    match fixture.pipeline.enter_room(room, false).await.expect("an answer") {
        RoomReadiness::Ready { workspace, .. } => workspace.folder,
        other => panic!("{other:?}"),
    }
}

async fn land(fixture: &Fixture, room: &str, title: &str) -> LandedStory {
    fixture.pipeline.land(room, title, ann()).await.expect("it is landed")
}

fn news_of(event: &PipelineEvent, of: StoryId) -> Option<(&str, &LandingNews)> {
    match event {
        PipelineEvent::Landing { story, room, news, .. } if *story == of => Some((room, news)),
        _ => None,
    }
}

#[tokio::test]
async fn a_rooms_changes_pass_gates_review_and_merge_without_a_coder_and_the_room_follows_base_again() {
    let mut fixture = Fixture::new().await;
    let folder = enter(&fixture, ROOM).await;
    fs::write(folder.join("a.txt"), "fixed\n").expect("an edit");
    fs::write(folder.join("new.txt"), "new\n").expect("a file");
    let landed = land(&fixture, ROOM, "Fix the typo").await;
    let id = landed.story.id();
    assert_eq!((landed.story.stage, landed.diff.as_deref()), (Stage::Current, Some("2 files, +2 -1")));
    fixture.until_in(id, Stage::Done).await;
    let merged =
        |event: &PipelineEvent| matches!(news_of(event, id), Some((ROOM, LandingNews::Merged { .. })));
    fixture.until("the room hears of the merge", merged).await;
    assert_eq!(fixture.git.git(&["show", "main:a.txt"]), "fixed");
    let prompts = fixture.prompts();
    assert!(prompts.iter().all(|prompt| prompt.starts_with("Review story")), "{prompts:?}");
    assert!(
        !fixture
            .git
            .git(&["show", "storkit/board:.storkit/work/5_done/1_story_fix_the_typo.md"])
            .contains("landed:")
    );
    assert_eq!(enter(&fixture, ROOM).await, folder);
    let name = RoomName::of(ROOM);
    assert_eq!(
        fixture.git.git(&["rev-parse", &name.branch()]),
        fixture.git.git(&["rev-parse", "main"]),
        "it follows base"
    );
    let refused = fixture.pipeline.land(ROOM, "x", ann()).await.unwrap_err().to_string();
    assert_eq!(refused, "This room has no changes to land.");
}

#[tokio::test]
async fn changes_whose_gates_fail_go_to_a_coder_on_the_storys_branch() {
    let mut fixture = Fixture::new().await;
    let folder = enter(&fixture, ROOM).await;
    fs::write(folder.join("broken"), "x").expect("a file");
    let id = land(&fixture, ROOM, "Break it").await.story.id();
    let sent_back =
        |event: &PipelineEvent| matches!(news_of(event, id), Some((ROOM, LandingNews::SentBack { .. })));
    fixture.until("the room hears of it", sent_back).await;
    let coder_ends = |event: &PipelineEvent| matches!(event, PipelineEvent::RunEnded { run, .. } if run.story == id && run.cost_usd > 0.0);
    fixture.until("a coder worked on it", coder_ends).await;
    let prompts = fixture.prompts();
    assert!(
        prompts.iter().any(|prompt| prompt.starts_with("Do story") && prompt.contains("gate.sh")),
        "{prompts:?}"
    );
}

#[tokio::test]
async fn two_rooms_land_at_once_and_each_hears_of_its_own_story() {
    let mut fixture = Fixture::new().await;
    let (one, other) = (enter(&fixture, ROOM).await, enter(&fixture, "fake:b").await);
    fs::write(one.join("one.txt"), "one\n").expect("a file");
    fs::write(other.join("other.txt"), "other\n").expect("a file");
    let (first, second) = tokio::join!(land(&fixture, ROOM, "One"), land(&fixture, "fake:b", "Other"));
    for (landed, room) in [(first, ROOM), (second, "fake:b")] {
        let id = landed.story.id();
        assert_eq!(landed.after, None);
        let merged = |event: &PipelineEvent| matches!(news_of(event, id), Some((told, LandingNews::Merged { .. })) if told == room);
        fixture.until("merged", merged).await;
    }
    assert_eq!(fixture.git.git(&["show", "main:one.txt"]), "one");
    assert_eq!(fixture.git.git(&["show", "main:other.txt"]), "other");
}

#[tokio::test]
async fn a_room_whose_branch_conflicts_with_base_is_merged_by_a_mergemaster() {
    let mut fixture = Fixture::new().await;
    let folder = enter(&fixture, ROOM).await;
    fs::write(folder.join("a.txt"), "the room's\n").expect("an edit");
    fixture.git.write("a.txt", "base's\n");
    fixture.git.git(&["commit", "-q", "-am", "base moves"]);
    let id = land(&fixture, ROOM, "Both").await.story.id();
    let resolve = "merge: printf 'both\\n' > a.txt && git add a.txt";
    fixture.until_in(id, Stage::Qa).await;
    let change =
        crate::handle::StoryChange { body: Some(format!("- [ ] x\n\n{resolve}\n")), ..Default::default() };
    fixture.pipeline.update(id, change, ann()).await.expect("its text");
    fixture.until_in(id, Stage::Done).await;
    assert_eq!(fixture.git.git(&["show", "main:a.txt"]), "both");
}

#[tokio::test]
async fn a_landing_that_a_crash_cut_short_is_finished_by_the_next_start_and_the_room_is_told() {
    let git = WorktreeFixture::new();
    git.write("gate.sh", "true\n");
    git.write(".storkit/project.toml", TEAM);
    git.git(&["add", "gate.sh", ".storkit/project.toml"]);
    git.git(&["commit", "-q", "-m", "gate"]);
    git.confirm();
    let worktrees =
        Worktrees::open(&git.project, SizeLimits { free: 0, ..SizeLimits::default() }).expect("worktrees");
    let name = RoomName::of(ROOM);
    let worktree = worktrees.prepare(&name, "main", "room").expect("a worktree");
    fs::write(worktree.path().join("new.txt"), "new\n").expect("a file");
    let request =
        LandRequest { name, room: ROOM.into(), title: "Fix the typo".into(), read: Default::default() };
    fs::create_dir_all(git.project.run_dir()).expect("a folder");
    rooms::begin(&worktrees, &git.project, "main", &request).expect("begun");
    let mut fixture = Fixture::on(git, |_| ()).await;
    let begun =
        |event: &PipelineEvent| matches!(event, PipelineEvent::Landing { news: LandingNews::Begun, .. });
    fixture.until("the room is told", begun).await;
    fixture.until_in(StoryId(1), Stage::Done).await;
    assert_eq!(fixture.git.git(&["show", "main:new.txt"]), "new");
    assert_eq!(fixture.pipeline.snapshot().board.stories().count(), 1);
}

#[tokio::test]
async fn a_deleted_story_leaves_the_changes_with_the_room_to_be_landed_again() {
    let fixture = Fixture::with("[[agent]]\nname = \"boss\"\nstage = \"supervisor\"\n", |_| ()).await;
    let folder = enter(&fixture, ROOM).await;
    fs::write(folder.join("new.txt"), "new\n").expect("a file");
    let first = land(&fixture, ROOM, "Once").await;
    let again = fixture.pipeline.land(ROOM, "Twice", ann()).await.unwrap_err().to_string();
    assert_eq!(again, "Story 1 has these changes already. There is nothing new to land.");
    fixture.pipeline.delete(first.story.id(), ann()).await.expect("deleted");
    let second = land(&fixture, ROOM, "Once more").await;
    assert_eq!((second.commit, second.after), (first.commit, None));
    let name = WorktreeName::new(second.story.id(), "once_more").expect("a name");
    assert_eq!(fixture.git.git(&["show", &format!("{}:new.txt", name.branch())]), "new");
}

#[tokio::test]
async fn a_living_process_keeps_its_files_until_base_moves_and_without_a_base_there_is_no_worktree() {
    let fixture = Fixture::new().await;
    enter(&fixture, ROOM).await;
    let living = || async { fixture.pipeline.enter_room(ROOM, true).await.expect("an answer") };
    assert!(matches!(living().await, RoomReadiness::Unchanged { own: None }));
    fixture.git.write("b.txt", "b\n");
    fixture.git.git(&["add", "b.txt"]);
    fixture.git.git(&["commit", "-q", "-m", "b"]);
    assert!(matches!(living().await, RoomReadiness::Stale));
    let empty = Fixture::on(WorktreeFixture::empty(), |_| ()).await;
    match empty.pipeline.enter_room(ROOM, false).await.expect("an answer") {
        RoomReadiness::NoBase(why) => assert!(why.contains("has no commit yet"), "{why}"),
        other => panic!("{other:?}"),
    }
}
