//! Decodes people's text from Slack's encoding: <https://docs.slack.dev/messaging/formatting-message-text#parsing>.

/// The length of a mention of `user` that the text begins with.
pub fn mention_at_start(text: &str, user: &str) -> Option<usize> {
    let (token, _) = text.strip_prefix("<@")?.split_once('>')?;
    (token.split('|').next() == Some(user)).then(|| "<@".len() + token.len() + ">".len())
}

/// The user whom the text begins with, if it begins with a mention.
pub fn first_mention(text: &str) -> Option<&str> {
    let text = text.trim_start();
    text.starts_with("<@").then(|| people(text).next()).flatten()
}

/// Everybody who is mentioned, in order.
pub fn people(text: &str) -> impl Iterator<Item = &str> {
    text.split("<@").skip(1).filter_map(|rest| {
        let (token, _) = rest.split_once('>')?;
        Some(token.split('|').next().unwrap_or(token))
    })
}

/// The text as a person reads it: mentions as `@name`, channels as `#name`, links as their address, entities decoded.
pub fn decode(text: &str, name_of: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&entities(&rest[..at]));
        let after = &rest[at + 1..];
        // Slack escapes every `<` that is not its own, so an unclosed one comes only from a broken text.
        match after.split_once('>') {
            Some((token, behind)) if !token.contains(['<', '\n']) => {
                out.push_str(&entities(&token_text(token, &name_of)));
                rest = behind;
            }
            _ => {
                out.push('<');
                rest = after;
            }
        }
    }
    out.push_str(&entities(rest));
    out
}

fn token_text(token: &str, name_of: &impl Fn(&str) -> Option<String>) -> String {
    let (target, label) = match token.split_once('|') {
        Some((target, label)) => (target, Some(label).filter(|label| !label.is_empty())),
        None => (token, None),
    };
    let Some(sign) = target.chars().next() else { return "<>".into() };
    let id = &target[sign.len_utf8()..];
    match sign {
        '@' => format!("@{}", name_of(id).or(label.map(str::to_owned)).unwrap_or_else(|| id.to_owned())),
        '#' => format!("#{}", label.unwrap_or(id)),
        '!' => match label {
            Some(label) => label.to_owned(),
            None => format!("@{}", id.split('^').next().unwrap_or(id)),
        },
        _ => link(target, label),
    }
}

// Slack makes a link of a typed `example.org` and labels it with the typed text.
fn link(target: &str, label: Option<&str>) -> String {
    match label {
        None => target.to_owned(),
        Some(label) if target.ends_with(label) => label.to_owned(),
        Some(label) => format!("{label} ({target})"),
    }
}

// Slack makes only these three; any other entity is a person's own text. `&amp;` comes last, or `&amp;lt;` would become `<`.
fn entities(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> String {
        decode(text, |id| (id == "U1").then(|| "Ann".to_owned()))
    }

    #[test]
    fn people_channels_links_and_entities_read_as_they_were_typed() {
        assert_eq!(read("ask <@U1> and <@U2|bob> or <@U3>"), "ask @Ann and @bob or @U3");
        assert_eq!(read("in <#C1|general> or <#C2> or <#C3|>"), "in #general or #C2 or #C3");
        assert_eq!(read("<!here> <!subteam^S1|@devs> <!date^1^{date}|today>"), "@here @devs today");
        assert_eq!(read("<http://example.org|example.org> <https://a.b/c>"), "example.org https://a.b/c");
        assert_eq!(read("<https://a.b/c|the page>"), "the page (https://a.b/c)");
        assert_eq!(read("if a &lt; b &amp;&amp; c &gt; d"), "if a < b && c > d");
        assert_eq!(read("&amp;lt; is typed"), "&lt; is typed");
        assert_eq!(read("broken < text"), "broken < text");
    }

    #[test]
    fn a_mention_at_the_start_is_found() {
        assert_eq!(
            (mention_at_start("<@U1>, look", "U1"), mention_at_start("<@U1|ann>", "U1")),
            (Some(5), Some(9))
        );
        assert!(mention_at_start("<@U12> U1", "U1").is_none() && mention_at_start("<@U1", "U1").is_none());
        assert_eq!(first_mention(" <@U1> hello"), Some("U1"));
        assert_eq!(first_mention("hello <@U1>"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(<|>|@|#|!|\\||&lt;|&amp;|\\PC){0,40}") {
            read(&text);
            people(&text).count();
            first_mention(&text);
        }

        #[test]
        fn what_slack_escapes_comes_back(text in "\\PC{0,40}") {
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            prop_assert_eq!(read(&escaped), text);
        }
    }
}
