//! The picture in docs/matrix.md: Nheko, a client that shares no code with ours, in an encrypted room with the bot.
//!
//! No test: `script/matrix-screenshot` runs it.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use e2e::Program;
use needs::needs;
use scripted_model::{ModelScript, ScriptedModel};
use serde_json::{Value, json};
use services::matrix::{Account, Limits, Synapse};
use tempfile::TempDir;

/// The screen: so high that nothing scrolls, since lines that scroll leave traces in Nheko.
const SIZE: (u32, u32) = (900, 1160);
const PATIENCE: Duration = Duration::from_secs(90);
const ANSWER: &str = "Two tests, both in `tests/price.rs`:\n\n| test | what it checks | cases |\n|---|---|--:|\n\
                      | `rounds_half_up` | half a cent is rounded **up** | 12 |\n| `never_negative` | refunds stop at zero | 4 |\n\n\
                      What is missing is a price without tax:\n\n```rust\n#[test]\nfn no_tax_no_change() {\n    \
                      assert_eq!(price(1_00, Tax::NONE), \"1.00\");\n}\n```";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes docs/matrix.png; script/matrix-screenshot runs it"]
async fn a_prompt_a_question_and_htop_in_a_real_client() {
    needs!(Claude, Synapse);
    let synapse = Synapse::start(Limits::Off).await;
    let (bea, timmy) = (synapse.register("bea").await, synapse.register("timmy").await);
    let script = ModelScript::new().on("Which tests").says(ANSWER).on("Run them").calls(
        "Bash",
        json!({ "command": "cargo test --test price -- --include-ignored", "description": "Run the tests" }),
    );
    let model = ScriptedModel::start(script).expect("it starts");
    let program = Program::with_real_cli(&model);
    let mut nheko = Nheko::start(&synapse, &bea).await;
    let room = nheko.create_room(&timmy).await;
    nheko.set_up_encryption().await;
    program.write_config(&format!(
        "verbosity = 0\n[matrix]\nhomeserver = \"{}\"\nusername = \"{}\"\npassword = \"{}\"\nroom_ids = [\"{room}\"]\nallowed_users = [\"{}\"]\n",
        synapse.url(), timmy.name, timmy.password, bea.id,
    ));
    let _serving = program.serve();
    nheko
        .until(
            "Timmy is here",
            |it| {
                it["type"] == "m.room.member"
                    && it["state_key"] == *timmy.id
                    && it["content"]["membership"] == "join"
            },
            1,
        )
        .await;
    nheko.click(115, 75).await;
    let said = |kind: &'static str| {
        let timmy = timmy.id.clone();
        move |it: &Value| it["type"] == kind && it["sender"] == *timmy
    };
    nheko.say("Which tests do we have for prices?").await;
    nheko.until("the answer", said("m.room.encrypted"), 1).await;
    nheko.say("Run them, please.").await;
    nheko.until("the question and what it offers", said("m.reaction"), 3).await;
    let before = nheko.count(said("m.room.encrypted")).await;
    nheko.say("htop").await;
    nheko.until("htop and an edit of it", said("m.room.encrypted"), before + 2).await;
    nheko.picture();
}

/// Nheko on a screen of its own, logged in as this person.
struct Nheko {
    homeserver: String,
    token: String,
    room: String,
    folder: TempDir,
    display: String,
    screen: Child,
    client: Child,
}

impl Nheko {
    async fn start(synapse: &Synapse, account: &Account) -> Self {
        let (device, token) = synapse.log_in(account).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let number = folder.path().join("display");
        let output = fs::File::create(&number).expect("a file");
        let size = format!("{}x{}x24", SIZE.0, SIZE.1);
        let screen = Command::new("Xvfb")
            .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", &size])
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb runs");
        let display = wait_for("a screen", || {
            fs::read_to_string(&number)
                .ok()
                .filter(|it| it.ends_with('\n'))
                .map(|it| format!(":{}", it.trim()))
        })
        .await;
        let config = folder.path().join("config/nheko");
        fs::create_dir_all(&config).expect("a folder");
        // An `@` that begins a value is written twice.
        let settings = format!(
            "[General]\nrun_without_secure_secrets_service=true\n\n[auth]\naccess_token={token}\ndevice_id={device}\n\
             home_server={}\nuser_id=@{}\n\n[settings]\nscale_factor=1\n\n[user]\ntheme=light\nfont_size=9\ndesktop_notifications=false\n",
            synapse.url(),
            account.id,
        );
        fs::write(config.join("nheko.conf"), settings).expect("written");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let mut client = Command::new("nheko");
        client
            .env("DISPLAY", &display)
            .env("QT_QUICK_BACKEND", "software")
            .env("LANG", "C.UTF-8")
            .env_remove("DBUS_SESSION_BUS_ADDRESS");
        for (name, part) in [
            ("CONFIG_HOME", "config"),
            ("DATA_HOME", "data"),
            ("CACHE_HOME", "cache"),
            ("RUNTIME_DIR", "run"),
        ] {
            client.env(format!("XDG_{name}"), folder.path().join(part));
        }
        let client =
            client.stdout(log.try_clone().expect("another handle")).stderr(log).spawn().expect("nheko runs");
        let (homeserver, room) = (synapse.url(), String::new());
        let nheko = Self { homeserver, token, room, folder, display, screen, client };
        nheko
            .call("PUT", &format!("profile/{}/displayname", account.id), json!({ "displayname": "Bea" }))
            .await;
        nheko.logged("initial sync completed").await;
        nheko
    }

    /// An encrypted room with this user.
    async fn create_room(&mut self, with: &Account) -> String {
        let encryption = json!({ "type": "m.room.encryption", "state_key": "", "content": { "algorithm": "m.megolm.v1.aes-sha2" } });
        // This Nheko knows room versions up to 11.
        let room = json!({ "name": "shop", "preset": "private_chat", "room_version": "11", "invite": [with.id], "initial_state": [encryption] });
        let made = self.call("POST", "createRoom", room).await;
        self.room = made["room_id"].as_str().expect("an id").to_owned();
        self.room.clone()
    }

    /// Agrees to what Nheko offers a new account: an identity of its own, which signs this device. So the bot hears it.
    async fn set_up_encryption(&self) {
        let window = wait_for("a window", || {
            Some(self.tool("xdotool", &["search", "--onlyvisible", "--name", "^nheko"]))
                .filter(|it| !it.is_empty())
        })
        .await;
        let window = window.lines().last().unwrap_or_default().to_owned();
        self.tool("xdotool", &["windowsize", &window, &SIZE.0.to_string(), &SIZE.1.to_string()]);
        self.tool("xdotool", &["windowfocus", &window]);
        let pause = Duration::from_secs(3);
        tokio::time::sleep(pause).await;
        self.click(747, i64::from(SIZE.1) - 39).await;
        self.logged("Crosssigning keys uploaded").await;
        tokio::time::sleep(pause).await;
        // The recovery key that it shows in the middle of the screen.
        self.click(845, i64::from(SIZE.1) / 2 + 33).await;
    }

    async fn say(&self, words: &str) {
        self.click(540, i64::from(SIZE.1) - 20).await;
        self.tool("xdotool", &["type", "--delay", "20", words]);
        self.tool("xdotool", &["key", "Return"]);
    }

    /// Two movements, since Nheko takes a click only where it has seen the mouse come.
    async fn click(&self, x: i64, y: i64) {
        let pause = Duration::from_millis(400);
        for off in [4, 0] {
            self.tool("xdotool", &["mousemove", &(x - off).to_string(), &(y - off).to_string()]);
            tokio::time::sleep(pause).await;
        }
        self.tool("xdotool", &["click", "1"]);
        tokio::time::sleep(pause * 2).await;
    }

    fn picture(&self) {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/matrix.png");
        let file = file.display().to_string();
        self.tool(
            "import",
            &["-window", "root", "-strip", "+dither", "-colors", "200", &format!("png8:{file}")],
        );
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).env("DISPLAY", &self.display).output();
        String::from_utf8_lossy(&output.unwrap_or_else(|error| panic!("{program}: {error}")).stdout)
            .trim()
            .to_owned()
    }

    async fn logged(&self, words: &str) {
        let log = self.folder.path().join("log");
        wait_for(words, || fs::read_to_string(&log).ok().filter(|it| it.contains(words))).await;
    }

    /// Waits until the room has so many of such events, and Nheko has had the time to show them.
    async fn until(&self, what: &str, is_one: impl Fn(&Value) -> bool, at_least: usize) {
        let begun = tokio::time::Instant::now();
        while self.count(&is_one).await < at_least {
            assert!(begun.elapsed() < PATIENCE, "never {what}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    async fn count(&self, is_one: impl Fn(&Value) -> bool) -> usize {
        let page =
            self.call("GET", &format!("rooms/{}/messages?dir=b&limit=500", self.room), Value::Null).await;
        page["chunk"].as_array().map_or(0, |events| events.iter().filter(|it| is_one(it)).count())
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let method = method.parse().expect("a method");
        let request =
            reqwest::Client::new().request(method, format!("{}/_matrix/client/v3/{path}", self.homeserver));
        let request = request.bearer_auth(&self.token);
        let request = if body.is_null() { request } else { request.json(&body) };
        request.send().await.expect("an answer").json().await.expect("JSON")
    }
}

impl Drop for Nheko {
    fn drop(&mut self) {
        for process in [&mut self.client, &mut self.screen] {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

async fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = tokio::time::Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "never {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
