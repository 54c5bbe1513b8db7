//! Where a journey takes place: its folder, and the watch that none of the marked secrets it was given is seen there.
//!
//! All that runs there holds the place; the last one that goes looks at what is left, and ends the test if a secret was seen.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use services::{MARK, slack, whatsapp};
use tempfile::TempDir;

/// Named in bot.toml as `${STORKIT_TEST_TOKEN}`.
pub const TOKEN_VARIABLE: &str = "STORKIT_TEST_TOKEN";

/// Its value; the agents get it as `GATEWAY_TOKEN`, since bot.toml says so.
pub const TOKEN: &str = "m4rked-5ecret-token";

/// The model's key.
pub const KEY: &str = "sk-ant-m4rked-5ecret-key";

/// Where agents write what they find; see `stand_in/guard.rs`.
const REPORT_VARIABLE: &str = "STORKIT_TEST_REPORT";

/// A folder with a project, and what was seen of secrets.
pub struct Place {
    folder: TempDir,
    seen: Mutex<Vec<String>>,
}

/// Every variable with a secret that a journey gives to storkit. Those of messengers are there without their messengers, too.
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
    /// A fresh folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), seen: Mutex::default() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The project in it.
    pub fn project(&self) -> PathBuf {
        self.path().join("project")
    }

    /// Tells agents where to report to.
    pub fn report_variable(&self) -> (String, String) {
        (REPORT_VARIABLE.to_owned(), self.report().display().to_string())
    }

    /// A text of storkit that is to hold no marked secret.
    pub fn look(&self, what: &str, text: &str) {
        self.look_for(&[("a marked secret".to_owned(), MARK.to_owned())], what, text);
    }

    /// The same, and none of the secrets that storkit has made here: a look at the disk, for when something ends.
    pub fn look_hard(&self, what: &str, text: &str) {
        self.look_for(&self.known(), what, text);
    }

    /// Command lines of this process and of all that it started.
    pub fn look_at_processes(&self, root: u32) {
        let known = self.known();
        for (pid, command_line) in command_lines_below(root) {
            self.look_for(&known, &format!("the command line of process {pid}"), &command_line);
        }
    }

    fn look_for(&self, known: &[(String, String)], what: &str, text: &str) {
        for (name, secret) in known {
            if let Some(at) = text.find(secret.as_str()) {
                let before: Vec<char> = text[..at].chars().rev().take(200).collect();
                let before: String = before.into_iter().rev().collect();
                self.tell(format!("{name} is in {what}, behind: {before}"));
            }
        }
    }

    fn tell(&self, leak: String) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(leak);
    }

    fn report(&self) -> PathBuf {
        self.path().join("report")
    }

    /// What may be seen nowhere: all that is marked, what storkit got from Matrix or made for it, and the tokens of its agents.
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

    /// Files of the project that others may read, and logs whoever may read them.
    fn look_at_files(&self, known: &[(String, String)], folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.is_dir() && !path.ends_with(".git/objects") {
                self.look_at_files(known, &path);
            }
            let log = path.ends_with(".storkit/logs/storkit.log");
            if meta.is_file() && (log || meta.permissions().mode() & 0o077 != 0) {
                let text = fs::read(&path).unwrap_or_default();
                let what = format!("{} ({:o})", path.display(), meta.permissions().mode() & 0o7777);
                self.look_for(known, &what, &String::from_utf8_lossy(&text));
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
            .for_each(|leak| self.tell(leak.to_owned()));
        self.look_at_files(&self.known(), &self.project());
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        if seen.is_empty() {
            return;
        }
        // A test that fails already has a reason of its own; this may be what is behind it.
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
        // A process that ended while this was read may have left a circle behind.
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
