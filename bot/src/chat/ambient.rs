//! Which rooms are ambient: remembered over restarts by writing `bot.toml` back.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use adapters::Room;
use parking_lot::Mutex;

use crate::config;

/// The ambient rooms. Cheap to clone.
#[derive(Clone)]
pub struct AmbientRooms {
    file: PathBuf,
    rooms: Arc<Mutex<BTreeSet<String>>>,
}

impl AmbientRooms {
    /// `rooms` are those of the configuration; changes are written to `file`.
    pub fn new(file: PathBuf, rooms: &[String]) -> Self {
        Self { file, rooms: Arc::new(Mutex::new(rooms.iter().cloned().collect())) }
    }

    /// Whether every message counts as addressed there.
    pub fn is_on(&self, room: &Room) -> bool {
        let rooms = self.rooms.lock();
        !rooms.is_empty() && rooms.contains(&room.to_string())
    }

    /// Turns it on or off, for this process even if the file cannot be written.
    ///
    /// Fails if the file cannot be written.
    pub fn set(&self, room: &Room, on: bool) -> anyhow::Result<()> {
        let mut rooms = self.rooms.lock();
        // The room changes its mode even if the file cannot be written: the person asked for it now, and
        // only a restart forgets it.
        let changed = if on { rooms.insert(room.to_string()) } else { rooms.remove(&room.to_string()) };
        if !changed {
            return Ok(());
        }
        let list: Vec<String> = rooms.iter().cloned().collect();
        config::write_ambient_rooms(&self.file, &list)
    }

    /// Applies a person's edit of the file; returns whether it differs.
    pub fn replace(&self, rooms: &[String]) -> bool {
        let rooms: BTreeSet<String> = rooms.iter().cloned().collect();
        let mut own = self.rooms.lock();
        let differs = *own != rooms;
        *own = rooms;
        differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BotConfig;

    #[test]
    fn it_is_remembered_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bot.toml");
        let room = Room::new("console", "main");
        let ambient = AmbientRooms::new(file.clone(), &[]);
        assert!(!ambient.is_on(&room));
        ambient.set(&room, true).unwrap();
        assert!(ambient.is_on(&room));
        assert_eq!(BotConfig::load(&file, |_| None).unwrap().config.ambient_rooms, ["console:main"]);
        ambient.set(&room, false).unwrap();
        assert!(BotConfig::load(&file, |_| None).unwrap().config.ambient_rooms.is_empty());
    }
}
