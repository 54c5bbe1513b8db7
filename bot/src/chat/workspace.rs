//! Where a room's agent works: in the room's own worktree, or in the main checkout. It is made ready before each prompt, in a task
//! outside the room's loop, and its ways out are opened for each new process.

use adapters::Room;
use pipeline::{
    Pipeline, PipelineError,
    memory::{self, MemoryBackground},
    rooms::{RoomReadiness, RoomWorkspace},
    worktree::RoomStanding,
};

use crate::{
    chat::{
        network::RoomConnection,
        received_files::ReceivedFile,
        session::SessionCloser,
        thread::{ReadThread, UnreadThread},
    },
    replies,
    sent_files::FileDelivery,
};

/// A workspace that is ready for a prompt.
pub struct EnteredRoom {
    pub workspace: RoomWorkspace,
    /// The worktree's own changes, where it has some.
    pub own: Option<RoomStanding>,
    /// Notices for the person, as sentences.
    pub notes: Vec<String>,
    /// Why it is here and not where the settings say, as a sentence.
    pub fallback: Option<String>,
    /// What came with the prompt.
    pub files: Vec<ReceivedFile>,
    /// What was said before it in its thread, where that was to be read.
    pub thread: Option<ReadThread>,
    pub memory: MemoryBackground,
}

impl EnteredRoom {
    fn at(workspace: RoomWorkspace) -> Self {
        Self {
            workspace,
            own: None,
            notes: Vec::new(),
            fallback: None,
            files: Vec::new(),
            thread: None,
            memory: MemoryBackground::default(),
        }
    }

    /// Where a process goes on, with a new task of a person's.
    fn living_at(workspace: RoomWorkspace) -> Self {
        if let Some(egress) = &workspace.egress {
            egress.forget_refusals();
        }
        Self::at(workspace)
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
    pub connection: RoomConnection,
    /// What came with the prompt.
    pub delivery: FileDelivery,
    pub thread: Option<UnreadThread>,
}

impl RoomEntrance {
    /// Makes the workspace ready. A process that cannot go on there is ended first.
    ///
    /// # Errors
    /// Why the room cannot work, as a sentence.
    pub async fn enter(mut self) -> Result<EnteredRoom, String> {
        let thread = self.thread.take();
        let delivery = FileDelivery {
            adapter: self.delivery.adapter.clone(),
            files: std::mem::take(&mut self.delivery.files),
        };
        let (project, room) = (self.pipeline.project().clone(), self.room.to_string());
        let entered = match self.worktree {
            true => self.enter_worktree().await?,
            false => self.enter_checkout().await?,
        };
        let thread = match thread {
            Some(thread) => thread.read(&*delivery.adapter).await,
            None => None,
        };
        let files = delivery.receive(entered.workspace.confined.place.received()).await;
        let remembered = tokio::task::spawn_blocking(move || memory::background(&project, Some(&room))).await;
        let memory = remembered.unwrap_or_default();
        Ok(EnteredRoom { files, thread, memory, ..entered })
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
                Ok(EnteredRoom { own, ..EnteredRoom::living_at(workspace) })
            }
            (RoomReadiness::Ready { workspace, own, notes }, _) => {
                if self.living.is_some() {
                    self.session.close().await;
                }
                let workspace = self.connection.open(&self.pipeline, *workspace).await?;
                Ok(EnteredRoom { own, notes, ..EnteredRoom::at(workspace) })
            }
            (RoomReadiness::NoBase(why), _) => {
                let why = replies::sentence(&why);
                let entered = self.enter_checkout().await.map_err(|error| format!("{why} {error}"))?;
                Ok(EnteredRoom { fallback: Some(replies::works_in_checkout(&why)), ..entered })
            }
            (RoomReadiness::Unchanged { .. } | RoomReadiness::Stale, _) => {
                Err(replies::WORKTREE_IN_USE.to_owned())
            }
        }
    }

    async fn enter_checkout(self) -> Result<EnteredRoom, String> {
        match self.living {
            Some(workspace) if workspace.branch.is_none() => Ok(EnteredRoom::living_at(workspace)),
            living => {
                if living.is_some() {
                    self.session.close().await;
                }
                let made = self.pipeline.checkout_for_room(&self.room.to_string()).await;
                let made = made.map_err(|error| sentence(&error))?;
                Ok(EnteredRoom::at(self.connection.open(&self.pipeline, made).await?))
            }
        }
    }
}

fn sentence(error: &PipelineError) -> String {
    replies::sentence(&error.to_string())
}
