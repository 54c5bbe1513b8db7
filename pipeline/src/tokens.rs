//! Keys and tokens that can be told by their form, in texts and in any other bytes. What is compressed or encoded is not seen.

use memchr::memmem;

/// Tokens by how they begin, with the least length of the whole word. The forms are those of the services' own documentation.
const TOKENS: [(&str, usize, &str); 22] = [
    ("sk-ant-", 20, "a key of Anthropic"),
    ("sk-proj-", 20, "a key of OpenAI"),
    ("sk_live_", 20, "a key of Stripe"),
    ("rk_live_", 20, "a key of Stripe"),
    ("ghp_", 30, "a token of GitHub"),
    ("gho_", 30, "a token of GitHub"),
    ("ghu_", 30, "a token of GitHub"),
    ("ghs_", 30, "a token of GitHub"),
    ("ghr_", 30, "a token of GitHub"),
    ("github_pat_", 30, "a token of GitHub"),
    ("glpat-", 20, "a token of GitLab"),
    ("xoxb-", 20, "a token of Slack"),
    ("xoxp-", 20, "a token of Slack"),
    ("xapp-", 20, "a token of Slack"),
    ("AKIA", 20, "a key of AWS"),
    ("ASIA", 20, "a key of AWS"),
    ("AIza", 35, "a key of Google"),
    ("ya29.", 20, "a token of Google"),
    ("npm_", 30, "a token of npm"),
    ("pypi-", 40, "a token of PyPI"),
    ("hf_", 30, "a token of Hugging Face"),
    ("syt_", 20, "a token of Matrix"),
];

/// What kind of key or token is in there, as a noun with its article.
pub(crate) fn token_in(content: &[u8]) -> Option<&'static str> {
    let has = |wanted: &[u8]| memmem::find(content, wanted).is_some();
    if has(b"-----BEGIN ") && has(b"PRIVATE KEY") {
        return Some("a private key");
    }
    TOKENS
        .iter()
        .find_map(|(start, least, kind)| has_token(content, start.as_bytes(), *least).then_some(*kind))
}

/// Whether a word that begins so, and is not the end of a longer one, has at least so many bytes.
fn has_token(content: &[u8], start: &[u8], least: usize) -> bool {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-_.=/+".contains(byte);
    memmem::find_iter(content, start).any(|at| {
        let before = at.checked_sub(1).map(|at| content[at]);
        let length = content[at..].iter().take_while(is_part).count();
        !before.is_some_and(|byte| byte.is_ascii_alphanumeric()) && length >= least
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_form_also_amid_other_bytes() {
        let key = format!("x sk-ant-{} y", "a".repeat(24));
        let amid = [&b"\xff\0"[..], key.as_bytes(), b"\xff"].concat();
        for (content, kind) in [
            (amid.as_slice(), "a key of Anthropic"),
            (b"-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
            (b"id=AKIAABCDEFGHIJKLMNOP", "a key of AWS"),
        ] {
            assert_eq!(token_in(content), Some(kind));
        }
        for plain in [
            "sk-ant-…",
            "AKIA",
            "-----BEGIN CERTIFICATE-----",
            "the PRIVATE KEY-----",
            "XAKIAABCDEFGHIJKLMNOP",
        ] {
            assert_eq!(token_in(plain.as_bytes()), None, "{plain}");
        }
    }
}
