//! Each messenger against its real server or a faithful stand-in.

mod in_memory;
#[cfg(feature = "matrix")]
mod matrix;
#[cfg(feature = "matrix")]
mod matrix_content;
#[cfg(feature = "matrix")]
mod matrix_rooms;
#[cfg(feature = "matrix")]
mod matrix_trouble;
#[cfg(feature = "matrix")]
mod matrix_trust;
#[cfg(feature = "slack")]
mod slack;
#[cfg(feature = "web")]
mod web;
#[cfg(feature = "whatsapp")]
mod whatsapp;
