//! `storkit init` at a terminal: a few questions with their defaults, or flags; then what to do next.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use pipeline::{
    Project,
    git::kind::unreadable_index,
    trust::{ProjectTrust, TrustStore},
};

use crate::{
    program::{
        detect::{self, DetectedProject, ProjectFiles},
        init::{self, AddedParts, BaseBranches, InitChoices, InitError, InitResult, ScaffoldFile},
        output::{complain, print},
        trust,
    },
    replies::{
        self,
        setup::{self as say, FoundPart},
    },
};

/// The answers that `storkit init` takes as flags.
#[derive(Args, Clone)]
pub struct InitArgs {
    /// Ask nothing: use the defaults for everything without a flag
    #[arg(long)]
    yes: bool,
    /// The bot's name [default: Timmy]
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// The branch that stories merge to [default: the branch that the team works on]
    #[arg(long, value_name = "BRANCH")]
    base: Option<String>,
    /// A command that must pass before a story is merged; can be given more than once [default: the project's own tests]
    #[arg(long, value_name = "COMMAND")]
    gate: Vec<String>,
    /// How many coders work at the same time [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    coders: Option<u32>,
}

/// Sets the project up and prints each step.
pub fn init(given: &InitArgs, folder: Option<&Path>) -> ExitCode {
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let asks = !given.yes && io::stdin().is_terminal();
    if !given.yes && !asks {
        return complain(2, say::NOBODY_TO_ASK);
    }
    if let Err(error) = std::fs::create_dir_all(&folder) {
        return complain(2, &say::cannot_create(&folder, &error));
    }
    if !init::is_repository(&folder) {
        if asks && !yes(say::CREATE_REPOSITORY) {
            return complain(2, say::NO_REPOSITORY);
        }
        if let Err(error) = init::make_repository(&folder) {
            return complain(1, &error.to_string());
        }
    }
    let project = match Project::open(&folder) {
        Ok(project) => project,
        Err(error) => return complain(2, &error.to_string()),
    };
    match unreadable_index(&project) {
        Ok(None) => {}
        Ok(Some(why)) => return complain(2, &why),
        Err(error) => return complain(2, &error.to_string()),
    }
    let store = match trust::store() {
        Ok(store) => store,
        Err(error) => return complain(2, &error.to_string()),
    };
    // What was there before is not storkit's, and is not confirmed by the way.
    if let Err(error) = store.check_state(&project) {
        return complain(2, &error.to_string());
    }
    let dialog =
        InitDialog { project: &project, store: &store, given, asks, start: start_folder(&project, &folder) };
    match dialog.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => complain(refusal.code, &refusal.sentence),
    }
}

/// Why `init` ends early, and with which exit code.
struct InitRefusal {
    code: u8,
    sentence: String,
}

impl From<InitError> for InitRefusal {
    fn from(error: InitError) -> Self {
        Self { code: 1, sentence: error.to_string() }
    }
}

struct InitDialog<'a> {
    project: &'a Project,
    store: &'a TrustStore,
    given: &'a InitArgs,
    asks: bool,
    /// The folder in which `init` was started, from the project's root.
    start: String,
}

impl InitDialog<'_> {
    fn run(&self) -> Result<(), InitRefusal> {
        // Git would run what its own configuration names.
        let in_the_way = init::git_in_the_way(self.project, self.store)?;
        if in_the_way.is_none()
            && let Some(base) = self.base_with_settings()
        {
            return self.complete(&base);
        }
        let base = self.choose_base(in_the_way.is_none())?;
        let found = self.detect(&base, in_the_way.is_none())?;
        self.show_found(&found);
        let choices = self.choose(base, found);
        let commits = in_the_way.is_none() && (!self.asks || yes(say::COMMIT));
        let had_settings = self.project.root().join(init::PROJECT_TOML).symlink_metadata().is_ok();
        let result = init::set_up(self.project, self.store, &choices, commits)?;
        self.report(&result, had_settings);
        if let Some(why) = in_the_way {
            print(&replies::trust::init_without_git(&why));
        } else {
            self.report_uncommitted()?;
        }
        print(&say::next_steps(&choices.display_name, choices.gates.is_empty()));
        Ok(())
    }

    /// The base branch of a project that has its settings there.
    fn base_with_settings(&self) -> Option<String> {
        let trust = ProjectTrust::read(self.project, self.store).ok()?;
        trust.proposed.project_toml.is_some().then_some(trust.base)
    }

    /// For a project that is set up: missing files, and parts that it has gained.
    fn complete(&self, base: &str) -> Result<(), InitRefusal> {
        if self.given.base.as_deref().is_some_and(|given| given != base) {
            return Err(InitRefusal { code: 2, sentence: say::base_is_set(base) });
        }
        if self.asks && !yes(say::COMMIT) {
            return Ok(());
        }
        let choices = self.suggest(base.to_owned(), DetectedProject::default());
        let result = init::set_up(self.project, self.store, &choices, true)?;
        self.report(&result, true);
        self.add_new_parts(base)?;
        self.report_uncommitted()
    }

    fn add_new_parts(&self, base: &str) -> Result<(), InitRefusal> {
        let Ok(trust) = ProjectTrust::read(self.project, self.store) else { return Ok(()) };
        let Ok(settings) = trust.proposed_config(|_| Some(String::new())) else { return Ok(()) };
        let files = ProjectFiles::of_branch(self.project, base).map_err(InitError::from)?;
        let parts = detect::not_configured(&detect::detect(&files, &self.start), &settings.config);
        if parts.is_empty() {
            return Ok(());
        }
        let shown: Vec<FoundPart> = parts.iter().map(|part| part.shown()).collect();
        print(&say::parts_found(&shown));
        if self.asks && !yes(say::ADD_PARTS) {
            return Ok(());
        }
        print(&match init::add_parts(self.project, self.store, &parts)? {
            AddedParts::Added => say::parts_added(&shown),
            AddedParts::ByHand => {
                say::parts_by_hand(base, &parts.iter().map(init::component).collect::<String>())
            }
        });
        Ok(())
    }

    fn choose_base(&self, uses_git: bool) -> Result<String, InitRefusal> {
        if !uses_git {
            let known = ProjectTrust::read(self.project, self.store).map(|trust| trust.base);
            return Ok(self.given.base.clone().or(known.ok()).unwrap_or_else(|| "main".into()));
        }
        let found = BaseBranches::read(self.project).map_err(InitError::from)?;
        if let Some(given) = &self.given.base {
            return match found.can_be(given) {
                true => Ok(given.clone()),
                false => Err(InitRefusal { code: 2, sentence: say::no_such_branch(given, &found.branches) }),
            };
        }
        let mut base = found.suggested.clone();
        if self.asks && found.is_open() {
            print(&say::base_choices(&found.branches, found.old.as_deref()));
            loop {
                base = answer(say::BASE, &found.suggested);
                if found.can_be(&base) {
                    break;
                }
                print(&format!("{}\n", say::no_such_branch(&base, &found.branches)));
            }
        }
        print(&say::base_chosen(&base, found.old.as_deref().filter(|old| *old != base), found.is_open()));
        Ok(base)
    }

    /// What stories will find: base as it is, or the checkout where that is about to become base.
    fn detect(&self, base: &str, uses_git: bool) -> Result<DetectedProject, InitRefusal> {
        if !uses_git {
            return Ok(DetectedProject::default());
        }
        let checked_out = BaseBranches::read(self.project).map_err(InitError::from)?.checked_out;
        let files = match checked_out.as_deref() == Some(base) {
            true => ProjectFiles::of_checkout(self.project),
            false => ProjectFiles::of_branch(self.project, base),
        };
        Ok(detect::detect(&files.map_err(InitError::from)?, &self.start))
    }

    fn show_found(&self, found: &DetectedProject) {
        let shown: Vec<FoundPart> = found.components.iter().map(|part| part.shown()).collect();
        if !found.folder.is_empty() {
            print(&say::project_folder(&found.folder));
        }
        print(&say::parts_found(&shown));
        let missing = shown.iter().filter(|part| !detect::is_installed(part.program));
        missing.for_each(|part| print(&say::program_missing(part)));
        if found.left_out > 0 {
            print(&say::parts_left_out(found.left_out));
        }
        if found.has_submodules {
            print(say::HAS_SUBMODULES);
        }
        if found.has_lfs {
            print(say::HAS_LFS);
        }
    }

    fn suggest(&self, base: String, found: DetectedProject) -> InitChoices {
        let gates = match self.given.gate.is_empty() {
            false => self.given.gate.clone(),
            true => found.gates,
        };
        InitChoices {
            display_name: self.given.display_name.clone().unwrap_or_else(|| "Timmy".into()),
            gates,
            coders: self.given.coders.unwrap_or(2),
            base,
            components: found.components,
            folder: found.folder,
        }
    }

    fn choose(&self, base: String, found: DetectedProject) -> InitChoices {
        let mut choices = self.suggest(base, found);
        if !self.asks {
            return choices;
        }
        if !choices.components.is_empty() && !yes(say::USE_PARTS) {
            choices.components.clear();
        }
        if self.given.display_name.is_none() {
            choices.display_name = answer(say::BOT_NAME, &choices.display_name);
        }
        if self.given.gate.is_empty() {
            let usual = choices.gates.join(" && ");
            let gate = answer(say::GATE, &usual);
            if gate != usual {
                choices.gates = vec![gate];
            }
        }
        if self.given.coders.is_none() {
            choices.coders = loop {
                match answer(say::CODERS, &choices.coders.to_string()).parse() {
                    Ok(coders @ 1..=100) => break coders,
                    _ => print(say::CODERS_RANGE),
                }
            };
        }
        choices
    }

    fn report(&self, result: &InitResult, had_settings: bool) {
        for file in &result.files {
            print(&match file {
                ScaffoldFile::Written(name) => say::file_written(name),
                ScaffoldFile::Kept(name) => say::file_kept(name),
                ScaffoldFile::Moved { from, to } => say::file_moved(from, to),
            });
        }
        if had_settings && !trust::is_confirmed(self.project, self.store) {
            print(replies::trust::INIT_KEPT);
        }
        if let Some(why) = &result.unmigrated {
            print(&format!("{}\n", replies::sentence(why)));
        }
        if result.is_committed {
            print(say::COMMITTED);
        }
    }

    fn report_uncommitted(&self) -> Result<(), InitRefusal> {
        let files = init::never_committed(self.project).map_err(InitError::from)?;
        if !files.is_empty() {
            print(&say::never_committed(&files));
        }
        Ok(())
    }
}

/// The folder from the project's root, with `/`; empty for the root.
fn start_folder(project: &Project, folder: &Path) -> String {
    let real = folder.canonicalize().unwrap_or_default();
    real.strip_prefix(project.root()).map(|inside| inside.to_string_lossy().into_owned()).unwrap_or_default()
}

fn yes(question: &str) -> bool {
    matches!(answer(&format!("{question} (yes/no)"), "yes").to_lowercase().as_str(), "y" | "yes")
}

/// One line from the terminal; the usual answer for an empty line and for closed input.
fn answer(question: &str, usual: &str) -> String {
    print(&format!("{question} [{usual}] "));
    let _ = io::stdout().flush();
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(read) if read > 0 && !line.trim().is_empty() => line.trim().to_owned(),
        _ => usual.to_owned(),
    }
}
