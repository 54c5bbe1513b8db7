//! What journeys need: a bot with a fake messenger, the stand-in CLI or the real one, a project in a temporary folder.

mod harness;
mod program;

pub use harness::{Bot, Cli, Setup};
pub use program::Program;
