//! Output outside the chat, and exit codes (0, 1, 2 usage, 75 try later).

use std::process::ExitCode;

use crate::program::{app::StartError, lock::LockError};

/// Prints an error to standard error and returns the exit code.
pub fn complain(code: u8, sentence: &str) -> ExitCode {
    #[allow(clippy::print_stderr)]
    {
        eprintln!("storkit: {sentence}");
    }
    ExitCode::from(code)
}

/// Prints to standard output; a reader that went away is no failure.
pub fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A start that failed: 75 where trying later can help.
pub fn not_started(error: &StartError) -> ExitCode {
    let code = match error {
        StartError::NoSuchRoom { .. } | StartError::Model(_) => 2,
        StartError::Webhooks { .. } | StartError::Page { .. } => 75,
        StartError::Lock(LockError::Taken { .. }) | StartError::Port { .. } => 75,
        StartError::Lock(LockError::Io { .. })
        | StartError::Store(_)
        | StartError::Listen { .. }
        | StartError::Ledger(_) => 1,
    };
    complain(code, &error.to_string())
}
