//! What tests of messengers and of the bot share: a messenger in memory, and the suite that every messenger passes.

pub mod conformance;
pub mod fake;
