//! Describes the calls that a standing rule covers.

use std::fmt::Write as _;

use adapters::markdown::{code_span, inert};

use super::{call_detail::host, visible::visible_line};
use crate::{
    permission::{ListedArguments, ListedCommand, NETWORK_TOOL, RuleOwner, RuleScope},
    store::StandingRule,
};

/// How much of a command or an input is shown.
const SHOWN: usize = 120;

/// The calls of a rule that a question offers, as the end of "`always` …". The call itself stands above it.
pub fn offered_rule(scope: &RuleScope, owner: Option<&RuleOwner>) -> String {
    let calls = match scope {
        RuleScope::CommandPrefix { prefix } => listed(prefix),
        RuleScope::Command { .. } => {
            "exactly this command, even if the files and programs it uses change".to_owned()
        }
        RuleScope::Path { tool, path } => file(tool, path),
        RuleScope::Host { host } => page(host),
        RuleScope::Call { tool, input, .. } => {
            connection(tool, input).unwrap_or_else(|| "exactly this call".to_owned())
        }
    };
    let whose = match owner {
        Some(RuleOwner::Room(_)) => ", in this room".into(),
        Some(owner) => whose(owner),
        None => String::new(),
    };
    format!("{calls}{whose}")
}

/// The calls of a rule, for a list and for the outcome of a question.
pub fn rule_in_words(scope: &RuleScope, owner: &RuleOwner) -> String {
    let calls = match scope {
        RuleScope::CommandPrefix { prefix } => listed(prefix),
        RuleScope::Command { command, .. } => format!("exactly {}", code_span(&visible_line(command, SHOWN))),
        RuleScope::Path { tool, path } => file(tool, path),
        RuleScope::Host { host } => page(host),
        RuleScope::Call { tool, input, .. } => connection(tool, input).unwrap_or_else(|| {
            format!(
                "{} with exactly {}",
                code_span(&visible_line(tool, SHOWN)),
                code_span(&visible_line(input, SHOWN))
            )
        }),
    };
    format!("{calls}{}", whose(owner))
}

/// A rule for connections to a host.
fn connection(tool: &str, input: &str) -> Option<String> {
    let input = serde_json::from_str(input).ok().filter(|_| tool == NETWORK_TOOL)?;
    Some(format!("connections to {}", code_span(&host(&input)?)))
}

fn listed(prefix: &str) -> String {
    let with = match ListedCommand::named(prefix).map(|listed| listed.takes) {
        Some(ListedArguments::Files) => "any files of its folder, except hidden ones",
        Some(ListedArguments::PatternAndFiles) => {
            "any pattern and any files of its folder, except hidden ones"
        }
        Some(ListedArguments::TestNames) => "any names of tests",
        None => "nothing any more",
    };
    format!("{} with {with}", code_span(prefix))
}

fn file(tool: &str, path: &str) -> String {
    format!("{} of {} with any content", code_span(tool), code_span(&visible_line(path, SHOWN)))
}

fn page(host: &str) -> String {
    format!("`WebFetch` of any page of {}", code_span(host))
}

fn whose(owner: &RuleOwner) -> String {
    match owner {
        RuleOwner::Everyone => ", everywhere".into(),
        RuleOwner::Room(room) => format!(", in the room {}", code_span(&room.to_string())),
        RuleOwner::Role(role) => format!(", for every story's {role}"),
    }
}

/// The answer to `rules`.
pub fn rule_list(rules: &[StandingRule]) -> String {
    if rules.is_empty() {
        return "There are no rules. Answer a question with `always` to make one.".into();
    }
    let mut text = String::new();
    for rule in rules {
        let words = rule_in_words(&rule.scope, &rule.owner);
        let _ = writeln!(text, "- {}: {words} (by {})", rule.id, inert(&rule.made_by));
    }
    text.push_str("\n`rules revoke NUMBER` revokes one.");
    text
}

/// Rules of an earlier version were revoked.
pub fn rules_dropped(prefixes: &[String]) -> String {
    let prefixes: Vec<String> = prefixes.iter().map(|prefix| code_span(&format!("{prefix} …"))).collect();
    format!(
        "I revoked these standing rules of an earlier version, because they allowed more than anybody was shown: {}. I ask again before \
         such calls.",
        prefixes.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use adapters::Room;
    use pipeline::stage::Role;

    use super::*;

    #[test]
    fn a_rule_says_what_it_covers_and_for_whom() {
        let prefix = |prefix: &str| RuleScope::CommandPrefix { prefix: prefix.into() };
        let links = BTreeMap::new;
        let scopes = [
            prefix("cat"),
            prefix("grep"),
            prefix("cargo test"),
            RuleScope::Command { command: "make test".into(), links: links() },
            RuleScope::Path { tool: "Edit".into(), path: "/p/a\u{202e}.rs".into() },
            RuleScope::Host { host: "docs.rs".into() },
            RuleScope::Call { tool: "Task".into(), input: r#"{"a":1}"#.into(), links: links() },
        ];
        let offered: Vec<_> =
            scopes.iter().map(|scope| offered_rule(scope, Some(&RuleOwner::Role(Role::Qa)))).collect();
        insta::assert_snapshot!(offered.join("\n"), @r#"
        `cat` with any files of its folder, except hidden ones, for every story's qa
        `grep` with any pattern and any files of its folder, except hidden ones, for every story's qa
        `cargo test` with any names of tests, for every story's qa
        exactly this command, even if the files and programs it uses change, for every story's qa
        `Edit` of `/p/a\u{202e}.rs` with any content, for every story's qa
        `WebFetch` of any page of `docs.rs`, for every story's qa
        exactly this call, for every story's qa
        "#);
        let room = RuleOwner::Room(Room::new("fake", "C1"));
        let rules: Vec<_> = scopes
            .into_iter()
            .zip(1..)
            .map(|(scope, id)| {
                let owner = if id == 1 { RuleOwner::Everyone } else { room.clone() };
                StandingRule {
                    id,
                    owner,
                    scope,
                    made_by: "ann".into(),
                    made_at: std::time::SystemTime::UNIX_EPOCH,
                }
            })
            .collect();
        insta::assert_snapshot!(rule_list(&rules), @r#"
        - 1: `cat` with any files of its folder, except hidden ones, everywhere (by ann)
        - 2: `grep` with any pattern and any files of its folder, except hidden ones, in the room `fake:C1` (by ann)
        - 3: `cargo test` with any names of tests, in the room `fake:C1` (by ann)
        - 4: exactly `make test`, in the room `fake:C1` (by ann)
        - 5: `Edit` of `/p/a\u{202e}.rs` with any content, in the room `fake:C1` (by ann)
        - 6: `WebFetch` of any page of `docs.rs`, in the room `fake:C1` (by ann)
        - 7: `Task` with exactly `{"a":1}`, in the room `fake:C1` (by ann)

        `rules revoke NUMBER` revokes one.
        "#);
    }

    #[test]
    fn the_rules_that_were_dropped_are_named() {
        insta::assert_snapshot!(rules_dropped(&["git fetch".into(), "make test".into()]), @"I revoked these standing rules of an earlier version, because they allowed more than anybody was shown: `git fetch …`, `make test …`. I ask again before such calls.");
    }
}
