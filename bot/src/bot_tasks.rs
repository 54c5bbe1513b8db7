//! The bot's background tasks, and the signal that ends them.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[derive(Clone, Debug, Default)]
pub struct BotTasks {
    /// Those that the shutdown waits for.
    pub tracker: TaskTracker,
    /// Set when the bot goes down.
    pub stop: CancellationToken,
}
