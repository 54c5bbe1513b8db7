//! The harness of the journeys: a bot with a fake messenger, the stand-in CLI or the real one, a project in a temporary folder.

mod harness;
pub mod page;
mod place;
mod process;
mod program;
mod screen;
mod serving;

pub use harness::{Bot, Cli, Setup, beside_the_tests, commit_as_person, confirm_settings, git};
pub use place::{KEY, TOKEN};
pub use process::{PidPost, ended, kill_9, runs, terminate};
pub use program::Program;
pub use screen::Screen;
pub use serving::{Serving, Terminal};
