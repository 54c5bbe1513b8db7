//! Stories and the agents that work on them.

/// A room that follows the pipeline missed events: there were too many at once.
pub fn events_missed(count: u64) -> String {
    format!("{count} events came too fast to be told. `status` shows how things are.")
}
