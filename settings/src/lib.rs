//! Reading and writing the settings files: unknown keys with a suggestion, `${VAR}`, durations, atomic writes; and the
//! environment that they name.

pub mod atomic;
pub mod duration;
pub mod environment;
pub mod keys;
pub mod reader;
pub mod unlinked;
