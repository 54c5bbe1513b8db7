//! Journeys through the whole bot: what people say and what the room shows.

mod basics;
mod real;
