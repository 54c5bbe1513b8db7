//! Chat rooms as the pipeline sees them: a room's worktree with its wall (`workspace`), the stories that it landed
//! (`landings`), and how its changes become one (`land`).

mod land;
mod landings;
mod workspace;

pub use self::{
    land::LandedStory,
    workspace::{RoomReadiness, RoomStatus, RoomWorkspace},
};
pub(crate) use self::{
    land::{LandError, LandRequest, PendingLand, begin, finish, recover},
    landings::{Landings, RoomLandings},
    workspace::{EnterRequest, RoomSetting, enter, idle_rooms, remove_idle},
};
