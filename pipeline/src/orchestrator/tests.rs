//! Whole lives of stories on real repositories, with a scripted CLI: what the board, git and the events say of them.

mod board;
mod by_hand;
mod edits;
mod fixture;
mod lanes;
mod lives;
mod mischief;
mod quarantine;
mod rooms;
mod trust;
