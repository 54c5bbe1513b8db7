//! The list of figures. A new one is a file beside this and one entry here.

mod board;
mod dispatch;
mod events;
mod idle;
mod matrix;
mod merge;
mod relay;
mod rooms;
mod sandbox;
mod stream;
mod turn;

use futures::future::BoxFuture;

use crate::{Effort, report::Outcome};

/// Something that is measured.
pub struct Figure {
    /// Its number in the list of goals.
    pub number: u32,
    /// What it is called on the command line.
    pub name: &'static str,
    /// The heading of its section.
    pub title: &'static str,
    /// How it is measured: what counts on either side.
    pub method: &'static str,
    /// Measures it.
    pub measure: fn(Effort) -> BoxFuture<'static, anyhow::Result<Outcome>>,
}

/// All of them, in the order of the page.
pub const FIGURES: &[Figure] = &[
    dispatch::FIGURE,
    relay::FIGURE,
    turn::FIGURE,
    stream::FIGURE,
    idle::FIGURE,
    board::FIGURE,
    events::FIGURE,
    merge::FIGURE,
    matrix::FIGURE,
    rooms::FIGURE,
    sandbox::FIGURE,
];
