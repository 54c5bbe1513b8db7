//! What agents should not do, in whole runs: what storkit did about it.

use std::time::Duration;

use agents::confine::ConfineChoice;
use needs::needs;

use super::fixture::{Fixture, TEAM};
use crate::{
    event::PipelineEvent,
    host::AgentSettings,
    story::stage::Stage,
    worktree::{
        confined::{landlock, own_program},
        fixture::SmallDisk,
    },
};

/// Puts everything behind a wall. The stand-in keeps its notes in a folder that the operator shows.
fn behind(settings: &mut AgentSettings, confine: ConfineChoice) {
    // Takes the steps of storkit's own program.
    let tests = std::env::current_exe().expect("this program");
    own_program(tests.clone()).register_as();
    settings.wall.confine = confine;
    settings.wall.visible = vec![tests];
    settings.wall.writable = vec![settings.env["STAND_IN"].clone().into()];
}

const WORK: &str = "do: echo x > x.txt && git add -A && git commit -qm x";

#[tokio::test]
async fn a_base_that_was_moved_past_the_hooks_is_put_back_and_the_story_blocked() {
    let mut fixture = Fixture::new().await;
    let before = fixture.git.git(&["rev-parse", "main"]);
    let evil = "do: cd ../../.. && echo evil > evil.txt && git add evil.txt && \
                env -u GIT_CONFIG_COUNT git -c core.hooksPath=/dev/null -c user.name=coder -c user.email=coder@agents.storkit.invalid commit -qm evil";
    let id = fixture.start("Evil", &format!("{WORK}\n{evil}")).await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("the agent moved the base branch"), "{why}");
    let tip = fixture.git.git(&["rev-parse", "main"]);
    let subjects = fixture.git.git(&["log", "--format=%s", &format!("{before}..{tip}")]);
    assert!(!subjects.contains("evil"), "{subjects}");
    assert!(fixture.git.git(&["branch", "--list", "storkit/rescue/*"]).contains("storkit/rescue/1-"));
    assert_eq!(fixture.stage(id), Some(Stage::Current));
}

/// Git ignores `target`, and the gates fail as long as it has a file `bad`.
fn ignores_products(fixture: &Fixture) {
    fixture.git.write(".gitignore", "/target\n");
    fixture.git.write("gate.sh", "test ! -e target/bad\n");
    fixture.git.git(&["add", ".gitignore", "gate.sh"]);
    fixture.git.git(&["commit", "-q", "-m", "products"]);
}

#[tokio::test]
async fn what_a_misbehaving_agent_built_reaches_no_other_story() {
    let mut fixture = Fixture::new().await;
    ignores_products(&fixture);
    let slot = fixture.git.root().join(".storkit/worktrees/slot-1");
    let build = "do: mkdir -p target && echo built > target/app";
    let id = fixture.start("Good", &format!("{build}\n{WORK}")).await;
    fixture.until_in(id, Stage::Done).await;
    fixture.until_clean().await;
    assert!(slot.join("target/app").exists(), "it is there for the next one");
    let evil = "do: test -e y.txt || { cd ../../.. && env -u GIT_CONFIG_COUNT git -c core.hooksPath=/dev/null -c user.name=coder \
                -c user.email=coder@agents.storkit.invalid commit -q --allow-empty -m evil; }";
    let work = "do: echo y > y.txt && git add -A && git commit -qm y";
    let id = fixture.start("Evil", &format!("{build}\n{evil}\n{work}")).await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("the agent moved the base branch"), "{why}");
    assert!(slot.join("y.txt").exists() && !slot.join("target").exists(), "not for itself either");
    fixture.pipeline.retry(id, super::fixture::ann()).await.expect("it goes on");
    fixture.until_in(id, Stage::Done).await;
    fixture.until_clean().await;
    fixture.until_true("its slot is removed with it", || !slot.exists()).await;
}

#[tokio::test]
async fn what_an_earlier_story_left_is_made_anew_once_the_gates_fail_with_it() {
    let mut fixture = Fixture::new().await;
    ignores_products(&fixture);
    let id = fixture.start("One", &format!("{WORK}\nqa: mkdir -p target && touch target/bad")).await;
    fixture.until_in(id, Stage::Done).await;
    fixture.until_clean().await;
    assert!(fixture.git.root().join(".storkit/worktrees/slot-1/target/bad").exists());
    let id = fixture
        .start("Two", "do: test -e y.txt || { echo y > y.txt && git add -A && git commit -qm y; }")
        .await;
    fixture.until_in(id, Stage::Done).await;
}

#[tokio::test]
async fn commits_to_base_are_refused_and_the_work_goes_on() {
    let mut fixture = Fixture::new().await;
    let tries =
        "do: cd ../../.. && git commit -q --allow-empty -m evil; git update-ref refs/heads/main HEAD~1; true";
    let id = fixture.start("Tries", &format!("{tries}\n{WORK}")).await;
    fixture.until_in(id, Stage::Done).await;
    assert!(!fixture.git.git(&["log", "--format=%s", "main"]).contains("evil"));
}

#[tokio::test]
async fn a_removed_worktree_and_a_deleted_branch_cost_nothing_that_was_committed() {
    let mut fixture = Fixture::new().await;
    let away = "do: cd ../../.. && git worktree remove --force .storkit/worktrees/slot-1; true\nagain: git log --oneline -1";
    let id = fixture.start("Away", &format!("{WORK}\n{away}")).await;
    let ended = |event: &PipelineEvent| matches!(event, PipelineEvent::RunEnded { .. });
    fixture.until("the run ends", ended).await;
    let branch = fixture.git.git(&["log", "--format=%s", "-1", "feature/story-1_away/work"]);
    assert_eq!(branch, "x");
    let asked_or_done = |event: &PipelineEvent| {
        matches!(event, PipelineEvent::NeedsPerson { .. })
            || matches!(event, PipelineEvent::StoryMoved { to: Stage::Done, .. })
    };
    fixture.until("it ends", asked_or_done).await;
    let _ = id;
}

#[tokio::test]
async fn a_change_of_the_pipelines_own_files_is_refused() {
    let mut fixture = Fixture::new().await;
    let evil = "do: echo 'gates = []' > .storkit/project.toml && git add -A && git commit -qm gates";
    let id = fixture.start("Lax", evil).await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("the branch changes `.storkit/project.toml`"), "{why}");
    assert_eq!(fixture.stage(id), Some(Stage::Current));
}

#[tokio::test]
async fn a_run_that_never_ends_is_ended_and_leaves_no_process() {
    let mut fixture = Fixture::with(TEAM, |settings| settings.stall = Duration::from_millis(500)).await;
    let id = fixture.start("Never", "do: mkfifo ../../../hold; read x < ../../../hold").await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("no progress for too long"), "{why}");
    assert_eq!(fixture.pipeline.snapshot().runs, []);
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_by_name() {
    let mut fixture = Fixture::new().await;
    let big = "do: truncate -s 120M big.bin && git add -A && git commit -qm big";
    let id = fixture.start("Big", big).await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("`big.bin` on the branch has 126 MB; the limit for one file is 105 MB"), "{why}");
}

#[tokio::test]
async fn in_the_sandbox_a_whole_life_works_and_mischief_does_not() {
    needs!(Bubblewrap);
    a_whole_life_works_and_mischief_does_not(ConfineChoice::Bwrap).await;
}

#[tokio::test]
async fn behind_landlock_a_whole_life_works_and_mischief_does_not() {
    if landlock("/nonexistent".as_ref()).is_some() {
        a_whole_life_works_and_mischief_does_not(ConfineChoice::Landlock).await;
    }
}

async fn a_whole_life_works_and_mischief_does_not(confine: ConfineChoice) {
    let mut fixture = Fixture::with(TEAM, |settings| behind(settings, confine)).await;
    let evil = "do: echo evil > ../../../evil.txt; echo evil > ~/evil; cd ../../.. && git commit -q --allow-empty -m evil; git branch -D main; true";
    let id = fixture.start("Walled", &format!("{evil}\n{WORK}")).await;
    let end = |event: &PipelineEvent| {
        matches!(event, PipelineEvent::NeedsPerson { .. } | PipelineEvent::Paused { why: Some(_) })
            || matches!(event, PipelineEvent::StoryMoved { to: Stage::Done, .. })
    };
    fixture.until("it ends", end).await;
    assert_eq!(fixture.stage(id), Some(Stage::Done), "{}", fixture.story_so_far());
    assert!(!fixture.git.root().join("evil.txt").exists());
    assert!(!fixture.git.git(&["log", "--format=%s", "main"]).contains("evil"));
}

#[tokio::test]
async fn without_a_sandbox_a_file_written_outside_the_worktree_is_told_by_name() {
    let mut fixture = Fixture::new().await;
    let id = fixture.start("Strays", &format!("do: echo evil > ../../../evil.txt\n{WORK}")).await;
    let told = |event: &PipelineEvent| matches!(event, PipelineEvent::Alarm { story: Some(_), text } if text.contains("without a sandbox") && text.contains("evil.txt"));
    fixture.until("it is told", told).await;
    fixture.until_in(id, Stage::Done).await;
    assert_eq!(fixture.git.git(&["ls-files", "evil.txt"]), "", "it is not committed");
}

#[tokio::test]
async fn a_gate_that_an_agent_wrote_is_kept_in_also_on_the_merged_result() {
    needs!(Bubblewrap);
    let mut fixture = Fixture::with(TEAM, |settings| behind(settings, ConfineChoice::Bwrap)).await;
    let evil = "do: printf 'echo evil > ../../../evil.txt; git branch -D other; exit 0\\n' > gate.sh && git add -A && git commit -qm gate";
    fixture.git.git(&["branch", "other"]);
    let id = fixture.start("Gate", evil).await;
    fixture.until_in(id, Stage::Done).await;
    assert!(!fixture.git.root().join("evil.txt").exists());
    assert_eq!(fixture.git.git(&["branch", "--list", "other", "--format=%(refname:short)"]), "other");
}

#[tokio::test]
async fn a_branch_that_its_own_agent_deleted_blocks_the_story_and_its_imported_work_is_kept() {
    let mut fixture = Fixture::new().await;
    // Past the hooks, and only after storkit has seen the commit: at the second run.
    let gone = "again: env -u GIT_CONFIG_COUNT git -c core.hooksPath=/dev/null update-ref -d refs/heads/feature/story-1_gone/work";
    let id = fixture.start("Gone", &format!("{WORK}\nreview: reject look again\n{gone}")).await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("branch is gone"), "{why}");
    let mut fixture = fixture.restart().await;
    fixture.pipeline.retry(id, super::fixture::ann()).await.expect("it goes on");
    let prepared = |event: &PipelineEvent| {
        matches!(event, PipelineEvent::RunPhase { phase: crate::event::RunPhase::Working, .. })
    };
    fixture.until("the worktree is made again", prepared).await;
    assert_eq!(fixture.git.git(&["log", "--format=%s", "-1", "feature/story-1_gone/work"]), "x");
    fixture.pipeline.shutdown().await;
}

#[tokio::test]
async fn history_is_rewritten_on_its_own_branch_only_and_told() {
    let mut fixture = Fixture::new().await;
    let again = "again: echo y > y.txt && git add -A && git commit -q --amend -m rewritten";
    let id = fixture.start("Rewrites", &format!("{WORK} && touch broken && git add -A && git commit -qm broken\n{again} && git rm -q broken && git commit -q --amend -m mended")).await;
    fixture.until_in(id, Stage::Done).await;
    let told = |event: &PipelineEvent| matches!(event, PipelineEvent::RunSaid { line, .. } if line.text.contains("rewrote the history"));
    assert_eq!(fixture.told(told), 1);
    assert_eq!(fixture.git.read("y.txt"), "y\n");
}

#[tokio::test]
async fn a_gigabyte_that_is_left_lying_about_is_asked_for_and_never_merged() {
    let mut fixture = Fixture::new().await;
    let big = "do: truncate -s 1G big.bin && echo x > x.txt && git add x.txt && git commit -qm x";
    let id = fixture.start("Litter", big).await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("1 file was left uncommitted, also after a reminder"), "{why}");
    assert!(fixture.prompts().iter().any(|prompt| prompt.contains("- `big.bin`")));
    assert_eq!(fixture.stage(id), Some(Stage::Current));
}

#[tokio::test]
#[allow(clippy::print_stderr)]
async fn a_full_disk_stops_all_runs_with_numbers_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: this user may not mount a small disk");
        return;
    };
    let git = crate::worktree::fixture::WorktreeFixture::within(disk.path());
    let mut fixture = Fixture::on(git, |_| ()).await;
    let id = fixture.start("Full", WORK).await;
    let paused = |event: &PipelineEvent| matches!(event, PipelineEvent::Paused { why: Some(why) } if why.contains("Too little space"));
    fixture.until("it is said", paused).await;
    let story = fixture.pipeline.snapshot().board.story(id).cloned().expect("it is there");
    assert_eq!((story.stage, story.front.retry_count), (Stage::Current, 0));
    fixture.pipeline.shutdown().await;
    drop((fixture, disk));
}
