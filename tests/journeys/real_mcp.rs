//! The MCP route: an agent's process of its own asks the rooms of its run, told apart by a token.

use std::time::Duration;

use adapters::Room;
use agents::claude::{AgentEvent, AgentProcess, PermissionRoute, PromptMode, TurnEnd};
use bot::http::{McpRun, RunGuard};
use e2e::{Bot, Setup};
use needs::needs;
use reqwest::{
    Client, RequestBuilder, StatusCode,
    header::{HeaderMap, HeaderValue},
};
use scripted_model::ModelScript;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use crate::real::bash;

fn script() -> ModelScript {
    let question = json!({ "question": "Which colour?", "header": "Colour", "multiSelect": false,
        "options": [{ "label": "Red", "description": "warm" }, { "label": "Blue", "description": "cold" }] });
    ModelScript::new()
        .on("make one")
        .calls("Bash", bash("touch one"))
        .then_says("One: {last_tool_result}")
        .on("make two")
        .calls("Bash", bash("touch two"))
        .then_says("Two: {last_tool_result}")
        .on("ask me")
        .calls("AskUserQuestion", json!({ "questions": [question] }))
        .then_says("Told: {last_tool_result}")
}

fn run(rooms: Vec<Room>, asked_for: &str) -> McpRun {
    McpRun {
        rooms,
        asked_for: asked_for.into(),
        timeout: Some(Duration::from_secs(300)),
        ..McpRun::default()
    }
}

fn mcp(bot: &Bot) -> String {
    format!("http://127.0.0.1:{}/mcp", bot.app.port())
}

/// A one-shot agent with this token.
async fn start(bot: &Bot, token: &str, prompt: &str) -> (AgentProcess, Receiver<AgentEvent>) {
    let mut launch = bot.app.services().launch(None, None);
    launch.mode = PromptMode::OneShot { prompt: prompt.into() };
    launch.permissions.route = PermissionRoute::Mcp { url: mcp(bot), token: token.into() };
    AgentProcess::start(launch).await.expect("the CLI starts")
}

/// The end of a one-shot agent with this token.
async fn agent(bot: &Bot, token: &str, prompt: &str) -> Option<TurnEnd> {
    let (process, mut events) = start(bot, token, prompt).await;
    let ending = async {
        let mut end = None;
        while let Some(event) = events.recv().await {
            match event {
                AgentEvent::TurnEnded(ended) => end = Some(*ended),
                AgentEvent::Exited(_) => break,
                _ => {}
            }
        }
        end
    };
    let end = tokio::time::timeout(Duration::from_secs(120), ending).await.expect("the agent ends");
    process.end().await;
    end
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_question_is_answered_in_the_room_of_its_run() {
    needs!(Claude);
    let bot = Setup::real(script()).start().await;
    let room = bot.room("a");
    let guard = bot.app.open_run(run(vec![room.room().clone()], "story 7"));
    let (end, ()) = tokio::join!(agent(&bot, guard.token(), "make one"), async {
        let question = room.see("touch one").await;
        assert!(question.text.contains("for story 7"), "{question:?}");
        room.say("yes").await;
    });
    let end = end.expect("a result");
    assert!(end.failure.is_none() && end.text.starts_with("One:"), "{end:?}");
    assert!(bot.file("one").exists());

    let (end, ()) = tokio::join!(agent(&bot, guard.token(), "make two"), async {
        room.see("touch two").await;
        room.say("no not on a Friday").await;
    });
    let end = end.expect("a result");
    assert!(end.text.contains("ann denied this: not on a Friday"), "{end:?}");
    assert!(!bot.file("two").exists());

    let (end, ()) = tokio::join!(agent(&bot, guard.token(), "ask me"), async {
        room.see("Which colour?").await;
        room.choose("Blue").await;
    });
    assert!(end.expect("a result").text.contains("Blue"));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_ask_each_in_its_own_room() {
    needs!(Claude);
    let bot = Setup::real(script()).start().await;
    let (here, there) = (bot.room("here"), bot.room("there"));
    let first = bot.app.open_run(run(vec![here.room().clone()], "story 1"));
    let second = bot.app.open_run(run(vec![there.room().clone()], "story 2"));
    let (one, two, ()) = tokio::join!(
        agent(&bot, first.token(), "make one"),
        agent(&bot, second.token(), "make two"),
        async {
            // Both are open before either is answered.
            here.see("touch one").await;
            there.see("touch two").await;
            there.say("yes").await;
            here.say("no").await;
        }
    );
    assert!(one.expect("a result").text.contains("ann denied"), "{here:?}");
    assert!(!two.expect("a result").text.contains("denied"), "{there:?}");
    assert!(!bot.file("one").exists() && bot.file("two").exists());
    assert!(!here.transcript().contains("touch two") && !there.transcript().contains("touch one"));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_question_of_an_agent_that_ends_is_closed() {
    needs!(Claude);
    let bot = Setup::real(script()).start().await;
    let room = bot.room("a");
    let guard = bot.app.open_run(run(vec![room.room().clone()], "story 9"));
    let (process, _events) = start(&bot, guard.token(), "make one").await;
    room.see("touch one").await;
    process.end().await;
    room.see_edit("is closed: the agent that asked has ended").await;
    room.say("yes").await;
    room.say("rules").await;
    room.settled().await;
    assert!(!bot.file("one").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_room_or_a_valid_token_nothing_runs() {
    needs!(Claude);
    let bot = Setup::real(script()).start().await;
    let nobody = bot.app.open_run(run(Vec::new(), "story 3"));
    let end = agent(&bot, nobody.token(), "make one").await.expect("a result");
    assert!(end.text.contains("No person could be reached"), "{end:?}");

    let room = bot.room("a");
    let over = bot.app.open_run(run(vec![room.room().clone()], "story 4"));
    let token = over.token().to_owned();
    drop(over);
    for token in [token.as_str(), "guessed"] {
        // Facts 6: the CLI cannot reach its permission tool, and ends without a result when it would ask.
        let end = agent(&bot, token, "make one").await;
        assert_eq!(end, None);
    }
    assert_eq!(room.transcript(), "", "nobody was asked");
    assert!(!bot.file("one").exists());
    bot.app.shutdown().await;
}

/// A POST as the CLI makes it.
fn post(bot: &Bot, run: &RunGuard, body: &Value) -> RequestBuilder {
    Client::new()
        .post(mcp(bot))
        .header("authorization", format!("Bearer {}", run.token()))
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .header("mcp-protocol-version", "2025-11-25")
        .body(body.to_string())
}

fn call(arguments: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": { "name": "prompt_permission", "arguments": arguments } })
}

/// The JSON-RPC answer, also where it comes as an event stream.
async fn answer(request: RequestBuilder) -> Value {
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.text().await.expect("its text");
    let data =
        text.lines().filter_map(|line| line.strip_prefix("data:")).rfind(|data| !data.trim().is_empty());
    serde_json::from_str(data.unwrap_or(&text)).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The one text block, read as the CLI reads it.
fn decision(answer: &Value) -> Value {
    let result = &answer["result"];
    assert!(result.get("structuredContent").is_none(), "the CLI refuses it: {answer}");
    let blocks = result["content"].as_array().expect("blocks");
    assert_eq!((blocks.len(), &blocks[0]["type"]), (1, &json!("text")), "{answer}");
    serde_json::from_str(blocks[0]["text"].as_str().expect("text")).expect("the bare JSON object")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_on_the_wire_is_one_text_block_with_the_bare_decision() {
    needs!(Claude);
    let bot = Setup::real(ModelScript::new()).start().await;
    let room = bot.room("a");
    let run = bot.app.open_run(run(vec![room.room().clone()], "story 5"));
    let arguments =
        json!({ "tool_name": "Bash", "input": { "command": "ls", "timeout": 5 }, "tool_use_id": "t" });
    let (allowed, ()) = tokio::join!(answer(post(&bot, &run, &call(arguments.clone()))), async {
        room.see("may I use **Bash**").await;
        room.say("yes").await;
    });
    assert_eq!(decision(&allowed), json!({ "behavior": "allow", "updatedInput": arguments["input"] }));

    for broken in [json!({}), json!({ "tool_name": 7, "input": {} }), json!({ "input": { "command": "ls" } })]
    {
        let denied = decision(&answer(post(&bot, &run, &call(broken))).await);
        assert_eq!(denied["behavior"], "deny");
        assert!(denied["message"].as_str().expect("why").contains("could not be read"), "{denied}");
    }
    let unknown = json!({ "jsonrpc": "2.0", "id": 8, "method": "tools/call",
        "params": { "name": "other", "arguments": {} } });
    let refused = answer(post(&bot, &run, &unknown)).await;
    assert!(
        refused["error"]["message"].as_str().is_some_and(|why| why.contains("no tool `other`")),
        "{refused}"
    );
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_this_machine_with_a_runs_token_is_let_in() {
    needs!(Claude);
    let bot = Setup::real(ModelScript::new()).start().await;
    let run = bot.app.open_run(run(vec![bot.room("a").room().clone()], "story 6"));
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let tools = answer(post(&bot, &run, &list)).await;
    assert_eq!(tools["result"]["tools"][0]["name"], "prompt_permission", "{tools}");
    assert_eq!(tools["result"]["tools"].as_array().map(Vec::len), Some(1));

    let status = |request: RequestBuilder| async { request.send().await.expect("an answer").status() };
    let with = |name: &'static str, value: &'static str| post(&bot, &run, &list).header(name, value);
    assert_eq!(status(with("origin", "https://evil.example")).await, StatusCode::FORBIDDEN);
    assert_eq!(status(with("origin", "null")).await, StatusCode::FORBIDDEN);
    assert_eq!(status(with("host", "evil.example")).await, StatusCode::FORBIDDEN);
    for request in [Client::new().post(mcp(&bot)), Client::new().post(mcp(&bot)).bearer_auth("guessed")] {
        assert_eq!(status(request.body(list.to_string())).await, StatusCode::UNAUTHORIZED);
    }
    for request in [Client::new().get(mcp(&bot)), Client::new().delete(mcp(&bot))] {
        let request = request.bearer_auth(run.token()).header("accept", "text/event-stream");
        assert_eq!(status(request).await, StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(bot.room("a").transcript(), "", "nobody was asked");
    bot.app.shutdown().await;
}

/// Facts 6: the CLI asks `server/discover` first, and an empty 202 to it costs every start five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_clis_probe_is_answered_at_once() {
    needs!(Claude);
    let bot = Setup::real(ModelScript::new()).start().await;
    let run = bot.app.open_run(run(Vec::new(), "story 8"));
    let probe = json!({ "jsonrpc": "2.0", "id": 0, "method": "server/discover",
        "params": { "_meta": { "protocolVersion": "2026-07-28" } } });
    let headers = [("mcp-method", "server/discover"), ("mcp-protocol-version", "2026-07-28")]
        .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
    let request = post(&bot, &run, &probe).headers(HeaderMap::from_iter(headers));
    let response = request.send().await.expect("an answer");
    assert_ne!(response.status(), StatusCode::ACCEPTED);
    assert!(!response.text().await.expect("its text").is_empty());
    bot.app.shutdown().await;
}
