//! The temporary folder of a journey, and the check that no secret leaks. Every secret that a journey gets contains the same mark.
//!
//! Everything that runs in the folder shares the [`Place`]. Dropping the last copy checks the files and fails the test if a secret
//! was seen anywhere.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use needs::Need;
use services::{MARK, slack, whatsapp};
use tempfile::TempDir;

/// Named in bot.toml as `${STORKIT_TEST_TOKEN}`.
pub const TOKEN_VARIABLE: &str = "STORKIT_TEST_TOKEN";

/// These lines of a bot.toml, with rooms in the main checkout unless they say where: there a journey finds the files of its agents.
/// Where there is no bubblewrap, rooms can work in worktrees only.
pub fn with_checkout(toml: &str) -> String {
    match toml.contains("[relay]") {
        true => toml.to_owned(),
        false => {
            let protects_checkout = toml.contains("confine = \"none\"") || Need::Bubblewrap.path().is_some();
            let workspace = if protects_checkout { CHECKOUT } else { "worktree" };
            format!("{toml}\n[relay]\nworkspace = \"{workspace}\"\n")
        }
    }
}

const CHECKOUT: &str = "checkout";

/// Whether rooms work in the main checkout with these lines of a bot.toml.
pub fn works_in_checkout(toml: &str) -> bool {
    with_checkout(toml).contains(&format!("workspace = \"{CHECKOUT}\""))
}

/// Its value. bot.toml passes it to the agents as `GATEWAY_TOKEN`.
pub const TOKEN: &str = "m4rked-5ecret-token";

/// The model's key.
pub const KEY: &str = "sk-ant-m4rked-5ecret-key";

/// The file to which agents report leaks; see `stand_in/guard.rs`.
const REPORT_VARIABLE: &str = "STORKIT_TEST_REPORT";

/// A temporary folder with a project, and the leaks that were found.
pub struct Place {
    folder: TempDir,
    seen: Mutex<Vec<String>>,
}

/// Every variable with a secret that a journey gives to storkit, those of messengers that are not configured included.
pub fn secrets() -> Vec<(String, String)> {
    [
        (TOKEN_VARIABLE, TOKEN.to_owned()),
        ("ANTHROPIC_API_KEY", KEY.to_owned()),
        ("MATRIX_PASSWORD", format!("{MARK}-password")),
        ("SLACK_BOT_TOKEN", slack::BOT_TOKEN.to_owned()),
        ("SLACK_APP_TOKEN", slack::APP_TOKEN.to_owned()),
        ("SLACK_SIGNING_SECRET", slack::SIGNING_SECRET.to_owned()),
        ("WHATSAPP_ACCESS_TOKEN", whatsapp::TOKEN.to_owned()),
        ("WHATSAPP_APP_SECRET", whatsapp::APP_SECRET.to_owned()),
        ("WHATSAPP_VERIFY_TOKEN", whatsapp::VERIFY_TOKEN.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), seen: Mutex::default() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn project(&self) -> PathBuf {
        self.path().join("project")
    }

    /// The variable that names the report file to agents.
    pub fn report_variable(&self) -> (String, String) {
        (REPORT_VARIABLE.to_owned(), self.report().display().to_string())
    }

    /// Records a leak if this text holds a marked secret.
    pub fn check(&self, what: &str, text: &str) {
        self.check_for(&[("a marked secret".to_owned(), MARK.to_owned())], what, text);
    }

    /// Like [`Place::check`], and also checks for secrets that storkit made itself. It reads the disk, so call it
    /// once, when the process is done.
    pub fn check_all(&self, what: &str, text: &str) {
        self.check_for(&self.known(), what, text);
    }

    /// Checks the command lines of this process and its descendants.
    pub fn check_processes(&self, root: u32) {
        let known = self.known();
        for (pid, command_line) in command_lines_below(root) {
            self.check_for(&known, &format!("the command line of process {pid}"), &command_line);
        }
    }

    fn check_for(&self, known: &[(String, String)], what: &str, text: &str) {
        for (name, secret) in known {
            if let Some(at) = text.find(secret.as_str()) {
                let before: Vec<char> = text[..at].chars().rev().take(200).collect();
                let before: String = before.into_iter().rev().collect();
                self.record_leak(format!("{name} is in {what}, behind: {before}"));
            }
        }
    }

    fn record_leak(&self, leak: String) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(leak);
    }

    fn report(&self) -> PathBuf {
        self.path().join("report")
    }

    /// All secrets, by name: the mark, the Matrix access token and recovery key, and the tokens of agents' runs.
    fn known(&self) -> Vec<(String, String)> {
        let mut known = vec![("a marked secret".to_owned(), MARK.to_owned())];
        let matrix = self.project().join(".storkit/matrix");
        let session = fs::read(matrix.join("session.json")).unwrap_or_default();
        let session: HashMap<String, serde_json::Value> =
            serde_json::from_slice(&session).unwrap_or_default();
        let session =
            ["access_token", "refresh_token"].map(|key| session.get(key).and_then(|it| it.as_str()));
        known.extend(
            session.into_iter().flatten().map(|token| ("Matrix's access token".to_owned(), token.to_owned())),
        );
        let key = fs::read_to_string(matrix.join("recovery.key")).unwrap_or_default();
        known.push(("Matrix's recovery key".to_owned(), key.trim().to_owned()));
        let report = fs::read_to_string(self.report()).unwrap_or_default();
        let tokens = report.lines().filter_map(|line| line.strip_prefix("token: "));
        known.extend(tokens.map(|token| ("the token of an agent's run".to_owned(), token.to_owned())));
        known.retain(|(_, secret)| secret.len() >= 8);
        known
    }

    /// Checks the files of the project that other users may read, and all logs.
    fn check_files(&self, known: &[(String, String)], folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.is_dir() && !path.ends_with(".git/objects") {
                self.check_files(known, &path);
            }
            let log = path.ends_with(".storkit/logs/storkit.log");
            if meta.is_file() && (log || meta.permissions().mode() & 0o077 != 0) {
                let text = fs::read(&path).unwrap_or_default();
                let what = format!("{} ({:o})", path.display(), meta.permissions().mode() & 0o7777);
                self.check_for(known, &what, &String::from_utf8_lossy(&text));
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let report = fs::read_to_string(self.report()).unwrap_or_default();
        report
            .lines()
            .filter_map(|line| line.strip_prefix("leak: "))
            .for_each(|leak| self.record_leak(leak.to_owned()));
        self.check_files(&self.known(), &self.project());
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        if seen.is_empty() {
            return;
        }
        // The test fails already, and a second panic would abort it. The leak may be the cause, so print it.
        if std::thread::panicking() {
            return eprintln!("secrets were seen:\n{}", seen.join("\n"));
        }
        panic!("secrets were seen:\n{}", seen.join("\n"));
    }
}

fn command_lines_below(root: u32) -> Vec<(u32, String)> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        parents.insert(pid, parent.unwrap_or(0_u32));
    }
    let below = |pid: &u32| {
        let mut at = *pid;
        // A process that ended during the scan can leave a cycle.
        (0..64).any(|_| {
            let found = at == root;
            at = parents.get(&at).copied().unwrap_or(0);
            found
        })
    };
    let pids = parents.keys().copied().filter(|pid| below(pid));
    pids.map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, String::from_utf8_lossy(&line).replace('\0', " "))
    })
    .collect()
}
