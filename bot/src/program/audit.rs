//! `storkit audit`: who decided what, from the record that can only be added to.

use std::{path::Path, time::SystemTime};

use clap::{Args, ValueEnum};
use settings::duration::{self, ConfigDuration};

use crate::store::{AuditEntry, OpenError, Store};

/// Which entries to show.
#[derive(Args, Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only questions asked in this room, like `console:main`
    #[arg(long, value_name = "ROOM")]
    room: Option<String>,
    /// Only decisions of this person, or on questions of their turns, by id or name
    #[arg(long, value_name = "PERSON")]
    person: Option<String>,
    /// Only decisions of this kind
    #[arg(long, value_enum)]
    outcome: Option<OutcomeWord>,
    /// Only calls of this tool, like `Bash`
    #[arg(long, value_name = "TOOL")]
    tool: Option<String>,
    /// Only the recent past, like `24h`
    #[arg(long, value_name = "TIME", value_parser = span)]
    since: Option<ConfigDuration>,
    /// At most this many of the newest entries
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// How a question can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutcomeWord {
    /// Allowed once
    Allow,
    /// Allowed, and a rule made
    Always,
    /// Allowed by a rule
    Rule,
    /// Denied by a person or by policy
    Deny,
    /// Denied because nobody answered in time
    Timeout,
    /// Denied because nobody could be asked
    Unreachable,
    /// The agent no longer asked
    Withdrawn,
}

impl OutcomeWord {
    fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Always => "always",
            Self::Rule => "rule",
            Self::Deny => "deny",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Withdrawn => "withdrawn",
        }
    }
}

fn span(text: &str) -> Result<ConfigDuration, String> {
    let wrong = || "write it like `30m`, `24h` or `7d`".to_owned();
    duration::parse(text).map(ConfigDuration).ok_or_else(wrong)
}

/// The decisions that the filter lets through, oldest first, a line each. Empty where there are none.
///
/// Fails where the record cannot be read.
pub fn lines(storkit: &Path, filter: &AuditFilter, now: SystemTime) -> Result<String, OpenError> {
    let Some(record) = Store::read_in(storkit)? else { return Ok(String::new()) };
    let earliest = filter.since.and_then(|since| now.checked_sub(since.0));
    let mut lines = Vec::new();
    let read = record.each_audit(|at, entry| {
        if earliest.is_some_and(|earliest| at < earliest) {
            return false;
        }
        if filter.lets_through(&entry) {
            lines.push(if filter.json { json(at, &entry) } else { line(at, &entry) });
        }
        // The store returns the newest first, so the limit drops the oldest.
        lines.len() < filter.limit
    });
    read.map_err(|source| OpenError::Sqlite { path: storkit.into(), source })?;
    Ok(lines.into_iter().rev().map(|line| line + "\n").collect())
}

impl AuditFilter {
    fn lets_through(&self, entry: &AuditEntry) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let person = |wanted: &String| {
            *wanted == entry.by || *wanted == entry.asked_for || entry.account.as_ref() == Some(wanted)
        };
        self.room.as_ref().is_none_or(|room| entry.rooms.contains(room))
            && self.person.as_ref().is_none_or(person)
            && self.outcome.is_none_or(|outcome| outcome.word() == entry.outcome)
            && is(&self.tool, &entry.tool)
    }
}

fn stamp(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at)
        .map_or_else(|_| "-".into(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn line(at: SystemTime, entry: &AuditEntry) -> String {
    let question = entry.question.map_or_else(|| "-".into(), |number| number.to_string());
    // Names and tools come from people and agents: a control character could rewrite the lines above in a terminal.
    let plain = |text: &str| text.replace(|c: char| c.is_control(), "?");
    format!(
        "{}  {:<11} {:<14} by {}  for {}  in {}  question {question}  input {}",
        stamp(at),
        entry.outcome,
        plain(&entry.tool),
        plain(&entry.by),
        plain(&entry.asked_for),
        plain(&entry.rooms.join(", ")),
        entry.input_sha256.get(..12).unwrap_or_default(),
    )
}

fn json(at: SystemTime, entry: &AuditEntry) -> String {
    let mut value = serde_json::to_value(entry).unwrap_or_default();
    value["at"] = stamp(at).into();
    value.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn entry(room: &str, by: &str, outcome: &str, tool: &str) -> AuditEntry {
        AuditEntry {
            story: None,
            question: Some(7),
            tool: tool.into(),
            input_sha256: "0123456789abcdef".into(),
            asked_for: "ann".into(),
            rooms: vec![room.into()],
            outcome: outcome.into(),
            by: by.into(),
            account: None,
        }
    }

    #[test]
    fn the_record_is_filtered_by_room_person_outcome_tool_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let at = |hour: u64| UNIX_EPOCH + Duration::from_secs(1_700_000_000 + hour * 3600);
        let store = Store::open_in(dir.path(), at(0)).unwrap();
        store.audit(&entry("console:main", "bob", "allow", "Bash"), at(1)).unwrap();
        store.audit(&entry("slack:C1", "bob", "deny", "Write"), at(2)).unwrap();
        store.audit(&entry("slack:C1", "nobody\u{1b}[31m", "timeout", "Bash"), at(3)).unwrap();
        // Read while it is open, as while a storkit serves.
        let shown = |filter: AuditFilter| {
            let filter = AuditFilter { limit: if filter.limit == 0 { 100 } else { filter.limit }, ..filter };
            lines(dir.path(), &filter, at(4)).unwrap()
        };
        insta::assert_snapshot!(shown(AuditFilter::default()), @r"
        2023-11-14T23:13:20Z  allow       Bash           by bob  for ann  in console:main  question 7  input 0123456789ab
        2023-11-15T00:13:20Z  deny        Write          by bob  for ann  in slack:C1  question 7  input 0123456789ab
        2023-11-15T01:13:20Z  timeout     Bash           by nobody?[31m  for ann  in slack:C1  question 7  input 0123456789ab
        ");
        let count = |filter: AuditFilter| shown(filter).lines().count();
        assert_eq!(count(AuditFilter { room: Some("slack:C1".into()), ..AuditFilter::default() }), 2);
        assert_eq!(count(AuditFilter { person: Some("bob".into()), ..AuditFilter::default() }), 2);
        assert_eq!(count(AuditFilter { person: Some("ann".into()), ..AuditFilter::default() }), 3);
        assert_eq!(count(AuditFilter { outcome: Some(OutcomeWord::Deny), ..AuditFilter::default() }), 1);
        assert_eq!(count(AuditFilter { tool: Some("Bash".into()), ..AuditFilter::default() }), 2);
        assert_eq!(
            count(AuditFilter {
                since: Some(ConfigDuration(Duration::from_secs(5400))),
                ..AuditFilter::default()
            }),
            1
        );
        assert_eq!(count(AuditFilter { limit: 2, ..AuditFilter::default() }), 2);
        let json = shown(AuditFilter { limit: 1, json: true, ..AuditFilter::default() });
        assert!(
            json.contains("\"at\":\"2023-11-15T01:13:20Z\"") && json.contains("\"outcome\":\"timeout\""),
            "{json}"
        );
    }

    #[test]
    fn without_a_record_there_is_nothing_to_show() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(lines(dir.path(), &AuditFilter::default(), UNIX_EPOCH).unwrap(), "");
    }
}
