//! `storkit trust`, and the same question at the first start on a terminal: the operator sees the commands that a repository makes
//! storkit run, and confirms exactly that.

use std::{
    collections::BTreeSet,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Args;
use pipeline::{
    Project,
    board::WorkFolder,
    trust::{ProjectTrust, StateError, TrustError, TrustStore, TrustedText, changed_lines},
};

use crate::{
    program::output::{complain, print},
    replies::trust as say,
};

#[derive(Args, Clone)]
pub struct TrustArgs {
    /// Confirm without a question, for scripts
    #[arg(long)]
    yes: bool,
}

/// The confirmations of the user who runs this program.
pub fn store() -> Result<TrustStore, TrustError> {
    TrustStore::of_user(|name| std::env::var_os(name))
}

/// Shows unconfirmed settings, asks, and records the answer: 0 where it is confirmed afterwards.
pub fn confirm(project: &Project, given: &TrustArgs) -> ExitCode {
    let read = store().and_then(|store| Ok((ProjectTrust::read(project, &store)?, store)));
    let (trust, store) = match read {
        Ok(read) => read,
        Err(error) => return complain(2, &error.to_string()),
    };
    if let Err(error) = store.check_state(project) {
        let code = adopt(project, &store, &error, given);
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    if trust.is_confirmed() {
        print(&say::nothing_to_confirm(!trust.proposed.is_empty(), &trust.base));
        return ExitCode::SUCCESS;
    }
    if let Err(why) = show(project, &store, &trust) {
        return complain(2, &why);
    }
    let agreed = match (given.yes, io::stdin().is_terminal()) {
        (true, _) => true,
        (false, true) => asked(),
        (false, false) => return complain(2, say::NOBODY_TO_ASK),
    };
    record(project, &store, &trust.proposed, agreed)
}

/// State that storkit did not make on this machine: the operator says whether it is theirs.
fn adopt(project: &Project, store: &TrustStore, error: &StateError, given: &TrustArgs) -> ExitCode {
    let StateError::Foreign { .. } = error else { return complain(1, &error.to_string()) };
    print(&say::foreign_state(error));
    let agreed = match (given.yes, io::stdin().is_terminal()) {
        (true, _) => true,
        (false, true) => answered(say::STATE_QUESTION),
        (false, false) => return complain(2, say::NOBODY_TO_ASK),
    };
    match agreed.then(|| store.adopt_state(project)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => complain(1, &error.to_string()),
        None => ExitCode::FAILURE,
    }
}

/// The question at a start on a terminal. Whatever the answer, storkit starts; unconfirmed commands do not run.
pub fn ask_at_start(project: &Project, store: &TrustStore) {
    // The pipeline reports other errors.
    let Ok(trust) = ProjectTrust::read(project, store) else { return };
    if !trust.is_confirmed() && show(project, store, &trust).is_ok() {
        record(project, store, &trust.proposed, asked());
    }
}

/// Records the text that `storkit init` wrote. Programs of the git configuration are not its doing.
pub fn confirm_written(project: &Project, store: &TrustStore, text: &str) -> Result<(), TrustError> {
    let git_programs: BTreeSet<String> =
        store.confirmed(project)?.map(|confirmed| confirmed.git_programs).unwrap_or_default();
    store.confirm(project, &TrustedText { project_toml: Some(text.to_owned()), git_programs })
}

/// Whether there is nothing to ask; what cannot be read is asked about.
pub fn is_confirmed(project: &Project, store: &TrustStore) -> bool {
    ProjectTrust::read(project, store).is_ok_and(|trust| trust.is_confirmed())
}

/// Prints all that is to be confirmed; an error is a sentence.
fn show(project: &Project, store: &TrustStore, trust: &ProjectTrust) -> Result<(), String> {
    let loaded = trust.proposed_config(|name| Some(format!("${{{name}}}")));
    let config = loaded.map_err(|why| say::cannot_be_confirmed(&why))?.config;
    let lines =
        changed_lines(trust.confirmed.as_ref(), &trust.proposed).map_err(|error| error.to_string())?;
    print(&say::heading(project.root(), &trust.base, trust.confirmed.is_none()));
    print(&say::summary(&config));
    print(&say::stories_in_work(not_started(project, store)));
    print(&say::changes(&lines));
    Ok(())
}

/// Stories in work that nobody started here.
fn not_started(project: &Project, store: &TrustStore) -> usize {
    let started = store.origins(project).ok().flatten().unwrap_or_default().started;
    let board = WorkFolder::open(project).and_then(|work| work.scan());
    let waits = |story: &pipeline::story::Story| {
        let name = story.file.to_string();
        story.stage.role().is_some() && !started.contains(name.trim_end_matches(".md"))
    };
    board.map_or(0, |board| board.stories().filter(|story| waits(story)).count())
}

fn record(project: &Project, store: &TrustStore, text: &TrustedText, agreed: bool) -> ExitCode {
    if !agreed {
        print(say::NOT_CONFIRMED);
        return ExitCode::FAILURE;
    }
    match store.confirm(project, text) {
        Ok(()) => {
            print(say::CONFIRMED);
            ExitCode::SUCCESS
        }
        Err(error) => complain(1, &error.to_string()),
    }
}

/// Only the whole word counts: an empty line is a no.
fn asked() -> bool {
    answered(say::QUESTION)
}

fn answered(question: &str) -> bool {
    print(question);
    let _ = io::stdout().flush();
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).unwrap_or(0);
    read > 0 && line.trim().eq_ignore_ascii_case("yes")
}
