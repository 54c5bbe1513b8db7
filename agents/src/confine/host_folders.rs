//! The operator's folders, of which a wall shows parts.

use std::path::{Path, PathBuf};

/// The operator's folders that a wall needs to know, and the operator's additions to the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFolders {
    /// The operator's home: toolchains and warm caches are looked for in it.
    pub home: PathBuf,
    /// Where the agents' programs look for it, if that is another one: the private home appears there.
    pub agents_home: Option<PathBuf>,
    /// `~/.claude`, or the folder in `CLAUDE_CONFIG_DIR`.
    pub claude: PathBuf,
    /// `CARGO_HOME`, where it is set.
    pub cargo_home: Option<PathBuf>,
    /// The files of the CLI.
    pub programs: Vec<PathBuf>,
    /// `[wall] visible` of `bot.toml`.
    pub visible: Vec<PathBuf>,
    /// `[wall] writable` of `bot.toml`.
    pub writable: Vec<PathBuf>,
}

impl HostFolders {
    /// Those of a home, with nothing added.
    pub fn of_home(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            agents_home: None,
            claude: home.join(".claude"),
            cargo_home: None,
            programs: Vec::new(),
            visible: Vec::new(),
            writable: Vec::new(),
        }
    }

    pub(super) fn inner_home(&self) -> &Path {
        let home = self.agents_home.as_deref().unwrap_or(&self.home);
        // Nobody's home can be empty and in place of everything.
        if home.parent().is_some() { home } else { Path::new("/tmp") }
    }
}
