//! Trials of this room's open questions: the question's message shows the effect of a command, and `keep` means the effect that its sender has seen.

use std::{sync::Arc, time::SystemTime};

use adapters::{Outgoing, Tone};
use parking_lot::Mutex;

use super::{
    RoomTask,
    prompt_queue::CommandCall,
    questions::{BEFORE_CONFIRMED, CopyPlace},
};
use crate::{
    chat::outbox::Report,
    permission::{EffectNumber, PersonAnswer, Question, QuestionId, TrialNews},
    replies,
};

/// The effect that a copy of a question shows, as the outbox learns it.
pub(super) type SharedEffect = Arc<Mutex<EffectPlace>>;

#[derive(Default)]
pub(super) enum EffectPlace {
    #[default]
    None,
    /// The messenger has not confirmed it yet. People may see it already.
    Sending,
    Shown(ShownEffect),
}

/// An effect in this room.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownEffect {
    pub number: EffectNumber,
    /// From when people can have seen it.
    pub since: SystemTime,
}

impl RoomTask {
    /// Shows what became of a trial, below the question itself.
    pub(super) fn on_trial(&mut self, question: &Question, news: &TrialNews) {
        let can_edit = self.adapter.capabilities().edit.is_some();
        match news {
            TrialNews::Running { by } => {
                // Where nothing can be edited, the effect is the next message.
                if can_edit {
                    self.revise_question(question, &replies::trial_runs(by), None, false);
                }
            }
            TrialNews::Tried { number, by, effect } => {
                let can_keep = effect.no_keep.is_none();
                self.revise_question(question, &replies::trial_effect(by, effect), Some(*number), can_keep);
            }
            TrialNews::Failed(failure) => {
                self.revise_question(question, &replies::trial_failed(failure), None, false);
            }
            TrialNews::NotKept(why) => {
                if self.questions.contains(question.id) {
                    self.say(replies::not_kept(question.id, why), Tone::Failure, None);
                }
            }
        }
    }

    fn revise_question(
        &mut self,
        question: &Question,
        addition: &str,
        number: Option<EffectNumber>,
        can_keep: bool,
    ) {
        let Some((slot, _, effect)) = self.questions.shown(question.id) else { return };
        // The effect shown before is not the newest any more.
        *effect.lock() = if number.is_some() { EffectPlace::Sending } else { EffectPlace::None };
        let text = format!("{}\n\n{addition}", self.worded(question).text);
        let choices = self.offered(question, number.filter(|_| can_keep));
        let message = Outgoing { choices, ..Outgoing::text(text) }.with_tone(Tone::Question);
        let report = self.effect_report(question.id, number);
        self.outbox.revise(slot, message, report);
    }

    /// Records from when the effect can be seen here, and where.
    fn effect_report(&self, id: QuestionId, number: Option<EffectNumber>) -> Report {
        let shown = self.questions.shown(id).map(|(_, place, effect)| (place.clone(), effect.clone()));
        let (broker, room) = (self.services.broker.clone(), self.room.clone());
        let clock = self.services.clock.clone();
        // Nobody has seen it before that, however fast a trial is.
        let made_at = clock.now();
        Box::new(move |result| {
            // Without it, the question is still there as it was asked.
            let Some((place, effect)) = shown else { return };
            let Ok(ids) = result else {
                *effect.lock() = EffectPlace::None;
                return;
            };
            if let Some(last) = ids.last() {
                broker.shown(id, &room, last);
            }
            if let CopyPlace::At { messages, .. } = &mut *place.lock() {
                messages.extend(ids);
            }
            let since = made_at.max(clock.now() - BEFORE_CONFIRMED);
            *effect.lock() = match number {
                Some(number) => EffectPlace::Shown(ShownEffect { number, since }),
                None => EffectPlace::None,
            };
        })
    }

    /// Passes `keep` on, for the effect that its sender has seen. `named`: the one that a pick was offered with.
    pub(super) fn keep_effect(
        &mut self,
        call: &CommandCall,
        id: QuestionId,
        named: Option<EffectNumber>,
        sent_at: SystemTime,
    ) {
        match self.questions.effect_seen(id, sent_at) {
            Ok(seen) => self.give_answer(call, id, PersonAnswer::Keep(named.or(Some(seen)))),
            Err(true) => self.say(replies::effect_unseen(id), Tone::Failure, call.message.clone()),
            // The broker knows why there is none.
            Err(false) => self.give_answer(call, id, PersonAnswer::Keep(None)),
        }
    }
}
