//! The settings of a project: what base says, as far as the operator has confirmed it.

use crate::{
    Project,
    config::ProjectConfig,
    git::kind,
    host::AgentSettings,
    sentence::sentence,
    trust::{ProjectTrust, check_state_files},
};

/// Follows the reason why no settings are in force.
const NOTHING_STARTS: &str = "Nothing is started until then.";

/// What follows from settings that are not in force.
pub(super) fn with_consequence(why: &str, others_are_in_force: bool) -> String {
    let until_then = match others_are_in_force {
        true => "The previous settings stay in effect until then.",
        false => NOTHING_STARTS,
    };
    format!("{} {until_then}", sentence(why))
}

/// An edit that nobody would otherwise notice to be without effect.
pub(super) fn edit_without_effect(base: &str) -> String {
    format!(
        "`.storkit/project.toml` in the checkout differs from the one on `{base}`, which is the one that counts. The \
         difference takes effect once it is committed on `{base}` and confirmed with `storkit trust`."
    )
}

/// The facts that decide about the settings, cheap enough to be looked at every few seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigStamp {
    base: Option<git2::Oid>,
    head: Option<git2::Oid>,
    confirmed: i128,
}

impl ConfigStamp {
    pub(super) fn read(project: &Project, base: &str, settings: &AgentSettings) -> Self {
        let repository = git2::Repository::open(project.root()).ok();
        let tip = |name: &str| repository.as_ref()?.refname_to_id(name).ok();
        Self {
            base: tip(&format!("refs/heads/{base}")),
            head: tip("HEAD"),
            confirmed: settings.trust.changed_at(project),
        }
    }
}

/// The settings as they are on disk, in git and in the operator's confirmation.
pub(super) struct SettingsReading {
    /// Those that are in force; `None` where nobody has confirmed any, or they are wrong.
    pub in_force: Option<ProjectConfig>,
    /// Why those that the repository has now are not.
    pub trouble: Option<String>,
    pub edited: bool,
    /// The branch that stories merge to. An error stops the whole pipeline.
    pub base: Result<String, String>,
}

impl SettingsReading {
    /// Reads `project.toml` on base and its confirmed version. Blocks.
    pub(super) fn read(project: &Project, settings: &AgentSettings) -> Self {
        let failed =
            |why: String| Self { in_force: None, trouble: Some(why.clone()), edited: false, base: Err(why) };
        if let Err(error) = check_state_files(project.root()) {
            return failed(error.to_string());
        }
        let trust = match ProjectTrust::read(project, &settings.trust) {
            Ok(trust) => trust,
            Err(error) => return failed(error.to_string()),
        };
        if trust.has_unconfirmed_programs() {
            return failed(trust.programs_sentence());
        }
        // Before an agent is paid for what then fails.
        match kind::refusal(project) {
            Ok(None) => {}
            Ok(Some(why)) => return failed(why),
            Err(error) => return failed(error.to_string()),
        }
        // The file belongs to the repository, so `${VAR}` cannot name storkit's own secrets there.
        let secret = |name: &str| settings.secret_env.iter().any(|secret| secret == name);
        let lookup = |name: &str| if secret(name) { None } else { settings::environment::var(name) };
        let (in_force, wrong) = match trust.in_force(lookup) {
            Ok(loaded) => (loaded.map(|loaded| loaded.config), None),
            Err(why) => (None, Some(why)),
        };
        let unconfirmed = || match trust.proposed_config(lookup) {
            // One that is wrong cannot be confirmed either.
            Err(why) => Some(why),
            Ok(_) => (!trust.is_confirmed()).then(|| trust.unconfirmed_sentence()),
        };
        let trouble = wrong.or_else(unconfirmed);
        Self { in_force, trouble, edited: trust.edited, base: Ok(trust.base) }
    }
}
