//! Hosts that no setting lists: who decides about them, and the decisions that a run remembers.

use std::{collections::HashMap, fmt, sync::Arc};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::hosts::host_name;

/// Hosts that one run may ask for in all, and questions of it that are open at a time: an agent chooses
/// the names, and people read them.
const MAX_HOSTS: usize = 40;
const MAX_OPEN: usize = 3;

/// A host and port that a process wants to reach. The host is in the form of [`super::hosts::host_name`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostTarget {
    pub host: String,
    pub port: u16,
}

impl HostTarget {
    /// A host in the form that is compared; `None` if the text is no host.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        Some(Self { host: host_name(host)?, port })
    }
}

impl fmt::Display for HostTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The decision about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostDecision {
    Allowed,
    /// With a clause on why, for the agent: "nobody answered".
    Refused(String),
}

/// Decides about hosts that no setting lists.
pub trait HostGate: Send + Sync + 'static {
    /// Waits for the decision, e.g. of a person. Dropping the future withdraws the question.
    fn decide(&self, target: HostTarget) -> BoxFuture<'static, HostDecision>;
}

/// The decisions of one run: each host is asked for once, and whoever wants it meanwhile waits for the same answer.
pub(super) struct AskedHosts {
    gate: Arc<dyn HostGate>,
    asked: Mutex<HashMap<HostTarget, watch::Receiver<Option<HostDecision>>>>,
    open: Arc<Semaphore>,
}

impl AskedHosts {
    pub(super) fn new(gate: Arc<dyn HostGate>) -> Self {
        Self { gate, asked: Mutex::default(), open: Arc::new(Semaphore::new(MAX_OPEN)) }
    }

    /// Forgets refusals: those hosts are asked for again.
    pub(super) fn forget_refusals(&self) {
        self.asked.lock().retain(|_, answer| !matches!(*answer.borrow(), Some(HostDecision::Refused(_))));
    }

    /// Waits for the decision. `spawn` runs the question, which outlives an impatient client.
    pub(super) async fn decide(
        &self,
        target: HostTarget,
        spawn: impl FnOnce(BoxFuture<'static, ()>),
    ) -> HostDecision {
        let mut answer = {
            let mut asked = self.asked.lock();
            match asked.get(&target) {
                Some(answer) => answer.clone(),
                None if asked.len() >= MAX_HOSTS => {
                    return HostDecision::Refused(format!(
                        "this run has asked for {MAX_HOSTS} hosts already"
                    ));
                }
                None => {
                    let (decided, answer) = watch::channel(None);
                    asked.insert(target.clone(), answer.clone());
                    let (gate, open) = (Arc::clone(&self.gate), Arc::clone(&self.open));
                    spawn(Box::pin(async move {
                        let _place = open.acquire_owned().await;
                        let decision = gate.decide(target).await;
                        decided.send_replace(Some(decision));
                    }));
                    answer
                }
            }
        };
        // The sender is gone without a decision when the run is over.
        let decision = answer.wait_for(Option::is_some).await.ok().and_then(|decision| decision.clone());
        decision.unwrap_or_else(|| HostDecision::Refused("the run is over".into()))
    }
}

impl fmt::Debug for AskedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskedHosts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Allows what begins with `good`, once it may answer.
    struct TestGate {
        asked: Arc<AtomicUsize>,
        may_answer: watch::Receiver<bool>,
    }

    impl HostGate for TestGate {
        fn decide(&self, target: HostTarget) -> BoxFuture<'static, HostDecision> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let mut may_answer = self.may_answer.clone();
            Box::pin(async move {
                let _ = may_answer.wait_for(|may| *may).await;
                match target.host.starts_with("good") {
                    true => HostDecision::Allowed,
                    false => HostDecision::Refused("no".into()),
                }
            })
        }
    }

    fn target(host: &str) -> HostTarget {
        HostTarget { host: host.into(), port: 443 }
    }

    fn spawn(task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    #[tokio::test]
    async fn a_host_is_asked_for_once_and_all_who_want_it_get_the_same_answer() {
        let (answer, may_answer) = watch::channel(false);
        let asked = Arc::new(AtomicUsize::new(0));
        let hosts = AskedHosts::new(Arc::new(TestGate { asked: asked.clone(), may_answer }));
        let both = async {
            tokio::join!(
                hosts.decide(target("good.example"), spawn),
                hosts.decide(target("good.example"), spawn)
            )
        };
        let answering = async {
            // A client that gives up takes no question with it.
            drop(
                tokio::time::timeout(std::time::Duration::ZERO, hosts.decide(target("bad.example"), spawn))
                    .await,
            );
            answer.send_replace(true);
        };
        let (decided, ()) = tokio::join!(both, answering);
        assert_eq!(decided, (HostDecision::Allowed, HostDecision::Allowed));
        assert_eq!(hosts.decide(target("good.example"), spawn).await, HostDecision::Allowed);
        assert_eq!(hosts.decide(target("bad.example"), spawn).await, HostDecision::Refused("no".into()));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_refused_host_is_asked_for_again_once_refusals_are_forgotten() {
        let (_answer, may_answer) = watch::channel(true);
        let asked = Arc::new(AtomicUsize::new(0));
        let hosts = AskedHosts::new(Arc::new(TestGate { asked: asked.clone(), may_answer }));
        for expected in [2, 3] {
            for host in ["good.example", "bad.example"] {
                hosts.decide(target(host), spawn).await;
            }
            assert_eq!(asked.load(Ordering::SeqCst), expected, "what was allowed stays allowed");
            hosts.forget_refusals();
        }
    }

    #[tokio::test]
    async fn a_run_cannot_flood_people_with_names() {
        let (_answer, may_answer) = watch::channel(true);
        let asked = Arc::new(AtomicUsize::new(0));
        let hosts = AskedHosts::new(Arc::new(TestGate { asked: asked.clone(), may_answer }));
        for number in 0..2 * MAX_HOSTS {
            hosts.decide(target(&format!("bad{number}.example")), spawn).await;
        }
        assert_eq!(asked.load(Ordering::SeqCst), MAX_HOSTS);
    }
}
