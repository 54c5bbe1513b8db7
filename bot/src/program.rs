//! The program itself: arguments, set-up, start, restart and shutdown.

pub mod app;
pub mod attack;
pub mod audit;
pub mod claude_settings;
mod cli;
mod common_args;
pub mod demo;
pub mod detect;
pub mod doctor;
mod harden;
pub mod init;
pub mod lock;
pub mod logging;
mod mcp_config;
pub mod messengers;
mod output;
pub mod reload;
mod serve;
mod set_up;
mod trust;
mod upkeep;

use std::process::ExitCode;

use agents::confine::OwnProgram;

/// Runs `storkit` with the arguments of this process.
pub fn main() -> ExitCode {
    // In a sandbox this process becomes another program. That happens before clap, which must not read the other
    // program's arguments, and before the runtime starts threads.
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let [own, rest @ ..] = &words[..]
        && let Some(why) = agents::confine::enter(std::slice::from_ref(own), rest)
    {
        return output::complain(127, &format!("{why}."));
    }
    OwnProgram::register();
    // Before anything is started that could inherit them.
    crate::restart::take_over();
    let cli = match cli::Cli::parse_without_empty_variables() {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return output::complain(1, &crate::replies::terminal::no_threads(&error)),
    };
    let code = runtime.block_on(cli::run(cli));
    // A thread that waits for the terminal must not hold up the exit.
    runtime.shutdown_background();
    code
}
