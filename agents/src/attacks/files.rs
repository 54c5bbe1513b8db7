//! Attacks on files.

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::targets::{AttackFiles, AttackTargets, has_canary};

/// More of a file is not read.
const MOST: u64 = 1 << 20;

/// Files that are opened for writing, and not written: with a program's name in the third one, the kernel runs that program outside.
const SYSTEM_FILES: [&str; 6] = [
    "/etc/passwd",
    "/etc/ld.so.preload",
    "/proc/sys/kernel/core_pattern",
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/modprobe",
    "/usr/bin/env",
];

/// The canaries that can be read, and the operator's own files that can be opened.
pub(super) fn opened(files: AttackFiles<'_>) -> Vec<String> {
    let canaries = files.canaries.iter().filter(|path| reads_canary(path));
    let own = files.own.iter().filter(|own| own.is_here() && can_open(&own.path)).map(|own| &own.path);
    canaries.chain(own).map(|path| shown(path)).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn reads_canary(path: &Path) -> bool {
    let mut text = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut text));
    read.is_ok() && has_canary(&text)
}

/// Whether a file can be opened, or a folder listed. Nothing is read.
fn can_open(path: &Path) -> bool {
    match path.is_dir() {
        true => fs::read_dir(path).is_ok(),
        // Not waiting: it may be a FIFO.
        false => {
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).is_ok()
        }
    }
}

/// Appends to the files, and makes those that are missing. Who looks at them outside knows whether it arrived.
pub(super) fn write(attack: &str, files: AttackFiles<'_>) {
    for path in files.canaries {
        if attack == "file-modes" {
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o777));
            continue;
        }
        if let Some(above) = path.parent() {
            let _ = fs::create_dir_all(above);
        }
        // A file that may not be written could be replaced.
        let append = |path: &PathBuf| OpenOptions::new().append(true).create(true).open(path);
        let replaced = || fs::remove_file(path).and_then(|()| append(path));
        if let Ok(mut file) = append(path).or_else(|_| replaced()) {
            let _ = file.write_all(b"# written by an attack\n");
        }
    }
}

/// Reads the operator's keys by a link in a folder of its own.
pub(super) fn through_a_link(targets: &AttackTargets) -> Vec<String> {
    let link = std::env::temp_dir().join(format!("storkit-link-{}", std::process::id()));
    let secrets = targets.read.get("operators-keys").into_iter().flatten();
    let mut found = Vec::new();
    for secret in secrets.take(3) {
        if symlink(secret, &link).is_ok() {
            found.extend(reads_canary(&link).then(|| shown(secret)));
            let _ = fs::remove_file(&link);
        }
    }
    found
}

/// The operator's files that can be seen, though not read.
pub(super) fn sees_names(targets: &AttackTargets) -> Vec<String> {
    let canaries = targets.read.get("operators-keys").into_iter().flatten().filter(|path| has_size(path));
    let own = targets.open.get("operators-keys").into_iter().flatten();
    let own = own.filter(|own| own.is_here()).map(|own| &own.path);
    canaries.chain(own).take(5).map(|path| shown(path)).collect()
}

// An empty file or folder of the same name may be in a private home.
fn has_size(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0)
}

pub(super) fn opens_system_files(_: &AttackTargets) -> Vec<String> {
    let opens = |path: &&&str| {
        let file = OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(path);
        file.is_ok()
    };
    SYSTEM_FILES.iter().filter(opens).map(|path| (*path).to_owned()).collect()
}
