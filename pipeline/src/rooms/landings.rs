//! The stories that rooms landed: `.storkit/run/land/SLUG.json`, one file for each room. Losing it costs a notice and the return to
//! base, never a change.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use git2::Oid;
use serde::{Deserialize, Serialize};
use settings::atomic;

use super::land::{LandedStory, PendingLand};
use crate::{
    Project,
    story::StoryId,
    worktree::{RoomName, WorktreeOwner},
};

/// The commits that a room landed, and those that it is landing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RoomLandings {
    /// `messenger:id`, for notices.
    pub room: String,
    /// Written before the first step, and taken away with the last one: the next start continues here.
    pub pending: Option<PendingLand>,
    pub landed: Vec<LandedCommit>,
}

/// A story and the commit of the room's branch that it began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LandedCommit {
    pub story: StoryId,
    pub commit: String,
    /// Whether base has it.
    #[serde(default)]
    pub merged: bool,
}

/// All rooms' records, read once; changes are written by who makes them.
pub(crate) struct Landings {
    rooms: BTreeMap<RoomName, RoomLandings>,
}

impl RoomLandings {
    /// The record of a room; an empty one where there is none. Blocks.
    pub(crate) fn read(project: &Project, room: &RoomName) -> Self {
        // One that cannot be read counts as none, as losing it does no harm.
        fs::read(path(project, room))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    /// Reads, changes and writes the record. One writer at a time: the lane of the stories' files. Blocks.
    pub(crate) fn change(
        project: &Project,
        room: &RoomName,
        change: impl FnOnce(&mut Self),
    ) -> io::Result<()> {
        let mut record = Self::read(project, room);
        let before = record.clone();
        change(&mut record);
        if record == before {
            return Ok(());
        }
        let path = path(project, room);
        if record.pending.is_none() && record.landed.is_empty() {
            return fs::remove_file(path);
        }
        fs::create_dir_all(folder(project))?;
        atomic::write(&path, &serde_json::to_vec(&record)?)
    }

    pub(crate) fn note_landed(&mut self, landed: &LandedStory) {
        self.pending = None;
        // Those that base has: only the last landing holds the room.
        self.landed.retain(|landed| !landed.merged);
        let (story, commit) = (landed.story.id(), landed.commit.clone());
        self.landed.push(LandedCommit { story, commit, merged: false });
    }

    pub(crate) fn forget(&mut self, story: StoryId) {
        self.landed.retain(|landed| landed.story != story);
    }

    pub(crate) fn note_merged(&mut self, story: StoryId) {
        self.landed.iter_mut().filter(|landed| landed.story == story).for_each(|landed| landed.merged = true);
    }

    /// The commit up to which base has the room's changes, if it is the last that was landed.
    fn merged(&self) -> Option<Oid> {
        let last = self.landed.last().filter(|landed| landed.merged)?;
        Oid::from_str(&last.commit).ok()
    }
}

impl Landings {
    /// Reads all records. Of a merge that the last storkit did not note, `is_merged` knows. Blocks.
    pub(crate) fn read(project: &Project, is_merged: impl Fn(StoryId) -> bool) -> Self {
        let entries = fs::read_dir(folder(project)).into_iter().flatten().flatten();
        let room = |path: PathBuf| RoomName::parse(path.file_stem()?.to_str()?);
        let rooms = entries.filter_map(|entry| room(entry.path()));
        let record = |room: RoomName| {
            let mut record = RoomLandings::read(project, &room);
            record.landed.iter_mut().for_each(|landed| landed.merged |= is_merged(landed.story));
            (room, record)
        };
        Self { rooms: rooms.map(record).collect() }
    }

    pub(crate) fn rooms(&self) -> impl Iterator<Item = (&RoomName, &RoomLandings)> {
        self.rooms.iter()
    }

    /// All stories that rooms landed.
    pub(crate) fn stories(&self) -> Vec<StoryId> {
        self.rooms.values().flat_map(|record| &record.landed).map(|landed| landed.story).collect()
    }

    /// The room that landed the story.
    pub(crate) fn room_of(&self, story: StoryId) -> Option<(RoomName, String)> {
        let landed = |record: &RoomLandings| record.landed.iter().any(|landed| landed.story == story);
        let found = self.rooms.iter().find(|(_, record)| landed(record));
        found.map(|(name, record)| (name.clone(), record.room.clone()))
    }

    pub(crate) fn merged(&self, room: &RoomName) -> Option<Oid> {
        self.rooms.get(room)?.merged()
    }

    /// Changes a record in memory, as the same change is made on disk.
    pub(crate) fn change(&mut self, room: &RoomName, change: impl FnOnce(&mut RoomLandings)) {
        let record = self.rooms.entry(room.clone()).or_default();
        change(record);
        if record.pending.is_none() && record.landed.is_empty() {
            self.rooms.remove(room);
        }
    }
}

fn folder(project: &Project) -> PathBuf {
    project.run_dir().join("land")
}

fn path(project: &Project, room: &RoomName) -> PathBuf {
    folder(project).join(format!("{}.json", WorktreeOwner::from(room)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    fn landed(story: u32, commit: char, merged: bool) -> LandedCommit {
        LandedCommit { story: StoryId(story), commit: commit.to_string().repeat(40), merged }
    }

    #[test]
    fn a_record_is_there_for_the_next_start_and_gone_when_nothing_is_left_in_it() {
        let fixture = WorktreeFixture::new();
        let room = RoomName::of("fake:a");
        let change = |change: &dyn Fn(&mut RoomLandings)| {
            RoomLandings::change(&fixture.project, &room, change).expect("written");
        };
        change(&|record| {
            record.room = "fake:a".into();
            record.landed = vec![landed(1, 'a', false), landed(2, 'b', false)];
        });
        let read = Landings::read(&fixture.project, |_| false);
        assert_eq!(read.room_of(StoryId(2)), Some((room.clone(), "fake:a".into())));
        assert_eq!((read.room_of(StoryId(3)), read.merged(&room)), (None, None));
        change(&|record| record.note_merged(StoryId(1)));
        assert_eq!(
            Landings::read(&fixture.project, |_| false).merged(&room),
            None,
            "the later one is not merged"
        );
        change(&|record| record.note_merged(StoryId(2)));
        assert_eq!(
            Landings::read(&fixture.project, |_| false).merged(&room),
            Oid::from_str(&"b".repeat(40)).ok()
        );
        change(&|record| record.landed.clear());
        assert!(!path(&fixture.project, &room).exists());
    }

    #[test]
    fn a_damaged_record_counts_as_none() {
        let fixture = WorktreeFixture::new();
        let room = RoomName::of("fake:a");
        fs::create_dir_all(folder(&fixture.project)).expect("a folder");
        fs::write(path(&fixture.project, &room), "{\"landed\": [").expect("half a file");
        assert_eq!(RoomLandings::read(&fixture.project, &room), RoomLandings::default());
    }
}
