//! The audit log's record of a decision.

use adapters::Room;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{PermissionAsk, Question, QuestionOutcome, rule};
use crate::store::AuditEntry;

/// The entry of a decision about a call.
pub(super) fn entry(ask: &PermissionAsk, question: Option<i64>, outcome: &QuestionOutcome) -> AuditEntry {
    AuditEntry {
        question,
        tool: ask.tool.clone(),
        input_sha256: sha256(&ask.input),
        asked_for: ask.asked_for.clone(),
        rooms: ask.rooms.iter().map(Room::to_string).collect(),
        outcome: outcome.word().into(),
        by: outcome.by(),
        account: None,
        story: ask.asker.story().map(|story| story.0),
    }
}

/// The same for a call that was asked about.
pub(super) fn entry_of(question: &Question, outcome: &QuestionOutcome) -> AuditEntry {
    AuditEntry {
        question: Some(question.id.0),
        tool: question.tool.clone(),
        input_sha256: sha256(&question.input),
        asked_for: question.asked_for.clone(),
        rooms: question.asked_in().iter().map(Room::to_string).collect(),
        outcome: outcome.word().into(),
        by: outcome.by(),
        account: outcome.person().and_then(|by| by.account.clone()),
        story: question.asker.story().map(|story| story.0),
    }
}

// The audit is permanent and an input may hold file contents or secrets, so it records only the digest. The digest is
// of the canonical form: whoever has the input can prove that this entry is about it.
pub(super) fn sha256(input: &Value) -> String {
    Sha256::digest(rule::canonical(input).as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_has_the_input_can_prove_that_an_entry_is_about_it() {
        let digest = sha256(&json!({ "command": "ls", "timeout": 5 }));
        // `printf '{"command":"ls","timeout":5}' | sha256sum`
        assert_eq!(digest, "4111dd78f52ed56613c7089051baea7069acac60ec79027a2e8ad44b20efd7d7");
        let reordered: Value = serde_json::from_str(r#"{ "timeout": 5, "command": "ls" }"#).unwrap();
        assert_eq!(sha256(&reordered), digest);
        assert_ne!(sha256(&json!({ "command": "ls", "timeout": 6 })), digest);
    }
}
