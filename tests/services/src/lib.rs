//! What lies outside storkit, for its tests. Nothing here knows a crate of ours, so that no stand-in echoes our own code.

pub mod matrix;
pub mod slack;
pub mod whatsapp;
