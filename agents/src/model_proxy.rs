//! The way of an agent to its model: a reverse proxy that adds the operator's key to requests, so that the key never enters
//! the wall. The agent has a key of its own, which only the proxy of its run accepts.
//!
//! The proxy also counts what the model's service reports, so that a budget holds whatever the agent program says.
//! `access` reads the operator's environment, `request` decides what passes, `meter` and `price` count.

mod access;
mod body;
mod limit;
mod meter;
mod price;
mod request;
mod serve;

use std::{
    fmt, io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use self::access::REPLACED;
use self::serve::{ProxyListener, ProxyShared};
pub use self::{
    access::{CloudProvider, ModelAccess, ModelService, is_model_variable},
    meter::{BudgetScope, ModelSpending, SpendingBudget, SpendingMeter},
};

/// Connections of one run at a time, and requests to the model. The CLI's sub-agents work in parallel, ten at most (2.1.330).
const MAX_CONNECTIONS: usize = 64;
const MAX_REQUESTS: usize = 16;

/// The proxy of one run. Dropping it closes its ports and connections.
pub struct ModelProxy {
    shared: Arc<ProxyShared>,
    loopback: Mutex<Option<u16>>,
    stop: CancellationToken,
    _guard: DropGuard,
}

impl ModelProxy {
    /// A proxy without a port yet. With a budget, requests are refused once so many US dollars are spent.
    pub fn new(service: Arc<ModelService>, budget_usd: Option<f64>) -> Self {
        let meter = SpendingMeter::default();
        if let Some(usd) = budget_usd {
            meter.begin(Some(SpendingBudget { scope: BudgetScope::Run, usd }), usd);
        }
        Self::metered(service, Arc::new(meter))
    }

    pub fn meter(&self) -> Arc<SpendingMeter> {
        Arc::clone(&self.shared.meter)
    }

    /// A proxy without a port yet, whose owner keeps the meter.
    pub fn metered(service: Arc<ModelService>, meter: Arc<SpendingMeter>) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(ProxyShared {
            service,
            // 122 random bits. The prefix explains the key to a person who comes across it.
            key: format!("storkit-run-{}", uuid::Uuid::new_v4().simple()),
            meter,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            stop: stop.clone(),
        });
        Self { shared, loopback: Mutex::default(), stop: stop.clone(), _guard: stop.drop_guard() }
    }

    /// The port of 127.0.0.1 on which it listens from the first call on, for an agent that has the
    /// machine's loopback. Needs a tokio runtime.
    pub fn loopback_port(&self) -> io::Result<u16> {
        let mut known = self.loopback.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = *known {
            return Ok(port);
        }
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        self.spawn(
            Arc::clone(&self.shared).listen(ProxyListener::Loopback(TcpListener::from_std(listener)?)),
        );
        *known = Some(port);
        Ok(port)
    }

    /// Serves a socket that leads into an agent's sandbox. Needs a tokio runtime.
    pub fn serve_socket(&self, listener: UnixListener) {
        self.spawn(Arc::clone(&self.shared).listen(ProxyListener::Socket(listener)));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(task).await });
    }

    /// The agent's variables, where it reaches the proxy on this port of its loopback.
    pub fn environment(&self, port: u16) -> Vec<(String, String)> {
        let key = &self.shared.key;
        let mut variables = vec![("ANTHROPIC_BASE_URL".to_owned(), format!("http://127.0.0.1:{port}"))];
        let keys = self.shared.service.key_variables();
        variables.extend(keys.map(|name| (name.to_owned(), key.clone())));
        variables.extend(self.shared.service.agent_variables());
        variables
    }

    /// Usage that the model's service has reported so far.
    pub fn spending(&self) -> ModelSpending {
        self.shared.meter.spending()
    }

    /// Whether the budget is spent.
    pub fn is_budget_spent(&self) -> bool {
        self.shared.meter.spent_budget().is_some()
    }

    /// Waits until a request was refused because the budget is spent.
    pub async fn budget_refused(&self) {
        self.shared.meter.refused().await;
    }
}

impl fmt::Debug for ModelProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelProxy").field("spending", &self.spending()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
