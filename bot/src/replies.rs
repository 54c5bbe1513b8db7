//! Every sentence the bot says, one function per message. Sentences end with a period, ids are in backticks.

mod commands;
mod program;
mod questions;
mod queue;
mod stories;
mod text;
mod turns;

pub use commands::*;
pub use program::*;
pub use questions::*;
pub use queue::*;
pub use stories::*;
pub use text::*;
pub use turns::*;
