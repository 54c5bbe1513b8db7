//! The messages that Slack accepts: <https://docs.slack.dev/reference/block-kit/blocks>.

use serde_json::Value;

const BLOCKS_MAX: usize = 50;
const MARKDOWN_MAX: usize = 12_000;
const SECTION_MAX: usize = 3_000;
/// Undocumented, as people met it: slackapi/bolt-js#2509.
const ALL_MAX: usize = 13_200;

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The code with which Slack would refuse this message.
pub fn refused(body: &Value, knows_markdown: bool) -> Option<&'static str> {
    let blocks = match &body["blocks"] {
        Value::String(json) => serde_json::from_str(json).unwrap_or_default(),
        blocks => blocks.clone(),
    };
    let blocks = blocks.as_array().cloned().unwrap_or_default();
    let markdown_text = text(body, "markdown_text");
    if !markdown_text.is_empty() {
        return match () {
            () if !knows_markdown => Some("no_text"),
            () if !blocks.is_empty() || !text(body, "text").is_empty() => Some("markdown_text_conflict"),
            () if markdown_text.chars().count() > MARKDOWN_MAX => Some("msg_too_long"),
            () => None,
        };
    }
    if text(body, "text").is_empty() && blocks.is_empty() {
        return Some("no_text");
    }
    if text(body, "text").chars().count() > 40_000 {
        return Some("msg_too_long");
    }
    if blocks.len() > BLOCKS_MAX || blocks.iter().any(|block| !sound(block, knows_markdown)) {
        return Some("invalid_blocks");
    }
    let length = |kind: &str| -> usize {
        let of_kind = blocks.iter().filter(|block| kind.is_empty() || text(block, "type") == kind);
        of_kind.map(|block| shown(block).unwrap_or_default().chars().count()).sum()
    };
    (length("markdown") > MARKDOWN_MAX || length("") > ALL_MAX).then_some("msg_blocks_too_long")
}

fn sound(block: &Value, knows_markdown: bool) -> bool {
    match text(block, "type") {
        "markdown" => knows_markdown && !text(block, "text").is_empty(),
        "section" => {
            let content = &block["text"];
            let length = text(content, "text").chars().count();
            matches!(text(content, "type"), "mrkdwn" | "plain_text") && (1..=SECTION_MAX).contains(&length)
        }
        "actions" => {
            let elements = block["elements"].as_array().cloned().unwrap_or_default();
            let mut ids: Vec<&str> = elements.iter().map(|element| text(element, "action_id")).collect();
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            (1..=25).contains(&count) && ids.len() == count && elements.iter().all(sound_button)
        }
        "divider" | "context" | "header" | "rich_text" => true,
        _ => false,
    }
}

fn sound_button(button: &Value) -> bool {
    let label = text(&button["text"], "text").chars().count();
    text(button, "type") == "button"
        && text(&button["text"], "type") == "plain_text"
        && (1..=75).contains(&label)
        && text(button, "value").len() <= 2_000
        && text(button, "action_id").len() <= 255
}

/// The text of a block on a client.
pub fn shown(block: &Value) -> Option<String> {
    match text(block, "type") {
        "markdown" => Some(text(block, "text").to_owned()),
        "section" => Some(decoded(text(&block["text"], "text"))),
        _ => None,
    }
}

pub fn decoded(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

pub fn buttons(blocks: &[Value]) -> impl Iterator<Item = &Value> {
    let actions = blocks.iter().filter(|block| text(block, "type") == "actions");
    actions.flat_map(|block| block["elements"].as_array().into_iter().flatten())
}
