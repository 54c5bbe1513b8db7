//! A homeserver with three bots on it, for the figure of Matrix: storkit, a bare loop on matrix-sdk, maubot.

mod between;
mod bots;
mod person;

pub use between::Between;
pub use bots::{Bot, Kind};
pub use person::Person;
