//! What was said in a thread before the bot was spoken to there.

use std::time::Duration;

use adapters::{Adapter, AdapterError, MessageId, Quotation, Room};

/// After this the prompt is sent without the thread.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest text of one message, in characters.
const TEXT_MAX: usize = 4_000;

/// A thread whose messages the next prompt needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadThread {
    pub room: Room,
    /// The prompt's own message.
    pub before: MessageId,
    pub extent: ThreadExtent,
}

/// How much of a thread a prompt needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadExtent {
    /// The message that the thread is below: the session knows the rest.
    Root,
    /// At most so many messages.
    Newest(usize),
}

/// What was said in a thread.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadThread {
    pub extent: ThreadExtent,
    /// Oldest first; or why it cannot be read now.
    pub said: Result<Vec<Quotation>, String>,
}

impl UnreadThread {
    /// Asks the messenger; `None` where it cannot be asked.
    pub async fn read(self, adapter: &dyn Adapter) -> Option<ReadThread> {
        let max = match self.extent {
            ThreadExtent::Root => 1,
            ThreadExtent::Newest(max) => max,
        };
        let reading = adapter.read_thread(&self.room, &self.before, max);
        let said = match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok(Ok(said)) => Ok(said.into_iter().take(max).map(shortened).collect()),
            Ok(Err(AdapterError::Unsupported(_))) => return None,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        };
        if let Err(why) = &said {
            tracing::warn!(why, room = %self.room, "a thread could not be read");
        }
        Some(ReadThread { extent: self.extent, said })
    }
}

fn shortened(quote: Quotation) -> Quotation {
    match quote.text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => Quotation { text: format!("{} …", &quote.text[..end]), ..quote },
        None => quote,
    }
}
