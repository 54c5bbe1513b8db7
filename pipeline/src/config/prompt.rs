//! Agents' prompts: the default ones, and `{{placeholder}}`s filled in.

use std::path::Path;

use crate::story::{StoryId, stage::Role};

/// The values of the `{{name}}`s in a prompt.
#[derive(Clone, Debug)]
pub struct PromptVars<'a> {
    pub story_id: StoryId,
    /// `{{story_file}}`, the path of the story's text as the agent sees it.
    pub story_file: &'a Path,
    pub worktree_path: &'a Path,
    pub base_branch: &'a str,
    /// `{{branch}}`, the story's own.
    pub branch: &'a str,
    /// `{{gates}}`, the commands that must pass.
    pub gates: &'a [String],
}

/// A `{{name}}` that has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{{{{{0}}}}}` is no placeholder; there are `{{{{{known}}}}}`", known = PLACEHOLDERS.join("}}`, `{{"))]
pub struct UnknownPlaceholder(pub String);

/// The names that [`render`] knows.
pub const PLACEHOLDERS: [&str; 6] =
    ["story_id", "story_file", "worktree_path", "base_branch", "branch", "gates"];

/// The prompt of a role whose agent has none of its own.
pub fn default_prompt(role: Role) -> &'static str {
    match role {
        Role::Coder => include_str!("../prompts/coder.md"),
        Role::Qa => include_str!("../prompts/qa.md"),
        Role::Mergemaster => include_str!("../prompts/mergemaster.md"),
        Role::Supervisor => include_str!("../prompts/supervisor.md"),
    }
}

/// The system prompt of a role whose agent has none of its own.
pub fn default_system_prompt(role: Role) -> &'static str {
    match role {
        Role::Coder => include_str!("../prompts/coder_system.md"),
        Role::Qa => include_str!("../prompts/qa_system.md"),
        Role::Mergemaster => include_str!("../prompts/mergemaster_system.md"),
        Role::Supervisor => include_str!("../prompts/supervisor_system.md"),
    }
}

/// Fills a prompt in, once: placeholders inside a value are not filled in.
pub fn render(template: &str, vars: &PromptVars<'_>) -> Result<String, UnknownPlaceholder> {
    fill(template, |name| {
        Some(match name {
            "story_id" => vars.story_id.to_string(),
            "story_file" => vars.story_file.display().to_string(),
            "worktree_path" => vars.worktree_path.display().to_string(),
            "base_branch" => vars.base_branch.to_owned(),
            "branch" => vars.branch.to_owned(),
            "gates" if vars.gates.is_empty() => "(none)".to_owned(),
            "gates" => format!("`{}`", vars.gates.join("`, `")),
            _ => return None,
        })
    })
}

/// Whether every placeholder of a prompt is known.
pub fn check(template: &str) -> Result<(), UnknownPlaceholder> {
    fill(template, |name| PLACEHOLDERS.contains(&name).then(String::new)).map(drop)
}

/// A name is the text between `{{` and `}}` on one line; anything else is text.
fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, UnknownPlaceholder> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once("{{") {
        out.push_str(before);
        match tail.split_once("}}") {
            Some((name, after)) if is_name(name) => {
                out.push_str(&value(name.trim()).ok_or_else(|| UnknownPlaceholder(name.trim().to_owned()))?);
                rest = after;
            }
            _ => {
                out.push('{');
                rest = &rest[before.len() + 1..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(text: &str) -> bool {
    let text = text.trim_matches(' ');
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> PromptVars<'static> {
        PromptVars {
            story_id: StoryId(7),
            story_file: Path::new("/p/.storkit/work/2_current/7_bug_x.md"),
            worktree_path: Path::new("/w/{{branch}}"),
            base_branch: "main",
            branch: "feature/story-7_x/work",
            gates: &[],
        }
    }

    #[test]
    fn the_default_prompts_say_all_they_know() {
        for role in [Role::Coder, Role::Qa, Role::Mergemaster, Role::Supervisor] {
            for template in [default_prompt(role), default_system_prompt(role)] {
                let text = render(template, &vars()).unwrap();
                assert!(text.len() > 100 && !text.replace("/w/{{branch}}", "").contains("{{"), "{text}");
            }
        }
        let gates = ["script/test".to_owned(), "cargo fmt --check".to_owned()];
        let text = render("Run {{ gates }}.", &PromptVars { gates: &gates, ..vars() }).unwrap();
        assert_eq!(text, "Run `script/test`, `cargo fmt --check`.");
    }

    #[test]
    fn a_value_is_not_filled_in_again() {
        assert_eq!(render("{{worktree_path}}", &vars()).unwrap(), "/w/{{branch}}");
    }

    #[test]
    fn braces_that_hold_no_name_are_text() {
        for text in ["{{", "}}", "{{}}", "{{ a b }}", "{{a\n}}", "{{{", "let x = {{1 + 1}};"] {
            assert_eq!(render(text, &vars()).unwrap(), text);
        }
        assert_eq!(render("{{{story_id}}}", &vars()).unwrap(), "{7}");
    }

    #[test]
    fn an_unknown_placeholder_is_refused_with_the_known_ones() {
        insta::assert_snapshot!(check("{{story_id}} {{story_name}}").unwrap_err(), @"`{{story_name}}` is no placeholder; there are `{{story_id}}`, `{{story_file}}`, `{{worktree_path}}`, `{{base_branch}}`, `{{branch}}`, `{{gates}}`");
    }
}
