//! `storkit migrate` and `storkit doctor --audit`: looking after the story files without serving.

use std::{process::ExitCode, time::SystemTime};

use pipeline::{
    Project,
    audit::audit as audit_done,
    guard::BaseError,
    migrate::migrate,
    trust::{ProjectTrust, TrustError},
};

use crate::{
    program::{
        audit::{self, AuditFilter},
        lock,
        output::{complain, print},
        trust,
    },
    replies::terminal::audit_clean,
};

/// Moves an older `.story_kit/` folder to its new place, and stories that base tracks to their branch, and prints each step.
pub fn migrate_stories(project: &Project) -> ExitCode {
    // Held until the end: a storkit of the version before would commit the stories to base again.
    let _lock = match lock::take(project) {
        Ok(lock) => lock,
        Err(error) => return complain(1, &error.to_string()),
    };
    // A repository without a commit has no base yet, and so no stories on it.
    let base = trust::store().and_then(|store| ProjectTrust::read(project, &store)).map(|trust| trust.base);
    let base = match base {
        Ok(base) => Some(base),
        Err(TrustError::Base(BaseError::NoCommits)) => None,
        Err(error) => return complain(1, &error.to_string()),
    };
    match migrate(project, base.as_deref()) {
        Ok(migration) => {
            print(&migration.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => complain(1, &error.to_string()),
    }
}

/// Prints the permission record.
pub fn show_audit(project: &Project, filter: &AuditFilter) -> ExitCode {
    match audit::lines(&project.dir(), filter, SystemTime::now()) {
        Ok(lines) => {
            print(&lines);
            ExitCode::SUCCESS
        }
        Err(error) => complain(1, &error.to_string()),
    }
}

/// Checks every done story against the repository: 0 if all is true, 1 with a line for each finding.
pub fn audit_stories(project: &Project) -> ExitCode {
    let base = match trust::store().and_then(|store| ProjectTrust::read(project, &store)) {
        Ok(trust) => trust.base,
        Err(error) => return complain(2, &error.to_string()),
    };
    match audit_done(project, &base) {
        Ok(findings) if findings.is_empty() => {
            print(&audit_clean(&base));
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in findings {
                print(&format!("- {finding}\n"));
            }
            ExitCode::FAILURE
        }
        Err(error) => complain(1, &error.to_string()),
    }
}
