//! News of the pipeline in a room. A message that asks for a decision about a story loses its buttons once somebody took it.

use pipeline::story::StoryId;

use super::RoomTask;
use crate::{
    chat::outbox::LiveSlot,
    replies::{NeededDecision, PipelineNotice},
};

/// Older ones keep their buttons.
const MOST: usize = 100;

pub(super) struct AskedDecision {
    needed: NeededDecision,
    slot: LiveSlot,
}

impl RoomTask {
    pub(super) fn on_pipeline_notice(&mut self, notice: PipelineNotice) {
        // Where nothing can be edited, an old message keeps its buttons: one more message for each would be noise.
        let needed = notice.asks.filter(|_| self.adapter.capabilities().edit.is_some());
        let report = self.notices.keep(notice.about);
        let Some(needed) = needed else { return self.outbox.say_reporting(notice.message, report) };
        self.close_decision(needed.story);
        let near = notice.message.reply_to.clone();
        let slot = self.outbox.ask(notice.message, None, near.as_ref(), (report, Box::new(|_| ())));
        self.questions.decisions.push_back(AskedDecision { needed, slot });
        if self.questions.decisions.len() > MOST {
            self.questions.decisions.pop_front();
        }
    }

    pub(super) fn close_decision(&mut self, story: StoryId) {
        let decisions = &mut self.questions.decisions;
        if let Some(at) = decisions.iter().position(|asked| asked.needed.story == story)
            && let Some(asked) = decisions.remove(at)
        {
            self.outbox.finish(asked.slot, asked.needed.closed);
        }
    }
}
