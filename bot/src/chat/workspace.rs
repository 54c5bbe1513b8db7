//! Where a room's agent works: in the room's own worktree, or in the main checkout. It is made ready before each prompt, in a task
//! outside the room's loop.

use adapters::Room;
use pipeline::{
    Pipeline, PipelineError,
    rooms::{RoomReadiness, RoomWorkspace},
    worktree::RoomStanding,
};

use crate::{chat::session::SessionCloser, replies};

/// A workspace that is ready for a prompt.
pub struct EnteredRoom {
    pub workspace: RoomWorkspace,
    /// The worktree's own changes, where it has some.
    pub own: Option<RoomStanding>,
    /// Notices for the person, as sentences.
    pub notes: Vec<String>,
    /// Why it is the main checkout and not a worktree, as a sentence.
    pub fallback: Option<String>,
}

impl EnteredRoom {
    fn at(workspace: RoomWorkspace) -> Self {
        Self { workspace, own: None, notes: Vec::new(), fallback: None }
    }
}

/// A room that is about to work.
pub struct RoomEntrance {
    pub pipeline: Pipeline,
    pub room: Room,
    /// Whether it is to work in a worktree of its own.
    pub worktree: bool,
    /// Where its process lives now.
    pub living: Option<RoomWorkspace>,
    pub session: SessionCloser,
}

impl RoomEntrance {
    /// Makes the workspace ready. A process that cannot go on there is ended first.
    ///
    /// # Errors
    /// Why the room cannot work, as a sentence.
    pub async fn enter(self) -> Result<EnteredRoom, String> {
        match self.worktree {
            true => self.enter_worktree().await,
            false => self.enter_checkout().await,
        }
    }

    async fn enter_worktree(self) -> Result<EnteredRoom, String> {
        let room = self.room.to_string();
        let stays = self.living.clone().filter(|workspace| workspace.branch.is_some());
        let enter =
            async |living| self.pipeline.enter_room(&room, living).await.map_err(|error| sentence(&error));
        let mut entry = enter(stays.is_some()).await?;
        if matches!(entry, RoomReadiness::Stale) {
            // Nothing moves below a living process.
            self.session.close().await;
            entry = enter(false).await?;
        }
        match (entry, stays) {
            (RoomReadiness::Unchanged { own }, Some(workspace)) => {
                Ok(EnteredRoom { own, ..EnteredRoom::at(workspace) })
            }
            (RoomReadiness::Ready { workspace, own, notes }, _) => {
                if self.living.is_some() {
                    self.session.close().await;
                }
                Ok(EnteredRoom { own, notes, ..EnteredRoom::at(*workspace) })
            }
            (RoomReadiness::NoBase(why), _) => {
                let entered = self.enter_checkout().await?;
                Ok(EnteredRoom { fallback: Some(replies::sentence(&why)), ..entered })
            }
            (RoomReadiness::Unchanged { .. } | RoomReadiness::Stale, _) => {
                Err(replies::WORKTREE_IN_USE.to_owned())
            }
        }
    }

    async fn enter_checkout(self) -> Result<EnteredRoom, String> {
        match self.living {
            Some(workspace) if workspace.branch.is_none() => Ok(EnteredRoom::at(workspace)),
            living => {
                if living.is_some() {
                    self.session.close().await;
                }
                let made = self.pipeline.checkout_for_room(&self.room.to_string()).await;
                made.map(EnteredRoom::at).map_err(|error| sentence(&error))
            }
        }
    }
}

fn sentence(error: &PipelineError) -> String {
    replies::sentence(&error.to_string())
}
