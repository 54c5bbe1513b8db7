//! A chat room's ways out of its wall: the hosts that its agent may reach, its way to the model, and its budget there.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::SystemTime,
};

use adapters::Room;
use agents::{
    confine::NetworkAccess,
    model_proxy::{BudgetScope, SpendingBudget, SpendingMeter},
};
use parking_lot::Mutex;
use pipeline::{
    Pipeline,
    rooms::{RoomNetwork, RoomWorkspace},
};

use crate::{host_questions::HostQuestions, permission::Asker, replies};

/// What all rooms' ways out share.
pub struct RoomConnections {
    pub hosts: Arc<HostQuestions>,
    pub day: DayBudget,
}

/// How one room's ways out are opened.
#[derive(Clone)]
pub struct RoomConnection {
    pub hosts: Arc<HostQuestions>,
    pub room: Room,
    pub asker: Asker,
    /// Counts the questions about hosts that wait for a person.
    pub waiting: Arc<AtomicUsize>,
    pub access: NetworkAccess,
    pub meter: Arc<SpendingMeter>,
    /// The branch whose files say which registries are open.
    pub base: String,
}

impl RoomConnection {
    /// Opens the ways out for a new process in this workspace.
    ///
    /// # Errors
    /// A sentence; without them no process starts.
    pub async fn open(self, pipeline: &Pipeline, workspace: RoomWorkspace) -> Result<RoomWorkspace, String> {
        let gate = self.hosts.room_gate(&self.room, self.asker, self.waiting);
        let network = RoomNetwork { access: self.access, gate, meter: self.meter, base: self.base };
        let connected = pipeline.connect_room(workspace, network).await;
        connected.map_err(|error| replies::sentence(&error.to_string()))
    }
}

/// The budget of all rooms for one day.
#[derive(Default)]
pub struct DayBudget {
    meter: Arc<SpendingMeter>,
    day: Mutex<CountedDay>,
}

#[derive(Default)]
struct CountedDay {
    midnight: Option<SystemTime>,
    /// The meter's count when the day began.
    before_usd: f64,
}

impl DayBudget {
    /// Counts what all rooms spend.
    pub fn meter(&self) -> Arc<SpendingMeter> {
        Arc::clone(&self.meter)
    }

    /// A turn begins on the day with this midnight, of which `recorded_usd` are in the record of costs. Returns the budget if it is
    /// spent.
    pub fn begin(&self, usd: Option<f64>, midnight: SystemTime, recorded_usd: f64) -> Option<SpendingBudget> {
        let counted = self.meter.spending().usd;
        let mut day = self.day.lock();
        if day.midnight != Some(midnight) {
            *day = CountedDay { midnight: Some(midnight), before_usd: counted };
        }
        // The record has an earlier storkit's spending of today, and the meter that of turns under way.
        let spent = recorded_usd.max(counted - day.before_usd);
        self.meter.begin(
            usd.map(|usd| SpendingBudget { scope: BudgetScope::Day, usd }),
            usd.unwrap_or_default() - spent,
        );
        self.meter.spent_budget()
    }
}

/// What one room spends, by the greater of two counts: that of its meter, and that of the agent program.
pub struct RoomSpending {
    meter: Arc<SpendingMeter>,
    by_program_usd: f64,
    recorded_usd: f64,
}

impl RoomSpending {
    pub fn below(day: &DayBudget) -> Self {
        Self { meter: Arc::new(SpendingMeter::below(day.meter())), by_program_usd: 0.0, recorded_usd: 0.0 }
    }

    pub fn meter(&self) -> Arc<SpendingMeter> {
        Arc::clone(&self.meter)
    }

    /// A turn with this budget begins.
    pub fn begin_turn(&self, usd: Option<f64>) {
        let budget = usd.map(|usd| SpendingBudget { scope: BudgetScope::Turn, usd });
        self.meter.begin(budget, usd.unwrap_or_default());
    }

    /// The budget that stopped the turn.
    pub fn stopped_by(&self) -> Option<SpendingBudget> {
        self.meter.refusal()
    }

    /// The agent program reports so much more; returns the new part by the greater count.
    pub fn take(&mut self, by_program_usd: f64) -> f64 {
        self.by_program_usd += by_program_usd;
        let total = self.by_program_usd.max(self.meter.spending().usd);
        let new = (total - self.recorded_usd).max(0.0);
        self.recorded_usd += new;
        new
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_days_budget_holds_for_what_is_recorded_and_begins_again_at_midnight() {
        let (day, today) = (DayBudget::default(), SystemTime::UNIX_EPOCH + 20_000 * DAY);
        assert_eq!(day.begin(None, today, 1_000.0), None, "without a limit");
        assert_eq!(day.begin(Some(5.0), today, 4.9), None);
        let spent = SpendingBudget { scope: BudgetScope::Day, usd: 5.0 };
        assert_eq!(day.begin(Some(5.0), today, 5.0), Some(spent));
        let room = RoomSpending::below(&day);
        room.begin_turn(Some(1.0));
        assert_eq!(room.meter().spent_budget(), Some(spent), "it holds for every room");
        assert_eq!(day.begin(Some(5.0), today + DAY, 0.0), None);
        assert_eq!(room.meter().spent_budget(), None);
    }

    #[test]
    fn the_greater_count_is_recorded_once() {
        let mut room = RoomSpending::below(&DayBudget::default());
        assert_eq!((room.take(0.25), room.take(0.0), room.take(0.5)), (0.25, 0.0, 0.5));
    }
}
