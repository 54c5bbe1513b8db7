//! Journeys through the whole bot: what people say and what the room shows.

mod basics;
mod choices;
mod permission;
mod real;
mod stop;
mod real_trouble;
mod real_trust;
