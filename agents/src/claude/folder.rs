//! The private folder of one process: its FIFO, what is too long or too secret for an argument, its temporary
//! files. Gone when the process is.

use std::{
    fs,
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    },
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode as Bits, mknodat};

use super::{
    input::plain,
    launch::{ArgumentFiles, Launch, MAX_ARGUMENT, PermissionRoute, PromptMode, mcp_config},
};

/// What every folder's name begins with.
const PREFIX: &str = "cc-";

/// A Unix socket's path holds 107 bytes; the CLI makes `<TMPDIR>/cc-socks/<pid>.sock`.
const MAX_FOLDER: usize = 107 - "/t/cc-socks/4194304.sock".len();

/// The folder (0700) and what is in it (0600). Dropping it removes both.
#[derive(Debug)]
pub(super) struct RunFolder {
    dir: tempfile::TempDir,
    files: ArgumentFiles,
}

impl RunFolder {
    /// Makes the folder and all the files that the launch needs.
    pub(super) fn create(launch: &Launch) -> io::Result<Self> {
        let dir = short_dir(&launch.runtime_dir)?;
        let path = dir.path();
        let files = ArgumentFiles {
            fifo: path.join("in"),
            prompt: path.join("prompt"),
            mcp: path.join("mcp.json"),
            system_prompt: path.join("system"),
            tmp: path.join("t"),
        };
        fs::DirBuilder::new().mode(0o700).create(&files.tmp)?;
        let folder = Self { dir, files };
        folder.fill(launch)?;
        Ok(folder)
    }

    /// Where its files are.
    pub(super) fn files(&self) -> &ArgumentFiles {
        &self.files
    }

    fn fill(&self, launch: &Launch) -> io::Result<()> {
        match &launch.mode {
            PromptMode::Live => mknodat(CWD, &self.files.fifo, FileType::Fifo, Bits::RUSR | Bits::WUSR, 0)?,
            PromptMode::OneShot { prompt } if prompt.len() > MAX_ARGUMENT => {
                write_private(&self.files.prompt, plain(prompt).as_bytes())?;
            }
            PromptMode::OneShot { .. } => {}
        }
        if let PermissionRoute::Mcp { url, token } = &launch.permissions {
            write_private(&self.files.mcp, mcp_config(url, token).to_string().as_bytes())?;
        }
        match &launch.append_system_prompt {
            Some(text) if text.len() > MAX_ARGUMENT => {
                write_private(&self.files.system_prompt, text.as_bytes())
            }
            _ => Ok(()),
        }
    }

    /// Removes it, and says in the log where that fails.
    pub(super) fn remove(self) {
        let path = self.dir.path().to_owned();
        if let Err(error) = self.dir.close() {
            tracing::warn!(%error, path = %path.display(), "a folder of a Claude Code process stays behind");
        }
    }
}

/// A fresh folder where it was asked for, or below the system's temporary folder if that path is too long for
/// sockets.
pub(crate) fn short_dir(wanted: &Path) -> io::Result<tempfile::TempDir> {
    let wanted = std::path::absolute(wanted)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&wanted)?;
    let mut name = tempfile::Builder::new();
    name.prefix(PREFIX).permissions(fs::Permissions::from_mode(0o700));
    let dir = name.tempdir_in(&wanted)?;
    if dir.path().as_os_str().as_bytes().len() <= MAX_FOLDER {
        return Ok(dir);
    }
    let short = std::env::temp_dir();
    let short =
        if short.as_os_str().len() + "/cc-123456".len() <= MAX_FOLDER { &short } else { Path::new("/tmp") };
    name.tempdir_in(short)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Removes what a killed storkit left of its processes' folders; for the start of the only one of its project.
pub fn remove_leftovers(runtime_dir: &Path) {
    let Ok(entries) = fs::read_dir(runtime_dir) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if ours && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(%error, path = %entry.path().display(), "a leftover folder could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::{SessionId, SessionStart};

    fn launch(runtime_dir: &Path) -> Launch {
        Launch {
            command: vec!["claude".into()],
            cwd: "/".into(),
            runtime_dir: runtime_dir.into(),
            start: SessionStart::New(SessionId::random()),
            mode: PromptMode::OneShot { prompt: "p".repeat(MAX_ARGUMENT + 1) },
            permissions: PermissionRoute::Mcp {
                url: "http://127.0.0.1:1/mcp".into(),
                token: "secret".into(),
            },
            model: None,
            append_system_prompt: Some("s".repeat(MAX_ARGUMENT + 1)),
            trust_project_settings: false,
            env_remove: vec![],
            env: vec![],
            max_turns: None,
            max_budget_usd: None,
            accept_edits: false,
            confine: None,
        }
    }

    #[test]
    fn what_is_secret_is_readable_by_its_owner_only_and_gone_afterwards() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = RunFolder::create(&launch(&place.path().join("run"))).expect("a folder of the run");
        let path = folder.dir.path().to_owned();
        let bits = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!([bits(&place.path().join("run")), bits(&path), bits(&folder.files.tmp)], [0o700; 3]);
        let files = [&folder.files.prompt, &folder.files.mcp, &folder.files.system_prompt];
        assert_eq!(files.map(|file| bits(file)), [0o600; 3]);
        assert!(fs::read_to_string(&folder.files.mcp).expect("the configuration").contains("Bearer secret"));
        folder.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_long_runtime_folder_still_leaves_room_for_the_sockets() {
        let place = tempfile::tempdir().expect("a folder");
        let mut live = launch(&place.path().join("l".repeat(100)));
        live.mode = PromptMode::Live;
        let folder = RunFolder::create(&live).expect("a folder of the run");
        assert!(folder.files.tmp.join("cc-socks/4194304.sock").as_os_str().len() <= 107);
        let bits = fs::metadata(&folder.files.fifo).expect("a FIFO").permissions().mode();
        assert_eq!(bits & 0o777, 0o600);
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("cc-abc/t")).unwrap();
        fs::write(dir.path().join("history"), "kept").unwrap();
        remove_leftovers(dir.path());
        assert!(!dir.path().join("cc-abc").exists() && dir.path().join("history").exists());
    }
}
