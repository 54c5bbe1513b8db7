//! Calls that a process defers, so that the question about them can outlive it (see [`crate::parking`]).

use agents::{claude::Launch, turn::TurnOutcome};

use super::{RunJob, TurnResult};
use crate::run::outcome::RunOutcome;

impl RunJob {
    /// The next process where the last one ended at a call that it deferred, or could not go on with the one that an earlier process
    /// had deferred.
    pub(super) async fn after_deferral(&mut self, turn: &TurnResult) -> Result<Option<Launch>, RunOutcome> {
        if turn.ended.is_some() {
            return Ok(None);
        }
        let Some(parking) = self.access.as_ref().map(|access| access.parking.clone()) else {
            return Ok(None);
        };
        match &turn.outcome {
            TurnOutcome::Answered(end) => match &end.deferred {
                Some(call) => {
                    parking.set_deferred(Some(call.id.clone()));
                    self.deferred_launch().await.map(Some)
                }
                None => Ok(None),
            },
            // It has not even begun: the session has gone on since, or does not have the call any more.
            TurnOutcome::Died(_) if parking.deferred().is_some() => {
                parking.set_deferred(None);
                self.log_line("(the call that waited is not in its session any more: it goes on without it)");
                self.first_launch().await.map(Some)
            }
            TurnOutcome::Died(_)
            | TurnOutcome::Busy { .. }
            | TurnOutcome::Failed { .. }
            | TurnOutcome::SessionLost
            | TurnOutcome::Silent
            | TurnOutcome::Stopped => Ok(None),
        }
    }
}
