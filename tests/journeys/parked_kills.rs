//! `storkit serve` is killed again and again while questions of stories are asked, parked, answered and gone on with. None is lost, no
//! answer runs anything twice, and nothing runs after a no. With the real Claude Code CLI.
//!
//! `STORKIT_PARKED_KILLS` sets how many kills (8).

use std::{
    fs,
    io::Write as _,
    time::{Duration, Instant},
};

use e2e::{Program, kill_9};
use needs::needs;
use scripted_model::{ModelScript, ScriptedModel};
use serde_json::json;

use crate::real::bash;

const KILLS: u32 = 8;

/// The end, when nobody kills any more.
const PATIENCE: Duration = Duration::from_secs(240);

const TEAM: &str = "gates = [\"true\"]\nmax_retries = 50\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\ncount = 2\n\
                    [[agent]]\nname = \"qa\"\nstage = \"qa\"\n";

/// Story 1 is allowed what it asks for, story 2 never.
struct World {
    program: Program,
    // The model outlives each storkit.
    _model: ScriptedModel,
    /// One line for each time that a story's command ran.
    ran: std::path::PathBuf,
    /// How often somebody said yes to story 1.
    allowed: usize,
}

impl World {
    fn new(model: ScriptedModel, ran: std::path::PathBuf) -> Self {
        let program = Program::with_real_cli(&model);
        program.write_config("[wall]\nconfine = \"none\"\n[pipeline]\nrooms = [\"console:main\"]");
        // The section of the CLI is the last one.
        let file = program.file(".storkit/bot.toml");
        let mut config = fs::File::options().append(true).open(file).expect("bot.toml");
        config.write_all(b"permission_timeout = \"1s\"\n").expect("a key");
        program.write_settings(TEAM);
        program.has_served();
        for id in [1, 2] {
            let folder = program.file(".storkit/work/2_current");
            fs::create_dir_all(&folder).expect("a folder");
            let text = format!("---\nname: Number {id}\n---\n# Number {id}\n");
            fs::write(folder.join(format!("{id}_story_number.md")), text).expect("a story");
        }
        Self { program, _model: model, ran, allowed: 0 }
    }

    /// The questions that the next storkit has, by the story that they are of.
    fn open(&self) -> Vec<(u32, i64)> {
        let said = self.program.run(&["chat"], "status\n");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let number = |line: &str, story: u32| {
            let question = line.trim().strip_prefix("- ")?.split(':').next()?.trim().parse().ok()?;
            line.contains(&format!("for story {story} (")).then_some((story, question))
        };
        text.lines()
            .flat_map(|line| [1, 2].into_iter().filter_map(move |story| number(line, story)))
            .collect()
    }

    /// Answers what is open.
    fn answer(&mut self) {
        for (story, question) in self.open() {
            let answer = if story == 1 { format!("yes {question}\n") } else { format!("no {question}\n") };
            let said = self.program.run(&["chat"], answer);
            if story == 1 && !String::from_utf8_lossy(&said.stdout).contains("is not open") {
                self.allowed += 1;
            }
        }
    }

    fn ran(&self, story: u32) -> usize {
        let text = fs::read_to_string(&self.ran).unwrap_or_default();
        text.lines().filter(|line| *line == format!("story {story}")).count()
    }

    /// What must hold at any moment.
    fn check(&self, when: &str) {
        assert_eq!(self.ran(2), 0, "{when}: it ran after a no");
        assert!(
            self.ran(1) <= self.allowed,
            "{when}: ran {} times for {} answers",
            self.ran(1),
            self.allowed
        );
    }

    fn is_done(&self) -> bool {
        self.program.file(".storkit/work/5_done/1_story_number.md").exists()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_no_parked_question_run_none_twice_and_none_after_a_no() {
    needs!(Claude);
    let place = tempfile::tempdir().expect("a folder");
    let ran = place.path().join("ran");
    let call = |story: u32| {
        let traces = format!("echo 'story {story}' >> {}", ran.display());
        bash(&format!("{traces}; echo {story} > {story}.txt; git add -A; git commit -qm {story}"))
    };
    let script = ModelScript::new()
        .on_start("Review story")
        .calls("mcp__storkit__approve_qa", json!({}))
        .then_says("Good.")
        .on_start("Do story 1")
        .calls("Bash", call(1))
        .then_says("Done.")
        .on_start("Do story 2")
        .calls("Bash", call(2))
        .then_says("Not done.")
        .calls("Bash", call(2));
    let model = ScriptedModel::start(script).expect("the model is served");
    let kills =
        std::env::var("STORKIT_PARKED_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    tokio::task::spawn_blocking(move || lives(World::new(model, ran), kills)).await.expect("they live");
    drop(place);
}

fn lives(mut world: World, kills: u32) {
    for kill in 0..kills {
        let serving = world.program.serve();
        // From before anything is asked to after an answer was taken: the moment of the kill is what is random here.
        std::thread::sleep(Duration::from_millis(u64::from(kill * 1_370 % 5_300)));
        if kill % 2 == 1 {
            world.answer();
            std::thread::sleep(Duration::from_millis(u64::from(kill * 211 % 900)));
        }
        let pid = serving.pid();
        kill_9(pid);
        drop(serving);
        world.check(&format!("after kill {kill}"));
    }
    let serving = world.program.serve();
    let until = Instant::now() + PATIENCE;
    while !world.is_done() {
        assert!(Instant::now() < until, "story 1 is not done; open: {:?}", world.open());
        world.answer();
        world.check("in the end");
        std::thread::sleep(Duration::from_millis(500));
    }
    world.check("in the end");
    assert!(world.ran(1) >= 1);
    drop(serving);
}
