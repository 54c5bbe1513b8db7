//! Reading and writing the settings files: unknown keys with a suggestion, `${VAR}`, durations, atomic writes.

pub mod atomic;
pub mod duration;
pub mod keys;
pub mod reader;
pub mod unlinked;
