//! Orders of chat rooms: enter the room's worktree, land its changes, and notices about the stories that it landed.

use std::{convert::Infallible, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{refused, reply};
use crate::{
    board::WorkFolder,
    event::{Actor, LandingNews, PipelineEvent},
    handle::{Answer, PipelineError},
    orchestrator::{Orchestrator, lane::blocking, stories::StoryWork},
    rooms::{
        self, EnterRequest, LandError, LandRequest, LandedStory, PendingLand, RoomLandings, RoomReadiness,
        RoomSetting,
    },
    story::StoryId,
    strangers::QuarantineCause,
    worktree::RoomName,
};

impl Orchestrator {
    /// Outside the loop and its lanes: a new worktree of a large repository takes seconds, its setup minutes.
    pub(super) fn enter_room(&mut self, request: EnterRequest, answer: Answer<RoomReadiness>) {
        let (setting, merged) = (self.room_setting(), self.landings.merged(&request.name));
        let name = request.name.clone();
        let work = async move {
            let (mut answer, cancel) = (answer, CancellationToken::new());
            let entering = rooms::enter(setting, request, merged, &cancel);
            // Nobody waits any more: a person stopped the turn, or the room is gone.
            let unwanted = async {
                answer.closed().await;
                cancel.cancel();
                std::future::pending::<Infallible>().await
            };
            let entered = tokio::select! {
                entered = entering => entered,
                never = unwanted => match never {},
            };
            (entered, answer)
        };
        self.spawn(work, move |this, (entered, answer)| {
            let entry = match entered {
                Ok((entry, moved)) => {
                    if moved {
                        this.change_landings(&name, |record| record.landed.retain(|landed| !landed.merged));
                    }
                    Ok(entry)
                }
                Err(why) => refused(why),
            };
            reply(answer, entry);
        });
    }

    /// Commits and checks outside the lanes, then makes the story in the lane of the stories' files.
    pub(super) fn land(&mut self, request: LandRequest, by: Actor, answer: Answer<LandedStory>) {
        let RoomSetting { project, worktrees, base, .. } = self.room_setting();
        let (name, room) = (request.name.clone(), request.room.clone());
        let begin = move || rooms::begin(&worktrees, &project, &base, &request);
        self.spawn(blocking(begin), move |this, begun| match begun {
            Ok(Ok(pending)) => this.finish_landing((name, room), pending, by, answer),
            Ok(Err(error)) => this.publisher.answer(answer, Err(refusal(&error))),
            Err(why) => this.publisher.answer(answer, refused(why)),
        });
    }

    fn finish_landing(
        &mut self,
        (name, room): (RoomName, String),
        pending: PendingLand,
        by: Actor,
        answer: Answer<LandedStory>,
    ) {
        let project = self.context.project.clone();
        self.landings.change(&name, |record| {
            record.room = room;
            record.pending = Some(pending);
        });
        let finishing = name.clone();
        let finish = move |work: &WorkFolder| Ok(rooms::finish(work, &project, &finishing));
        let cause = |done: &Result<Result<LandedStory, LandError>, _>| {
            let story = done.as_ref().ok()?.as_ref().ok()?;
            Some((story.story.id(), by, Some("landed from a chat room".to_owned())))
        };
        self.work_with_cause(StoryWork::default(), finish, cause, move |this, done| {
            let landed = match done {
                Ok(landed) => landed.map_err(|error| refusal(&error)),
                Err(error) => Err(error.into()),
            };
            if let Ok(landed) = &landed {
                this.landings.change(&name, |record| record.note_landed(landed));
                // The person who landed it has started it.
                if let Some(story) = this.story(landed.story.id()) {
                    this.mark_started(&story);
                }
                this.quarantine_landed(landed);
            }
            this.publisher.answer(answer, landed);
        });
    }

    /// What a room of this machine landed has not come with the repository, though it may look so in a project
    /// that storkit has not served before.
    pub(in crate::orchestrator) fn release_landed(&mut self, id: StoryId) {
        let Self { stories, .. } = self;
        let cause = stories.started.quarantine(id).map(|quarantine| &quarantine.cause);
        if cause == Some(&QuarantineCause::Repository) {
            stories.started.release(id, &stories.lane);
        }
    }

    /// The changes of an agent that had read text by strangers may be theirs.
    pub(in crate::orchestrator) fn quarantine_landed(&mut self, landed: &LandedStory) {
        if !landed.read.is_empty() {
            let texts = landed.read.clone();
            let cause = QuarantineCause::Read { by: "a room's agent".into(), texts };
            self.set_quarantine(landed.story.id(), cause);
        }
    }

    fn room_setting(&self) -> RoomSetting {
        RoomSetting {
            project: self.context.project.clone(),
            worktrees: self.context.worktrees.clone(),
            settings: Arc::clone(&self.context.settings),
            config: Arc::clone(&self.config.in_force),
            base: self.config.base.clone(),
        }
    }

    /// Changes a room's record in memory, and on disk in the lane of the stories' files.
    fn change_landings(&mut self, room: &RoomName, change: impl Fn(&mut RoomLandings) + Send + 'static) {
        self.landings.change(room, &change);
        let (project, room) = (self.context.project.clone(), room.clone());
        self.stories.lane.push(move || {
            if let Err(error) = RoomLandings::change(&project, &room, change) {
                tracing::warn!(%room, %error, "the record of what a room landed cannot be written");
            }
        });
    }

    /// Tells the room that landed the story, if one did.
    pub(in crate::orchestrator) fn tell_room(&mut self, story: StoryId, title: &str, news: LandingNews) {
        let Some((name, room)) = self.landings.room_of(story) else { return };
        match news {
            LandingNews::Merged { .. } => {
                self.change_landings(&name, move |record| record.note_merged(story))
            }
            LandingNews::Deleted => self.change_landings(&name, move |record| record.forget(story)),
            LandingNews::Begun | LandingNews::SentBack { .. } => {}
        }
        let title = title.to_owned();
        self.publisher.emit(PipelineEvent::Landing { story, title, room, news });
    }
}

fn refusal(error: &LandError) -> PipelineError {
    PipelineError::Refused(error.to_string())
}
