//! Figure 12: the cost of the sandbox at an agent's start.

use std::time::Instant;

use agents::{
    claude::{AgentEvent, AgentProcess, Launch, LaunchProgram, PromptMode, SessionId, SessionStart},
    confine::{Bwrap, Confined, Confinement, HostFolders, LandlockWall, WorktreePaths},
};
use anyhow::{Context as _, bail};
use futures::FutureExt as _;
use pipeline::{
    Project,
    worktree::{SizeLimits, Worktree, WorktreeName, Worktrees},
};
use scripted_model::{ModelScript, ScriptedModel};

use super::Figure;
use crate::{
    Effort,
    numbers::{median, millis},
    report::{Outcome, Row},
    world::{Place, real_cli},
};

pub const FIGURE: Figure = Figure {
    number: 12,
    name: "sandbox",
    title: "The start of a sandboxed agent",
    method: "The real Claude Code CLI as a coder's run starts it (one prompt, on a PTY, in a story's worktree), from the start of the process until \
             its first line and until its end, with a model that answers at once: in bubblewrap, by Landlock alone, and plain; the private \
             copies of git's data are made before. Alternately, on the same worktree.",
    measure: |effort| measure(effort).boxed(),
};

struct Bench {
    place: Place,
    project: Project,
    worktree: Worktree,
    model: ScriptedModel,
}

/// ms to the first line, and to the exit.
type Times = (f64, f64);

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let bench = Bench::new()?;
    let (mut bubblewrap, mut landlock, mut plain, mut copies) = (vec![], vec![], vec![], vec![]);
    for round in 0..=effort.pick(15, 3) {
        let start = Instant::now();
        let place = bench.worktree.enclose()?;
        let copied = millis(start.elapsed());
        let by_bubblewrap = bench.run(Some(bench.bubblewrap(place.clone())?)).await?;
        let by_landlock = bench.run(Some(bench.landlock(place)?)).await?;
        let without = bench.run(None).await?;
        // The first round fills caches.
        if round > 0 {
            copies.push(copied);
            bubblewrap.push(by_bubblewrap);
            landlock.push(by_landlock);
            plain.push(without);
        }
    }
    let of = |times: &[Times], part: fn(&Times) -> f64| median(&times.iter().map(part).collect::<Vec<_>>());
    let first = |times: &[Times]| (of(times, |times| times.0), of(&plain, |times| times.0));
    let end = |times: &[Times]| (of(times, |times| times.1), of(&plain, |times| times.1));
    let row = |name, pair| Row::at_most(name, pair, 1.15, "ms", "plain");
    Ok(Outcome {
        rows: vec![
            row("bubblewrap, until the first line", first(&bubblewrap)),
            row("bubblewrap, until the end of the run", end(&bubblewrap)),
            row("Landlock, until the first line", first(&landlock)),
            row("Landlock, until the end of the run", end(&landlock)),
            Row::alone("private copies of git's data, before", median(&copies), "ms"),
        ],
        remarks: vec!["The image's size by layer is in `docker/README.md`.".into()],
    })
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let place = Place::new()?;
        let project = Project::open(&place.project())?;
        let worktrees = Worktrees::open(&project, SizeLimits::default())?;
        let worktree = worktrees.prepare(&WorktreeName::parse("7_x").context("a name")?, "main", "bench")?;
        let model = ScriptedModel::start(ModelScript::new().says("A short answer."))?;
        Ok(Self { place, project, worktree, model })
    }

    fn bubblewrap(&self, place: WorktreePaths) -> anyhow::Result<Confined> {
        let bwrap = Bwrap::for_host(self.host()?);
        if let Err(why) = bwrap.try_out() {
            bail!("{why}");
        }
        Ok(Confined { confinement: Confinement::Bwrap(bwrap), place, variables: Vec::new() })
    }

    fn landlock(&self, place: WorktreePaths) -> anyhow::Result<Confined> {
        let wall = LandlockWall::for_host(self.host()?).context("this program cannot be called again")?;
        if let Err(why) = wall.try_out() {
            bail!("{why}");
        }
        Ok(Confined { confinement: Confinement::Landlock(wall), place, variables: Vec::new() })
    }

    fn host(&self) -> anyhow::Result<HostFolders> {
        let home = self.place.project().with_file_name("home");
        // The wall hides `/tmp`, and this checkout may be there.
        Ok(HostFolders { programs: vec![real_cli()?], ..HostFolders::of_home(&home) })
    }

    async fn run(&self, confine: Option<Confined>) -> anyhow::Result<Times> {
        let launch = self.launch(confine)?;
        let start = Instant::now();
        let (_process, mut events) = AgentProcess::start(launch).await?;
        let mut first = None;
        let mut said = String::new();
        while let Some(event) = events.recv().await {
            match event {
                AgentEvent::Started { .. } => drop(first.get_or_insert_with(|| start.elapsed())),
                AgentEvent::Text(text) => said = text,
                AgentEvent::Exited(exit) => {
                    let first = first.with_context(|| format!("it ended without a line: {exit:?}"))?;
                    anyhow::ensure!(said.contains("A short answer"), "it said {said:?}");
                    return Ok((millis(first), millis(start.elapsed())));
                }
                _ => {}
            }
        }
        bail!("the run's end was not told")
    }

    fn launch(&self, confine: Option<Confined>) -> anyhow::Result<Launch> {
        let cli = real_cli()?.to_str().context("a path")?.to_owned();
        let mut env = self
            .worktree
            .environment(confine.as_ref().map_or(&Confinement::None, |confined| &confined.confinement));
        env.extend(self.place.environment());
        let model = [
            ("ANTHROPIC_BASE_URL", self.model.base_url()),
            ("ANTHROPIC_API_KEY", "bench".to_owned()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
            ("NO_PROXY", "127.0.0.1".to_owned()),
        ];
        env.extend(model.map(|(name, value)| (name.to_owned(), value)));
        let mut program = LaunchProgram::new(vec![cli], self.worktree.path(), self.project.run_dir());
        program.env = env;
        let prompt = PromptMode::OneShot { prompt: "hello".into() };
        let mut launch = Launch::new(program, SessionStart::New(SessionId::random()), prompt);
        launch.permissions.accept_edits = true;
        launch.confine = confine;
        Ok(launch)
    }
}
