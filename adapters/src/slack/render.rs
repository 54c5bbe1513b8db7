//! An [`Outgoing`] as the fields of `chat.postMessage` and its kin.

use serde_json::{Value, json};

use super::{
    mrkdwn::{escape, mrkdwn},
    notices,
};
use crate::{Choice, Outgoing, markdown::inert};

/// The longest text that is still within the 12,000 characters of `markdown_text` and of all `markdown` blocks of a message when
/// pings in it are broken (`@here` grows by a fifth): <https://docs.slack.dev/reference/block-kit/blocks/markdown-block>
pub const TEXT_MAX: usize = 10_000;
// <https://docs.slack.dev/reference/block-kit/blocks/section-block>
const SECTION_MAX: usize = 3_000;
/// <https://docs.slack.dev/reference/block-kit/blocks/actions-block>
pub const BUTTONS_MAX: usize = 25;
/// <https://docs.slack.dev/reference/block-kit/block-elements/button-element>
const LABEL_MAX: usize = 75;
// Only notifications show this text; the blocks hold everything.
const FALLBACK_MAX: usize = 1_000;
// Slack refuses a message without text (`no_text`).
const EMPTY: &str = "…";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageForm {
    /// Standard Markdown, which Slack renders itself.
    Markdown,
    /// Sections of mrkdwn, where Slack does not take the Markdown.
    Sections,
    /// Text without blocks, and so without buttons.
    Plain,
}

impl MessageForm {
    /// The form to try after this one was refused.
    pub fn simpler(self) -> Option<Self> {
        match self {
            Self::Markdown => Some(Self::Sections),
            Self::Sections => Some(Self::Plain),
            Self::Plain => None,
        }
    }
}

/// The fields that carry the text. `alone`: the message is new and will not change, so it needs no blocks.
pub fn fields(message: &Outgoing, form: MessageForm, alone: bool) -> Value {
    let text = harmless(&message.markdown);
    let text = if text.trim().is_empty() { EMPTY } else { text.as_str() };
    // `markdown_text` excludes blocks. A message that will not change, without buttons and pings, needs none.
    if alone && form == MessageForm::Markdown && message.choices.is_empty() && message.mentions.is_empty() {
        return json!({ "markdown_text": text });
    }
    let pinged = pings(message);
    if form == MessageForm::Plain {
        let labels: Vec<&str> = message.choices.iter().map(|choice| choice.label.as_str()).collect();
        let typed = if labels.is_empty() { String::new() } else { notices::type_one_of(&labels) };
        // Without the empty list an edit would keep the old blocks.
        return json!({ "text": format!("{pinged}{}{typed}", mrkdwn(text)), "blocks": [] });
    }
    let mut blocks = Vec::new();
    if !pinged.is_empty() {
        blocks.push(section(&pinged));
    }
    match form {
        MessageForm::Markdown => blocks.push(json!({ "type": "markdown", "text": text })),
        MessageForm::Sections | MessageForm::Plain => blocks.extend(sections(text)),
    }
    if !message.choices.is_empty() {
        blocks.push(actions(&message.choices));
    }
    let fallback = cut(&mrkdwn(text), FALLBACK_MAX);
    json!({ "text": format!("{pinged}{fallback}"), "blocks": blocks })
}

/// Foreign text that pings nobody, neither a crowd nor a person, and carries no controls.
fn harmless(markdown: &str) -> String {
    let text = inert(markdown);
    let mut out = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(at) = rest.find("<@") {
        let (before, token) = rest.split_at(at);
        out.push_str(before);
        let id = token[2..].split('>').next().unwrap_or_default();
        let is_ping = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '|');
        // `@U123` reads the same, pings nobody, and is not longer, so the text still fits.
        out.push_str(if is_ping { "@" } else { "<@" });
        rest = match token[2..].split_once('>') {
            Some((id, behind)) if is_ping => {
                out.push_str(id);
                behind
            }
            _ => &token[2..],
        };
    }
    out.push_str(rest);
    out
}

// Only people whom the bot means to ping. Text of agents went through `harmless`.
fn pings(message: &Outgoing) -> String {
    let sound = |id: &&std::sync::Arc<str>| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric());
    message.mentions.iter().filter(sound).map(|id| format!("<@{id}> ")).collect()
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
}

fn sections(text: &str) -> Vec<Value> {
    let length = |part: &str| mrkdwn(part).chars().count();
    let mut parts = crate::text::split::split(text, SECTION_MAX, length);
    if parts.is_empty() {
        parts.push(EMPTY.to_owned());
    }
    parts.iter().map(|part| section(&cut(&mrkdwn(part), SECTION_MAX))).collect()
}

fn actions(choices: &[Choice]) -> Value {
    let button = |(index, choice): (usize, &Choice)| {
        json!({
            "type": "button",
            "action_id": format!("storkit:{index}"),
            "value": choice.key,
            "text": { "type": "plain_text", "text": cut(&choice.label, LABEL_MAX), "emoji": true },
        })
    };
    json!({ "type": "actions", "elements": choices.iter().enumerate().map(button).collect::<Vec<_>>() })
}

/// The caption of a file, which Slack reads as mrkdwn.
pub fn caption(text: &str) -> String {
    escape(&inert(text))
}

// A cut inside an entity such as `&amp;` would show its beginning as text.
fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut start: String = text.chars().take(max - 1).collect();
    if let Some(at) = start.rfind('&').filter(|at| !start[*at..].contains(';')) {
        start.truncate(at);
    }
    start + "…"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Tone;

    const MARKDOWN_MAX: usize = 12_000;

    fn choice(key: &str, label: &str) -> Choice {
        Choice { key: key.into(), label: label.into(), emoji: None }
    }

    #[test]
    fn an_answer_is_markdown_and_a_question_has_buttons() {
        let answer = Outgoing::text("All **good** & <b>no more</b>.");
        insta::assert_snapshot!(fields(&answer, MessageForm::Markdown, true), @r#"{"markdown_text":"All **good** & <b>no more</b>."}"#);
        let question = Outgoing {
            choices: vec![choice("question:7:yes", "Allow")],
            mentions: vec!["U1".into()],
            ..answer
        }
        .with_tone(Tone::Question);
        insta::assert_snapshot!(format!("{:#}", fields(&question, MessageForm::Markdown, true)), @r#"
        {
          "blocks": [
            {
              "text": {
                "text": "<@U1> ",
                "type": "mrkdwn"
              },
              "type": "section"
            },
            {
              "text": "All **good** & <b>no more</b>.",
              "type": "markdown"
            },
            {
              "elements": [
                {
                  "action_id": "storkit:0",
                  "text": {
                    "emoji": true,
                    "text": "Allow",
                    "type": "plain_text"
                  },
                  "type": "button",
                  "value": "question:7:yes"
                }
              ],
              "type": "actions"
            }
          ],
          "text": "<@U1> All *good* &amp; &lt;b&gt;no more&lt;/b&gt;."
        }
        "#);
    }

    #[test]
    fn an_edit_has_blocks_so_that_old_buttons_go() {
        let fields = fields(&Outgoing::text("done"), MessageForm::Markdown, false);
        assert_eq!(fields["blocks"], json!([{ "type": "markdown", "text": "done" }]));
    }

    #[test]
    fn without_blocks_the_choices_are_words_to_type() {
        let question = Outgoing {
            choices: vec![choice("q:yes", "Allow"), choice("q:no", "Deny")],
            ..Outgoing::text("May I run **rm**?")
        };
        let fields = fields(&question, MessageForm::Plain, true);
        assert_eq!(
            fields,
            json!({ "text": "May I run *rm*?\nAnswer with `Allow` or `Deny`.", "blocks": [] })
        );
    }

    #[test]
    fn pings_in_foreign_text_are_only_text() {
        assert_eq!(harmless("ask <@U123> and <@W1|bob>, x <@ y"), "ask @U123 and @W1|bob, x <@ y");
        for ping in ["<!channel>", "<!here|here>", "<!subteam^S1>", "@channel", "@here", "@everyone"] {
            assert!(!harmless(ping).contains(ping), "{ping}");
        }
        let spoofed = Outgoing { mentions: vec!["U1> <!channel".into()], ..Outgoing::text("x") };
        assert!(!fields(&spoofed, MessageForm::Sections, false).to_string().contains("<!channel"));
    }

    #[test]
    fn sections_hold_three_thousand_characters_and_lose_nothing() {
        let text: String = (0..900).map(|n| format!("word{n} & so ")).collect();
        let blocks = fields(&Outgoing::text(text.clone()), MessageForm::Sections, false)["blocks"].clone();
        let blocks = blocks.as_array().unwrap();
        let texts: Vec<&str> = blocks.iter().map(|block| block["text"]["text"].as_str().unwrap()).collect();
        assert!(texts.len() > 3 && texts.iter().all(|text| text.chars().count() <= SECTION_MAX));
        let all = texts.join(" ");
        assert!((0..900).all(|n| all.contains(&format!("word{n} "))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_text_that_fits_stays_within_slacks_limit(text in "(@here|@channel|<!here|<@U1>|\\PC|\n){0,400}") {
            let grown = text.repeat(TEXT_MAX / text.len().max(1));
            prop_assert!(harmless(&grown).chars().count() <= MARKDOWN_MAX);
            prop_assert!(!harmless(&text).contains("<@U1>"));
        }

        #[test]
        fn a_cut_text_has_no_half_entity(text in "(&amp;|&lt;|\\PC){0,60}", max in 5..40_usize) {
            let cut = cut(&escape(&text), max);
            prop_assert!(cut.chars().count() <= max);
            prop_assert!(cut.rsplit_once('&').is_none_or(|(_, rest)| rest.contains(';')), "{cut}");
        }
    }
}
