//! The network messengers that `bot.toml` configures: made, checked once, and who is heard on each.

use std::sync::Arc;

use adapters::{Adapter, AdapterError, Identity, Webhooks};
use pipeline::Project;

use crate::config::{BotConfig, access::AccessTable};

/// The network messengers of one bot.
#[derive(Default)]
pub struct NetworkMessengers {
    /// All of them, in the order of their names.
    pub adapters: Vec<Arc<dyn Adapter>>,
    /// Those of them that are called by webhook.
    pub webhooks: Vec<Arc<dyn Webhooks>>,
    /// Who is heard on each.
    pub access: AccessTable,
}

/// Makes the messengers whose section `bot.toml` has. Nothing connects yet.
pub fn configured(
    config: &BotConfig,
    project: &Project,
    identity: &Identity,
) -> Result<NetworkMessengers, AdapterError> {
    let mut made = NetworkMessengers::default();
    let setting =
        |name: &str| adapters::AdapterContext { identity: identity.clone(), state: project.dir().join(name) };
    matrix(config, &mut made, &setting)?;
    slack(config, &mut made, &setting)?;
    whatsapp(config, &mut made, &setting)?;
    match made.webhooks.is_empty() || !config.http.webhook_listen.is_empty() {
        true => Ok(made),
        false => Err(AdapterError::Config {
            key: "http.webhook_listen",
            why: "it is empty, but WhatsApp, and Slack in HTTP mode, call the bot by webhook; write an address like \
                  \"127.0.0.1:3002\" with a TLS proxy or a tunnel before it."
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

#[cfg_attr(not(all(feature = "matrix", feature = "slack", feature = "whatsapp")), allow(dead_code))]
type SettingOf<'a> = &'a dyn Fn(&str) -> adapters::AdapterContext;

/// A section for a messenger that this program was built without.
#[cfg(not(all(feature = "matrix", feature = "slack", feature = "whatsapp")))]
fn left_out<T>(section: Option<&T>, key: &'static str, feature: &str) -> Result<(), AdapterError> {
    match section {
        None => Ok(()),
        Some(_) => Err(AdapterError::Config {
            key,
            why: format!(
                "this storkit was built without it (`--demo` builds are); build with `cargo build --features {feature}`."
            ),
        }),
    }
}

#[cfg(feature = "matrix")]
fn matrix(
    config: &BotConfig,
    made: &mut NetworkMessengers,
    setting: SettingOf<'_>,
) -> Result<(), AdapterError> {
    let Some(section) = &config.matrix else { return Ok(()) };
    let adapter = adapters::matrix::Matrix::new(section.clone(), setting(adapters::matrix::NAME))?;
    made.add(adapter, &section.people);
    Ok(())
}

#[cfg(not(feature = "matrix"))]
fn matrix(config: &BotConfig, _: &mut NetworkMessengers, _: SettingOf<'_>) -> Result<(), AdapterError> {
    left_out(config.matrix.as_ref(), "matrix", "matrix")
}

#[cfg(feature = "slack")]
fn slack(
    config: &BotConfig,
    made: &mut NetworkMessengers,
    setting: SettingOf<'_>,
) -> Result<(), AdapterError> {
    let Some(section) = &config.slack else { return Ok(()) };
    let adapter = adapters::slack::Slack::new(section.clone(), setting(adapters::slack::NAME))?;
    made.add(adapter.clone(), &section.people);
    if section.mode == adapters::slack::ConnectionMode::Http {
        made.webhooks.push(adapter);
    }
    Ok(())
}

#[cfg(not(feature = "slack"))]
fn slack(config: &BotConfig, _: &mut NetworkMessengers, _: SettingOf<'_>) -> Result<(), AdapterError> {
    left_out(config.slack.as_ref(), "slack", "slack")
}

#[cfg(feature = "whatsapp")]
fn whatsapp(
    config: &BotConfig,
    made: &mut NetworkMessengers,
    setting: SettingOf<'_>,
) -> Result<(), AdapterError> {
    let Some(section) = &config.whatsapp else { return Ok(()) };
    let adapter = adapters::whatsapp::WhatsApp::new(section.clone(), setting(adapters::whatsapp::NAME))?;
    made.add(adapter.clone(), &section.people);
    made.webhooks.push(adapter);
    Ok(())
}

#[cfg(not(feature = "whatsapp"))]
fn whatsapp(config: &BotConfig, _: &mut NetworkMessengers, _: SettingOf<'_>) -> Result<(), AdapterError> {
    left_out(config.whatsapp.as_ref(), "whatsapp", "whatsapp")
}

#[cfg(any(feature = "matrix", feature = "slack", feature = "whatsapp"))]
impl NetworkMessengers {
    fn add(&mut self, adapter: Arc<dyn Adapter>, people: &adapters::AllowedPeople) {
        let access = std::mem::take(&mut self.access);
        self.access = access.with(adapter.name(), people.clone().into());
        self.adapters.push(adapter);
    }
}
