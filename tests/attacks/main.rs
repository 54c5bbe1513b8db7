//! Attacks on the whole program, one file for each area. `docs/security.md` lists them, with those that are tested closer to the code.

mod wall;
