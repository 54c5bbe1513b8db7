//! What every messenger needs around its own code: reconnecting, delivery of long messages, webhooks.

pub mod deliver;
pub mod supervise;
pub mod webhook;
