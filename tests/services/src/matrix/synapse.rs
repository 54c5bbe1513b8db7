//! Synapse on a free port of this machine, with its data in a temporary folder.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use super::tools;

/// How long Synapse may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

// Stops the server at the end of its input, and so also when the test that started it is killed; then its data go too.
const KEEPER: &str = "folder=$1; shift; \"$@\" </dev/null & server=$!; read -r word; kill $server; wait $server; \
                      [ \"$word\" = keep ] || rm -rf \"$folder\"";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    Off,
    /// Synapse's default for messages: 10 at once, then one in 5 s.
    Default,
}

/// A user with a password.
#[derive(Clone, Debug)]
pub struct Account {
    /// The name without server.
    pub name: String,
    pub id: String,
    pub password: String,
}

/// A homeserver. It stops when dropped, or with this process.
pub struct Synapse {
    folder: TempDir,
    port: u16,
    server: Option<Child>,
    users: AtomicU32,
}

impl Synapse {
    /// Starts a new one and waits until it serves; panics with its log if it does not start.
    pub async fn start(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
        let mut synapse = Self { folder, port, server: None, users: AtomicU32::new(0) };
        synapse.configure(limits).await;
        synapse.run().await;
        synapse
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Registers a user with a name that begins like this and was not used yet.
    pub async fn register(&self, name: &str) -> Account {
        let number = self.users.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}{number}");
        let password = format!("{} password of {name}", crate::MARK);
        let body = json!({
            "username": name, "password": password, "inhibit_login": true, "auth": { "type": "m.login.dummy" },
        });
        let answer = self.post("/_matrix/client/v3/register", None, &body).await;
        let id = answer["user_id"].as_str().unwrap_or_else(|| panic!("not registered: {answer}"));
        Account { name, id: id.to_owned(), password }
    }

    /// Logs in as an app would: a device and its access token.
    pub async fn log_in(&self, account: &Account) -> (String, String) {
        let identifier = json!({ "type": "m.id.user", "user": account.name });
        let body =
            json!({ "type": "m.login.password", "identifier": identifier, "password": account.password });
        let answer = self.post("/_matrix/client/v3/login", None, &body).await;
        let text =
            |key: &str| answer[key].as_str().unwrap_or_else(|| panic!("no login: {answer}")).to_owned();
        (text("device_id"), text("access_token"))
    }

    /// Logs this token's user out everywhere.
    pub async fn log_out_all(&self, token: &str) {
        self.post("/_matrix/client/v3/logout/all", Some(token), &json!({})).await;
    }

    /// Joins a room as this token's user.
    pub async fn join(&self, token: &str, room: &str) {
        let answer = self.post(&format!("/_matrix/client/v3/join/{room}"), Some(token), &json!({})).await;
        assert_eq!(answer["room_id"], room, "{answer}");
    }

    /// Stops it and waits for that; its data stay.
    pub async fn stop(&mut self) {
        let mut server = self.server.take().expect("it runs");
        let mut input = server.stdin.take().expect("a pipe");
        input.write_all(b"keep\n").await.expect("it listens");
        drop(input);
        server.wait().await.expect("it ends");
    }

    /// Starts it again on its data and port; panics with its log if it does not start.
    pub async fn run(&mut self) {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(self.folder.path()).arg(tools().join("bin/python"));
        command.args(["-m", "synapse.app.homeserver", "--config-path"]).arg(self.file("homeserver.yaml"));
        let log = fs::File::create(self.file("output")).expect("a log file");
        command.current_dir(self.folder.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.server = Some(command.spawn().expect("sh runs"));
        let healthy = async {
            while !reqwest::get(format!("{}/health", self.url()))
                .await
                .is_ok_and(|it| it.status().is_success())
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let output = self.file("output");
        tokio::time::timeout(PATIENCE, healthy).await.unwrap_or_else(|_| {
            panic!("Synapse does not start: {}", fs::read_to_string(output).unwrap_or_default())
        });
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Value {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url())).json(body);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn configure(&self, limits: Limits) {
        // As a module: the program of that name holds the path it was installed at, and folders are moved.
        let generate = ["-m", "synapse._scripts.generate_signing_key"];
        let key = Command::new(tools().join("bin/python")).args(generate).output().await.expect("it runs");
        fs::write(self.file("signing.key"), key.stdout).expect("written");
        let log = json!({ "version": 1, "root": { "level": "WARNING" }, "disable_existing_loggers": false });
        fs::write(self.file("log.yaml"), log.to_string()).expect("written");
        fs::write(self.file("homeserver.yaml"), self.config(limits).to_string()).expect("written");
    }

    // Every JSON document is valid YAML, so no YAML writer is needed.
    fn config(&self, limits: Limits) -> Value {
        let free = json!({ "per_second": 100_000, "burst_count": 100_000 });
        let mut config = json!({
            "server_name": "test",
            "public_baseurl": format!("{}/", self.url()),
            "listeners": [{
                "port": self.port, "type": "http", "bind_addresses": ["127.0.0.1"],
                "resources": [{ "names": ["client"], "compress": false }],
            }],
            "database": { "name": "sqlite3", "args": { "database": self.file("homeserver.db") } },
            "media_store_path": self.file("media"),
            "signing_key_path": self.file("signing.key"),
            "log_config": self.file("log.yaml"),
            "pid_file": self.file("pid"),
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            "report_stats": false,
            "enable_registration": true,
            "enable_registration_without_verification": true,
            "bcrypt_rounds": 4,
            "rc_registration": free,
            "rc_login": { "address": free, "account": free, "failed_attempts": free },
            "rc_joins": { "local": free, "remote": free },
            "rc_joins_per_room": free,
            "rc_invites": { "per_room": free, "per_user": free, "per_issuer": free },
            "rc_room_creation": free,
            "rc_presence": { "per_user": free },
        });
        if limits == Limits::Off {
            config["rc_message"] = free;
        }
        config
    }
}
