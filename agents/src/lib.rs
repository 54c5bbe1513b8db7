//! An agent program's process: launch, confine, speak to, meter, terminate. Knows neither chat nor stories.

pub mod adopted;
pub mod attacks;
pub mod claude;
pub mod confine;
pub mod event;
pub mod model_proxy;
pub mod peer;
pub mod prompt;
mod pty;
mod runtime_dir;
pub mod tree;
pub mod trial;
pub mod turn;
pub mod usage;
