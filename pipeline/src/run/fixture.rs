//! One run of an agent on a real repository, with a CLI that is a shell script.

use std::{
    fs,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, SystemTime},
};

use agents::{
    claude::PermissionRoute,
    confine::{ConfineChoice, WallSettings},
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{RunContext, RunControl, RunEnd, RunOutcome, RunPlan, RunUpdate, job::RunJob, start};
use crate::{
    board::WorkFolder,
    config::{Agent, ProjectConfig},
    event::{RunInfo, RunPhase},
    guard::OwnCommits,
    host::{AgentSettings, PipelineHost, RunAccess},
    ledger::RunLedger,
    mailbox::RunMailbox,
    story::{
        Story, StoryDocument, StoryId,
        stage::{Role, Stage},
    },
    strangers::StrangersRead,
    worktree::{Worktree, WorktreeName, fixture::WorktreeFixture},
};

pub(super) const STORY: StoryId = StoryId(7);

/// The branch of [`STORY`].
pub(super) const BRANCH: &str = "feature/story-7_x/work";

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the arguments of the CLI and defines what a test's script says: `turn` is the number of the process in its run, from 1, and
/// `result SUBTYPE IS_ERROR STATUS TEXT` ends it.
const CLI: &str = r#"
for word; do
    case $before in --session-id | --resume) session=$word ;; esac
    before=$word
done
# A review gets none of the settings' variables.
STAND_IN=${STAND_IN:-$PWD/stand-in}
mkdir -p "$STAND_IN"
turn=$(($(cat "$STAND_IN/turns" 2>/dev/null || echo 0) + 1))
echo "$turn" > "$STAND_IN/turns"
printf '%s\n' "$@" > "$STAND_IN/arguments-$turn"
printf '{"type":"system","subtype":"init","session_id":"%s"}\n' "$session"
say() { printf '{"type":"assistant","message":{"content":[{"type":"text","text":"%s"}]}}\n' "$*"; }
commit() { echo "$*" > "$1.txt"; git add -A; git commit -q -m "$*"; }
unguarded() { (cd ../../.. && env -u GIT_CONFIG_COUNT git -c core.hooksPath=/dev/null -c user.name=coder -c user.email=coder@agents.storkit.invalid "$@"); }
result() {
    printf '{"type":"result","subtype":"%s","is_error":%s,"api_error_status":%s,"result":"%s","session_id":"%s",' \
        "${1:-success}" "${2:-false}" "${3:-null}" "${4:-done}" "$session"
    printf '"total_cost_usd":%s,"usage":{"input_tokens":10,"output_tokens":5}}\n' "${cost:-0.5}"
}
"#;

/// Waits for ever, and says before that it does.
pub(super) const HANGS: &str = "say waiting; exec sleep 600";

/// A story, an agent that works on it without a sandbox, and no gates.
pub(super) struct RunFixture {
    pub git: WorktreeFixture,
    pub context: RunContext,
    pub plan: RunPlan,
    work: Arc<WorkFolder>,
    place: tempfile::TempDir,
}

/// A run under way.
pub(super) struct LivingRun {
    pub control: RunControl,
    updates: mpsc::Receiver<RunUpdate>,
    handle: JoinHandle<RunEnd>,
    seen: Vec<RunUpdate>,
}

/// A run that is over, and all that it reported.
pub(super) struct FinishedRun {
    pub end: RunEnd,
    pub updates: Vec<RunUpdate>,
}

struct TestHost(PermissionRoute);

impl PipelineHost for TestHost {
    fn open(&self, _run: &RunInfo, _read: &StrangersRead, _mailbox: &RunMailbox) -> RunAccess {
        let waiting = Arc::new(AtomicUsize::new(0));
        RunAccess { route: self.0.clone(), waiting, trials: Default::default(), guard: Box::new(()) }
    }

    fn has_secret(&self, _content: &[u8]) -> bool {
        false
    }
}

impl RunFixture {
    /// A run of a coder whose CLI does this.
    pub(super) fn coder(script: &str) -> Self {
        Self::new(Role::Coder, Stage::Current, script)
    }

    /// A run of a reviewer whose CLI does this.
    pub(super) fn reviewer(script: &str) -> Self {
        Self::new(Role::Qa, Stage::Qa, script)
    }

    /// A run of a mergemaster whose CLI does this, in the worktree of a conflict.
    pub(super) fn mergemaster(script: &str) -> Self {
        let fixture = Self::new(Role::Mergemaster, Stage::Merge, script);
        fixture.git.worktrees();
        fixture.git.git(&["worktree", "add", "-q", "--detach", ".storkit/worktrees/merge-7"]);
        fixture
    }

    fn new(role: Role, stage: Stage, script: &str) -> Self {
        let git = WorktreeFixture::new();
        let place = tempfile::tempdir().expect("a folder");
        let program = place.path().join("claude");
        fs::write(&program, format!("{CLI}{script}\n")).expect("the CLI");
        let text = |path: &std::path::Path| path.to_str().expect("text").to_owned();
        let settings = AgentSettings {
            command: vec!["/bin/sh".into(), text(&program)],
            model: String::new(),
            env: [("STAND_IN".to_owned(), text(place.path()))].into(),
            secret_env: Vec::new(),
            model_access: Default::default(),
            home: git.root().with_file_name("home"),
            wall: WallSettings { confine: ConfineChoice::None, ..WallSettings::default() },
            trust: git.trust(),
            stall: Duration::ZERO,
            trust_project_settings: false,
            busy_wait: Duration::ZERO,
            settle: Duration::ZERO,
        };
        let work = WorkFolder::open(&git.project).expect("a folder");
        let story = "---\nname: Fix the door\n---\n# Fix the door\n";
        fs::write(work.dir().join(stage.dir()).join("7_story_x.md"), story).expect("a story");
        let context = RunContext {
            project: git.project.clone(),
            settings: Arc::new(settings),
            host: Arc::new(TestHost(PermissionRoute::Control)),
            own: OwnCommits::default(),
            ledger: RunLedger::open(&git.project).expect("a ledger"),
            worktrees: git.worktrees(),
        };
        let document = StoryDocument::parse(story).expect("a story");
        let file = "7_story_x.md".parse().expect("a name");
        let agent = Agent::new("agent", role);
        let plan = RunPlan {
            run: info(&context.ledger, role),
            story: Arc::new(Story::new(file, stage, SystemTime::UNIX_EPOCH, document)),
            text: String::new(),
            agent,
            config: Arc::new(ProjectConfig { gates: Vec::new(), ..ProjectConfig::default() }),
            base: "main".into(),
            feedback: None,
            resume: None,
            is_edited: false,
            budget_usd: None,
            review: None,
            memory: String::new(),
            plans: false,
            read: StrangersRead::default(),
            in_quarantine: false,
        };
        Self { git, context, plan, work: Arc::new(work), place }
    }

    pub(super) fn settings(&mut self) -> &mut AgentSettings {
        Arc::make_mut(&mut self.context.settings)
    }

    pub(super) fn config(&mut self) -> &mut ProjectConfig {
        Arc::make_mut(&mut self.plan.config)
    }

    /// Permission questions and tools of the runs go there from now on.
    pub(super) fn route(&mut self, route: PermissionRoute) {
        self.context.host = Arc::new(TestHost(route));
    }

    /// The next run of the same agent on the same story.
    pub(super) fn next(&mut self) {
        self.plan.run = info(&self.context.ledger, self.plan.run.role);
    }

    pub(super) fn begin(&self) -> LivingRun {
        let (control, updates, handle) =
            start(self.context.clone(), Arc::clone(&self.work), self.plan.clone());
        LivingRun { control, updates, handle, seen: Vec::new() }
    }

    pub(super) async fn run(&self) -> FinishedRun {
        self.begin().end().await
    }

    /// The parts of a run that does not run.
    pub(super) fn job(&self) -> (RunJob, RunControl, mpsc::Receiver<RunUpdate>) {
        let (told, updates) = mpsc::channel(100);
        let (control, signals) = RunControl::pair();
        (RunJob::new(self.context.clone(), self.plan.clone(), told, signals), control, updates)
    }

    /// The arguments of the CLI's process of this number; `None` where there was none.
    pub(super) fn arguments(&self, turn: usize) -> Option<String> {
        fs::read_to_string(self.place.path().join(format!("arguments-{turn}"))).ok()
    }

    /// The value of an option of that process.
    pub(super) fn option(&self, turn: usize, name: &str) -> Option<String> {
        let arguments = self.arguments(turn)?;
        arguments.lines().skip_while(|line| *line != name).nth(1).map(str::to_owned)
    }

    /// The story's worktree, as a run prepares it.
    pub(super) fn worktree(&self) -> Worktree {
        let name = WorktreeName::parse("7_x").expect("a name");
        self.context.worktrees.prepare(&name, "main", &self.plan.run.slot).expect("a worktree")
    }

    pub(super) fn tip(&self, branch: &str) -> String {
        self.git.git(&["rev-parse", branch])
    }
}

fn info(ledger: &RunLedger, role: Role) -> RunInfo {
    RunInfo {
        id: ledger.next(STORY, "agent"),
        branch: None,
        story: STORY,
        title: "Fix the door".into(),
        slot: "agent".into(),
        agent: "agent".into(),
        role,
        since: SystemTime::now(),
        phase: RunPhase::Preparing,
        pid: None,
        session: None,
        cost_usd: 0.0,
    }
}

impl LivingRun {
    /// Waits until the run reports this line of its log.
    pub(super) async fn until_said(&mut self, line: &str) {
        let is_wanted = |update: &RunUpdate| matches!(update, RunUpdate::Line(said) if said.text == line);
        while !self.seen.last().is_some_and(is_wanted) {
            let next = tokio::time::timeout(PATIENCE, self.updates.recv()).await;
            self.seen.push(next.expect("it comes").expect("the run lives"));
        }
    }

    /// Waits for something on disk.
    pub(super) async fn until(&self, holds: impl Fn() -> bool) {
        let waiting = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it comes");
    }

    pub(super) async fn end(mut self) -> FinishedRun {
        let ended = async {
            while let Some(update) = self.updates.recv().await {
                self.seen.push(update);
            }
            self.handle.await.expect("no panic")
        };
        let end = tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
        FinishedRun { end, updates: self.seen }
    }
}

impl FinishedRun {
    pub(super) fn outcome(&self) -> &RunOutcome {
        &self.end.outcome
    }

    pub(super) fn phases(&self) -> Vec<RunPhase> {
        let phases = self.updates.iter().filter_map(|update| match update {
            RunUpdate::Phase(phase) => Some(phase.clone()),
            _ => None,
        });
        phases.collect()
    }

    /// The lines of its log, as they were reported.
    pub(super) fn said(&self) -> Vec<&str> {
        let said = self.updates.iter().filter_map(|update| match update {
            RunUpdate::Line(line) => Some(line.text.as_str()),
            _ => None,
        });
        said.collect()
    }

    pub(super) fn alarms(&self) -> Vec<&str> {
        let alarms = self.updates.iter().filter_map(|update| match update {
            RunUpdate::Alarm(text) => Some(text.as_str()),
            _ => None,
        });
        alarms.collect()
    }
}
