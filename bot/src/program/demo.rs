//! The demo: a scratch project, and a scripted model that labels each answer as scripted.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use pipeline::{
    Project,
    git::program::GitProgram,
    trust::{ProjectTrust, TrustError, TrustStore},
};
use scripted_model::{ModelConversation, ModelScript};
use serde_json::json;
use settings::atomic;
use tempfile::TempDir;

use crate::program::trust;

/// The pause after each word of an answer.
const PACE: Duration = Duration::from_millis(25);
const SLOW_PACE: Duration = Duration::from_millis(400);
// Starts every answer, so that nobody takes it for Claude's.
const LABEL: &str = "*demo model: scripted, no AI*\n\n";
const WHAT_TO_TRY: &str = "Hello! I only know a few sentences, but all the rest is real: \
the Claude Code CLI, its tools and its permission questions. Say one of these:\n\n\
- `make a file`: runs a command, after asking you\n\
- `look around`: runs a command that needs no question\n\
- `ask me`: asks you a question with choices\n\
- `plan`: shows you a plan and asks for your consent\n\
- `slow`: talks for a minute; interrupt me with `stop`\n\n\
`new story Say what we do` and `start 1` put a team of agents to work: a coder, who asks you before it commits, and a \
reviewer. Then the story is tested and merged.\n\n\
`help` lists the commands of the bot itself.";

const PLAN: &str = "# A plan from the demo\n\n1. Add a greeting to `README.md`\n2. Commit it\n";
const README: &str = "# Demo\n\nA scratch project made by `storkit demo`. Try what you like.\n";
const IGNORED: &str = ".storkit/bot.toml\n.storkit/state/\n.storkit/run/\n.storkit/logs/\n";
// The gate fails without the coder's work, so that a merge in the demo proves something.
const PROJECT_TOML: &str = "# What must pass before a story is merged.\ngates = [\"ls story-*.md\"]\n";
// Without a room that follows the pipeline, the agents' questions are denied.
const BOT_TOML: &str = "# Written by `storkit demo`. The terminal follows the stories and answers their agents.\n\
[pipeline]\nrooms = [\"console:main\"]\n";
// In the project's ignored folder, so that a demo in a named folder resumes its sessions.
const CLAUDE_STATE: &str = ".storkit/run/claude";

/// The git project of a demo. A temporary one is removed on drop.
#[derive(Debug)]
pub struct DemoProject {
    path: PathBuf,
    temporary: Option<TempDir>,
}

/// The script of the demo's model.
pub fn script() -> ModelScript {
    let script = ModelScript::new().drips(labelled(WHAT_TO_TRY), PACE);
    // First, so that words in a story's title trigger no other rule.
    plan(question(files(team(script))))
        .when(|conversation| has_word(conversation, "slow"))
        .drips(labelled("I count slowly; `stop` interrupts me."), PACE)
        .drips(counting(), SLOW_PACE)
}

/// Makes the scratch project in this folder, which must be new, empty or a git project, or else in a temporary folder.
///
/// Fails if the folder holds files and is not a git repository, cannot be written, or git is missing or refuses.
pub fn prepare(dir: Option<&Path>) -> anyhow::Result<DemoProject> {
    if let Some(dir) = dir {
        return Ok(DemoProject { path: prepare_at(dir)?, temporary: None });
    }
    let temporary = tempfile::Builder::new().prefix("storkit-demo-").tempdir();
    let temporary = temporary.context("No temporary folder can be made for the demo.")?;
    Ok(DemoProject { path: prepare_at(temporary.path())?, temporary: Some(temporary) })
}

impl DemoProject {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder goes with this value.
    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Confirms the settings of the demo, and none that a person's own project has.
    pub fn confirm(&self, project: &Project, store: &TrustStore) -> Result<(), TrustError> {
        let trust = ProjectTrust::read(project, store)?;
        match trust.proposed.project_toml.as_deref() == Some(PROJECT_TOML)
            && !trust.has_unconfirmed_programs()
        {
            true => store.confirm(project, &trust.proposed),
            false => Ok(()),
        }
    }

    /// The text that the terminal shows first.
    pub fn greeting(&self) -> String {
        let fate = if self.temporary.is_some() { ", which is removed afterwards" } else { "" };
        format!(
            "**This is a demo.** Claude Code is the real one, but its model is a script on this machine: no account, no cost, no AI. \
             It works in `{}`{fate}. Try `hello`, `make a file`, `htop`, `help`. To see a story through to its merge, enter \
             `new story Say what we do`, then `start 1`, and answer the coder's question with `yes`. Ctrl-D leaves.",
            self.path.display()
        )
    }

    /// The environment in which the CLI uses only the model at `base_url`, and not the person's `~/.claude`, keys or proxies.
    /// An empty value counts as unset.
    pub fn environment(&self, base_url: &str) -> Vec<(&'static str, String)> {
        let unset = [
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_MODEL",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_USE_VERTEX",
        ];
        let set = [
            ("ANTHROPIC_BASE_URL", base_url.to_owned()),
            ("ANTHROPIC_API_KEY", "demo".to_owned()),
            ("CLAUDE_CONFIG_DIR", self.path.join(CLAUDE_STATE).display().to_string()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
            ("NO_PROXY", "127.0.0.1".to_owned()),
            ("no_proxy", "127.0.0.1".to_owned()),
        ];
        set.into_iter().chain(unset.map(|name| (name, String::new()))).collect()
    }
}

/// A coder and a reviewer of the pipeline, by the prompts of [`pipeline::stage::Role`].
fn team(script: ModelScript) -> ModelScript {
    // An agent whose story comes back resumes its session.
    let task = |conversation: &ModelConversation, words: &str| {
        conversation.history.first().unwrap_or(&conversation.prompt).starts_with(words)
    };
    let is_coder = move |conversation: &ModelConversation| task(conversation, "Do story ");
    let is_reviewer = move |conversation: &ModelConversation| task(conversation, "Review story ");
    let refused =
        |conversation: &ModelConversation| conversation.position == 1 && conversation.last_call_failed();
    let work = "echo 'Written by the demo for story {number}.' >> story-{number}.md \
        && git add story-{number}.md && git commit --quiet --message 'Do story {number}'";
    script
        .when(move |conversation| is_coder(conversation) && refused(conversation))
        .then_drips(
            "The command did **not** run, so that there is no commit. I was told:\n\n> {last_tool_result}",
            PACE,
        )
        .when(is_coder)
        .drips(labelled("I write a file for story {number} and commit it, if you allow it."), PACE)
        .calls("Bash", json!({"command": work, "description": "Write and commit story-{number}.md"}))
        .then_drips("`story-{number}.md` is written and committed.", PACE)
        .when(is_reviewer)
        .drips(labelled("I look at the commit of story {number}."), PACE)
        .calls("Bash", json!({"command": "git show --stat", "description": "Show the coder's commit"}))
        .then_calls("mcp__storkit__approve_qa", json!({}))
        .then_drips("I approved story {number}.", PACE)
}

fn files(script: ModelScript) -> ModelScript {
    let made =
        |conversation: &ModelConversation| conversation.last_line().to_lowercase().contains("make a file");
    script
        .when(move |conversation| made(conversation) && conversation.last_call_failed())
        .then_drips("My call did **not** run. I was told:\n\n> {last_tool_result}", PACE)
        .when(made)
        .drips(labelled("I make a file with a shell command. It runs only if you allow it."), PACE)
        .calls(
            "Bash",
            json!({"command": "echo 'made by the demo' > demo.txt", "description": "Make demo.txt"}),
        )
        .then_drips("The command ran, and `demo.txt` is there. `look around` shows it.", PACE)
        .on("look around")
        .drips(labelled("I list the files; that needs no question."), PACE)
        .calls("Bash", json!({"command": "ls", "description": "List the files"}))
        .then_drips("I see:\n\n```\n{last_tool_result}\n```", PACE)
}

fn question(script: ModelScript) -> ModelScript {
    let options = json!([
        {"label": "Tea", "description": "Calm and green"},
        {"label": "Coffee", "description": "Quick and black"},
    ]);
    let question = json!({"question": "What shall we drink?", "header": "Drink", "multiSelect": false, "options": options});
    script
        .on("ask me")
        .drips(labelled("I have a question."), PACE)
        .calls("AskUserQuestion", json!({"questions": [question]}))
        .then_drips("I was told:\n\n> {last_tool_result}", PACE)
}

// The CLI shows the content of the plan file, so the model writes the plan there first.
fn plan(script: ModelScript) -> ModelScript {
    let wanted = |conversation: &ModelConversation| has_word(conversation, "plan");
    let refused =
        |conversation: &ModelConversation| conversation.position == 3 && conversation.last_call_failed();
    script
        .when(move |conversation| wanted(conversation) && refused(conversation))
        .then()
        .then()
        .then_drips("The plan is **not** approved. I was told:\n\n> {last_tool_result}", PACE)
        .when(wanted)
        .drips(labelled("I write a plan and ask for your consent."), PACE)
        .calls("EnterPlanMode", json!({}))
        .then_calls("Write", json!({"file_path": "{plan_file}", "content": PLAN}))
        .then_calls("ExitPlanMode", json!({}))
        .then_drips("The plan is approved. A scripted model carries nothing out, so that is all.", PACE)
}

fn labelled(text: &str) -> String {
    format!("{LABEL}{text}")
}

fn counting() -> String {
    (1..=150).map(|number| format!("{number} ")).collect()
}

fn has_word(conversation: &ModelConversation, word: &str) -> bool {
    let mut words = conversation.last_line().split(|letter: char| !letter.is_alphanumeric());
    words.any(|said| said.eq_ignore_ascii_case(word))
}

fn prepare_at(path: &Path) -> anyhow::Result<PathBuf> {
    let state = path.join(CLAUDE_STATE);
    fs::create_dir_all(path).with_context(|| format!("The folder `{}` cannot be made.", path.display()))?;
    if !path.join(".git").exists() {
        make_project(path)?;
    }
    fs::create_dir_all(&state)
        .with_context(|| format!("The folder `{}` cannot be made.", state.display()))?;
    // The person's own project may not ignore this folder.
    fs::write(state.join(".gitignore"), "*\n")?;
    let bot_toml = path.join(".storkit/bot.toml");
    if !bot_toml.exists() {
        // Before it is there, since one that was there may be anybody's.
        trust::store()?.check_state(&Project::open(path)?)?;
        atomic::write(&bot_toml, BOT_TOML.as_bytes())?;
    }
    // The CLI names its sessions by the folder without symbolic links.
    Ok(path.canonicalize()?)
}

fn make_project(path: &Path) -> anyhow::Result<()> {
    if fs::read_dir(path)?.next().is_some() {
        bail!(
            "`{}` has files in it but is no git project. Name a new or empty folder, or run `git init` there first.",
            path.display()
        );
    }
    git(path, &["init", "--quiet", "--template=", "--initial-branch=main"])?;
    // The demo must not depend on the person's git identity and signing.
    for (key, value) in
        [("user.name", "storkit demo"), ("user.email", "demo@storkit.invalid"), ("commit.gpgSign", "false")]
    {
        git(path, &["config", key, value])?;
    }
    fs::write(path.join("README.md"), README)?;
    fs::write(path.join(".gitignore"), IGNORED)?;
    fs::create_dir_all(path.join(".storkit"))?;
    fs::write(path.join(".storkit/project.toml"), PROJECT_TOML)?;
    git(path, &["add", "README.md", ".gitignore", ".storkit/project.toml"])?;
    git(path, &["commit", "--quiet", "--message", "demo: a project to talk about"])
}

// By storkit's own way of calling git, for which an empty variable counts as unset: `docker compose exec` passes on what a `.env` file
// leaves empty, and git would refuse an empty `GIT_AUTHOR_NAME`.
fn git(path: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let done = GitProgram::at(path).run(arguments);
    done.map(drop).context("The project of the demo cannot be made.")
}

#[cfg(test)]
mod tests {
    use scripted_model::{ModelReply, ReplyPart, ToolResult};

    use std::process::Command;

    use super::*;

    fn output(path: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git").arg("-C").arg(path).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_temporary_project_has_one_commit_a_clean_tree_and_goes_with_its_value() {
        let project = prepare(None).unwrap();
        let path = project.path().to_owned();
        assert_eq!(
            output(&path, &["log", "--format=%an: %s"]),
            "storkit demo: demo: a project to talk about\n"
        );
        assert_eq!(output(&path, &["status", "--porcelain"]), "");
        drop(project);
        assert!(!path.exists());
    }

    #[test]
    fn a_named_folder_stays_and_is_taken_up_again_with_what_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("new");
        prepare(Some(&folder)).unwrap();
        fs::write(folder.join("mine"), "mine").unwrap();
        let again = prepare(Some(&folder)).unwrap();
        assert_eq!(output(again.path(), &["rev-list", "--count", "HEAD"]), "1\n");
        assert_eq!(output(again.path(), &["status", "--porcelain"]), "?? mine\n");
    }

    #[test]
    fn a_git_project_of_the_persons_own_shows_no_files_of_the_demo() {
        let folder = tempfile::tempdir().unwrap();
        output(folder.path(), &["init", "--quiet"]);
        fs::write(folder.path().join("mine"), "mine").unwrap();
        let project = prepare(Some(folder.path())).unwrap();
        // Opening it writes `.storkit/.gitignore`.
        pipeline::Project::open(project.path()).unwrap();
        assert_eq!(output(project.path(), &["status", "--porcelain"]), "?? mine\n");
    }

    #[test]
    fn a_folder_with_files_that_is_no_git_project_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "mine").unwrap();
        let said = prepare(Some(folder.path())).unwrap_err().to_string();
        assert!(said.contains("is no git project"), "{said}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_environment_keeps_the_persons_own_settings_out() {
        let project = prepare(None).unwrap();
        let environment = project.environment("http://127.0.0.1:1");
        let value = |name| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        assert!(Path::new(value("CLAUDE_CONFIG_DIR").unwrap()).starts_with(project.path()));
        assert_eq!(value("ANTHROPIC_BASE_URL"), Some("http://127.0.0.1:1"));
        assert_eq!(value("ANTHROPIC_AUTH_TOKEN"), Some(""));
    }

    fn asked(prompt: &str, position: usize, refused: bool) -> Vec<ReplyPart> {
        let tool_results = vec![ToolResult { text: "told".into(), is_error: refused }];
        let conversation = ModelConversation {
            prompt: prompt.into(),
            position,
            tool_results,
            ..ModelConversation::default()
        };
        match script().reply(&conversation, false) {
            ModelReply::Message(parts) => parts,
            ModelReply::Error(failure) => panic!("{failure:?}"),
        }
    }

    fn text(parts: &[ReplyPart]) -> &str {
        match &parts[0] {
            ReplyPart::Say { text, .. } => text,
            other => panic!("no text first: {other:?}"),
        }
    }

    #[test]
    fn every_prompt_the_demo_names_has_its_own_answer_under_the_label() {
        let named: Vec<_> =
            WHAT_TO_TRY.lines().filter_map(|line| line.strip_prefix("- `")?.split('`').next()).collect();
        assert_eq!(named.len(), 5);
        let answers: Vec<_> = named.iter().map(|prompt| text(&asked(prompt, 0, false)).to_owned()).collect();
        for answer in &answers {
            assert!(answer.starts_with(LABEL) && !answer.contains(WHAT_TO_TRY), "{answer}");
        }
        assert_eq!(text(&asked("good morning", 0, false)), labelled(WHAT_TO_TRY));
    }

    #[test]
    fn a_refusal_is_reported_as_one() {
        for (prompt, position) in [("make a file", 1), ("plan", 3)] {
            assert!(text(&asked(prompt, position, true)).contains("**not**"), "{prompt}");
            assert!(!text(&asked(prompt, position, false)).contains("**not**"), "{prompt}");
        }
        assert!(text(&asked("ask me", 1, true)).contains("told"));
    }

    #[test]
    fn a_story_with_any_title_gets_its_coder_and_its_reviewer() {
        for title in ["slow", "make a file", "look around", "plan\nask me", "Say what we do"] {
            let prompt = |task: &str| format!("{task} Its text is ...\n<story id=\"12\">\n{title}\n");
            let coder = asked(&prompt("Do story 12."), 0, false);
            let ReplyPart::Call { tool, input } = &coder[1] else { panic!("no call: {coder:?}") };
            assert_eq!(tool, "Bash");
            assert!(
                input["command"].as_str().unwrap().contains("git add story-12.md && git commit"),
                "{input}"
            );
            assert!(text(&asked(&prompt("Do story 12."), 1, true)).contains("**not**"), "{title}");
            let reviewer = asked(&prompt("Review story 12."), 1, false);
            assert!(matches!(&reviewer[0], ReplyPart::Call { tool, .. } if tool.ends_with("approve_qa")));
        }
    }

    #[test]
    fn a_coder_whose_story_comes_back_works_on_it_again() {
        let conversation = ModelConversation {
            prompt: "Story 12 came back to you.".into(),
            history: vec!["Do story 12.".into()],
            ..ModelConversation::default()
        };
        let ModelReply::Message(parts) = script().reply(&conversation, false) else { panic!("no answer") };
        assert!(text(&parts).contains("story 12"), "{parts:?}");
    }

    #[test]
    fn plan_and_slow_are_words_not_parts_of_words() {
        let says = |text: &str, word| {
            has_word(&ModelConversation { prompt: text.into(), ..ModelConversation::default() }, word)
        };
        assert!(says("alice: Plan, please", "plan") && says("slow", "slow"));
        assert!(!says("explain slowly", "plan") && !says("explain slowly", "slow"));
        assert!(!says("ann: plan\n\nben: hello", "plan"));
    }
}
