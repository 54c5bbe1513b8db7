//! Chat rooms as the pipeline sees them: a room's worktree with its wall (`workspace`), the stories that it landed
//! (`landings`), how its changes become one (`land`) or are thrown away (`discard`), and its part of the network (`network`).

mod discard;
mod land;
mod landings;
mod network;
mod workspace;

pub(crate) use self::{
    discard::forget_old_copies,
    land::{LandError, LandRequest, PendingLand, begin, finish, recover},
    landings::{Landings, RoomLandings},
    workspace::{EnterRequest, RoomSetting, enter, idle_rooms, remove_idle},
};
pub use self::{
    discard::{DiscardedChanges, RoomChanges},
    land::LandedStory,
    network::{ROOM_NETWORK, RoomNetwork, connect},
    workspace::{RoomReadiness, RoomStatus, RoomWorkspace, scratch_workspace},
};
