//! Open questions and those that ended lately, for whoever shows all of them at once.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Question, QuestionId, QuestionOutcome, TrialNews};

/// Ended questions that are remembered.
const ENDED: usize = 50;

/// A question as it stands.
#[derive(Clone, Debug)]
pub struct RecordedQuestion {
    pub question: Arc<Question>,
    /// What became of its last trial.
    pub trial: Option<TrialNews>,
    /// How it ended, and when.
    pub ended: Option<(QuestionOutcome, SystemTime)>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct QuestionRecord {
    questions: Arc<Mutex<BTreeMap<QuestionId, RecordedQuestion>>>,
    changed: watch::Sender<()>,
}

impl Default for QuestionRecord {
    fn default() -> Self {
        Self { questions: Arc::default(), changed: watch::Sender::new(()) }
    }
}

impl QuestionRecord {
    pub(super) fn open(&self, question: &Arc<Question>) {
        let open = RecordedQuestion { question: question.clone(), trial: None, ended: None };
        self.questions.lock().insert(question.id, open);
        self.changed.send_replace(());
    }

    pub(super) fn tried(&self, id: QuestionId, news: &TrialNews) {
        if let Some(recorded) = self.questions.lock().get_mut(&id) {
            recorded.trial = Some(news.clone());
        }
        self.changed.send_replace(());
    }

    /// It waits on without its agent.
    pub(super) fn park(&self, question: &Arc<Question>) {
        if let Some(recorded) = self.questions.lock().get_mut(&question.id) {
            (recorded.question, recorded.trial) = (question.clone(), None);
        }
        self.changed.send_replace(());
    }

    pub(super) fn end(&self, id: QuestionId, outcome: &QuestionOutcome, now: SystemTime) {
        let mut questions = self.questions.lock();
        if let Some(recorded) = questions.get_mut(&id) {
            recorded.ended = Some((outcome.clone(), now));
        }
        let ended: Vec<QuestionId> =
            questions.iter().filter(|(_, it)| it.ended.is_some()).map(|(id, _)| *id).collect();
        for id in ended.iter().take(ended.len().saturating_sub(ENDED)) {
            questions.remove(id);
        }
        drop(questions);
        self.changed.send_replace(());
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> Vec<RecordedQuestion> {
        self.questions.lock().values().cloned().collect()
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::{PermissionAsk, Person};

    #[test]
    fn a_question_stands_until_many_others_have_ended() {
        let record = QuestionRecord::default();
        let ask = PermissionAsk {
            rooms: Vec::new(),
            asker: super::super::Asker::default(),
            request: Default::default(),
            folder: None,
            asked_for: "Ann".into(),
            tool: "Bash".into(),
            input: serde_json::json!({ "command": "ls" }),
            call: None,
            blocked_path: None,
            timeout: None,
        };
        let question = |id| Arc::new(Question { id: QuestionId(id), ..Question::for_tests(&ask) });
        let mut changes = record.changes();
        record.open(&question(1));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        let by = Person::new("ann", "Ann");
        for id in 2..=100 {
            record.open(&question(id));
            record.end(QuestionId(id), &QuestionOutcome::Allowed { by: by.clone() }, SystemTime::UNIX_EPOCH);
        }
        let all = record.all();
        assert_eq!((all[0].question.id, all[0].ended.is_none()), (QuestionId(1), true), "it is open");
        assert_eq!((all.len(), all[1].question.id), (1 + ENDED, QuestionId(51)));
        assert!(changes.has_changed().unwrap());
    }
}
