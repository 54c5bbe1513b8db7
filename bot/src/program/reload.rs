//! Changes of `bot.toml` while the bot runs: applied where that is safe, reported where they need a restart, and refused as a
//! whole where the file is wrong, so that the last good settings stay in effect.

use std::{path::Path, sync::Arc, time::Duration};

use adapters::{MessengerSections, Room};
use pipeline::{
    folders::{FolderEvent, FolderWatch},
    trust::{check_settings_file, check_state_files},
};
use tokio::time::timeout;
use toml::{Table, Value};

use crate::{
    chat::{rooms::RoomInput, services::ChatServices},
    config::{self, BotConfig, LoadedConfig, WebSection, access::AccessTable},
    replies,
};

// Editors write in steps, so the file is read after it was quiet for this long.
const SETTLE: Duration = Duration::from_millis(200);

/// What takes effect at once, besides [`MessengerSections::live_keys`]. All else is read where something starts.
const AT_ONCE: &[&str] = &[
    "history_size",
    "catch_up",
    "ambient_rooms",
    "verbosity",
    "claude.model",
    "claude.turn_timeout",
    "claude.permission_timeout",
    "pipeline.rooms",
    "relay.turn_usd",
    "relay.day_usd",
    "person",
    "ladder.direct",
    "ladder.elsewhere",
    "ladder.risky_direct",
    "ladder.risky_elsewhere",
];

fn live_keys() -> Vec<String> {
    AT_ONCE.iter().map(ToString::to_string).chain(MessengerSections::live_keys()).collect()
}

/// Follows the file until the bot stops. News goes to `notices` and to the rooms that follow the pipeline.
pub async fn run(services: Arc<ChatServices>, notices: Vec<Room>) {
    let path = services.settings.loaded().path.clone();
    let mut folders = match watch(&path) {
        Ok(folders) => folders,
        Err(error) => {
            return tracing::warn!(%error, "bot.toml is not watched; changes count from the next start");
        }
    };
    // The file may have changed between the start and this watch.
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut changed = config::fingerprint(&text) != services.settings.loaded().fingerprint;
    loop {
        if !changed {
            tokio::select! {
                () = services.tasks.stop.cancelled() => return,
                () = changes(&mut folders, &path) => {}
            }
        }
        while timeout(SETTLE, changes(&mut folders, &path)).await.is_ok() {}
        changed = false;
        if let Some(news) = take_up(&services, &path) {
            tracing::info!(news, "bot.toml");
            tell(&services, &notices, &news);
        }
    }
}

// The folder and not the file: editors put a new file in the place of the old one.
fn watch(path: &Path) -> anyhow::Result<FolderWatch> {
    let mut folders = FolderWatch::none()?;
    folders.follow(path.parent().unwrap_or(path))?;
    Ok(folders)
}

/// Waits until the file may have changed.
async fn changes(folders: &mut FolderWatch, path: &Path) {
    while matches!(folders.next().await, FolderEvent::To(other) if other != path) {}
}

/// Reads the file and applies the safe changes; returns the message for the rooms.
fn take_up(services: &ChatServices, path: &Path) -> Option<String> {
    let before = services.settings.loaded();
    // A `git pull` or `git switch` may have put a stranger's file there.
    let root = services.commands.project.root();
    if let Err(error) = check_state_files(root).and_then(|()| check_settings_file(root)) {
        return Some(replies::settings_refused(&error.to_string()));
    }
    let mut loaded = match BotConfig::load(path, settings::environment::var) {
        Ok(loaded) => loaded,
        Err(error) => return Some(replies::settings_refused(&error.to_string())),
    };
    // The command line overrides the file for as long as the process lives.
    loaded.config.http.port = before.config.http.port;
    if before.config.web.listen == WebSection::FREE_PORT {
        loaded.config.web.listen.clone_from(&before.config.web.listen);
    }
    let live = live_keys();
    let changed = changed_keys(&before.config, &loaded.config);
    let (now, later): (Vec<_>, Vec<_>) = changed.into_iter().partition(|key| live.contains(key));
    // A variable that the file no longer names still holds its secret in this process's environment:
    // agents must not inherit it.
    loaded.secret_env.extend(before.secret_env.iter().cloned());
    loaded.secret_env.sort();
    loaded.secret_env.dedup();
    let ambient = services.commands.messengers.known_names(&loaded.config.ambient_rooms);
    let ambient_changed = services.ambient.replace(&ambient);
    // The bot's own write of `ambient_rooms` comes back through the watch, and is no news.
    let told: Vec<_> = now.into_iter().filter(|key| key != "ambient_rooms" || ambient_changed).collect();
    let settled = only_at_once(&before, loaded);
    let access = allowed_people(services, &settled.config);
    services.settings.replace(settled, access);
    if let Some(web) = &services.commands.web {
        web.sessions.check_again();
    }
    (!told.is_empty() || !later.is_empty()).then(|| replies::settings_changed(&told, &later))
}

/// Gives each messenger its new allow-list; returns the bot's.
fn allowed_people(services: &ChatServices, config: &BotConfig) -> AccessTable {
    let mut access = AccessTable::clone(&services.access());
    for section in config.messengers.iter() {
        let name = section.kind().name;
        access = access.with(name, section.people().clone().into());
        if let Some(adapter) = services.commands.messengers.get(name) {
            adapter.set_allowed_people(section.people());
        }
    }
    access
}

// The rest comes from the old settings: a half-applied section (a new port, say, on the old
// listener) would be wrong everywhere.
fn only_at_once(before: &LoadedConfig, new: LoadedConfig) -> LoadedConfig {
    let mut config = before.config.clone();
    let BotConfig {
        history_size,
        catch_up,
        ambient_rooms,
        verbosity,
        claude,
        pipeline,
        relay,
        person,
        ladder,
        messengers,
        ..
    } = new.config;
    (config.history_size, config.catch_up) = (history_size, catch_up);
    (config.ambient_rooms, config.verbosity) = (ambient_rooms, verbosity);
    config.claude.model = claude.model;
    config.claude.turn_timeout = claude.turn_timeout;
    config.claude.permission_timeout = claude.permission_timeout;
    config.pipeline = pipeline;
    (config.relay.turn_usd, config.relay.day_usd) = (relay.turn_usd, relay.day_usd);
    (config.person, config.ladder) = (person, ladder);
    config.messengers = config.messengers.with_people_of(&messengers);
    // They were read at the start, as their key was.
    LoadedConfig { config, servers: before.servers.clone(), ..new }
}

/// The dotted keys whose values differ, a section that came or went by its name.
fn changed_keys(before: &BotConfig, after: &BotConfig) -> Vec<String> {
    let table = |config: &BotConfig| Table::try_from(config).unwrap_or_default();
    let (before, after) = (table(before), table(after));
    let mut keys: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.iter().flat_map(|key| changed_in(key, before.get(key), after.get(key))).collect()
}

fn changed_in(key: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<String> {
    match (before, after) {
        (Some(Value::Table(before)), Some(Value::Table(after))) if key != "env" => {
            let differs = |name: &&String| before.get(*name) != after.get(*name);
            let mut names: Vec<&String> = before.keys().chain(after.keys()).filter(differs).collect();
            names.sort();
            names.dedup();
            names.into_iter().map(|name| format!("{key}.{name}")).collect()
        }
        (before, after) if before == after => Vec::new(),
        _ => vec![key.to_owned()],
    }
}

fn tell(services: &ChatServices, notices: &[Room], news: &str) {
    let mut rooms = notices.to_vec();
    rooms.extend(services.config().pipeline.rooms());
    rooms.sort();
    rooms.dedup();
    for room in rooms {
        services.rooms.post(&room, RoomInput::Notice(news.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use settings::reader::known_keys;

    /// Not checked: only the difference of keys matters here.
    fn loaded(text: &str) -> LoadedConfig {
        LoadedConfig { config: toml::from_str(text).unwrap(), ..LoadedConfig::default() }
    }

    #[test]
    fn what_counts_at_once_is_a_key_there_is() {
        let known = known_keys::<BotConfig>();
        for key in live_keys() {
            assert!(known.contains(&key), "{key}");
        }
    }

    #[test]
    fn keys_that_differ_are_named() {
        let before = loaded("verbosity = 1\n[slack]\nbot_token = \"a\"\nallowed_users = [\"U1\"]");
        let after = loaded(
            "verbosity = 2\n[slack]\nbot_token = \"b\"\nallowed_users = [\"U1\", \"U2\"]\n[http]\nport = 4\n[claude]\nenv = { A = \"b\" }",
        );
        let keys = changed_keys(&before.config, &after.config);
        assert_eq!(keys, ["claude.env", "http.port", "slack.allowed_users", "slack.bot_token", "verbosity"]);
        assert!(changed_keys(&after.config, &after.config).is_empty());
    }

    #[test]
    fn only_what_is_safe_is_taken_up() {
        let before = loaded("[slack]\nbot_token = \"a\"\nallowed_users = [\"U1\"]");
        let after =
            loaded("verbosity = 2\n[slack]\nbot_token = \"b\"\nallowed_users = [\"U2\"]\n[http]\nport = 4");
        let config = only_at_once(&before, after).config;
        assert_eq!((config.verbosity, config.http.port), (2, 3001));
        let slack = config.messengers.get("slack").unwrap();
        assert_eq!(slack.people().allowed_users, ["U2"]);
        assert_eq!(slack.secrets()[0].reveal(), "a", "a token needs a restart");
    }

    #[test]
    fn every_key_that_counts_at_once_is_taken_up() {
        let section = |name: &str| {
            format!("[{name}]\nallowed_users = [\"a\"]\napprovers = [\"b\"]\noperators = [\"c\"]\n")
        };
        let base = |name: &str| format!("[{name}]\nallowed_users = [\"z\"]\n");
        let names: Vec<&str> = adapters::MESSENGERS.iter().map(|kind| kind.name).collect();
        let all: String = names.iter().map(|name| section(name)).collect();
        let before = loaded(&names.iter().map(|name| base(name)).collect::<String>());
        let after = loaded(&format!(
            "history_size = 1\ncatch_up = \"1m\"\nambient_rooms = [\"a:b\"]\nverbosity = 2\n[claude]\nmodel = \"m\"\nturn_timeout = \"1m\"\n\
             permission_timeout = \"1m\"\n[relay]\nturn_usd = 1.0\nday_usd = 2.0\n[pipeline]\nrooms = [\"a:b\"]\n\
             [[person]]\nname = \"Ann\"\n[ladder]\ndirect = \"9m\"\nelsewhere = \"9m\"\nrisky_direct = \"9m\"\nrisky_elsewhere = \"9m\"\n{all}"
        ));
        let config = only_at_once(&before, after.clone()).config;
        assert_eq!(changed_keys(&config, &after.config), Vec::<String>::new());
        assert_eq!(changed_keys(&before.config, &config).len(), live_keys().len());
    }
}
