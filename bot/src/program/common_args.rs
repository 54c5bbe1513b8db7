//! The arguments that every subcommand takes, and the project they name.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use pipeline::Project;

use crate::{
    config::{BotConfig, LoadedConfig},
    program::output::complain,
};

#[derive(Args, Clone)]
pub struct CommonArgs {
    /// The project's folder [default: the repository around the current folder]
    #[arg(long, global = true, value_name = "DIR", env = "STORKIT_PROJECT")]
    pub project: Option<PathBuf>,
    /// Port on 127.0.0.1 for MCP, health and metrics; 0 takes a free one
    #[arg(long, global = true, value_name = "N", env = "STORKIT_PORT")]
    pub port: Option<u16>,
}

impl CommonArgs {
    // The environment names the project that is served, and a demo is not about that one: only the flags count.
    pub fn without_environment(&self) -> Self {
        let from_environment = |name: &str, value: String| std::env::var(name).is_ok_and(|set| set == value);
        let project = self
            .project
            .clone()
            .filter(|project| !from_environment("STORKIT_PROJECT", project.display().to_string()));
        let port = self.port.filter(|port| !from_environment("STORKIT_PORT", port.to_string()));
        Self { project, port }
    }
}

/// The project and its settings. An error is printed, and its exit code is 2.
pub fn open(common: &CommonArgs) -> Result<(Project, LoadedConfig), ExitCode> {
    let start = common.project.clone().unwrap_or_else(|| PathBuf::from("."));
    let project = Project::open(&start).map_err(|error| complain(2, &error.to_string()))?;
    let path = project.dir().join("bot.toml");
    let mut loaded = BotConfig::load(&path, settings::environment::var)
        .map_err(|error| complain(2, &error.to_string()))?;
    if let Some(port) = common.port {
        loaded.config.http.port = port;
    }
    Ok((project, loaded))
}
