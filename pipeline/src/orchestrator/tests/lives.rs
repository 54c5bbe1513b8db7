//! Lives that go as they should, and those that come back.

use std::{os::unix::fs::MetadataExt as _, time::Duration};

use super::fixture::{Fixture, TEAM, ann};
use crate::{
    event::{MergeView, PipelineEvent, RunPhase, WantedDecision},
    handle::{StartResult, StopTarget},
    merge::MergeProof,
    story::{
        StoryKind,
        stage::{Role, Stage},
    },
    verdict::ReviewDecision,
};

/// A coder's work in one line.
fn writes(file: &str, text: &str) -> String {
    format!("do: echo '{text}' > {file} && git add -A && git commit -qm '{file}'")
}

#[tokio::test]
async fn a_story_is_written_reviewed_merged_and_leaves_nothing_behind() {
    let mut fixture = Fixture::new().await;
    let id = fixture.start("Fix the door", &writes("door.txt", "open")).await;
    fixture.until_in(id, Stage::Qa).await;
    let why = fixture.until_in(id, Stage::Merge).await;
    assert_eq!(why.as_deref(), Some("approved by qa"));
    fixture.until_in(id, Stage::Done).await;
    assert_eq!(fixture.git.read("door.txt"), "open\n");
    // The watcher may see the file in `5_done` before the merge is settled; the proof is written last.
    let merged =
        |event: &PipelineEvent| matches!(event, PipelineEvent::Merge { merge: MergeView::Merged { .. }, .. });
    fixture.until("the merge has ended", merged).await;
    let proof = MergeProof::read(&fixture.git.root(), id).expect("a proof").expect("a proof");
    assert_eq!(fixture.git.git(&["rev-parse", "main"]), proof.commit);
    assert_eq!(fixture.outcomes(), ["1 coder: committed, and the gates passed", "1 qa: approved"]);
    fixture.until_clean().await;
    assert_eq!(fixture.git.git(&["branch", "--list", "feature/*"]), "");
    assert!(crate::audit::audit(&fixture.git.project, "main").expect("an audit").is_empty());
    assert_eq!(fixture.git.git(&["log", "--merges", "--oneline"]), "", "base is linear");
}

#[tokio::test]
async fn a_run_that_made_no_commit_fails_at_once_and_is_given_up_after_its_retries() {
    let mut fixture = Fixture::new().await;
    let id = fixture.start("Nothing", "do: true").await;
    let why = fixture.until_asked(id).await;
    assert_eq!(why, "Story 1: its retries are used up: no commit was made.");
    assert_eq!(fixture.outcomes(), vec!["1 coder: no commit was made"; 3]);
    assert_eq!(fixture.stage(id), Some(Stage::Current));
    // The third try knew why the second came back.
    assert!(fixture.prompts()[2].contains("<feedback>\nno commit was made"), "{:?}", fixture.prompts());
}

#[tokio::test]
async fn work_that_is_not_committed_is_asked_for_once() {
    let mut fixture = Fixture::new().await;
    let body = "do: echo x > x.txt\nagain: git add -A && git commit -qm x";
    let id = fixture.start("Forgets", body).await;
    fixture.until_in(id, Stage::Done).await;
    assert!(fixture.prompts()[1].contains("- `x.txt`"), "{:?}", fixture.prompts());
    assert_eq!(fixture.outcomes()[0], "1 coder: committed, and the gates passed");
}

#[tokio::test]
async fn a_red_gate_comes_back_with_its_output_and_the_same_session_mends_it() {
    let mut fixture = Fixture::new().await;
    let body = format!(
        "{} && touch broken && git add -A && git commit -qm broken\nagain: git rm -q broken && git commit -qm mended",
        writes("x.txt", "x")
    );
    let id = fixture.start("Breaks", &body).await;
    fixture.until_in(id, Stage::Done).await;
    assert!(
        fixture.outcomes()[0].contains("the gate `sh gate.sh` failed with code 1"),
        "{:?}",
        fixture.outcomes()
    );
    assert!(fixture.prompts()[1].starts_with("Story 1 came back to you."), "{:?}", fixture.prompts());
}

#[tokio::test]
async fn a_rejection_goes_back_with_its_reason_and_too_many_ask_a_person() {
    let mut fixture = Fixture::new().await;
    let body = format!(
        "{}\nagain: git commit -q --allow-empty -m again\nreview: reject no tests",
        writes("x.txt", "x")
    );
    let id = fixture.start("Rejected", &body).await;
    let why = fixture.until_asked(id).await;
    assert_eq!(why, "Story 1: blocked: sent back 3 times, the last time for: no tests.");
    assert!(fixture.prompts().iter().any(|prompt| prompt.contains("<feedback>\nno tests")));
    assert_eq!(fixture.stage(id), Some(Stage::Current));
}

#[tokio::test]
async fn a_review_without_a_word_is_no_approval() {
    let mut fixture = Fixture::new().await;
    let id = fixture.start("Silent", &format!("{}\nreview: nothing", writes("x.txt", "x"))).await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("the review ended without a decision"), "{why}");
    assert_eq!(fixture.stage(id), Some(Stage::Qa));
}

#[tokio::test]
async fn a_reviewer_changes_nothing() {
    let mut fixture = Fixture::new().await;
    let sly = "qa: echo evil > evil.txt && git add -A && git commit -qm evil; echo more > more.txt";
    let id = fixture.start("Sly", &format!("{}\n{sly}", writes("x.txt", "x"))).await;
    fixture.until_in(id, Stage::Done).await;
    assert_eq!(fixture.git.read("x.txt"), "x\n");
    assert!(!fixture.git.root().join("evil.txt").exists());
}

#[tokio::test]
async fn manual_qa_waits_for_a_person_who_accepts_or_rejects() {
    let mut fixture = Fixture::new().await;
    let body = format!("{}\nagain: git commit -q --allow-empty -m again", writes("x.txt", "x"));
    let id = fixture.create("Held", &body).await;
    let change = crate::handle::StoryChange { manual_qa: Some(true), ..Default::default() };
    fixture.pipeline.update(id, change, ann()).await.expect("it is changed");
    fixture.pipeline.start(id, None, ann()).await.expect("it starts");
    let asked = |event: &PipelineEvent| {
        matches!(event, PipelineEvent::NeedsPerson { wanted: WantedDecision::Review, .. })
    };
    fixture.until("a person is asked", asked).await;
    assert_eq!(fixture.stage(id), Some(Stage::Qa));
    fixture.pipeline.review(id, ReviewDecision::Rejected("too short".into()), ann()).await.expect("rejected");
    fixture.until_in(id, Stage::Current).await;
    let twice = |fixture: &Fixture| fixture.told(asked) >= 2;
    while !twice(&fixture) {
        let seen = fixture.told(|_| true);
        fixture.until_new("asked again", seen, asked).await;
    }
    assert!(fixture.prompts().last().is_some_and(|prompt| prompt.contains("too short")));
    fixture.pipeline.review(id, ReviewDecision::Approved, ann()).await.expect("accepted");
    fixture.until_in(id, Stage::Done).await;
    assert!(!fixture.outcomes().iter().any(|outcome| outcome.contains("qa")), "{:?}", fixture.outcomes());
}

#[tokio::test]
async fn two_stories_that_add_to_the_same_file_both_merge() {
    let mut fixture = Fixture::new().await;
    let line = |text: &str| format!("do: echo {text} >> a.txt && git commit -qam {text}");
    let one = fixture.start("One", &line("one")).await;
    let two = fixture.start("Two", &line("two")).await;
    fixture.until_in(one, Stage::Done).await;
    fixture.until_in(two, Stage::Done).await;
    let mut lines: Vec<String> = fixture.git.read("a.txt").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["a", "one", "two"]);
}

#[tokio::test]
async fn a_true_conflict_goes_to_the_mergemaster_and_then_on() {
    let mut fixture = Fixture::new().await;
    let line = |text: &str| {
        format!(
            "do: echo {text} > a.txt && git commit -qam {text}\nmerge: echo both > a.txt && git add a.txt"
        )
    };
    let one = fixture.start("One", &line("one")).await;
    let two = fixture.start("Two", &line("two")).await;
    fixture.until_in(one, Stage::Done).await;
    fixture.until_in(two, Stage::Done).await;
    assert_eq!(fixture.git.read("a.txt"), "both\n");
    let merger = |outcome: &&String| outcome.contains("merger: resolved the conflicts");
    assert_eq!(fixture.outcomes().iter().filter(merger).count(), 1, "{:?}", fixture.outcomes());
    fixture.until_clean().await;
    assert!(crate::audit::audit(&fixture.git.project, "main").expect("an audit").is_empty());
}

#[tokio::test]
async fn a_conflict_that_nobody_resolves_is_a_merge_failure_and_never_assigned_again() {
    let mut fixture = Fixture::new().await;
    let line = |text: &str| format!("do: echo {text} > a.txt && git commit -qam {text}\nmerge: true");
    let one = fixture.start("One", &line("one")).await;
    let two = fixture.start("Two", &line("two")).await;
    let done = |event: &PipelineEvent| matches!(event, PipelineEvent::StoryMoved { to: Stage::Done, .. });
    fixture.until("one is done", done).await;
    let loser = if fixture.stage(one) == Some(Stage::Done) { two } else { one };
    let why = fixture.until_asked(loser).await;
    assert!(why.contains("its merge failed: conflicts are left after 3 attempts"), "{why}");
    fixture.pipeline.rescan().await.expect("a look");
    assert_eq!(fixture.pipeline.snapshot().runs, [], "nobody works on it");
    assert_eq!(fixture.stage(loser), Some(Stage::Merge));
    let refused = fixture.pipeline.merge(loser, ann()).await.expect_err("it is refused");
    assert!(refused.to_string().contains("A person can use `retry"), "{refused}");
}

#[tokio::test]
async fn an_empty_merge_never_reaches_done() {
    let mut fixture = Fixture::new().await;
    let id = fixture.start("Empty", "do: git commit -q --allow-empty -m nothing").await;
    let why = fixture.until_asked(id).await;
    assert!(why.contains("nothing was merged"), "{why}");
    assert_eq!(fixture.stage(id), Some(Stage::Merge));
    assert!(MergeProof::read(&fixture.git.root(), id).expect("readable").is_none());
}

#[tokio::test]
async fn two_starts_of_one_merge_and_a_merge_of_a_story_elsewhere_are_refused() {
    let mut fixture = Fixture::new().await;
    // Only the merge's own gates wait.
    let gate = "case $PWD in */worktrees/merge) mkfifo ../../hold; read x < ../../hold;; esac\n";
    fixture.git.write("gate.sh", gate);
    fixture.git.git(&["commit", "-qam", "a slow gate"]);
    let id = fixture.create("Early", "do: true").await;
    let refused = fixture.pipeline.merge(id, ann()).await.expect_err("it is in the backlog");
    assert_eq!(refused.to_string(), "story 1 is in backlog; only one in merge is merged.");
    let id = fixture.start("Slow", &writes("x.txt", "x")).await;
    let merging = |event: &PipelineEvent| {
        matches!(
            event,
            PipelineEvent::Merge { merge: MergeView::Queued { .. } | MergeView::Running { .. }, .. }
        )
    };
    fixture.until("the merge is queued", merging).await;
    let second = fixture.pipeline.merge(id, ann()).await;
    assert!(second.is_err(), "{second:?}");
}

#[tokio::test]
async fn a_busy_service_is_waited_for_and_is_no_failure() {
    let mut fixture = Fixture::new().await;
    let id = fixture.start("Busy", "do: true\nresult: 529").await;
    let why = fixture.until_asked(id).await;
    assert_eq!(why, "Story 1: blocked: the model's service was busy 5 times in a row.");
    let story = fixture.pipeline.snapshot().board.story(id).cloned().expect("it is there");
    assert_eq!(story.front.retry_count, 0);
    assert_eq!(fixture.outcomes(), vec!["1 coder: the model's service is busy"; 6]);
}

/// Whether somebody is free while there is work for them.
fn idle_beside_work(fixture: &Fixture) -> bool {
    let now = fixture.pipeline.snapshot();
    let waits = |stage| {
        let taken = |id| now.runs.iter().any(|run| run.story == id) || now.holds.contains_key(&id);
        now.board.in_stage(stage).any(|story| !taken(story.id()))
    };
    now.workers.iter().filter(|worker| worker.busy_with.is_none()).any(|worker| match worker.role {
        Role::Coder => waits(Stage::Current),
        Role::Qa => waits(Stage::Qa),
        Role::Mergemaster | Role::Supervisor => false,
    })
}

#[tokio::test]
async fn every_end_offers_work_to_all_free_agents() {
    // Nothing is heard of files, so that only the end of a run can be what starts the next one.
    let mut fixture = Fixture::with(TEAM, |settings| settings.settle = Duration::from_secs(3600)).await;
    for number in 1..=5 {
        fixture.start(&format!("Story {number}"), &writes(&format!("{number}.txt"), "x")).await;
    }
    let ended = |event: &PipelineEvent| matches!(event, PipelineEvent::RunEnded { .. });
    while fixture.told(ended) < 10 {
        let seen = fixture.told(|_| true);
        fixture.until_new("a run ends", seen, ended).await;
        assert!(!idle_beside_work(&fixture), "{}", fixture.story_so_far());
    }
    let workers: std::collections::BTreeSet<String> =
        fixture.pipeline.ledger().entries().into_iter().map(|entry| entry.slot).collect();
    assert_eq!(workers.into_iter().collect::<Vec<_>>(), ["coder", "coder-2", "qa"]);
}

#[tokio::test]
async fn waiting_for_a_busy_service_is_no_stall() {
    let mut fixture = Fixture::with(TEAM, |settings| settings.stall = Duration::from_secs(3)).await;
    let id = fixture.start("Patient", &format!("retry: 5\n{}", writes("x.txt", "x"))).await;
    fixture.until_in(id, Stage::Qa).await;
    assert_eq!(fixture.outcomes(), ["1 coder: committed, and the gates passed"]);
    let busy =
        |event: &PipelineEvent| matches!(event, PipelineEvent::RunPhase { phase: RunPhase::ServiceBusy, .. });
    assert_eq!(fixture.told(busy), 1);
}

/// A project whose gate needs what the front end's setup makes, and git ignores.
const FRONT_END: &str = r#"
[[component]]
name = "web"
path = "web"
setup = ["mkdir -p dist && cp page.html dist"]
teardown = ["cat dist/page.html >> ../../../../taken-down"]
[[component]]
name = "app"
path = "app"
setup = ["exit 1"]
"#;

#[tokio::test]
async fn the_gates_of_a_worktree_pass_though_git_has_no_built_front_end_or_none_at_all() {
    let git = crate::worktree::fixture::WorktreeFixture::new();
    git.write("gate.sh", "test -f web/dist/page.html\n");
    git.write(".gitignore", "dist\n");
    git.write("web/page.html", "page\n");
    git.write(".storkit/project.toml", &format!("{TEAM}{FRONT_END}"));
    git.git(&["add", "gate.sh", ".gitignore", "web", ".storkit/project.toml"]);
    git.git(&["commit", "-q", "-m", "a front end"]);
    git.confirm();
    let mut fixture = Fixture::on(git, |_| ()).await;
    let id = fixture.start("Greets", &writes("x.txt", "x")).await;
    fixture.until_in(id, Stage::Done).await;
    fixture.until_clean().await;
    assert_eq!(fixture.git.read("taken-down"), "page\n", "the component was taken down once");
}

#[tokio::test]
async fn a_stopped_story_waits_until_a_person_says_start() {
    let mut fixture = Fixture::new().await;
    let body =
        format!("do: mkfifo ../../../hold; read x < ../../../hold\nagain: true\n{}", writes("x.txt", "x"));
    let id = fixture.start("Long", &body).await;
    let working = |event: &PipelineEvent| {
        matches!(event, PipelineEvent::RunPhase { phase: crate::event::RunPhase::Working, .. })
    };
    fixture.until("it works", working).await;
    let stopped = fixture.pipeline.stop(StopTarget::Story(id), ann()).await.expect("it stops");
    assert_eq!(stopped.len(), 1);
    assert_eq!(fixture.pipeline.snapshot().runs, []);
    assert_eq!(fixture.until_asked(id).await, "Story 1: blocked: stopped by Ann.");
    let again = fixture.pipeline.start(id, None, ann()).await.expect("it starts again");
    assert!(matches!(again, StartResult::Running(_)), "{again:?}");
    fixture.pipeline.shutdown().await;
}

#[tokio::test]
async fn a_story_is_deleted_with_all_that_belongs_to_it() {
    let mut fixture = Fixture::new().await;
    let id = fixture.start("Gone", "do: mkfifo ../../../hold; read x < ../../../hold").await;
    let working = |event: &PipelineEvent| {
        matches!(event, PipelineEvent::RunPhase { phase: crate::event::RunPhase::Working, .. })
    };
    fixture.until("it works", working).await;
    let deleted = fixture.pipeline.delete(id, ann()).await.expect("it is deleted");
    assert_eq!(deleted.stopped.as_deref(), Some("coder"));
    assert!(deleted.worktree && deleted.branch.is_some(), "{deleted:?}");
    assert_eq!(fixture.git.git(&["branch", "--list", "feature/*"]), "");
    assert_eq!(fixture.stage(id), None);
    fixture.until_clean().await;
    assert_eq!(
        fixture.pipeline.create(StoryKind::Bug, "Next", None, ann()).await.expect("a story").id().0,
        2
    );
}

#[tokio::test]
async fn money_that_is_spent_blocks_and_retry_grants_as_much_again() {
    let team = format!("{TEAM}\n[budget]\nstory_usd = 0.4\n");
    let mut fixture = Fixture::with(&team, |_| ()).await;
    let id = fixture.start("Dear", "do: true").await;
    let why = fixture.until_asked(id).await;
    assert!(why.starts_with("Story 1: blocked: the budget (`story_usd`, $0.40) is spent"), "{why}");
    assert_eq!(fixture.pipeline.ledger().entries().len(), 2, "0.25 each");
    fixture.pipeline.retry(id, ann()).await.expect("it goes on");
    let runs = |event: &PipelineEvent| matches!(event, PipelineEvent::RunEnded { .. });
    while fixture.told(runs) < 3 {
        let seen = fixture.told(|_| true);
        fixture.until_new("a third run", seen, runs).await;
    }
}

#[tokio::test]
async fn words_about_money_in_a_reason_move_none() {
    let team = format!("{TEAM}\n[budget]\nstory_usd = 0.4\n");
    let mut fixture = Fixture::with(&team, |_| ()).await;
    let body = format!(
        "{}\nagain: git commit -q --allow-empty -m again\nreview: reject raise the budget",
        writes("x.txt", "x")
    );
    let id = fixture.create("Greedy", &body).await;
    let file = fixture.git.root().join(".storkit/work/1_backlog/1_story_greedy.md");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let blocked = text.replacen("---\n", "---\nblocked: sent back for the budget\n", 1);
    std::fs::write(&file, blocked).expect("written");
    let held = std::fs::rename(&file, fixture.git.root().join(".storkit/work/2_current/1_story_greedy.md"));
    held.expect("moved");
    let asked = |event: &PipelineEvent| matches!(event, PipelineEvent::NeedsPerson { wanted: WantedDecision::Retry, why, .. } if why.contains("the budget"));
    fixture.until("a person is asked to look, not to pay", asked).await;
    fixture.pipeline.retry(id, ann()).await.expect("it goes on");
    let spent = |event: &PipelineEvent| {
        matches!(event, PipelineEvent::NeedsPerson { wanted: WantedDecision::Budget, .. })
    };
    fixture.until("its budget is spent", spent).await;
    assert_eq!(fixture.pipeline.ledger().entries().len(), 2, "0.25 each: nothing was granted");
}

#[tokio::test]
async fn a_session_goes_on_after_a_red_gate_and_not_after_words_about_gates() {
    let mut fixture = Fixture::new().await;
    let body = format!("do: echo investigate the gate\nagain: {}", &writes("x.txt", "x")[4..]);
    let id = fixture.start("Ghost", &body).await;
    fixture.until_in(id, Stage::Qa).await;
    let sessions: std::collections::BTreeSet<Option<String>> =
        fixture.pipeline.ledger().of_story(id).into_iter().map(|entry| entry.session).collect();
    assert_eq!(sessions.len(), 2, "the second try begins with a new session: {:?}", fixture.prompts());
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let fixture = Fixture::new().await;
    let hold =
        "do: test -e ../../../went || { mkfifo ../../../hold; touch ../../../went; read x < ../../../hold; }";
    let id = fixture.start("Cut", &format!("{hold}\n{}", writes("x.txt", "x"))).await;
    let went = fixture.git.root().join("went");
    fixture.until_true("it works", || went.exists()).await;
    let mut fixture = fixture.restart().await;
    fixture.until_in(id, Stage::Done).await;
    assert_eq!(fixture.git.read("x.txt"), "x\n");
    let outcomes: Vec<String> =
        fixture.pipeline.ledger().of_story(id).into_iter().map(|entry| entry.summary.outcome).collect();
    assert_eq!(outcomes[0], "storkit was shut down");
}

#[tokio::test]
async fn a_done_story_is_archived_after_its_time_also_in_a_clone_without_its_proof() {
    let mut fixture = Fixture::with(&format!("sweep_after = \"1s\"\n{TEAM}"), |_| ()).await;
    let id = fixture.start("Old", &writes("x.txt", "x")).await;
    fixture.until_in(id, Stage::Done).await;
    fixture.until_clean().await;
    let work = fixture.git.root().join(".storkit/work");
    let done = std::fs::metadata(work.join("5_done/1_story_old.md")).expect("it is there");
    let changed = Duration::from_secs(done.ctime().cast_unsigned() + 1);
    let old = || std::time::UNIX_EPOCH.elapsed().is_ok_and(|now| now > changed + Duration::from_secs(1));
    fixture.until_true("it is old", old).await;
    std::fs::remove_dir_all(fixture.git.root().join(".storkit/proofs")).expect("they are removed");
    let mut fixture = fixture.restart().await;
    fixture.until_in(id, Stage::Archived).await;
    let archived = ".storkit/work/6_archived/1_story_old.md";
    let committed =
        || fixture.on_board() == archived && fixture.git.git(&["status", "--porcelain"]).is_empty();
    fixture.until_true("it is committed and nothing is left to commit", committed).await;
}

#[tokio::test]
async fn a_file_put_into_done_by_hand_is_seen_and_not_committed() {
    let mut fixture = Fixture::new().await;
    let id = fixture.create("Liar", "do: true").await;
    fixture.until_on_board(".storkit/work/1_backlog/1_story_liar.md").await;
    let work = fixture.git.root().join(".storkit/work");
    std::fs::rename(work.join("1_backlog/1_story_liar.md"), work.join("5_done/1_story_liar.md"))
        .expect("moved");
    let alarm = |event: &PipelineEvent| matches!(event, PipelineEvent::Alarm { story: Some(_), .. });
    fixture.until("an alarm", alarm).await;
    assert_eq!(fixture.stage(id), Some(Stage::Done));
    let board = fixture.on_board();
    assert!(!board.contains("5_done/1_story_liar.md"), "{board}");
}

#[tokio::test]
async fn a_missing_cli_stops_all_runs_is_said_once_and_blames_no_story() {
    let mut program = std::path::PathBuf::new();
    let mut fixture = Fixture::with(TEAM, |settings| {
        program = settings.command[0].clone().into();
        std::fs::rename(&program, program.with_extension("away")).expect("it is gone");
    })
    .await;
    let id = fixture.start("Waits", &writes("x.txt", "x")).await;
    let two = fixture.start("Waits too", &writes("y.txt", "y")).await;
    let paused = |event: &PipelineEvent| matches!(event, PipelineEvent::Paused { why: Some(why) } if why.contains("was not found"));
    fixture.until("it is said", paused).await;
    let idle = |fixture: &Fixture| fixture.pipeline.snapshot().runs.is_empty();
    fixture.until_true("the first tries end", || idle(&fixture)).await;
    fixture.pipeline.retry(id, ann()).await.expect("it is tried again");
    fixture.until_true("the second try ends", || idle(&fixture)).await;
    assert_eq!(fixture.told(paused), 1);
    std::fs::rename(program.with_extension("away"), &program).expect("it is back");
    fixture.pipeline.retry(id, ann()).await.expect("it goes on");
    fixture.until_in(id, Stage::Done).await;
    fixture.until_in(two, Stage::Done).await;
    assert_eq!(fixture.told(|event| matches!(event, PipelineEvent::Paused { why: None })), 1);
    assert!(fixture.pipeline.ledger().entries().iter().all(|entry| !entry.summary.failed));
}
