//! Messages as the Cloud API takes them: texts, reply buttons, lists, templates, documents. Pure.
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/messages/interactive-reply-buttons-messages>
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/messages/interactive-list-messages>

use std::collections::HashSet;

use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation as _;

use super::marks::{self, TEXT_MAX};
use crate::{
    Choice, Outgoing,
    text::{markdown, split::split},
    whatsapp::notices,
};

// Meta's limits, from the two pages above. A message beyond one is refused as a whole.
const BUTTONS_MAX: usize = 3;
const BUTTON_TITLE_MAX: usize = 20;
/// The most rows in one list, and so the most choices in one message.
pub const ROWS_MAX: usize = 10;
const ROW_TITLE_MAX: usize = 24;
const ROW_DESCRIPTION_MAX: usize = 72;
const BODY_MAX: usize = 1024;
// Ours: enough of a long question above the buttons to recognise it.
const SUMMARY_MAX: usize = 200;
const KEY_MAX: usize = 256;
const CAPTION_MAX: usize = 1024;
// The body of a template has 1024 characters in all, its fixed words included, whose number the bot does not know.
const PARAMETER_MAX: usize = 900;

/// The messages that show this one: its text in one or more, the last with the choices. The error is the reason
/// why WhatsApp cannot show it.
pub fn messages(message: &Outgoing) -> Result<Vec<Value>, String> {
    let shown = marks::render(&message.markdown);
    if message.choices.is_empty() {
        return Ok(texts(message, shown));
    }
    let choices = interactive(&message.choices)?;
    if !shown.is_empty() && marks::length(&shown) <= BODY_MAX {
        return Ok(vec![with_body(choices, &shown)]);
    }
    // A person must see the whole question before allowing anything, so it is never shortened to fit above the buttons.
    let first = shown.lines().find(|line| !line.trim().is_empty()).unwrap_or(notices::NO_TEXT).to_owned();
    let mut messages = texts(message, shown);
    messages.push(with_body(choices, &shortened(&first, SUMMARY_MAX)));
    Ok(messages)
}

// `deliver` has split the text already, but WhatsApp's form of a table can be longer than its Markdown.
fn texts(message: &Outgoing, shown: String) -> Vec<Value> {
    let text = |shown: &str| {
        let body = if shown.is_empty() { notices::NO_TEXT } else { shown };
        json!({ "type": "text", "text": { "body": body, "preview_url": false } })
    };
    if marks::length(&shown) <= TEXT_MAX {
        return vec![text(&shown)];
    }
    let parts = split(&message.markdown, TEXT_MAX, |part| marks::length(&marks::render(part)));
    parts.iter().map(|part| text(&marks::render(part))).collect()
}

fn with_body(mut interactive: Value, text: &str) -> Value {
    interactive["body"] = json!({ "text": text });
    json!({ "type": "interactive", "interactive": interactive })
}

fn interactive(choices: &[Choice]) -> Result<Value, String> {
    if let Some(choice) =
        choices.iter().find(|choice| choice.key.is_empty() || marks::length(&choice.key) > KEY_MAX)
    {
        return Err(format!("a choice's key of {} bytes (1 to {KEY_MAX} fit)", choice.key.len()));
    }
    if choices.len() > ROWS_MAX {
        return Err(format!("{} choices (at most {ROWS_MAX} fit)", choices.len()));
    }
    let labels: Vec<String> = choices.iter().map(|choice| label(&choice.label)).collect();
    let short = labels.iter().all(|label| marks::length(label) <= BUTTON_TITLE_MAX);
    Ok(if choices.len() <= BUTTONS_MAX && short { buttons(choices, &labels) } else { list(choices, &labels) })
}

fn buttons(choices: &[Choice], labels: &[String]) -> Value {
    let titles = unique(labels, BUTTON_TITLE_MAX);
    let button = |(choice, title): (&Choice, String)| json!({ "type": "reply", "reply": { "id": choice.key, "title": title } });
    let buttons: Vec<Value> = choices.iter().zip(titles).map(button).collect();
    json!({ "type": "button", "action": { "buttons": buttons } })
}

fn list(choices: &[Choice], labels: &[String]) -> Value {
    let titles = unique(labels, ROW_TITLE_MAX);
    let rows: Vec<Value> = choices
        .iter()
        .zip(titles)
        .zip(labels)
        .map(|((choice, title), label)| {
            let mut row = json!({ "id": choice.key, "title": title });
            if title != *label {
                row["description"] = json!(shortened(label, ROW_DESCRIPTION_MAX));
            }
            row
        })
        .collect();
    json!({ "type": "list", "action": { "button": notices::OPEN_LIST, "sections": [{ "title": notices::OPEN_LIST, "rows": rows }] } })
}

fn label(text: &str) -> String {
    let text = markdown::inert(text);
    let words: Vec<_> = text.split_whitespace().collect();
    if words.is_empty() { notices::NO_TEXT.to_owned() } else { words.join(" ") }
}

// Meta refuses a message with two equal titles.
fn unique(labels: &[String], max: usize) -> Vec<String> {
    let mut taken = HashSet::new();
    let title = |label: &String| {
        let numbered = (2..).map(|n| {
            let ending = format!(" {n}");
            shortened(label, max - ending.len()) + ending.as_str()
        });
        let mut titles = std::iter::once(shortened(label, max)).chain(numbered);
        titles.find(|title| taken.insert(title.clone())).unwrap_or_default()
    };
    labels.iter().map(title).collect()
}

/// At most `max` characters in whole graphemes, with an ellipsis where something is missing.
pub fn shortened(text: &str, max: usize) -> String {
    if marks::length(text) <= max {
        return text.to_owned();
    }
    let mut short = String::new();
    for grapheme in text.graphemes(true) {
        if marks::length(&short) + marks::length(grapheme) + 1 > max {
            break;
        }
        short.push_str(grapheme);
    }
    format!("{}…", short.trim_end())
}

/// The template's message with the text as its one parameter, and whether the whole text fits. Meta refuses parameters with
/// line breaks, tabs or more than four spaces in a row.
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-message-templates>
pub fn template(name: &str, language: &str, message: &Outgoing) -> (Value, bool) {
    let shown = marks::render(&message.markdown).replace("```", "");
    let lines: Vec<String> =
        shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let lines: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let whole = lines.join(" · ");
    let fits = marks::length(&whole) <= PARAMETER_MAX;
    let text = match whole.as_str() {
        "" => notices::NO_TEXT.to_owned(),
        _ if fits => whole,
        _ => notices::shortened(shortened(&whole, PARAMETER_MAX).trim_end_matches('…')),
    };
    let body = json!({ "type": "body", "parameters": [{ "type": "text", "text": text }] });
    let template = json!({ "name": name, "language": { "code": language }, "components": [body] });
    (json!({ "type": "template", "template": template }), fits)
}

pub fn document(media: &str, name: &str, caption: &str) -> Value {
    let mut document = json!({ "id": media, "filename": shortened(&label(name), 240) });
    if !caption.trim().is_empty() {
        document["caption"] = json!(shortened(&marks::render(caption), CAPTION_MAX));
    }
    json!({ "type": "document", "document": document })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(text: &str, labels: &[&str]) -> Outgoing {
        let choice = |(n, label): (usize, &&str)| Choice {
            key: format!("q:1:{n}"),
            label: (*label).into(),
            emoji: None,
        };
        Outgoing { choices: labels.iter().enumerate().map(choice).collect(), ..Outgoing::text(text) }
    }

    #[test]
    fn up_to_three_short_choices_are_buttons() {
        let messages = messages(&question("**May I?**", &["Allow", "Deny", "Always"])).unwrap();
        insta::assert_snapshot!(serde_json::to_string(&messages).unwrap(), @r#"[{"interactive":{"action":{"buttons":[{"reply":{"id":"q:1:0","title":"Allow"},"type":"reply"},{"reply":{"id":"q:1:1","title":"Deny"},"type":"reply"},{"reply":{"id":"q:1:2","title":"Always"},"type":"reply"}]},"body":{"text":"*May I?*"},"type":"button"},"type":"interactive"}]"#);
    }

    #[test]
    fn more_choices_or_longer_ones_are_a_list_that_shows_the_whole_label() {
        for labels in [&["a", "b", "c", "d"][..], &["Use the database that is there already", "b"]] {
            let messages = messages(&question("Which?", labels)).unwrap();
            let interactive = &messages[0]["interactive"];
            assert_eq!(interactive["type"], "list");
            assert_eq!(interactive["action"]["sections"][0]["rows"].as_array().unwrap().len(), labels.len());
        }
        let row = &messages(&question("Which?", &["Use the database that is there already"])).unwrap()[0]["interactive"]
            ["action"]["sections"][0]["rows"][0];
        assert_eq!(row["title"], "Use the database that i…");
        assert_eq!(row["description"], "Use the database that is there already");
    }

    #[test]
    fn a_question_too_long_for_its_buttons_stands_above_them() {
        let text = format!("**Question 3**: may I?\n\n```\n{}\n```", "x".repeat(2_000));
        let messages = messages(&question(&text, &["Allow", "Deny"])).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0]["type"], "text");
        assert_eq!(messages[1]["interactive"]["body"]["text"], "*Question 3*: may I?");
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_no_text_is_a_sign() {
        assert!(messages(&question("Which?", &["x"; 11])).is_err());
        let long = Choice { key: "k".repeat(300), label: "x".into(), emoji: None };
        assert!(messages(&Outgoing { choices: vec![long], ..Outgoing::text("x") }).is_err());
        assert_eq!(messages(&Outgoing::text(" ")).unwrap()[0]["text"]["body"], "…");
    }

    #[test]
    fn titles_differ_even_where_labels_do_not() {
        let labels = ["same label that is long", "same label that is long", "same label that is long"]
            .map(String::from);
        assert_eq!(
            unique(&labels, 20),
            ["same label that is…", "same label that i… 2", "same label that i… 3"]
        );
    }

    #[test]
    fn a_templates_parameter_is_one_line_and_says_what_is_missing() {
        let (short, whole) =
            template("storkit_notice", "de", &Outgoing::text("Story 1 is **done**.\n\n- a\n- b"));
        let parameter = |value: &Value| {
            value["template"]["components"][0]["parameters"][0]["text"].as_str().unwrap().to_owned()
        };
        assert_eq!((parameter(&short).as_str(), whole), ("Story 1 is *done*. · - a · - b", true));
        let (long, whole) = template("storkit_notice", "de", &Outgoing::text("word ".repeat(1_000)));
        assert!(parameter(&long).ends_with("… (reply to see the rest)") && !whole);
        assert!(marks::length(&parameter(&long)) < 1_000);
    }

    proptest! {
        #[test]
        fn every_limit_of_meta_is_kept(
            text in "(\\PC|[#>`*_|~\n -]|[a-z ]|\\|a\\|b\\|\n\\|-\\|-\\|\n){0,400}",
            labels in prop::collection::vec("(\\PC|[ab ]|👨‍👩‍👧){0,60}", 0..=10),
        ) {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let messages = messages(&question(&text, &labels)).unwrap();
            for message in &messages {
                if let Some(body) = message["text"]["body"].as_str() {
                    prop_assert!((1..=TEXT_MAX).contains(&marks::length(body)));
                }
                if let Some(body) = message["interactive"]["body"]["text"].as_str() {
                    prop_assert!((1..=BODY_MAX).contains(&marks::length(body)));
                }
                let mut titles = HashSet::new();
                for button in message["interactive"]["action"]["buttons"].as_array().unwrap_or(&Vec::new()) {
                    let title = button["reply"]["title"].as_str().unwrap();
                    prop_assert!((1..=20).contains(&marks::length(title)) && titles.insert(title.to_owned()));
                }
                for row in message["interactive"]["action"]["sections"][0]["rows"].as_array().unwrap_or(&Vec::new()) {
                    let title = row["title"].as_str().unwrap();
                    prop_assert!((1..=24).contains(&marks::length(title)) && titles.insert(title.to_owned()));
                    prop_assert!(row["description"].as_str().is_none_or(|it| (1..=72).contains(&marks::length(it))));
                }
            }
        }
    }
}
