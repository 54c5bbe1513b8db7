//! The text for the agent: the prompt with its room's context, and the system prompt.

use pipeline::{Project, project::ProjectContext};

use crate::store::{OverheardTalk, QueuedPrompt};

// A fixed word, since a model always answers something. [`is_silence`] forgives the marks that models like to add.
const SILENCE: &str = "NOTHING_TO_ADD";

/// Added while `.storkit/context.md` is as `storkit init` wrote it.
const ONBOARDING: &str = "\n\nThe file `.storkit/context.md`, which tells agents what this project is, is still an empty template. When \
somebody asks you to set the project up or to fill it in: look through the repository, ask the few questions that it does not answer, and \
show the text for the file, without its first line. You cannot write below `.storkit` yourself; a person puts the text there.";

/// The prompt as the CLI gets it: the room's talk since the last one, the sender's name where several people write, and permission to
/// stay silent where nobody addressed the bot.
pub fn compose_prompt(prompt: &QueuedPrompt, talk: &[OverheardTalk]) -> String {
    let mut parts = Vec::new();
    if !talk.is_empty() {
        let lines: Vec<String> = talk.iter().map(|talk| format!("{}: {}", talk.who, talk.text)).collect();
        parts.push(format!("[Said in the room before, not to you]\n{}\n[End of that]", lines.join("\n")));
    }
    if prompt.addressed.is_none() {
        parts.push(format!(
            "[Nobody addressed you. If you have nothing useful to add, answer with exactly {SILENCE} and do nothing.]"
        ));
    }
    let text = &prompt.text;
    // Names only where several people write: a private chat has one author.
    parts.push(if prompt.shared { format!("{}: {text}", prompt.sender_name) } else { text.clone() });
    parts.join("\n\n")
}

/// Whether the answer is [`SILENCE`].
pub fn is_silence(answer: &str) -> bool {
    answer.trim().trim_matches(['.', '*', '`']) == SILENCE
}

/// Whether an unfinished text may still become [`SILENCE`].
pub fn may_become_silence(so_far: &str) -> bool {
    let so_far = so_far.trim();
    SILENCE.starts_with(so_far) || is_silence(so_far)
}

/// Appended to the CLI's own system prompt: the bot's name, the manners of a chat, and the project's briefing.
pub fn system_prompt(display_name: &str, project: &Project, trusted: bool) -> String {
    let mut text = format!(
        "Your name is {display_name}. You are talking with a team in a chat room, often on phones: be brief, use plain \
         Markdown, no tables wider than a phone. A tool call that needs permission is shown to the room and waits."
    );
    if project.context() == ProjectContext::Untouched {
        text.push_str(ONBOARDING);
    }
    text.push_str(&project.briefing(trusted));
    text
}

/// Appended where the room has a worktree of its own.
pub fn worktree_prompt(branch: &str) -> String {
    format!(
        "\n\nYou work in a worktree of this chat room's own, on the branch `{branch}`. The people's checkout is elsewhere, and you \
         cannot see their uncommitted files. Nothing that you change reaches them until somebody says `land TITLE` here: then your \
         changes become a story that passes gates and review and is merged. You may commit on this branch; other branches are \
         protected. Changes below `.storkit` cannot be landed."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_prompt_goes_as_it_is() {
        assert_eq!(compose_prompt(&QueuedPrompt::for_tests("fix it"), &[]), "fix it");
    }

    #[test]
    fn in_company_the_sender_is_named_and_the_talk_goes_along() {
        let prompt = QueuedPrompt { shared: true, ..QueuedPrompt::for_tests("and you?") };
        let talk = [OverheardTalk { who: "Bob".into(), text: "I broke main".into() }];
        insta::assert_snapshot!(compose_prompt(&prompt, &talk), @r"
        [Said in the room before, not to you]
        Bob: I broke main
        [End of that]

        Ann: and you?
        ");
    }

    #[test]
    fn unaddressed_the_agent_may_be_silent() {
        let prompt = QueuedPrompt { addressed: None, ..QueuedPrompt::for_tests("nice weather") };
        assert!(compose_prompt(&prompt, &[]).contains(SILENCE));
        assert!(is_silence(" NOTHING_TO_ADD.\n"));
        assert!(!is_silence("NOTHING_TO_ADD but this"));
        assert!(may_become_silence("NOTHING_"));
        assert!(!may_become_silence("Nothing is wrong"));
    }
}
