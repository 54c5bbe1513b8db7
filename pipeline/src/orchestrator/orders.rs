//! Orders of people and agents: checked against the state, carried out in a lane, answered when they are done.

mod decisions;
mod delete;
mod rooms;
mod runs;

use std::sync::Arc;

use super::{
    Orchestrator,
    lane::{DeferredEvent, blocking},
    stories::{FrontEdit, StoryStep, StoryWork},
};
use crate::{
    board::{AttachedFile, FileToAttach, WorkError, WorkFolder, dependency_fault},
    event::Actor,
    handle::{Answer, Author, NewStory, PipelineError, PipelineOrder, StoryChange},
    history::StoryAct,
    memory::{self, MemoryChange, MemoryFault, MemoryNote, MemoryScope},
    rooms::RoomReadiness,
    specs::{self, ProjectSpecs},
    story::{
        EditError, KeyValue, PLAN_KEY, Story, StoryDocument, StoryId,
        stage::{Mover, Role, Stage},
        templates,
    },
    strangers::QuarantineCause,
};

type Done<T> = Result<T, PipelineError>;

fn refused<T>(why: impl Into<String>) -> Done<T> {
    Err(PipelineError::Refused(why.into()))
}

/// Answers with the error of a check.
macro_rules! checked {
    ($this:ident, $answer:ident, $check:expr) => {
        match $check {
            Ok(found) => found,
            Err(error) => return $this.publisher.answer($answer, Err(error)),
        }
    };
}
use checked;

impl Orchestrator {
    // An order sees the effect of all earlier ones: while a story's files are worked on, orders for it wait.
    pub(super) fn take_order(&mut self, order: PipelineOrder) {
        match order.story() {
            // What concerns a living process needs no file.
            Some(story)
                if matches!(order, PipelineOrder::Stop(..) | PipelineOrder::Tell(..))
                    && self.runs.at_work(story).is_some() =>
            {
                self.handle_order(order);
            }
            Some(story) => self.take_event(story, DeferredEvent::Order(Box::new(order))),
            None => self.handle_order(order),
        }
    }

    pub(super) fn handle_order(&mut self, order: PipelineOrder) {
        match order {
            PipelineOrder::Create(new, author, answer) => self.create(new, author, answer),
            PipelineOrder::Update(id, change, author, answer) => self.update(id, change, author, answer),
            PipelineOrder::Release(id, by, answer) => self.release(id, &by, answer),
            PipelineOrder::Attach(id, files, answer) => self.attach(id, files, answer),
            PipelineOrder::Detach(id, name, answer) => self.detach(id, name, answer),
            PipelineOrder::Tick(id, criterion, done, answer) => {
                checked!(self, answer, self.changeable(id));
                self.edit(
                    id,
                    move |document| document.tick(criterion, done),
                    move |this, ticked| {
                        this.publisher.answer(answer, ticked);
                    },
                );
            }
            PipelineOrder::Start(id, agent, by, answer) => self.start(id, agent, by, answer),
            PipelineOrder::Stop(target, by, answer) => self.stop(&target, &by, answer),
            PipelineOrder::Tell(id, message, answer) => {
                let told = self.tell(id, message);
                self.publisher.answer(answer, told);
            }
            PipelineOrder::Prefer(id, agent, by, answer) => {
                let edit = checked!(self, answer, self.preference(id, agent.clone()));
                self.edit_and_answer(id, vec![edit], answer, move |this| {
                    this.publisher.record(id, StoryAct::Assigned { agent: Some(agent), by });
                    Ok(())
                });
            }
            PipelineOrder::Move(id, to, by, answer) => self.move_by_hand(id, to, by, answer),
            PipelineOrder::Retry(id, by, answer) => self.retry(id, &by, answer),
            PipelineOrder::Review(id, review, by, answer) => self.review(id, review, by, answer),
            PipelineOrder::Delete(id, by, answer) => self.delete(id, by, answer),
            PipelineOrder::Merge(id, by, answer) => self.merge(id, &by, answer),
            PipelineOrder::MergeFailed(id, why, by, answer) => self.give_up_merge(id, &why, &by, answer),
            PipelineOrder::EnterRoom(request, answer) => self.enter_room(request, answer),
            PipelineOrder::Land(request, by, answer) => self.land(request, by, answer),
            PipelineOrder::WriteSpecs(specs, answer) => self.write_specs(specs, answer),
            PipelineOrder::Memory(scope, change, answer) => self.change_memory(scope, change, answer),
            PipelineOrder::ReviewBranch(name, room, by, answer) => self.review_branch(name, room, by, answer),
            PipelineOrder::Plan(run, plan, answer) => {
                let taken = self.take_plan(&run, plan);
                self.publisher.answer(answer, Ok(taken));
            }
            PipelineOrder::Findings(run, found, answer) => {
                let taken = self.take_findings(&run, found);
                self.publisher.answer(answer, taken);
            }
            PipelineOrder::ReadParked(id, answer) => {
                self.read_parked(id);
                self.publisher.answer(answer, Ok(()));
            }
            PipelineOrder::Rescan(answer) => {
                self.work_on(StoryWork::default(), WorkFolder::scan, move |this, scanned| {
                    this.publisher.answer(answer, scanned.map(drop).map_err(Into::into));
                });
            }
            PipelineOrder::Shutdown(answer) => self.close(answer),
        }
    }

    fn create(&mut self, new: NewStory, author: Author, answer: Answer<Story>) {
        for id in &new.depends_on {
            checked!(self, answer, self.known(*id).map(drop));
        }
        let create = move |work: &WorkFolder| {
            work.create_with(new.kind, &new.title, new.text().as_deref(), |document| {
                if !new.depends_on.is_empty() {
                    document.set("depends_on", new.depends_on.as_slice())?;
                }
                match &new.conversation {
                    Some(conversation) => document.set("conversation", KeyValue::Data(conversation.data())),
                    None => Ok(()),
                }
            })
        };
        let by = author.by.clone();
        let cause = |created: &Result<Story, WorkError>| Some((created.as_ref().ok()?.id(), by, None));
        self.work_with_cause(StoryWork::default(), create, cause, move |this, created| {
            if let Ok(story) = &created {
                this.note_author(story.id(), author);
            }
            this.publisher.answer(answer, created.map_err(Into::into));
        });
    }

    /// A story whose author has read text by strangers may be theirs.
    fn note_author(&mut self, id: StoryId, Author { by, read }: Author) {
        if !read.is_empty() {
            self.set_quarantine(id, QuarantineCause::Read { by: by.to_string(), texts: read });
        }
    }

    /// An agent neither starts nor moves nor merges a story in quarantine, whoever allows it: the answer to a question does not show that
    /// a person has read the story.
    fn not_for_agents(&self, id: StoryId, by: &Actor) -> Done<()> {
        match (by, self.stories.started.quarantine(id)) {
            (Actor::Agent(_) | Actor::Approved(_), Some(_)) => {
                refused(format!("story {id} is in quarantine, so a person decides about it."))
            }
            (_, None) | (Actor::Person(_) | Actor::Pipeline | Actor::Editor, Some(_)) => Ok(()),
        }
    }

    /// A person has decided about the story: from here on it is their idea again.
    fn on_person_spoke(&mut self, id: StoryId, by: &Actor) {
        if matches!(by, Actor::Person(_)) {
            self.memos.change(id, |memo| memo.read.clear());
        }
    }

    /// A change that a person or an agent asked for.
    fn edit<T: Send + 'static>(
        &mut self,
        id: StoryId,
        change: impl Fn(&mut StoryDocument) -> Result<T, EditError> + Send + 'static,
        then: impl FnOnce(&mut Self, Done<T>) + Send + 'static,
    ) {
        let edit = move |work: &WorkFolder| work.edit(id, change);
        self.work_on(StoryWork::on(id), edit, move |this, edited| then(this, edited.map_err(Into::into)));
    }

    fn edit_and_answer<T: Send + 'static>(
        &mut self,
        id: StoryId,
        edits: Vec<FrontEdit>,
        answer: Answer<T>,
        then: impl FnOnce(&mut Self) -> Done<T> + Send + 'static,
    ) {
        self.steps_and_answer(StoryWork::on(id), (id, vec![StoryStep::Edit(edits)]), answer, then);
    }

    fn steps_and_answer<T: Send + 'static>(
        &mut self,
        about: StoryWork,
        (id, steps): (StoryId, Vec<StoryStep>),
        answer: Answer<T>,
        then: impl FnOnce(&mut Self) -> Done<T> + Send + 'static,
    ) {
        self.take_steps(about, id, steps, move |this, done| {
            let done = done.map_err(Into::into).and_then(|()| then(this));
            this.publisher.answer(answer, done);
        });
    }

    fn update(&mut self, id: StoryId, change: StoryChange, author: Author, answer: Answer<Story>) {
        checked!(self, answer, self.check_change(id, &change));
        let acts = acts_of(&change, &author.by);
        let edit = move |work: &WorkFolder| {
            let has_new_text = change.body.is_some();
            work.edit(id, |document| {
                apply(document, &change)?;
                // A new text may leave out what its author did not see.
                if has_new_text { work.name_files(id, document) } else { Ok(()) }
            })
        };
        self.work_on(StoryWork::on(id), edit, move |this, edited| {
            if edited.is_ok() {
                acts.into_iter().for_each(|act| this.publisher.record(id, act));
                this.note_author(id, author);
                this.memos.change(id, |memo| memo.is_edited = true);
            }
            let edited = edited.map_err(Into::into).and_then(|()| this.known(id));
            this.publisher.answer(answer, edited.map(|story| Story::clone(&story)));
        });
    }

    fn attach(&mut self, id: StoryId, files: Vec<FileToAttach>, answer: Answer<Vec<AttachedFile>>) {
        checked!(self, answer, self.changeable(id));
        let attach = move |work: &WorkFolder| work.attach(id, files);
        self.work_on(StoryWork::on(id), attach, move |this, attached| {
            if attached.is_ok() {
                this.memos.change(id, |memo| memo.is_edited = true);
                // The board's branch keeps them also while it does not keep the story.
                this.stories.commits.want();
            }
            this.publisher.answer(answer, attached.map_err(Into::into));
        });
    }

    fn detach(&mut self, id: StoryId, name: String, answer: Answer<()>) {
        checked!(self, answer, self.changeable(id));
        let detach = move |work: &WorkFolder| work.detach(id, &name);
        self.work_on(StoryWork::on(id), detach, move |this, detached| {
            if detached.is_ok() {
                this.memos.change(id, |memo| memo.is_edited = true);
                this.stories.commits.want();
            }
            this.publisher.answer(answer, detached.map_err(Into::into));
        });
    }

    fn check_change(&self, id: StoryId, change: &StoryChange) -> Done<()> {
        self.changeable(id)?;
        if let Some(agent) = change.agent.as_deref().filter(|agent| !agent.is_empty()) {
            self.preference(id, agent.to_owned())?;
        }
        let on = change.depends_on.as_deref().unwrap_or_default();
        match dependency_fault(&self.stories.board, id, on) {
            Some(fault) => refused(fault),
            None => Ok(()),
        }
    }

    /// Refuses to change what is merged: its file is the record of what was done.
    fn changeable(&self, id: StoryId) -> Done<()> {
        match self.known(id)?.stage {
            Stage::Done | Stage::Archived => {
                refused(format!("story {id} is merged, so its file stays as it is; write a new story."))
            }
            Stage::Backlog | Stage::Current | Stage::Qa | Stage::Merge => Ok(()),
        }
    }

    /// The story, if it can be acted on.
    pub(super) fn known(&self, id: StoryId) -> Done<Arc<Story>> {
        let board = &self.stories.board;
        match (board.story(id), board.problem(id)) {
            (Some(story), _) => Ok(Arc::clone(story)),
            (None, Some(problem)) => refused(problem.to_string()),
            (None, None) => Err(WorkError::Unknown(id).into()),
        }
    }

    fn known_agent(&self, name: &str) -> Done<Role> {
        let slots = self.slots();
        match slots.iter().find(|slot| slot.agent == name || slot.name == name) {
            Some(slot) => Ok(slot.role),
            None => {
                let names: Vec<&str> =
                    self.config.in_force.agents.iter().map(|agent| agent.name.as_str()).collect();
                refused(format!("there is no agent `{name}`; there are `{}`.", names.join("`, `")))
            }
        }
    }

    /// The story, if no run of it is under way.
    fn idle(&self, id: StoryId) -> Done<Arc<Story>> {
        let story = self.known(id)?;
        match self.runs.of(id) {
            Some(run) => refused(format!("`{}` works on story {id} already.", run.slot)),
            None => Ok(story),
        }
    }

    fn preference(&self, id: StoryId, agent: String) -> Done<FrontEdit> {
        let story = self.known(id)?;
        let role = self.known_agent(&agent)?;
        if role != story.stage.role().unwrap_or(Role::Coder) {
            return refused(format!(
                "`{agent}` does not do what story {id} needs in {}: it would never be given it.",
                story.stage
            ));
        }
        Ok(FrontEdit::Prefer(agent))
    }

    fn move_by_hand(&mut self, id: StoryId, to: Stage, by: Actor, answer: Answer<Story>) {
        let story = checked!(self, answer, self.known(id));
        if let Some(run) = self.runs.at_work(id) {
            let why = format!("`{}` works on story {id}. `stop {id}` first.", run.slot);
            return self.publisher.answer(answer, refused(why));
        }
        checked!(self, answer, self.not_landing(id));
        checked!(self, answer, self.not_for_agents(id, &by));
        match story.stage.role() {
            None => self.mark_started(&story),
            Some(_) => self.mark_started_by(&by, &story),
        }
        let mover = mover(&by);
        let about = StoryWork::on(id).by(by, None);
        let move_it = move |work: &WorkFolder| work.move_story(id, to, mover);
        self.work_on(about, move_it, move |this, moved| {
            this.publisher.answer(answer, moved.map_err(Into::into))
        });
    }

    fn write_specs(&mut self, specs: ProjectSpecs, answer: Answer<()>) {
        let (project, base) = (self.context.project.clone(), self.config.base.clone());
        let own = self.context.own.clone();
        let write = blocking(move || specs::write(&project, &base, &specs, &own));
        self.spawn(async move { write.await.and_then(|written| written) }, move |this, written| {
            this.publisher.answer(answer, written.or_else(refused));
        });
    }

    /// In the lane of the stories' files, so that two changes never overlap.
    fn change_memory(
        &mut self,
        scope: MemoryScope,
        change: MemoryChange,
        answer: Answer<Result<MemoryNote, MemoryFault>>,
    ) {
        let project = self.context.project.clone();
        let work = move |_: &WorkFolder| Ok(memory::change(&project, &scope, change));
        self.work_on(StoryWork::default(), work, move |this, changed| {
            if matches!(changed, Ok(Ok(_))) {
                this.stories.commits.want();
                this.commit_if_due();
            }
            this.publisher.answer(answer, changed.map_err(Into::into));
        });
    }

    fn not_landing(&self, id: StoryId) -> Done<()> {
        match self.merges.is_landing(id) {
            true => refused(format!("story {id} is being merged right now.")),
            false => Ok(()),
        }
    }
}

/// By whose rules a story moves.
fn mover(by: &Actor) -> Mover {
    match by {
        Actor::Pipeline => Mover::Pipeline,
        Actor::Person(_) | Actor::Approved(_) | Actor::Agent(_) | Actor::Editor => Mover::Person,
    }
}

/// What a change is in the story's history.
fn acts_of(change: &StoryChange, by: &Actor) -> Vec<StoryAct> {
    let assigned = change.agent.as_ref().map(|agent| StoryAct::Assigned {
        agent: (!agent.is_empty()).then(|| agent.clone()),
        by: by.clone(),
    });
    let StoryChange { title, body, agent: _, manual_qa, plan, depends_on, criteria } = change;
    let is_edit = title.is_some()
        || body.is_some()
        || manual_qa.is_some()
        || plan.is_some()
        || depends_on.is_some()
        || criteria.is_some();
    assigned.into_iter().chain(is_edit.then(|| StoryAct::Edited { by: by.clone() })).collect()
}

fn apply(document: &mut StoryDocument, change: &StoryChange) -> Result<(), EditError> {
    if let Some(title) = &change.title {
        document.set_title(title)?;
    }
    match change.agent.as_deref() {
        Some("") => document.remove("agent")?,
        Some(agent) => document.set("agent", agent)?,
        None => {}
    }
    if let Some(held) = change.manual_qa {
        document.set("manual_qa", held)?;
    }
    match change.plan {
        Some(true) => document.set(PLAN_KEY, true)?,
        Some(false) => document.remove(PLAN_KEY)?,
        None => {}
    }
    match change.depends_on.as_deref() {
        Some([]) => document.remove("depends_on")?,
        Some(stories) => document.set("depends_on", stories)?,
        None => {}
    }
    if let Some(text) = &change.body {
        document.set_text_below_title(text)?;
    }
    match &change.criteria {
        Some(criteria) => {
            let body = templates::with_criteria(document.body(), criteria);
            document.set_body(&body)
        }
        None => Ok(()),
    }
}

fn reply<T>(answer: Answer<T>, done: Done<T>) {
    // Fails where nobody waits any more.
    let _ = answer.send(done);
}

/// Answers an order of a pipeline that cannot work. Returns whether it was the last one.
pub(super) fn refuse(order: PipelineOrder, why: &str) -> bool {
    fn no<T>(answer: Answer<T>, why: &str) -> bool {
        reply(answer, refused(why));
        false
    }
    match order {
        PipelineOrder::Create(.., answer)
        | PipelineOrder::Update(.., answer)
        | PipelineOrder::Move(.., answer) => no(answer, why),
        PipelineOrder::Tick(.., answer)
        | PipelineOrder::Detach(.., answer)
        | PipelineOrder::Prefer(.., answer)
        | PipelineOrder::Review(.., answer)
        | PipelineOrder::MergeFailed(.., answer)
        | PipelineOrder::Release(.., answer)
        | PipelineOrder::WriteSpecs(.., answer)
        | PipelineOrder::Findings(.., answer)
        | PipelineOrder::ReadParked(_, answer)
        | PipelineOrder::Rescan(answer) => no(answer, why),
        PipelineOrder::Start(.., answer) | PipelineOrder::Retry(.., answer) => no(answer, why),
        PipelineOrder::Stop(.., answer) => no(answer, why),
        PipelineOrder::Tell(.., answer) => no(answer, why),
        PipelineOrder::Delete(.., answer) => no(answer, why),
        PipelineOrder::Merge(.., answer) => no(answer, why),
        PipelineOrder::Attach(.., answer) => no(answer, why),
        PipelineOrder::Plan(.., answer) => no(answer, why),
        PipelineOrder::ReviewBranch(.., answer) => no(answer, why),
        PipelineOrder::Memory(.., answer) => no(answer, why),
        PipelineOrder::Land(.., answer) => no(answer, why),
        PipelineOrder::EnterRoom(_, answer) => {
            reply(answer, Ok(RoomReadiness::NoBase(why.to_owned())));
            false
        }
        PipelineOrder::Shutdown(answer) => {
            reply(answer, Ok(()));
            true
        }
    }
}
