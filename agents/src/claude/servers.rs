//! The operator's own MCP servers, in the format of Claude Code's `--mcp-config` file: read, checked and passed on.
//!
//! Checked here, since the CLI silently leaves out an entry that it cannot use (2.1.330).

use std::{collections::BTreeMap, fmt, sync::Arc};

use hyper::header::{HeaderName, HeaderValue};
use reqwest::Url;
use serde_json::{Map, Value};

/// The name of storkit's own server in the CLI.
pub(super) const OWN_SERVER: &str = "storkit";

/// More characters of a name would not leave room for a tool's: the service takes 128 of both.
const MAX_NAME: usize = 40;

/// Names under which the CLI has servers of its own. It offers nothing of another one (2.1.330).
const RESERVED: [&str; 4] = ["ide", "claude-in-chrome", "computer-use", "workspace"];

const STDIO_KEYS: [&str; 6] = ["type", "command", "args", "env", "timeout", "alwaysLoad"];
const NETWORK_KEYS: [&str; 5] = ["type", "url", "headers", "timeout", "alwaysLoad"];

/// MCP servers by their names. Its `Debug` form shows only these.
#[derive(Clone, Default, PartialEq)]
pub struct OperatorServers {
    servers: Arc<BTreeMap<String, Value>>,
    variables: Vec<String>,
    secrets: Vec<String>,
}

/// How the CLI reaches a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerTransport {
    /// It starts a program.
    Stdio { command: String, args: Vec<String> },
    /// It connects to this host and port.
    Network { host: String, port: u16 },
}

/// The value of a variable that the file names as `${NAME}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerVariable {
    Set(String),
    Unset,
    /// It is storkit's own secret.
    Withheld,
}

/// A fault in the file. Each is a sentence that follows the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServersError {
    #[error("it is not valid JSON: {0}.")]
    Json(String),
    #[error(
        "it has no servers below `mcpServers`. Write it like {{\"mcpServers\": {{\"NAME\": {{\"command\": \"PROGRAM\"}}}}}}."
    )]
    NoServers,
    #[error(
        "a server cannot be called `{0}`: a name is up to {MAX_NAME} letters, digits and dashes, and single underscores between them."
    )]
    Name(String),
    #[error("a server cannot be called `{0}`: {1} has tools under that name. Choose another one.")]
    TakenName(String, &'static str),
    /// A value that the CLI would not take.
    #[error("server `{server}`: {why}")]
    Server { server: String, why: String },
}

impl OperatorServers {
    /// Reads the text of a file. `lookup` is asked for each `${NAME}`.
    ///
    /// # Errors
    /// The first fault in the text.
    pub fn parse(text: &str, lookup: impl Fn(&str) -> ServerVariable) -> Result<Self, ServersError> {
        let file: Value =
            serde_json::from_str(text).map_err(|error| ServersError::Json(error.to_string()))?;
        let listed = file.get("mcpServers").and_then(Value::as_object).filter(|servers| !servers.is_empty());
        let mut found = Self::default();
        let mut servers = BTreeMap::new();
        for (name, server) in listed.ok_or(ServersError::NoServers)? {
            check_name(name)?;
            let wrong = |why: String| ServersError::Server { server: name.clone(), why };
            let mut server = server.clone();
            expand(&mut server, &lookup, &mut found.variables).map_err(wrong)?;
            check_server(&server).map_err(wrong)?;
            found.secrets.extend(secrets_of(&server));
            servers.insert(name.clone(), server);
        }
        found.servers = Arc::new(servers);
        Ok(found)
    }

    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.servers.keys().map(String::as_str)
    }

    /// The environment variables that went into it.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// Values that look like keys and tokens.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// How the CLI reaches the server of this name.
    pub fn transport(&self, name: &str) -> Option<ServerTransport> {
        let server = self.servers.get(name)?;
        let text = |key: &str| server.get(key).and_then(Value::as_str);
        let Some(url) = text("url").and_then(|url| Url::parse(url).ok()) else {
            let args = server.get("args").and_then(Value::as_array).into_iter().flatten();
            let args = args.filter_map(Value::as_str).map(str::to_owned).collect();
            return Some(ServerTransport::Stdio { command: text("command")?.to_owned(), args });
        };
        Some(ServerTransport::Network {
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// The programs of those that the CLI starts.
    pub fn programs(&self) -> Vec<String> {
        let transports = self.names().filter_map(|name| self.transport(name));
        let program = |transport| match transport {
            ServerTransport::Stdio { command, .. } => Some(command),
            ServerTransport::Network { .. } => None,
        };
        transports.filter_map(program).collect()
    }

    /// As the CLI takes them.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        self.servers.iter().map(|(name, server)| (name.clone(), server.clone())).collect()
    }
}

impl fmt::Debug for OperatorServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OperatorServers").field(&self.names().collect::<Vec<_>>()).finish()
    }
}

/// The CLI calls a tool `mcp__SERVER__TOOL`, with another sign for each that is no letter, digit, `-` or `_`. So `__` in a name, or `_`
/// at its end, could make a tool of one server look like one of another.
fn check_name(name: &str) -> Result<(), ServersError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_apart = !name.contains("__") && !name.starts_with('_') && !name.ends_with('_');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) || !is_apart {
        let shown = name.chars().take(MAX_NAME).flat_map(char::escape_default).collect();
        return Err(ServersError::Name(shown));
    }
    if name.eq_ignore_ascii_case(OWN_SERVER) {
        return Err(ServersError::TakenName(name.into(), "storkit itself"));
    }
    match RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        true => Err(ServersError::TakenName(name.into(), "Claude Code itself")),
        false => Ok(()),
    }
}

fn check_server(server: &Value) -> Result<(), String> {
    let Some(keys) = server.as_object() else { return Err("it is no object with keys.".into()) };
    let kind = match keys.get("type") {
        None => "stdio",
        Some(kind) => kind.as_str().unwrap_or_default(),
    };
    let known: &[&str] = match kind {
        "stdio" => &STDIO_KEYS,
        "http" | "sse" => &NETWORK_KEYS,
        _ => return Err("`type` is \"stdio\", \"http\" or \"sse\".".into()),
    };
    if let Some(key) = keys.keys().find(|key| !known.contains(&key.as_str())) {
        let key: String = key.chars().flat_map(char::escape_default).collect();
        return Err(format!(
            "`{key}` is no key of a server of the type `{kind}`; these are: {}.",
            known.join(", ")
        ));
    }
    if keys.get("timeout").is_some_and(|timeout| timeout.as_u64().is_none_or(|timeout| timeout == 0)) {
        return Err("`timeout` is a number of milliseconds.".into());
    }
    if keys.get("alwaysLoad").is_some_and(|always| !always.is_boolean()) {
        return Err("`alwaysLoad` is true or false.".into());
    }
    if kind == "stdio" { check_program(keys) } else { check_address(keys) }
}

fn check_program(keys: &Map<String, Value>) -> Result<(), String> {
    let command = keys.get("command").and_then(Value::as_str).filter(|command| !command.trim().is_empty());
    let command = command.ok_or("`command` is missing: the program that the server is.")?;
    // Relative to a folder in which an agent writes.
    if command.contains('/') && !command.starts_with('/') {
        return Err(
            "`command` is the name of a program on the `PATH`, or a path that begins with `/`.".into()
        );
    }
    let args = keys.get("args").map_or(Some(&[][..]), |args| args.as_array().map(Vec::as_slice));
    if !args.is_some_and(|args| args.iter().all(Value::is_string)) {
        return Err("`args` is a list of texts.".into());
    }
    let texts = texts_by_name(keys, "env")?;
    match texts.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
        Some(_) => Err("a name in `env` is no name of a variable.".into()),
        None => Ok(()),
    }
}

fn check_address(keys: &Map<String, Value>) -> Result<(), String> {
    let url = keys.get("url").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
    if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some()) {
        return Err("`url` is an address like \"https://mcp.example.org/mcp\".".into());
    }
    let is_header = |(name, value): &(&str, &str)| {
        HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok()
    };
    match texts_by_name(keys, "headers")?.iter().all(is_header) {
        true => Ok(()),
        false => Err("a name or a value in `headers` cannot be in a header of HTTP.".into()),
    }
}

fn texts_by_name<'a>(keys: &'a Map<String, Value>, key: &str) -> Result<Vec<(&'a str, &'a str)>, String> {
    let Some(value) = keys.get(key) else { return Ok(Vec::new()) };
    let texts = value.as_object().into_iter().flatten();
    let texts: Option<Vec<_>> = texts.map(|(name, text)| Some((name.as_str(), text.as_str()?))).collect();
    texts.filter(|_| value.is_object()).ok_or_else(|| format!("`{key}` has a text for each name."))
}

/// The values whose names say that they are secrets, and what stands behind the scheme of an `Authorization`.
fn secrets_of(server: &Value) -> Vec<String> {
    let telling = |name: &str| {
        let name = name.to_ascii_uppercase();
        ["KEY", "TOKEN", "SECRET", "PASSWORD", "AUTHORIZATION", "COOKIE"]
            .iter()
            .any(|word| name.contains(word))
    };
    let named = ["env", "headers"].into_iter().filter_map(|key| server.get(key)?.as_object()).flatten();
    let values = named.filter(|(name, _)| telling(name)).filter_map(|(_, value)| value.as_str());
    let parts = values.flat_map(|value| [Some(value), value.split_once(' ').map(|(_, rest)| rest)]);
    parts.flatten().map(str::to_owned).collect()
}

/// Expands `${NAME}` and `${NAME:-DEFAULT}` in all texts, as the CLI would: behind the wall it does not have these variables.
fn expand(
    value: &mut Value,
    lookup: &impl Fn(&str) -> ServerVariable,
    used: &mut Vec<String>,
) -> Result<(), String> {
    match value {
        Value::String(text) => *text = expand_text(text, lookup, used)?,
        Value::Array(items) => {
            for item in items {
                expand(item, lookup, used)?;
            }
        }
        Value::Object(keys) => {
            for item in keys.values_mut() {
                expand(item, lookup, used)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

fn expand_text(
    text: &str,
    lookup: &impl Fn(&str) -> ServerVariable,
    used: &mut Vec<String>,
) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, tail)) = rest.split_once("${") {
        let (inner, after) = tail.split_once('}').ok_or("`${` without `}`; write it like \"${NAME}\".")?;
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, rest)| (name, Some(rest)));
        let value = match (lookup(name), default) {
            (ServerVariable::Set(value), _) => {
                used.push(name.to_owned());
                value
            }
            (ServerVariable::Unset, Some(default)) => default.to_owned(),
            (ServerVariable::Unset, None) => {
                return Err(format!(
                    "the environment variable `{name}` is not set. Set it, or write the value."
                ));
            }
            (ServerVariable::Withheld, _) => {
                return Err(format!(
                    "`{name}` is a secret of storkit's own, which agents never get. Give the server a variable of its own."
                ));
            }
        };
        if value.contains("${") {
            return Err(format!(
                "the value of `{name}` contains `${{`, which Claude Code would expand once more."
            ));
        }
        out.push_str(before);
        out.push_str(&value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> ServerVariable {
        match name {
            "A" => ServerVariable::Set("s3cret-value".into()),
            "TWICE" => ServerVariable::Set("${A}".into()),
            "ANTHROPIC_API_KEY" => ServerVariable::Withheld,
            _ => ServerVariable::Unset,
        }
    }

    fn parse(text: &str) -> Result<OperatorServers, ServersError> {
        OperatorServers::parse(text, lookup)
    }

    fn server(server: &str) -> Result<OperatorServers, ServersError> {
        parse(&format!(r#"{{"mcpServers": {{"x": {server}}}}}"#))
    }

    #[test]
    fn servers_of_all_kinds_are_passed_on_with_their_variables() {
        let text = r#"{"oauthAccount": 1, "mcpServers": {
            "db": {"command": "db-mcp", "args": ["--user", "${USER_NAME:-ann}"], "env": {"DB_PASSWORD": "${A}"}},
            "docs": {"type": "http", "url": "https://mcp.example.org/mcp", "headers": {"Authorization": "Bearer ${A}"}},
            "old": {"type": "sse", "url": "http://localhost:8080/sse", "timeout": 5000, "alwaysLoad": true}}}"#;
        let servers = parse(text).expect("servers");
        assert_eq!(servers.names().collect::<Vec<_>>(), ["db", "docs", "old"]);
        let json = servers.to_json();
        assert_eq!(json["db"]["args"][1], "ann");
        assert_eq!(json["docs"]["headers"]["Authorization"], "Bearer s3cret-value");
        assert_eq!(servers.variables(), ["A", "A"]);
        assert!(servers.secrets().contains(&"s3cret-value".to_owned()), "{:?}", servers.secrets());
        assert_eq!(servers.programs(), ["db-mcp"]);
        let network = |host: &str, port| Some(ServerTransport::Network { host: host.into(), port });
        assert_eq!(servers.transport("docs"), network("mcp.example.org", 443));
        assert_eq!(servers.transport("old"), network("localhost", 8080));
        assert!(!format!("{servers:?}").contains("s3cret"), "{servers:?}");
    }

    /// Of each, the CLI offers `mcp__NAME__tool`: storkit takes some of these for its own tools, or for another server's.
    #[test]
    fn a_server_cannot_be_called_so_that_its_tools_pose_as_those_of_another() {
        for name in [
            "storkit",
            "STORKIT",
            "Storkit",
            "storkit__x",
            "x__y",
            "storkit_",
            "_storkit",
            "_",
            "",
            "stor kit",
            "storkit ",
            "storkit.",
            "stórkit",
            "a\\u202eb",
            "ide",
            "workspace",
        ] {
            let text = format!(r#"{{"mcpServers": {{"{name}": {{"command": "x"}}}}}}"#);
            let refused = matches!(parse(&text), Err(ServersError::Name(_) | ServersError::TakenName(..)));
            assert!(refused, "{name}");
        }
        assert!(
            parse(&format!(r#"{{"mcpServers": {{"{}": {{"command": "x"}}}}}}"#, "a".repeat(41))).is_err()
        );
        for name in ["github", "stor-kit", "my_db", "storkit2"] {
            let text = format!(r#"{{"mcpServers": {{"{name}": {{"command": "x"}}}}}}"#);
            assert!(parse(&text).is_ok(), "{name}");
        }
    }

    #[test]
    fn each_fault_is_a_sentence() {
        let wrong = [
            r#"{"type": "ws", "url": "ws://x"}"#,
            r#"{"type": "sdk", "name": "x"}"#,
            r#"{"args": []}"#,
            r#"{"command": "./server"}"#,
            r#"{"command": "x", "args": [1]}"#,
            r#"{"command": "x", "env": {"A": 1}}"#,
            r#"{"command": "x", "cwd": "/tmp"}"#,
            r#"{"command": "x", "env": {"A": "${NOT_SET}"}}"#,
            r#"{"command": "x", "env": {"A": "${ANTHROPIC_API_KEY:-x}"}}"#,
            r#"{"command": "x", "env": {"A": "${TWICE}"}}"#,
            r#"{"command": "x", "args": ["${A"]}"#,
            r#"{"type": "http", "url": "mcp.example.org"}"#,
            r#"{"type": "http", "url": "https://x/", "headers": {"A": "x\ny"}}"#,
            r#"{"command": "x", "timeout": 0}"#,
            "1",
        ];
        let sentences: Vec<String> =
            wrong.iter().map(|text| server(text).expect_err(text).to_string()).collect();
        insta::assert_snapshot!(sentences.join("\n"), @r#"
        server `x`: `type` is "stdio", "http" or "sse".
        server `x`: `type` is "stdio", "http" or "sse".
        server `x`: `command` is missing: the program that the server is.
        server `x`: `command` is the name of a program on the `PATH`, or a path that begins with `/`.
        server `x`: `args` is a list of texts.
        server `x`: `env` has a text for each name.
        server `x`: `cwd` is no key of a server of the type `stdio`; these are: type, command, args, env, timeout, alwaysLoad.
        server `x`: the environment variable `NOT_SET` is not set. Set it, or write the value.
        server `x`: `ANTHROPIC_API_KEY` is a secret of storkit's own, which agents never get. Give the server a variable of its own.
        server `x`: the value of `TWICE` contains `${`, which Claude Code would expand once more.
        server `x`: `${` without `}`; write it like "${NAME}".
        server `x`: `url` is an address like "https://mcp.example.org/mcp".
        server `x`: a name or a value in `headers` cannot be in a header of HTTP.
        server `x`: `timeout` is a number of milliseconds.
        server `x`: it is no object with keys.
        "#);
        let whole = ["{", "[]", r#"{"servers": {}}"#, r#"{"mcpServers": {}}"#];
        let sentences: Vec<String> =
            whole.iter().map(|text| parse(text).expect_err(text).to_string()).collect();
        insta::assert_snapshot!(sentences.join("\n"), @r#"
        it is not valid JSON: EOF while parsing an object at line 1 column 1.
        it has no servers below `mcpServers`. Write it like {"mcpServers": {"NAME": {"command": "PROGRAM"}}}.
        it has no servers below `mcpServers`. Write it like {"mcpServers": {"NAME": {"command": "PROGRAM"}}}.
        it has no servers below `mcpServers`. Write it like {"mcpServers": {"NAME": {"command": "PROGRAM"}}}.
        "#);
    }
}
