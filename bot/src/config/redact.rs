//! Secrets taken out of whatever leaves the process: logs, panics, chat.

use std::io::{self, Write};

use adapters::{Attachment, Outgoing};
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{BotConfig, LoadedConfig};

// Shorter values are no secrets, and would take common words out of every text.
const SHORTEST: usize = 8;

/// The text that replaces a secret.
const MASK: &str = "[redacted]";

/// Environment variables with keys of the model's service. They are secrets whether or not `bot.toml` names them.
pub const KEYS: [&str; 4] =
    ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"];

/// Knows the secrets of one bot. Without any it does nothing.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that one that contains another is taken whole.
    secrets: Vec<String>,
}

impl Redactor {
    /// The secrets of these settings: every value of a variable that they name, every secret key, and the model's keys.
    /// `lookup` reads the environment.
    pub fn new(loaded: &LoadedConfig, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let named = loaded.secret_env.iter().map(String::as_str).chain(KEYS);
        let mut secrets: Vec<String> = named.filter_map(lookup).chain(of_config(&loaded.config)).collect();
        secrets.extend(loaded.servers.servers.secrets().iter().cloned());
        // JSON in logs writes a quote or a backslash of a secret with another backslash.
        let escaped: Vec<String> = secrets.iter().map(|secret| escaped(secret)).collect();
        secrets.extend(escaped);
        secrets.retain(|secret| secret.len() >= SHORTEST);
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        Self { secrets }
    }

    /// The text without secrets; `None` where it holds none, which is nearly always.
    pub fn clean(&self, text: &str) -> Option<String> {
        let found = self.secrets.iter().any(|secret| text.contains(secret.as_str()));
        let mut clean = found.then(|| {
            self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), MASK))
        });
        // A live message may stop amid a secret, so the beginning of one at the very last place is hidden as well.
        let whole = clean.as_deref().unwrap_or(text);
        if let Some(at) = self.begun_at(whole) {
            clean = Some(format!("{}{MASK}", &whole[..at]));
        }
        clean
    }

    /// Whether one of the secrets is in these bytes as it is.
    pub fn has_secret(&self, content: &[u8]) -> bool {
        self.secrets.iter().any(|secret| memchr::memmem::find(content, secret.as_bytes()).is_some())
    }

    /// The start of a secret of which the text has only the first [`SHORTEST`] bytes or more.
    fn begun_at(&self, text: &str) -> Option<usize> {
        let begun = |secret: &String| {
            let longest = secret.len().saturating_sub(1).min(text.len());
            (SHORTEST..=longest)
                .rev()
                .find(|length| secret.is_char_boundary(*length) && text.ends_with(&secret[..*length]))
        };
        self.secrets.iter().filter_map(begun).max().map(|length| text.len() - length)
    }

    /// The message without secrets.
    #[must_use]
    pub fn message(&self, mut message: Outgoing) -> Outgoing {
        if let Some(clean) = self.clean(&message.markdown) {
            message.markdown = clean;
        }
        message
    }

    /// The file without secrets. A file that is not UTF-8 stays unchanged: secrets are text.
    #[must_use]
    pub fn file(&self, mut file: Attachment) -> Attachment {
        if let Some(clean) = std::str::from_utf8(&file.bytes).ok().and_then(|text| self.clean(text)) {
            file.bytes = clean.into_bytes();
        }
        if let Some(clean) = self.clean(&file.caption) {
            file.caption = clean;
        }
        file
    }
}

fn escaped(secret: &str) -> String {
    let json = serde_json::to_string(secret).unwrap_or_default();
    json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(secret).to_owned()
}

fn of_config(config: &BotConfig) -> Vec<String> {
    let sections = config.messengers.iter().flat_map(|section| section.secrets());
    let own = std::iter::once(&config.http.monitor_token);
    let mut secrets: Vec<String> = sections.chain(own).map(|secret| secret.reveal().to_owned()).collect();
    let telling = |name: &str| ["KEY", "TOKEN", "SECRET", "PASSWORD"].iter().any(|word| name.contains(word));
    secrets
        .extend(config.claude.env.iter().filter(|(name, _)| telling(name)).map(|(_, value)| value.clone()));
    secrets
}

/// A place for logs that sees no secret. Each write is one whole event, as `tracing` does it.
pub struct CleanWriter<M> {
    inner: M,
    redactor: Redactor,
}

impl<M> CleanWriter<M> {
    /// In front of `inner`.
    pub fn new(inner: M, redactor: Redactor) -> Self {
        Self { inner, redactor }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for CleanWriter<M> {
    type Writer = CleanOutput<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        CleanOutput { inner: self.inner.make_writer(), redactor: self.redactor.clone() }
    }
}

pub struct CleanOutput<W> {
    inner: W,
    redactor: Redactor,
}

impl<W: Write> Write for CleanOutput<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        match self.redactor.clean(&text) {
            Some(clean) => self.inner.write_all(clean.as_bytes())?,
            None => self.inner.write_all(bytes)?,
        }
        // The caller counts its own bytes, however many the mask made of them.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn redactor() -> Redactor {
        let toml = "[slack]\nbot_token = \"xoxb-${TOKEN}\"\napp_token = \"xapp-1\"\nsigning_secret = \"short\"\nallowed_users = [\"U1\"]\n\
                    [claude]\nenv = { MY_API_KEY = \"key-in-the-file\", COLOUR = \"aquamarine\" }";
        let lookup = |name: &str| match name {
            "TOKEN" => Some("marked-token-1".to_owned()),
            "ANTHROPIC_API_KEY" => Some("sk-ant-\"quoted\"".to_owned()),
            _ => None,
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bot.toml");
        std::fs::write(&path, toml).unwrap();
        let loaded = BotConfig::load(Path::new(&path), lookup).unwrap();
        Redactor::new(&loaded, lookup)
    }

    #[test]
    fn every_kind_of_secret_is_taken_out_and_nothing_else() {
        let redactor = redactor();
        let clean = |text: &str| redactor.clean(text).unwrap_or_else(|| text.to_owned());
        assert_eq!(clean("a marked-token-1, b"), "a [redacted], b");
        assert_eq!(clean("Bearer xoxb-marked-token-1."), "Bearer [redacted].");
        assert_eq!(clean("key-in-the-file sk-ant-\"quoted\""), "[redacted] [redacted]");
        assert_eq!(clean(r#"{"m":"sk-ant-\"quoted\""}"#), r#"{"m":"[redacted]"}"#);
        assert_eq!(redactor.clean("short aquamarine marked-tok"), Some("short aquamarine [redacted]".into()));
        assert_eq!(redactor.clean("short aquamarine marked-"), None);
        assert_eq!(Redactor::default().clean("marked-token-1"), None);
        assert!(redactor.has_secret(b"\x89PNG\0marked-token-1\xff"), "also amid other bytes");
        assert!(!redactor.has_secret(b"marked-token"));
    }

    #[test]
    fn messages_files_and_logs_are_clean() {
        let redactor = redactor();
        let message = redactor.message(Outgoing::text("it is marked-token-1"));
        assert_eq!(message.markdown, "it is [redacted]");
        let file = Attachment {
            name: "a".into(),
            bytes: b"x marked-token-1 y".into(),
            caption: "marked-token-1".into(),
        };
        let file = redactor.file(file);
        assert_eq!(
            (file.bytes.as_slice(), file.caption.as_str()),
            (b"x [redacted] y".as_slice(), "[redacted]")
        );
        let mut log = CleanOutput { inner: Vec::new(), redactor };
        log.write_all(b"token=marked-token-1\n").unwrap();
        assert_eq!(log.inner, b"token=[redacted]\n");
    }
}
