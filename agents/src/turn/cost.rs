//! The cost of a turn, from the sums that the agent program reports.

/// The cost of a session as far as it is counted. The CLI reports a sum for the whole session, also across resumes (2.1.330); a sum that
/// falls is that of another session, or of a CLI that counts its own process only (2.1.197).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SessionCost {
    counted_usd: f64,
}

impl SessionCost {
    /// A session of which `counted_usd` is counted already; 0 for a new one.
    pub fn resumed(counted_usd: f64) -> Self {
        Self { counted_usd }
    }

    /// Takes in the sum of a result and returns the part that is new.
    pub fn add(&mut self, session_usd: f64) -> f64 {
        let before = if session_usd >= self.counted_usd { self.counted_usd } else { 0.0 };
        self.counted_usd = session_usd;
        session_usd - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_session_is_not_counted_twice() {
        let mut cost = SessionCost::resumed(1.0);
        assert_eq!(cost.add(1.25), 0.25);
        assert_eq!(cost.add(1.75), 0.5);
    }

    #[test]
    fn a_sum_that_fell_begins_again() {
        let mut cost = SessionCost::resumed(1.0);
        assert_eq!(cost.add(0.25), 0.25);
        assert_eq!(cost.add(0.5), 0.25);
    }
}
