//! `storkit init`: the files a project starts with. Existing files are never overwritten.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use pipeline::{
    Project,
    config::Agent,
    git::program::{GitProgram, GitProgramError},
    project::TEMPLATE_MARK,
    stage::{Role, Stage},
    trust::{ProjectTrust, TrustError, TrustStore, unconfirmed_programs},
};
use settings::atomic;

/// The choices for a new project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitChoices {
    /// How people call the bot.
    pub display_name: String,
    /// Command lines that must pass before a story is merged.
    pub gates: Vec<String>,
    /// Coders at work at the same time.
    pub coders: u32,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaffoldFile {
    /// Written, relative to the project.
    Written(&'static str),
    Kept(&'static str),
}

/// Why a project could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A file could not be written.
    #[error("`{path}` cannot be written: {source}.")]
    Disk { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Git(#[from] GitProgramError),
    #[error(transparent)]
    Trust(#[from] TrustError),
}

pub const PROJECT_TOML: &str = ".storkit/project.toml";
const CONTEXT: &str = ".storkit/context.md";
const BOT_TOML: &str = ".storkit/bot.toml";

/// What fits this folder: its own test command, where one is found.
pub fn suggest(root: &Path) -> InitChoices {
    InitChoices { display_name: "Timmy".into(), gates: test_command(root).into_iter().collect(), coders: 2 }
}

/// The command that tests the project, by what lies at its top.
fn test_command(root: &Path) -> Option<String> {
    let has = |name: &str| root.join(name).exists();
    let says =
        |name: &str, word: &str| fs::read_to_string(root.join(name)).is_ok_and(|text| text.contains(word));
    let known: [(bool, &str); 8] = [
        (has("script/test"), "script/test"),
        (has("Cargo.toml"), "cargo test"),
        (says("package.json", "\"test\""), "npm test"),
        (has("go.mod"), "go test ./..."),
        (has("pyproject.toml") || has("pytest.ini"), "python3 -m pytest"),
        (has("mix.exs"), "mix test"),
        (has("Gemfile") && has("spec"), "bundle exec rspec"),
        (says("Makefile", "\ntest:"), "make test"),
    ];
    known.into_iter().find(|(fits, _)| *fits).map(|(_, command)| command.to_owned())
}

/// Writes the missing files and makes the stage folders. Only `init` makes them: git has no empty folders, and in a
/// clone each appears with its first story.
///
/// Fails where a file cannot be written; those before it stay.
pub fn scaffold(project: &Project, choices: &InitChoices) -> Result<Vec<ScaffoldFile>, InitError> {
    let files = [
        (PROJECT_TOML, project_toml(choices)),
        (CONTEXT, include_str!("context.md").to_owned()),
        (BOT_TOML, bot_toml(choices)),
    ];
    for stage in Stage::ALL {
        let path = project.dir().join("work").join(stage.dir());
        fs::create_dir_all(&path).map_err(|source| InitError::Disk { path, source })?;
    }
    files.into_iter().map(|(name, text)| write(project.root(), name, &text)).collect()
}

fn write(root: &Path, name: &'static str, text: &str) -> Result<ScaffoldFile, InitError> {
    let path = root.join(name);
    // `exists` follows symbolic links and calls a dangling one missing; the write would then replace it.
    if path.symlink_metadata().is_ok() {
        return Ok(ScaffoldFile::Kept(name));
    }
    let failed = |source| InitError::Disk { path: path.clone(), source };
    atomic::write(&path, text.as_bytes()).map_err(failed)?;
    if name != BOT_TOML {
        // Others of the team read these from the repository anyway.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, mode).map_err(failed)?;
    }
    Ok(ScaffoldFile::Written(name))
}

/// The example with the chosen name.
fn bot_toml(choices: &InitChoices) -> String {
    let example = include_str!("../../../bot.toml.example");
    let name = toml::Value::from(choices.display_name.as_str());
    // Without a room that follows, every question of an agent on a story would be denied.
    let own = example
        .replace("display_name = \"Timmy\"", &format!("display_name = {name}"))
        .replace("\nrooms = []", "\nrooms = [\"console:main\"]");
    format!(
        "# {TEMPLATE_MARK}: written by `storkit init`. git ignores this file: it may hold secrets.\n{own}"
    )
}

/// The team with its prompts, every one to be changed.
pub fn project_toml(choices: &InitChoices) -> String {
    let gates: Vec<toml::Value> = choices.gates.iter().map(|gate| gate.as_str().into()).collect();
    let mut text = format!(
        "# {TEMPLATE_MARK}: written by `storkit init`. Change any value; the prompts below are the ones in use.\n\n\
         # Stories merge to this branch. Default: `main` or `master`, whichever exists.\n# base_branch = \"main\"\n\n\
         # How many runs of a story may fail in one stage before it is blocked.\nmax_retries = 3\n\n\
         # Commands that must pass in the worktree, and again on the merged result. An empty list tests nothing.\ngates = {}\n\
         gate_timeout = \"1h\"\n\
         # What gates can reach: true (everything), false (nothing), or hosts like [\"crates.io\", \"*.crates.io\", \"github.com:443\"].\n\
         # Components have the same access unless they set their own `network`.\n# gate_network = true\n\n# A done story is archived after this; \"0\" never archives.\nsweep_after = \"4h\"\n\n\
         # US dollars. When a budget is spent, no new run starts and the rooms are asked.\n[budget]\n# run_usd = 5.0\n# story_usd = 20.0\n# day_usd = 100.0\n\n\
         # Parts of the project that need setup in a new worktree.\n# [[component]]\n# name = \"frontend\"\n# path = \"web\"\n# setup = [\"npm ci\"]\n# teardown = []\n# network = [\"registry.npmjs.org\"]\n",
        toml::Value::Array(gates)
    );
    // Each is called by its stage.
    let team = [
        ("coder", Role::Coder, choices.coders),
        ("qa", Role::Qa, 1),
        ("mergemaster", Role::Mergemaster, 1),
        ("supervisor", Role::Supervisor, 1),
    ];
    for (name, role, count) in team {
        agent(&mut text, &Agent { count, ..Agent::new(name, role) });
    }
    text
}

fn agent(text: &mut String, agent: &Agent) {
    let _ = write!(
        text,
        "\n[[agent]]\nname = \"{0}\"\nstage = \"{0}\"\ncount = {1}\n# model = \"\"          # the CLI's default\n# max_turns = 200\n# max_budget_usd = 5.0\n\
         # network = true       # or false (the model's API and storkit's tools only), or more hosts, like [\"crates.io\"]\n\
         prompt = '''\n{2}'''\nsystem_prompt = '''\n{3}'''\n",
        agent.name, agent.count, agent.prompt, agent.system_prompt
    );
}

/// Whether the folder is inside a repository.
pub fn is_repository(folder: &Path) -> bool {
    GitProgram::at(folder).run(["rev-parse", "--git-dir"]).is_ok()
}

/// Makes a repository whose branch is `main`.
///
/// Fails where git is missing or refuses.
pub fn make_repository(folder: &Path) -> Result<(), InitError> {
    Ok(GitProgram::at(folder).run(["init", "-q", "-b", "main"]).map(drop)?)
}

/// Why git must not be used in this repository, as a clause.
pub fn git_in_the_way(project: &Project, store: &TrustStore) -> Result<Option<String>, InitError> {
    match ProjectTrust::read(project, store) {
        Ok(trust) => Ok(trust.has_unconfirmed_programs().then(|| trust.programs_sentence())),
        // A repository without a commit has no base yet, but may have such a configuration.
        Err(TrustError::Base(_)) => Ok(unconfirmed_programs(project, store)?),
        Err(error) => Err(error.into()),
    }
}

/// Commits the files of `init` that git does not have, and nothing else; `false` if it has them all.
///
/// Fails where git is missing or refuses.
pub fn commit(project: &Project) -> Result<bool, InitError> {
    // It runs no hooks, and has an identity where git knows nobody: set-up must not fail for that.
    let git = GitProgram::at(project.root()).with_identity()?;
    let files = [PROJECT_TOML, CONTEXT];
    let new = git.run([&["status", "--porcelain", "--"][..], &files].concat())?;
    if new.trim().is_empty() {
        return Ok(false);
    }
    git.run([&["add", "--"][..], &files].concat())?;
    // With the paths given, git commits only these: whatever the person has staged stays staged.
    git.run([&["commit", "-q", "-m", "storkit: set up", "--"][..], &files].concat())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use pipeline::{config::ProjectConfig, project::ProjectContext};

    use super::*;
    use crate::config::BotConfig;

    fn project() -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        make_repository(dir.path()).unwrap();
        let project = Project::open(dir.path()).unwrap();
        (dir, project)
    }

    #[test]
    fn what_is_written_is_valid_and_says_what_the_defaults_say() {
        let (_dir, project) = project();
        let choices =
            InitChoices {
                display_name: "Rob \"the\" Bot 🤖".into(), gates: vec!["true".into()], coders: 3
            };
        let written = scaffold(&project, &choices).unwrap();
        assert_eq!(written, [PROJECT_TOML, CONTEXT, BOT_TOML].map(ScaffoldFile::Written));
        let config = ProjectConfig::load(&project.dir().join("project.toml"), |_| None).unwrap().config;
        assert_eq!((config.gates, config.max_retries), (vec!["true".to_owned()], 3));
        let mut team = Agent::default_team();
        team[0].count = 3;
        team.push(Agent::new("supervisor", Role::Supervisor));
        let trimmed = |agents: Vec<Agent>| -> Vec<(String, u32, String)> {
            agents
                .into_iter()
                .map(|agent| (agent.name, agent.count, agent.prompt.trim().to_owned()))
                .collect()
        };
        assert_eq!(trimmed(config.agents), trimmed(team));
        let bot = BotConfig::load(&project.dir().join("bot.toml"), |_| None).unwrap().config;
        assert_eq!(bot.display_name, "Rob \"the\" Bot 🤖");
        assert_eq!(bot.pipeline.rooms, ["console:main"]);
        let first = |name: &str| {
            fs::read_to_string(project.root().join(name)).unwrap().lines().next().map(str::to_owned)
        };
        for name in [PROJECT_TOML, CONTEXT, BOT_TOML] {
            assert!(first(name).unwrap().contains(TEMPLATE_MARK), "{name}");
        }
        assert!(fs::read_to_string(project.root().join(CONTEXT)).unwrap().contains(TEMPLATE_MARK));
        let stages = ["1_backlog", "2_current", "3_qa", "4_merge", "5_done", "6_archived"];
        assert!(stages.iter().all(|stage| project.dir().join("work").join(stage).is_dir()));
    }

    #[test]
    fn nothing_is_written_over_and_only_its_own_files_are_committed() {
        let (_dir, project) = project();
        fs::write(project.root().join("mine.txt"), "mine").unwrap();
        fs::write(project.root().join(CONTEXT), "# Ours\n").unwrap();
        let written = scaffold(&project, &suggest(project.root())).unwrap();
        assert_eq!(written[1], ScaffoldFile::Kept(CONTEXT));
        assert!(commit(&project).unwrap());
        assert_eq!(project.context("main"), ProjectContext::Text("# Ours\n".into()));
        assert!(!commit(&project).unwrap(), "a second time there is nothing to do");
        let status = GitProgram::at(project.root()).run(["status", "--porcelain"]).unwrap();
        assert_eq!(status, "?? mine.txt", "bot.toml is ignored, a person's files are theirs");
        let again = scaffold(&project, &suggest(project.root())).unwrap();
        assert!(again.iter().all(|file| matches!(file, ScaffoldFile::Kept(_))));
    }

    #[test]
    fn the_secret_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, project) = project();
        scaffold(&project, &suggest(project.root())).unwrap();
        let mode = |name: &str| fs::metadata(project.root().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(BOT_TOML), mode(PROJECT_TOML)), (0o600, 0o644));
    }

    #[test]
    fn the_test_command_is_found_by_what_lies_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(test_command(dir.path()), None);
        fs::write(dir.path().join("Makefile"), "all:\n\ntest:\n\ttrue\n").unwrap();
        assert_eq!(test_command(dir.path()).as_deref(), Some("make test"));
        fs::write(dir.path().join("package.json"), "{\"scripts\":{\"test\":\"vitest\"}}").unwrap();
        assert_eq!(test_command(dir.path()).as_deref(), Some("npm test"));
        fs::create_dir(dir.path().join("script")).unwrap();
        fs::write(dir.path().join("script/test"), "").unwrap();
        assert_eq!(test_command(dir.path()).as_deref(), Some("script/test"));
    }
}
