//! `storkit migrate` and `storkit doctor --audit`: looking after the story files without serving.

use std::{process::ExitCode, time::SystemTime};

use pipeline::{Project, audit::audit as audit_done, migrate::migrate, trust::ProjectTrust};

use crate::{
    program::{
        audit::{self, AuditFilter},
        output::{complain, print},
        trust,
    },
    replies::terminal::audit_clean,
};

/// Moves an older `.story_kit/` folder to its new place and prints each step.
pub fn migrate_stories(project: &Project) -> ExitCode {
    match migrate(project) {
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
