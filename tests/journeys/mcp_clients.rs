//! MCP as others speak it: the official Python SDK, and the public conformance suite.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use e2e::{Bot, Cli, Setup};
use needs::{Need, needs};
use serde_json::Value;
use tokio::process::Command;

/// Where `script/mcp-tools` put the clients.
fn tools() -> PathBuf {
    Need::McpClients.path().expect("each test asks for them first")
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp").join(name)
}

async fn started() -> Bot {
    let bot = Setup::new(Cli::StandIn).start().await;
    bot.started().await;
    bot
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_lists_and_calls_the_tools() {
    needs!(McpClients);
    let bot = started().await;
    let place = tempfile::tempdir().expect("a folder");
    let config = place.path().join("mcp.json");
    std::fs::write(&config, bot.app.operator_mcp_config().to_string()).expect("a file");
    let output = Command::new(tools().join("python/bin/python"))
        .arg(beside("client.py"))
        .arg(config)
        .output()
        .await
        .expect("python runs");
    assert!(output.status.success(), "{}", said(&output));
    let seen: Value = serde_json::from_slice(&output.stdout).expect("what it got");
    assert_eq!(seen["server"], "storkit");
    let names: Vec<&str> =
        seen["tools"].as_array().expect("tools").iter().filter_map(Value::as_str).collect();
    assert!(names.contains(&"merge_agent_work") && !names.contains(&"prompt_permission"), "{names:?}");
    let answer = |call: &str| {
        let calls = seen["calls"].as_object().expect("calls");
        let found = calls.iter().find(|(name, _)| name.starts_with(call));
        found.map(|(_, answer)| answer.clone()).unwrap_or_else(|| panic!("{call} is not in {calls:?}"))
    };
    assert!(
        answer("create_story")["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("Story 1 is in the backlog"))
    );
    assert!(
        answer("list_stories")["text"]
            .as_str()
            .is_some_and(|text| text.contains("From an independent client"))
    );
    for (call, why) in [
        ("move_story", "story 1 cannot go from backlog to done: done means merged"),
        ("update_story", "unknown field `colour`"),
        ("get_story {\"story_id\": 99}", "There is no story 99"),
        ("start_agent", "invalid type: string \"one\""),
        ("check_criterion", "story 1 was not changed"),
    ] {
        let answer = answer(call);
        assert_eq!(answer["error"], true, "{call}: {answer}");
        assert!(answer["text"].as_str().is_some_and(|text| text.contains(why)), "{call}: {answer}");
    }
    bot.app.shutdown().await;
}

/// The scenarios that apply to a server of tools; `docs/mcp.md` has the others with the reason.
const SCENARIOS: [&str; 3] = ["server-initialize", "ping", "tools-list"];

#[tokio::test(flavor = "multi_thread")]
async fn the_conformance_suite_passes_where_it_applies() {
    needs!(McpClients);
    let bot = started().await;
    let config = bot.app.operator_mcp_config();
    let server = &config["mcpServers"]["storkit"];
    let token = server["headers"]["Authorization"].as_str().and_then(|value| value.strip_prefix("Bearer "));
    for scenario in SCENARIOS {
        let place = tempfile::tempdir().expect("a folder");
        let output = Command::new("node")
            .arg("--require")
            .arg(beside("token.cjs"))
            .arg(tools().join("node_modules/@modelcontextprotocol/conformance/dist/index.js"))
            .args(["server", "--scenario", scenario, "--url", server["url"].as_str().expect("a url")])
            .env("STORKIT_TOKEN", token.expect("a token"))
            .current_dir(place.path())
            .output()
            .await
            .expect("node runs");
        assert!(output.status.success(), "{scenario}: {}", said(&output));
        assert!(said(&output).contains("Passed: "), "{scenario}: {}", said(&output));
    }
    bot.app.shutdown().await;
}
