//! A story from its title to its merge on a machine without bubblewrap: the real CLI behind Landlock alone.

use e2e::{Program, git};
use needs::needs;
use scripted_model::{ModelScript, ScriptedModel};
use serde_json::json;

use crate::real::bash;

const TEAM: &str = "gates = [\"test -e door.txt && ! cat ../../bot.toml && ! ls ~/.claude/projects\"]\n\
     [[agent]]\nname = \"coder\"\nstage = \"coder\"\n[[agent]]\nname = \"qa\"\nstage = \"qa\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_story_is_done_behind_landlock_alone() {
    needs!(Claude);
    let look = "cat ../../bot.toml; ls \"$STORKIT_GUARD_REPOSITORY/..\"; touch ../../../evil; echo looked";
    let script = ModelScript::new()
        .on_start("Do story 1")
        .calls("Bash", bash(look))
        .calls("Bash", bash("echo open > door.txt && git add door.txt && git commit -qm 'open the door'"))
        .then_says("The door is open.")
        .on_start("Review story")
        .calls("mcp__storkit__approve_qa", json!({}))
        .then_says("I approved it.");
    let model = ScriptedModel::start(script).expect("the model is served");
    let program = Program::with_real_cli(&model);
    let project = program.project();
    git(
        &project,
        &[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "begin",
        ],
    );
    program.write_settings(TEAM);
    program.write_config("[pipeline]\nrooms = [\"console:main\"]\n[wall]\nconfine = \"landlock\"");
    let _serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("new story Fix the door");
    terminal.see("is in the backlog");
    terminal.say("start 1");
    for (number, asked) in ["cat ../../bot.toml", "git commit -qm"].into_iter().enumerate() {
        terminal.see(asked);
        // By its number: it follows the one before at once.
        terminal.say(&format!("yes {}", number + 1));
    }
    terminal.see("**1 Fix the door**: merged as");

    let requests = model.requests();
    let results = requests.iter().flat_map(|seen| &seen.conversation.tool_results);
    let read: Vec<&str> = results.map(|result| result.text.as_str()).collect();
    let has = |text: &str| read.iter().any(|result| result.contains(text));
    assert!(has("Permission denied") && !has("GATEWAY_TOKEN"), "{read:?}");
    assert!(!program.file("evil").exists());
}

/// As a newcomer finds it in Docker, with the usual settings.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_without_bubblewrap_works_in_a_worktree_and_says_so() {
    let program = Program::with_stand_in();
    program.write_config("[wall]\nconfine = \"landlock\"\n[relay]\nworkspace = \"auto\"");
    let _serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("status");
    let status = terminal.see("Works in a worktree of its own");
    assert!(status.contains("**Network**: Landlock limits connections by their port only"), "{status}");
    terminal.say("cwd");
    terminal.see("so this room works in a worktree of its own");
    terminal.see(".storkit/worktrees/room-console-main-");
    terminal.say("bash echo made > made.txt");
    terminal.see("may I use **Bash**");
    terminal.say("yes");
    terminal.see("completed with no output");
    terminal.say("git");
    terminal.see("1 file uncommitted");
    assert!(!program.file("made.txt").exists());
}
