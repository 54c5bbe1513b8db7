//! Markdown as Slack's older mark-up, mrkdwn: <https://docs.slack.dev/messaging/formatting-message-text>.
//!
//! For notifications, and for the whole message where a Slack does not know the `markdown` block.

use std::borrow::Cow;

use crate::text::marks::{self, MarkStyle};

const STYLE: MarkStyle =
    MarkStyle { bullet: "• ", tasks: ["☐ ", "☑ "], escape: |text| Cow::Owned(escape(text)) };

// Everything that is not ours is escaped, so that foreign text cannot make up a mention or a link.
pub fn mrkdwn(markdown: &str) -> String {
    marks::render(markdown, &STYLE)
}

/// `&`, `<` and `>` as Slack wants them: <https://docs.slack.dev/messaging/formatting-message-text#escaping>.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_markdown_has_its_own() {
        let sample = "# Result of `make`\n\nAll **good**, ~~bad~~ *fine*, see [the guide](https://e.org/g) or <https://e.org>.\n\n- one\n- two\n  1. inner\n  2. more\n\n> quoted\n> text\n\n```sh\necho  \"<!channel>\" & done\n```\n\n| Story | Cost |\n|---|---:|\n| 12 `x` | 1.20 |\n| a < b | 2 |\n\n---\n<b>raw</b> <@U123>";
        insta::assert_snapshot!(mrkdwn(sample), @r#"
        *Result of `make`*

        All *good*, ~bad~ _fine_, see the guide (https://e.org/g) or https://e.org.

        • one
        • two
          1. inner
          2. more

        > quoted
        > text

        ```
        echo  "&lt;!channel&gt;" &amp; done
        ```

        ```
        Story  | Cost
        -------|-----
        12 `x` | 1.20
        a &lt; b  |    2
        ```

        ———

        &lt;b&gt;raw&lt;/b&gt; &lt;@U123&gt;
        "#);
    }

    proptest! {
        #[test]
        fn nothing_foreign_acts(text in "(<|>|&|@|!|\\[|\\]|\\(|\\)|\\||`|\n|> |- |#|\\PC){0,60}") {
            let made = mrkdwn(&text);
            prop_assert!(!made.contains('<'), "{made}");
        }
    }
}
