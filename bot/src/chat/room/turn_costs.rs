//! The budget of the room's turns, and the record of their cost.

use agents::{claude::TurnEnd, model_proxy::SpendingBudget};

use super::{RoomTask, turn::CurrentTurn};
use crate::{clock::midnight, store::CostEntry};

impl RoomTask {
    /// Sets what this turn may spend. Returns the budget that is spent already.
    pub(super) fn begin_budgets(&self) -> Option<SpendingBudget> {
        let (config, now) = (self.services.config(), self.services.clock.now());
        self.turn.spending.begin_turn(config.relay.turn_usd);
        let midnight = midnight(now, 0).unwrap_or(now);
        let recorded = self.log_store_error(self.services.store.cost_since(midnight)).unwrap_or_default();
        self.services.connections.day.begin(config.relay.day_usd, midnight, recorded)
    }

    pub(super) fn count_cost(&mut self, end: &TurnEnd) {
        let Some(session) = &end.session else { return };
        if let Some(turn) = &mut self.turn.current {
            turn.is_recorded = true;
        }
        let who = self.turn.current.as_ref().map_or("-", |turn| &turn.prompt.sender_id).to_owned();
        let entry = CostEntry {
            room: self.room.clone(),
            who,
            session: session.to_string(),
            usd: 0.0,
            input_tokens: end.input_tokens,
            output_tokens: end.output_tokens,
        };
        let now = self.services.clock.now();
        let spending = &mut self.turn.spending;
        let added = self
            .services
            .store
            .add_turn_cost(&entry, end.session_cost_usd, now, |by_program| spending.take(by_program));
        self.log_store_error(added);
        self.show_cost();
    }

    /// Records spending that the proxy has counted and the agent program has not reported.
    pub(super) fn count_rest(&mut self, turn: Option<&CurrentTurn>) {
        let usd = self.turn.spending.take(0.0);
        if usd == 0.0 {
            return;
        }
        let (store, now) = (self.services.store.clone(), self.services.clock.now());
        let recorded = match turn {
            Some(turn) if !turn.is_recorded => store.add_cost(
                &CostEntry {
                    room: self.room.clone(),
                    who: turn.prompt.sender_id.clone(),
                    session: self.record.session.as_ref().map(ToString::to_string).unwrap_or_default(),
                    usd,
                    input_tokens: 0,
                    output_tokens: 0,
                },
                now,
            ),
            _ => store.add_to_last_cost(&self.room, usd),
        };
        self.log_store_error(recorded);
        self.show_cost();
    }

    fn show_cost(&self) {
        let total = self.services.store.room_cost(&self.room).unwrap_or_default();
        self.services.commands.agents.set_cost(&self.room.to_string(), total);
    }
}
