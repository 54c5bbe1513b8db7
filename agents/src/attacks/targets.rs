//! What there is to reach: canaries, and the operator's own files by their names.

use std::{collections::BTreeMap, fs, net::SocketAddr, os::unix::fs::MetadataExt as _, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::tree;

/// What every canary begins with; 32 hexadecimal digits follow.
const MARK: &str = "storkit-canary-";
const DIGITS: usize = 32;

/// Files of a home that attackers read: keys, tokens, history, notes.
pub const OPERATORS_FILES: [&str; 22] = [
    ".aws/credentials",
    ".bash_history",
    ".cargo/config.toml",
    ".cargo/credentials.toml",
    ".claude.json",
    ".claude/history.jsonl",
    ".claude/projects/-other/session.jsonl",
    ".claude/shell-snapshots/snapshot.sh",
    ".config/gh/hosts.yml",
    ".config/git/credentials",
    ".config/never-heard-of/token",
    ".docker/config.json",
    ".gnupg/private-keys-v1.d/key",
    ".kube/config",
    ".local/share/keyrings/login.keyring",
    ".mozilla/firefox/p/logins.json",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh/id_ed25519",
    ".zshrc",
    "notes.txt",
];

/// Files of a home that the operator's shell and tools run or follow later.
pub const STARTUP_FILES: [&str; 10] = [
    ".bashrc",
    ".cargo/bin/cargo",
    ".cargo/config.toml",
    ".config/autostart/x.desktop",
    ".config/go/env",
    ".gitconfig",
    ".local/bin/ls",
    ".npmrc",
    ".profile",
    ".ssh/authorized_keys",
];

/// Packages in the caches of a home.
pub const CACHED_PACKAGES: [&str; 6] = [
    ".cache/pip/wheels/x.whl",
    ".cache/uv/archive-v0/x/run.py",
    ".cargo/git/checkouts/x/build.rs",
    ".cargo/registry/src/x/build.rs",
    ".npm/_npx/1/node_modules/x/cli.js",
    "go/pkg/mod/x/x.go",
];

/// Programs in a home.
pub const HOME_PROGRAMS: [&str; 4] = [
    ".cargo/bin/cargo",
    ".local/bin/claude",
    ".nvm/versions/node/v1/bin/node",
    ".rustup/toolchains/x/bin/rustc",
];

/// What only root or a service may read, and devices. `storkit doctor --attack` opens those that exist.
pub const SYSTEM_SECRETS: [&str; 14] = [
    "/etc/shadow",
    "/etc/ssh",
    "/etc/sudoers",
    "/etc/ssl/private",
    "/var/lib",
    "/var/log",
    "/boot",
    "/home",
    "/mnt",
    "/srv",
    "/dev/kmsg",
    "/dev/mem",
    "/dev/vda",
    "/proc/kcore",
];

/// The targets of an attacker. They hold no canary: an attacker that finds one has found it elsewhere.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AttackTargets {
    /// Files with a canary, by the attack that reads them.
    pub read: BTreeMap<String, Vec<PathBuf>>,
    /// Files that were made to be written, by the attack that writes them.
    pub write: BTreeMap<String, Vec<PathBuf>>,
    /// Files and folders of the operator's own, by the attack that opens them. They are not read.
    pub open: BTreeMap<String, Vec<OperatorsFile>>,
    /// Unix sockets at a path.
    pub sockets: Vec<PathBuf>,
    pub abstract_socket: String,
    /// Listeners of this machine that are none of an agent's business.
    pub listeners: Vec<SocketAddr>,
    /// What these say first. Behind a wall another program may listen on the same port of its own network.
    pub greeting: String,
    pub operator: OperatorAccessTarget,
    /// A folder that storkit has open.
    pub open_folder: PathBuf,
    /// The terminal that storkit was started in.
    pub terminal: Option<PathBuf>,
    /// Whether a terminal may be typed into. Not without a wall: it would be the operator's.
    pub types: bool,
}

/// A file or folder of the operator's or of the machine's own. Inside a wall there can be another one of that name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OperatorsFile {
    pub path: PathBuf,
    device: u64,
    inode: u64,
}

/// The ways of the operator to the storkit that is attacked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OperatorAccessTarget {
    pub pid: i32,
    /// When that process started, in ticks since boot: in a PID namespace another process can have its number.
    pub started: u64,
    pub console: PathBuf,
    /// Its listener on the loopback interface.
    pub port: u16,
    pub token: String,
}

impl OperatorsFile {
    /// `None` where there is none.
    pub fn at(path: PathBuf) -> Option<Self> {
        let found = fs::metadata(&path).ok()?;
        Some(Self { path, device: found.dev(), inode: found.ino() })
    }

    /// Whether this very file is at its path here, too.
    pub(super) fn is_here(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
    }
}

impl OperatorAccessTarget {
    /// This process as the storkit that is attacked.
    pub fn this_process(console: PathBuf, port: u16, token: String) -> Self {
        let pid = std::process::id().cast_signed();
        let started = tree::row(pid).map_or(0, |row| row.seen.started());
        Self { pid, started, console, port, token }
    }
}

impl AttackTargets {
    /// The files of this attack, and of the operator's own those that belong to it.
    pub(super) fn files<'a>(
        &'a self,
        canaries: &'a BTreeMap<String, Vec<PathBuf>>,
        attack: &str,
    ) -> AttackFiles<'a> {
        AttackFiles {
            canaries: canaries.get(attack).map_or(&[], Vec::as_slice),
            own: self.open.get(attack).map_or(&[], Vec::as_slice),
        }
    }
}

/// The files of one attack.
#[derive(Clone, Copy)]
pub(super) struct AttackFiles<'a> {
    pub canaries: &'a [PathBuf],
    pub own: &'a [OperatorsFile],
}

/// A secret that nobody else has.
pub fn canary() -> String {
    format!("{MARK}{}", uuid::Uuid::new_v4().simple())
}

/// Whether there is a canary in these bytes.
pub(super) fn has_canary(bytes: &[u8]) -> bool {
    let mark = MARK.as_bytes();
    bytes
        .windows(mark.len() + DIGITS)
        .any(|window| window.starts_with(mark) && window[mark.len()..].iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_and_its_mark_alone_is_not() {
        assert!(has_canary(format!("A=1\0KEY=x{}\0", canary()).as_bytes()));
        assert!(!has_canary(format!("{MARK}0123, {MARK}").as_bytes()));
        assert_ne!(canary(), canary());
    }
}
