//! The list of figures. To add one, add a file in `figures/` and an entry here.

mod board;
mod dispatch;
mod events;
mod idle;
mod matrix;
mod merge;
mod relay;
mod rooms;
mod sandbox;
mod slots;
mod stream;
mod turn;
mod web;

use futures::future::BoxFuture;

use crate::{Effort, report::Outcome};

pub struct Figure {
    /// Its number in the list of goals.
    pub number: u32,
    /// Its name on the command line.
    pub name: &'static str,
    /// The heading of its section.
    pub title: &'static str,
    /// How it is measured, for storkit and for the comparison.
    pub method: &'static str,
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
    slots::FIGURE,
    web::FIGURE,
];
