//! Files that come with stories: their names are written by strangers, and the folder for them may come with a repository.

use std::{fs, os::unix::fs::symlink};

use adapters::{Enclosed, SentFile, testing::fake::FakeRoom};
use e2e::{Bot, Cli, KEY, Program, Setup, git};
use needs::{needs, walls};
use scripted_model::{ModelScript, ScriptedModel};
use serde_json::json;

/// What the attacker wants to have on the board, or to read.
const SECRET: &str = "only-for-the-operator";

/// One red pixel.
const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0, 1, 0, 0,
    0, 1, 8, 2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 0x0c, 0x49, 0x44, 0x41, 0x54, 8, 0xd7, 0x63, 0xf8,
    0xcf, 0xc0, 0, 0, 3, 1, 1, 0, 0x18, 0xdd, 0x8d, 0xb0, 0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42,
    0x60, 0x82,
];

const NOBODY: &str = "[[agent]]\nname = \"boss\"\nstage = \"supervisor\"\n";

async fn start(settings: &str) -> Bot {
    let setup = Setup::new(Cli::StandIn).config(settings).committed("README.md", "one\n");
    let bot = setup.file(".storkit/project.toml", NOBODY).start().await;
    bot.started().await;
    bot
}

async fn says_with(room: &FakeRoom, text: &str, files: Vec<SentFile>) {
    room.say_with(text, Enclosed { files, quotes: Vec::new() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_file_leads_out_of_its_folder_or_hides_what_it_is() {
    let bot = start("").await;
    let room = bot.room("a");
    let names = [
        "../../../README.md",
        "/etc/cron.d/evil",
        "..\\..\\run.bat",
        ".git",
        "-rf",
        "a\nb\0c.txt",
        "gpj.\u{202e}exe",
        "x](http://evil.example) ![y",
        "con.png",
    ];
    let files = names.iter().map(|name| room.file(name, Ok(b"evil"))).collect();
    says_with(&room, "new bug Names\n- one", files).await;
    room.see("**Names** is in the backlog").await;
    // The last one that is written.
    bot.until_on_board("files/1/file-con.png").await;
    let tree = git(&bot.file(""), &["ls-tree", "-r", "storkit/board", ".storkit/work/files/"]);
    let listed: Vec<&str> = tree.lines().map(|line| line.rsplit('/').next().unwrap_or_default()).collect();
    assert_eq!(
        listed,
        [
            "README.md",
            "a_b_c.txt",
            "evil",
            "evil.example_y",
            "file-con.png",
            "git",
            "gpj.exe",
            "rf",
            "run.bat"
        ]
    );
    assert!(tree.lines().all(|line| line.starts_with("100644 blob ")), "{tree}");
    assert_eq!(fs::read_to_string(bot.file("README.md")).expect("the project's own"), "one\n");
    let text = fs::read_to_string(bot.file(".storkit/work/1_backlog/1_bug_names.md")).expect("the story");
    assert!(!text.contains("http:") && !text.contains('\u{202e}'), "{text}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_place_of_the_folder_takes_files_elsewhere_or_brings_others_to_the_board() {
    let bot = start("").await;
    let room = bot.room("a");
    let elsewhere = tempfile::tempdir().expect("a folder");
    fs::create_dir(elsewhere.path().join("1")).expect("a folder");
    fs::write(elsewhere.path().join("1/key.txt"), SECRET).expect("a secret");
    let files = bot.file(".storkit/work/files");
    symlink(elsewhere.path(), &files).expect("a link");
    says_with(&room, "new bug One\n- one", vec![room.file("door.png", Ok(b"x"))]).await;
    let told = room.see("**One** is in the backlog").await.text;
    assert!(told.contains("I did not get `door.png`") && told.contains("is a symbolic link"), "{told}");
    bot.until_on_board("1_backlog/1_bug_one.md").await;

    fs::remove_file(&files).expect("it goes");
    fs::create_dir(&files).expect("a folder");
    symlink(elsewhere.path().join("1"), files.join("1")).expect("a link");
    says_with(&room, "edit 1", vec![room.file("door.png", Ok(b"x"))]).await;
    room.see("is a symbolic link").await;
    room.say("delete 1 yes").await;
    room.see("is a symbolic link").await;
    says_with(&room, "new bug Two\n- one", vec![room.file("door.png", Ok(b"x"))]).await;
    room.see("Story `2` has `door.png` beside it now.").await;
    bot.until_on_board("files/2/door.png").await;
    let names = git(&bot.file(""), &["ls-tree", "-r", "--name-only", "storkit/board"]);
    assert!(!names.contains("key.txt"), "{names}");
    let left: Vec<_> = fs::read_dir(elsewhere.path().join("1")).expect("a folder").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_among_a_storys_files_shows_an_agent_what_its_wall_hides() {
    for wall in walls() {
        let bot = start(&format!("[wall]\nconfine = \"{wall}\"\n[relay]\nworkspace = \"worktree\"\n")).await;
        let room = bot.room("a");
        let hidden = bot.file(".storkit/hidden.txt");
        fs::write(&hidden, SECRET).expect("a secret");
        says_with(&room, "new bug One\n- one", vec![room.file("door.txt", Ok(b"a red door"))]).await;
        room.see("beside it now").await;
        let folder = bot.file(".storkit/work/files/1");
        symlink(&hidden, folder.join("key.txt")).expect("a link");
        room.say(&format!("bash cat {0}/door.txt {0}/key.txt; echo x >> {0}/door.txt", folder.display()))
            .await;
        room.see("may I use **Bash**").await;
        room.say("yes").await;
        let said = room.see("a red door").await.text;
        room.settled().await;
        assert!(!room.transcript().contains(SECRET), "{wall}: {said}");
        assert_eq!(fs::read_to_string(folder.join("door.txt")).expect("its file"), "a red door", "{wall}");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_beside_a_story_leads_a_person_to_a_rule() {
    needs!(Claude, Wall);
    // From the worktree, which lies in `.storkit/worktrees`.
    let picture = "../../work/files/1/door.png";
    let bash =
        |number: u32| json!({ "command": format!("python3 -c 'print({number})'"), "description": "Run it" });
    let script = ModelScript::new()
        .on_start("Do story 1")
        .calls("Bash", bash(1))
        .calls("Read", json!({ "file_path": picture }))
        .then_calls("Bash", bash(2))
        .then_says("Done.");
    let model = ScriptedModel::with_key(script, KEY).expect("the model is served");
    let program = Program::with_real_cli(&model);
    program.write_settings("gates = [\"true\"]\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\n");
    program.write_config("[pipeline]\nrooms = [\"console:main\"]");
    let _serving = program.serve();
    let mut terminal = program.terminal();
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("door.png"), PNG).expect("a picture");
    terminal.say(&format!("new bug Door @{}", place.path().join("door.png").display()));
    terminal.see("has `door.png` beside it now");
    terminal.say("start 1");
    let question = terminal.see("print(1)");
    assert!(question.contains("or `always`") && !question.contains("strangers"), "{question}");
    terminal.say("yes 1");
    let question = terminal.see("print(2)");
    assert!(question.contains(".storkit/work/files/1/door.png"), "{question}");
    assert!(question.contains("So there is no `always`"), "{question}");
    let saw = model.requests().iter().any(|seen| seen.images.iter().any(|kind| kind == "image/png"));
    assert!(saw, "the agent opened the picture");
    terminal.say("no 2");
}
