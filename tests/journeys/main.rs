//! Journeys through the whole bot: what people say and what the room shows.

mod basics;
mod choices;
mod live;
mod permission;
mod program;
mod program_demo;
mod program_end;
mod queue;
mod real;
mod real_mcp;
mod real_trouble;
mod real_trust;
mod stop;
