//! A repository that is served and not trusted: what of it runs, and when.

use std::fs;

use super::fixture::{Fixture, TEAM, ann};
use crate::{
    event::{Actor, PipelineEvent},
    story::{StoryId, StoryKind, stage::Stage},
};

const WORK: &str = "do: echo x > x.txt && git add -A && git commit -qm x";

/// A story's text whose coder writes this file.
fn writes(file: &str) -> String {
    format!("do: echo x > {file} && git add -A && git commit -qm x")
}

fn at(fixture: &Fixture, path: &str) -> std::path::PathBuf {
    fixture.git.root().join(".storkit/work").join(path)
}

fn alarm(words: &'static str) -> impl Fn(&PipelineEvent) -> bool {
    move |event| matches!(event, PipelineEvent::Alarm { text, .. } if text.contains(words))
}

/// A repository whose settings leave a trace when any of their commands runs.
fn repository(trace: &str) -> crate::worktree::fixture::WorktreeFixture {
    let git = crate::worktree::fixture::WorktreeFixture::new();
    let trace = git.root().with_file_name(trace);
    let leave = format!("touch {}", trace.display());
    let text = format!(
        "gates = [\"{leave}\"]\n[[component]]\nname = \"c\"\nsetup = [\"{leave}\"]\nteardown = [\"{leave}\"]\n{}",
        TEAM.split_once("\n[[agent]]").map(|(_, agents)| format!("[[agent]]{agents}")).unwrap()
    );
    git.write(".storkit/project.toml", &text);
    git.git(&["add", ".storkit/project.toml"]);
    git.git(&["commit", "-q", "-m", "settings"]);
    git
}

#[tokio::test]
async fn nothing_of_an_unconfirmed_repository_runs_and_status_says_so() {
    let git = repository("trace");
    let trace = git.root().with_file_name("trace");
    let mut fixture = Fixture::on(git, |_| ()).await;
    let id = fixture.create("Waits", WORK).await;
    let started = fixture.pipeline.start(id, None, ann()).await.unwrap();
    assert!(
        matches!(&started, crate::handle::StartResult::Waiting(why) if why.contains("storkit trust")),
        "{started:?}"
    );
    let snapshot = fixture.pipeline.snapshot();
    assert!(
        snapshot.paused.as_ref().is_some_and(|why| why.contains("not confirmed")),
        "{:?}",
        snapshot.paused
    );
    assert_eq!(snapshot.runs, []);
    assert!(!trace.exists());
    fixture.git.confirm();
    fixture.until_in(id, Stage::Done).await;
    assert!(trace.exists());
}

#[tokio::test]
async fn a_pull_that_changes_the_gates_changes_nothing_until_it_is_confirmed() {
    let mut fixture = Fixture::new().await;
    let trace = fixture.git.root().with_file_name("trace");
    let evil = TEAM.replace("sh gate.sh", &format!("touch {}", trace.display()));
    // Another clone pushes; this checkout only follows.
    fixture.git.git(&["switch", "-q", "-c", "theirs"]);
    fixture.commit_settings(&evil);
    fixture.git.git(&["switch", "-q", "main"]);
    fixture.git.git(&["merge", "-q", "--ff-only", "theirs"]);
    fixture.until("it is said", alarm("is not confirmed")).await;
    assert!(
        fixture.pipeline.snapshot().settings_notice.as_ref().is_some_and(|why| why.contains("storkit trust"))
    );
    assert_eq!(fixture.pipeline.snapshot().paused, None, "the confirmed version stays in effect");
    let id = fixture.start("Goes on", &writes("x.txt")).await;
    fixture.until_in(id, Stage::Done).await;
    assert!(!trace.exists());
    let mut fixture = fixture.restart().await;
    assert_eq!(fixture.pipeline.snapshot().paused, None, "also after a restart");
    let id = fixture.start("Goes on again", &writes("y.txt")).await;
    fixture.until_in(id, Stage::Done).await;
    assert!(!trace.exists());
}

#[tokio::test]
async fn an_edit_in_the_checkout_is_without_effect_and_people_hear_of_it() {
    let mut fixture = Fixture::new().await;
    fixture.git.write(".storkit/project.toml", &TEAM.replace("count = 2", "count = 9"));
    fixture.until("it is said", alarm("takes effect once it is committed on `main`")).await;
    assert_eq!(fixture.pipeline.snapshot().workers.len(), 4);
    assert!(fixture.pipeline.snapshot().settings_notice.is_some());
}

#[tokio::test]
async fn a_branch_without_gates_that_is_checked_out_merges_nothing_without_gates() {
    let mut fixture = Fixture::new().await;
    fixture.git.git(&["switch", "-q", "-c", "theirs"]);
    let theirs = TEAM.replace(r#"gates = ["sh gate.sh"]"#, "gates = []").replace("count = 2", "count = 9");
    fixture.commit_settings(&theirs);
    let id =
        fixture.start("Breaks the gate", "do: touch broken && git add -A && git commit -qm broken").await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("the gate `sh gate.sh` failed"), "{why}");
    assert_eq!(fixture.pipeline.snapshot().workers.len(), 4);
    assert_eq!(fixture.git.git(&["ls-tree", "--name-only", "main", "broken"]), "");
}

#[tokio::test]
async fn stories_that_a_clone_brings_in_work_wait_for_a_persons_start() {
    let git = crate::worktree::fixture::WorktreeFixture::new();
    git.write("gate.sh", "true\n");
    git.write(".storkit/project.toml", TEAM);
    for (stage, id) in [("2_current", 1), ("3_qa", 2), ("4_merge", 3)] {
        let text = format!("---\nname: Story {id}\nstarted: true\n---\n{}", writes("x.txt"));
        git.write(&format!(".storkit/work/{stage}/{id}_story_x.md"), &text);
    }
    git.git(&["add", "-f", "gate.sh", ".storkit/project.toml", ".storkit/work"]);
    git.git(&["commit", "-q", "-m", "a repository of somebody else"]);
    git.confirm();
    let mut fixture = Fixture::on(git, |_| ()).await;
    let asked = fixture.until_asked(StoryId(1)).await;
    insta::assert_snapshot!(asked, @"Story 1: it came with the repository and was not started here; `start 1` starts it.");
    fixture.pipeline.rescan().await.unwrap();
    let snapshot = fixture.pipeline.snapshot();
    assert_eq!((snapshot.runs.len(), snapshot.holds.len(), snapshot.merges.len()), (0, 3, 0), "{snapshot:?}");
    let by_agent = fixture.pipeline.start(StoryId(1), None, Actor::Agent("boss".into())).await;
    assert!(by_agent.is_err(), "an agent is no person");
    assert!(fixture.pipeline.merge(StoryId(3), Actor::Agent("boss".into())).await.is_err());
    fixture.pipeline.release(StoryId(1), ann()).await.unwrap();
    fixture.pipeline.start(StoryId(1), None, ann()).await.unwrap();
    fixture.until_in(StoryId(1), Stage::Done).await;
    assert_eq!(fixture.pipeline.snapshot().holds.len(), 2, "the others still wait");
    // Started here, and so still started after a restart.
    let blocked = fixture.start("Later", &format!("{}\nreview: nothing", writes("y.txt"))).await;
    fixture.until_in(blocked, Stage::Qa).await;
    let fixture = fixture.restart().await;
    let holds = fixture.pipeline.snapshot().holds.clone();
    assert!(!holds.get(&blocked).is_some_and(|why| why.contains("came with the repository")), "{holds:?}");
}

#[tokio::test]
async fn a_story_that_git_puts_into_work_waits_and_one_that_a_person_moves_there_does_not() {
    let mut fixture = Fixture::new().await;
    let by_hand = fixture.create("By hand", &writes("x.txt")).await;
    let (from, to) = (at(&fixture, "1_backlog"), at(&fixture, "2_current"));
    let name = format!("{by_hand}_story_by_hand.md");
    fs::rename(from.join(&name), to.join(&name)).unwrap();
    fixture.until_in(by_hand, Stage::Done).await;
    let theirs = fixture.git.root().with_file_name("theirs");
    fixture.git.git(&["clone", "-q", ".", theirs.to_str().unwrap()]);
    let path = ".storkit/work/2_current/90_story_theirs.md";
    fs::create_dir_all(theirs.join(path).parent().unwrap()).unwrap();
    fs::write(theirs.join(path), format!("---\nname: Theirs\n---\n{WORK}")).unwrap();
    fixture.git.git_in(&theirs, &["add", "-f", path]);
    let who = ["-c", "user.name=Eve", "-c", "user.email=eve@example.com"];
    fixture.git.git_in(&theirs, &[&who[..], &["commit", "-q", "-m", "a story"]].concat());
    fixture.git.git(&["pull", "-q", "--ff-only", theirs.to_str().unwrap(), "main"]);
    let asked = fixture.until_asked(StoryId(90)).await;
    assert!(asked.contains("came with the repository"), "{asked}");
}

#[tokio::test]
async fn with_programs_in_the_git_configuration_no_git_is_started_until_they_are_confirmed() {
    let git = crate::worktree::fixture::WorktreeFixture::new();
    let trace = git.root().with_file_name("trace");
    git.write(".gitattributes", "*.md filter=evil diff=evil merge=evil\n");
    git.git(&["add", ".gitattributes"]);
    git.git(&["commit", "-q", "-m", "attributes"]);
    let leave = format!("touch {}; cat", trace.display());
    for key in ["filter.evil.clean", "filter.evil.smudge", "diff.evil.textconv", "core.fsmonitor"] {
        git.git(&["config", key, &leave]);
    }
    let fixture = Fixture::on(git, |_| ()).await;
    let refused =
        fixture.pipeline.create(StoryKind::Story, "Tempts", None, ann()).await.unwrap_err().to_string();
    assert!(refused.contains("filter.evil.clean") && refused.contains("storkit trust"), "{refused}");
    assert!(fixture.pipeline.snapshot().paused.as_ref().is_some_and(|why| why.contains("filter.evil.clean")));
    assert!(!trace.exists());
}

#[tokio::test]
async fn an_archive_brings_an_untracked_story_in_work_and_it_waits_but_one_moved_while_storkit_is_down_does_not()
 {
    let git = crate::worktree::fixture::WorktreeFixture::new();
    git.write("gate.sh", "true\n");
    git.write(".storkit/project.toml", TEAM);
    git.git(&["add", "gate.sh", ".storkit/project.toml"]);
    git.git(&["commit", "-q", "-m", "settings"]);
    git.confirm();
    git.write(".storkit/work/2_current/1_story_x.md", &format!("---\nname: X\n---\n{}", writes("x.txt")));
    let mut fixture = Fixture::on(git, |_| ()).await;
    let asked = fixture.until_asked(StoryId(1)).await;
    assert!(asked.contains("came with the repository"), "{asked}");
    fixture.pipeline.shutdown().await;
    fixture
        .git
        .write(".storkit/work/2_current/2_story_y.md", &format!("---\nname: Y\n---\n{}", writes("y.txt")));
    let mut fixture = fixture.restart().await;
    fixture.until_in(StoryId(2), Stage::Done).await;
}
