//! Hosts that a run wants to reach and no setting lists: a standing rule, an earlier answer or a person decides.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use agents::confine::{HostDecision, HostGate, HostTarget};
use axum::http::Uri;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use pipeline::{
    event::{RunId, RunInfo},
    host::HostAsker,
    story::StoryId,
};
use serde_json::{Value, json};

use crate::{
    config::current::LiveSettings,
    messengers::ConnectedMessengers,
    permission::{NETWORK_TOOL, PermissionAsk, PermissionBroker, PermissionDecision},
    replies as say,
};

/// Remembered answers; the oldest is forgotten then, and asked for again.
const MAX_GRANTS: usize = 1_000;

/// Asks people about hosts, and remembers what they allowed.
pub struct HostQuestions {
    settings: Arc<LiveSettings>,
    /// Who is asked. Set once the messengers are there; until then nobody can be asked.
    desk: OnceLock<(PermissionBroker, ConnectedMessengers)>,
    granted: Mutex<Vec<HostGrant>>,
}

/// A host that was allowed for one run. The commands of the run's story reach it, too.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostGrant {
    run: RunId,
    story: StoryId,
    target: HostTarget,
}

impl HostQuestions {
    pub fn new(settings: Arc<LiveSettings>) -> Arc<Self> {
        Arc::new(Self { settings, desk: OnceLock::new(), granted: Mutex::default() })
    }

    /// From now on people can be asked.
    pub fn connect(&self, broker: PermissionBroker, messengers: ConnectedMessengers) {
        // Only the start calls this, once.
        let _ = self.desk.set((broker, messengers));
    }

    /// The gate for a run or for the commands of a story.
    pub fn gate(self: &Arc<Self>, asker: HostAsker) -> Arc<dyn HostGate> {
        let questions = Arc::clone(self);
        match asker {
            HostAsker::Agent { run, waiting } => Arc::new(AgentHosts { questions, run, waiting }),
            HostAsker::Commands { story } => Arc::new(StoryHosts { questions, story }),
        }
    }

    /// A page that a person allowed a run to fetch is reached without another question.
    pub fn grant_page(&self, run: &RunInfo, url: &str) {
        let Ok(url) = url.parse::<Uri>() else { return };
        let port = url.port_u16().or(match url.scheme_str() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            _ => None,
        });
        // The CLI fetches an `http` page by `https` (2.1.330).
        let ports = port.into_iter().chain((port == Some(80)).then_some(443));
        for port in ports {
            if let Some(target) = url.host().and_then(|host| HostTarget::new(host, port)) {
                self.grant(run, target);
            }
        }
    }

    fn grant(&self, run: &RunInfo, target: HostTarget) {
        let mut granted = self.granted.lock();
        let grant = HostGrant { run: run.id.clone(), story: run.story, target };
        if !granted.contains(&grant) {
            if granted.len() == MAX_GRANTS {
                granted.remove(0);
            }
            granted.push(grant);
        }
    }

    fn ask(&self, messengers: &ConnectedMessengers, asked_for: String, target: &HostTarget) -> PermissionAsk {
        let config = self.settings.config();
        PermissionAsk {
            rooms: messengers.followers(&config.pipeline),
            session_of: None,
            asked_for,
            tool: NETWORK_TOOL.into(),
            input: json!({ "host": target.host, "port": target.port }),
            timeout: config.claude.permission_timeout.limit(),
        }
    }

    async fn decide_for_agent(
        self: Arc<Self>,
        run: RunInfo,
        waiting: Arc<AtomicUsize>,
        target: HostTarget,
    ) -> HostDecision {
        let is_granted =
            self.granted.lock().iter().any(|grant| grant.run == run.id && grant.target == target);
        if is_granted {
            return HostDecision::Allowed;
        }
        let Some((broker, messengers)) = self.desk.get() else {
            return HostDecision::Refused(say::NO_PERSON_FOR_HOST.into());
        };
        let ask = self.ask(messengers, format!("story {} ({})", run.story, run.slot), &target);
        if broker.is_allowed_by_rule(&page_of(&ask, &target)) {
            return HostDecision::Allowed;
        }
        let _waiting = WaitingRun::new(waiting);
        match broker.ask(ask).await {
            PermissionDecision::Allowed { .. } => {
                self.grant(&run, target);
                HostDecision::Allowed
            }
            PermissionDecision::Denied(why) => HostDecision::Refused(say::host_refused(why)),
        }
    }

    fn decide_for_commands(&self, story: StoryId, target: &HostTarget) -> HostDecision {
        let granted = self.granted.lock().iter().any(|grant| grant.story == story && grant.target == *target);
        let by_rule = || {
            let (broker, messengers) = self.desk.get()?;
            let ask = self.ask(messengers, format!("story {story}"), target);
            Some(broker.is_allowed_by_rule(&ask) || broker.is_allowed_by_rule(&page_of(&ask, target)))
        };
        match granted || by_rule().unwrap_or(false) {
            true => HostDecision::Allowed,
            false => HostDecision::Refused(say::HOST_NOT_ALLOWED_YET.into()),
        }
    }
}

/// The same question as that of the CLI's own tool for pages, whose rules name hosts as well.
fn page_of(ask: &PermissionAsk, target: &HostTarget) -> PermissionAsk {
    let url = match target.port {
        443 => format!("https://{}/", target.host),
        80 => format!("http://{}/", target.host),
        _ => format!("https://{target}/"),
    };
    PermissionAsk {
        tool: "WebFetch".into(),
        input: Value::Object([("url".into(), url.into())].into_iter().collect()),
        ..ask.clone()
    }
}

/// The hosts of an agent's run: people are asked.
struct AgentHosts {
    questions: Arc<HostQuestions>,
    run: RunInfo,
    waiting: Arc<AtomicUsize>,
}

impl HostGate for AgentHosts {
    fn decide(&self, target: HostTarget) -> BoxFuture<'static, HostDecision> {
        let questions = Arc::clone(&self.questions);
        Box::pin(questions.decide_for_agent(self.run.clone(), Arc::clone(&self.waiting), target))
    }
}

/// The hosts of a story's gates and components: nobody waits for them, so nobody is asked.
struct StoryHosts {
    questions: Arc<HostQuestions>,
    story: StoryId,
}

impl HostGate for StoryHosts {
    fn decide(&self, target: HostTarget) -> BoxFuture<'static, HostDecision> {
        let decision = self.questions.decide_for_commands(self.story, &target);
        Box::pin(async { decision })
    }
}

// A run that waits for a person is not stalled. A guard, because the asking future can be dropped at any moment.
struct WaitingRun(Arc<AtomicUsize>);

impl WaitingRun {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitingRun {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
