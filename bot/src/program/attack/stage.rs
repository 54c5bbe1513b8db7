//! The storkit that is attacked. It serves a project of its own like any other, and starts the attackers by the same ways
//! as agents, gates and components' commands.

use std::{
    any::Any,
    collections::BTreeMap,
    fs,
    future::Future,
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use adapters::{Adapter, Room, console};
use agents::{
    attacks::{self, ATTACKS, AttackFinding, AttackTargets, OperatorAccessTarget},
    claude::{AgentEvent, AgentProcess, PermissionRoute, PromptMode, ShellCommand},
    trial::{TrialPlace, TrialSlot},
    turn::RetryPolicy,
};
use parking_lot::Mutex;
use pipeline::{
    AttackedRun, AttackedSetting, Project,
    config::{Agent, Component, ProjectConfig},
    event::RunInfo,
    host::{PipelineHost, RunAccess},
    mailbox::RunMailbox,
    rooms::{RoomReadiness, RoomWorkspace},
    stage::Role,
    strangers::StrangersRead,
    trust::TrustStore,
};

use super::{
    living::LivingTargets,
    machine::{AttackedMachine, WatchedFile},
};
use crate::{
    chat::network::{RoomConnection, RoomSpending},
    clock::Clock,
    config::{
        BotConfig, LoadedConfig,
        access::{AccessTable, MessengerPeople},
    },
    http::{McpRun, host as http_host},
    permission::Asker,
    program::{
        app::{App, AppListeners, AppOptions},
        doctor::walls,
        harden,
        output::{complain, print},
        serve,
    },
    replies::attacks::{self as say, AttackReport, AttackedProcess, WalledKind},
    restart::RunningProgram,
};
use tokio_util::sync::CancellationToken;

/// How long all attacks from one process may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The room whose agent is the attacker.
const ROOM: &str = "attack:room";

/// Serves, has itself attacked, and prints the findings.
pub async fn run(machine: &AttackedMachine) -> ExitCode {
    match attacked(machine).await {
        Ok(report) => match serde_json::to_string(&report) {
            Ok(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Err(error) => complain(1, &say::not_tried(&error.to_string())),
        },
        Err(why) => complain(1, &say::not_tried(&why)),
    }
}

async fn attacked(machine: &AttackedMachine) -> Result<AttackReport, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let project = Project::open(&machine.project()).map_err(|error| text(&error))?;
    let path = project.dir().join("bot.toml");
    let mut loaded = BotConfig::load(&path, settings::environment::var).map_err(|error| text(&error))?;
    // As a storkit that serves does it.
    harden::start_without_secrets(&loaded).map_err(|error| text(&error))?;
    let inherited = harden::close_process().map_err(|error| text(&error))?;
    tokio::spawn(agents::adopted::reap_orphans());
    let program = std::env::current_exe().map_err(|error| text(&error))?;
    let exchange = machine.exchange();
    loaded.config.claude.command = [program.as_path(), attacks::SUBCOMMAND.as_ref(), &exchange]
        .map(|word| word.display().to_string())
        .into();
    loaded.config.wall.writable.push(exchange);
    let report = with_storkit(machine, &project, loaded).await;
    harden::end_descendants(&inherited);
    report
}

async fn with_storkit(
    machine: &AttackedMachine,
    project: &Project,
    loaded: LoadedConfig,
) -> Result<AttackReport, String> {
    let console = serve::console_of(project, &loaded);
    let trust = TrustStore::at(machine.folder().join("trust"));
    let options = AppOptions {
        project: project.clone(),
        loaded: loaded.clone(),
        adapters: vec![console.clone() as Arc<dyn Adapter>],
        listeners: AppListeners {
            webhooks: Vec::new(),
            page: None,
            checks_peer: agents::peer::check_tcp_peer,
        },
        access: AccessTable::default()
            .with(console::NAME, MessengerPeople { local: true, ..MessengerPeople::default() }),
        clock: Clock::system(),
        retry: RetryPolicy::default(),
        label: None,
        notices: Vec::new(),
        program: RunningProgram::running(),
        trust: trust.clone(),
    };
    let app = App::start(options).await.map_err(|error| error.to_string())?;
    console.set_mcp_config(app.operator_mcp_config());
    let living = LivingTargets::start(machine).map_err(|error| error.to_string())?;
    let mut targets = machine.targets().map_err(|error| error.to_string())?;
    living.add_to(&mut targets, machine);
    let socket = serve::socket(project);
    targets.operator = OperatorAccessTarget::this_process(socket, app.port(), operators_token(&app));
    let model_access = loaded.config.claude.model_access(&loaded.secret_env)?;
    let settings = http_host::settings(&loaded, trust, model_access);
    let command = quoted(&loaded.config.claude.command);
    let host = Arc::new(StageHost::new(&app));
    let config = config(machine, &command);
    let setting = AttackedSetting { project: project.clone(), settings, host: host.clone(), config };
    let attack = StagedAttack { machine, app: &app, setting, host, targets };
    let report = attack.all().await;
    app.shutdown().await;
    console.close("").await;
    drop(living);
    report.map_err(|error| error.to_string())
}

fn operators_token(app: &App) -> String {
    let config = app.operator_mcp_config();
    let header = config["mcpServers"]["storkit"]["headers"]["Authorization"].as_str().unwrap_or_default();
    header.trim_start_matches("Bearer ").to_owned()
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect::<Vec<_>>().join(" ")
}

/// The operator's settings of the network, with the attacker as gate and as a component's command.
fn config(machine: &AttackedMachine, command: &str) -> ProjectConfig {
    let text = fs::read_to_string(machine.settings_in_force()).unwrap_or_default();
    let parsed = ProjectConfig::parse(&text, Path::new("project.toml"), settings::environment::var);
    let real = parsed.map(|loaded| loaded.config).unwrap_or_default();
    let network =
        real.components.first().map_or(real.gate_network.clone(), |component| component.network.clone());
    let component =
        Component { name: "attack".into(), setup: vec![command.to_owned()], network, ..Component::default() };
    ProjectConfig { gates: vec![command.to_owned()], components: vec![component], base_branch: None, ..real }
}

/// Lets runs call in, and opens no host.
struct StageHost {
    url: String,
    runs: crate::http::McpRuns,
    /// Of the run that was opened last.
    trials: Mutex<TrialSlot>,
}

impl StageHost {
    fn new(app: &App) -> Self {
        let url = format!("http://127.0.0.1:{}/mcp", app.port());
        Self { url, runs: app.runs(), trials: Mutex::default() }
    }
}

impl PipelineHost for StageHost {
    fn open(&self, run: &RunInfo, _read: &StrangersRead, _mailbox: &RunMailbox) -> RunAccess {
        let guard = self.runs.open(McpRun { agent: Some(run.clone()), ..McpRun::default() });
        let route = PermissionRoute::Mcp { url: self.url.clone(), token: guard.token().to_owned() };
        let guard: Box<dyn Any + Send + Sync> = Box::new(guard);
        let trials = TrialSlot::default();
        *self.trials.lock() = trials.clone();
        RunAccess { route, waiting: Arc::default(), trials, guard }
    }

    fn has_secret(&self, _content: &[u8]) -> bool {
        false
    }
}

/// All attacks on one storkit.
struct StagedAttack<'a> {
    machine: &'a AttackedMachine,
    app: &'a App,
    setting: AttackedSetting,
    host: Arc<StageHost>,
    targets: AttackTargets,
}

impl StagedAttack<'_> {
    async fn all(&self) -> io::Result<AttackReport> {
        let mut report = AttackReport::default();
        report.processes.extend(self.rooms().await?);
        report.processes.extend(self.story().await?);
        report.processes.push(self.mergemaster().await?);
        report.without_wall = self.without_wall()?;
        Ok(report)
    }

    async fn rooms(&self) -> io::Result<Vec<AttackedProcess>> {
        let config = self.app.services().config();
        let wall = walls::chosen_wall(&config, &[]);
        let protects = wall.is_ok_and(|wall| wall.protects_parts());
        let is_worktree = |local| config.relay.workspace.is_worktree(local, protects);
        let mut found = Vec::new();
        if is_worktree(false) || is_worktree(true) {
            let entered = self.app.services().commands.pipeline.enter_room(ROOM, false).await;
            let workspace = match entered {
                Ok(RoomReadiness::Ready { workspace, .. }) => Ok(*workspace),
                Ok(RoomReadiness::NoBase(why)) => Err(why),
                Ok(RoomReadiness::Unchanged { .. } | RoomReadiness::Stale) => {
                    Err("The worktree is in use.".into())
                }
                Err(error) => Err(error.to_string()),
            };
            let kinds = (WalledKind::RoomInWorktree, WalledKind::TriedInWorktree);
            found.extend(self.room(kinds, workspace).await?);
        }
        if !is_worktree(true) || !is_worktree(false) {
            let workspace = self.app.services().commands.pipeline.checkout_for_room(ROOM).await;
            let kinds = (WalledKind::RoomInCheckout, WalledKind::TriedInCheckout);
            found.extend(self.room(kinds, workspace.map_err(|error| error.to_string())).await?);
        }
        Ok(found)
    }

    async fn room(
        &self,
        (kind, tried): (WalledKind, WalledKind),
        workspace: Result<RoomWorkspace, String>,
    ) -> io::Result<Vec<AttackedProcess>> {
        let connected = match workspace {
            Ok(workspace) => self.connection().open(&self.app.services().commands.pipeline, workspace).await,
            Err(why) => Err(why),
        };
        let workspace = match connected {
            Ok(workspace) => workspace,
            Err(why) => return Ok(vec![not_started(kind, why)]),
        };
        let wall = workspace.confined.confinement.name();
        let mut launch = self.app.services().launch_in(&workspace, None, None);
        launch.mode = PromptMode::OneShot { prompt: "attack".into() };
        let working = self.from(kind, async {
            let (process, mut events) =
                AgentProcess::start(launch).await.map_err(|error| error.to_string())?;
            while let Some(event) = events.recv().await {
                if matches!(event, AgentEvent::Exited(_)) {
                    break;
                }
            }
            process.end().await;
            Ok(wall)
        });
        let working = working.await?;
        Ok(vec![working, self.trial(tried, self.app.services().trial_place_in(&workspace)).await?])
    }

    /// A command of an agent that is tried before anybody has allowed it. What it writes is in layers, so it prints its findings.
    async fn trial(&self, kind: WalledKind, place: TrialPlace) -> io::Result<AttackedProcess> {
        if let Err(why) = place.can_try() {
            return Ok(not_started(kind, say::no_trials(why).to_owned()));
        }
        let findings = attacks::findings_file(&self.machine.exchange());
        let (command, printed) =
            (&self.app.services().config().claude.command, quoted(&[findings.display().to_string()]));
        let line = format!("{} && cat {printed}", quoted(command));
        let command = ShellCommand { line, in_background: false }.for_trial();
        self.from(kind, async {
            let tried = place.run(command, CancellationToken::new()).await;
            let tried = tried.map_err(|failure| say::trial_failed(&failure))?;
            fs::write(&findings, &tried.effect.output.head).map_err(|error| error.to_string())?;
            Ok(self.setting.settings.wall_name())
        })
        .await
    }

    /// The ways out of a room that nobody is in.
    fn connection(&self) -> RoomConnection {
        let services = self.app.services();
        let room = Room::new("attack", "room");
        RoomConnection {
            hosts: services.connections.hosts.clone(),
            asker: Asker::room(room.clone()),
            room,
            waiting: Arc::default(),
            access: services.config().relay.network_access(),
            meter: RoomSpending::below(&services.connections.day).meter(),
            base: services.base(),
        }
    }

    async fn story(&self) -> io::Result<Vec<AttackedProcess>> {
        let mut run = AttackedRun::new(self.setting.clone(), self.agent(Role::Coder))?;
        let wall = self.setting.settings.wall_name();
        let mut found = Vec::new();
        let setting_up = async { run.set_up().await.map(|()| wall.clone()) };
        found.push(self.from(WalledKind::Component, setting_up).await?);
        let working = async { run.run_agent().await.map(|wall| wall.name()) };
        found.push(self.from(WalledKind::StoryAgent, working).await?);
        let place = self.host.trials.lock().place();
        if let Some(place) = place {
            found.push(self.trial(WalledKind::TriedForStory, place).await?);
        }
        let testing = async { run.run_gates().await.map(|()| wall.clone()) };
        found.push(self.from(WalledKind::Gate, testing).await?);
        run.close().await;
        Ok(found)
    }

    async fn mergemaster(&self) -> io::Result<AttackedProcess> {
        let mut run = AttackedRun::new(self.setting.clone(), self.agent(Role::Mergemaster))?;
        let working = async {
            run.set_up().await?;
            run.run_agent().await.map(|wall| wall.name())
        };
        let found = self.from(WalledKind::Mergemaster, working).await;
        run.close().await;
        found
    }

    /// Of the agents with this role, the one that reaches most.
    fn agent(&self, role: Role) -> Agent {
        let with_role = self.setting.config.agents.iter().filter(|agent| agent.role == role);
        let reach = |agent: &&Agent| (!agent.network.is_limited(), !agent.network.is_strict());
        with_role.max_by_key(reach).cloned().unwrap_or_else(|| Agent::new("attacker", role))
    }

    /// Has this kind of process do the attacks; `start` runs it to its end, and tells its wall or why it was not started.
    async fn from(
        &self,
        kind: WalledKind,
        start: impl Future<Output = Result<String, String>>,
    ) -> io::Result<AttackedProcess> {
        let mut targets = self.targets.clone();
        if matches!(kind, WalledKind::RoomInCheckout | WalledKind::TriedInCheckout) {
            // These are its working files.
            let (read, write, open) = (&mut targets.read, &mut targets.write, &mut targets.open);
            let _ = (
                read.remove("ignored-files"),
                write.remove("uncommitted-files"),
                open.remove("ignored-files"),
            );
        }
        attacks::prepare(&self.machine.exchange(), &targets)?;
        let watched = WatchedFile::all_of(&targets);
        let started = tokio::time::timeout(PATIENCE, start).await;
        let started = started.unwrap_or_else(|_| Err(say::TOOK_TOO_LONG.to_owned()));
        let seen = changed(&watched);
        let found = attacks::findings(&self.machine.exchange());
        Ok(match (started, found) {
            (Ok(wall), Some(found)) => {
                AttackedProcess { kind, wall, findings: joined(found, &seen), not_started: None }
            }
            (Ok(wall), None) => {
                AttackedProcess { kind, wall, findings: joined(nothing_tried(), &seen), not_started: None }
            }
            // It may have been started all the same, and then failed for what it is not.
            (Err(_), Some(found)) => {
                let wall = self.setting.settings.wall_name();
                AttackedProcess { kind, wall, findings: joined(found, &seen), not_started: None }
            }
            (Err(why), None) => not_started(kind, why),
        })
    }

    /// The same process, started in the same folder without any care.
    fn without_wall(&self) -> io::Result<Vec<AttackFinding>> {
        let mut targets = self.targets.clone();
        // It would be the operator's.
        targets.types = false;
        attacks::prepare(&self.machine.exchange(), &targets)?;
        let watched = WatchedFile::all_of(&targets);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(attacks::SUBCOMMAND).arg(self.machine.exchange()).current_dir(self.machine.project());
        command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        let seen = changed(&watched);
        Ok(joined(attacks::findings(&self.machine.exchange()).unwrap_or_else(nothing_tried), &seen))
    }
}

fn not_started(kind: WalledKind, why: String) -> AttackedProcess {
    AttackedProcess { kind, wall: String::new(), findings: Vec::new(), not_started: Some(why) }
}

fn nothing_tried() -> Vec<AttackFinding> {
    let missing = |attack: &attacks::Attack| AttackFinding {
        name: attack.name.into(),
        got_through: Vec::new(),
        not_tried: Some(say::NO_FINDINGS.to_owned()),
    };
    ATTACKS.iter().map(missing).collect()
}

type ChangedFiles = BTreeMap<String, Vec<PathBuf>>;

/// Puts the files back that were changed, and returns them by attack.
fn changed(watched: &[WatchedFile]) -> ChangedFiles {
    let mut found = ChangedFiles::new();
    for (attack, path) in watched.iter().filter_map(WatchedFile::put_back) {
        found.entry(attack.to_owned()).or_default().push(path.to_owned());
    }
    found
}

/// The attacker's findings, and the changes seen outside.
fn joined(mut findings: Vec<AttackFinding>, seen: &ChangedFiles) -> Vec<AttackFinding> {
    for finding in &mut findings {
        let paths = seen.get(&finding.name).into_iter().flatten();
        finding.got_through.extend(paths.map(|path| path.display().to_string()));
    }
    findings
}
