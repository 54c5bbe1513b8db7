//! The program itself: arguments, set-up, start, restart and shutdown.

pub mod app;
pub mod audit;
mod cli;
mod common_args;
pub mod demo;
pub mod doctor;
pub mod init;
pub mod lock;
pub mod logging;
pub mod messengers;
mod output;
pub mod reload;
mod serve;
mod set_up;
mod trust;
mod upkeep;

use std::process::ExitCode;

use clap::Parser as _;

/// Runs `storkit` with the arguments of this process.
pub fn main() -> ExitCode {
    // In a sandbox this process becomes another program. That happens before clap, which must not read the other
    // program's arguments, and before the runtime starts threads.
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let [_, subcommand, ..] = &words[..]
        && subcommand == agents::confine::SUBCOMMAND
    {
        let why = agents::confine::enter(&words[..2], &words[2..]);
        return output::complain(127, &format!("{why}."));
    }
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return output::complain(1, &crate::replies::terminal::no_threads(&error)),
    };
    let code = runtime.block_on(cli::run(cli));
    // A thread that waits for the terminal must not hold up the exit.
    runtime.shutdown_background();
    code
}
