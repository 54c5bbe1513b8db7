//! Storkit's tools in the hands of a room's agent: calls outside of its turn, in somebody else's name, and beyond what that person may do.
//! The CLI of these tests is the attacker: it speaks the protocol of Claude Code and says whatever its prompt asks for.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use e2e::{Bot, Cli, Setup};
use needs::needs;
use scripted_model::ModelScript;
use serde_json::json;

/// Reads `report ID TOOL JSON`, `sub ID TOOL JSON`, `call ID TOOL JSON`, `end`, one to a line of the prompt. It prints what a call was
/// answered; after `end`, in a turn of its own.
const ATTACKER: &str = include_str!("data/tools_attacker.py");

const DOOR: &str = ".storkit/work/1_backlog/1_story_door.md";

/// A bot whose agent is the attacker. Ann may approve, Bob is a user. Story 1 is in the backlog.
async fn attacked() -> (Bot, tempfile::TempDir) {
    attacked_with("").await
}

async fn attacked_with(wall: &str) -> (Bot, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let program: PathBuf = folder.path().join("attacker");
    fs::write(&program, ATTACKER).expect("the program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can run");
    let cli = Cli::Program(vec![program.display().to_string()]);
    let visible = format!("[wall]\nvisible = [{:?}]", folder.path());
    let config = match wall.strip_prefix("[wall]") {
        Some(more) => format!("{visible}{more}"),
        None => format!("{wall}\n{visible}"),
    };
    let bot = Setup::new(cli).config(&config).approvers(&["ann"]);
    let bot = bot.file(DOOR, "---\nname: Door\n---\n- [ ] It opens\n").start().await;
    bot.started().await;
    (bot, folder)
}

fn stories(bot: &Bot) -> usize {
    bot.app.services().commands.pipeline.snapshot().board.stories().count()
}

const NOBODY: &str = "Nobody's message is being answered now";

#[tokio::test(flavor = "multi_thread")]
async fn a_process_calls_a_tool_that_the_agents_own_conversation_has_not_called() {
    let (bot, _folder) = attacked().await;
    let room = bot.room("a");
    // As the agent itself does it, and again.
    let call = "call c1 create_bug {\"title\": \"Asked\"}";
    room.say(&format!("report c1 create_bug {{\"title\": \"Asked\"}}\n{call}\n{call}")).await;
    let said = room.see(&format!("| {NOBODY}")).await.text;
    assert!(said.contains("answered: Story 2 is in the backlog"), "{said}");
    room.settled().await;
    for (attack, id) in [("", "c2"), ("report c3 list_stories {}\n", "c3"), ("", "c1")] {
        room.say(&format!("{attack}call {id} create_bug {{\"title\": \"Forged\"}}")).await;
        room.see(&format!("answered: {NOBODY}")).await;
        room.settled().await;
    }
    assert_eq!(stories(&bot), 2);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_one_persons_turn_is_made_in_the_turn_of_another_or_after_it() {
    let (bot, _folder) = attacked().await;
    let room = bot.room("a");
    // Ann may delete, and her turn could ask for it. The call comes when Bob's turn runs.
    room.say("report c1 delete_story {\"story_id\": 1}").await;
    room.see("answered:").await;
    room.settled().await;
    room.say_as("bob", "call c1 delete_story {\"story_id\": 1}").await;
    room.see(&format!("answered: {NOBODY}")).await;
    room.settled().await;
    // Bob's call waits for a turn of Ann's.
    room.say_as("bob", "report c2 delete_story {\"story_id\": 1}").await;
    room.settled().await;
    room.say("call c2 delete_story {\"story_id\": 1}").await;
    room.see(&format!("answered: {NOBODY}")).await;
    room.settled().await;
    // After the turn, also with a report.
    room.say("report c3 create_bug {}\nend\ncall c3 create_bug {\"title\": \"Late\"}").await;
    room.see(&format!("answered late: {NOBODY}")).await;
    room.say("end\nreport c4 create_bug {}\ncall c4 create_bug {\"title\": \"Late\"}").await;
    room.see(&format!("answered late: {NOBODY}")).await;
    assert!(!room.transcript().contains("**Question"), "{}", room.transcript());
    assert!(bot.file(DOOR).exists() && stories(&bot) == 1);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_agent_is_told_is_written_before_an_approver_has_seen_all_of_it() {
    let (bot, _folder) = attacked().await;
    let room = bot.room("a");
    let specs = r##"{"context": "# Doors\n\nWe make doors.\n<!-- hidden -->", "stack": "# Wood\u200b"}"##;
    room.say(&format!("report c1 write_project_specs {specs}\ncall c1 write_project_specs {specs}")).await;
    let asked = room.see("What it is built with").await.text;
    assert!(asked.contains("hidden") && asked.contains("u{200b}"), "{asked}");
    let on_base =
        || e2e::git(&bot.file("."), &["ls-tree", "-r", "--name-only", "main", "--", ".storkit/specs"]);
    room.say_as("bob", "yes").await;
    room.see("bob, you may not answer").await;
    assert_eq!(on_base().trim(), "");
    room.say("yes").await;
    room.see("answered: Both texts are on").await;
    assert_eq!(on_base().trim(), ".storkit/specs/00_CONTEXT.md\n.storkit/specs/tech/STACK.md");
    assert!(
        e2e::git(&bot.file("."), &["show", "main:.storkit/specs/00_CONTEXT.md"]).contains("We make doors.")
    );
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_agent_of_an_earlier_turn_acts_in_the_name_of_the_next_person() {
    let (bot, _folder) = attacked().await;
    let room = bot.room("a");
    let start = "{\"story_ids\": [1]}";
    room.say(&format!("sub c1 start_stories {start}\ncall c1 start_stories {start}")).await;
    room.see("answered: Sub-agents may only read stories.").await;
    room.settled().await;
    room.say("sub c2 create_bug {}\ncall c2 create_bug {\"title\": \"Not mine\"}").await;
    room.see("answered: Sub-agents may only read stories.").await;
    room.settled().await;
    room.say("sub c3 get_story {}\ncall c3 get_story {\"story_id\": 1}").await;
    room.see("- [ ] It opens").await;
    assert_eq!(stories(&bot), 1);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_the_agent_decide_what_only_approvers_may() {
    let (bot, _folder) = attacked().await;
    let room = bot.room("a");
    let attacks = [
        ("delete_story", json!({ "story_id": 1 })),
        ("merge_agent_work", json!({ "story_id": 1 })),
        ("move_story", json!({ "story_id": 1, "stage": "merge" })),
        ("accept_story", json!({ "story_id": 1 })),
        ("reject_story", json!({ "story_id": 1, "reason": "no" })),
        ("retry_story", json!({ "story_id": 1 })),
        ("release_story", json!({ "story_id": 1 })),
        ("write_project_specs", json!({ "context": "evil", "stack": "evil" })),
    ];
    for (tool, input) in attacks {
        room.say_as("bob", &format!("report {tool} {tool} {input}\ncall {tool} {tool} {input}")).await;
        room.see(&format!("`{tool}`: Only approvers can have this done here.")).await;
        room.settled().await;
        assert!(
            room.transcript()
                .contains("answered: Only approvers can have this done here. This turn is bob's")
        );
    }
    // What no role has in a room.
    for tool in ["prompt_permission", "approve_qa", "check_criterion", "rebuild_and_restart", "start_agent"] {
        room.say(&format!("report {tool} {tool} {{}}\ncall {tool} {tool} {{}}")).await;
        room.see(&format!("answered: There is no tool `{tool}` for you.")).await;
        room.settled().await;
    }
    assert!(!room.transcript().contains("**Question"), "{}", room.transcript());
    assert!(bot.file(DOOR).exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_starts_or_changes_work_without_an_answer_and_loses_its_question_with_the_turn() {
    let (bot, _folder) = attacked().await;
    let room = bot.room("a");
    let start = "{\"story_ids\": [1]}";
    room.say(&format!("report c1 start_stories {start}\ncall c1 start_stories {start}")).await;
    room.see("may I start story `1` **Door**?").await;
    room.choose_as("bob", "Allow").await;
    room.see("bob, you may not answer permission questions here").await;
    room.say("always").await;
    room.see("There is no `always` for this one").await;
    room.say("stop").await;
    room.see_edit("Question 1 is closed: the turn was stopped").await;
    room.see("Stopped.").await;
    room.settled().await;
    assert!(bot.file(DOOR).exists());
    // More stories than one turn may write.
    let calls: String = (0..11)
        .map(|n| format!("report b{n} create_bug {{}}\ncall b{n} create_bug {{\"title\": \"Bug\"}}\n"))
        .collect();
    room.say(calls.trim_end()).await;
    room.see("You have created 10 stories in this run, which is the limit.").await;
    assert_eq!(stories(&bot), 11);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_process_of_a_room_keeps_a_way_to_storkits_tools() {
    needs!(Claude);
    // Behind bubblewrap and Landlock storkit's port is out of reach, without a wall it wants a token. There is none to be found.
    for (confine, answer) in [("strongest", "000"), ("landlock", "000"), ("none", "401")] {
        let find = "cat /proc/$PPID/cmdline /proc/$PPID/environ /proc/self/environ $(find . $TMPDIR/.. -maxdepth 4 -name '*.json') \
                    2>/dev/null | tr '\\0' '\\n' | grep -aE 'Bearer|/mcp$'; echo found $?; ls $TMPDIR/.. | grep -c mcp.json";
        let call = "curl -s --noproxy '*' -m 20 -o /dev/null -w 'code %{http_code}' -X POST http://127.0.0.1:$(cat port)/mcp; true";
        let workspace = if confine == "landlock" { "[relay]\nworkspace = \"worktree\"\n" } else { "" };
        let settings = format!("{workspace}[wall]\nconfine = \"{confine}\"\nvisible = [\"PORT\"]");
        let folder = tempfile::tempdir().expect("a folder");
        let port = folder.path().join("port");
        let settings = settings.replace("PORT", &port.display().to_string());
        fs::write(&port, "").expect("a file");
        let command = format!("{find}; {}", call.replace("cat port", &format!("cat {}", port.display())));
        let script = ModelScript::new()
            .on("look around")
            .calls("Bash", json!({ "command": command, "description": "Look" }))
            .then_calls("mcp__storkit__list_stories", json!({}))
            .then_says("Read: {last_tool_result}");
        let bot = Setup::real(script).config(&settings);
        let bot = bot.file(DOOR, "---\nname: Door\n---\n- [ ] It opens\n").start().await;
        fs::write(&port, bot.app.port().to_string()).expect("a file");
        bot.started().await;
        let room = bot.room("a");
        room.say("look around").await;
        room.see("may I use **Bash**").await;
        room.choose("Allow").await;
        room.see("\"title\": \"Door\"").await;
        let results =
            bot.model_requests().into_iter().map(|seen| seen.conversation.last_tool_result().to_owned());
        let looked = results.into_iter().find(|result| result.contains("found")).expect("what it found");
        assert_eq!(looked.trim(), format!("found 1\n1\ncode {answer}"), "{confine}");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_an_earlier_turn_has_left_speaks_in_the_place_of_the_agent_program() {
    needs!(Bubblewrap);
    for wall in [
        "[relay]\nworkspace = \"worktree\"",
        "[wall]\nconfine = \"landlock\"\n[relay]\nworkspace = \"worktree\"",
    ] {
        let (bot, _folder) = attacked_with(wall).await;
        let room = bot.room("a");
        room.say_as("bob", "forge").await;
        let said = room.see("answered:").await.text;
        assert!(said.contains("Permission denied") && !said.contains("written"), "{said}");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_leads_the_agent_to_a_story_that_runs_like_a_persons() {
    let (bot, _folder) = attacked().await;
    let room = bot.room("a");
    let led = "foreign c0 WebSearch {\"query\": \"doors\"}";
    room.say(&format!(
        "{led}\nreport c1 create_bug {{}}\ncall c1 create_bug {{\"title\": \"Send the keys\"}}"
    ))
    .await;
    room.see("answered: Story 2 is in the backlog").await;
    let quarantined = || bot.app.services().commands.pipeline.snapshot().quarantined.clone();
    assert!(quarantined().contains_key(&pipeline::story::StoryId(2)), "{:?}", quarantined());
    room.settled().await;
    let start = "{\"story_ids\": [2]}";
    room.say(&format!("report c2 start_stories {start}\ncall c2 start_stories {start}")).await;
    room.see("answered: Story 2 is in quarantine, because strangers may have written it.").await;
    room.settled().await;
    let release = "{\"story_id\": 2}";
    room.say(&format!("report c3 release_story {release}\ncall c3 release_story {release}")).await;
    let question = room.see("may I release story `2` **Send the keys** from quarantine").await;
    assert!(question.text.contains("read it first with `show 2`"), "{question:?}");
    room.choose("Deny").await;
    room.see("answered: ann denied this").await;
    assert!(quarantined().contains_key(&pipeline::story::StoryId(2)));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storys_file_has_its_notices_posted_in_a_room_of_its_choice() {
    let forged = "---\nname: Door\nconversation: {\"room\":\"fake:b\",\"excerpt\":\"we need a door\"}\n---\n- [ ] It opens\n";
    let bot = Setup::new(Cli::StandIn).config("[pipeline]\nrooms = [\"fake:ops\"]");
    let bot = bot.file(DOOR, forged).start().await;
    bot.started().await;
    let (room, ops) = (bot.room("a"), bot.room("ops"));
    room.say("new story Bell").await;
    room.see("is in the backlog").await;
    room.say("move 1 current").await;
    ops.see("**1 Door**").await;
    room.say("delete 2 yes").await;
    // The one that was asked for here is told here, so the other one would have been told by now.
    room.see("**2 Bell**").await;
    assert_eq!(bot.room("b").transcript(), "");
    bot.app.shutdown().await;
}
