//! `/ws`, with a client of another make: first a snapshot, then every event with its number.

use e2e::{Bot, Cli, Setup};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, handshake::client::Request},
};

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(bot: &Bot) -> Self {
        Self(connect_async(request(bot)).await.expect("it connects").0)
    }

    async fn next(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(std::time::Duration::from_secs(60), self.0.next()).await;
            match next.expect("nothing comes").expect("it is open").expect("a message") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next event of this kind; numbers have no gaps on the way.
    async fn event(&mut self, kind: &str, seq: &mut u64) -> Value {
        loop {
            let event = self.next().await;
            assert_eq!(
                (event["type"].as_str(), event["seq"].as_u64()),
                (Some("event"), Some(*seq + 1)),
                "{event}"
            );
            *seq += 1;
            if event["event"] == kind {
                return event;
            }
        }
    }
}

/// A request with the operator's token.
fn request(bot: &Bot) -> Request {
    let config = bot.app.operator_mcp_config();
    let token = config["mcpServers"]["storkit"]["headers"]["Authorization"].as_str().expect("a token");
    let url = format!("ws://127.0.0.1:{}/ws", bot.app.port());
    let mut request = url.into_client_request().expect("a request");
    request.headers_mut().insert("authorization", token.parse().expect("a value"));
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_a_snapshot_and_then_every_event_in_order() {
    let bot = Setup::new(Cli::StandIn).start().await;
    bot.started().await;
    let mut client = Client::connect(&bot).await;
    let snapshot = client.next().await;
    assert_eq!(
        (snapshot["type"].as_str(), snapshot["base"].as_str()),
        (Some("snapshot"), Some("main")),
        "{snapshot}"
    );
    let mut seq = snapshot["seq"].as_u64().expect("a number");
    let room = bot.room("a");
    room.say("new bug The door squeaks").await;
    let created = client.event("story_created", &mut seq).await;
    assert_eq!(
        (created["title"].as_str(), created["by"]["name"].as_str()),
        (Some("The door squeaks"), Some("ann"))
    );
    let work = bot.file(".storkit/work");
    std::fs::rename(
        work.join("1_backlog/1_bug_the_door_squeaks.md"),
        work.join("6_archived/1_bug_the_door_squeaks.md"),
    )
    .expect("it is dragged");
    let moved = client.event("story_moved", &mut seq).await;
    assert_eq!(
        (moved["from"].as_str(), moved["to"].as_str(), moved["by"]["who"].as_str()),
        (Some("backlog"), Some("archived"), Some("editor"))
    );
    let mut late = Client::connect(&bot).await;
    let snapshot = late.next().await;
    assert_eq!(snapshot["stories"][0]["stage"], "archived", "{snapshot}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_is_refused() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let mut request = request(&bot);
    request.headers_mut().insert("origin", "https://evil.example".parse().expect("a value"));
    match connect_async(request).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 403),
        other => panic!("{other:?}"),
    }
    bot.app.shutdown().await;
}
