//! What agents know of the project, and whether its parts are set up for them.

use pipeline::{Project, project::ProjectContext, trust::ProjectTrust};

use super::{DoctorCheck, good, note};
use crate::{
    program::detect::{self, ProjectFiles},
    replies::doctor as say,
};

pub(super) fn checks(project: &Project, trust: &ProjectTrust) -> Vec<DoctorCheck> {
    let mut checks = specs(project, &trust.base);
    checks.extend(project.folder(&trust.base).map(|folder| good(say::project_folder(&folder))));
    checks.extend(parts(project, trust));
    checks
}

fn specs(project: &Project, base: &str) -> Vec<DoctorCheck> {
    if project.specs_are_edited(base) {
        return vec![note(say::specs_edited(base))];
    }
    let specs = [
        (".storkit/specs/00_CONTEXT.md", project.context(base)),
        (".storkit/specs/tech/STACK.md", project.stack(base)),
    ];
    if specs.iter().all(|(_, spec)| matches!(spec, ProjectContext::Text(_))) {
        return vec![good(say::SPECS_READ)];
    }
    let check = |(name, spec): (&str, ProjectContext)| match spec {
        ProjectContext::Text(_) => None,
        ProjectContext::Untouched => Some(note(say::spec_untouched(name))),
        ProjectContext::Missing => Some(note(say::spec_missing(name))),
    };
    specs.into_iter().filter_map(check).collect()
}

/// Parts that base has gained. Where git must not be used, another check says so.
fn parts(project: &Project, trust: &ProjectTrust) -> Vec<DoctorCheck> {
    let Ok(settings) = trust.proposed_config(|_| Some(String::new())) else { return Vec::new() };
    // Without settings, `storkit init` is the next step anyway.
    if trust.proposed.project_toml.is_none() || trust.has_unconfirmed_programs() {
        return Vec::new();
    }
    let Ok(files) = ProjectFiles::of_branch(project, &trust.base) else { return Vec::new() };
    let folder = settings.config.folder.to_string_lossy().into_owned();
    let found = detect::detect(&files, &folder);
    let missing = detect::not_configured(&found, &settings.config);
    let unusable =
        found.components.iter().filter(|part| !missing.contains(part) && !detect::is_installed(part.program));
    let unusable = unusable.map(|part| note(say::part_needs_program(&part.shown())));
    missing.iter().map(|part| note(say::part_not_configured(&part.shown()))).chain(unusable).collect()
}
