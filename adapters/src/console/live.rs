//! What an interactive terminal prints for good and what it keeps redrawing: a state machine without a
//! terminal. A message that may still change is *open* and belongs to the live region above the prompt;
//! once it is settled it is printed, in its final state. Its rules never lose a final state and never
//! print the same state of a message twice.

use std::collections::VecDeque;

use super::wire::{Said, Shown, StoredFile, ToTerminal};
use crate::{ActivityState, MessageId, Tone};

/// Milliseconds without an edit after which an edited message counts as settled (htop ticks every 5 s).
const QUIET: u64 = 30_000;

/// Milliseconds after which a message that was never edited counts as settled in a room at rest.
const UNTOUCHED: u64 = 2_000;

/// Open messages; more than this and the oldest is printed as it is.
const MOST_OPEN: usize = 16;

/// Printed messages whose edits are recognised.
const REMEMBERED: usize = 64;

/// Lines of a question that fit the live region; a longer one is printed in full when it opens.
const QUESTION_LINES: usize = 12;

/// Something to print into the scrollback, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Print {
    /// A message of the bot in its final state, or a long question as it opens.
    Message(Shown),
    /// What a person said elsewhere or earlier.
    Said(Said),
    /// A file the bot showed.
    File(StoredFile),
    /// Why a line was not taken.
    Refused(String),
    /// Why nothing follows.
    Bye(String),
}

/// A message in the live region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its present state.
    pub shown: Shown,
    /// Whether the scrollback holds this very state already (a long question).
    pub printed: bool,
    /// The last state that the scrollback holds.
    held: Option<Shown>,
    edited: bool,
    changed: u64,
}

impl Open {
    fn waits(&self) -> bool {
        self.shown.is_open_question()
    }

    fn ticks(&self) -> bool {
        self.shown.tone == Tone::Notice
    }
}

/// See the module. Time is passed in, in milliseconds since 1970.
#[derive(Debug, Default)]
pub struct LiveModel {
    open: Vec<Open>,
    held: VecDeque<Shown>,
    activity: Option<ActivityState>,
}

impl LiveModel {
    /// Takes in one line of the adapter and returns what to print now, in order.
    pub fn feed(&mut self, message: ToTerminal, now: u64) -> Vec<Print> {
        match message {
            ToTerminal::Message(shown) => self.message(shown, now),
            ToTerminal::Edited(shown) => self.edited(shown, now),
            ToTerminal::Said(said) => self.after_untouched(Print::Said(said)),
            ToTerminal::File(file) => self.after_untouched(Print::File(file)),
            ToTerminal::Activity(activity) => self.activity(activity.state),
            ToTerminal::Refused { why, .. } => vec![Print::Refused(why)],
            ToTerminal::Bye { reason } => {
                let mut prints = self.finish();
                prints.push(Print::Bye(reason));
                prints
            }
            ToTerminal::Hello { .. } | ToTerminal::Delivered { .. } => Vec::new(),
        }
    }

    /// Settles what nobody has edited for a while. To be called about every second.
    pub fn tick(&mut self, now: u64) -> Vec<Print> {
        let working = self.activity == Some(ActivityState::Working);
        self.settle(|open| {
            let age = now.saturating_sub(open.changed);
            let stream = working && !open.ticks();
            !open.waits() && !stream && age >= if open.edited { QUIET } else { UNTOUCHED }
        })
    }

    /// Settles everything: the terminal is being left.
    pub fn finish(&mut self) -> Vec<Print> {
        self.settle(|_| true)
    }

    /// What the live region holds, oldest first.
    pub fn region(&self) -> &[Open] {
        &self.open
    }

    /// What the room is doing, once it has said so.
    pub fn room_is(&self) -> Option<ActivityState> {
        self.activity
    }

    fn message(&mut self, shown: Shown, now: u64) -> Vec<Print> {
        let fresh = shown.edited.is_some_and(|edited| now.saturating_sub(edited) < QUIET);
        if shown.replay && !fresh && !shown.is_open_question() {
            return self.print(shown).into_iter().collect();
        }
        let ends_earlier = !shown.is_open_question() && shown.tone != Tone::Notice;
        let mut prints =
            self.settle(|open| !open.waits() && (!open.edited || (ends_earlier && !open.ticks())));
        prints.extend(self.open(shown, fresh, now));
        prints
    }

    fn open(&mut self, shown: Shown, edited: bool, now: u64) -> Vec<Print> {
        let long = shown.is_open_question() && shown.markdown.lines().count() > QUESTION_LINES;
        let mut prints = Vec::new();
        if long {
            prints.extend(self.print(shown.clone()));
        }
        let held = self.held(&shown.id).cloned();
        let changed = shown.edited.unwrap_or(now);
        self.open.push(Open {
            printed: held.as_ref().is_some_and(|held| same(held, &shown)),
            shown,
            held,
            edited,
            changed,
        });
        if self.open.len() > MOST_OPEN {
            let oldest = self.open[0].shown.id.clone();
            prints.extend(self.settle(|open| open.shown.id == oldest));
        }
        prints
    }

    fn edited(&mut self, shown: Shown, now: u64) -> Vec<Print> {
        let id = shown.id.clone();
        if let Some(open) = self.open.iter_mut().find(|open| open.shown.id == id) {
            let answered = open.waits() && !shown.is_open_question();
            open.printed = open.held.as_ref().is_some_and(|held| same(held, &shown));
            (open.shown, open.edited, open.changed) = (shown, true, now);
            return if answered { self.settle(|open| open.shown.id == id) } else { Vec::new() };
        }
        if self.held(&id).is_some_and(|held| same(held, &shown)) {
            return Vec::new();
        }
        let late = self.activity == Some(ActivityState::Idle) && shown.tone != Tone::Notice;
        let mut prints = self.open(shown, true, now);
        if late {
            prints.extend(self.settle(|open| open.shown.id == id && !open.waits()));
        }
        prints
    }

    fn activity(&mut self, state: ActivityState) -> Vec<Print> {
        self.activity = Some(state);
        match state {
            ActivityState::Idle => self.settle(|open| !open.waits() && !open.ticks()),
            ActivityState::Working | ActivityState::Asking => Vec::new(),
        }
    }

    fn after_untouched(&mut self, print: Print) -> Vec<Print> {
        let mut prints = self.settle(|open| !open.waits() && !open.edited);
        prints.push(print);
        prints
    }

    fn settle(&mut self, settled: impl Fn(&Open) -> bool) -> Vec<Print> {
        let (closing, open) = std::mem::take(&mut self.open).into_iter().partition(|open| settled(open));
        self.open = open;
        let closing: Vec<Open> = closing;
        closing.into_iter().filter_map(|open| self.print(open.shown)).collect()
    }

    fn print(&mut self, shown: Shown) -> Option<Print> {
        if self.held(&shown.id).is_some_and(|held| same(held, &shown)) {
            return None;
        }
        self.held.retain(|held| held.id != shown.id);
        self.held.push_back(shown.clone());
        if self.held.len() > REMEMBERED {
            self.held.pop_front();
        }
        Some(Print::Message(shown))
    }

    fn held(&self, id: &MessageId) -> Option<&Shown> {
        self.held.iter().find(|held| held.id == *id)
    }
}

/// Whether a person sees the same in both.
fn same(one: &Shown, other: &Shown) -> bool {
    one.markdown == other.markdown && one.tone == other.tone && one.choices == other.choices
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Activity, Choice, Outgoing};

    fn shown(id: &str, text: &str, tone: Tone) -> Shown {
        Shown::new(MessageId::new(id), &Outgoing::text(text).with_tone(tone), 0)
    }

    fn says(id: &str, text: &str) -> ToTerminal {
        ToTerminal::Message(shown(id, text, Tone::Answer))
    }

    fn edits(id: &str, text: &str) -> ToTerminal {
        ToTerminal::Edited(shown(id, text, Tone::Answer))
    }

    fn notes(id: &str, text: &str) -> ToTerminal {
        ToTerminal::Message(shown(id, text, Tone::Notice))
    }

    fn ticks(id: &str, text: &str) -> ToTerminal {
        ToTerminal::Edited(shown(id, text, Tone::Notice))
    }

    fn question(id: &str, text: &str) -> Shown {
        let yes = Choice { key: "y".into(), label: "Yes".into(), emoji: None };
        Shown { choices: vec![yes], ..shown(id, text, Tone::Question) }
    }

    fn asks(id: &str, text: &str) -> ToTerminal {
        ToTerminal::Message(question(id, text))
    }

    fn is(state: ActivityState) -> ToTerminal {
        ToTerminal::Activity(Activity { state, after: MessageId::new("x") })
    }

    fn texts(prints: Vec<Print>) -> Vec<String> {
        let text = |print| match print {
            Print::Message(shown) => shown.markdown,
            Print::Said(said) => said.text,
            Print::File(file) => file.name,
            Print::Refused(text) | Print::Bye(text) => text,
        };
        prints.into_iter().map(text).collect()
    }

    /// Plays a scene: each step with what it prints, then what the region holds.
    fn play(model: &mut LiveModel, scene: Vec<ToTerminal>) -> Vec<(Vec<String>, Vec<String>)> {
        let region =
            |model: &LiveModel| model.region().iter().map(|open| open.shown.markdown.clone()).collect();
        scene.into_iter().map(|step| (texts(model.feed(step, 1_000)), region(model))).collect()
    }

    #[test]
    fn a_streamed_answer_is_redrawn_until_the_room_rests_and_then_printed_once() {
        let scene = vec![
            is(ActivityState::Working),
            says("a", "1"),
            edits("a", "1 2"),
            edits("a", "1 2 3"),
            is(ActivityState::Idle),
            is(ActivityState::Idle),
        ];
        insta::assert_debug_snapshot!(play(&mut LiveModel::default(), scene), @r#"
        [
            (
                [],
                [],
            ),
            (
                [],
                [
                    "1",
                ],
            ),
            (
                [],
                [
                    "1 2",
                ],
            ),
            (
                [],
                [
                    "1 2 3",
                ],
            ),
            (
                [
                    "1 2 3",
                ],
                [],
            ),
            (
                [],
                [],
            ),
        ]
        "#);
    }

    fn last_of(model: &mut LiveModel, scene: Vec<ToTerminal>) -> (Vec<String>, Vec<String>) {
        play(model, scene).pop().unwrap()
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn htop_ticks_on_in_a_room_at_rest_while_answers_pass_above_it() {
        let mut model = LiveModel::default();
        let scene =
            vec![notes("h", "load 1"), is(ActivityState::Idle), ticks("h", "load 2"), says("a", "Hello.")];
        assert_eq!(last_of(&mut model, scene), (vec![], strings(&["load 2", "Hello."])));
        let rested = last_of(&mut model, vec![is(ActivityState::Idle)]);
        assert_eq!(rested, (strings(&["Hello."]), strings(&["load 2"])));
        assert_eq!(last_of(&mut model, vec![ticks("h", "ended")]), (vec![], strings(&["ended"])));
        assert!(model.tick(1_000 + QUIET - 1).is_empty());
        assert_eq!(texts(model.tick(1_000 + QUIET)), ["ended"]);
        assert!(model.finish().is_empty());
    }

    #[test]
    fn an_answer_goes_on_under_the_question_that_interrupts_it() {
        let mut model = LiveModel::default();
        let working = vec![
            is(ActivityState::Working),
            says("a", "Let me"),
            edits("a", "Let me see"),
            asks("q", "May I?"),
        ];
        assert_eq!(last_of(&mut model, working), (vec![], strings(&["Let me see", "May I?"])));
        assert_eq!(last_of(&mut model, vec![is(ActivityState::Asking)]).0, strings(&[]));
        let outcome = ToTerminal::Edited(shown("q", "May I? Yes, by bob", Tone::Notice));
        let answered = last_of(&mut model, vec![outcome]);
        assert_eq!(answered, (strings(&["May I? Yes, by bob"]), strings(&["Let me see"])));
        let ended = last_of(&mut model, vec![edits("a", "Done."), is(ActivityState::Idle)]);
        assert_eq!(ended, (strings(&["Done."]), vec![]));
    }

    #[test]
    fn a_question_stays_in_sight_until_it_is_answered() {
        let mut model = LiveModel::default();
        let scene = vec![asks("q", "May I?"), is(ActivityState::Idle), says("a", "1"), says("b", "2")];
        assert_eq!(last_of(&mut model, scene).1, strings(&["May I?", "2"]));
        assert_eq!(texts(model.tick(u64::MAX)), ["2"]);
        assert_eq!(texts(model.finish()), ["May I?"]);
    }

    #[test]
    fn a_long_question_is_printed_in_full_as_it_opens_and_not_again_unless_it_changes() {
        let long = "line\n".repeat(QUESTION_LINES + 1);
        let mut model = LiveModel::default();
        assert_eq!(texts(model.feed(asks("q", &long), 0)), [long.as_str()]);
        assert!(model.region()[0].printed);
        assert!(model.finish().is_empty());

        model.feed(asks("r", &long), 0);
        let outcome = ToTerminal::Edited(shown("r", "denied", Tone::Notice));
        assert_eq!(texts(model.feed(outcome, 0)), ["denied"]);
    }

    #[test]
    fn the_next_answer_settles_the_one_before() {
        let mut model = LiveModel::default();
        let scene = vec![is(ActivityState::Working), says("a", "one"), edits("a", "one."), says("b", "two")];
        assert_eq!(last_of(&mut model, scene), (strings(&["one."]), strings(&["two"])));
    }

    #[test]
    fn an_edit_that_comes_late_still_shows_and_one_that_changes_nothing_does_not() {
        let mut model = LiveModel::default();
        play(&mut model, vec![says("a", "one"), is(ActivityState::Idle)]);
        assert_eq!(last_of(&mut model, vec![edits("a", "one")]), (vec![], vec![]));
        assert_eq!(last_of(&mut model, vec![edits("a", "two")]), (strings(&["two"]), vec![]));
        assert_eq!(last_of(&mut model, vec![edits("unknown", "three")]), (strings(&["three"]), vec![]));
    }

    #[test]
    fn what_was_said_earlier_is_printed_and_what_still_moves_is_not() {
        let mut model = LiveModel::default();
        let replayed = |shown: Shown| ToTerminal::Message(Shown { replay: true, ..shown });
        let moving = Shown { edited: Some(900), ..shown("h", "load 7", Tone::Notice) };
        let scene = vec![
            replayed(shown("a", "old", Tone::Answer)),
            replayed(moving),
            replayed(question("q", "May I?")),
        ];
        let played = play(&mut model, scene);
        assert_eq!(played[0], (strings(&["old"]), vec![]));
        assert_eq!(played[2], (vec![], strings(&["load 7", "May I?"])));
        assert_eq!(last_of(&mut model, vec![ticks("h", "load 8")]), (vec![], strings(&["load 8", "May I?"])));
    }

    #[test]
    fn a_goodbye_comes_after_everything_that_was_open() {
        let mut model = LiveModel::default();
        model.feed(says("a", "half an ans"), 0);
        assert_eq!(
            texts(model.feed(ToTerminal::Bye { reason: "Stopping.".into() }, 0)),
            ["half an ans", "Stopping."]
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Message(u8, u8, bool),
        Edit(u8, u8),
        Activity(bool),
        Tick(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u8..24, 0u8..4, any::<bool>()).prop_map(|(id, text, notice)| Step::Message(id, text, notice)),
            (0u8..24, 0u8..4).prop_map(|(id, text)| Step::Edit(id, text)),
            any::<bool>().prop_map(Step::Activity),
            any::<u16>().prop_map(Step::Tick),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order: each message ends printed in its last state, and no state
        /// of a message is printed twice in a row.
        #[test]
        fn the_last_state_always_shows_and_nothing_shows_twice(steps in prop::collection::vec(step(), 0..80)) {
            let mut model = LiveModel::default();
            let mut sent: std::collections::HashMap<u8, Shown> = Default::default();
            let mut printed: Vec<Print> = Vec::new();
            let mut now = 0;
            for step in steps {
                let prints = match step {
                    Step::Message(id, text, notice) if !sent.contains_key(&id) => {
                        let tone = if notice { Tone::Notice } else { Tone::Answer };
                        let message = shown(&id.to_string(), &text.to_string(), tone);
                        sent.insert(id, message.clone());
                        model.feed(ToTerminal::Message(message), now)
                    }
                    Step::Edit(id, text) if sent.contains_key(&id) => {
                        let message = sent.get_mut(&id).unwrap();
                        message.markdown = text.to_string();
                        model.feed(ToTerminal::Edited(message.clone()), now)
                    }
                    Step::Activity(idle) => {
                        let state = if idle { ActivityState::Idle } else { ActivityState::Working };
                        model.feed(is(state), now)
                    }
                    Step::Tick(time) => {
                        now += u64::from(time);
                        model.tick(now)
                    }
                    Step::Message(..) | Step::Edit(..) => continue,
                };
                printed.extend(prints);
                prop_assert!(model.region().len() <= MOST_OPEN);
            }
            printed.extend(model.finish());
            for message in sent.values() {
                let states: Vec<&str> = printed.iter().filter_map(|print| match print {
                    Print::Message(shown) if shown.id == message.id => Some(shown.markdown.as_str()),
                    _ => None,
                }).collect();
                prop_assert_eq!(states.last(), Some(&message.markdown.as_str()));
                prop_assert!(states.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", states);
            }
        }
    }
}
