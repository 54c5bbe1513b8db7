//! <https://faq.whatsapp.com/539178204879377>

use std::borrow::Cow;

use crate::text::{
    markdown,
    marks::{self, MarkStyle},
};

/// The longest text message, in characters.
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/messages/text-messages>
pub const TEXT_MAX: usize = 4096;

const STYLE: MarkStyle =
    MarkStyle { bullet: "- ", tasks: ["[ ] ", "[x] "], escape: |text| Cow::Borrowed(text) };

// The largest of the likely ways to count "characters": a text that fits by this one fits by the others.
pub fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The text with WhatsApp's marks, made inert.
pub fn render(markdown: &str) -> String {
    marks::render(&markdown::inert(markdown), &STYLE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markdown_becomes_whatsapps_own_marks() {
        insta::assert_snapshot!(render("\
# Result of `make`

All **good**, ~~bad~~ *fine*, see [the guide](https://example.org/guide) or <https://example.org>.

- one
- two
  1. inner **bold**
  2. inner
- three

```sh
echo  hi

done
```

> quoted
> text
>
> more

| Story | Stage |
|:------|------:|
| 12 | qa |

---
<b>raw</b> html &lt;i&gt;"), @r"
        *Result of `make`*

        All *good*, ~bad~ _fine_, see the guide (https://example.org/guide) or https://example.org.

        - one
        - two
          1. inner *bold*
          2. inner
        - three

        ```
        echo  hi

        done
        ```

        > quoted
        > text
        >
        > more

        ```
        Story | Stage
        ------|------
        12    |    qa
        ```

        ———

        <b>raw</b> html <i>
        ");
    }

    #[test]
    fn marks_do_not_reach_over_a_line_and_never_close_themselves() {
        assert_eq!(render("**two\nlines**"), "*two*\n*lines*");
        assert_eq!(render("# a **b** c"), "*a b c*");
        assert_eq!(render("***both***"), "_*both*_");
    }

    #[test]
    fn a_block_of_code_cannot_be_left_early() {
        let shown = render(&markdown::code_block("a\n```\n*b*", ""));
        assert_eq!(shown.matches("```").count(), 2, "{shown}");
        assert_eq!(shown.replace("\u{200B}", ""), "```\na\n```\n*b*\n```");
        assert_eq!(render("- ```\n  x\n  ```"), "-\n```\nx\n```");
    }

    #[test]
    fn what_acts_is_taken_out() {
        assert_eq!(render("a\u{1b}[31m\u{202e}b"), "a[31mb");
    }

    proptest! {
        #[test]
        fn any_text_renders_and_every_word_is_kept(text in "([#>`*_|\\[\\]()~\n -]|[a-z ]|\\PC){0,80}") {
            let shown = render(&text);
            let words = |text: &str| text.chars().filter(char::is_ascii_lowercase).count();
            // A fence's language, a link's title and entities are Markdown's, not words.
            if !text.contains(['`', '~', '[', '&', '<', '|']) {
                prop_assert_eq!(words(&shown), words(&text), "{}", shown);
            }
        }
    }
}
