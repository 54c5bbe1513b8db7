//! A reply to a notice about a story at work, or words in the thread where it was asked for, are for the agent that works on it: as `tell`.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use adapters::{Addressed, Incoming, MessageId};
use parking_lot::Mutex;
use pipeline::story::StoryId;

use super::{RoomTask, prompt_queue::CommandCall};
use crate::{
    chat::{notify, outbox::Report},
    commands::command::ParsedText,
};

/// Replies to older notices are prompts, as are those to notices from before a restart.
const MOST: usize = 200;

/// Which notices are about which stories; the newest last.
#[derive(Default)]
pub(super) struct StoryNotices(Arc<Mutex<VecDeque<ShownNotice>>>);

struct ShownNotice {
    at: Vec<MessageId>,
    about: Vec<StoryId>,
}

impl StoryNotices {
    /// Learns where a notice about these stories is shown.
    pub(super) fn keep(&self, about: Vec<StoryId>) -> Report {
        let notices = Arc::clone(&self.0);
        Box::new(move |sent| {
            let Ok(at) = sent else { return };
            if about.is_empty() {
                return;
            }
            let mut notices = notices.lock();
            notices.push_back(ShownNotice { at, about });
            if notices.len() > MOST {
                notices.pop_front();
            }
        })
    }

    pub(super) fn stories(&self, message: &MessageId) -> Vec<StoryId> {
        let notices = self.0.lock();
        let found = notices.iter().find(|notice| notice.at.contains(message));
        found.map(|notice| notice.about.clone()).unwrap_or_default()
    }
}

impl RoomTask {
    /// Whether these words are for the agent of a story, and it gets them.
    pub(super) async fn tells_run(&mut self, call: &CommandCall, incoming: &Incoming, text: &str) -> bool {
        let Some(story) = self.story_at_work(incoming) else { return false };
        let services = self.services.clone();
        let line = format!("tell {story} {text}");
        let ParsedText::Command(command, args) =
            services.commands.registry.parse(&line, Some(Addressed::Prefix))
        else {
            return false;
        };
        self.call_command(command, args.to_owned(), call.clone()).await;
        self.tell_unused_files(call);
        true
    }

    /// The one story at work that the replied message is about, or that was asked for in this thread.
    fn story_at_work(&self, incoming: &Incoming) -> Option<StoryId> {
        let runs = self.services.commands.pipeline.snapshot();
        let at_work: BTreeSet<StoryId> = runs.runs.iter().map(|run| run.story).collect();
        if let Some(replied) = &incoming.reply_to {
            let about = self.notices.stories(replied);
            let mut living = about.into_iter().filter(|story| at_work.contains(story));
            if let (Some(story), None) = (living.next(), living.next()) {
                return Some(story);
            }
        }
        // A thread with a session of its own is a conversation with that.
        let (thread, is_own) = (&incoming.room, incoming.room == self.room);
        if thread.above().is_none() || (is_own && self.record.session.is_some()) {
            return None;
        }
        let is_here = |story: &StoryId| {
            notify::origin_of(&self.services, *story).is_some_and(|(room, _)| room == *thread)
        };
        let mut living = at_work.into_iter().filter(is_here);
        match (living.next(), living.next()) {
            (Some(story), None) => Some(story),
            _ => None,
        }
    }
}
