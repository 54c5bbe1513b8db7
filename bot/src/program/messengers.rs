//! The network messengers that `bot.toml` configures: built, checked once, with the people on their allow-lists.

use std::sync::Arc;

use adapters::{Adapter, AdapterContext, AdapterError, Identity, Webhooks};
use pipeline::Project;

use crate::config::{BotConfig, access::AccessTable};

/// The network messengers of one bot.
#[derive(Default)]
pub struct NetworkMessengers {
    /// All of them, in the order of their names.
    pub adapters: Vec<Arc<dyn Adapter>>,
    /// Those of them that are called by webhook.
    pub webhooks: Vec<Arc<dyn Webhooks>>,
    /// Who may talk to the bot on each.
    pub access: AccessTable,
}

/// Builds the messengers whose section `bot.toml` has. Nothing connects yet.
pub fn configured(
    config: &BotConfig,
    project: &Project,
    identity: &Identity,
) -> Result<NetworkMessengers, AdapterError> {
    let mut made = NetworkMessengers::default();
    for section in config.messengers.iter() {
        let state = project.dir().join(section.kind().name);
        let built = section.build(AdapterContext { identity: identity.clone(), state })?;
        made.access = made.access.with(built.adapter.name(), section.people().clone().into());
        made.adapters.push(built.adapter);
        made.webhooks.extend(built.webhooks);
    }
    match made.webhooks.is_empty() || !config.http.webhook_listen.is_empty() {
        true => Ok(made),
        false => Err(AdapterError::Config {
            key: "http.webhook_listen",
            why: "it is empty, but a messenger that you configured calls the bot by webhook; write an address like \
                  \"127.0.0.1:3002\", with a TLS proxy or a tunnel in front of it."
                .into(),
        }),
    }
}

/// Asks each messenger to check its settings and credentials, all at once.
pub async fn prepare(adapters: &[Arc<dyn Adapter>]) -> Result<(), AdapterError> {
    let checks = adapters.iter().map(|adapter| async { (adapter.name(), adapter.prepare().await) });
    for (name, result) in futures::future::join_all(checks).await {
        match result {
            Ok(()) => {}
            Err(error @ AdapterError::Config { .. }) => return Err(error),
            Err(error) => tracing::warn!(adapter = name, %error, "not ready yet; it goes on trying"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// A messenger plugs in with its row in [`adapters::MESSENGERS`]; the command line alone has a word for one of them.
    #[test]
    fn no_file_names_a_messenger_but_the_command_line() {
        let mut named = Vec::new();
        search(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut named);
        assert!(named.iter().all(|(file, _)| file == "cli.rs"), "{named:#?}");
        assert!(!named.is_empty(), "`storkit slack manifest` is found");
    }

    fn search(folder: &Path, named: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                search(&path, named);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let names =
                |line: &&str| adapters::MESSENGERS.iter().any(|kind| line.to_lowercase().contains(kind.name));
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            named.extend(lines.filter(names).map(|line| (file.clone(), line.trim().to_owned())));
        }
    }
}
