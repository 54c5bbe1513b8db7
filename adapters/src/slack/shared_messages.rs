//! Messages that a message forwards, or shows below a link to them. They come as attachments that Slack itself makes, with the author's
//! id; a link's preview is none.

use serde_json::Value;

use super::event::text;

const SHARES_MAX: usize = 10;
// Of a text in Slack's encoding, in bytes; what is quoted of it is shorter.
const ENCODED_MAX: usize = 64 * 1024;
const AUTHOR_NAME_MAX: usize = 100;

/// A message inside another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedMessage {
    /// The author's id; `None` where Slack names none.
    pub author: Option<String>,
    pub author_name: String,
    /// In Slack's encoding.
    pub text: String,
}

/// The attachments that are messages.
pub fn shares(message: &Value) -> impl Iterator<Item = &Value> {
    let is_message = |attachment: &&Value| {
        ["is_share", "is_msg_unfurl", "is_reply_unfurl"].iter().any(|flag| attachment[flag] == true)
    };
    message["attachments"].as_array().into_iter().flatten().filter(is_message).take(SHARES_MAX)
}

pub fn shared_messages(message: &Value) -> Vec<SharedMessage> {
    let shared = shares(message).map(|share| SharedMessage {
        author: Some(text(share, "author_id")).filter(|id| !id.is_empty()).map(str::to_owned),
        author_name: text(share, "author_name").chars().take(AUTHOR_NAME_MAX).collect(),
        text: shared_text(share),
    });
    shared.filter(|shared| !shared.text.trim().is_empty()).collect()
}

fn shared_text(share: &Value) -> String {
    let blocks = share["message_blocks"].as_array().into_iter().flatten();
    let blocks = blocks.map(|part| blocks_text(&part["message"]["blocks"])).collect::<Vec<_>>().join("\n");
    let own = [text(share, "text"), &blocks, &blocks_text(&share["blocks"])];
    let found = own.into_iter().find(|text| !text.trim().is_empty()).map(str::to_owned);
    // The preview's text has the author and the time in it, and is better than nothing, as is the link.
    let has_files = share["files"].as_array().is_some_and(|files| !files.is_empty());
    let instead =
        [text(share, "fallback"), text(share, "from_url")].into_iter().find(|text| !text.is_empty());
    let mut text = match found {
        Some(text) => text,
        None if has_files => String::new(),
        None => instead.unwrap_or_default().to_owned(),
    };
    text.truncate(text.floor_char_boundary(ENCODED_MAX));
    text
}

/// What a message's blocks show, in Slack's encoding: <https://docs.slack.dev/reference/block-kit/blocks>.
pub fn blocks_text(blocks: &Value) -> String {
    let mut out = String::new();
    for block in blocks.as_array().into_iter().flatten() {
        add_block(block, &mut out);
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    out
}

fn add_block(block: &Value, out: &mut String) {
    // serde_json reads no JSON that is nested deeper than the stack takes; the length is bounded here.
    if out.len() > ENCODED_MAX || !block.is_object() {
        return;
    }
    let all = |value: &Value, out: &mut String| {
        value.as_array().into_iter().flatten().for_each(|part| add_block(part, out));
    };
    match text(block, "type") {
        "rich_text_preformatted" | "rich_text_quote" | "rich_text_section" => {
            all(&block["elements"], out);
            out.push('\n');
        }
        "text" => out.push_str(&encoded(text(block, "text"))),
        "link" => push_token(out, "", text(block, "url"), text(block, "text")),
        "user" => push_token(out, "@", text(block, "user_id"), ""),
        "channel" => push_token(out, "#", text(block, "channel_id"), ""),
        "usergroup" => push_token(out, "!subteam^", text(block, "usergroup_id"), ""),
        "broadcast" => push_token(out, "!", text(block, "range"), ""),
        "emoji" => out.push_str(&format!(":{}:", encoded(text(block, "name")))),
        "mrkdwn" => out.push_str(text(block, "text")),
        "plain_text" | "markdown" => out.push_str(&encoded(text(block, "text"))),
        _ => {
            add_block(&block["text"], out);
            all(&block["fields"], out);
            all(&block["elements"], out);
        }
    }
}

fn push_token(out: &mut String, sign: &str, target: &str, label: &str) {
    let label = if label.is_empty() { String::new() } else { format!("|{}", encoded(label)) };
    out.push_str(&format!("<{sign}{}{label}>", encoded(target)));
}

fn encoded(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shared(share: Value) -> Vec<SharedMessage> {
        shared_messages(&json!({ "attachments": [share] }))
    }

    #[test]
    fn a_forwarded_message_and_a_linked_one_are_shared_and_a_preview_is_not() {
        let share = json!({
            "is_share": true, "is_msg_unfurl": true, "author_id": "U2", "author_name": "Bob", "text": "ask <@U1>",
            "fallback": "[today] bob: ask", "from_url": "https://team.slack.com/archives/C9/p1", "channel_id": "C9", "ts": "4.1",
        });
        let expected =
            SharedMessage { author: Some("U2".into()), author_name: "Bob".into(), text: "ask <@U1>".into() };
        assert_eq!(shared(share), [expected]);
        assert_eq!(shared(json!({ "is_msg_unfurl": true, "text": "linked" }))[0].author, None);
        assert_eq!(
            shared(json!({ "from_url": "https://example.org", "title": "A page", "text": "page" })),
            []
        );
        assert_eq!(shared(json!({ "is_share": "yes", "text": "x" })), []);
        assert_eq!(shared(json!({ "is_share": true, "fallback": "f" }))[0].text, "f");
        assert_eq!(shared(json!({ "is_share": true, "fallback": "f", "files": [{}] })), []);
    }

    #[test]
    fn text_that_only_the_blocks_hold_is_found() {
        let blocks = json!([
            { "type": "header", "text": { "type": "plain_text", "text": "a < b" } },
            { "type": "rich_text", "elements": [
                { "type": "rich_text_section", "elements": [
                    { "type": "text", "text": "see " }, { "type": "link", "url": "https://x.y", "text": "it" },
                    { "type": "user", "user_id": "U1" }, { "type": "emoji", "name": "wave" },
                ]},
                { "type": "rich_text_list", "elements": [
                    { "type": "rich_text_section", "elements": [{ "type": "text", "text": "one" }] },
                    { "type": "rich_text_section", "elements": [{ "type": "text", "text": "two" }] },
                ]},
            ]},
            { "type": "section", "text": { "type": "mrkdwn", "text": "*bold* &lt;" }, "fields": [{ "type": "mrkdwn", "text": "!" }] },
        ]);
        let text = "a &lt; b\nsee <https://x.y|it><@U1>:wave:\none\ntwo\n*bold* &lt;!";
        let share =
            json!({ "is_share": true, "text": "", "message_blocks": [{ "message": { "blocks": blocks } }] });
        assert_eq!(shared(share)[0].text, text);
    }

    #[test]
    fn number_and_length_are_bounded() {
        let share =
            json!({ "is_share": true, "text": "ü".repeat(100_000), "author_name": "x".repeat(9_000) });
        let all = shared_messages(&json!({ "attachments": vec![share; 50] }));
        assert_eq!(all.len(), SHARES_MAX);
        assert!(all[0].text.len() <= ENCODED_MAX && all[0].author_name.len() == AUTHOR_NAME_MAX);
        let element = json!({ "type": "text", "text": "x".repeat(1_000) });
        let blocks = json!([{ "type": "rich_text_section", "elements": vec![element; 1_000] }]);
        assert!(blocks_text(&blocks).len() < 2 * ENCODED_MAX);
    }
}
