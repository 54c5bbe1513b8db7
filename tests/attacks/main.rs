//! Attacks on storkit, each named after its goal. Every one succeeds with its defence removed; `docs/security.md` lists them.

mod key;
