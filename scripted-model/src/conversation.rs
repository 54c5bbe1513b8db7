//! Reads the body of a Messages API request: the prompts, the results of tools and the position in the turn.

use serde_json::Value;

/// Marks of the text that the Claude Code CLI (2.1.330) adds to the person's words.
const REMINDER: &str = "<system-reminder>";
const NOT_THE_PERSON: &[&str] = &[
    "[Request interrupted by user",
    "[Tool call interrupted",
    "Your response above was cut off",
    // After a call that an earlier process deferred.
    "Continue from where you left off.",
    "<task-notification>",
    "<local-command-",
    "<command-name>",
    "[Image: source:",
];

/// The parts of a request's conversation that a script can use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelConversation {
    /// The last prompt, or the empty text.
    pub prompt: String,
    /// The earlier prompts, oldest first.
    pub history: Vec<String>,
    /// The number of answers that the model has given since `prompt`.
    pub position: usize,
    /// The results of tools since `prompt`, oldest first.
    pub tool_results: Vec<ToolResult>,
    /// Reminders and system messages of the CLI, joined.
    pub reminders: String,
}

/// The result of a tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolResult {
    /// The text. Other content is left out.
    pub text: String,
    /// True for failed and refused calls.
    pub is_error: bool,
}

impl ModelConversation {
    /// Reads the `messages` of a request. Content of an unknown form is skipped.
    pub fn read(messages: &[Value]) -> Self {
        let mut conversation = Self::default();
        for message in messages {
            match message["role"].as_str() {
                Some("assistant") => conversation.position += 1,
                Some("user") => blocks(&message["content"]).for_each(|block| conversation.hear(block)),
                _ => blocks(&message["content"]).for_each(|block| conversation.remind(&block.text())),
            }
        }
        conversation
    }

    /// The text of the last tool result since the prompt, or the empty text.
    pub fn last_tool_result(&self) -> &str {
        self.tool_results.last().map_or("", |result| &result.text)
    }

    /// True if the last tool call since the prompt failed or was refused.
    pub fn last_call_failed(&self) -> bool {
        self.tool_results.last().is_some_and(|result| result.is_error)
    }

    /// The last line of the prompt that is not empty: a relay may put names and earlier messages before the person's words.
    pub fn last_line(&self) -> &str {
        self.prompt.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim()
    }

    /// The first number in the prompt, or the empty text. In the pipeline's prompts it is the story's.
    pub fn first_number(&self) -> &str {
        let mut numbers = self.prompt.split(|letter: char| !letter.is_ascii_digit());
        numbers.find(|number| !number.is_empty()).unwrap_or_default()
    }

    /// The plan file, which the CLI (2.1.330) names in plan mode: `.../plans/NAME.md`.
    pub fn plan_file(&self) -> Option<&str> {
        // From the back: the latest reminder names the current plan.
        self.reminders.lines().rev().find_map(|line| {
            let folder = line.find("/plans/")?;
            // The path may contain spaces.
            let start = line[..folder].rfind(" /").map_or(0, |space| space + 1);
            let end = folder + line[folder..].find(".md")? + ".md".len();
            Some(line[start..end].trim_start_matches('`'))
        })
    }

    fn hear(&mut self, block: ContentPart<'_>) {
        // Tool results are `user` messages too; only text can begin a new prompt.
        match block {
            ContentPart::ToolResult(block) => self.tool_results.push(ToolResult {
                text: without_reminders(&joined(&block["content"])).0,
                is_error: block["is_error"] == true,
            }),
            ContentPart::Text(text) => {
                let (words, reminders) = without_reminders(text);
                self.remind(&reminders);
                if !words.is_empty() && !NOT_THE_PERSON.iter().any(|mark| words.starts_with(mark)) {
                    self.next_prompt(words);
                }
            }
            ContentPart::Other => {}
        }
    }

    fn remind(&mut self, text: &str) {
        if !text.is_empty() {
            self.reminders.push_str(text);
            self.reminders.push('\n');
        }
    }

    fn next_prompt(&mut self, words: String) {
        let before = std::mem::replace(&mut self.prompt, words);
        if !before.is_empty() {
            self.history.push(before);
        }
        self.position = 0;
        self.tool_results.clear();
    }
}

/// The text of a `content` or `system` field, which the API takes as a string or as a list of blocks.
pub(super) fn joined(content: &Value) -> String {
    let texts: Vec<_> = blocks(content).map(|block| block.text()).filter(|text| !text.is_empty()).collect();
    texts.join("\n")
}

enum ContentPart<'a> {
    Text(&'a str),
    ToolResult(&'a Value),
    Other,
}

impl ContentPart<'_> {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::ToolResult(_) | Self::Other => String::new(),
        }
    }
}

fn blocks(content: &Value) -> impl Iterator<Item = ContentPart<'_>> {
    let alone = content.as_str().map(ContentPart::Text);
    let list = content.as_array().map(Vec::as_slice).unwrap_or_default();
    alone.into_iter().chain(list.iter().map(|block| match block["type"].as_str() {
        Some("text") => block["text"].as_str().map_or(ContentPart::Other, ContentPart::Text),
        Some("tool_result") => ContentPart::ToolResult(block),
        _ => ContentPart::Other,
    }))
}

/// Splits a text block into the person's words and the CLI's reminders.
fn without_reminders(text: &str) -> (String, String) {
    const END: &str = "</system-reminder>";
    let (mut words, mut reminders, mut rest) = (String::new(), String::new(), text);
    while let Some(start) = rest.find(REMINDER) {
        // Without a closing tag it is not a reminder but the person's own text.
        let Some(length) = rest[start..].find(END) else { break };
        words.push_str(&rest[..start]);
        reminders.push_str(rest[start + REMINDER.len()..start + length].trim());
        rest = &rest[start + length + END.len()..];
    }
    words.push_str(rest);
    (words.trim().to_owned(), reminders)
}

/// The types of the images in all messages, also in the results of tools.
pub fn images(messages: &[Value]) -> Vec<String> {
    let content = |value: &Value| value["content"].as_array().cloned().unwrap_or_default();
    let blocks = messages.iter().flat_map(content);
    let all = blocks.flat_map(|block| content(&block).into_iter().chain([block]));
    all.filter_map(|block| Some(block["source"]["media_type"].as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(messages: Value) -> ModelConversation {
        ModelConversation::read(messages.as_array().unwrap())
    }

    #[test]
    fn the_reminders_of_the_cli_are_not_the_persons_words() {
        let conversation = read(json!([
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>\nProject notes.\n</system-reminder>\n"},
                {"type": "text", "text": "make a file<system-reminder>More.</system-reminder>"}]},
            {"role": "system", "content": [{"type": "text", "text": "# Environment"}]},
        ]));
        assert_eq!(conversation.prompt, "make a file");
        assert_eq!(conversation.reminders, "Project notes.\nMore.\n# Environment\n");
        assert_eq!(conversation.history, Vec::<String>::new());
    }

    #[test]
    fn a_turn_counts_its_answers_and_tool_results_from_the_last_prompt() {
        let conversation = read(json!([
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": [{"type": "text", "text": "second"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "Bash", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "is_error": true,
                 "content": [{"type": "text", "text": "refused"}]},
                {"type": "text", "text": "<system-reminder>x</system-reminder>"}]},
        ]));
        assert_eq!((conversation.prompt.as_str(), conversation.position), ("second", 1));
        assert_eq!(conversation.history, ["first"]);
        assert_eq!(conversation.tool_results, [ToolResult { text: "refused".into(), is_error: true }]);
    }

    #[test]
    fn a_prompt_beside_the_note_of_an_interrupt_begins_a_new_turn() {
        let conversation = read(json!([
            {"role": "user", "content": "slow"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "Bash", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "stopped", "is_error": true},
                {"type": "text", "text": "[Request interrupted by user for tool use]"},
                {"type": "text", "text": "hello"}]},
        ]));
        assert_eq!((conversation.prompt.as_str(), conversation.position), ("hello", 0));
        assert_eq!(conversation.history, ["slow"]);
        assert_eq!(conversation.tool_results, []);
    }

    #[test]
    fn the_plan_file_is_the_one_named_last_and_may_have_spaces() {
        let reminders = "Create your plan at /old/plans/a.md using Write.\nIt is at /my home/plans/b-c.md. Edit it.\nEnd.";
        let conversation = ModelConversation { reminders: reminders.into(), ..ModelConversation::default() };
        assert_eq!(conversation.plan_file(), Some("/my home/plans/b-c.md"));
        assert_eq!(ModelConversation::default().plan_file(), None);
    }

    proptest! {
        #[test]
        fn any_words_without_a_reminder_come_back_trimmed(words in "[^<]{0,40}") {
            prop_assert_eq!(without_reminders(&words).0, words.trim());
        }

        #[test]
        fn no_text_makes_the_parting_of_reminders_panic(
            parts in prop::collection::vec(prop::sample::select(vec!["<system-reminder>", "</system-reminder>", "é", " x "]), 0..8)
        ) {
            without_reminders(&parts.concat());
        }
    }
}
