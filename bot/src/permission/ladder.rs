//! How a question finds the person who can answer it. It waits in its room first, then goes to a person who may answer it,
//! directly, on one messenger after the other, and then to the next person. Whoever is away is passed over until they are back. Its deadline
//! comes after the last of these steps.

mod news;
mod route;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use adapters::Room;
pub use news::{AskedPerson, LadderNews, NobodyHere};
use route::{Address, LadderRoute};

use super::{CallConcern, NETWORK_TOOL, PermissionBroker, Question, QuestionOutcome, copies::CopyState};
use crate::{
    config::{RungTimes, current::LiveSettings},
    messengers::ConnectedMessengers,
};

/// A messenger that has not said by then whether it has taken a message is passed over. By the machine's timer: this is no time of day.
const DELIVERY: Duration = Duration::from_secs(15);

/// What the ladder needs besides the broker.
#[derive(Clone)]
pub struct LadderServices {
    pub settings: Arc<LiveSettings>,
    pub messengers: ConnectedMessengers,
}

/// One question on its way.
pub(super) struct Climb<'a> {
    broker: &'a PermissionBroker,
    services: &'a LadderServices,
    question: Arc<Question>,
    times: RungTimes,
    route: LadderRoute,
    /// The rooms were told that nobody is there.
    told_nobody: bool,
}

/// What came of an attempt to ask at an address.
enum Attempt {
    Asked(Room, SystemTime),
    /// It is asked there already.
    Known,
    Refused(String),
}

/// Whether a call has something that its text does not show.
fn is_risky(question: &Question) -> bool {
    let counts = |concern: &CallConcern| !matches!(concern, CallConcern::InBackground);
    question.tool == NETWORK_TOOL || !question.read.is_empty() || question.concerns.iter().any(counts)
}

impl PermissionBroker {
    /// The way of a question, if this bot knows people.
    pub(super) fn climb(&self, question: &Arc<Question>) -> Option<Climb<'_>> {
        let services = self.ladder.as_deref()?;
        Some(Climb {
            broker: self,
            services,
            question: question.clone(),
            times: services.settings.config().ladder.times(is_risky(question)),
            route: LadderRoute::default(),
            told_nobody: false,
        })
    }

    /// How much later than without a ladder a question is denied: after each of those who are there was asked.
    pub(super) fn ladder_time(&self, question: &Question) -> Duration {
        let Some(services) = self.ladder.as_deref() else { return Duration::ZERO };
        let times = services.settings.config().ladder.times(is_risky(question));
        let Some(direct) = times.direct else { return Duration::ZERO };
        let all = route::addresses(services, question);
        let now = self.clock.now();
        let is_there = |address: &&Address| {
            let absence = self.away.absence(&address.person, now);
            absence.is_none_or(|back| back.at.is_some_and(|at| at <= now + direct))
        };
        let there = all.iter().filter(is_there).count();
        if there == 0 {
            return Duration::ZERO;
        }
        let more = times.elsewhere.map_or(0, |_| u32::try_from(there - 1).unwrap_or(u32::MAX));
        direct + times.elsewhere.unwrap_or_default().saturating_mul(more)
    }
}

impl Climb<'_> {
    /// Climbs until the question is over, which drops this. Returns when nobody can be reached.
    pub(super) async fn run(mut self) -> QuestionOutcome {
        let nobody_here = self.look_around().await;
        let Some(direct) = self.times.direct else { return self.stay().await };
        if !nobody_here {
            let rooms = self.question.rooms.clone();
            tokio::select! {
                () = self.broker.clock.sleep_from(self.question.asked_at, direct) => {}
                why = self.trouble(&rooms) => tracing::info!(question = %self.question.id, why, "a question is not seen"),
            }
        }
        loop {
            let mut left = self.route.left(self.services, &self.question);
            left.retain(|address| self.is_there(address));
            match self.route.take_next(&left) {
                Some(address) => self.ask_at(&address).await,
                None if self.wait_for_somebody().await => {}
                None => return self.stay().await,
            }
        }
    }

    fn is_there(&self, address: &Address) -> bool {
        self.broker.away.absence(&address.person, self.broker.clock.now()).is_none()
    }

    /// Nothing more can be done but to wait in the rooms, if somebody sees them.
    async fn stay(&self) -> QuestionOutcome {
        self.broker.copies(self.question.id).until_all_failed(&self.question.asked_in()).await;
        QuestionOutcome::Unreachable
    }

    async fn trouble(&self, rooms: &[Room]) -> String {
        self.broker.copies(self.question.id).trouble(rooms).await
    }

    /// Tells the rooms at once who is away, and whether nobody there may answer; `true` if that holds for all of them.
    async fn look_around(&mut self) -> bool {
        let all = route::addresses(self.services, &self.question);
        let now = self.broker.clock.now();
        let mut away: Vec<_> = all
            .iter()
            .filter(|address| self.broker.away.of(&address.person.name, now).is_some())
            .filter_map(|address| self.broker.away.absence(&address.person, now))
            .collect();
        away.dedup_by(|one, other| one.name == other.name);
        let is_anybody_there = all.iter().any(|address| self.is_there(address));
        if !all.is_empty() && !is_anybody_there {
            self.tell_nobody();
        } else if !away.is_empty() {
            self.tell(&LadderNews::Away(away));
        }
        let goes_on = is_anybody_there && self.times.direct.is_some();
        let rooms = self.question.rooms.iter();
        let looks = rooms.map(|room| route::nobody_may_answer(self.services, &self.question, room));
        let found = futures::future::join_all(looks).await;
        let mut all_empty = true;
        for (room, nobody) in self.question.rooms.iter().zip(found) {
            match nobody {
                Some(who_may) => {
                    let news = NobodyHere { needs: self.question.needs(), who_may, goes_on };
                    self.broker.rooms.tell(room, self.question.clone(), LadderNews::NobodyHere(news));
                }
                None => all_empty = false,
            }
        }
        all_empty
    }

    fn tell(&self, news: &LadderNews) {
        let copies = self.broker.copies(self.question.id);
        for room in self.question.rooms.iter().filter(|room| !copies.has_failed(room)) {
            self.broker.rooms.tell(room, self.question.clone(), news.clone());
        }
    }

    fn tell_nobody(&mut self) {
        if !std::mem::replace(&mut self.told_nobody, true) {
            self.tell(&LadderNews::NobodyThere(self.next_return()));
        }
    }

    /// Who of those that were not asked yet is back first.
    fn next_return(&self) -> Option<super::PersonReturn> {
        let now = self.broker.clock.now();
        let left = self.route.left(self.services, &self.question);
        let absent = left.iter().filter_map(|address| self.broker.away.absence(&address.person, now));
        // Who comes back at a time nobody knows is last.
        absent.min_by_key(|back| (back.at.is_none(), back.at))
    }

    /// Asks there, and waits for as long as that has time; no longer where the messenger has trouble.
    async fn ask_at(&mut self, address: &Address) {
        let asked = address.asked();
        match self.attempt(address).await {
            Attempt::Known => {}
            Attempt::Refused(why) => self.pass_over(asked, why),
            Attempt::Asked(room, since) => {
                self.tell(&LadderNews::Asked(asked.clone()));
                let elsewhere = async {
                    match self.times.elsewhere {
                        Some(time) => self.broker.clock.sleep_from(since, time).await,
                        None => std::future::pending().await,
                    }
                };
                let trouble = async {
                    let rooms = [room.clone()];
                    let copies = self.broker.copies(self.question.id);
                    tokio::select! {
                        why = self.trouble(&rooms) => return why,
                        () = copies.settled(&room) => {}
                        () = tokio::time::sleep(DELIVERY) => {
                            copies.set(&room, CopyState::Delayed(NO_ANSWER.into()));
                        }
                    }
                    self.trouble(&rooms).await
                };
                let why = tokio::select! {
                    biased;
                    why = trouble => Some(why),
                    () = elsewhere => None,
                };
                if let Some(why) = why {
                    self.pass_over(asked, why);
                }
            }
        }
    }

    fn pass_over(&self, asked: AskedPerson, why: String) {
        let AskedPerson { name, messenger } = &asked;
        tracing::warn!(question = %self.question.id, person = name, messenger, why, "a person cannot be asked there");
        self.tell(&LadderNews::NotAsked { asked, why });
    }

    async fn attempt(&self, address: &Address) -> Attempt {
        let messengers = &self.services.messengers;
        let name = address.account.messenger;
        let Some(adapter) = messengers.get(name) else { return Attempt::Refused(NO_MESSENGER.into()) };
        if let Some(health) = messengers.health_of(name).map(|health| health.snapshot()).filter(|it| !it.up) {
            return Attempt::Refused(health.last_error.unwrap_or_else(|| NOT_CONNECTED.into()));
        }
        // In a task, which an answer from elsewhere does not drop: a room that was half made would be made again for the next question.
        let id = address.account.id.clone();
        let opening = tokio::spawn(async move { adapter.direct_room(&id).await });
        let room = match tokio::time::timeout(DELIVERY, opening).await {
            Ok(Ok(Ok(room))) => room,
            Ok(Ok(Err(error))) => return Attempt::Refused(error.to_string()),
            Ok(Err(error)) => return Attempt::Refused(error.to_string()),
            Err(_) => return Attempt::Refused(NO_ANSWER.into()),
        };
        if self.question.asked_in().contains(&room) {
            return Attempt::Known;
        }
        let since = self.broker.clock.now();
        self.question.further.add(&room);
        match self.broker.rooms.show(&room, self.question.clone()) {
            true => Attempt::Asked(room, since),
            false => {
                let why = NO_MESSENGER.to_owned();
                self.broker.copies(self.question.id).set(&room, CopyState::Failed(why.clone()));
                Attempt::Refused(why)
            }
        }
    }

    /// Waits until somebody who was not asked yet is back; `false` if that is after the deadline of a question that nobody sees, or
    /// nobody is left.
    async fn wait_for_somebody(&mut self) -> bool {
        let mut changes = self.broker.away.changes();
        let Some(back) = self.next_return() else {
            // Somebody may have come back since the last look.
            let left = self.route.left(self.services, &self.question);
            return left.iter().any(|address| self.is_there(address));
        };
        self.tell_nobody();
        let is_in_time = |at| self.question.deadline.is_none_or(|deadline| at < deadline);
        let (copies, rooms) = (self.broker.copies(self.question.id), self.question.asked_in());
        let is_seen = !copies.all_failed(&rooms);
        if !is_seen && !back.at.is_some_and(is_in_time) {
            return false;
        }
        let returns = async {
            match back.at {
                Some(at) => self.broker.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = returns => {}
            // The sender is the broker's.
            _ = changes.changed() => {}
            // Then it waits for nobody who comes too late.
            () = copies.until_all_failed(&rooms), if is_seen => {}
        }
        true
    }
}

const NOT_CONNECTED: &str = "not connected";
const NO_MESSENGER: &str = "it is not configured";
const NO_ANSWER: &str = "it does not answer in time";

#[cfg(test)]
mod tests;
