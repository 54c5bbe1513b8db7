//! The environment inside: variables of this list, and those that the operator adds. Everything else that storkit inherited stays outside.

use std::ffi::{OsStr, OsString};

/// For every program: who and where it is, its language, terminal and clock, and the settings of toolchains.
const COMMON: [&str; 64] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "TZ",
    "CI",
    "DEBIAN_FRONTEND",
    "SOURCE_DATE_EPOCH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "CC",
    "CXX",
    "AR",
    "LD",
    "CFLAGS",
    "CXXFLAGS",
    "LDFLAGS",
    "MAKEFLAGS",
    "CARGO_BUILD_JOBS",
    "CARGO_HOME",
    "CARGO_INCREMENTAL",
    "CARGO_NET_OFFLINE",
    "CARGO_TERM_COLOR",
    "RUSTFLAGS",
    "RUSTUP_AUTO_INSTALL",
    "RUSTUP_DIST_SERVER",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "RUST_BACKTRACE",
    "DOTNET_ROOT",
    "GOFLAGS",
    "GOPRIVATE",
    "GOPROXY",
    "GOROOT",
    "GOSUMDB",
    "GOTOOLCHAIN",
    "JAVA_HOME",
    "FNM_DIR",
    "NODE_OPTIONS",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
    "NVM_DIR",
    "VOLTA_HOME",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "UV_INDEX_URL",
    "RBENV_ROOT",
];

/// For every program, too: variables that name files and folders which builds read (certificates, local packages, libraries). Those are
/// shown inside.
pub(super) const NAME_FILES: [&str; 16] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "PIP_FIND_LINKS",
    "CPATH",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "PKG_CONFIG_PATH",
];

/// For the CLI: how it reaches its model, and its own settings.
const OF_THE_CLI: [&str; 8] = [
    "ANTHROPIC_",
    "CLAUDE_",
    "DISABLE_",
    "API_TIMEOUT_MS",
    "BASH_DEFAULT_TIMEOUT_MS",
    "BASH_MAX_",
    "MAX_THINKING_TOKENS",
    "MCP_",
];

/// For the CLI where it reaches its model by this cloud: the switch, and what begins the names of its variables.
const CLOUDS: [(&str, &[&str]); 2] = [
    ("CLAUDE_CODE_USE_BEDROCK", &["AWS_"]),
    ("CLAUDE_CODE_USE_VERTEX", &["CLOUD_ML_", "GOOGLE_", "VERTEX_"]),
];

/// Any of them shows that the CLI does not use the login that is a file.
const KEYS: [&str; 6] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
];

/// The variables of `inherited` for gates and components. `added` are names from `[wall] variables`.
pub fn for_commands(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    added: &[String],
) -> Vec<(OsString, OsString)> {
    let passes = |(name, value): &(OsString, OsString)| is_added(name, added) || is_common(name, value);
    inherited.into_iter().filter(passes).collect()
}

/// As [`for_commands`], for an agent's own process.
pub fn for_agents(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    added: &[String],
) -> Vec<(OsString, OsString)> {
    let inherited: Vec<(OsString, OsString)> = inherited.into_iter().collect();
    let is_set = |name: &str| inherited.iter().any(|(other, value)| other == name && !value.is_empty());
    let clouds = CLOUDS.iter().filter(|(switch, _)| is_set(switch));
    let clouds: Vec<&str> = clouds.flat_map(|(_, beginnings)| beginnings.iter().copied()).collect();
    let of_the_cli = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        OF_THE_CLI.iter().chain(&clouds).any(|beginning| name.starts_with(beginning.as_bytes()))
    };
    let passes = |(name, value): &(OsString, OsString)| {
        is_added(name, added) || is_common(name, value) || of_the_cli(name)
    };
    inherited.iter().filter(|variable| passes(variable)).cloned().collect()
}

/// Whether a CLI with this environment uses the login that is a file.
pub(crate) fn uses_login(environment: &[(OsString, OsString)]) -> bool {
    !environment.iter().any(|(name, value)| KEYS.iter().any(|key| name == key) && !value.is_empty())
}

fn is_added(name: &OsStr, added: &[String]) -> bool {
    added.iter().any(|other| name == other.as_str())
}

fn is_common(name: &OsStr, value: &OsStr) -> bool {
    let listed = COMMON.iter().chain(&NAME_FILES).any(|other| name == *other)
        || name.as_encoded_bytes().starts_with(b"LC_");
    listed && !has_credentials(value)
}

/// Whether it is an address with a user in it, like that of a proxy or a registry. The operator can add such a variable by its name.
fn has_credentials(value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    let authority = |rest: &str| rest.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@'));
    value.match_indices("://").any(|(at, mark)| authority(&value[at + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn names(list: Vec<(OsString, OsString)>) -> Vec<String> {
        list.into_iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_gate_gets_no_key_no_socket_and_no_address_with_a_password() {
        let inherited = pairs(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("ANTHROPIC_API_KEY", "key"),
            ("CLAUDE_CONFIG_DIR", "/c"),
            ("DATABASE_URL", "postgres://a:b@c/d"),
            ("SSH_AUTH_SOCK", "/s"),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=x"),
            ("GITHUB_TOKEN", "t"),
            ("HTTPS_PROXY", "http://ann:secret@proxy:1"),
            ("HTTP_PROXY", "http://proxy:1/@"),
            ("GOPROXY", "https://ok.example,https://u:p@private.example"),
            ("LD_PRELOAD", "/x.so"),
        ]);
        assert_eq!(names(for_commands(inherited.clone(), &[])), ["PATH", "LC_ALL", "HTTP_PROXY"]);
        let added = ["DATABASE_URL".to_owned(), "HTTPS_PROXY".to_owned()];
        let shown = names(for_commands(inherited, &added));
        assert_eq!(shown, ["PATH", "LC_ALL", "DATABASE_URL", "HTTPS_PROXY", "HTTP_PROXY"]);
    }

    #[test]
    fn an_agent_gets_the_clis_variables_and_a_clouds_only_where_it_uses_that() {
        let inherited = pairs(&[
            ("ANTHROPIC_BASE_URL", "https://u@h/"),
            ("AWS_SECRET_ACCESS_KEY", "k"),
            ("GITHUB_TOKEN", "t"),
        ]);
        assert_eq!(names(for_agents(inherited.clone(), &[])), ["ANTHROPIC_BASE_URL"]);
        let by_cloud = [inherited, pairs(&[("CLAUDE_CODE_USE_BEDROCK", "1")])].concat();
        assert_eq!(
            names(for_agents(by_cloud, &[])),
            ["ANTHROPIC_BASE_URL", "AWS_SECRET_ACCESS_KEY", "CLAUDE_CODE_USE_BEDROCK"]
        );
    }

    #[test]
    fn a_login_is_used_where_there_is_no_key() {
        assert!(uses_login(&pairs(&[("PATH", "/bin"), ("ANTHROPIC_API_KEY", "")])));
        assert!(!uses_login(&pairs(&[("ANTHROPIC_API_KEY", "key")])));
    }
}
