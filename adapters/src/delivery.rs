//! The parts that every messenger needs around its own code: reconnecting, delivery of long messages, webhooks.

pub(crate) mod backoff;
pub mod deliver;
pub mod supervise;
#[cfg_attr(not(any(feature = "matrix", feature = "slack", feature = "whatsapp")), allow(dead_code))]
pub(crate) mod token_bucket;
pub mod webhook;
