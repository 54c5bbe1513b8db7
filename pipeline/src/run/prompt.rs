//! An agent's prompt: the role's prompt filled in, the story's text, and the feedback on the last try.

use std::path::Path;

use super::RunPlan;
use crate::{
    Project,
    config::{PromptVars, UnknownPlaceholder, render},
};

// Most characters of a story's text in a prompt; the file has all of it.
const STORY: usize = 60_000;

/// The prompt of a fresh session.
pub(super) fn prompt(plan: &RunPlan, project: &Project, place: &Path) -> Result<String, UnknownPlaceholder> {
    let mut prompt = filled(&plan.agent.prompt, plan, project, place)?;
    let text: String = plan.text.chars().take(STORY).collect();
    let cut = if text.len() < plan.text.len() { "\n(The file has more.)" } else { "" };
    prompt.push_str(&format!(
        "\n\nThe story's current text:\n\n<story id=\"{}\">\n{}\n</story>{cut}\n",
        plan.run.story,
        text.trim_end()
    ));
    if let Some(feedback) = &plan.feedback {
        prompt.push_str(&came_back(feedback));
    }
    Ok(prompt)
}

/// The prompt of a resumed session.
pub(super) fn resumed_prompt(plan: &RunPlan) -> String {
    match &plan.feedback {
        Some(feedback) => format!(
            "Story {} came back to you.{}\nFix that in the same worktree, and commit.",
            plan.run.story,
            came_back(feedback)
        ),
        None => format!(
            "You were interrupted while you worked on story {}. Check the current state (`git status`, `git log`), and \
             continue from there. Commit when you are done.",
            plan.run.story
        ),
    }
}

fn came_back(feedback: &str) -> String {
    format!("\n\nWhy your last attempt was sent back:\n\n<feedback>\n{}\n</feedback>\n", feedback.trim_end())
}

/// The reminder to one who left work uncommitted.
pub(super) fn reminder(files: &[String], refused: Option<&str>) -> String {
    let mut list: Vec<String> = files.iter().take(20).map(|file| format!("- `{file}`")).collect();
    if files.len() > list.len() {
        list.push(format!("- and {} more", files.len() - list.len()));
    }
    let refused =
        refused.map(|why| format!("\n\nYour last commits were not accepted: {why}")).unwrap_or_default();
    format!(
        "You ended with work that is not committed:\n\n{}\n\nCommit the files that belong to the story, remove the others \
         (or let git ignore it), then end. Uncommitted work is lost.{refused}",
        list.join("\n")
    )
}

/// Text for the CLI's system prompt: the role's, and facts about the project.
pub(super) fn system(
    plan: &RunPlan,
    project: &Project,
    place: &Path,
    trusted: bool,
) -> Result<String, UnknownPlaceholder> {
    let mut system = filled(&plan.agent.system_prompt, plan, project, place)?;
    if !plan.agent.description.is_empty() {
        system.push_str(&format!("\n\nYour strength: {}", plan.agent.description));
    }
    system.push_str(&project.briefing(&plan.base, trusted));
    Ok(system)
}

fn filled(
    template: &str,
    plan: &RunPlan,
    project: &Project,
    place: &Path,
) -> Result<String, UnknownPlaceholder> {
    let story = &plan.story;
    let file = project.dir().join("work").join(story.stage.dir()).join(story.file.to_string());
    let branch = crate::worktree::WorktreeName::new(story.id(), &story.file.slug).map(|name| name.branch());
    render(
        template,
        &PromptVars {
            story_id: story.id(),
            story_file: &file,
            worktree_path: place,
            base_branch: &plan.base,
            branch: branch.as_deref().unwrap_or_default(),
            gates: &plan.config.gates,
        },
    )
}
