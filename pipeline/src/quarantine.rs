//! The limits of a stranger's story: its runs and commands reach package registries only, and get nothing that the operator adds to
//! the wall.

use std::sync::Arc;

use agents::confine::{AllowedHost, environment};

use crate::{config::ProjectConfig, host::AgentSettings};

/// The settings without what the operator adds to the wall, and with no variables for agents but listed ones.
pub(crate) fn restricted(settings: &AgentSettings) -> Arc<AgentSettings> {
    let mut settings = settings.clone();
    let wall = &mut settings.wall;
    (wall.visible, wall.writable, wall.variables) = (Vec::new(), Vec::new(), Vec::new());
    let env = settings.env.into_iter().map(|(name, value)| (name.into(), value.into()));
    let listed = environment::for_agents(env, &[]).into_iter();
    settings.env = listed
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Arc::new(settings)
}

/// The project's settings with a network that has nothing but the package registries of base.
pub(crate) fn restricted_project(config: &ProjectConfig, registries: &[AllowedHost]) -> Arc<ProjectConfig> {
    let mut config = config.clone();
    config.gate_network = config.gate_network.registries_only(registries);
    for component in &mut config.components {
        component.network = component.network.registries_only(registries);
    }
    for agent in &mut config.agents {
        agent.network = agent.network.registries_only(registries);
    }
    Arc::new(config)
}

#[cfg(test)]
mod tests {
    use agents::confine::{NetworkAccess, WallSettings};

    use super::*;
    use crate::{config::Agent, trust::TrustStore};

    fn host(name: &str) -> AllowedHost {
        AllowedHost::parse(name).expect("a host")
    }

    #[test]
    fn nothing_is_left_of_what_the_operator_adds() {
        let settings = AgentSettings {
            command: vec!["claude".into()],
            model: String::new(),
            model_access: Default::default(),
            env: [("PATH", "/bin"), ("ANTHROPIC_MODEL", "m"), ("GITHUB_TOKEN", "secret")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            secret_env: vec!["SECRET".into()],
            home: "/home/ann".into(),
            wall: WallSettings {
                visible: vec!["/srv/keys".into()],
                writable: vec!["/srv/data".into()],
                variables: vec!["DATABASE_URL".into()],
                ..WallSettings::default()
            },
            stall: Default::default(),
            trust_project_settings: false,
            busy_wait: Default::default(),
            settle: Default::default(),
            trust: TrustStore::at("/nonexistent".into()),
        };
        let left = restricted(&settings);
        assert_eq!(left.wall, WallSettings::default());
        assert_eq!(left.env.keys().collect::<Vec<_>>(), ["ANTHROPIC_MODEL", "PATH"]);
        assert_eq!(left.secret_env, settings.secret_env);
    }

    #[test]
    fn of_the_network_the_registries_are_left_and_no_more_of_them_than_the_project_allows() {
        let registries = [host("index.crates.io:443"), host("static.crates.io:443")];
        let all = NetworkAccess::Only(registries.to_vec());
        let listed = NetworkAccess::Only(vec![host("index.crates.io"), host("db.example:5432")]);
        for (network, left) in [
            (NetworkAccess::All, all.clone()),
            (NetworkAccess::Ask(vec![host("docs.example")]), all),
            (listed, NetworkAccess::Only(vec![host("index.crates.io:443")])),
            (NetworkAccess::Only(Vec::new()), NetworkAccess::Only(Vec::new())),
        ] {
            let agents = vec![Agent { network: network.clone(), ..Agent::default_team().remove(0) }];
            let config = ProjectConfig { gate_network: network, agents, ..ProjectConfig::default() };
            let config = restricted_project(&config, &registries);
            assert_eq!((&config.gate_network, &config.agents[0].network), (&left, &left));
        }
    }
}
