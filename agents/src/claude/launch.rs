//! The command line and environment of a Claude Code process: pure functions of a [`Launch`].

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    input::as_plain_prompt,
    servers::{OWN_SERVER, OperatorServers},
    wording,
};
use crate::{
    confine::{Confined, Tenant, WalledCommand, environment},
    event::{PermissionMode, SessionId},
    model_proxy::{self, ModelAccess, ModelProxy},
};

/// A longer prompt is fed by standard input: Linux limits one argument to 128 KiB, NUL included.
pub(super) const MAX_ARGUMENT: usize = 120_000;

/// Marks everything that a process started, even after it left its parent, group and session: `SESSION/NONCE`. Commands inherit
/// it from the CLI.
pub(super) const RUN_VARIABLE: &str = crate::tree::RUN_MARK;

/// The CLI's name of the permission tool for [`PermissionRoute::Mcp`].
const PERMISSION_TOOL: &str = "mcp__storkit__prompt_permission";

/// The CLI's name of all tools of that server.
const OWN_TOOLS: &str = "mcp__storkit";

/// Settings that win over the operator's own: no call is decided by a classifier, not even while the model plans.
const SETTINGS: &str = r#"{"useAutoModeDuringPlan":false}"#;

/// Switches by which the operator's own settings could send the CLI to a cloud instead of the run's proxy.
const CLOUD_SWITCHES: [&str; 6] = [
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
    "CLAUDE_CODE_USE_FOUNDRY",
];

/// How long one MCP call may take, in milliseconds: a day. By default the CLI gives up after 60 s without an answer.
const MCP_TIMEOUT_MS: u32 = 86_400_000;

/// A hook that storkit does not answer in this time is passed over.
const HOOK_TIMEOUT_S: u32 = 10;

/// Set unless the environment or the configuration sets them: no self-update, no traffic except to the API (observed on 2.1.330:
/// with these a start connects only to the base URL), and a wrong key is reported after seconds, where the CLI's own ten
/// retries take 190 s.
const DEFAULTS: [(&str, &str); 6] = [
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("CLAUDE_CODE_MAX_RETRIES", "3"),
    ("TERM", "xterm-256color"),
];

/// Marks of a Claude Code session that storkit itself may run in; they are not this session's.
const FOREIGN: [&str; 4] = ["CLAUDECODE", "CLAUDE_CODE_SESSION_ID", "CLAUDE_PID", RUN_VARIABLE];

/// Everything that a Claude Code process is started with. Its `Debug` form shows no secrets.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: LaunchProgram,
    pub session: LaunchSession,
    pub mode: PromptMode,
    pub permissions: LaunchPermissions,
    pub limits: LaunchLimits,
    pub model: LaunchModel,
    /// Further MCP servers, for [`PromptMode::Live`].
    pub servers: OperatorServers,
    /// If it [encloses](crate::confine::Confinement::encloses), the caller has called `Worktree::enclose` of the pipeline before,
    /// and the working directory is that worktree.
    pub confine: Option<Confined>,
}

/// The program, and where it runs.
#[derive(Clone)]
pub struct LaunchProgram {
    /// Program and leading arguments, e.g. `["claude"]`.
    pub command: Vec<String>,
    /// Working directory; sessions resume reliably only in the one they began in.
    pub cwd: PathBuf,
    /// A folder of ours (0700) for the FIFO and the CLI's temporary files.
    pub runtime_dir: PathBuf,
    /// Names taken out of the inherited environment (the bot's secrets).
    pub env_remove: Vec<String>,
    /// Set after the removal.
    pub env: Vec<(String, String)>,
}

/// The session, and the model's instructions in it.
#[derive(Clone, Debug)]
pub struct LaunchSession {
    pub start: SessionStart,
    /// `--model`; `None` for the CLI's default.
    pub model: Option<String>,
    /// `--append-system-prompt`; counts only on the first request of a session.
    pub append_system_prompt: Option<String>,
    /// Whether the project's own settings, hooks and MCP servers take effect. Default no: they run commands
    /// and can redirect the API key merely by being there.
    pub trust_project_settings: bool,
}

/// Actions that the model may take, and who is asked about the rest.
#[derive(Clone, Debug)]
pub struct LaunchPermissions {
    pub route: PermissionRoute,
    /// Edits of files in the working directory need no question (`--permission-mode acceptEdits`): for a worktree
    /// that is the agent's own.
    pub accept_edits: bool,
    /// It makes a plan and changes nothing (`--permission-mode plan`), whatever else is accepted.
    pub plans: bool,
    /// With [`PermissionRoute::Control`] in a live session: storkit's own tools are offered over the control protocol,
    /// and their calls come as [`super::AgentEvent::OwnTools`].
    pub offers_tools: bool,
    /// Files outside of its working directory that it reads without a question. One whose path a rule of the CLI cannot name is asked about.
    pub readable: Vec<PathBuf>,
    /// A folder outside of its working directory in which it writes without a question.
    pub writable: Option<PathBuf>,
}

/// The way to the model.
#[derive(Clone, Debug, Default)]
pub struct LaunchModel {
    pub access: ModelAccess,
    /// The run's proxy, and its port on the agent's loopback. Without one, a process with [`ModelAccess::Proxied`] gets a
    /// proxy of its own.
    pub proxy: Option<(Arc<ModelProxy>, u16)>,
}

/// Limits of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaunchLimits {
    /// `--max-turns`: steps of the model, not prompts.
    pub max_turns: Option<u32>,
    /// `--max-budget-usd`; counts this process only and overshoots by one call.
    pub max_budget_usd: Option<f64>,
}

impl LaunchProgram {
    /// A program with the environment that storkit has itself.
    pub fn new(command: Vec<String>, cwd: impl Into<PathBuf>, runtime_dir: impl Into<PathBuf>) -> Self {
        let (cwd, runtime_dir) = (cwd.into(), runtime_dir.into());
        Self { command, cwd, runtime_dir, env_remove: Vec::new(), env: Vec::new() }
    }
}

/// A new session, or one that is resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionStart {
    /// `--session-id`: refused by the CLI if the id was ever used.
    New(SessionId),
    /// `--resume` with this id.
    Resume(SessionId),
}

/// How the prompt reaches the CLI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptMode {
    /// Stream-json over a FIFO, output on the PTY: many turns, control protocol.
    Live,
    /// `-p PROMPT`: one turn, then the process exits by itself.
    OneShot {
        /// The prompt; over 120,000 bytes it is fed by standard input, since one argument is limited to 128 KiB.
        prompt: String,
    },
}

/// Which way permission questions come. Its `Debug` form shows no token.
#[derive(Clone, PartialEq, Eq)]
pub enum PermissionRoute {
    /// `--permission-prompt-tool stdio`: [`super::AgentEvent::Permission`]; only with [`PromptMode::Live`]. A one-shot process then
    /// has nobody to ask, and the CLI refuses such calls itself.
    Control,
    /// The MCP tool `mcp__storkit__prompt_permission` at this address.
    Mcp {
        /// `http://127.0.0.1:PORT/mcp`.
        url: String,
        /// Bearer token of the run.
        token: String,
    },
}

impl Launch {
    /// A launch without limits, sandbox and options: permission questions come over the control protocol.
    pub fn new(program: LaunchProgram, start: SessionStart, mode: PromptMode) -> Self {
        let (model, append_system_prompt) = (None, None);
        Self {
            program,
            session: LaunchSession { start, model, append_system_prompt, trust_project_settings: false },
            mode,
            permissions: LaunchPermissions {
                route: PermissionRoute::Control,
                accept_edits: false,
                plans: false,
                offers_tools: false,
                readable: Vec::new(),
                writable: None,
            },
            limits: LaunchLimits::default(),
            model: LaunchModel::default(),
            servers: OperatorServers::default(),
            confine: None,
        }
    }

    /// The mode that the process must be in; anything that asks less ends it.
    pub fn mode_of_permissions(&self) -> PermissionMode {
        match (self.permissions.plans, self.permissions.accept_edits) {
            (true, _) => PermissionMode::Plan,
            (false, true) => PermissionMode::AcceptEdits,
            (false, false) => PermissionMode::Default,
        }
    }

    /// The session that the process will carry.
    pub(super) fn session_id(&self) -> &SessionId {
        match &self.session.start {
            SessionStart::New(id) | SessionStart::Resume(id) => id,
        }
    }
}

/// The files that a command line names; all of them lie in the run's own folder.
#[derive(Clone, Debug)]
pub(super) struct ArgumentFiles {
    /// Prompts of a live session go in here.
    pub fifo: PathBuf,
    /// A prompt that is too long for an argument.
    pub prompt: PathBuf,
    /// The MCP configuration: in a file, since the token in an argument could be read by every user.
    pub mcp: PathBuf,
    /// Settings that win over the operator's own; in a file, since they hold the run's key.
    pub settings: PathBuf,
    /// A system prompt that is too long for an argument.
    pub system_prompt: PathBuf,
    /// Temporary files of the CLI.
    pub tmp: PathBuf,
}

impl ArgumentFiles {
    /// Where all of them are.
    fn folder(&self) -> &Path {
        self.fifo.parent().unwrap_or(&self.fifo)
    }
}

/// The file for the CLI's standard input: never the PTY, from which it takes no stream-json and no prompt.
pub(super) fn stdin<'a>(launch: &Launch, files: &'a ArgumentFiles) -> &'a Path {
    match &launch.mode {
        PromptMode::Live => &files.fifo,
        PromptMode::OneShot { prompt } if prompt.len() > MAX_ARGUMENT => &files.prompt,
        // On an open, silent pipe the CLI waits 3 s for data before it starts.
        PromptMode::OneShot { .. } => Path::new("/dev/null"),
    }
}

/// The CLI's argument vector: a shell that only redirects standard input and becomes the CLI.
///
/// Every variable part is a separate argument (`"$@"`), never part of the shell's script.
fn argv(launch: &Launch, files: &ArgumentFiles) -> Vec<OsString> {
    let redirect = match launch.mode {
        // For reading and writing: the CLI then holds the FIFO open itself, and its input has no end. When storkit is killed, an end
        // would refuse an open question and let the model go on for one more request, before the SIGHUP is through (2.1.330).
        PromptMode::Live => r#"exec "$@" <> "$0""#,
        PromptMode::OneShot { .. } => r#"exec "$@" < "$0""#,
    };
    let mut argv: Vec<OsString> = ["/bin/sh", "-c", redirect].map(OsString::from).into();
    argv.push(stdin(launch, files).into());
    argv.extend(launch.program.command.iter().map(OsString::from));
    argv.extend(options(launch, files));
    if let PromptMode::OneShot { prompt } = &launch.mode
        && prompt.len() <= MAX_ARGUMENT
    {
        // Behind `--`, since the CLI takes a prompt that begins with `-` for an option.
        argv.extend(["--".into(), as_plain_prompt(prompt).as_ref().into()]);
    }
    argv
}

/// The argument vector behind the launch's wall. `login`: whether the CLI uses the login that is a file. Blocks.
///
/// # Errors
/// If the wall cannot be built.
pub(super) fn walled(launch: &Launch, files: &ArgumentFiles, login: bool) -> io::Result<WalledCommand> {
    let argv = argv(launch, files);
    match &launch.confine {
        Some(confined) => confined.command(argv, Tenant::Agent { own: &[files.folder()], login }),
        None => Ok(WalledCommand::plain(argv)),
    }
}

/// The CLI's rule for reading exactly this file: `//` begins an absolute path (https://code.claude.com/docs/en/permissions#read-and-edit).
/// `None` for a path with characters that mean something in rules or in lists of them.
fn read_rule(file: &Path) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let path = file.to_str().filter(|path| path.starts_with('/') && path.chars().all(is_plain))?;
    Some(format!("Read(/{path})"))
}

/// The CLI's rule for writing in exactly this folder; as [`read_rule`].
fn write_rule(folder: &Path) -> Option<String> {
    read_rule(folder).map(|rule| rule.replacen("Read(", "Edit(", 1).replace(')', "/**)"))
}

/// The CLI's options. `--mcp-config` takes a list, so another option always follows it.
fn options(launch: &Launch, files: &ArgumentFiles) -> Vec<OsString> {
    let mut options: Vec<OsString> = vec!["-p".into()];
    let mut add = |name: &str, value: &OsStr| options.extend([name.into(), value.to_owned()]);
    if mcp_config(launch).is_some() {
        add("--mcp-config", files.mcp.as_os_str());
    }
    // Which of storkit's own tools a run may use is decided where they are called.
    let own_tools = own_server(launch).map(|_| OWN_TOOLS.to_owned());
    let reads = launch.permissions.readable.iter().filter_map(|file| read_rule(file));
    let writes = launch.permissions.writable.iter().filter_map(|folder| write_rule(folder));
    let unasked: Vec<String> = own_tools.into_iter().chain(reads).chain(writes).collect();
    if !unasked.is_empty() {
        add("--allowedTools", unasked.join(",").as_ref());
    }
    match &launch.permissions.route {
        PermissionRoute::Mcp { .. } => add("--permission-prompt-tool", PERMISSION_TOOL.as_ref()),
        PermissionRoute::Control if launch.mode == PromptMode::Live => {
            add("--permission-prompt-tool", "stdio".as_ref());
        }
        PermissionRoute::Control => {}
    }
    if launch.mode == PromptMode::Live {
        add("--input-format", "stream-json".as_ref());
    }
    add("--output-format", "stream-json".as_ref());
    match &launch.session.start {
        SessionStart::New(id) => add("--session-id", id.as_str().as_ref()),
        SessionStart::Resume(id) => add("--resume", id.as_str().as_ref()),
    }
    if let Some(model) = launch.session.model.as_deref().filter(|model| !model.is_empty()) {
        add("--model", model.as_ref());
    }
    match launch.session.append_system_prompt.as_deref() {
        Some(text) if text.len() > MAX_ARGUMENT => {
            add("--append-system-prompt-file", files.system_prompt.as_os_str());
        }
        Some(text) => add("--append-system-prompt", text.as_ref()),
        None => {}
    }
    // Always: without it `defaultMode` in the operator's own settings decides, and a release may choose another default.
    add("--permission-mode", wording::permission_mode_option(&launch.mode_of_permissions()).as_ref());
    match settings_of(launch) {
        Some(_) => add("--settings", files.settings.as_os_str()),
        None => add("--settings", SETTINGS.as_ref()),
    }
    if let Some(turns) = launch.limits.max_turns {
        add("--max-turns", turns.to_string().as_ref());
    }
    if let Some(budget) = launch.limits.max_budget_usd {
        add("--max-budget-usd", budget.to_string().as_ref());
    }
    // A project's settings run hooks and servers and can redirect the API traffic, key included, without being trusted
    // first. An agent can write them too, and so choose the commands of the next process in its worktree.
    if !launch.session.trust_project_settings {
        add("--setting-sources", "user".as_ref());
        options.push("--strict-mcp-config".into());
    }
    // Without `--verbose` the CLI refuses stream-json output.
    options.extend(["--verbose", "--include-partial-messages"].map(OsString::from));
    options
}

/// The content of `--settings`, where it has secrets; else [`SETTINGS`] is all there is.
pub(super) fn settings_of(launch: &Launch) -> Option<serde_json::Value> {
    let (proxy, hooks) = (launch.model.proxy.as_ref(), message_hooks(launch));
    if proxy.is_none() && hooks.is_none() {
        return None;
    }
    let mut settings: serde_json::Value = serde_json::from_str(SETTINGS).unwrap_or_default();
    if let Some((proxy, port)) = proxy {
        // What the operator's own settings say of keys and addresses counts before the environment, and this counts before them (2.1.330).
        let empty = model_proxy::REPLACED.iter().chain(&CLOUD_SWITCHES);
        let mut env: BTreeMap<String, String> =
            empty.map(|name| ((*name).to_owned(), String::new())).collect();
        env.extend(proxy.environment(*port));
        settings["env"] = serde_json::json!(env);
        // A program that would print a key.
        settings["apiKeyHelper"] = "".into();
    }
    if let Some(hooks) = hooks {
        settings["hooks"] = hooks;
    }
    Some(settings)
}

/// Hooks by which a story's agent gets what people say to it meanwhile: after each tool call, and before its turn ends.
fn message_hooks(launch: &Launch) -> Option<serde_json::Value> {
    let PermissionRoute::Mcp { url, token } = &launch.permissions.route else { return None };
    let server = url.strip_suffix("/mcp")?;
    let hook = serde_json::json!([{ "hooks": [{
        "type": "http",
        "url": format!("{server}/messages"),
        "headers": { "Authorization": format!("Bearer {token}") },
        "timeout": HOOK_TIMEOUT_S,
    }] }]);
    Some(serde_json::json!({ "PostToolUse": hook, "PostToolUseFailure": hook, "Stop": hook }))
}

/// The content of `--mcp-config`: the operator's servers for a live session, and storkit's own.
pub(super) fn mcp_config(launch: &Launch) -> Option<serde_json::Value> {
    let mut servers = match launch.mode {
        PromptMode::Live => launch.servers.to_json(),
        PromptMode::OneShot { .. } => serde_json::Map::new(),
    };
    servers.extend(own_server(launch).map(|own| (OWN_SERVER.to_owned(), own)));
    (!servers.is_empty()).then(|| serde_json::json!({"mcpServers": servers}))
}

/// Storkit's own server: for a story's agent by HTTP, for a room's over the control protocol.
fn own_server(launch: &Launch) -> Option<serde_json::Value> {
    match &launch.permissions.route {
        PermissionRoute::Mcp { url, token } => Some(serde_json::json!({
            "type": "http",
            "url": url,
            "headers": {"Authorization": format!("Bearer {token}")},
            "timeout": MCP_TIMEOUT_MS,
        })),
        // `alwaysLoad`: else the model has to search for the tools before it knows them (2.1.330).
        PermissionRoute::Control if launch.permissions.offers_tools && launch.mode == PromptMode::Live => {
            Some(serde_json::json!({
                "type": "sdk", "name": OWN_SERVER, "alwaysLoad": true, "timeout": MCP_TIMEOUT_MS,
            }))
        }
        PermissionRoute::Control => None,
    }
}

/// Asked for by clients before they use a proxy.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The environment of the process, later values winning: our defaults, the inherited one without `env_remove` and without
/// credentials, `env`, and last what nobody may change.
///
/// Behind a wall only listed variables are inherited.
pub(super) fn environment_of(
    launch: &Launch,
    files: &ArgumentFiles,
    run: &str,
    inherited: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let removed = |name: &OsStr| {
        let listed = launch.program.env_remove.iter().map(String::as_str).chain(FOREIGN);
        let withheld = name.to_str().is_some_and(|name| launch.model.access.withholds(name));
        withheld || listed.into_iter().any(|other| OsStr::new(other) == name)
    };
    let mut environment = BTreeMap::<OsString, OsString>::new();
    environment.extend(DEFAULTS.map(|(name, value)| (OsString::from(name), OsString::from(value))));
    let inherited = inherited.filter(|(name, _)| !removed(name));
    match &launch.confine {
        Some(confined) => environment.extend(environment::for_agents(inherited, &confined.variables)),
        None => environment.extend(inherited),
    }
    let set = launch.program.env.iter().filter(|(name, _)| !launch.model.access.replaces(name));
    environment.extend(set.map(|(name, value)| (name.into(), value.into())));
    if let Some((proxy, port)) = &launch.model.proxy {
        environment
            .extend(proxy.environment(*port).into_iter().map(|(name, value)| (name.into(), value.into())));
        // The operator's own proxy is not on the way to this machine's loopback.
        for name in NO_PROXY {
            let mut hosts = environment.get(OsStr::new(name)).cloned().unwrap_or_default();
            if !hosts.is_empty() {
                hosts.push(",");
            }
            hosts.push("127.0.0.1");
            environment.insert(name.into(), hosts);
        }
    }
    let tmp = files.tmp.as_os_str();
    // Otherwise the CLI's socket and files lie in `/tmp`, which all processes of the user share.
    environment.extend([("TMPDIR", tmp), ("CLAUDE_CODE_TMPDIR", tmp), (RUN_VARIABLE, run.as_ref())].map(own));
    // Each shell command starts in the working directory, whatever the one before did: else a relative path in a permission request
    // could mean any folder.
    environment.insert("CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR".into(), "1".into());
    environment.into_iter().collect()
}

fn own((name, value): (&str, &OsStr)) -> (OsString, OsString) {
    (name.into(), value.to_owned())
}

impl fmt::Debug for LaunchProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("LaunchProgram")
            .field("command", &self.command)
            .field("cwd", &self.cwd)
            .field("env", &names)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PermissionRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("Control"),
            Self::Mcp { url, .. } => f.debug_struct("Mcp").field("url", url).field("token", &"***").finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::ServerVariable;

    fn launch(mode: PromptMode, route: PermissionRoute) -> Launch {
        let program = LaunchProgram::new(vec!["claude".into()], "/project", "/run/storkit");
        let start = SessionStart::New(SessionId::new("11111111-2222-4333-8444-555555555555"));
        let permissions = LaunchPermissions {
            route,
            accept_edits: false,
            plans: false,
            offers_tools: false,
            readable: Vec::new(),
            writable: None,
        };
        Launch { permissions, ..Launch::new(program, start, mode) }
    }

    fn one_shot(prompt: &str) -> Launch {
        let mcp = PermissionRoute::Mcp { url: "http://127.0.0.1:3001/mcp".into(), token: "s3cret".into() };
        launch(PromptMode::OneShot { prompt: prompt.into() }, mcp)
    }

    fn files() -> ArgumentFiles {
        ArgumentFiles {
            fifo: "/run/cc/in".into(),
            prompt: "/run/cc/prompt".into(),
            mcp: "/run/cc/mcp.json".into(),
            settings: "/run/cc/settings.json".into(),
            system_prompt: "/run/cc/system".into(),
            tmp: "/run/cc/t".into(),
        }
    }

    fn line(launch: &Launch) -> String {
        argv(launch, &files()).iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_runs_way_to_its_model_goes_before_the_operators_own_settings_and_no_key_is_an_argument() {
        let lookup = |name: &str| (name == "ANTHROPIC_API_KEY").then(|| "m4rked".to_owned());
        let ModelAccess::Proxied(service) = ModelAccess::resolve(lookup).expect("a key") else {
            panic!("a key")
        };
        let mut launch = one_shot("hi");
        assert_eq!(settings_of(&launch).expect("hooks")["env"], serde_json::Value::Null);
        launch.model.proxy = Some((Arc::new(ModelProxy::new(service, None)), 4321));
        let settings = settings_of(&launch).expect("settings");
        let env = |name: &str| settings["env"][name].as_str().map(str::to_owned);
        assert_eq!(env("ANTHROPIC_BASE_URL").as_deref(), Some("http://127.0.0.1:4321"));
        for name in ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS", "CLAUDE_CODE_USE_BEDROCK"] {
            assert_eq!(env(name).as_deref(), Some(""), "{name}");
        }
        assert_eq!(
            (&settings["apiKeyHelper"], &settings["useAutoModeDuringPlan"]),
            (&"".into(), &false.into())
        );
        let key = env("ANTHROPIC_API_KEY").expect("the run's key");
        assert!(!key.is_empty() && key != "m4rked");
        assert!(line(&launch).contains("--settings /run/cc/settings.json") && !line(&launch).contains(&key));
    }

    #[test]
    fn a_storys_agent_asks_for_messages_after_each_tool_call_and_before_it_ends() {
        let settings = settings_of(&one_shot("hi")).expect("hooks");
        for event in ["PostToolUse", "PostToolUseFailure", "Stop"] {
            let hook = &settings["hooks"][event][0]["hooks"][0];
            assert_eq!(hook["url"], "http://127.0.0.1:3001/messages");
            assert_eq!(hook["headers"]["Authorization"], "Bearer s3cret");
        }
        assert!(!line(&one_shot("hi")).contains("s3cret"), "arguments are seen by every process");
        assert_eq!(settings_of(&launch(PromptMode::Live, PermissionRoute::Control)), None);
    }

    #[test]
    fn a_live_session_reads_the_fifo_and_asks_over_the_control_protocol() {
        insta::assert_snapshot!(line(&launch(PromptMode::Live, PermissionRoute::Control)), @r#"/bin/sh -c exec "$@" <> "$0" /run/cc/in claude -p --permission-prompt-tool stdio --input-format stream-json --output-format stream-json --session-id 11111111-2222-4333-8444-555555555555 --permission-mode default --settings {"useAutoModeDuringPlan":false} --setting-sources user --strict-mcp-config --verbose --include-partial-messages"#);
    }

    #[test]
    fn a_resumed_session_takes_every_option() {
        let mut launch = launch(PromptMode::Live, PermissionRoute::Control);
        launch.program.command = vec!["env".into(), "-C".into(), "/x".into(), "claude".into()];
        launch.session.start = SessionStart::Resume(SessionId::new("abc"));
        launch.session.model = Some("opus".into());
        launch.session.append_system_prompt = Some("Your name is Timmy.".into());
        launch.limits.max_turns = Some(7);
        launch.permissions.accept_edits = true;
        launch.limits.max_budget_usd = Some(1.5);
        insta::assert_snapshot!(line(&launch), @r#"/bin/sh -c exec "$@" <> "$0" /run/cc/in env -C /x claude -p --permission-prompt-tool stdio --input-format stream-json --output-format stream-json --resume abc --model opus --append-system-prompt Your name is Timmy. --permission-mode acceptEdits --settings {"useAutoModeDuringPlan":false} --max-turns 7 --max-budget-usd 1.5 --setting-sources user --strict-mcp-config --verbose --include-partial-messages"#);
    }

    #[test]
    fn a_one_shot_prompt_that_looks_like_options_stays_one_argument() {
        let launch = one_shot("--help; $(rm -rf /) \"me\"");
        insta::assert_snapshot!(line(&launch), @r#"/bin/sh -c exec "$@" < "$0" /dev/null claude -p --mcp-config /run/cc/mcp.json --allowedTools mcp__storkit --permission-prompt-tool mcp__storkit__prompt_permission --output-format stream-json --session-id 11111111-2222-4333-8444-555555555555 --permission-mode default --settings /run/cc/settings.json --setting-sources user --strict-mcp-config --verbose --include-partial-messages -- --help; $(rm -rf /) "me""#);
        let last = argv(&launch, &files()).pop();
        assert_eq!(last, Some("--help; $(rm -rf /) \"me\"".into()));
    }

    #[test]
    fn only_a_file_that_a_rule_can_name_exactly_is_read_unasked() {
        let mut launch = one_shot("hi");
        let folder = "/p/.storkit/work/files/7";
        launch.permissions.readable =
            ["door.png", "*.png", "a,Bash", "a b", "x)"].map(|name| Path::new(folder).join(name)).into();
        launch.permissions.readable.push("files/7/relative.png".into());
        let expected = format!("--allowedTools mcp__storkit,Read(/{folder}/door.png) --");
        assert!(line(&launch).contains(&expected), "{}", line(&launch));
        launch.permissions.writable = Some("/p/evidence".into());
        let written = "Read(//p/.storkit/work/files/7/door.png),Edit(//p/evidence/**) --";
        assert!(line(&launch).contains(written), "{}", line(&launch));
    }

    #[test]
    fn a_one_shot_prompt_cannot_run_a_command_of_the_cli() {
        assert!(line(&one_shot("/compact now")).ends_with(" -- Message: /compact now"));
    }

    #[test]
    fn what_is_too_long_for_an_argument_goes_through_files() {
        let mut launch = one_shot(&"x".repeat(MAX_ARGUMENT + 1));
        launch.session.append_system_prompt = Some("y".repeat(MAX_ARGUMENT + 1));
        insta::assert_snapshot!(line(&launch), @r#"/bin/sh -c exec "$@" < "$0" /run/cc/prompt claude -p --mcp-config /run/cc/mcp.json --allowedTools mcp__storkit --permission-prompt-tool mcp__storkit__prompt_permission --output-format stream-json --session-id 11111111-2222-4333-8444-555555555555 --append-system-prompt-file /run/cc/system --permission-mode default --settings /run/cc/settings.json --setting-sources user --strict-mcp-config --verbose --include-partial-messages"#);
    }

    #[test]
    fn a_one_shot_without_a_way_to_ask_names_no_permission_tool() {
        let launch = launch(PromptMode::OneShot { prompt: "hi".into() }, PermissionRoute::Control);
        assert!(!line(&launch).contains("permission-prompt-tool"));
    }

    #[test]
    fn only_a_trusted_project_brings_its_own_settings_and_servers() {
        let mut launch = launch(PromptMode::Live, PermissionRoute::Control);
        let strict = "--setting-sources user --strict-mcp-config";
        assert!(line(&launch).contains(strict));
        launch.session.trust_project_settings = true;
        let trusting = line(&launch);
        assert!(!trusting.contains("--setting-sources") && !trusting.contains("--strict-mcp-config"));
    }

    #[test]
    fn the_token_is_in_no_argument_and_in_no_debug_output() {
        let mut launch = one_shot("hi");
        launch.program.env = vec![("API_KEY".into(), "s3cret".into())];
        assert!(!line(&launch).contains("s3cret"));
        assert!(!format!("{launch:?}").contains("s3cret"));
        let (url, token) = ("http://127.0.0.1:3001/mcp".into(), "s3cret".into());
        launch.permissions.route = PermissionRoute::Mcp { url, token };
        assert!(!line(&launch).contains("s3cret") && !format!("{launch:?}").contains("s3cret"));
        let server = &mcp_config(&launch).expect("a server")["mcpServers"]["storkit"];
        assert_eq!(server["headers"]["Authorization"], "Bearer s3cret");
        assert_eq!(server["url"], "http://127.0.0.1:3001/mcp");
        assert_eq!((&server["type"], &server["timeout"]), (&"http".into(), &MCP_TIMEOUT_MS.into()));
    }

    #[test]
    fn the_tools_of_a_live_session_have_no_address_and_no_token() {
        let mut launch = launch(PromptMode::Live, PermissionRoute::Control);
        assert_eq!(mcp_config(&launch), None);
        launch.permissions.offers_tools = true;
        let server = &mcp_config(&launch).expect("a server")["mcpServers"]["storkit"];
        let expected = serde_json::json!({
            "type": "sdk", "name": "storkit", "alwaysLoad": true, "timeout": MCP_TIMEOUT_MS,
        });
        assert_eq!(*server, expected);
        assert!(line(&launch).contains("--allowedTools mcp__storkit "), "{}", line(&launch));
        launch.mode = PromptMode::OneShot { prompt: String::new() };
        assert_eq!(mcp_config(&launch), None, "nobody would answer");
    }

    #[test]
    fn further_servers_are_for_live_sessions_and_never_in_the_place_of_storkits_own() {
        let text = r#"{"mcpServers": {"db": {"command": "db-mcp", "env": {"DB_TOKEN": "s3cret"}}}}"#;
        let servers = OperatorServers::parse(text, |_| ServerVariable::Unset).expect("a server");
        let mut launch = launch(PromptMode::Live, PermissionRoute::Control);
        launch.permissions.offers_tools = true;
        launch.servers = servers.clone();
        let config = mcp_config(&launch).expect("servers");
        assert_eq!(config["mcpServers"]["db"]["env"]["DB_TOKEN"], "s3cret");
        assert_eq!(config["mcpServers"]["storkit"]["type"], "sdk");
        assert!(line(&launch).contains("--allowedTools mcp__storkit "), "{}", line(&launch));
        assert!(!line(&launch).contains("s3cret") && !format!("{launch:?}").contains("s3cret"));
        launch.permissions.offers_tools = false;
        assert!(!line(&launch).contains("--allowedTools"), "no tool of theirs goes unasked");
        let run = Launch { servers, ..one_shot("a story's run") };
        let config = mcp_config(&run).expect("storkit's own").to_string();
        assert!(config.contains("\"storkit\"") && !config.contains("\"db\""), "{config}");
    }

    #[test]
    fn the_environment_loses_secrets_and_keeps_what_a_person_set() {
        let mut launch = launch(PromptMode::Live, PermissionRoute::Control);
        launch.program.env_remove = vec!["MATRIX_PASSWORD".into()];
        launch.program.env =
            vec![("CLAUDE_CODE_MAX_RETRIES".into(), "1".into()), ("TMPDIR".into(), "/elsewhere".into())];
        let inherited = [
            ("PATH", "/bin"),
            ("MATRIX_PASSWORD", "hidden"),
            ("CLAUDE_CODE_SESSION_ID", "of another session"),
            ("DISABLE_TELEMETRY", "0"),
        ];
        let inherited = inherited.map(|(name, value)| (name.into(), value.into())).into_iter();
        let shown: Vec<_> = environment_of(&launch, &files(), "abc/1", inherited)
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR=1
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
        CLAUDE_CODE_MAX_RETRIES=1
        CLAUDE_CODE_TMPDIR=/run/cc/t
        DISABLE_AUTOUPDATER=1
        DISABLE_ERROR_REPORTING=1
        DISABLE_TELEMETRY=0
        PATH=/bin
        STORKIT_RUN=abc/1
        TERM=xterm-256color
        TMPDIR=/run/cc/t
        "#);
    }
}
