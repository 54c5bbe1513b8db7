//! Decides which messages a front end prints for good and which it redraws: a state machine without a terminal. A message with
//! further states to come is *open* and belongs to the live region; everything else is printed at once, in order. No final
//! state is lost and none is printed twice.

use std::collections::VecDeque;

use super::wire::{SaidLine, ShownMessage, StoredFile, ToTerminal};
use crate::{ActivityState, MessageId, Outgoing, Tone};

// Beyond this the oldest open message is printed as it is: the region is at most half a screen anyway.
const MOST_OPEN: usize = 16;

// The number of printed messages whose repeated states are recognised, besides the open ones.
const REMEMBERED: usize = 64;

// A longer question would fill the live region, so it is printed in full when it opens.
const QUESTION_LINES: usize = 12;

/// Something to print, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrintRequest {
    /// A message of the bot in its final state, or a question as it opens.
    Message(ShownMessage),
    /// A person's line from another terminal, or from before.
    Said(SaidLine),
    /// A file the bot showed.
    File(StoredFile),
    /// Why a line was not taken.
    Refused(String),
    Bye(String),
}

/// A message in the live region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenMessage {
    pub shown: ShownMessage,
    /// Whether this very state is printed already (a long question).
    pub printed: bool,
}

#[derive(Debug)]
pub struct LiveModel {
    /// Whether a question can be seen in a live region; else every question is printed when it opens.
    has_region: bool,
    greeted: bool,
    open: Vec<OpenMessage>,
    printed: VecDeque<ShownMessage>,
    activity: Option<ActivityState>,
}

impl LiveModel {
    /// For a terminal that redraws open messages.
    pub fn with_region() -> Self {
        Self { has_region: true, greeted: false, open: Vec::new(), printed: VecDeque::new(), activity: None }
    }

    /// For a stream of text, where only printed text is ever seen.
    pub fn without_region() -> Self {
        // No person is there to be greeted.
        Self { has_region: false, greeted: true, ..Self::with_region() }
    }

    /// Handles one message of the adapter and returns what to print now, in order.
    pub fn handle_message(&mut self, message: ToTerminal) -> Vec<PrintRequest> {
        match message {
            ToTerminal::Message(shown) | ToTerminal::Edited(shown) => self.show(shown),
            ToTerminal::Said(said) => vec![PrintRequest::Said(said)],
            ToTerminal::File(file) => vec![PrintRequest::File(file)],
            ToTerminal::Activity(activity) => {
                self.activity = Some(activity.state);
                Vec::new()
            }
            ToTerminal::Refused { why, .. } => vec![PrintRequest::Refused(why)],
            ToTerminal::Bye { reason } => {
                // Before the goodbye: no further state of the open messages will come.
                let mut prints = self.finish();
                prints.push(PrintRequest::Bye(reason));
                prints
            }
            ToTerminal::Hello { greeting, .. } => self.greet(greeting).into_iter().collect(),
            ToTerminal::Delivered { .. } | ToTerminal::McpConfig { .. } => Vec::new(),
        }
    }

    fn greet(&mut self, greeting: Option<String>) -> Option<PrintRequest> {
        let greeting = greeting.filter(|_| !self.greeted)?;
        self.greeted = true;
        let shown = Outgoing::text(greeting).with_tone(Tone::Notice);
        Some(PrintRequest::Message(ShownMessage::new(MessageId::new("greeting"), &shown)))
    }

    /// Prints the open messages in their present state, since nothing follows.
    pub fn finish(&mut self) -> Vec<PrintRequest> {
        std::mem::take(&mut self.open).into_iter().filter_map(|open| self.print(open.shown)).collect()
    }

    /// The content of the live region, oldest first.
    pub fn region(&self) -> &[OpenMessage] {
        &self.open
    }

    /// The room's activity, once it is known.
    pub fn room_is(&self) -> Option<ActivityState> {
        self.activity
    }

    fn show(&mut self, shown: ShownMessage) -> Vec<PrintRequest> {
        let at = self.open.iter().position(|open| open.shown.id == shown.id);
        if !shown.is_open() {
            if let Some(at) = at {
                self.open.remove(at);
            }
            return self.print(shown).into_iter().collect();
        }
        let mut prints = Vec::new();
        if self.is_printed_open(&shown) {
            prints.extend(self.print(shown.clone()));
        }
        let open = OpenMessage { printed: self.is_printed(&shown), shown };
        match at {
            Some(at) => self.open[at] = open,
            None => self.open.push(open),
        }
        if self.open.len() > MOST_OPEN {
            let oldest = self.open.remove(0);
            prints.extend(self.print(oldest.shown));
        }
        prints
    }

    fn is_printed_open(&self, shown: &ShownMessage) -> bool {
        shown.is_open_question() && (!self.has_region || shown.markdown.lines().count() > QUESTION_LINES)
    }

    fn print(&mut self, shown: ShownMessage) -> Option<PrintRequest> {
        if self.is_printed(&shown) {
            return None;
        }
        self.printed.retain(|printed| printed.id != shown.id);
        self.printed.push_back(shown.clone());
        if self.printed.len() > REMEMBERED + MOST_OPEN {
            self.forget_oldest();
        }
        Some(PrintRequest::Message(shown))
    }

    // A question that was printed as it opened is remembered until it closes, or its next edit would print it again.
    fn forget_oldest(&mut self) {
        let is_open = |id: &MessageId| self.open.iter().any(|open| open.shown.id == *id);
        if let Some(oldest) = self.printed.iter().position(|printed| !is_open(&printed.id)) {
            self.printed.remove(oldest);
        }
    }

    fn is_printed(&self, shown: &ShownMessage) -> bool {
        self.printed.iter().any(|printed| printed.id == shown.id && same(printed, shown))
    }
}

// Answers and notices look alike in a terminal, so a change between them is no reason to print again.
fn same(one: &ShownMessage, other: &ShownMessage) -> bool {
    let plain = |shown: &ShownMessage| matches!(shown.tone, Tone::Answer | Tone::Notice);
    let same_tone = one.tone == other.tone || (plain(one) && plain(other));
    one.markdown == other.markdown && same_tone && one.choices == other.choices
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Choice;

    fn shown(id: &str, text: &str) -> ShownMessage {
        ShownMessage::new(MessageId::new(id), &Outgoing::text(text))
    }

    fn says(id: &str, text: &str) -> ToTerminal {
        ToTerminal::Message(shown(id, text))
    }

    fn starts(id: &str, text: &str) -> ToTerminal {
        ToTerminal::Message(ShownMessage { live: true, ..shown(id, text) })
    }

    fn goes_on(id: &str, text: &str) -> ToTerminal {
        ToTerminal::Edited(ShownMessage { live: true, ..shown(id, text) })
    }

    fn ends(id: &str, text: &str) -> ToTerminal {
        ToTerminal::Edited(shown(id, text))
    }

    fn asks(id: &str, text: &str) -> ToTerminal {
        let yes = Choice { key: "y".into(), label: "Yes".into(), emoji: None };
        ToTerminal::Message(ShownMessage { choices: vec![yes], tone: Tone::Question, ..shown(id, text) })
    }

    fn texts(prints: Vec<PrintRequest>) -> String {
        let text = |print| match print {
            PrintRequest::Message(shown) => shown.markdown,
            PrintRequest::Said(said) => said.text,
            PrintRequest::File(file) => file.name,
            PrintRequest::Refused(text) | PrintRequest::Bye(text) => text,
        };
        prints.into_iter().map(text).collect::<Vec<_>>().join(", ")
    }

    /// Plays a scene, a line for each step: what it prints, then what the region holds.
    fn play(model: &mut LiveModel, scene: Vec<ToTerminal>) -> String {
        let mut played = String::new();
        for step in scene {
            let printed = texts(model.handle_message(step));
            let region: Vec<_> = model.region().iter().map(|open| open.shown.markdown.as_str()).collect();
            played += format!("{printed} | {}", region.join(", ")).trim();
            played += "\n";
        }
        played
    }

    #[test]
    fn what_lives_is_redrawn_and_printed_once_at_its_end_while_the_rest_passes_above() {
        let mut model = LiveModel::with_region();
        let scene = vec![
            starts("h", "load 1"),
            says("a", "Hello."),
            goes_on("h", "load 2"),
            starts("b", "Let"),
            goes_on("b", "Let me"),
            ends("b", "Let me see."),
            ends("h", "load 3"),
            ends("h", "load 3"),
        ];
        insta::assert_snapshot!(play(&mut model, scene), @r"
        | load 1
        Hello. | load 1
        | load 2
        | load 2, Let
        | load 2, Let me
        Let me see. | load 2
        load 3 |
        |
        ");
        assert_eq!(model.finish(), []);
    }

    #[test]
    fn a_person_is_greeted_once_and_a_script_never() {
        let hello = |greeting: Option<&str>| ToTerminal::Hello {
            name: "Timmy".into(),
            prefixes: Vec::new(),
            room: "main".into(),
            completions: Vec::new(),
            greeting: greeting.map(str::to_owned),
        };
        let scene = || vec![hello(None), hello(Some("Timmy is here.")), hello(Some("Timmy is here."))];
        assert_eq!(play(&mut LiveModel::with_region(), scene()), "|\nTimmy is here. |\n|\n");
        assert_eq!(play(&mut LiveModel::without_region(), scene()), "|\n|\n|\n");
    }

    #[test]
    fn a_question_stays_in_sight_until_it_is_answered() {
        let mut model = LiveModel::with_region();
        let scene = vec![asks("q", "May I?"), says("a", "1"), ends("q", "Allowed."), says("b", "2")];
        insta::assert_snapshot!(play(&mut model, scene), @r"
        | May I?
        1 | May I?
        Allowed. |
        2 |
        ");
    }

    #[test]
    fn a_long_question_is_printed_in_full_as_it_opens_and_not_again_unless_it_changes() {
        let long = "line\n".repeat(QUESTION_LINES + 1);
        let mut model = LiveModel::with_region();
        assert_eq!(texts(model.handle_message(asks("q", &long))), long);
        assert!(model.region()[0].printed);
        for number in 0..2 * REMEMBERED {
            model.handle_message(says(&number.to_string(), "by the way"));
        }
        assert_eq!(model.finish(), [], "it is forgotten while it is open");

        model.handle_message(asks("r", &long));
        assert_eq!(texts(model.handle_message(ends("r", "denied"))), "denied");
    }

    #[test]
    fn without_a_region_every_question_is_printed_as_it_opens() {
        let mut model = LiveModel::without_region();
        let scene = vec![starts("h", "load 1"), asks("q", "May I?"), asks("r", ""), ends("q", "Allowed.")];
        insta::assert_snapshot!(play(&mut model, scene), @r"
        | load 1
        May I? | load 1, May I?
        | load 1, May I?,
        Allowed. | load 1,
        ");
        assert_eq!(texts(model.finish()), "load 1");
    }

    #[test]
    fn an_edit_of_something_printed_shows_if_a_person_sees_a_change() {
        let mut model = LiveModel::with_region();
        let toned = |tone| ToTerminal::Edited(ShownMessage { tone, ..shown("a", "one") });
        model.handle_message(says("a", "one"));
        assert_eq!(model.handle_message(toned(Tone::Notice)), []);
        assert_eq!(texts(model.handle_message(toned(Tone::Failure))), "one");
        assert_eq!(texts(model.handle_message(ends("a", "two"))), "two");
        assert_eq!(texts(model.handle_message(ends("unknown", "three"))), "three");
    }

    #[test]
    fn what_was_said_earlier_is_printed_and_what_still_lives_is_not() {
        let mut model = LiveModel::with_region();
        let replayed = |message| match message {
            ToTerminal::Message(shown) => ToTerminal::Message(ShownMessage { replay: true, ..shown }),
            other => other,
        };
        let scene = [says("a", "old"), starts("h", "load 7"), asks("q", "May I?"), goes_on("h", "load 8")];
        insta::assert_snapshot!(play(&mut model, scene.map(replayed).into()), @r"
        old |
        | load 7
        | load 7, May I?
        | load 8, May I?
        ");
        let bye = ToTerminal::Bye { reason: "Stopping.".into() };
        assert_eq!(texts(model.handle_message(bye)), "load 8, May I?, Stopping.");
        assert_eq!(model.finish(), []);
    }

    #[derive(Clone, Copy, Debug)]
    enum Kind {
        Once,
        Live,
        Question,
    }

    fn state(id: u8, text: u8, kind: Kind) -> ShownMessage {
        let (id, text) = (id.to_string(), text.to_string());
        match (kind, asks(&id, &format!("{text}?"))) {
            (Kind::Question, ToTerminal::Message(question)) => question,
            (kind, _) => ShownMessage { live: matches!(kind, Kind::Live), ..shown(&id, &text) },
        }
    }

    proptest! {
        /// Whatever comes in whatever order: what is not open is printed at once, each message ends printed
        /// in its last state, and no state of a message is printed twice in a row.
        #[test]
        fn the_last_state_always_shows_and_nothing_shows_twice(
            has_region: bool,
            steps in prop::collection::vec(
                (0u8..24, 0u8..3, prop::sample::select(vec![Kind::Once, Kind::Live, Kind::Question])), 0..80),
        ) {
            let mut model = LiveModel { has_region, ..LiveModel::with_region() };
            let mut sent = std::collections::HashMap::new();
            let mut printed = Vec::new();
            for (id, text, kind) in steps {
                let state = state(id, text, kind);
                printed.extend(model.handle_message(ToTerminal::Edited(state.clone())));
                let open = model.region().iter().any(|open| open.shown.id == state.id);
                prop_assert_eq!(open, state.is_open());
                prop_assert!(model.region().len() <= MOST_OPEN);
                sent.insert(id, state);
            }
            printed.extend(model.finish());
            for last in sent.values() {
                let states: Vec<_> = printed.iter().filter_map(|print| match print {
                    PrintRequest::Message(shown) if shown.id == last.id => Some(&shown.markdown),
                    _ => None,
                }).collect();
                prop_assert_eq!(states.last(), Some(&&last.markdown));
                prop_assert!(states.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", states);
            }
        }
    }
}
