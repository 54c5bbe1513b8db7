//! Shared by tests of messengers and of the bot: a messenger in memory, and the suite that every messenger passes.

pub mod conformance;
pub mod fake;
