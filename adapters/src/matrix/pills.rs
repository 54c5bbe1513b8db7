//! Mentions as Matrix clients write them: links to a user in the HTML ("pills") and in the plain body.
//!
//! <https://spec.matrix.org/v1.15/appendices/#matrixto-navigation>, <https://spec.matrix.org/v1.15/appendices/#matrix-uri-scheme>

use matrix_sdk::ruma::UserId;

use crate::text::address;

// Words in these are quoted, or code. <https://spec.matrix.org/v1.15/client-server-api/#mroommessage-msgtypes>
const FOREIGN: [&str; 4] = ["blockquote", "code", "mx-reply", "pre"];

/// The mentions of one user in an HTML body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UserPills {
    /// What each shows that is in the person's own words.
    pub labels: Vec<String>,
    /// Whether there is one in a quotation or in code.
    pub quoted: bool,
}

pub(super) fn in_html(html: &str, me: &UserId) -> UserPills {
    let mut pills = UserPills::default();
    let mut foreign = 0_usize;
    let mut rest = html;
    while let Some((_, from_tag)) = rest.split_once('<') {
        let Some((tag, behind)) = from_tag.split_once('>') else { break };
        rest = behind;
        let (closes, tag) = match tag.strip_prefix('/') {
            Some(tag) => (true, tag),
            None => (false, tag),
        };
        let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
        if FOREIGN.iter().any(|foreign| name.eq_ignore_ascii_case(foreign)) {
            foreign = if closes { foreign.saturating_sub(1) } else { foreign + 1 };
        }
        let leads_to_me = !closes
            && name.eq_ignore_ascii_case("a")
            && attribute(tag, "href").is_some_and(|target| names(&target, me));
        if leads_to_me {
            let label = behind.split("</a").next().unwrap_or_default();
            match foreign {
                0 => pills.labels.push(plain(label)),
                _ => pills.quoted = true,
            }
        }
    }
    pills
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!("{name}="))? + name.len() + 1;
    let quote = tag[start..].chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let value = tag[start + 1..].split(quote).next()?;
    Some(decoded(value))
}

/// Whether a link leads to this user.
fn names(target: &str, me: &UserId) -> bool {
    let target = target.trim();
    let path = |text: &str| text.split(['?', '#']).next().unwrap_or_default().to_owned();
    if let Some(rest) = target.strip_prefix("https://matrix.to/#/") {
        return percent_decoded(&path(rest)) == me.as_str();
    }
    let user = target.strip_prefix("matrix:u/").or_else(|| target.strip_prefix("matrix:user/"));
    user.is_some_and(|rest| format!("@{}", percent_decoded(&path(rest))) == me.as_str())
}

// User ids have only these among the characters that some clients encode.
fn percent_decoded(text: &str) -> String {
    text.replace("%40", "@").replace("%3A", ":").replace("%3a", ":").replace("%2F", "/").replace("%2f", "/")
}

fn plain(label: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for c in label.chars() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            c if !in_tag => text.push(c),
            _ => {}
        }
    }
    decoded(&text).trim().to_owned()
}

fn decoded(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    text.replace("&amp;", "&")
}

/// The length of a mention at the start of a plain body: a Markdown link or an address that leads to the user, their whole id, or
/// one of `names` as `@[Name]`, as FluffyChat writes it. `labels` are what pills show; the body has them without a mark.
pub(super) fn at_start(text: &str, me: &UserId, names: &[&str], labels: &[String]) -> Option<usize> {
    markdown_link(text, me)
        .or_else(|| bare_link(text, me))
        .or_else(|| bracketed(text, names))
        .or_else(|| whole_id(text, me))
        .or_else(|| labels.iter().filter_map(|label| label_at(text, label)).max())
}

fn markdown_link(text: &str, me: &UserId) -> Option<usize> {
    let line = text.strip_prefix('[')?.lines().next()?;
    let middle = line.find("](")?;
    let target = line[middle + 2..].split(')').next()?;
    let length = 1 + middle + 2 + target.len() + 1;
    (names(target.trim_matches(['<', '>']), me) && text.len() >= length).then_some(length)
}

fn bare_link(text: &str, me: &UserId) -> Option<usize> {
    let (open, link) = match text.strip_prefix('<') {
        Some(link) => (1, link),
        None => (0, text),
    };
    if !link.starts_with("https://matrix.to/#/") {
        return None;
    }
    let end = link.find(|c: char| c.is_whitespace() || matches!(c, '>' | ')' | ',')).unwrap_or(link.len());
    let target = link[..end].trim_end_matches([':', '.', '!']);
    names(target, me).then(|| target.len() + open + usize::from(open == 1 && link[end..].starts_with('>')))
}

// FluffyChat adds `#` and a number where several people have the name.
fn bracketed(text: &str, names: &[&str]) -> Option<usize> {
    let (inner, _) = text.strip_prefix("@[")?.split_once(']')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = inner.rsplit_once('#').filter(|(_, number)| is_number(number)).map_or(inner, |(name, _)| name);
    let is_mine = |mine: &&&str| address::strip_folded(name.trim(), mine).is_some_and(str::is_empty);
    names.iter().find(is_mine)?;
    Some("@[".len() + inner.len() + "]".len())
}

fn whole_id(text: &str, me: &UserId) -> Option<usize> {
    let behind = text.strip_prefix(me.as_str())?;
    // `@timmy:example.org.evil`, `@timmy:example.org:8448` and `@timmy:example.organic` are other users.
    let mut next = behind.chars();
    let is_longer = match next.next() {
        Some('.' | ':' | '-' | '_') => next.next().is_some_and(char::is_alphanumeric),
        Some(c) => c.is_alphanumeric(),
        None => false,
    };
    (!is_longer).then_some(me.as_str().len())
}

fn label_at(text: &str, label: &str) -> Option<usize> {
    let bare = text.strip_prefix('@').unwrap_or(text);
    let label = label.strip_prefix('@').unwrap_or(label);
    let behind = address::strip_folded(bare, label).filter(|_| !label.trim().is_empty())?;
    (!behind.starts_with(char::is_alphanumeric)).then(|| text.len() - behind.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn me() -> &'static UserId {
        <&UserId>::try_from("@timmy:example.org").expect("an id")
    }

    fn labels(html: &str) -> (Vec<String>, bool) {
        let pills = in_html(html, me());
        (pills.labels, pills.quoted)
    }

    #[test]
    fn pills_are_found_with_any_label_in_any_form_of_link() {
        let found = |label: &str| (vec![label.to_owned()], false);
        for (html, label) in [
            (r#"<a href="https://matrix.to/#/@timmy:example.org">Timmy 🤖</a>: go"#, "Timmy 🤖"),
            (
                r#"go <A class="pill" HREF='x' href='https://matrix.to/#/%40timmy%3Aexample.org?via=x'><b>T &amp; co</b></A>"#,
                "T & co",
            ),
            (r#"<a href="matrix:u/timmy:example.org?action=chat">@timmy</a>"#, "@timmy"),
        ] {
            assert_eq!(labels(html), found(label), "{html}");
        }
        assert_eq!(
            labels(r#"<a href="https://matrix.to/#/@timmy:example.org.evil">Timmy</a>"#),
            (vec![], false)
        );
        assert_eq!(labels(r#"<a href="https://example.org">@timmy:example.org</a>"#), (vec![], false));
    }

    #[test]
    fn pills_in_quotations_and_code_are_only_quoted() {
        let pill = r#"<a href="https://matrix.to/#/@timmy:example.org">Timmy</a>"#;
        for around in ["blockquote", "mx-reply", "code", "pre"] {
            assert_eq!(labels(&format!("<{around}><p>{pill}</p></{around}> I agree")), (vec![], true));
            let both = format!("<{around} class=\"x\">{pill}</{around}><p>{pill} look</p>");
            assert_eq!(labels(&both), (vec!["Timmy".to_owned()], true));
        }
    }

    #[test]
    fn every_form_in_a_plain_body_is_seen_whole() {
        let at = |text: &str| at_start(text, me(), &["Timmy 🤖", "Timmy", "timmy"], &["Robo Tim".into()]);
        for mention in [
            "[Anything 🦀](https://matrix.to/#/@timmy:example.org)",
            "[x](<https://matrix.to/#/%40timmy%3Aexample.org?via=a>)",
            "https://matrix.to/#/@timmy:example.org",
            "<https://matrix.to/#/@timmy:example.org>",
            "@[Timmy 🤖]",
            "@[timmy]",
            "@[Timmy#1234]",
            "@timmy:example.org",
            "Robo Tim",
            "@robo tim",
        ] {
            for behind in ["", " status", ": status", ", do it"] {
                assert_eq!(at(&format!("{mention}{behind}")), Some(mention.len()), "{mention}{behind}");
            }
        }
        for other in [
            "[Timmy](https://matrix.to/#/@ann:example.org)",
            "[Timmy](https://example.org)",
            "@[Timothy] status",
            "@[Timmy#x]",
            "@timmy:example.organic",
            "@timmy:example.org.evil",
            "@timmy:example.org:8448",
            "Robo Timothy",
            "Timmy status",
        ] {
            assert_eq!(at(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_html_and_any_text_is_read(text in "(<a href=\"|https://matrix.to/#/|@timmy:example.org|\">|</a>|<code>|\\[|\\]\\(|\\)|@\\[|\\PC){0,20}") {
            in_html(&text, me());
            if let Some(length) = at_start(&text, me(), &["Timmy"], &["Tim".into()]) {
                prop_assert!(text.is_char_boundary(length));
            }
        }
    }
}
