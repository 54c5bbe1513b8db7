//! People in editors and shells: files that come, go, move and break while the pipeline looks on.

use std::fs;

use super::fixture::{Fixture, TEAM, ann};
use crate::{
    event::PipelineEvent,
    story::{StoryKind, stage::Stage},
    worktree,
};

const WORK: &str = "do: echo x > x.txt && git add -A && git commit -qm x";

/// A place in `.storkit/work/`.
fn at(fixture: &Fixture, path: &str) -> std::path::PathBuf {
    fixture.git.root().join(".storkit/work").join(path)
}

#[tokio::test]
async fn a_story_dragged_into_work_is_worked_on() {
    let mut fixture = Fixture::new().await;
    let id = fixture.create("Dragged", WORK).await;
    fs::rename(at(&fixture, "1_backlog/1_story_dragged.md"), at(&fixture, "2_current/1_story_dragged.md"))
        .unwrap();
    fixture.until_in(id, Stage::Done).await;
    let by_hand = |event: &PipelineEvent| {
        matches!(event, PipelineEvent::StoryMoved { to: Stage::Current, by: crate::event::Actor::Editor, .. })
    };
    assert_eq!(fixture.told(by_hand), 1);
}

#[tokio::test]
async fn a_story_dragged_away_ends_its_run_and_stays_where_it_was_put() {
    let mut fixture = Fixture::new().await;
    let hold = "do: mkfifo ../../../hold; read x < ../../../hold";
    let id = fixture.start("Away", &format!("{hold}\n{WORK}")).await;
    let fifo = fixture.git.root().join("hold");
    fixture.until_true("it works", || fifo.exists()).await;
    fs::rename(at(&fixture, "2_current/1_story_away.md"), at(&fixture, "1_backlog/1_story_away.md")).unwrap();
    let ended = |event: &PipelineEvent| matches!(event, PipelineEvent::RunEnded { .. });
    fixture.until("its run ends", ended).await;
    assert_eq!(fixture.outcomes(), ["1 coder: ended: its story was moved or decided"]);
    assert_eq!(fixture.stage(id), Some(Stage::Backlog));
    assert_eq!(fixture.pipeline.snapshot().runs, []);
}

#[tokio::test]
async fn a_stale_copy_in_two_stages_is_reported_and_not_acted_on() {
    let mut fixture = Fixture::new().await;
    let id = fixture.create("Twice", WORK).await;
    fs::copy(at(&fixture, "1_backlog/1_story_twice.md"), at(&fixture, "2_current/1_story_twice.md")).unwrap();
    let found = |event: &PipelineEvent| matches!(event, PipelineEvent::ProblemFound { .. });
    let problem = fixture.until("a problem", found).await;
    assert!(
        matches!(&problem, PipelineEvent::ProblemFound { problem } if problem.contains("story 1 exists more than once")),
        "{problem:?}"
    );
    assert!(fixture.pipeline.start(id, None, ann()).await.is_err());
    fixture.pipeline.rescan().await.unwrap();
    assert_eq!(fixture.pipeline.snapshot().runs, []);
    assert!(
        at(&fixture, "1_backlog/1_story_twice.md").exists()
            && at(&fixture, "2_current/1_story_twice.md").exists()
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_left_as_it_is() {
    let mut fixture = Fixture::new().await;
    let broken = "---\nname: [\n---\n# x\n";
    for (path, text, said) in [
        ("2_current/7_story_broken.md", broken, "7_story_broken.md` cannot be read: line"),
        ("2_current/notes.md", "x", "notes.md` is not named like a story"),
        ("7_elsewhere/8_story_x.md", "# x\n", "belongs to no stage"),
    ] {
        fs::create_dir_all(at(&fixture, path).parent().unwrap()).unwrap();
        fs::write(at(&fixture, path), text).unwrap();
        fixture.pipeline.rescan().await.unwrap();
        let found = |event: &PipelineEvent| matches!(event, PipelineEvent::ProblemFound { problem } if problem.contains(said));
        fixture.until(said, found).await;
        assert_eq!(fs::read_to_string(at(&fixture, path)).unwrap(), text);
    }
    assert_eq!(fixture.pipeline.snapshot().runs, []);
}

#[tokio::test]
async fn a_story_without_front_matter_is_a_story() {
    let mut fixture = Fixture::new().await;
    fs::write(at(&fixture, "2_current/7_bug_plain.md"), format!("# Plain\n\n{WORK}\n")).unwrap();
    fixture.until_in_or_created(crate::story::StoryId(7)).await;
    fixture.until_in(crate::story::StoryId(7), Stage::Done).await;
    assert!(fixture.git.read(".storkit/work/5_done/7_bug_plain.md").starts_with("# Plain\n"));
}

#[tokio::test]
async fn a_title_cannot_leave_its_folder_or_its_line() {
    let fixture = Fixture::new().await;
    let long = "x".repeat(10_000);
    for title in
        ["../../../etc/passwd", "two\nlines", "---\nblocked: yes\n---", long.as_str(), "`rm -rf`; $(id)"]
    {
        let story = fixture.pipeline.create(StoryKind::Bug, title, None, ann()).await.unwrap();
        let name = story.file.to_string();
        assert!(name.len() < 100 && !name.contains(['/', '\n', '$', '`', ' ']), "{name}");
        assert!(story.front.blocked.is_none() && !story.front.name.contains('\n'), "{story:?}");
    }
    assert!(fixture.pipeline.create(StoryKind::Bug, " \n ", None, ann()).await.is_err());
    assert_eq!(fs::read_dir(at(&fixture, "1_backlog")).unwrap().count(), 5);
}

#[tokio::test]
async fn a_bad_change_of_the_configuration_is_said_and_the_last_good_one_counts() {
    let mut fixture = Fixture::new().await;
    fixture.commit_settings("[[agent]]\nname = \"x\"\n");
    let alarm = |event: &PipelineEvent| matches!(event, PipelineEvent::Alarm { text, .. } if text.contains("The previous settings stay in effect"));
    fixture.until("an alarm", alarm).await;
    assert_eq!(fixture.pipeline.snapshot().workers.len(), 4);
    fixture.commit_settings(&TEAM.replace("count = 2", "count = 5"));
    fixture.git.confirm();
    let mended = |event: &PipelineEvent| matches!(event, PipelineEvent::Paused { why: None });
    fixture.until("it is mended", mended).await;
    assert_eq!(fixture.pipeline.snapshot().workers.len(), 7);
}

#[tokio::test]
async fn with_a_bad_configuration_from_the_start_nothing_is_started_until_it_is_mended() {
    let mut fixture = Fixture::with("[[agent]]\nname = \"x\"\n", |_| ()).await;
    let id = fixture.create("Waits", WORK).await;
    let started = fixture.pipeline.start(id, None, ann()).await.unwrap();
    assert!(
        matches!(&started, crate::handle::StartResult::Waiting(why) if why.contains("agent.stage")),
        "{started:?}"
    );
    fixture.pipeline.rescan().await.unwrap();
    assert_eq!(fixture.pipeline.snapshot().runs, []);
    assert!(fixture.pipeline.snapshot().paused.as_ref().is_some_and(|why| why.contains("agent.stage")));
    fixture.commit_settings(TEAM);
    fixture.git.confirm();
    fixture.until_in(id, Stage::Done).await;
}

#[tokio::test]
async fn a_branch_in_the_way_is_named_kept_and_asked_about() {
    let mut fixture = Fixture::new().await;
    fixture.git.git(&["branch", "feature/story-1_taken"]);
    let id = fixture.start("Taken", WORK).await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("The branch `feature/story-1_taken` is in the way"), "{why}");
    assert_eq!(fixture.pipeline.snapshot().board.story(id).unwrap().front.retry_count, 0);
    fixture.git.git(&["branch", "-m", "feature/story-1_taken", "mine"]);
    fixture.pipeline.retry(id, ann()).await.unwrap();
    fixture.until_in(id, Stage::Done).await;
    assert_eq!(fixture.git.git(&["branch", "--list", "mine", "--format=%(refname:short)"]), "mine");
}

#[tokio::test]
async fn a_repository_without_commits_is_said_and_works_from_its_first_commit_on() {
    let git = worktree::fixture::WorktreeFixture::empty();
    let mut fixture = Fixture::on(git, |_| ()).await;
    let paused = |event: &PipelineEvent| matches!(event, PipelineEvent::Paused { why: Some(why) } if why.contains("no commit"));
    fixture.until("it says why", paused).await;
    let refused = fixture.pipeline.create(StoryKind::Bug, "Early", None, ann()).await.unwrap_err();
    assert!(refused.to_string().contains("no commit"), "{refused}");
    fixture.git.git(&["commit", "-q", "--allow-empty", "-m", "first"]);
    fixture.until_true("it works", || fixture.pipeline.snapshot().base == "main").await;
    fixture.pipeline.create(StoryKind::Bug, "Now", None, ann()).await.unwrap();
}

#[tokio::test]
async fn stories_made_while_base_is_not_checked_out_are_committed_to_the_board_and_to_nothing_else() {
    let fixture = Fixture::new().await;
    fixture.git.git(&["switch", "-q", "--detach"]);
    let head = fixture.git.git(&["rev-parse", "HEAD"]);
    fixture.create("Aside", "x").await;
    fixture.until_on_board(".storkit/work/1_backlog/1_story_aside.md").await;
    assert_eq!(fixture.git.git(&["rev-parse", "HEAD"]), head);
    assert!(at(&fixture, "1_backlog/1_story_aside.md").exists());
}

#[tokio::test]
async fn a_dirty_main_checkout_is_untouched_by_a_merge_and_a_clash_names_the_file() {
    let mut fixture = Fixture::new().await;
    fixture.git.write("mine.txt", "mine\n");
    fixture.git.write("a.txt", "half a thought\n");
    let one = fixture.start("Elsewhere", WORK).await;
    fixture.until_in(one, Stage::Done).await;
    assert_eq!(
        (fixture.git.read("mine.txt"), fixture.git.read("a.txt")),
        ("mine\n".into(), "half a thought\n".into())
    );
    let two = fixture.start("Clash", "do: echo theirs > a.txt && git commit -qam a").await;
    let why = fixture.until_asked(two).await;
    assert!(why.contains("files are in the way of its merge: a.txt"), "{why}");
    assert_eq!(fixture.git.read("a.txt"), "half a thought\n");
    fixture.git.git(&["checkout", "-q", "a.txt"]);
    fixture.pipeline.retry(two, ann()).await.unwrap();
    fixture.until_in(two, Stage::Done).await;
    assert_eq!(fixture.git.read("a.txt"), "theirs\n");
}
