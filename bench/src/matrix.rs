//! Three bots on one homeserver, for figure 9: storkit, a bare loop on matrix-sdk, and maubot.

mod between;
mod bots;
mod person;

pub use between::Between;
pub use bots::{Bot, Kind};
pub use person::Person;
