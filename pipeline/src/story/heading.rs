//! The first heading of a story's text. storkit writes the title there as well, for people who read the file.

use std::ops::Range;

/// The first heading of the first level.
pub(super) fn heading(body: &str) -> Option<String> {
    body.lines().find_map(heading_of)
}

fn heading_of(line: &str) -> Option<String> {
    let text = line.strip_prefix("# ")?.trim().trim_end_matches('#').trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The words of the heading with which the body begins, if they are the title.
fn title_at(body: &str, title: &str) -> Option<Range<usize>> {
    let start = body.len() - body.trim_start_matches(['\r', '\n']).len();
    let line = body[start..].lines().next()?;
    let words = heading_of(line).filter(|words| words == title)?;
    let at = start + line.find(&words)?;
    Some(at..at + words.len())
}

/// The body with another title in the heading with which it begins. A heading that says anything else is a person's and stays.
pub(super) fn retitled(body: &str, old: &str, new: &str) -> Option<String> {
    let words = title_at(body, old)?;
    Some([&body[..words.start], new, &body[words.end..]].concat())
}

/// The body below the heading that repeats the title.
pub(super) fn below_title<'a>(body: &'a str, title: &str) -> &'a str {
    let text = match title_at(body, title) {
        Some(words) => body[words.end..].split_once('\n').map_or("", |(_, rest)| rest),
        None => body,
    };
    text.trim_start_matches(['\r', '\n']).trim_end()
}

/// A body of this text, which begins with the title, unless the text has a heading of its own.
pub(super) fn with_title(title: &str, text: &str) -> String {
    let text = text.trim_matches(['\r', '\n']).trim_end();
    match text.lines().next().and_then(heading_of) {
        Some(_) => format!("\n{text}\n"),
        None => format!("\n# {title}\n\n{text}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_taken_out_and_put_back_makes_the_same_body() {
        for body in ["\n# The door\n\nIt squeaks.\n\n- [ ] It is silent\n", "\n# Another heading\n\nText\n"] {
            assert_eq!(with_title("The door", below_title(body, "The door")), body);
        }
        assert_eq!(below_title("\r\n# The door #\r\n\r\nIt squeaks.\r\n", "The door"), "It squeaks.");
        assert_eq!(below_title("# The door", "The door"), "");
        assert_eq!(with_title("The door", "\n\n  indented\n\n"), "\n# The door\n\n  indented\n");
    }

    #[test]
    fn only_a_heading_that_is_the_title_follows_it() {
        let of = |body: &str| retitled(body, "The door", "The gate");
        assert_eq!(of("\n# The door\n\nThe door\n").as_deref(), Some("\n# The gate\n\nThe door\n"));
        for other in ["# The doors\n", "text\n# The door\n", "## The door\n", ""] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }
}
