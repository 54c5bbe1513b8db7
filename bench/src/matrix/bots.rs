//! The bots, each with a room of its own and something between it and the homeserver.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use services::matrix::{Account, Synapse};
use tempfile::TempDir;

use super::{Between, Person};
use crate::{
    machine::Observed,
    world::{Place, built},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program, with all that it does.
    Storkit,
    /// The least on matrix-sdk.
    Bare,
    /// The Python bot, without a crypto store.
    Maubot,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Storkit, Self::Bare, Self::Maubot];

    /// A command of it that costs little.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Storkit => "!whoami",
            Self::Bare | Self::Maubot => "!ping",
        }
    }
}

/// One of them, at work.
pub struct Bot {
    pub kind: Kind,
    /// Its whole user id.
    pub id: String,
    /// The room that it and the person are in.
    pub room: String,
    /// The proxy that it uses as its homeserver.
    pub between: Between,
    child: Child,
    _place: Place,
    folder: TempDir,
}

impl Bot {
    /// Starts it and waits until it is in its room.
    pub async fn start(kind: Kind, synapse: &Synapse, person: &Person) -> anyhow::Result<Self> {
        let account = synapse.register("bot").await;
        let room = person.create_room(&account.id).await?;
        let between = Between::before(&synapse.url()).await?;
        let (place, folder) = (Place::new()?, tempfile::tempdir()?);
        let mut command = match kind {
            Kind::Storkit => storkit(&place, between.url(), &account, &room, person.id())?,
            Kind::Bare => bare(folder.path(), between.url(), &account, &room)?,
            Kind::Maubot => {
                let (_, token) = synapse.log_in(&account).await;
                // It would pass over an invitation from before its start.
                person.bring(&room, &token).await?;
                maubot(folder.path(), between.url(), &account, &token)?
            }
        };
        let log = fs::File::create(folder.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{kind:?}"))?;
        let bot = Self { kind, id: account.id, room, between, child, _place: place, folder };
        person.until_joined(&bot.room, &bot.id).await.with_context(|| bot.log())?;
        Ok(bot)
    }

    pub fn process(&self) -> Observed {
        Observed(self.child.id())
    }

    /// The last lines of its log, for an error.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("{:?}: {}", self.kind, lines[lines.len().saturating_sub(20)..].join("\n"))
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn storkit(place: &Place, url: &str, account: &Account, room: &str, person: &str) -> anyhow::Result<Command> {
    let Account { name, password, .. } = account;
    let text = format!(
        "[matrix]\nhomeserver = \"{url}\"\nusername = \"{name}\"\npassword = \"{password}\"\nroom_ids = [\"{room}\"]\nrequire_encryption = false\nallowed_users = [\"{person}\"]\n"
    );
    let path = place.project().join(".storkit/bot.toml");
    fs::write(&path, text)?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    place.storkit(&["serve", "--port", "0"])
}

fn bare(folder: &Path, url: &str, account: &Account, room: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(built("matrix-bare")?);
    command.args([url, &account.name, &account.password, room]).arg(folder.join("store"));
    Ok(command)
}

fn maubot(folder: &Path, url: &str, account: &Account, token: &str) -> anyhow::Result<Command> {
    let tools = std::env::var_os("STORKIT_BENCH_MAUBOT")
        .context("maubot is not installed; script/bench does that")?;
    // JSON is YAML. Its log is as quiet as storkit's.
    let config = json!({
        "user": {
            "credentials": { "id": account.id, "homeserver": url, "access_token": token, "device_id": null },
            "sync": true, "autojoin": false, "displayname": "disable", "avatar_url": "disable",
            "ignore_initial_sync": true, "ignore_first_sync": true,
        },
        "database": "sqlite:bot.db",
        "logging": {
            "version": 1, "root": { "level": "WARNING", "handlers": ["console"] },
            "handlers": { "console": { "class": "logging.StreamHandler" } },
        },
    });
    fs::write(folder.join("config.yaml"), config.to_string())?;
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("maubot/maubot.yaml");
    let mut command = Command::new(Path::new(&tools).join("bin/python"));
    command.args(["-m", "maubot.standalone", "-c", "config.yaml", "-m"]).arg(plugin).current_dir(folder);
    Ok(command)
}
