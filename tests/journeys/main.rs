//! Journeys through the whole bot: what people say and what the room shows.

mod ambient;
mod basics;
mod branch_review;
mod choices;
mod commands;
mod crash;
mod enclosed;
mod events;
mod evidence;
mod hostile;
mod kinds;
mod landlock;
mod life;
mod limits;
mod live;
mod many;
#[cfg(feature = "matrix")]
mod matrix;
#[cfg(feature = "matrix")]
mod matrix_people;
#[cfg(feature = "matrix")]
mod matrix_picture;
mod mcp_clients;
mod memory;
mod messengers;
mod migration;
mod network;
mod newcomer;
mod once;
mod operate;
mod packaging;
mod permission;
mod plan;
mod plan_first;
mod program;
mod program_demo;
mod program_end;
mod questions;
mod queue;
mod real;
mod real_mcp;
mod real_servers;
mod real_trouble;
mod real_trust;
mod real_versions;
mod release;
mod restart;
mod rooms;
mod secrets;
#[cfg(feature = "slack")]
mod slack;
mod slash;
mod stop;
mod stories;
mod story_commands;
mod talk;
mod team;
mod tell;
mod terminal;
mod threads;
mod transcripts;
mod trouble;
mod upkeep;
mod web;
mod web_cuts;
mod web_page;
#[cfg(feature = "slack")]
mod web_slack;
mod week;
#[cfg(feature = "whatsapp")]
mod whatsapp;
