//! Attacks on storkit, each named after the attacker's goal. `docs/security.md` lists them with what holds.

mod rooms;
