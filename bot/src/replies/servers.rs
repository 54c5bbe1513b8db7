//! The operator's MCP servers: in rooms that lack one, and as findings of `doctor`.

use adapters::markdown::{code_span, inert};

use super::{
    text::{count, sentence},
    visible::visible_line,
};

/// Characters of a server's own words.
const WORDS_MAX: usize = 200;

/// Characters of a name.
const NAME_MAX: usize = 80;

/// Told in a room whose session lacks them.
pub fn servers_missing(names: &[&str]) -> String {
    let listed: Vec<String> = names.iter().map(|name| code_span(name)).collect();
    let (servers, lacks) = match names.len() {
        1 => ("MCP server", "does not load, so its tools are"),
        _ => ("MCP servers", "do not load, so their tools are"),
    };
    format!("⚠️ The {servers} {} {lacks} missing in this session. `doctor` says why.", listed.join(", "))
}

/// The reason that storkit can see for itself why a server does not load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHint {
    /// Its program is not on the `PATH`, or not there.
    NoProgram(String),
    /// A file that an argument names and that nothing shows behind the wall.
    HiddenFile(String),
    /// A host, with its port, that rooms have to be asked about.
    ClosedHost(String),
    /// A port of this machine, which no question opens.
    ClosedPort(u16),
}

pub fn loads(name: &str, tools: Option<usize>) -> String {
    let tools = tools.map(|tools| format!(" with {}", count(tools, "tool", "tools"))).unwrap_or_default();
    format!("The MCP server {} loads in chat rooms{tools}.", code_span(name))
}

pub fn fails(name: &str, words: &str, hint: Option<&ServerHint>) -> String {
    let why = match words.trim_end_matches([':', ' ', '\n']) {
        "" => ".".to_owned(),
        words => format!(": {}", sentence(&inert(&visible_line(words, WORDS_MAX)))),
    };
    format!("The MCP server {} does not load in chat rooms{why} {}", code_span(name), remedy(hint))
}

fn remedy(hint: Option<&ServerHint>) -> String {
    let shown = |text: &str| code_span(&visible_line(text, NAME_MAX));
    match hint {
        Some(ServerHint::NoProgram(program)) => {
            format!("Its program {} was not found: install it, or write its whole path.", shown(program))
        }
        Some(ServerHint::HiddenFile(file)) => format!(
            "It runs behind the wall, where {} does not exist: add that, or the folder around it, to `mcp_visible` below `[claude]` in \
             `.storkit/bot.toml`.",
            shown(file)
        ),
        Some(ServerHint::ClosedHost(host)) => format!(
            "It needs {}: add that to `network` below `[relay]` in `.storkit/bot.toml`, or each room is asked about it.",
            shown(host)
        ),
        Some(ServerHint::ClosedPort(port)) => format!(
            "It needs a port of this machine: add `localhost:{port}` to `network` below `[relay]` in `.storkit/bot.toml`."
        ),
        None => "It runs behind the wall: what it reads has to be in `mcp_visible` below `[claude]` in `.storkit/bot.toml`, and what \
                 it connects to in `network` below `[relay]`."
            .into(),
    }
}

pub fn wants_login(name: &str) -> String {
    format!(
        "The MCP server {} wants a login in a browser, which it cannot get here. If it takes a token, give it one in `headers`.",
        code_span(name)
    )
}

/// It was still connecting when `doctor` gave up.
pub fn silent(name: &str, seconds: u64) -> String {
    format!(
        "The MCP server {} did not answer in {seconds} s. Each session of a room waits for it when it starts.",
        code_span(name)
    )
}

/// Claude Code does not even list it.
pub fn left_out(name: &str) -> String {
    format!("Claude Code does not take the MCP server {} up; check its entry.", code_span(name))
}

/// The servers could not be tried at all.
pub fn untested(why: &str) -> String {
    sentence(&format!("Cannot tell which MCP servers load: {}", inert(&visible_line(why, WORDS_MAX))))
}

/// The agent program ended while the servers were tried; with its last words.
pub fn agent_ended(words: &str) -> String {
    format!("Claude Code ended: {words}")
}

pub const NO_ANSWER: &str = "Claude Code did not answer.";

/// A clause for whoever wants to reach a host while the servers are tried.
pub const NOBODY_IS_ASKED: &str = "`doctor` asks nobody";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_what_to_do() {
        let hints = [
            ServerHint::NoProgram("db-mcp".into()),
            ServerHint::HiddenFile("/srv/server.py".into()),
            ServerHint::ClosedHost("mcp.example.org:443".into()),
            ServerHint::ClosedPort(8080),
        ];
        let mut texts: Vec<String> = hints.iter().map(|hint| fails("db", "", Some(hint))).collect();
        texts.extend([
            fails("db", "Connection closed\n\u{202e}", None),
            loads("db", Some(1)),
            wants_login("db"),
            silent("db", 45),
            left_out("db"),
            untested(&agent_ended("no wall.")),
            servers_missing(&["db"]),
            servers_missing(&["a", "b"]),
        ]);
        insta::assert_snapshot!(texts.join("\n"), @r"
        The MCP server `db` does not load in chat rooms. Its program `db-mcp` was not found: install it, or write its whole path.
        The MCP server `db` does not load in chat rooms. It runs behind the wall, where `/srv/server.py` does not exist: add that, or the folder around it, to `mcp_visible` below `[claude]` in `.storkit/bot.toml`.
        The MCP server `db` does not load in chat rooms. It needs `mcp.example.org:443`: add that to `network` below `[relay]` in `.storkit/bot.toml`, or each room is asked about it.
        The MCP server `db` does not load in chat rooms. It needs a port of this machine: add `localhost:8080` to `network` below `[relay]` in `.storkit/bot.toml`.
        The MCP server `db` does not load in chat rooms: Connection closed ⏎ \u{202e}. It runs behind the wall: what it reads has to be in `mcp_visible` below `[claude]` in `.storkit/bot.toml`, and what it connects to in `network` below `[relay]`.
        The MCP server `db` loads in chat rooms with 1 tool.
        The MCP server `db` wants a login in a browser, which it cannot get here. If it takes a token, give it one in `headers`.
        The MCP server `db` did not answer in 45 s. Each session of a room waits for it when it starts.
        Claude Code does not take the MCP server `db` up; check its entry.
        Cannot tell which MCP servers load: Claude Code ended: no wall.
        ⚠️ The MCP server `db` does not load, so its tools are missing in this session. `doctor` says why.
        ⚠️ The MCP servers `a`, `b` do not load, so their tools are missing in this session. `doctor` says why.
        ");
    }
}
