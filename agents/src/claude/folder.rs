//! The private folder of one process, removed with it: the FIFO, values that are too long or too secret
//! for an argument, and temporary files.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode as Bits, mknodat};

use super::{
    input::as_plain_prompt,
    launch::{ArgumentFiles, Launch, MAX_ARGUMENT, PromptMode, mcp_config, settings_of},
};
use crate::{confine::ScratchFolders, runtime_dir::short_dir};

/// The folder (0700) and its files (0600). Dropping it removes both.
#[derive(Debug)]
pub(super) struct RunFolder {
    dir: tempfile::TempDir,
    files: ArgumentFiles,
    /// Private folders behind a wall; they go with this one.
    _scratch: Option<ScratchFolders>,
}

impl RunFolder {
    /// Makes the folder and all the files that the launch needs.
    pub(super) fn create(launch: &Launch) -> io::Result<Self> {
        let dir = short_dir(&launch.program.runtime_dir)?;
        let path = dir.path();
        let files = ArgumentFiles {
            fifo: path.join("in"),
            prompt: path.join("prompt"),
            mcp: path.join("mcp.json"),
            settings: path.join("settings.json"),
            system_prompt: path.join("system"),
            // Short, since the CLI makes a Unix socket in it, whose path is limited to 107 bytes.
            tmp: path.join("t"),
        };
        fs::DirBuilder::new().mode(0o700).create(&files.tmp)?;
        let folder = Self { dir, files, _scratch: None };
        folder.write_files(launch)?;
        Ok(folder)
    }

    /// Keeps the private folders of the wall as long as this one.
    pub(super) fn with_scratch(self, scratch: Option<ScratchFolders>) -> Self {
        Self { _scratch: scratch, ..self }
    }

    pub(super) fn files(&self) -> &ArgumentFiles {
        &self.files
    }

    fn write_files(&self, launch: &Launch) -> io::Result<()> {
        match &launch.mode {
            // Not the PTY: the CLI takes no stream-json from a terminal (2.1.330).
            PromptMode::Live => mknodat(CWD, &self.files.fifo, FileType::Fifo, Bits::RUSR | Bits::WUSR, 0)?,
            PromptMode::OneShot { prompt } if prompt.len() > MAX_ARGUMENT => {
                write_private(&self.files.prompt, as_plain_prompt(prompt).as_bytes())?;
            }
            PromptMode::OneShot { .. } | PromptMode::Deferred => {}
        }
        if let Some(servers) = mcp_config(launch) {
            write_private(&self.files.mcp, servers.to_string().as_bytes())?;
        }
        if let Some(settings) = settings_of(launch) {
            write_private(&self.files.settings, settings.to_string().as_bytes())?;
        }
        match &launch.session.append_system_prompt {
            Some(text) if text.len() > MAX_ARGUMENT => {
                write_private(&self.files.system_prompt, text.as_bytes())
            }
            _ => Ok(()),
        }
    }

    /// Removes it; logs a failure.
    pub(super) fn remove(self) {
        let path = self.dir.path().to_owned();
        if let Err(error) = self.dir.close() {
            tracing::warn!(%error, path = %path.display(), "a folder of a Claude Code process stays behind");
        }
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    // `create_new` never writes through a link that is already there.
    options.write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::claude::{LaunchProgram, PermissionRoute, SessionId, SessionStart};

    fn launch(runtime_dir: &Path) -> Launch {
        let program = LaunchProgram::new(vec!["claude".into()], "/", runtime_dir);
        let prompt = "p".repeat(MAX_ARGUMENT + 1);
        let start = SessionStart::New(SessionId::random());
        let mut launch = Launch::new(program, start, PromptMode::OneShot { prompt });
        launch.permissions.route =
            PermissionRoute::Mcp { url: "http://127.0.0.1:1/mcp".into(), token: "secret".into() };
        launch.session.append_system_prompt = Some("s".repeat(MAX_ARGUMENT + 1));
        launch
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
}
