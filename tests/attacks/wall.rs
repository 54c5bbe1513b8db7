//! Attacks by code of an agent, in whole lives of stories: as the agent itself, as a gate and as a component's setup.
//!
//! The project's gate is the attack. It passes only if it was stopped, so a story that merges is the proof.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use e2e::{KEY, Program, Terminal, beside_the_tests, git};
use needs::{needs, walls};
use rustix::process::{Pid, Signal, kill_process};

/// What is looked for in the environment. The bot's secrets contain this mark.
const MARK: &str = "m4rked";

/// One coder and one reviewer; setup and gate are a script of the repository.
const TEAM: &str = r#"
gates = ["sh attack.sh gate"]
max_retries = 1
[[component]]
name = "all"
setup = ["sh attack.sh setup"]
[[agent]]
name = "coder"
stage = "coder"
[[agent]]
name = "qa"
stage = "qa"
"#;

/// A project with this attack in it, a CLI that does what stories say, and a machine with an operator.
pub(crate) struct AttackedProject(pub Program);

impl AttackedProject {
    fn new(attack: &str) -> Self {
        Self::with_team(TEAM, attack)
    }

    pub fn with_team(team: &str, attack: &str) -> Self {
        let mut program = Program::with_stand_in();
        let agent = program.project().with_file_name("agent");
        fs::write(&agent, include_str!("../src/stand_in/story_agent.py")).expect("the agent");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("it can run");
        program.set_guarded_claude(agent.to_str().expect("text"));
        program.write_config("[pipeline]\nrooms = [\"console:main\"]");
        program.set_env("DATABASE_URL", "postgres://operator:hidden@localhost/shop");
        let attacked = Self(program);
        attacked.write("attack.sh", attack);
        attacked.write(".storkit/project.toml", team);
        let project = attacked.0.project();
        git(&project, &["config", "user.name", "Ada"]);
        git(&project, &["config", "user.email", "ada@example.org"]);
        git(&project, &["add", "attack.sh", ".storkit/project.toml"]);
        git(&project, &["commit", "-q", "-m", "the project"]);
        attacked.write(".env", "of the operator");
        attacked.write("../home/.ssh/id", "m4rked-5ecret");
        attacked.0.confirm_settings();
        attacked.0.has_served();
        attacked
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.0.project().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn home(&self) -> std::path::PathBuf {
        self.0.project().with_file_name("home")
    }

    /// Starts a story whose coder runs these lines, and commits.
    pub fn start(&self, lines: &str) -> Terminal {
        let text = format!(
            "---\nname: Attack\n---\n{lines}\ndo: echo x > x.txt && git add x.txt && git commit -qm x\n"
        );
        let terminal = self.0.terminal();
        self.write(".storkit/work/2_current/1_story_attack.md", &text);
        terminal
    }

    /// Chooses a wall.
    fn behind(self, wall: &str) -> Self {
        self.0.write_config(&format!("[pipeline]\nrooms = [\"console:main\"]\n[wall]\nconfine = \"{wall}\""));
        self
    }

    /// A story with this attack is merged, since the gate saw it stopped.
    fn is_merged(&self, lines: &str) {
        let _serving = self.0.serve();
        let mut terminal = self.start(lines);
        terminal.see("**1 Attack**: merged as");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

#[test]
fn a_gate_reads_the_models_key() {
    needs!(Wall);
    let looks = format!(
        "set -e\n! cat .mcp.json\n! env | grep -i -e {MARK} -e '^ANTHROPIC' -e '^CLAUDE' -e DATABASE_URL\n\
         ! cat /proc/*/environ 2> /dev/null | tr '\\0' '\\n' | grep -e {MARK} -e DATABASE_URL\n\
         ! ls ~/.claude\n! grep -rs --exclude=attack.sh {MARK} \"$HOME\" /tmp /run /etc\n"
    );
    assert!(KEY.contains(MARK));
    for wall in walls() {
        AttackedProject::new(&looks).behind(wall).is_merged("");
    }
}

#[test]
fn a_gate_reads_the_operators_files_of_a_project_below_tmp() {
    needs!(Wall);
    walls().iter().for_each(|wall| reads_the_operators_files(wall));
}

fn reads_the_operators_files(wall: &str) {
    let project = AttackedProject::new("").behind(wall);
    let (root, home) = (project.0.project(), project.home());
    let script = format!(
        "! cat {0}/.env && ! cat {0}/.storkit/bot.toml && ! cat {0}/.storkit/run/storkit.lock && ! ls {0}/.storkit/state && ! cat {1}/.ssh/id\n",
        root.display(),
        home.display()
    );
    project.write("attack.sh", &script);
    git(&root, &["commit", "-qam", "attack"]);
    // The coder tries the same, and commits only if it was stopped.
    project.is_merged(&format!("do: sh -c '{}' || rm -rf .git* *", script.trim_end()));
}

/// No attack: what compilers do with their files. `mv` would copy where it cannot move.
#[test]
fn an_honest_build_links_and_moves_its_files() {
    needs!(Wall);
    let builds = "for at in . \"${TMPDIR:-/tmp}\"; do mkdir -p $at/a/b; touch $at/a/x; ln $at/a/x $at/a/b/y || exit 1; rm -r $at/a; done";
    for wall in walls() {
        AttackedProject::new(builds)
            .behind(wall)
            .is_merged(&format!("do: {builds} && touch built && git add built"));
    }
}

#[test]
fn a_gate_writes_what_the_clis_next_command_executes() {
    needs!(Wall);
    walls().iter().for_each(|wall| writes_what_the_cli_executes(wall));
}

fn writes_what_the_cli_executes(wall: &str) {
    let project = AttackedProject::new("").behind(wall);
    let snapshots = project.home().join(".claude/shell-snapshots");
    fs::create_dir_all(&snapshots).expect("a folder");
    fs::write(snapshots.join("snapshot-bash-1.sh"), "# good\n").expect("a file");
    let append = "mkdir -p \"$HOME/.claude/shell-snapshots\"; for f in snapshot-bash-1.sh other.sh; do \
         echo 'touch /tmp/evil' >> \"$HOME/.claude/shell-snapshots/$f\"; done; exit 0\n";
    project.write("attack.sh", append);
    git(&project.0.project(), &["commit", "-qam", "attack"]);
    project.is_merged(&format!("do: {}", append.trim_end()));
    assert_eq!(read(&snapshots.join("snapshot-bash-1.sh")), "# good\n");
    assert_eq!(fs::read_dir(&snapshots).expect("a folder").count(), 1);
}

#[test]
fn a_gate_edits_a_package_that_the_operator_runs_later() {
    needs!(Wall);
    walls().iter().for_each(|wall| edits_a_package(wall));
}

fn edits_a_package(wall: &str) {
    let project = AttackedProject::new("").behind(wall);
    let package = project.home().join(".npm/_npx/1/node_modules/x/cli.js");
    fs::create_dir_all(package.parent().expect("a folder")).expect("a folder");
    fs::write(&package, "good\n").expect("a file");
    let edit = match wall {
        // It must be there, or builds would not be warm.
        "bwrap" => "grep -q good ~/.npm/_npx/1/node_modules/x/cli.js && echo evil >> ~/.npm/_npx/1/node_modules/x/cli.js\n".to_owned(),
        // Its caches are empty at first.
        _ => format!("! grep -q good ~/.npm/_npx/1/node_modules/x/cli.js && ! echo evil >> '{}'\n", package.display()),
    };
    project.write("attack.sh", &edit);
    git(&project.0.project(), &["commit", "-qam", "attack"]);
    project.is_merged(&format!("do: {}", edit.trim_end()));
    assert_eq!(read(&package), "good\n");
}

#[test]
fn a_gate_types_into_the_terminal_of_storkit() {
    needs!(Wall, Tmux);
    // The gate passes only where it has no terminal.
    let script = "! perl -e 'open(my $tty, \"+<\", \"/dev/tty\") or exit 2; my $key = \"!\"; ioctl($tty, 0x5412, $key) or exit 3'\n";
    let mut project = AttackedProject::new(script);
    project.0.set_env("RUST_LOG", "info");
    let screen = project.0.screen(&project.0.command(&["serve", "--port", "0"]));
    screen.until("served terminals", |shown| shown.contains("storkit serves") && shown.contains("connected"));
    let mut terminal = project.start("");
    terminal.see("**1 Attack**: merged as");
    drop(screen);
}

#[test]
fn a_repository_takes_its_own_wall_down() {
    needs!(Wall);
    let project = AttackedProject::with_team(
        &TEAM.replace("stage = \"coder\"", "stage = \"coder\"\nsandbox = \"none\""),
        "touch ../../../ran",
    );
    let _serving = project.0.serve();
    let mut terminal = project.start("do: touch ../../../ran");
    let told = terminal.see_any(&["agent.sandbox", "**1 Attack**"]);
    assert!(!project.0.file("ran").exists(), "its setup or its coder ran without a wall: {told}");
    assert!(told.contains("[wall]") && told.contains("bot.toml"), "{told}");
    terminal.say("status");
    terminal.see("No agents start");
    assert!(!project.0.file("ran").exists());
}

#[test]
fn a_wall_that_cannot_be_built_is_left_out() {
    let mut project = AttackedProject::new("touch ../../../ran");
    let programs = project.0.project().with_file_name("programs");
    fs::create_dir(&programs).expect("a folder");
    // Everything but bubblewrap.
    for folder in ["/usr/bin", "/bin"] {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let name = entry.file_name();
            if name != "bwrap" {
                let _ = std::os::unix::fs::symlink(entry.path(), programs.join(name));
            }
        }
    }
    project.0.set_env("PATH", programs.to_str().expect("text"));
    project.0.write_config("[pipeline]\nrooms = [\"console:main\"]\n[wall]\nconfine = \"bwrap\"");
    let _serving = project.0.serve();
    let mut terminal = project.start("do: touch ../../../ran");
    terminal.see("bubblewrap is not installed");
    assert!(!project.0.file("ran").exists());
    project.0.write_config("[wall]\nconfine = \"none\"");
    let output = project.0.run(&["doctor"], "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("There is no wall"), "{said}");
}

/// The processes with this text in their command line.
fn processes(marked: &str) -> usize {
    let lines = fs::read_dir("/proc").expect("a folder").flatten();
    let lines = lines.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(marked)).count()
}

fn until_there_are(number: usize, marked: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    while processes(marked) != number {
        assert!(Instant::now() < until, "{} processes", processes(marked));
        std::thread::yield_now();
    }
}

/// bubblewrap's first process inside ignores all signals but SIGKILL, and has no parent's death signal while it starts.
#[test]
fn a_process_whose_wall_is_being_built_outlives_its_storkit() {
    let filters = tempfile::tempdir().expect("a folder");
    for name in ["denied", "missing", "foreign"] {
        fs::write(filters.path().join(name), "").expect("a file");
    }
    for (number, how) in
        ["storkit is killed", "its terminal is closed", "bubblewrap is killed"].iter().enumerate()
    {
        let marked = format!("86398.{}{number}", std::process::id());
        let mut storkit = Command::new("sleep").arg("86400").spawn().expect("sleep");
        // In the place of bubblewrap: two processes, of which one cannot be asked to end.
        let starting = format!("(trap '' HUP INT TERM; exec sleep {marked}) & exec sleep {marked}");
        let mut keeper = Command::new(beside_the_tests("storkit"));
        keeper.arg("sandbox-step").arg(filters.path()).arg(storkit.id().to_string());
        keeper.args(["--", "/bin/sh", "-c", &starting]);
        let mut keeper = keeper.spawn().expect("it starts");
        until_there_are(2, &format!("sleep\0{marked}"));
        match number {
            0 => storkit.kill().expect("it runs"),
            1 => kill_process(Pid::from_child(&keeper), Signal::HUP).expect("it runs"),
            _ => {
                let children = format!("/proc/{0}/task/{0}/children", keeper.id());
                let bubblewrap = read(Path::new(&children)).trim().parse().ok().and_then(Pid::from_raw);
                kill_process(bubblewrap.expect("one child"), Signal::KILL).expect("it runs");
            }
        }
        let status = keeper.wait().expect("it ends");
        assert_eq!(processes(&format!("sleep\0{marked}")), 0, "{how}");
        assert_eq!(status.code(), Some([137, 129, 137][number]), "{how}");
        let _ = storkit.kill().and_then(|()| storkit.wait().map(drop));
    }
}
