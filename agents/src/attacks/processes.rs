//! Attacks on other processes, and by inherited files and variables.

use std::{
    fs::{self, OpenOptions},
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Resource, getrlimit, test_kill_process};

use super::targets::{AttackTargets, OperatorAccessTarget, has_canary};
use crate::tree;

/// Where the CLI keeps the token of a login.
const LOGIN: &str = ".credentials.json";

/// A machine survives so many.
const MOST_PROCESSES: u64 = 16_384;

/// A blank: nothing happens where it arrives.
static TYPED: u8 = b' ';

/// Names of the variables that hold a secret.
pub(super) fn secrets_in_environment(_: &AttackTargets) -> Vec<String> {
    let secret =
        std::env::vars_os().filter(|(name, value)| !is_of_model(name) && has_canary(value.as_bytes()));
    secret.map(|(name, _)| name.to_string_lossy().into_owned()).collect()
}

fn is_of_model(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(crate::model_proxy::is_model_variable)
}

/// Where a key of the model, or a login's token, was found.
pub(super) fn key_of_the_model(_: &AttackTargets) -> Vec<String> {
    let variables =
        std::env::vars_os().filter(|(name, value)| is_of_model(name) && has_canary(value.as_bytes()));
    let mut found: Vec<String> = variables.map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    let folders = ["CLAUDE_CONFIG_DIR", "HOME"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    let files = folders.flat_map(|folder| [folder.join(LOGIN), folder.join(".claude").join(LOGIN)]);
    let readable = |file: &PathBuf| fs::read(file).is_ok_and(|text| has_canary(&text));
    found.extend(files.filter(readable).map(|file| file.display().to_string()));
    let own = std::process::id().to_string();
    for process in numbers().filter(|process| *process != own) {
        for name in ["environ", "cmdline"] {
            let file = Path::new("/proc").join(&process).join(name);
            if readable(&file) {
                found.push(file.display().to_string());
            }
        }
    }
    found
}

fn numbers() -> impl Iterator<Item = String> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether the process of that number is storkit's here, too.
fn is_visible(storkit: &OperatorAccessTarget) -> bool {
    tree::row(storkit.pid).is_some_and(|row| row.seen.started() == storkit.started)
}

pub(super) fn reads_storkit(targets: &AttackTargets) -> Vec<String> {
    let storkit = &targets.operator;
    if !is_visible(storkit) {
        return Vec::new();
    }
    let folder = Path::new("/proc").join(storkit.pid.to_string());
    let opens = |name: &&&str| match **name {
        // Root may list the numbers of its own users' files; where they lead is what counts.
        "fd" => fs::read_dir(folder.join("fd"))
            .is_ok_and(|entries| entries.flatten().any(|entry| fs::read_link(entry.path()).is_ok())),
        "root" | "cwd" => fs::read_dir(folder.join(name)).is_ok(),
        _ => fs::File::open(folder.join(**name)).is_ok_and(|mut file| {
            // Some of them can be opened by all, and read by few.
            std::io::Read::read(&mut file, &mut [0; 1]).is_ok_and(|read| read > 0)
        }),
    };
    ["environ", "mem", "maps", "fd", "root", "cwd"]
        .iter()
        .filter(opens)
        .map(|name| format!("/proc/PID/{name}"))
        .collect()
}

pub(super) fn signals_storkit(targets: &AttackTargets) -> Vec<String> {
    let storkit = &targets.operator;
    let reached =
        is_visible(storkit) && Pid::from_raw(storkit.pid).is_some_and(|pid| test_kill_process(pid).is_ok());
    reached.then(|| "a signal to storkit".to_owned()).into_iter().collect()
}

pub(super) fn sees_storkit(targets: &AttackTargets) -> Vec<String> {
    let seen = is_visible(&targets.operator);
    seen.then(|| "storkit's command line".to_owned()).into_iter().collect()
}

/// Open files behind the standard ones that lead to the folder.
pub(super) fn uses_open_files(targets: &AttackTargets) -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let leads = |path: &PathBuf| fs::read_link(path).is_ok_and(|target| target == targets.open_folder);
    entries.map(|entry| entry.path()).filter(leads).map(|path| path.display().to_string()).collect()
}

pub(super) fn types_into_terminal(targets: &AttackTargets) -> Vec<String> {
    let open =
        |path: &Path| OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path);
    let mut found = Vec::new();
    if let Some(terminal) = targets.terminal.as_deref().filter(|terminal| open(terminal).is_ok()) {
        found.push(terminal.display().to_string());
    }
    // An agent has a terminal of its own, into which it cannot type either.
    if let Ok(own) = open(Path::new("/dev/tty"))
        && (!targets.types || types(&own))
    {
        found.push("/dev/tty".into());
    }
    found
}

#[allow(unsafe_code)]
fn types(terminal: &fs::File) -> bool {
    // SAFETY: the kernel reads one byte at the pointer, which lives.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, &raw const TYPED) == 0 }
}

pub(super) fn has_privileges(_: &AttackTargets) -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let has_none = value("CapEff:").is_some_and(|mask| mask.bytes().all(|byte| byte == b'0'));
    let can_gain = value("NoNewPrivs:") != Some("1");
    let found = [(!has_none, "capabilities"), (can_gain, "programs that are set-user-ID")];
    found.into_iter().filter(|(there, _)| *there).map(|(_, what)| what.to_owned()).collect()
}

pub(super) fn has_no_limits(_: &AttackTargets) -> Vec<String> {
    let processes = getrlimit(Resource::Nproc).maximum;
    let found = [
        (getrlimit(Resource::Core).maximum != Some(0), "core dumps"),
        (processes.is_none_or(|most| most > MOST_PROCESSES), "processes without end"),
    ];
    found.into_iter().filter(|(there, _)| *there).map(|(_, what)| what.to_owned()).collect()
}
