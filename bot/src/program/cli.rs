//! The command line: what can be asked of the program, and its exit codes (0, 1, 2 usage, 75 try later).

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use pipeline::Project;

use crate::{
    commands,
    config::BotConfig,
    program::{
        attack,
        audit::AuditFilter,
        common_args::{CommonArgs, open},
        doctor, mcp_config,
        output::{complain, print},
        serve::{self, FrontEnd},
        set_up::{self, InitArgs},
        trust::{self, TrustArgs},
        upkeep,
    },
    replies::terminal::no_manual,
};

/// A team of coding agents on a git project, driven from the team's chat rooms.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    action: Option<CliAction>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Subcommand)]
enum CliAction {
    /// Set up a project: its settings, its team of agents, and their briefing
    Init(InitArgs),
    /// Show the commands and settings of the repository that you have not confirmed, and ask
    Trust(TrustArgs),
    /// Serve the project without a chat in this terminal
    Serve,
    /// Chat with the bot that serves the project, or with a new one. If standard input is not a terminal, it is read
    /// line by line as a script, and the exit code is 1 if a line failed
    Chat,
    /// Print a link that signs one browser in at the web page of the storkit that serves the project
    Web,
    /// Print the configuration with which your own Claude Code reaches the tools of the storkit that serves the project:
    /// `claude --mcp-config <(storkit mcp-config)`. It holds a token that is valid until that storkit ends
    McpConfig,
    /// Try it without an account: the real Claude Code against a scripted model on this machine, in a scratch project
    Demo,
    /// Check what storkit needs; the exit code is 1 if something does not work
    Doctor {
        /// Check instead that every done story is merged
        #[arg(long)]
        audit: bool,
        /// Try harmless attacks from inside every wall instead, and print what held; the exit code is 1 if something did not.
        /// Works without a project, too
        #[arg(long, conflicts_with = "audit")]
        attack: bool,
        /// With --attack: print the findings as JSON
        #[arg(long, requires = "attack")]
        json: bool,
    },
    /// Move stories to where this version keeps them, with their history: from an older `.story_kit` folder, and from the base branch to
    /// `storkit/board`
    Migrate,
    /// Show who allowed or denied what agents asked, and what timed out
    Audit(AuditFilter),
    /// Print the reference page of all commands
    Docs,
    /// Print a shell's completions, e.g. `storkit completions bash > /etc/bash_completion.d/storkit`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, e.g. `storkit man > /usr/local/share/man/man1/storkit.1`
    Man,
    /// Slack setup
    Slack {
        #[command(subcommand)]
        action: SlackAction,
    },
}

#[derive(Subcommand)]
enum SlackAction {
    /// Print the app manifest for Slack, with all slash commands and scopes (docs/slack.md)
    Manifest {
        /// For mode "http": the public address in front of `http.webhook_listen`, like https://bot.example.org
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
}

impl Cli {
    /// The arguments of this process. An empty environment variable counts as unset: `.env` files have lines without a value.
    pub fn parse_without_empty_variables() -> Result<Self, clap::Error> {
        let is_empty = |arg: &clap::Arg| {
            arg.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()))
        };
        let command = Self::command().mut_args(|arg| if is_empty(&arg) { arg.env(None) } else { arg });
        Self::from_arg_matches(&command.try_get_matches()?)
    }
}

/// Runs the subcommand that the arguments name.
pub async fn run(cli: Cli) -> ExitCode {
    let here = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    // `storkit chat | tee log`: whoever reads the output wants text.
    let to_screen = std::io::stdout().is_terminal();
    let front = if here && to_screen { FrontEnd::Terminal } else { FrontEnd::Script };
    match cli.action {
        None if here => serve::project(&cli.common, front).await,
        None | Some(CliAction::Serve) => serve::project(&cli.common, FrontEnd::None).await,
        Some(CliAction::Trust(given)) => with_project(&cli.common, |project| trust::confirm(project, &given)),
        Some(CliAction::Init(given)) => set_up::init(&given, cli.common.project.as_deref()),
        Some(CliAction::Chat) => serve::chat(&cli.common, front).await,
        Some(CliAction::Web) => serve::web_link(&cli.common).await,
        Some(CliAction::McpConfig) => mcp_config::show(&cli.common).await,
        Some(CliAction::Demo) => serve::demo(&cli.common.without_environment(), front).await,
        Some(CliAction::Doctor { attack: true, json, .. }) => attack::run(&cli.common, json).await,
        Some(CliAction::Doctor { audit: true, .. }) => with_project(&cli.common, upkeep::audit_stories),
        Some(CliAction::Doctor { .. }) => check(&cli.common).await,
        Some(CliAction::Migrate) => with_project(&cli.common, upkeep::migrate_stories),
        Some(CliAction::Audit(filter)) => {
            with_project(&cli.common, |project| upkeep::show_audit(project, &filter))
        }
        Some(CliAction::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "storkit", &mut text);
            print(&String::from_utf8_lossy(&text));
            ExitCode::SUCCESS
        }
        Some(CliAction::Man) => {
            let mut text = Vec::new();
            match clap_mangen::Man::new(Cli::command()).render(&mut text) {
                Ok(()) => print(&String::from_utf8_lossy(&text)),
                Err(error) => return complain(1, &no_manual(&error)),
            }
            ExitCode::SUCCESS
        }
        Some(CliAction::Docs) => {
            print(&commands::reference(&commands::all()));
            ExitCode::SUCCESS
        }
        Some(CliAction::Slack { action: SlackAction::Manifest { url } }) => {
            slack_manifest(&cli.common, url.as_deref())
        }
    }
}

fn with_project(common: &CommonArgs, act: impl FnOnce(&Project) -> ExitCode) -> ExitCode {
    match open(common) {
        Ok((project, _)) => act(&project),
        Err(code) => code,
    }
}

// People need the manifest to create the app, before any `[slack]` section or project exists.
fn slack_manifest(common: &CommonArgs, url: Option<&str>) -> ExitCode {
    let in_a_project = common.project.is_some() || Project::open(&PathBuf::from(".")).is_ok();
    let config = match in_a_project.then(|| open(common)) {
        None => BotConfig::default(),
        Some(Ok((_, loaded))) => loaded.config,
        Some(Err(code)) => return code,
    };
    let identity = commands::services::identity(&config, &commands::all());
    print(&adapters::slack::manifest(&identity, url));
    ExitCode::SUCCESS
}

async fn check(common: &CommonArgs) -> ExitCode {
    let (project, loaded) = match open(common) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let store = match trust::store() {
        Ok(store) => store,
        Err(error) => return complain(2, &error.to_string()),
    };
    let checks = doctor::check(&project, &store, &loaded).await;
    print(&adapters::markdown::plain(&doctor::report(&checks)));
    print("\n");
    let bad = checks.iter().any(|check| check.state == doctor::CheckState::Bad);
    ExitCode::from(u8::from(bad))
}
