//! Texts that look like secrets. What is remembered is committed and pushed, so they are refused. It finds what has a known form; a
//! password in a sentence has none, except behind a word that says so.

use crate::tokens::token_in;

/// Words before a secret's value, in lower case.
const NAMES: [&str; 9] =
    ["password", "passwort", "passwd", "secret", "token", "api_key", "apikey", "api-key", "private_key"];

/// Shorter values behind such a word are rather words of the sentence.
const SHORTEST_VALUE: usize = 6;

/// What kind of secret the text seems to have, as a noun with its article.
pub fn secret_in(text: &str) -> Option<&'static str> {
    if let Some(kind) = token_in(text.as_bytes()) {
        return Some(kind);
    }
    let words = text.split(|c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ',' | ';' | '(' | ')' | '<' | '>')
    });
    words.clone().find_map(secret_word).or_else(|| assigned(text))
}

fn secret_word(word: &str) -> Option<&'static str> {
    // Three parts in base64url, of which the first two are JSON objects (RFC 7519).
    let parts: Vec<&str> = word.split('.').collect();
    if let [head, body, mark] = parts.as_slice()
        && head.contains("eyJ")
        && body.starts_with("eyJ")
        && !mark.is_empty()
    {
        return Some("a JSON Web Token");
    }
    has_password(word).then_some("an address with a password")
}

/// `https://name:password@host`
fn has_password(word: &str) -> bool {
    let Some((_, rest)) = word.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else { return false };
    user.split_once(':')
        .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with(['$', '{']))
}

/// `password: value` or `TOKEN=value`.
fn assigned(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let is_found = NAMES.iter().any(|name| {
        lower.match_indices(name).any(|(at, _)| {
            let rest = lower[at + name.len()..].trim_start_matches(['"', '\'', '`', ' ']);
            let Some(value) = rest.strip_prefix([':', '=']) else { return false };
            let value = value.trim_start_matches(['=', ' ', '"', '\'', '`']);
            let word: String =
                value.chars().take_while(|c| !c.is_whitespace() && !matches!(c, '"' | '\'' | '`')).collect();
            // A place where the value is, and no value.
            let is_place = word.starts_with(['$', '{', '<', '/', '.']) || word.contains("://");
            let is_odd = word.chars().any(|c| !c.is_alphabetic() && !matches!(c, '.' | ',' | ';' | '-'));
            word.chars().count() >= SHORTEST_VALUE && !is_place && is_odd
        })
    });
    is_found.then_some("a password or token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_known_forms_are_found() {
        let x = |count| "x1".repeat(count);
        for (text, kind) in [
            (format!("the key is sk-ant-api03-{}", x(20)), "a key of Anthropic"),
            (format!("export GH_TOKEN=ghp_{}", x(18)), "a token of GitHub"),
            (format!("(`xoxb-{}`)", x(10)), "a token of Slack"),
            ("AKIAIOSFODNN7EXAMPLE".into(), "a key of AWS"),
            (format!("Bearer eyJ{}.eyJ{}.{}", x(5), x(5), x(5)), "a JSON Web Token"),
            ("db at postgres://app:hunter2@db/x".into(), "an address with a password"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc".into(), "a private key"),
            ("Password: hunter22".into(), "a password or token"),
            ("DB_PASSWORD='c0rrect-horse'".into(), "a password or token"),
        ] {
            assert_eq!(secret_in(&text), Some(kind), "{text}");
        }
    }

    #[test]
    fn sentences_about_secrets_are_none() {
        for text in [
            "The password is in 1Password.",
            "token: ask Ann for it",
            "API_KEY=$API_KEY is read from .env",
            "secret: /run/secrets/db",
            "We use ghp_ tokens and sk-ant- keys",
            "https://example.org/a:b@c",
            "git@github.com:storkit/storkit.git, https://ann@example.org/x",
            "Deploys are on Fridays; the tests need Postgres 16.",
            "",
        ] {
            assert_eq!(secret_in(text), None, "{text}");
        }
    }
}
