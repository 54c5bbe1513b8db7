//! Which of a repository's settings the operator has confirmed, and which are therefore in force.
//!
//! A repository is not trusted because it is served. `project.toml` counts as it is at the tip of base, and only once
//! the operator has confirmed exactly that text; until then the version confirmed before stays in force. `store` keeps
//! confirmations outside the repository, `base` reads files from base, `programs` finds programs that the
//! repository's own git configuration would run, `files` refuses files below `.storkit/` that are not storkit's own.

mod base;
mod changes;
mod error;
mod files;
mod programs;
mod state;
mod store;
mod text;

pub use self::{
    base::text_on,
    changes::{ChangedLine, changed_lines},
    error::TrustError,
    files::{Misplaced, check_private, check_settings_file, check_state_files},
    state::StateError,
    store::{StoryOrigins, TrustStore},
    text::TrustedText,
};
use crate::{
    Project,
    config::{LoadedProjectConfig, ProjectConfig},
    guard::base_branch,
};

/// Where base keeps the settings.
const PROJECT_TOML: &str = ".storkit/project.toml";

/// The settings of a project: those that the repository has now, and those that were confirmed.
#[derive(Clone, Debug)]
pub struct ProjectTrust {
    /// The branch that stories merge to.
    pub base: String,
    /// The repository's version: `project.toml` from the tip of base.
    pub proposed: TrustedText,
    /// The version that the operator confirmed last.
    pub confirmed: Option<TrustedText>,
    /// Whether `project.toml` in the checkout is another than the one on base.
    pub edited: bool,
}

impl ProjectTrust {
    /// Reads both. Blocks, and starts git once.
    pub fn read(project: &Project, store: &TrustStore) -> Result<Self, TrustError> {
        let confirmed = store.confirmed(project)?;
        let named = confirmed.as_ref().map(|text| named_base(text.project_toml.as_deref()));
        let repository = git2::Repository::open(project.root())?;
        let base = match named {
            // The confirmed text decides, as for every other key.
            Some(named) => base_branch(project, named.as_deref())?,
            None => unconfirmed_base(project, &repository)?,
        };
        let project_toml = base::text_on(&repository, &base, PROJECT_TOML)?;
        let edited = in_checkout(project) != project_toml;
        let git_programs = programs::of(project)?;
        Ok(Self { base, proposed: TrustedText { project_toml, git_programs }, confirmed, edited })
    }

    /// Whether the operator has confirmed the repository's version. storkit's own defaults need no confirmation as
    /// long as nothing else was confirmed before.
    pub fn is_confirmed(&self) -> bool {
        match &self.confirmed {
            Some(confirmed) => *confirmed == self.proposed,
            None => self.proposed.is_empty(),
        }
    }

    /// Whether the repository's git configuration names programs that nobody confirmed. Any git of storkit's would run
    /// them, so until then none is started.
    pub fn has_unconfirmed_programs(&self) -> bool {
        let confirmed = self.confirmed.as_ref().map(|text| &text.git_programs);
        self.proposed
            .git_programs
            .iter()
            .any(|program| confirmed.is_none_or(|known| !known.contains(program)))
    }

    /// The settings that are in force: the confirmed ones; `None` where nothing was ever confirmed. An `Err` is a sentence
    /// about what is wrong with them.
    pub fn in_force(
        &self,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<LoadedProjectConfig>, String> {
        match (&self.confirmed, self.is_confirmed()) {
            (Some(confirmed), _) => parse(confirmed.project_toml.as_deref(), lookup).map(Some),
            (None, true) => parse(None, lookup).map(Some),
            (None, false) => Ok(None),
        }
    }

    /// What waits for the operator, as a sentence.
    pub fn unconfirmed_sentence(&self) -> String {
        let base = &self.base;
        match (&self.confirmed, &self.proposed.project_toml) {
            (None, _) => format!(
                "You have not confirmed `.storkit/project.toml` on `{base}` yet, so nothing of this repository runs. \
                 `storkit trust` shows what it would run, and asks"
            ),
            (Some(_), Some(_)) => format!(
                "`.storkit/project.toml` has changed on `{base}`, and the change is not confirmed. `storkit trust` shows it, \
                 and asks"
            ),
            (Some(_), None) => format!(
                "`{base}` has no `.storkit/project.toml`, but you confirmed one. Commit it there, or confirm with \
                 `storkit trust` that storkit's defaults apply"
            ),
        }
    }

    /// What git would run, as a sentence.
    pub fn programs_sentence(&self) -> String {
        let list: Vec<&str> = self.proposed.git_programs.iter().map(String::as_str).collect();
        format!(
            "The git configuration of this repository names programs that git would run, so storkit does not use git \
             here: {}. Remove them with `git config --unset KEY`, or look at them and confirm them with `storkit trust`",
            list.join("; ").escape_debug()
        )
    }

    /// The settings that the repository has now, whether confirmed or not.
    pub fn proposed_config(
        &self,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<LoadedProjectConfig, String> {
        parse(self.proposed.project_toml.as_deref(), lookup)
    }
}

/// As [`ProjectTrust::programs_sentence`], in a repository that has no base yet; `None` where there is nothing to say.
pub fn unconfirmed_programs(project: &Project, store: &TrustStore) -> Result<Option<String>, TrustError> {
    let proposed = TrustedText { project_toml: None, git_programs: programs::of(project)? };
    let trust =
        ProjectTrust { base: String::new(), proposed, confirmed: store.confirmed(project)?, edited: false };
    Ok(trust.has_unconfirmed_programs().then(|| trust.programs_sentence()))
}

/// Reads a text of `project.toml`; none gives the defaults.
fn parse(text: Option<&str>, lookup: impl Fn(&str) -> Option<String>) -> Result<LoadedProjectConfig, String> {
    let parsed = ProjectConfig::parse(text.unwrap_or_default(), PROJECT_TOML.as_ref(), lookup);
    parsed.map_err(|error| error.to_string())
}

/// `base_branch` of a text. One that cannot be read names none; the error is reported where the text is used.
fn named_base(text: Option<&str>) -> Option<String> {
    parse(text, |_| Some(String::new())).ok()?.config.base_branch
}

/// Base as long as nothing is confirmed: the detected branch, unless the `project.toml` there names another. That one is
/// not asked again, so two branches cannot send storkit in a circle.
fn unconfirmed_base(project: &Project, repository: &git2::Repository) -> Result<String, TrustError> {
    let detected = base_branch(project, None)?;
    let named = named_base(base::text_on(repository, &detected, PROJECT_TOML)?.as_deref());
    Ok(match named {
        Some(named) => base_branch(project, Some(&named))?,
        None => detected,
    })
}

/// The file as it is in the checkout; `None` also where it is a link or cannot be read.
fn in_checkout(project: &Project) -> Option<String> {
    let path = project.root().join(PROJECT_TOML);
    path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests;
