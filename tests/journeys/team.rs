//! Days of a team: Ann works in the checkout where storkit runs, Bob in a clone of his own, and both use git as people do while stories
//! run and land. In the end every commit is where its author put it, and the board is whole.

mod day;
mod habits;
mod old_branches;
mod pulls;
mod rewritten;
