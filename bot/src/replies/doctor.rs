//! The findings of `doctor`, one function each. A finding about something missing names the fix.

use std::{
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use adapters::markdown::{code_span, inert};
use agents::{claude::TESTED_VERSION, confine::NetworkAccess, model_proxy::CloudProvider};

use pipeline::git::{kind::RepositoryTrait, lfs::LfsReadiness};

use super::{
    setup::FoundPart,
    text::{count, sentence, shorten},
    visible::{visible, visible_line},
};

// --- the web page ---

pub const NO_PAGE: &str = "No web page: `[web] listen` in bot.toml is empty.";

pub const PAGE_NOT_BUILT: &str =
    "This storkit was built without its web page. `script/web` builds the page; then build storkit again.";

/// Where the page is, and how browsers reach it.
pub fn page_at(address: &SocketAddr, origins: &[String]) -> String {
    match origins.is_empty() {
        true => format!(
            "The web page is for browsers on this machine: {}. `storkit web` gives a link.",
            code_span(&format!("http://{address}"))
        ),
        false => {
            let origins: Vec<_> = origins.iter().map(|origin| code_span(origin)).collect();
            format!(
                "The web page listens on {} for {}. `storkit web` gives a link.",
                code_span(&address.to_string()),
                origins.join(", ")
            )
        }
    }
}

// --- the repository ---

pub const USUAL_REPOSITORY: &str = "The repository is of a usual kind.";

/// What is unusual about the repository, and what works in it.
pub fn repository_trait(found: &RepositoryTrait) -> String {
    match found {
        RepositoryTrait::Shallow => "The repository is a shallow clone; stories work in it.".into(),
        RepositoryTrait::Partial { remote } => format!(
            "The repository is a partial clone; git fetches what is missing from {}. Agents behind a wall see what has been fetched.",
            code_span(remote)
        ),
        RepositoryTrait::Sparse => {
            "The checkout is sparse. The worktrees of stories have the same part of the files, and so do the gates.".into()
        }
        RepositoryTrait::DetachedHead => {
            "HEAD is detached. Stories merge to the base branch, and the checkout stays where it is.".into()
        }
        RepositoryTrait::UnbornBranch { branch } => format!(
            "The branch {} is checked out and has no commit yet. Stories merge to the base branch, if there is one.",
            code_span(branch)
        ),
        RepositoryTrait::LinkedWorktree { of_bare } => format!(
            "The project is a linked worktree of a {} repository; stories work in it.",
            if *of_bare { "bare" } else { "larger" }
        ),
        RepositoryTrait::Submodules { ready, missing } => submodules(ready, missing),
        RepositoryTrait::Lfs { readiness: LfsReadiness::Ready } => {
            "Files are stored with Git LFS. The worktrees of stories have their contents; what is missing here is fetched from the remote first.".into()
        }
        RepositoryTrait::InProgress => {
            "A rebase, a merge or the like is in progress in the checkout. Stories go on; end it before you switch branches.".into()
        }
        RepositoryTrait::SplitIndex | RepositoryTrait::SparseIndex | RepositoryTrait::Lfs { .. } => found.refusal().unwrap_or_default(),
    }
}

fn submodules(ready: &[PathBuf], missing: &[PathBuf]) -> String {
    let listed = |paths: &[PathBuf]| {
        let names: Vec<String> =
            paths.iter().take(5).map(|path| code_span(&path.to_string_lossy())).collect();
        let more = paths.len().saturating_sub(names.len());
        if more > 0 { format!("{}, and {more} more", names.join(", ")) } else { names.join(", ") }
    };
    let ready = (!ready.is_empty())
        .then(|| format!("Submodules are checked out in the worktrees of stories: {}.", listed(ready)));
    let missing = (!missing.is_empty()).then(|| {
        format!(
            "These submodules are not initialised in the main checkout, and so are empty in the worktrees of stories: {}. \
             `git submodule update --init --recursive` initialises them.",
            listed(missing)
        )
    });
    ready.into_iter().chain(missing).collect::<Vec<_>>().join(" ")
}

// --- Claude Code ---

/// The version that storkit is tested with.
pub fn claude_tested() -> String {
    format!("Claude Code {TESTED_VERSION} is installed.")
}

pub fn claude_untested(version: &str) -> String {
    format!(
        "Claude Code {} is installed; storkit is tested with {TESTED_VERSION}.",
        inert(&shorten(version, 60))
    )
}

/// How to get the CLI.
pub fn claude_missing(program: &str) -> String {
    format!(
        "`{program}` was not found. Install Claude Code with `npm install -g @anthropic-ai/claude-code@{TESTED_VERSION}`, or set \
         `[claude] command` in `.storkit/bot.toml` to another program."
    )
}

/// It is there and does not answer.
pub fn claude_fails(program: &str, why: &str) -> String {
    sentence(&format!("`{program} --version` failed: {}", inert(why)))
}

/// It can reach the model's service.
pub const CLAUDE_HAS_KEY: &str = "Claude Code has a key or a login.";
pub const CLAUDE_HAS_NO_KEY: &str =
    "Claude Code has no key. Set `ANTHROPIC_API_KEY`, or run `claude` once and log in.";

/// No agent can see the model's key.
pub const KEY_STAYS_OUTSIDE: &str =
    "Agents reach the model through storkit, which adds the key; no agent sees it.";

/// The CLI's login is a file.
pub const LOGIN_IS_VISIBLE: &str = "Claude Code uses a login of its own, and agents can read its token in `~/.claude`. To keep it from them, \
     give storkit an `ANTHROPIC_API_KEY` instead. Budgets rely on Claude Code's own count.";

pub fn key_in_settings(file: &Path) -> String {
    format!(
        "`{}` sets a key, an address or an `apiKeyHelper` for Claude Code, which agents can read. Move it to storkit's environment, \
         so that storkit adds the key outside of their sandbox.",
        file.display()
    )
}

pub fn cloud_is_visible(cloud: CloudProvider) -> String {
    format!(
        "Claude Code signs its requests to {cloud} itself, so agents can see those credentials. Budgets rely on Claude Code's own count."
    )
}

/// Whether it can is unknown.
pub fn claude_key_unknown(why: &str) -> String {
    sentence(&format!("Cannot tell whether Claude Code has a key: {}", inert(&shorten(why, 120))))
}

/// The project's own settings are in effect.
pub const PROJECT_SETTINGS_TRUSTED: &str =
    "`trust_project_settings` is on: this repository's settings, hooks and MCP servers run on this machine.";
pub const PROJECT_SETTINGS_IGNORED: &str =
    "The project's own Claude settings, hooks and MCP servers are not used.";

/// Claude Code's own settings allow nothing.
pub const NO_RULES_FOR_EVERYBODY: &str = "Claude Code's own settings allow nothing without a question.";

/// They have `allow` rules.
pub fn rules_for_everybody(file: &Path, rules: &[String]) -> String {
    format!(
        "`{}` allows without a question, for everybody in every room and for every story: {}. Remove from `permissions.allow` what is \
         not meant for all of them.",
        file.display(),
        listed(rules)
    )
}

/// They add folders to the agents' own.
pub fn folders_for_everybody(file: &Path, folders: &[String]) -> String {
    format!(
        "`{}` makes these folders part of every agent's working directory: {}. Remove them from `permissions.additionalDirectories` \
         unless all rooms may use them.",
        file.display(),
        listed(folders)
    )
}

/// Nobody knows what they allow.
pub fn claude_settings_unreadable(file: &Path, why: &dyn Display) -> String {
    format!("Cannot tell what `{}` allows without a question: {}", file.display(), sentence(&why.to_string()))
}

fn listed(items: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut shown: Vec<String> =
        items.iter().take(SHOWN).map(|item| code_span(&visible_line(item, 80))).collect();
    if items.len() > SHOWN {
        shown.push(format!("{} more", items.len() - SHOWN));
    }
    shown.join(", ")
}

// --- the machine ---

pub const GIT_MISSING: &str =
    "`git` was not found. Install it, e.g. with `apt-get install git`, and try again.";
/// Git does not know whose commits these are.
pub const GIT_HAS_NO_IDENTITY: &str = "git has no identity here. Set one: run `git config user.email YOU@EXAMPLE` and \
     `git config user.name NAME` in the project.";

/// The output of `git --version`.
pub fn git_version(version: &str) -> String {
    format!("{} is installed.", inert(version))
}

/// Whose commits these are.
pub fn git_identity(email: &str) -> String {
    format!("Commits are made as {}.", inert(email))
}

/// Which processes are behind the wall. `agents` are those of stories.
pub fn walls(agents: &[&str], wall: &str) -> String {
    format!(
        "Behind the wall ({}): agents on stories ({}), gates, also those of a merge, components' setup and teardown, and agents in chat \
         rooms. `storkit doctor --attack` tries it.",
        inert(wall),
        in_code(agents)
    )
}

/// Where the agents of rooms work: in a worktree in the terminal, and elsewhere.
pub fn rooms_work(terminal: bool, elsewhere: bool) -> String {
    let place = |worktree: bool| if worktree { "a worktree of the room" } else { "the main checkout" };
    match terminal == elsewhere {
        true => format!("Agents in chat rooms work in {}.", place(terminal)),
        false => format!(
            "Agents in chat rooms work in {} in the terminal, and in {} elsewhere.",
            place(terminal),
            place(elsewhere)
        ),
    }
}

/// Landlock has no rule that takes something away from a writable folder.
pub const CHECKOUT_NOT_PROTECTED: &str = "The wall here cannot protect `.git` and `.storkit` in the main checkout, so no agent starts there: set \
     `[relay] workspace = \"worktree\"` in `.storkit/bot.toml`, or install bubblewrap.";

pub fn landlock(version: u32) -> String {
    format!("The kernel has Landlock (ABI {version}).")
}

pub fn landlock_lacks(version: u32, missing: &[&str]) -> String {
    format!("The kernel has Landlock (ABI {version}), but no rules for {}.", missing.join(", "))
}

pub const NO_LANDLOCK: &str = "The kernel has no Landlock, or it is switched off: there is a wall only where bubblewrap works, and with an open \
     network abstract sockets can be reached.";

pub const SECCOMP: &str = "The kernel filters system calls for confined processes (seccomp).";
pub const NO_SECCOMP: &str = "The kernel cannot filter system calls (seccomp), so no wall can be built.";

/// Of all processes of storkit together.
pub fn limits(processes: Option<u64>, memory_bytes: Option<u64>) -> String {
    let processes =
        processes.map(|most| count(usize::try_from(most).unwrap_or(usize::MAX), "process", "processes"));
    let memory = memory_bytes.map(|most| format!("{} MiB of memory", most >> 20));
    let both: Vec<String> = processes.into_iter().chain(memory).collect();
    format!("storkit and its agents together may use {}.", both.join(" and "))
}

pub const NO_LIMITS: &str = "storkit sees no limit on how many processes and how much memory agents' commands use. The systemd service and \
     the container set some.";

/// The operator turned it off.
pub fn no_walls(agents: &[&str]) -> String {
    format!(
        "There is no wall (`[wall] confine` in `.storkit/bot.toml`): {}, gates, components' setup and teardown, and agents in chat rooms \
         can do what you can do. Permissions, hooks and a check of the base branch after each run protect the project.",
        in_code(agents)
    )
}

fn in_code(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A storkit serves here already.
pub fn served_by(pid: u32) -> String {
    format!("A storkit serves this project (process {pid}).")
}

/// The setting `[http] port = 0`.
pub const PORT_CHOSEN_AT_START: &str = "Each start chooses a free port for the agents' tools.";

/// The port can be used.
pub fn port_free(port: u16) -> String {
    format!("Port {port} on 127.0.0.1 is free.")
}

pub fn port_unusable(port: u16, why: &dyn Display) -> String {
    format!(
        "Port {port} on 127.0.0.1 cannot be used: {why}. Choose another in `[http] port`, or 0 for a free one."
    )
}

pub fn disk_free(gib: u64) -> String {
    format!("{gib} GiB are free on the project's disk.")
}

pub fn disk_low(gib: u64) -> String {
    format!("{gib} GiB are free on the project's disk; worktrees and builds of several agents may need more.")
}

/// The disk could not be asked.
pub fn disk_unknown(why: &dyn Display) -> String {
    format!("Cannot tell how much disk is free: {why}.")
}

/// The clock can be right.
pub const CLOCK_PLAUSIBLE: &str = "The clock is not behind the newest commit.";
pub const CLOCK_BEHIND: &str = "The clock is behind the newest commit, so messages would seem older than they are. Set it, e.g. \
     with `timedatectl set-ntp true` as root.";

/// `bot.toml` can be read by others.
pub const CONFIG_READABLE: &str =
    "Other users can read `.storkit/bot.toml` here. Run `chmod 600 .storkit/bot.toml` to change that.";
pub const CONFIG_PRIVATE: &str = "Only its owner can read `.storkit/bot.toml` here.";
pub const CONFIG_MISSING: &str = "There is no `.storkit/bot.toml`; all settings have their defaults.";

// --- the project ---

/// Agents know the project.
pub const SPECS_READ: &str = "Agents read `.storkit/specs` at the start.";
/// They do not yet.
pub fn spec_untouched(name: &str) -> String {
    format!(
        "`{name}` is still the template. Fill it in, or ask the bot to do it with you: agents read it at the start."
    )
}

pub fn spec_missing(name: &str) -> String {
    format!("There is no `{name}` to tell agents about this project. `storkit init` writes one.")
}

/// A part of the project that stories do not set up.
pub fn part_not_configured(part: &FoundPart) -> String {
    format!(
        "The project has {}, and no `[[component]]` sets it up (`{}`), so a story's gates may lack it. `storkit init` adds it.",
        visible(&part.name),
        visible(&part.setup)
    )
}

pub fn part_needs_program(part: &FoundPart) -> String {
    format!(
        "`{}` is not installed on this machine, so stories cannot set up {}.",
        part.program,
        visible(&part.name)
    )
}

/// What is in the checkout does not count.
pub fn specs_edited(base: &str) -> String {
    format!(
        "`.storkit/specs` in the checkout differs from the one on `{base}`, which is the one that agents read. Commit it \
         there."
    )
}

/// No `project.toml` on base.
pub const DEFAULTS_APPLY: &str = "The project has no settings of its own, so there is nothing to confirm.";

/// The operator has seen the settings that are in force.
pub fn confirmed(base: &str) -> String {
    format!("You have confirmed what `.storkit/project.toml` on `{base}` runs.")
}

/// What is in the checkout does not count.
pub fn settings_edited(base: &str) -> String {
    format!(
        "`.storkit/project.toml` in the checkout differs from the one on `{base}`, which is the one that counts. Commit it \
         there, and confirm it with `storkit trust`."
    )
}

pub fn team(agents: usize, gates: usize) -> String {
    format!("The project has {} and {}.", count(agents, "agent", "agents"), count(gates, "gate", "gates"))
}

pub fn merges_to(base: &str) -> String {
    format!("Stories merge to the branch `{base}` here.")
}

pub fn merges_nowhere(why: &str) -> String {
    sentence(&format!("No story can be merged yet: {}", inert(why)))
}

/// The error of whatever read a file or a messenger's section.
pub fn as_reported(why: &str) -> String {
    sentence(&inert(why))
}

// --- messengers ---

/// Its service accepts the credentials.
pub fn messenger_ready(name: &str) -> String {
    format!("{name}: the service accepts the credentials.")
}

pub fn messenger_refused(name: &str, why: &str) -> String {
    sentence(&format!("{name}: {}", inert(why)))
}

/// It does not answer.
pub fn messenger_silent(name: &str, seconds: u64) -> String {
    format!("{name}: no answer in {seconds} s.")
}

/// A second connection would disturb the first.
pub fn messenger_in_use(name: &str, pid: u32) -> String {
    format!(
        "{name}: not tested, since a storkit serves here (process {pid}); `status` in a room shows its connection."
    )
}

// --- the network ---

/// The network access of one part: its name, its access in any case, and its own hosts.
pub struct NetworkPart<'a> {
    pub name: String,
    pub always: &'static str,
    pub network: &'a NetworkAccess,
}

pub const NETWORK_OPEN: &str = "Agents, chat rooms, gates and components have full network access.";

/// What each part can reach; parts with the same access share an entry.
pub fn network_access(parts: &[NetworkPart<'_>]) -> String {
    let mut grouped: Vec<(Vec<&str>, String)> = Vec::new();
    for NetworkPart { name, always, network } in parts {
        let reach = match network {
            NetworkAccess::All => "everything".to_owned(),
            NetworkAccess::Unset | NetworkAccess::Ask(_) => {
                let always = Some((*always).to_owned()).filter(|always| !always.is_empty());
                let hosts = network.asking().unwrap_or_default().iter().map(|host| format!("`{host}`"));
                // Commands ask nobody.
                let others =
                    if always.is_some() { "other hosts after a question" } else { "hosts that were allowed" };
                let registries = ["package registries".to_owned()];
                always
                    .into_iter()
                    .chain(registries)
                    .chain(hosts)
                    .chain([others.to_owned()])
                    .collect::<Vec<_>>()
                    .join(", ")
            }
            NetworkAccess::Only(hosts) if hosts.is_empty() && always.is_empty() => "nothing".to_owned(),
            NetworkAccess::Only(hosts) => {
                let always = Some((*always).to_owned()).filter(|always| !always.is_empty());
                let hosts = hosts.iter().map(|host| format!("`{host}`"));
                always.into_iter().chain(hosts).collect::<Vec<_>>().join(", ")
            }
        };
        match grouped.iter_mut().find(|(_, other)| *other == reach) {
            Some((names, _)) => names.push(name),
            None => grouped.push((vec![name], reach)),
        }
    }
    let grouped: Vec<String> =
        grouped.iter().map(|(names, reach)| format!("{}: {reach}", names.join(", "))).collect();
    format!("Network access ({}).", grouped.join("; "))
}

/// A limited agent's code runs where nothing is limited.
pub fn network_way_around(agent: &str, open: &[String]) -> String {
    format!("What `{agent}` writes still runs with full network access; limit {} too.", open.join(" and "))
}

/// This machine cannot enforce the limits.
pub fn network_not_limited(why: &str) -> String {
    sentence(&format!("No run starts: {}", inert(why)))
}

/// Nobody set a limit, and the usual one does not work as a whole here.
pub fn network_open_here(access: &str, gap: &str) -> String {
    sentence(&format!("{access} {}", inert(gap)))
}

/// A key of `project.toml` that opens the network.
pub fn component_network_key(component: &str) -> String {
    format!("`network` of the component `{component}`")
}

/// A program that cannot be started or that fails, as a clause.
pub fn no_answer_in(seconds: u64) -> String {
    format!("it did not answer in {seconds} s")
}

/// No program in `[claude] command`.
pub const NO_PROGRAM: &str = "no program is configured";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_of_an_unusual_kind_is_described_with_what_works() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect();
        let both = RepositoryTrait::Submodules {
            ready: paths(&["a"]),
            missing: paths(&["b", "c", "d", "e", "f", "g"]),
        };
        insta::assert_snapshot!(repository_trait(&both), @"Submodules are checked out in the worktrees of stories: `a`. These submodules are not initialised in the main checkout, and so are empty in the worktrees of stories: `b`, `c`, `d`, `e`, `f`, and 1 more. `git submodule update --init --recursive` initialises them.");
        let partial = RepositoryTrait::Partial { remote: "origin".into() };
        insta::assert_snapshot!(repository_trait(&partial), @"The repository is a partial clone; git fetches what is missing from `origin`. Agents behind a wall see what has been fetched.");
        assert!(repository_trait(&RepositoryTrait::SplitIndex).contains("git config core.splitIndex false"));
    }

    #[test]
    fn one_gate_is_singular() {
        assert_eq!(team(3, 1), "The project has 3 agents and 1 gate.");
        assert_eq!(team(1, 0), "The project has 1 agent and 0 gates.");
    }

    #[test]
    fn every_finding_is_a_sentence() {
        let fixed = [
            CLAUDE_HAS_KEY,
            CLAUDE_HAS_NO_KEY,
            KEY_STAYS_OUTSIDE,
            LOGIN_IS_VISIBLE,
            PROJECT_SETTINGS_TRUSTED,
            PROJECT_SETTINGS_IGNORED,
            GIT_MISSING,
            GIT_HAS_NO_IDENTITY,
            PORT_CHOSEN_AT_START,
            CLOCK_PLAUSIBLE,
            CLOCK_BEHIND,
            CONFIG_READABLE,
            CONFIG_PRIVATE,
            CONFIG_MISSING,
            SPECS_READ,
            NETWORK_OPEN,
            CHECKOUT_NOT_PROTECTED,
            NO_LANDLOCK,
            SECCOMP,
            NO_SECCOMP,
            NO_LIMITS,
        ];
        let worded = [
            claude_tested(),
            claude_untested("2.0"),
            claude_fails("claude", "it is gone."),
            claude_key_unknown("no answer"),
            walls(&["coder", "qa"], "bubblewrap"),
            no_walls(&["coder"]),
            rooms_work(false, true),
            landlock_lacks(4, &["signals"]),
            limits(Some(1), Some(1 << 30)),
            merges_nowhere("there is no branch."),
            as_reported("`a` is wrong"),
            messenger_refused("chat", "refused."),
            network_not_limited("bwrap is missing"),
            network_open_here("Everything is open.", "bwrap is missing."),
            key_in_settings("/home/ann/.claude/settings.json".as_ref()),
            cloud_is_visible(CloudProvider::Bedrock),
        ];
        for text in fixed.iter().map(ToString::to_string).chain(worded) {
            assert!(text.ends_with('.') && !text.ends_with("..") && !text.ends_with("`."), "{text}");
        }
    }
}
