//! A process's part of the network: the hosts it may reach, who decides about the rest, and whether this machine can enforce it.

use std::{fmt, net::SocketAddr, path::Path, sync::Arc};

use super::{
    Bwrap, Confined, Confinement, LandlockWall, NetworkReach, PortReach,
    egress::{EgressProxy, EgressRules},
    host_gate::HostGate,
    hosts::{AllowedHost, NetworkAccess},
};
use crate::model_proxy::ModelProxy;

/// The hosts that a process may reach.
#[derive(Clone)]
pub struct NetworkPlan {
    pub access: NetworkAccess,
    /// The setting behind it with its file, as it appears in a sentence: "`gate_network` in `.storkit/project.toml`".
    pub key: String,
    /// Reached whatever the setting lists: the model's API, where the CLI reaches it itself.
    pub needs: Vec<AllowedHost>,
    /// Where [`NetworkAccess::asking`] people: the package registries of the project, and who decides about all other hosts.
    pub open: OpenHosts,
    /// Storkit's listener, for the agents' tools.
    pub own: Option<SocketAddr>,
    /// The way to the model.
    pub model: Option<Arc<ModelProxy>>,
}

/// Hosts that are open or can be opened where people are asked.
#[derive(Clone, Default)]
pub struct OpenHosts {
    pub registries: Vec<AllowedHost>,
    /// Without one, no other host is open.
    pub gate: Option<Arc<dyn HostGate>>,
}

impl NetworkPlan {
    /// A plan with nothing but the setting.
    pub fn new(access: NetworkAccess, key: impl Into<String>) -> Self {
        Self {
            access,
            key: key.into(),
            needs: Vec::new(),
            open: OpenHosts::default(),
            own: None,
            model: None,
        }
    }

    fn rules(self) -> EgressRules {
        let (mut hosts, asks) = match self.access {
            NetworkAccess::Unset => (self.open.registries, true),
            NetworkAccess::Ask(hosts) => ([hosts, self.open.registries].concat(), true),
            NetworkAccess::Only(hosts) => (hosts, false),
            NetworkAccess::All => (Vec::new(), false),
        };
        hosts.extend(self.needs);
        let gate = self.open.gate.filter(|_| asks);
        EgressRules { hosts, key: self.key, asks, gate, own: self.own, model: self.model }
    }
}

impl EgressProxy {
    /// A proxy for this plan, which listens in a new folder below `runtime_dir`. Needs a tokio runtime. Fails if a folder or
    /// socket cannot be made.
    pub fn for_plan(plan: NetworkPlan, runtime_dir: &Path) -> std::io::Result<Self> {
        Self::open(plan.rules(), runtime_dir)
    }
}

impl Confined {
    /// The same, with the network limited by `plan`. The proxy has to live as long as the sandbox. Blocks; needs a tokio runtime.
    ///
    /// # Errors
    /// A sentence, if a limit that is set cannot be enforced.
    pub fn limited(&self, plan: NetworkPlan) -> Result<(Self, Option<Arc<EgressProxy>>), String> {
        self.confinement.can_limit(&plan.access, &plan.key)?;
        if !self.confinement.limits(&plan.access) {
            return Ok((self.clone(), None));
        }
        let (key, rules) = (plan.key.clone(), plan.rules());
        // With nothing to forward there is no proxy that could be misused.
        if rules.is_closed() {
            return Ok((self.closed(), None));
        }
        let opened = match &self.confinement {
            Confinement::Landlock(_) => EgressProxy::open_on_loopback(rules),
            Confinement::Bwrap(_) | Confinement::None | Confinement::Prefix(_) => {
                EgressProxy::open(rules, &self.place.root.join(".storkit/run"))
            }
        };
        let egress = Arc::new(opened.map_err(|error| format!("{key} cannot be enforced: {error}."))?);
        Ok((self.through(&egress), Some(egress)))
    }

    /// The same, with no network but what this proxy passes on.
    pub fn through(&self, egress: &EgressProxy) -> Self {
        self.reaching(egress.reach(), egress.port_reach())
    }

    fn closed(&self) -> Self {
        self.reaching(NetworkReach::Nothing, PortReach::Ports { open: Vec::new(), proxy: None })
    }

    fn reaching(&self, namespace: NetworkReach, ports: PortReach) -> Self {
        let confinement = match &self.confinement {
            Confinement::Bwrap(bwrap) => Confinement::Bwrap(Bwrap { reach: namespace, ..bwrap.clone() }),
            Confinement::Landlock(wall) => {
                Confinement::Landlock(LandlockWall { reach: ports, ..wall.clone() })
            }
            other @ (Confinement::None | Confinement::Prefix(_)) => other.clone(),
        };
        Self { confinement, ..self.clone() }
    }
}

impl Confinement {
    /// Checks that it can enforce `network`, which is set at `key`. Blocks.
    ///
    /// # Errors
    /// A sentence on the missing part: nothing starts with more access than somebody set. Where nobody did, the network is open, and
    /// `doctor` says so.
    pub fn can_limit(&self, network: &NetworkAccess, key: &str) -> Result<(), String> {
        if !network.is_set() || self.limits(network) {
            return Ok(());
        }
        self.limits_network()
            .map_err(|why| format!("{key} cannot be enforced: {why} Fix that, or set it to `true`."))
    }

    /// Whether it limits the network to `network`: not if there is no limit, or this machine cannot. Blocks.
    pub fn limits(&self, network: &NetworkAccess) -> bool {
        network.is_limited()
            && (self.limits_network().is_ok() || (!network.is_strict() && self.limits_ports()))
    }

    /// The part of the network that stays open here where people are asked, as a sentence; `None` where none does. Blocks.
    pub fn network_gap(&self) -> Option<String> {
        let why = self.limits_network().err()?;
        Some(match self.limits_ports() {
            true => "Landlock limits connections by their port only: a program behind the wall that does not use storkit's proxy can \
                 still connect to another machine, on the ports that storkit's proxies have at that time. bubblewrap leaves no such gap."
                .into(),
            false => format!("The network of agents, gates and chat rooms is open on this machine: {why}"),
        })
    }

    /// Whether it can limit the ports to which connections go.
    fn limits_ports(&self) -> bool {
        matches!(self, Self::Landlock(_)) && LandlockWall::limits_ports()
    }

    /// Checks that it can limit the network at all. Blocks.
    ///
    /// # Errors
    /// A sentence on the missing part.
    pub fn limits_network(&self) -> Result<(), String> {
        match self {
            Self::Bwrap(bwrap) => without_network(bwrap),
            // Whoever has a server on all ports would be reached past the proxy.
            Self::Landlock(_) if self.limits_ports() => Err(
                "Landlock limits connections by their port only, whatever machine they lead to. That needs bubblewrap.".into(),
            ),
            // The sentence depends on the machine: install bubblewrap, or use the one that is there.
            Self::None | Self::Prefix(_) | Self::Landlock(_) => {
                without_network(&Bwrap::for_home(Path::new("/")))
                    .and_then(|()| Err("that needs bubblewrap, which `[wall] confine` turns off.".into()))
            }
        }
    }
}

fn without_network(bwrap: &Bwrap) -> Result<(), String> {
    Bwrap { reach: NetworkReach::Nothing, ..bwrap.clone() }.try_out()
}

impl fmt::Debug for OpenHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenHosts").field("registries", &self.registries).finish_non_exhaustive()
    }
}
