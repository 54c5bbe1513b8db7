//! Work that ends with the program, at the terminal that leaves it.

use std::collections::BTreeMap;

use adapters::Room;
use agents::claude::BackgroundTask;
use pipeline::{event::PipelineSnapshot, story::StoryId};

use super::{background::plain_background_name, terminal::ENDED, visible::visible_line};

/// Characters of a name.
const NAME_MAX: usize = 60;

/// What goes on in a room at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomWork {
    /// For whom the turn under way is.
    pub turn: Option<String>,
    pub background: Vec<BackgroundTask>,
}

/// Everything that goes on: turns, what rooms do in the background, runs and merges of stories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenWork {
    pub rooms: BTreeMap<Room, RoomWork>,
    /// The stories that agents work on, with the worker.
    pub runs: Vec<(StoryId, String)>,
    pub merges: Vec<StoryId>,
}

impl OpenWork {
    pub fn of(rooms: BTreeMap<Room, RoomWork>, snapshot: &PipelineSnapshot) -> Self {
        let runs = snapshot.runs.iter();
        let runs = runs.filter_map(|run| Some((run.on_story()?, run.slot.clone()))).collect();
        Self { rooms, runs, merges: snapshot.merges.keys().copied().collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.runs.is_empty() && self.merges.is_empty()
    }

    /// The part of it that is not of this room alone: stories belong to everybody.
    #[must_use]
    pub fn of_others_than(mut self, own: &Room) -> Self {
        self.rooms.remove(own);
        self
    }
}

/// The last line in a terminal: what ended with the program, if anything did.
pub fn program_ended(work: &OpenWork) -> String {
    match work.is_empty() {
        true => ENDED.into(),
        false => format!("{ENDED} It ended {}. The next start reports it.", list(work)),
    }
}

/// Asks before other people's work ends; answered on the same line.
pub fn ask_to_end(work: &OpenWork) -> String {
    format!("Leaving ends storkit, and with it {}. End it? [y/N] ", list(work))
}

fn list(work: &OpenWork) -> String {
    let plain = |text: &str| visible_line(text, NAME_MAX);
    let of_room = |(room, work): (&Room, &RoomWork)| {
        let turn = work.turn.iter().map(|who| format!("the turn for {}", plain(who)));
        let tasks =
            work.background.iter().map(|task| format!("{} in the background", plain_background_name(task)));
        format!("{} in {}", turn.chain(tasks).collect::<Vec<_>>().join(", "), plain(&room.to_string()))
    };
    let rooms = work.rooms.iter().map(of_room);
    let runs =
        work.runs.iter().map(|(story, worker)| format!("the work of {} on story {story}", plain(worker)));
    let merges = work.merges.iter().map(|story| format!("the merge of story {story}"));
    rooms.chain(runs).chain(merges).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use agents::claude::BackgroundKind;

    use super::*;

    fn work() -> OpenWork {
        let task =
            BackgroundTask { id: "b1".into(), kind: BackgroundKind::Command, description: "count".into() };
        let work = RoomWork { turn: Some("Ann".into()), background: vec![task] };
        OpenWork {
            rooms: [(Room::new("slack", "C1"), work)].into(),
            runs: vec![(StoryId(7), "coder".into())],
            merges: vec![StoryId(8)],
        }
    }

    #[test]
    fn all_that_ends_is_named_on_one_line() {
        insta::assert_snapshot!(program_ended(&work()), @r#"storkit has ended. It ended the turn for Ann, command "count" in the background in slack:C1; the work of coder on story 7; the merge of story 8. The next start reports it."#);
        insta::assert_snapshot!(program_ended(&OpenWork::default()), @"storkit has ended.");
        insta::assert_snapshot!(ask_to_end(&OpenWork { rooms: BTreeMap::new(), merges: Vec::new(), ..work() }), @"Leaving ends storkit, and with it the work of coder on story 7. End it? [y/N]");
    }

    #[test]
    fn the_work_of_ones_own_room_is_nobody_elses_and_a_story_is_everybodys() {
        let own = OpenWork { runs: Vec::new(), merges: Vec::new(), ..work() };
        assert!(!own.is_empty() && own.clone().of_others_than(&Room::new("slack", "C1")).is_empty());
        assert!(!own.of_others_than(&Room::new("slack", "C2")).is_empty());
        assert!(!work().of_others_than(&Room::new("slack", "C1")).is_empty());
    }
}
