//! Logs: for people in a terminal, JSON elsewhere, a file where the terminal is the chat.

use std::{
    fs::{self, OpenOptions},
    io::{self, IsTerminal as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use tracing_subscriber::{EnvFilter, fmt};

/// Where logs go.
pub enum Target<'a> {
    /// Standard error.
    Stderr,
    /// A file (0600), since the terminal shows the chat.
    File(&'a Path),
}

/// Starts logging; `RUST_LOG` chooses what (default: `info`). Called once.
pub fn start(target: Target<'_>) -> io::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    match target {
        Target::Stderr if io::stderr().is_terminal() => {
            let color = std::env::var_os("NO_COLOR").is_none();
            fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(color).init();
        }
        Target::Stderr => fmt().with_env_filter(filter).with_writer(io::stderr).json().init(),
        Target::File(path) => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            fmt().with_env_filter(filter).with_writer(std::sync::Mutex::new(file)).with_ansi(false).init();
        }
    }
    Ok(())
}
