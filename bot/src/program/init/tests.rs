//! `init` on real repositories: what it writes and commits, and that it leaves nothing where it fails.

use std::os::unix::fs::PermissionsExt as _;

use pipeline::{config::ProjectConfig, project::ProjectContext};

use super::*;
use crate::config::BotConfig;

struct Repository {
    _folder: tempfile::TempDir,
    root: PathBuf,
    project: Project,
    store: TrustStore,
}

impl Repository {
    /// Without a commit, on `main`.
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("project");
        fs::create_dir(&root).unwrap();
        make_repository(&root).unwrap();
        let project = Project::open(&root).unwrap();
        let store = TrustStore::at(root.with_file_name("trust"));
        Self { _folder: folder, root, project, store }
    }

    /// With one commit that has `a/b.txt`.
    fn new() -> Self {
        let repository = Self::empty();
        repository.write("a/b.txt", "b\n");
        repository.git(&["add", "a"]);
        repository.git(&["commit", "-q", "-m", "first"]);
        repository
    }

    fn git(&self, args: &[&str]) -> String {
        let git = GitProgram::at(&self.root).with_identity().unwrap();
        git.run(args).unwrap_or_else(|error| panic!("{error}"))
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.root.join(name).parent().unwrap()).unwrap();
        fs::write(self.root.join(name), text).unwrap();
    }

    fn set_up(&self, base: &str) -> Result<InitResult, InitError> {
        set_up(&self.project, &self.store, &choices(base), true)
    }

    /// Everything that a failed `init` could have left.
    fn state(&self) -> String {
        let files = ["project.toml", "README.md", "specs", "bot.toml", "work"];
        let here: Vec<&str> =
            files.into_iter().filter(|name| self.project.dir().join(name).exists()).collect();
        let refs = self.git(&["for-each-ref", "--format=%(refname) %(objectname)"]);
        format!("{here:?} {refs} {}", self.git(&["status", "--porcelain"]))
    }
}

fn choices(base: &str) -> InitChoices {
    InitChoices {
        display_name: "Timmy".into(),
        gates: vec!["true".into()],
        coders: 2,
        base: base.into(),
        components: vec![],
    }
}

#[test]
fn what_is_written_is_valid_and_says_what_the_defaults_say() {
    let repository = Repository::empty();
    let part = DetectedComponent {
        tool: "npm",
        path: "web".into(),
        setup: vec!["npm ci".into()],
        inputs: vec!["package-lock.json".into()],
        manifest: "package.json",
        ..DetectedComponent::default()
    };
    let name = "Rob \"the\" Bot 🤖";
    let choices =
        InitChoices { display_name: name.into(), coders: 3, components: vec![part], ..choices("main") };
    let result = set_up(&repository.project, &repository.store, &choices, true).unwrap();
    assert_eq!(result.files, [PROJECT_TOML, README, CONTEXT, STACK, BOT_TOML].map(ScaffoldFile::Written));
    assert!(result.is_committed && !result.is_elsewhere);
    let dir = repository.project.dir();
    let config = ProjectConfig::load(&dir.join("project.toml"), |_| None).unwrap().config;
    assert_eq!((config.gates, config.max_retries), (vec!["true".to_owned()], 3));
    assert_eq!(config.base_branch.as_deref(), Some("main"));
    assert_eq!(config.components[0].inputs, Some(vec!["web/package-lock.json".into()]));
    let mut team = pipeline::config::Agent::default_team();
    team[0].count = 3;
    team.push(pipeline::config::Agent::new("supervisor", pipeline::stage::Role::Supervisor));
    let trimmed = |agents: Vec<pipeline::config::Agent>| -> Vec<(String, u32, String)> {
        agents.into_iter().map(|agent| (agent.name, agent.count, agent.prompt.trim().to_owned())).collect()
    };
    assert_eq!(trimmed(config.agents), trimmed(team));
    let bot = BotConfig::load(&dir.join("bot.toml"), |_| None).unwrap().config;
    assert_eq!(
        (bot.display_name.as_str(), bot.pipeline.rooms.as_slice()),
        (name, &["console:main".to_owned()][..])
    );
    for name in [PROJECT_TOML, README, CONTEXT, STACK, BOT_TOML] {
        let text = fs::read_to_string(repository.root.join(name)).unwrap();
        assert!(text.lines().next().unwrap().contains(TEMPLATE_MARK), "{name}");
    }
    let stages = ["1_backlog", "2_current", "3_qa", "4_merge", "5_done", "6_archived"];
    assert!(stages.iter().all(|stage| dir.join("work").join(stage).is_dir()));
}

#[test]
fn nothing_is_written_over_and_only_its_own_files_are_committed() {
    let repository = Repository::empty();
    repository.write("mine.txt", "mine");
    repository.write(CONTEXT, "# Ours\n");
    repository.git(&["add", "mine.txt"]);
    let result = repository.set_up("main").unwrap();
    assert_eq!(result.files[2], ScaffoldFile::Kept(CONTEXT));
    assert_eq!(repository.project.context("main"), ProjectContext::Text("# Ours\n".into()));
    assert_eq!(
        repository.git(&["status", "--porcelain"]),
        "A  mine.txt",
        "what a person staged stays staged"
    );
    assert_eq!(never_committed(&repository.project).unwrap(), ["mine.txt"]);
    let again = repository.set_up("main").unwrap();
    assert!(again.files.iter().all(|file| matches!(file, ScaffoldFile::Kept(_))) && !again.is_committed);
    assert_eq!(repository.git(&["rev-list", "--count", "main"]), "1", "a second time there is nothing to do");
}

#[test]
fn the_secret_file_is_its_owners_alone() {
    let repository = Repository::empty();
    repository.set_up("main").unwrap();
    let mode = |name: &str| fs::metadata(repository.root.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(BOT_TOML), mode(PROJECT_TOML)), (0o600, 0o644));
}

#[test]
fn a_failing_hook_of_the_project_stops_nothing_and_does_not_run() {
    let repository = Repository::new();
    for name in ["pre-commit", "commit-msg", "prepare-commit-msg", "reference-transaction", "post-commit"] {
        let hook = repository.root.join(".git/hooks").join(name);
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::write(&hook, "#!/bin/sh\ntouch ran\nexit 1\n").unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(repository.set_up("main").unwrap().is_committed);
    assert!(!repository.root.join("ran").exists());
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_commit_that_cannot_be_signed_leaves_everything_as_it_was_and_says_what_to_do() {
    let repository = Repository::new();
    repository.git(&["config", "commit.gpgSign", "true"]);
    repository.git(&["config", "gpg.format", "ssh"]);
    repository.git(&["config", "user.signingKey", "/nonexistent/key"]);
    let before = repository.state();
    let error = repository.set_up("main").unwrap_err();
    assert!(matches!(error, InitError::Signing(_)), "{error}");
    assert!(error.to_string().contains("`git config commit.gpgSign false`"), "{error}");
    assert_eq!(repository.state(), before);
    repository.git(&["config", "commit.gpgSign", "false"]);
    assert!(repository.set_up("main").unwrap().is_committed);
}

#[test]
fn the_commit_is_signed_where_the_person_signs() {
    let repository = Repository::new();
    let key = repository.root.with_file_name("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    repository.git(&["config", "commit.gpgSign", "true"]);
    repository.git(&["config", "gpg.format", "ssh"]);
    repository.git(&["config", "user.signingKey", key.to_str().unwrap()]);
    repository.set_up("main").unwrap();
    assert!(repository.git(&["cat-file", "commit", "main"]).contains("gpgsig -----BEGIN SSH SIGNATURE-----"));
}

#[test]
fn a_sparse_checkout_is_not_in_the_way() {
    let repository = Repository::new();
    repository.write("other/c.txt", "c\n");
    repository.git(&["add", "other"]);
    repository.git(&["commit", "-q", "-m", "second"]);
    repository.git(&["sparse-checkout", "set", "--cone", "a"]);
    assert!(repository.set_up("main").unwrap().is_committed);
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert!(!repository.root.join("other").exists(), "it is as sparse as before");
    assert_eq!(repository.git(&["ls-tree", "-r", "--name-only", "main", "--", "other"]), "other/c.txt");
}

#[test]
fn base_gets_the_commit_and_no_other_branch_whatever_is_checked_out() {
    let repository = Repository::new();
    repository.git(&["branch", "develop"]);
    repository.git(&["switch", "-q", "-c", "feature"]);
    let (main, feature) = (repository.git(&["rev-parse", "main"]), repository.git(&["rev-parse", "feature"]));
    let result = repository.set_up("develop").unwrap();
    assert!(result.is_committed && result.is_elsewhere);
    assert_eq!(
        (repository.git(&["rev-parse", "main"]), repository.git(&["rev-parse", "feature"])),
        (main, feature)
    );
    assert_eq!(repository.git(&["log", "-1", "--format=%s", "develop"]), "storkit: set up");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert!(repository.root.join(BOT_TOML).exists());
    repository.git(&["switch", "-q", "develop"]);
    assert!(repository.root.join(PROJECT_TOML).exists(), "nothing was in the way of the switch");
}

#[test]
fn where_another_git_is_at_work_nothing_is_left() {
    let repository = Repository::new();
    let before = repository.state();
    fs::write(repository.root.join(".git/index.lock"), "").unwrap();
    assert!(repository.set_up("main").is_err());
    fs::remove_file(repository.root.join(".git/index.lock")).unwrap();
    assert_eq!(repository.state(), before);
    fs::create_dir_all(repository.root.join(".git/refs/heads")).unwrap();
    fs::write(repository.root.join(".git/refs/heads/main.lock"), "").unwrap();
    assert!(repository.set_up("main").is_err(), "the index was changed first, and is taken back");
    fs::remove_file(repository.root.join(".git/refs/heads/main.lock")).unwrap();
    assert_eq!(repository.state(), before);
    assert!(repository.set_up("main").unwrap().is_committed);
}

#[test]
fn a_merge_that_is_under_way_and_a_base_in_another_worktree_are_refused_with_what_to_do() {
    let repository = Repository::new();
    fs::write(repository.root.join(".git/MERGE_HEAD"), repository.git(&["rev-parse", "main"])).unwrap();
    let before = repository.state();
    assert!(matches!(repository.set_up("main"), Err(InitError::Busy)));
    assert_eq!(repository.state(), before);
    fs::remove_file(repository.root.join(".git/MERGE_HEAD")).unwrap();
    repository.git(&["worktree", "add", "-q", "-b", "develop", "../develop"]);
    let error = repository.set_up("develop").unwrap_err();
    assert!(error.to_string().contains("/develop`, so its files would not follow"), "{error}");
}

#[test]
fn an_earlier_versions_context_becomes_the_new_one() {
    let repository = Repository::new();
    repository.write(OLD_CONTEXT, "# A door factory\n");
    repository.git(&["add", "-f", OLD_CONTEXT]);
    repository.git(&["commit", "-q", "-m", "context"]);
    assert_eq!(repository.project.context("main"), ProjectContext::Text("# A door factory\n".into()));
    let result = repository.set_up("main").unwrap();
    assert!(result.files.contains(&ScaffoldFile::Moved { from: OLD_CONTEXT, to: CONTEXT }));
    assert_eq!(repository.project.context("main"), ProjectContext::Text("# A door factory\n".into()));
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert!(!repository.root.join(OLD_CONTEXT).exists());
    let untouched = Repository::new();
    untouched.write(OLD_CONTEXT, &format!("<!-- {TEMPLATE_MARK} -->\n# Old\n"));
    untouched.set_up("main").unwrap();
    assert_eq!(untouched.project.context("main"), ProjectContext::Untouched);
    assert!(!untouched.root.join(OLD_CONTEXT).exists());
}

#[test]
fn a_branch_is_read_with_its_remotes_choice_and_storkits_own_branches_are_none() {
    let repository = Repository::new();
    repository.git(&["branch", "room/x/work"]);
    repository.git(&["branch", "develop"]);
    let found = BaseBranches::read(&repository.project).unwrap();
    assert_eq!((found.branches.join(" "), found.suggested.as_str()), ("develop main".into(), "main"));
    repository.git(&["update-ref", "refs/remotes/origin/develop", "develop"]);
    repository.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/develop"]);
    assert_eq!(BaseBranches::read(&repository.project).unwrap().suggested, "develop");
}

#[test]
fn new_parts_are_added_only_to_settings_that_the_operator_confirmed() {
    let repository = Repository::new();
    repository.set_up("main").unwrap();
    let part = DetectedComponent {
        tool: "go",
        setup: vec!["go mod download".into()],
        inputs: vec!["go.mod".into()],
        manifest: "go.mod",
        ..DetectedComponent::default()
    };
    let parts = [part];
    assert_eq!(add_parts(&repository.project, &repository.store, &parts).unwrap(), AddedParts::Added);
    let trust = ProjectTrust::read(&repository.project, &repository.store).unwrap();
    assert!(trust.is_confirmed() && !trust.edited);
    assert_eq!(trust.proposed_config(|_| None).unwrap().config.components[0].name, "go");
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    let text = fs::read_to_string(repository.root.join(PROJECT_TOML)).unwrap();
    repository.write(PROJECT_TOML, &format!("{text}# edited\n"));
    assert_eq!(add_parts(&repository.project, &repository.store, &parts).unwrap(), AddedParts::ByHand);
    repository.git(&["commit", "-q", "-a", "-m", "edited"]);
    assert_eq!(
        add_parts(&repository.project, &repository.store, &parts).unwrap(),
        AddedParts::ByHand,
        "not confirmed"
    );
}

/// Projects check the form of all Markdown with Prettier, also of these files: `prettier --check .` is a gate of theirs.
#[test]
fn the_texts_have_the_form_that_a_projects_prettier_wants() {
    let texts = [
        include_str!("templates/readme.md"),
        include_str!("templates/context.md"),
        include_str!("templates/stack.md"),
    ];
    for text in texts {
        assert!(text.ends_with('\n') && !text.ends_with("\n\n") && !text.contains("\n\n\n"), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2) {
            let is_apart = |line: &str| line.starts_with('#') || line.starts_with("<!--");
            assert!(!is_apart(pair[0]) && !is_apart(pair[1]) || pair.contains(&""), "{pair:?}");
            assert!(pair.iter().all(|line| !line.ends_with(' ') && !line.starts_with("* ")), "{pair:?}");
            let is_row = pair.iter().all(|line| line.starts_with('|'));
            assert!(!is_row || pair[0].len() == pair[1].len(), "the columns are aligned: {pair:?}");
        }
    }
}
