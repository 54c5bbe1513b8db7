//! Attacks on the whole program, each named after the attacker's goal. `docs/security.md` lists what holds.

mod trust;
