//! `storkit mcp-config`: asks the storkit that serves the project for the operator's way to its tools, over the console's
//! socket, which knows who connects.

use std::{io, path::PathBuf, process::ExitCode};

use adapters::console::{
    client,
    wire::{FromTerminal, ToTerminal, receive, send},
};
use pipeline::Project;
use tokio::io::BufReader;

use crate::{
    program::{
        common_args::CommonArgs,
        output::{complain, print},
        serve,
    },
    replies::terminal as say,
};

/// Prints the configuration, with its token. Exit code 75 where nobody serves the project.
pub async fn show(common: &CommonArgs) -> ExitCode {
    let start = common.project.clone().unwrap_or_else(|| PathBuf::from("."));
    // Without bot.toml: its variables may be set only for the process that serves.
    let project = match Project::open(&start) {
        Ok(project) => project,
        Err(error) => return complain(2, &error.to_string()),
    };
    let stream = match client::connect(&serve::socket(&project)).await {
        Ok(stream) => stream,
        Err(error) => return complain(75, &say::nobody_serves(&error)),
    };
    let (reader, mut writer) = tokio::io::split(stream);
    let asked = async {
        // A storkit that refuses this process has closed the connection by now, after a line that says why.
        let sent = send(&mut writer, &FromTerminal::AskMcpConfig).await;
        match receive(&mut BufReader::new(reader)).await {
            Ok(None) => Err(sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
            answer => answer,
        }
    };
    match asked.await {
        Ok(Some(ToTerminal::McpConfig { config })) => {
            print(&format!("{config}\n"));
            ExitCode::SUCCESS
        }
        Ok(Some(ToTerminal::Bye { reason } | ToTerminal::Refused { why: reason, .. })) => {
            complain(1, &say::no_mcp_config(&reason))
        }
        Ok(_) => {
            complain(1, &say::no_mcp_config("it answered something else. It may be of another version."))
        }
        Err(error) => complain(1, &say::no_mcp_config(&format!("{error}."))),
    }
}
