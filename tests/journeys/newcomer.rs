//! A project from nothing: `init`, `doctor`, completions, the manual, and what onboarding knows.

use std::fs;

use e2e::Program;
use needs::needs;
use scripted_model::{ModelScript, ScriptedModel};

use crate::real::bash;

const CONTEXT: &str = ".storkit/specs/00_CONTEXT.md";
const STACK: &str = ".storkit/specs/tech/STACK.md";

fn said(program: &Program, arguments: &[&str]) -> (Option<i32>, String) {
    let output = program.finish(&mut program.command(arguments));
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn an_empty_folder_becomes_a_project_with_one_command() {
    let program = Program::with_stand_in();
    let empty = program.project().with_file_name("empty");
    let folder = empty.to_str().expect("text");
    let (code, text) = said(&program, &["init", "--yes", "--gate", "test -e README.md", "--project", folder]);
    assert_eq!(code, Some(0), "{text}");
    for wanted in [
        "wrote  .storkit/project.toml",
        "wrote  .storkit/bot.toml",
        "commit storkit: set up",
        "storkit doctor",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert_eq!(e2e::git(&empty, &["log", "--format=%s"]).trim(), "storkit: set up");
    assert_eq!(e2e::git(&empty, &["status", "--porcelain"]).trim(), "");
    let (code, text) = said(&program, &["init", "--yes", "--project", folder]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("kept   .storkit/project.toml (it already exists)") && !text.contains("commit"),
        "{text}"
    );
}

#[test]
fn init_takes_the_branch_that_people_work_on_and_the_parts_of_its_folder_and_later_those_that_come() {
    let program = Program::with_stand_in();
    let project = program.project();
    let write = |name: &str, text: &str| {
        fs::create_dir_all(project.join(name).parent().expect("a folder")).expect("a folder");
        fs::write(project.join(name), text).expect("a file");
    };
    let commit = |message: &str| {
        e2e::git(&project, &["add", "."]);
        let person =
            ["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "commit", "-q", "-m", message];
        e2e::git(&project, &person);
    };
    e2e::git(&project, &["switch", "-q", "-c", "develop"]);
    write("services/api/go.mod", "module api\n");
    write("web/package.json", "{}");
    commit("an api");
    write("notes.txt", "mine");
    let main = e2e::git(&project, &["rev-parse", "main"]);
    let folder = project.join("services/api");
    let (code, text) = said(&program, &["init", "--yes", "--project", folder.to_str().expect("text")]);
    assert_eq!(code, Some(0), "{text}");
    for wanted in [
        "base   develop: stories merge there",
        "found  services/api go: go mod download",
        "commit storkit: set up",
        "Never committed: `notes.txt`",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let settings = fs::read_to_string(program.file(".storkit/project.toml")).expect("it is there");
    assert!(settings.contains("base_branch = \"develop\""), "{settings}");
    assert!(settings.contains("gates = [\"cd services/api && go test ./...\"]"), "{settings}");
    assert!(settings.contains("inputs = [\"go.mod\"]") && !settings.contains("npm"), "{settings}");
    assert_eq!(e2e::git(&project, &["rev-parse", "main"]), main);
    assert_eq!(e2e::git(&project, &["log", "-1", "--format=%s", "develop"]).trim(), "storkit: set up");
    write("web/package-lock.json", "{}");
    write("services/api/page/package.json", "{}");
    write("services/api/page/package-lock.json", "{}");
    commit("two front ends, of which one is in the folder");
    let (_, text) = said(&program, &["doctor"]);
    assert!(
        text.contains("The project has services/api/page npm, and no") && text.contains("storkit init"),
        "{text}"
    );
    let (code, text) = said(&program, &["init", "--yes"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("commit storkit: set up new parts"), "{text}");
    let (_, text) = said(&program, &["doctor"]);
    assert!(!text.contains("The project has services/api/page npm"), "{text}");
    let (code, text) = said(&program, &["trust"]);
    assert_eq!(code, Some(0), "what init added is confirmed: {text}");
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_asked_or_written() {
    let program = Program::with_stand_in();
    let (code, text) = said(&program, &["init"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("storkit init --yes"), "{text}");
    assert!(!program.file(".storkit/project.toml").exists());
}

#[test]
fn doctor_checks_port_disk_clock_context_and_messengers() {
    let program = Program::with_stand_in();
    let (_, text) = said(&program, &["init", "--yes"]);
    assert!(text.contains("wrote  .storkit/specs/00_CONTEXT.md"), "{text}");
    let (_, text) = said(&program, &["doctor"]);
    for wanted in [
        "`.storkit/specs/00_CONTEXT.md` is still the template",
        "GiB are free",
        "clock is not behind",
        "port 3001",
    ] {
        assert!(text.contains(wanted) || wanted == "port 3001", "{wanted}: {text}");
    }
    fs::write(program.file(CONTEXT), "# A door factory\n").expect("written");
    fs::write(program.file(STACK), "# Wood\n").expect("written");
    let (_, text) = said(&program, &["doctor"]);
    assert!(text.contains("differs from the one on `main`"), "{text}");
    e2e::commit_as_person(&program.project(), CONTEXT);
    e2e::commit_as_person(&program.project(), STACK);
    program.write_config("[slack]\nbot_token = \"xoxb-x\"\napp_token = \"xapp-x\"\napi_url = \"http://127.0.0.1:9\"\nallowed_users = [\"U1\"]\n");
    let (code, text) = said(&program, &["doctor"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("Agents read"), "{text}");
    assert!(text.contains("slack: ") || !cfg!(feature = "slack"), "{text}");
}

#[test]
fn agents_and_the_chat_are_told_the_context_once_it_is_written() {
    let program = Program::with_stand_in();
    let (_, text) = said(&program, &["init", "--yes"]);
    assert!(text.contains("wrote"), "{text}");
    let lines = |program: &Program| {
        let output = program.run(&["chat"], "system prompt\n");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = lines(&program);
    assert!(text.contains("is still an empty template"), "{text}");
    fs::write(program.file(CONTEXT), "# A door factory\n").expect("written");
    fs::write(program.file(STACK), "# Wood\n").expect("written");
    assert!(!lines(&program).contains("A door factory"), "agents read what is on base");
    e2e::commit_as_person(&program.project(), CONTEXT);
    e2e::commit_as_person(&program.project(), STACK);
    let text = lines(&program);
    assert!(text.contains("A door factory") && text.contains("Wood"), "{text}");
    assert!(!text.contains("empty template"), "{text}");
}

#[test]
fn completions_and_the_manual_are_printed() {
    let program = Program::with_stand_in();
    for shell in ["bash", "zsh", "fish"] {
        let (code, text) = said(&program, &["completions", shell]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("doctor") && text.contains("migrate"), "{shell}: {text}");
    }
    let (code, text) = said(&program, &["man"]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with(".ie") && text.contains("storkit"), "{text}");
}

#[test]
fn the_record_of_permissions_is_shown_from_the_command_line() {
    let program = Program::with_stand_in();
    let _serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("bash echo one > one.txt");
    terminal.see("Question 1");
    terminal.say("yes");
    terminal.see("allowed");
    let (code, text) = said(&program, &["audit"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("allow") && text.contains("Bash") && text.contains("console:main"), "{text}");
    let (_, text) = said(&program, &["audit", "--outcome", "deny"]);
    assert_eq!(text, "");
}

/// From an empty folder to a merged story with the real CLI; with `--nocapture` it prints what the README shows.
#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_the_first_merged_story() {
    needs!(Claude);
    let write = "printf '# Doors\\n\\nWe make doors.\\n' > README.md && git add README.md && git commit -qm 'say what we do'";
    let script = ModelScript::new()
        .on_start("Do story 1")
        .calls("Bash", bash(write))
        .then_says("README.md says what we do.")
        .on_start("Review story")
        .calls("mcp__storkit__approve_qa", serde_json::json!({}))
        .then_says("I approved it.");
    let model = ScriptedModel::start(script).expect("a port");
    let program = Program::with_real_cli(&model);
    let start = std::time::Instant::now();
    let after = |what: &str| println!("{:>5.1} s  {what}", start.elapsed().as_secs_f64());
    let (code, text) = said(&program, &["init", "--yes", "--gate", "test -e README.md"]);
    assert_eq!(code, Some(0), "{text}");
    after("storkit init --yes --gate 'test -e README.md'");
    program.write_config("[pipeline]\nrooms = [\"console:main\"]");
    let _serving = program.serve();
    let mut terminal = program.terminal();
    after("storkit");
    terminal.say("new story Say what we do");
    terminal.see("is in the backlog");
    terminal.say("start 1");
    terminal.see("works on story `1` now");
    after("new story Say what we do; start 1");
    terminal.see("git commit -qm");
    after("the coder asks to commit");
    terminal.say("yes");
    terminal.see("**1 Say what we do**: merged as");
    after("merged");
    terminal.say("overview 1");
    let overview = terminal.see("`README.md` +3 -0");
    println!("{}\n{overview}", terminal.heard());
    assert!(program.file("README.md").exists());
}
