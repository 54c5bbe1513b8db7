//! Every sentence of the bot, one function per message. Sentences close with a period; ids are in backticks and
//! never directly before the period.

pub mod attacks;
pub mod board;
mod board_questions;
mod commands;
mod cost;
mod digest;
pub mod doctor;
mod git_report;
mod htop_frame;
mod program;
mod questions;
mod queue;
mod room_commands;
mod rooms;
mod rules;
pub mod setup;
mod status;
mod stories;
mod story_commands;
pub mod terminal;
mod text;
pub mod tools;
mod trials;
pub mod trust;
mod turns;
mod visible;

pub use board::board;
pub use board_questions::*;
pub use commands::*;
pub use cost::*;
pub use digest::digest;
pub use git_report::git_report;
pub use htop_frame::{AgentRow, htop_frame};
pub use program::*;
pub use questions::*;
pub use queue::*;
pub use room_commands::*;
pub use rooms::*;
pub use rules::*;
pub use status::*;
pub use stories::*;
pub use story_commands::*;
pub use text::*;
pub use trials::*;
pub use turns::*;
