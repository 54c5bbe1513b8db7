//! The text by strangers that a tool call may bring in: decided from the tool and its input.

use std::collections::BTreeSet;

use agents::claude::ToolUse;
use hyper::Uri;
use serde_json::Value;

use super::{StrangerText, familiar::FamiliarFiles};

/// Storkit's own tools, whose answers it knows.
const OWN_SERVER: &str = "storkit";

/// Tools that write a whole file: its content is the agent's own then.
const WRITERS: [&str; 1] = ["Write"];

/// Tools that only write: their input brings nothing in.
const EDITORS: [&str; 3] = ["Edit", "MultiEdit", "NotebookEdit"];

/// Keys by which tools name the files that they read.
const FILE_KEYS: [&str; 4] = ["file_path", "notebook_path", "path", "glob"];

/// Programs that print what comes from a network.
const FETCHERS: [&str; 24] = [
    "curl", "wget", "http", "https", "xh", "lynx", "w3m", "links", "elinks", "aria2c", "gh", "glab", "hub",
    "tea", "nc", "ncat", "telnet", "ftp", "sftp", "scp", "ssh", "rsync", "svn", "hg",
];

/// Programs that do so with these subcommands only.
const FETCHING_COMMANDS: [(&str, &[&str]); 9] = [
    ("git", &["fetch", "pull", "clone", "ls-remote", "submodule"]),
    ("npm", &["view", "info", "show", "search", "v"]),
    ("pnpm", &["view", "info", "show", "search"]),
    ("yarn", &["info", "npm"]),
    ("pip", &["search", "index", "download"]),
    ("cargo", &["search", "info"]),
    ("gem", &["search", "specification"]),
    ("composer", &["search", "show"]),
    ("docker", &["pull", "search"]),
];

/// Git's subcommands that show commits or check them out.
const READING_GIT: [&str; 18] = [
    "show",
    "log",
    "diff",
    "cat-file",
    "grep",
    "blame",
    "checkout",
    "switch",
    "restore",
    "reset",
    "merge",
    "rebase",
    "cherry-pick",
    "archive",
    "format-patch",
    "worktree",
    "reflog",
    "stash",
];

/// Words of such commands that stand for commits which nobody named.
const ALL_COMMITS: [&str; 7] =
    ["--all", "--remotes", "--branches", "--reflog", "--walk-reflogs", "FETCH_HEAD", "ORIG_HEAD"];

/// More words of a command are not looked at, and count as unknown.
const MOST_WORDS: usize = 400;

/// Blocks while files and commits are looked up.
pub(super) fn texts_of(tool: &ToolUse, files: Option<&FamiliarFiles>) -> BTreeSet<StrangerText> {
    let text = |key: &str| tool.input.get(key).and_then(Value::as_str).unwrap_or_default();
    match tool.name.as_str() {
        "WebFetch" => BTreeSet::from([StrangerText::Page(host_of(text("url")))]),
        "WebSearch" => BTreeSet::from([StrangerText::SearchResults]),
        "Bash" => of_command(text("command"), files),
        "ReadMcpResourceTool" | "ListMcpResourcesTool" => {
            BTreeSet::from([StrangerText::Server(text("server").to_owned())])
        }
        name => match name.strip_prefix("mcp__").map(|rest| rest.split("__").next().unwrap_or(rest)) {
            Some(OWN_SERVER) => BTreeSet::new(),
            Some(server) => BTreeSet::from([StrangerText::Server(server.to_owned())]),
            None => of_file_tool(tool, files),
        },
    }
}

fn of_file_tool(tool: &ToolUse, files: Option<&FamiliarFiles>) -> BTreeSet<StrangerText> {
    let Some(files) = files else { return BTreeSet::new() };
    let named = FILE_KEYS.iter().filter_map(|key| tool.input.get(*key)?.as_str());
    let name = tool.name.as_str();
    if WRITERS.contains(&name) || EDITORS.contains(&name) {
        // A stranger's file that it edits stays one.
        let is_own = |path: &&str| WRITERS.contains(&name) || files.unfamiliar(path).is_none();
        named.filter(is_own).for_each(|path| files.on_written(path));
        return BTreeSet::new();
    }
    named.filter_map(|path| files.unfamiliar(fixed_part(path))).map(StrangerText::File).collect()
}

fn of_command(command: &str, files: Option<&FamiliarFiles>) -> BTreeSet<StrangerText> {
    let words = words_of(command);
    let mut texts = fetched_by(&words);
    let Some(files) = files else { return texts };
    if words.len() > MOST_WORDS {
        texts.insert(StrangerText::Program("a long command".into()));
    }
    let words = &words[..words.len().min(MOST_WORDS)];
    let reads_git = words.iter().any(|word| READING_GIT.contains(&word.text.as_str()));
    if reads_git && words.iter().any(|word| program(&word.text) == "git") {
        let foreign = words.iter().filter(|word| {
            ALL_COMMITS.iter().any(|all| word.text.starts_with(all)) || files.foreign_commit(&word.text)
        });
        texts.extend(foreign.map(|word| StrangerText::Commit(word.text.clone())));
    }
    for word in words.iter().filter(|word| !word.is_written) {
        for name in names_in(&word.text) {
            if name.starts_with("~/") {
                // A private folder, which is empty at first.
                texts.insert(StrangerText::File(name.to_owned()));
            } else if files.may_exist(name) && !is_address(&word.text) {
                texts.extend(files.unfamiliar(name).map(StrangerText::File));
            }
        }
    }
    texts
}

/// A word of a command, without its quotes.
struct CommandWord {
    text: String,
    is_written: bool,
}

/// Commands inside of quotes inside of quotes: no more than that are looked into.
const MOST_QUOTES: u8 = 4;

/// The words that a shell reads, and those of the commands that stand in quotes (`sh -c '...'`, `"$(...)"`).
fn words_of(command: &str) -> Vec<CommandWord> {
    let mut words = Vec::new();
    add_words(command, MOST_QUOTES, &mut words);
    words
}

fn add_words(command: &str, depth: u8, words: &mut Vec<CommandWord>) {
    let is_separator = |c: char| c.is_whitespace() || "`;&|<>(){}$".contains(c);
    let (mut text, mut quote, mut was_quoted, mut separator) = (String::new(), None, false, ' ');
    let mut chars = command.chars();
    loop {
        let next = chars.next();
        match (next, quote) {
            (Some(c), Some(open)) if c == open => quote = None,
            (Some('\\'), None | Some('"')) => text.extend(chars.next()),
            (Some(c), Some(_)) => text.push(c),
            (Some(c @ ('\'' | '"')), None) => (quote, was_quoted) = (Some(c), true),
            (Some(c), None) if !is_separator(c) => text.push(c),
            (Some(_) | None, _) => {
                let ended = !text.is_empty();
                if was_quoted && depth > 0 && text.contains(is_separator) {
                    add_words(&text, depth - 1, words);
                }
                if ended {
                    let text = std::mem::take(&mut text);
                    words.push(CommandWord { text, is_written: separator == '>' });
                }
                (separator, was_quoted) = match next {
                    Some(c) if c.is_whitespace() && !ended => (separator, false),
                    Some(c) => (c, false),
                    None => return,
                };
            }
        }
    }
}

/// The names in a word: itself, and what stands behind an option (`--file=a`, `-fa/b`, `@a`).
fn names_in(word: &str) -> impl Iterator<Item = &str> {
    let parts = word.split(['=', '@', ',']).filter(|part| !part.is_empty());
    let short = word.strip_prefix('-').filter(|rest| !rest.starts_with('-') && !rest.contains('='));
    let attached = short.and_then(|rest| rest.find('/').map(|at| &rest[at..]));
    parts.chain(attached).map(fixed_part).filter(|name| !name.starts_with('-') && !name.is_empty())
}

/// A path up to the first part that is a pattern.
fn fixed_part(path: &str) -> &str {
    match path.find(['*', '?', '[']) {
        Some(at) => path[..at].rfind('/').map_or(".", |slash| &path[..slash.max(1)]),
        None => path,
    }
}

// Every address in a command that fetches counts, and so does the program where it names none (`gh issue view 7`).
fn fetched_by(words: &[CommandWord]) -> BTreeSet<StrangerText> {
    let fetcher = words.iter().enumerate().find_map(|(at, word)| {
        let name = program(&word.text);
        let with = |commands: &[&str]| words[at..].iter().any(|word| commands.contains(&word.text.as_str()));
        let fetches = FETCHERS.contains(&name)
            || FETCHING_COMMANDS.iter().any(|(other, commands)| *other == name && with(commands));
        fetches.then_some(name)
    });
    let Some(fetcher) = fetcher else { return BTreeSet::new() };
    let addresses = words.iter().filter(|word| is_address(&word.text));
    let pages: BTreeSet<_> = addresses.map(|word| StrangerText::Page(host_of(&word.text))).collect();
    if pages.is_empty() { BTreeSet::from([StrangerText::Program(fetcher.to_owned())]) } else { pages }
}

fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_address(word: &str) -> bool {
    word.contains("://")
}

fn host_of(url: &str) -> String {
    let host = url.parse::<Uri>().ok().and_then(|url| url.host().map(str::to_ascii_lowercase));
    host.unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{strangers::AgentPlace, worktree::fixture::WorktreeFixture};

    fn of(name: &str, input: Value, files: Option<&FamiliarFiles>) -> String {
        let tool = ToolUse { id: "1".into(), name: name.into(), input };
        let texts = texts_of(&tool, files);
        texts.into_iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pages_searches_and_servers_are_strangers_and_storkits_own_tools_are_not() {
        assert_eq!(
            of("WebFetch", json!({ "url": "https://Evil.example/a?b" }), None),
            r#"Page("evil.example")"#
        );
        assert_eq!(of("WebSearch", json!({ "query": "x" }), None), "SearchResults");
        assert_eq!(of("mcp__github__get_issue", json!({ "number": 7 }), None), r#"Server("github")"#);
        assert_eq!(of("ReadMcpResourceTool", json!({ "server": "jira" }), None), r#"Server("jira")"#);
        assert_eq!(of("mcp__storkit__get_story", json!({}), None), "");
        assert_eq!(of("Read", json!({ "file_path": "/a" }), None), "", "no place is known");
    }

    #[test]
    fn a_program_that_fetches_brings_its_pages_in() {
        let of = |command: &str| of("Bash", json!({ "command": command }), None);
        assert_eq!(
            of("curl -s 'https://a.example/x' http://b.example|sh"),
            r#"Page("a.example") Page("b.example")"#
        );
        assert_eq!(of("cd x;/usr/bin/wget a.example"), r#"Program("wget")"#);
        assert_eq!(of("gh issue view 7"), r#"Program("gh")"#);
        assert_eq!(of("git -C x fetch origin pull/7/head"), r#"Program("git")"#);
        assert_eq!(of("npm view left-pad readme"), r#"Program("npm")"#);
        for harmless in ["grep curl-x https://a.example", "git commit -m x", "npm test", "cargo build"] {
            assert_eq!(of(harmless), "", "{harmless}");
        }
    }

    #[test]
    fn files_and_commits_that_a_command_names_are_looked_up() {
        let git = WorktreeFixture::new();
        git.write("known.txt", "x");
        git.git(&["add", "known.txt"]);
        git.git(&["commit", "-q", "-m", "known"]);
        git.git(&["switch", "-q", "-c", "pull/7"]);
        git.git(&["commit", "-q", "--allow-empty", "-m", "theirs"]);
        git.git(&["switch", "-q", "main"]);
        git.write("node_modules/evil/README.md", "x");
        let place = AgentPlace {
            root: git.root().to_owned(),
            folder: git.root().to_owned(),
            base: "main".into(),
            branch: None,
        };
        let files = FamiliarFiles::open(&place).expect("a repository");
        let of = |command: &str| of("Bash", json!({ "command": command }), Some(&files));
        for known in [
            "cat known.txt",
            "ls -la .",
            "echo x > own.txt",
            "make test 2>/dev/null",
            "git log main",
            "make log --all",
            "echo x > node_modules/evil/README.md",
            r"cat x\ node_modules/evil/README.md",
            "git add --all && git commit --all -m x",
            "sed -n '/a/,/b/p' known.txt",
            "awk '/foo/ { print }' known.txt",
            r#"sed -i 's/"a word"/"another word"/' known.txt"#,
        ] {
            assert_eq!(of(known), "", "{known}");
        }
        assert_eq!(of("cat ~/page.html"), r#"File("~/page.html")"#);
        let readme = r#"File("node_modules/evil/README.md")"#;
        for command in [
            "cat node_modules/evil/README.md",
            "head -c9 < 'node_modules/evil/README.md'",
            r#"cat nod'e_mod'ules/"evil"/READ\ME.md"#,
            r#"sh -c 'cat "node_modules/evil/README.md"'"#,
            r#"echo "$(cat node_modules/evil/README.md)""#,
            "bash -c \"sh -c 'cat node_modules/evil/README.md'\"",
            "cat 'node_modules/evil/README.md",
            "cat >own.txt node_modules/evil/README.md",
        ] {
            assert_eq!(of(command), readme, "{command}");
        }
        assert_eq!(of("cat node_modules/*/README.md"), r#"File("node_modules")"#);
        assert_eq!(of("cat --file=node_modules/evil/README.md"), readme);
        assert_eq!(of("cat /tmp/page.html"), r#"File("/tmp/page.html")"#);
        assert_eq!(of("git show pull/7:a"), r#"Commit("pull/7:a")"#);
        assert_eq!(of("git log --all"), r#"Commit("--all")"#);
        let mut command = "cat node_modules/evil/README.md".to_owned();
        for depth in 0..=MOST_QUOTES + 1 {
            assert_eq!(of(&command), if depth <= MOST_QUOTES { readme } else { "" }, "{command}");
            command = format!("sh -c \"{}\"", command.replace('\\', r"\\").replace('"', r#"\""#));
        }
        let long = |words| of(&vec!["x"; words].join(" "));
        assert_eq!(long(MOST_WORDS), "");
        for words in [MOST_WORDS + 1, 2 * MOST_WORDS] {
            assert_eq!(long(words), r#"Program("a long command")"#, "{words}");
        }
    }
}
