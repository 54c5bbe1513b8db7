//! Attacks on the whole program, one file for each area, each test named after the attacker's goal. `docs/security.md` lists them, with
//! those that are tested closer to the code.

mod doctor;
mod key;
mod listeners;
mod page;
mod questions;
mod room_tools;
mod rooms;
mod stories;
mod strangers;
mod trials;
mod trust;
mod wall;
