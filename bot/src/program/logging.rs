//! Logs: for people in a terminal, JSON elsewhere, a file where the terminal is the chat.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use settings::unlinked;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::redact::{CleanWriter, Redactor};

pub enum LogTarget<'a> {
    Stderr,
    /// A file (0600), since the terminal shows the chat.
    File(&'a Path),
}

/// The filter where `RUST_LOG` is not set.
fn usual_filter() -> String {
    let filters = adapters::MESSENGERS.iter().map(|kind| kind.log_filter).filter(|filter| !filter.is_empty());
    std::iter::once("info").chain(filters).collect::<Vec<_>>().join(",")
}

/// Starts logging; `RUST_LOG` chooses what. No secret that `redactor` knows is written; panics are logged, too. Called once.
///
/// Fails where the file cannot be written.
pub fn start(target: LogTarget<'_>, redactor: Redactor) -> io::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual_filter()));
    let stderr = CleanWriter::new(io::stderr, redactor.clone());
    match target {
        LogTarget::Stderr if io::stderr().is_terminal() => {
            let color = std::env::var_os("NO_COLOR").is_none();
            fmt().with_env_filter(filter).with_writer(stderr).with_ansi(color).init();
        }
        LogTarget::Stderr => fmt().with_env_filter(filter).with_writer(stderr).json().init(),
        LogTarget::File(path) => {
            if let Some(folder) = path.parent() {
                unlinked::create_dir_all(folder)?;
            }
            let file = unlinked::open(OpenOptions::new().create(true).append(true).mode(0o600), path)?;
            let file = CleanWriter::new(std::sync::Mutex::new(file), redactor);
            fmt().with_env_filter(filter).with_writer(file).with_ansi(false).init();
        }
    }
    // The usual hook writes the text with its secrets to standard error, and so into the chat of a terminal.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("without a text");
        tracing::error!(place, backtrace = %std::backtrace::Backtrace::capture(), "panic: {text}");
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::config::BotConfig;

    const TOKEN: &str = "xoxb-of-a-panic-4711";
    const CHILD: &str = "STORKIT_TEST_PANICS";

    fn refused() -> Result<(), String> {
        Err(format!("an error with {TOKEN}"))
    }

    /// Logging is started once for a process, so this runs in one of its own; see the test below.
    #[test]
    fn panics_of_the_child() {
        let Some(folder) = std::env::var_os(CHILD) else { return };
        let file = Path::new(&folder).join("bot.toml");
        let toml = "[slack]\nbot_token = \"${TOKEN}\"\napp_token = \"xapp-1\"\nallowed_users = [\"U1\"]\n";
        std::fs::write(&file, toml).unwrap();
        let loaded = BotConfig::load(&file, |name| (name == "TOKEN").then(|| TOKEN.to_owned())).unwrap();
        start(LogTarget::Stderr, Redactor::new(&loaded, |_| None)).unwrap();
        let text = std::panic::catch_unwind(|| panic!("a text with {TOKEN}"));
        let thread = std::thread::spawn(|| panic!("in a thread with {:?}", Some(TOKEN))).join();
        let unwrapped = std::panic::catch_unwind(|| refused().expect("it works"));
        assert!(text.is_err() && thread.is_err() && unwrapped.is_err());
    }

    #[test]
    fn a_panic_is_logged_without_the_secret_in_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        let test = concat!(module_path!(), "::panics_of_the_child").trim_start_matches("bot::");
        child.args(["--exact", test]).env(CHILD, folder.path());
        let output = child.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        for words in ["panic: a text with [redacted]", "in a thread with", "an error with [redacted]"] {
            assert!(said.contains(words), "{words:?} is not in: {said}");
        }
        assert!(!said.contains(TOKEN), "{said}");
    }
}
