//! The program: arguments, logging, wiring, signals.

mod cli;
mod serve;
mod set_up;
mod upkeep;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return cli::complain(1, &format!("storkit cannot start its threads: {error}.")),
    };
    let code = runtime.block_on(cli::run(cli));
    // A thread that waits for the terminal must not hold up the end.
    runtime.shutdown_background();
    code
}
