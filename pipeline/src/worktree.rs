//! The worktree of a story or of a chat room: a checkout of its own on a branch of its own, made, repaired, listed and removed
//! here.
//!
//! The git data is laid out so that a sandbox can bind a story's part alone: `layout` has all paths, `enclosed`
//! separates a confined agent's writes from git's own files until `import` has checked them.

#[cfg(test)]
mod attacks;
mod components;
#[cfg(test)]
pub(crate) mod confined;
#[cfg(test)]
mod confined_network;
mod copied_files;
mod detached;
mod enclosed;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod following;
mod hooks;
mod ignore_file;
mod import;
mod large_files;
mod layout;
#[cfg(test)]
mod lfs_contents;
#[cfg(test)]
pub(crate) mod mischief;
mod name;
mod operation;
mod owner;
mod prepare;
mod remove;
#[cfg(test)]
mod reuse;
mod rewritten;
mod scrub;
mod setup;
mod setup_record;
mod slots;
mod submodules;
mod vacate;
mod worktrees;

pub use self::{
    components::{ComponentError, ComponentPhase, ComponentProgress, run_components},
    detached::DetachedWorktree,
    error::WorktreeError,
    following::{FollowResult, RoomStanding},
    import::{ImportError, ImportResult},
    layout::WorktreeLayout,
    name::{BRANCH_PREFIX, BadWorktreeName, WorktreeName},
    operation::GitOperation,
    owner::{ROOM_BRANCHES, RoomName, WorktreeOwner},
    remove::{BranchFate, WorktreeRemains, remove_tree},
    rewritten::BaseFollowed,
    slots::{assigned_slots, story_folder},
    worktrees::{AGENT_DOMAIN, SizeLimits, Worktree, Worktrees},
};
pub(crate) use self::{
    enclosed::show_settings,
    layout::{KEEP, WorktreeListLock, make_home},
    scrub::scrub,
    setup::{SetupPlace, SetupRun, set_up},
    setup_record::SetupRecord,
    submodules::fill_submodules,
};
