//! What runs and merges leave for people goes to the story's files.

use super::{Orchestrator, stories::StoryWork};
use crate::{
    board::{AttachedFile, WorkFolder},
    event::PipelineEvent,
    evidence::{EvidenceSource, TakenEvidence},
    story::StoryId,
    tokens::token_in,
};

impl Orchestrator {
    /// Keeps the files, but none with a secret, and tells people.
    pub(super) fn keep_evidence(&mut self, id: StoryId, from: EvidenceSource, taken: TakenEvidence) {
        if taken.is_empty() {
            return;
        }
        let host = self.context.host.clone();
        let keep = move |work: &WorkFolder| {
            let taken = taken.without_secrets(|content| {
                let own = || host.has_secret(content).then_some("one of storkit's secrets");
                token_in(content).or_else(own)
            });
            let kept = if taken.files.is_empty() {
                Ok(Vec::new())
            } else {
                work.keep_evidence(id, from, taken.files)
            };
            Ok((kept?, taken.left_out))
        };
        self.work_on(StoryWork::on(id), keep, move |this, kept| {
            let (kept, mut left_out) = match kept {
                Ok(kept) => kept,
                Err(error) => return tracing::warn!(story = %id, %error, "evidence cannot be kept"),
            };
            this.stories.commits.want();
            let mut files = Vec::new();
            for AttachedFile { given, stored } in kept {
                match stored {
                    Ok(name) => files.push(name),
                    Err(fault) => left_out.push(format!("`{given}`: {fault}")),
                }
            }
            let title = this.title(id);
            this.publisher.emit(PipelineEvent::Evidence { story: id, title, from, files, left_out });
        });
    }
}
