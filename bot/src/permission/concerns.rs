//! Effects of a call that its text does not show: links, and switches that widen it. The question names each.

use std::path::Path;

use serde_json::Value;

use super::{
    paths::AgentFolder,
    rule::{is_off, naming_texts},
};

/// Something that a person should know before they allow a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallConcern {
    /// A name in the call leads through a link.
    Link {
        named: String,
        /// Where to: absolute, or relative to the agent's folder. Empty for a link to nothing.
        leads_to: String,
    },
    /// The call has more names than anybody could check.
    UncheckedLinks,
    /// The path because of which the agent program asks.
    BlockedPath(String),
    /// The command is to run outside the sandbox.
    OutsideSandbox,
    /// The command is to go on after its call.
    InBackground,
}

impl CallConcern {
    pub(super) fn of(
        tool: &str,
        input: &Value,
        folder: Option<&Path>,
        blocked_path: Option<&str>,
    ) -> Vec<Self> {
        let is_on = |key: &str| tool == "Bash" && input.get(key).is_some_and(|value| !is_off(value));
        let mut concerns = Vec::new();
        concerns.extend(is_on("dangerouslyDisableSandbox").then_some(Self::OutsideSandbox));
        concerns.extend(is_on("run_in_background").then_some(Self::InBackground));
        // One way of asking names no path: then it is looked for in the call.
        let outside = || AgentFolder(folder).outside(naming_texts(tool, input));
        let blocked = blocked_path.filter(|path| !AgentFolder(folder).holds_plainly(path));
        let reaches = blocked.map(str::to_owned).or_else(outside);
        concerns.extend(reaches.map(Self::BlockedPath));
        match AgentFolder(folder).links(naming_texts(tool, input)) {
            Some(links) => {
                let links = links.into_iter().filter(|(named, _)| !is_of_the_system(named));
                concerns.extend(links.map(|(named, leads_to)| Self::Link { named, leads_to }));
            }
            None => concerns.push(Self::UncheckedLinks),
        }
        concerns
    }
}

// `/bin` and `/lib` are links to `/usr` on most systems, and no agent can change them.
fn is_of_the_system(named: &str) -> bool {
    ["/bin/", "/sbin/", "/lib/", "/lib64/"].iter().any(|folder| named.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    #[test]
    fn switches_links_and_blocked_paths_are_named() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/etc/hostname", dir.path().join("notes")).unwrap();
        let of = |tool: &str, input: Value| CallConcern::of(tool, &input, Some(dir.path()), None);
        let link = CallConcern::Link { named: "notes".into(), leads_to: "/etc/hostname".into() };
        let input =
            json!({ "command": "cat notes", "dangerouslyDisableSandbox": true, "run_in_background": 1 });
        assert_eq!(
            of("Bash", input.clone()),
            [CallConcern::OutsideSandbox, CallConcern::InBackground, link.clone()]
        );
        assert_eq!(of("Task", input), [link], "the switches are those of the shell");
        assert!(of("Bash", json!({ "command": "cat other", "run_in_background": false })).is_empty());
        let named = dir.path().join("notes").display().to_string();
        let edit = of("Edit", json!({ "file_path": named }));
        assert_eq!(edit, [CallConcern::Link { named, leads_to: "/etc/hostname".into() }]);
        let written = json!({ "file_path": "/p/a", "content": "cat notes" });
        assert!(of("Write", written).is_empty() && of("Bash", json!({ "command": "/bin/ls" })).is_empty());
        let climbing = dir.path().join("x/../../outside.txt");
        let real = dir.path().parent().unwrap().canonicalize().unwrap().join("outside.txt");
        assert_eq!(
            of("Read", json!({ "file_path": climbing })),
            [CallConcern::BlockedPath(real.display().to_string())],
            "by MCP nobody says where it leads"
        );
        assert!(of("Read", json!({ "file_path": dir.path().join("x/../a") })).is_empty());
        let inside = |name: &str| {
            let path = dir.path().join(name).display().to_string();
            CallConcern::of("Bash", &json!({ "command": "x" }), Some(dir.path()), Some(&path))
        };
        assert_eq!(inside("door.txt"), [], "the agent's own files are no news");
        for named in [".git/config", "src/.env", "../a", "notes"] {
            assert_eq!(inside(named).len(), 1, "{named}");
        }
        let blocked = CallConcern::of("Read", &json!({}), None, Some("/etc/shadow"));
        assert_eq!(blocked, [CallConcern::BlockedPath("/etc/shadow".into())]);
        assert_eq!(of("Bash", json!({ "command": "a ".repeat(2_000) })), [CallConcern::UncheckedLinks]);
    }
}
