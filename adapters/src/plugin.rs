//! How a messenger plugs in: its section of `bot.toml` holds all that the bot needs, and one row in
//! [`MESSENGERS`](crate::MESSENGERS) names it. Nothing outside this crate knows a messenger by name.
//!
//! A messenger implements [`MessengerConfig`] for its section. The bot works with [`MessengerSections`], which are read from
//! `bot.toml` once, after `${VAR}` is expanded:
//!
//! | the bot wants | it calls |
//! |---|---|
//! | the sections of a file | [`MessengerSections::take_from`], then [`MessengerSections::check`] |
//! | every valid key, for suggestions | [`MessengerSections::known_keys`] |
//! | which keys changed | [`MessengerSections::to_table`] of both files |
//! | to apply what needs no restart | [`MessengerSections::live_keys`], [`MessengerSections::with_people_of`] |
//! | access lists, values to redact | [`MessengerSection::people`], [`MessengerSection::secrets`] |
//! | variables to hide from agents | [`MessengerKind::secret_env`] |
//! | the features of a rebuild | [`MessengerKind::built_in`] |
//! | the adapter and its webhooks | [`MessengerSection::build`] |

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use settings::keys::{self, KeyError};
use toml::{Table, Value};

use crate::{Adapter, AdapterContext, AdapterError, AllowedPeople, Secret, Webhooks};

/// A messenger's section of `bot.toml`. No key is mandatory for serde, so that [`MessengerConfig::check`] can name a
/// missing one with its remedy.
pub trait MessengerConfig:
    Clone + fmt::Debug + Default + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The section's name, which is also [`Adapter::name`], the cargo feature and the messenger's folder in `.storkit/`.
    const NAME: &'static str;
    /// The messenger as people call it.
    const TITLE: &'static str;
    /// Whether this build holds the messenger. Without it the section is still read, so that its keys are known.
    const BUILT_IN: bool;
    /// Environment variables in which the guide and `bot.toml.example` store the section's secrets. Agents never get them, even
    /// where `bot.toml` does not name them.
    const SECRET_ENV: &'static [&'static str];
    /// Directives for `RUST_LOG` that silence the messenger's libraries.
    const LOG_FILTER: &'static str = "";

    /// Whether two ids of `bot.toml` are one person's, where people can write an id in several ways.
    fn same_person(one: &str, other: &str) -> bool {
        one == other
    }

    /// Checks the section without a network; fails with [`AdapterError::Config`] for the first wrong key.
    fn check(&self) -> Result<(), AdapterError>;

    fn people(&self) -> &AllowedPeople;

    fn people_mut(&mut self) -> &mut AllowedPeople;

    /// The values that no log and no message may contain; empty ones are ignored.
    fn secrets(&self) -> Vec<&Secret>;

    /// Builds the messenger; fails with [`AdapterError::Config`] for a wrong key. Nothing connects before [`Adapter::run`].
    fn build(self, _context: AdapterContext) -> Result<BuiltMessenger, AdapterError> {
        Err(AdapterError::Config {
            key: Self::NAME,
            why: format!(
                "this storkit was built without it (`--demo` builds are); build with `cargo build --features {}`.",
                Self::NAME
            ),
        })
    }
}

/// A messenger that is ready to run.
pub struct BuiltMessenger {
    pub adapter: Arc<dyn Adapter>,
    /// Set where the service calls the bot over HTTP, which needs the public listener.
    pub webhooks: Option<Arc<dyn Webhooks>>,
}

/// A row of [`MESSENGERS`](crate::MESSENGERS).
#[derive(Clone, Copy)]
pub struct MessengerKind {
    pub name: &'static str,
    pub title: &'static str,
    pub built_in: bool,
    pub secret_env: &'static [&'static str],
    pub log_filter: &'static str,
    /// [`MessengerConfig::same_person`].
    pub same_person: fn(&str, &str) -> bool,
    // Function pointers, so that a row is a constant and `MESSENGERS` a plain static table.
    read: fn(Table) -> Result<Arc<dyn AnyConfig>, KeyError>,
    defaults: fn() -> Table,
}

impl MessengerKind {
    /// The row of the messenger with this section.
    pub const fn of<C: MessengerConfig>() -> Self {
        Self {
            name: C::NAME,
            title: C::TITLE,
            built_in: C::BUILT_IN,
            secret_env: C::SECRET_ENV,
            log_filter: C::LOG_FILTER,
            same_person: C::same_person,
            read: |table| Ok(Arc::new(keys::deserialize::<C>(table)?)),
            defaults: || to_table(&C::default()),
        }
    }
}

impl fmt::Debug for MessengerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

// `MessengerConfig` needs its type for serde and cannot be a trait object; this one can, so that one list holds all sections.
trait AnyConfig: fmt::Debug + Send + Sync {
    fn check(&self) -> Result<(), AdapterError>;
    fn people(&self) -> &AllowedPeople;
    fn with_people(&self, people: AllowedPeople) -> Arc<dyn AnyConfig>;
    fn secrets(&self) -> Vec<&Secret>;
    fn to_table(&self) -> Table;
    fn build(&self, context: AdapterContext) -> Result<BuiltMessenger, AdapterError>;
}

impl<C: MessengerConfig> AnyConfig for C {
    fn check(&self) -> Result<(), AdapterError> {
        MessengerConfig::check(self)
    }

    fn people(&self) -> &AllowedPeople {
        MessengerConfig::people(self)
    }

    fn with_people(&self, people: AllowedPeople) -> Arc<dyn AnyConfig> {
        let mut changed = self.clone();
        *changed.people_mut() = people;
        Arc::new(changed)
    }

    fn secrets(&self) -> Vec<&Secret> {
        MessengerConfig::secrets(self)
    }

    fn to_table(&self) -> Table {
        to_table(self)
    }

    fn build(&self, context: AdapterContext) -> Result<BuiltMessenger, AdapterError> {
        MessengerConfig::build(self.clone(), context)
    }
}

fn to_table(config: &impl MessengerConfig) -> Table {
    Table::try_from(config).expect("a section is plain data")
}

/// One messenger's section of a `bot.toml`.
#[derive(Clone, Debug)]
pub struct MessengerSection {
    kind: &'static MessengerKind,
    config: Arc<dyn AnyConfig>,
}

impl MessengerSection {
    pub fn kind(&self) -> &'static MessengerKind {
        self.kind
    }

    pub fn people(&self) -> &AllowedPeople {
        self.config.people()
    }

    pub fn secrets(&self) -> Vec<&Secret> {
        self.config.secrets()
    }

    /// As [`MessengerConfig::build`]; also fails where this build does not hold the messenger.
    pub fn build(&self, context: AdapterContext) -> Result<BuiltMessenger, AdapterError> {
        self.config.build(context)
    }
}

/// The messengers' sections of one `bot.toml`, in the order of [`MESSENGERS`](crate::MESSENGERS). Its `Debug` form shows no secret.
#[derive(Clone, Debug, Default)]
pub struct MessengerSections(Vec<MessengerSection>);

impl MessengerSections {
    /// Removes the messengers' sections from a file's table and reads them. The error names the dotted key whose
    /// value has the wrong form.
    pub fn take_from(table: &mut Table) -> Result<Self, KeyError> {
        let mut sections = Vec::new();
        for kind in crate::MESSENGERS {
            let section = match table.remove(kind.name) {
                None => continue,
                Some(Value::Table(section)) => section,
                Some(_) => {
                    let why = format!("it is a section; write its keys below a line `[{}]`.", kind.name);
                    return Err(KeyError { key: kind.name.into(), why });
                }
            };
            let config = (kind.read)(section)
                .map_err(|KeyError { key, why }| KeyError { key: format!("{}.{key}", kind.name), why })?;
            sections.push(MessengerSection { kind, config });
        }
        Ok(Self(sections))
    }

    /// Checks every section without a network; fails with [`AdapterError::Config`] for the first wrong key.
    pub fn check(&self) -> Result<(), AdapterError> {
        self.iter().try_for_each(|section| section.config.check())
    }

    pub fn iter(&self) -> impl Iterator<Item = &MessengerSection> {
        self.0.iter()
    }

    /// The section of the messenger with this name.
    pub fn get(&self, name: &str) -> Option<&MessengerSection> {
        self.iter().find(|section| section.kind.name == name)
    }

    /// All keys that a `bot.toml` may have for messengers, dotted, the sections' names among them.
    pub fn known_keys() -> Vec<String> {
        let defaults = |kind: &MessengerKind| (kind.name.to_owned(), Value::Table((kind.defaults)()));
        keys::dotted_keys(&crate::MESSENGERS.iter().map(defaults).collect())
    }

    /// The dotted keys that take effect without a restart: those of [`AllowedPeople`], for every messenger.
    pub fn live_keys() -> Vec<String> {
        let of = |kind: &MessengerKind| AllowedPeople::KEYS.map(|key| format!("{}.{key}", kind.name));
        crate::MESSENGERS.iter().flat_map(of).collect()
    }

    /// These sections with the people of `new`. A section that only one of the two has needs a restart and stays as it is here.
    #[must_use]
    pub fn with_people_of(&self, new: &Self) -> Self {
        let change = |section: &MessengerSection| match new.get(section.kind.name) {
            Some(new) => MessengerSection {
                kind: section.kind,
                config: section.config.with_people(new.people().clone()),
            },
            None => section.clone(),
        };
        Self(self.iter().map(change).collect())
    }

    /// The sections as `bot.toml` would hold them, each with all its keys: for comparing, since it contains the secrets.
    pub fn to_table(&self) -> Table {
        self.iter()
            .map(|section| (section.kind.name.to_owned(), Value::Table(section.config.to_table())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MessengerSections, KeyError> {
        MessengerSections::take_from(&mut text.parse().expect("TOML"))
    }

    fn names(sections: &MessengerSections) -> Vec<&str> {
        sections.iter().map(|section| section.kind().name).collect()
    }

    #[test]
    fn only_the_messengers_sections_are_taken() {
        let mut table: Table = "verbosity = 1\n[slack]\nbot_token = \"xoxb-1\"\n[matrix]\n".parse().unwrap();
        let sections = MessengerSections::take_from(&mut table).unwrap();
        assert_eq!((names(&sections), table.len()), (vec!["matrix", "slack"], 1));
        assert!(sections.check().is_err(), "an empty section is not a valid one");
        assert!(read("verbosity = 1").unwrap().check().is_ok());
    }

    #[test]
    fn a_value_of_the_wrong_form_names_its_dotted_key() {
        assert_eq!(read("[slack]\nmode = \"pigeon\"").unwrap_err().key, "slack.mode");
        assert_eq!(read("[matrix]\noperators = \"ann\"").unwrap_err().key, "matrix.operators");
        let KeyError { key, why } = read("whatsapp = 3").unwrap_err();
        assert_eq!(
            (key.as_str(), why.as_str()),
            ("whatsapp", "it is a section; write its keys below a line `[whatsapp]`.")
        );
    }

    #[test]
    fn every_key_of_every_messenger_is_known_and_the_live_ones_are_among_them() {
        let known = MessengerSections::known_keys();
        for key in ["matrix", "matrix.homeserver", "slack.channel_ids", "whatsapp.window_template"] {
            assert!(known.iter().any(|known| known == key), "{key} in {known:?}");
        }
        let live = MessengerSections::live_keys();
        assert_eq!(live.len(), 3 * crate::MESSENGERS.len());
        assert!(live.iter().all(|key| known.contains(key)), "{live:?}");
    }

    #[test]
    fn people_change_without_a_restart_and_nothing_else_does() {
        let before = read("[slack]\nbot_token = \"a\"\nallowed_users = [\"U1\"]\n[matrix]\n").unwrap();
        let new =
            read("[slack]\nbot_token = \"b\"\nallowed_users = [\"U2\"]\noperators = [\"U3\"]\n[whatsapp]\n")
                .unwrap();
        let changed = before.with_people_of(&new);
        assert_eq!(names(&changed), ["matrix", "slack"]);
        let slack = changed.get("slack").unwrap();
        assert_eq!(slack.people(), new.get("slack").unwrap().people());
        assert_eq!(changed.to_table()["slack"]["bot_token"].as_str(), Some("a"));
    }

    #[test]
    fn the_keys_of_the_people_are_those_that_the_sections_have() {
        let people = Table::try_from(AllowedPeople::default()).unwrap();
        let keys: Vec<&str> = people.keys().map(String::as_str).collect();
        let mut expected = AllowedPeople::KEYS;
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }

    #[test]
    fn secrets_are_listed_and_not_printed() {
        for (name, secret) in [
            ("matrix", "password"),
            ("matrix", "access_token"),
            ("matrix", "recovery_key"),
            ("slack", "bot_token"),
            ("slack", "app_token"),
            ("slack", "signing_secret"),
            ("whatsapp", "access_token"),
            ("whatsapp", "app_secret"),
            ("whatsapp", "verify_token"),
        ] {
            let sections = read(&format!("[{name}]\n{secret} = \"hidden-value\"")).unwrap();
            let section = sections.get(name).unwrap();
            assert!(section.secrets().iter().any(|it| it.reveal() == "hidden-value"), "{name}.{secret}");
            assert!(!format!("{sections:?}").contains("hidden-value"), "{sections:?}");
        }
    }

    #[test]
    fn the_usual_variables_belong_to_the_section() {
        for kind in crate::MESSENGERS {
            let prefix = format!("{}_", kind.name.to_uppercase());
            assert!(!kind.secret_env.is_empty());
            assert!(kind.secret_env.iter().all(|name| name.starts_with(&prefix)), "{kind:?}");
        }
    }
}
