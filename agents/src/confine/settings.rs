//! The operator's settings of the wall.

use std::path::PathBuf;

/// `[wall]` of `bot.toml`. Never read from a file that git tracks: a repository could take its own wall down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WallSettings {
    pub confine: ConfineChoice,
    /// Files and folders that exist inside, too, read-only.
    pub visible: Vec<PathBuf>,
    /// Folders that exist inside, too, and can be changed.
    pub writable: Vec<PathBuf>,
    /// Names of environment variables that go inside, too.
    pub variables: Vec<String>,
}

/// `confine` in that section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConfineChoice {
    /// The strongest that this machine has.
    #[default]
    Strongest,
    /// Only hooks and comparisons protect the repository, and nothing protects the machine.
    None,
    Bwrap,
    Landlock,
    /// Command lines are put behind this one, like `podman run ..`.
    Prefix(Vec<String>),
}
