//! The operator's own MCP servers in chat rooms, with the real CLI: they run behind the room's wall, their calls are asked about like any
//! other, and one that does not load is named.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use e2e::Setup;
use needs::{needs, walls};
use scripted_model::ModelScript;
use serde_json::{Value, json};

use crate::real::last_request;

const KEY: &str = "key-of-the-database";

/// A folder of the operator's: `tools/server.py`, which rooms see, `secret`, which they do not, and `mcp.json`.
struct OwnFolder(tempfile::TempDir);

impl OwnFolder {
    fn new() -> Self {
        let own = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir(own.path("tools")).expect("a folder");
        fs::write(own.path("tools/server.py"), include_str!("data/mcp_server.py")).expect("the server");
        fs::write(own.path("secret"), "only for the operator").expect("the secret");
        let servers = json!({
            "db": { "command": "python3", "args": [own.path("tools/server.py")], "env": { "DB_TOKEN": KEY } },
            "lost": { "command": "no-such-program" },
        });
        fs::write(own.path("mcp.json"), json!({ "mcpServers": servers }).to_string()).expect("the file");
        // Whatever the umask of the developer is.
        fs::set_permissions(own.path("mcp.json"), fs::Permissions::from_mode(0o600)).expect("its mode");
        own
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str) -> Value {
        json!({ "file": self.path(name) })
    }

    /// Lines of bot.toml for rooms behind this wall.
    fn settings(&self, wall: &str) -> String {
        let (file, tools) = (self.path("mcp.json"), self.path("tools"));
        format!(
            "[claude]\nmcp_config = {file:?}\nmcp_visible = [{tools:?}]\n[wall]\nconfine = \"{wall}\"\n[relay]\nworkspace = \"worktree\""
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_operator_works_behind_the_wall_and_each_other_call_is_asked_about() {
    needs!(Claude, Wall);
    for wall in walls() {
        let own = OwnFolder::new();
        let script = ModelScript::new()
            .on("look at it")
            .calls("mcp__db__look", own.file("secret"))
            .then_says("It says: {last_tool_result}")
            .on("and the tools")
            .calls("mcp__db__look", own.file("tools"))
            .then_says("It says: {last_tool_result}")
            .on("drop it")
            .calls("mcp__db__drop", own.file("secret"))
            .then_says("It says: {last_tool_result}");
        let project =
            r#"{"mcpServers": {"evil": {"command": "sh", "args": ["-c", "touch server-ran; cat"]}}}"#;
        let setup = Setup::real(script).committed(".mcp.json", project).operators(&["ann"]);
        let bot = setup.config(&own.settings(wall)).start().await;
        let room = bot.room("a");

        room.say("look at it").await;
        room.see("MCP server `lost` does not load").await;
        let question = room.see("may I use **mcp__db__look** (`look` of the MCP server `db`)?").await;
        assert!(question.text.contains("exactly this call, in this room"), "{question:?}");
        room.say("always").await;
        let hidden = if wall == "landlock" { "there" } else { "hidden" };
        room.see(&format!("is {hidden}, and my key has {} characters: [redacted]", KEY.len())).await;
        room.settled().await;

        // The rule is for that call: neither for another input, nor for another tool.
        room.say("look at it").await;
        room.see("characters: [redacted]").await;
        room.settled().await;
        assert!(!room.transcript().contains("Question 2"), "{}", room.transcript());
        room.say("and the tools").await;
        room.see("`look` of the MCP server `db`").await;
        room.say("yes").await;
        room.see("tools is there").await;
        room.settled().await;
        room.say("drop it").await;
        room.see("`drop` of the MCP server `db`").await;
        room.say("no").await;
        room.see("ann denied this").await;
        room.settled().await;

        assert_eq!(room.transcript().matches("`lost` does not load").count(), 1, "{}", room.transcript());
        let tools = last_request(&bot).tools;
        assert!(!tools.iter().any(|tool| tool.contains("evil")), "{tools:?}");
        assert!(!bot.room_folder("a").join("server-ran").exists());

        room.say("status").await;
        room.see("MCP servers that do not load: `lost`").await;
        room.say("doctor").await;
        let found = room.see("The MCP server `db` loads in chat rooms with 2 tools.").await.text;
        let lost = "The MCP server `lost` does not load in chat rooms";
        assert!(found.contains(lost) && found.contains("`no-such-program` was not found"), "{found}");
        bot.app.shutdown().await;
    }
}
