//! A client of the web page of another make than its own, in the place of a browser.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _, handshake::client::Request},
};

use crate::Bot;

const PATIENCE: Duration = Duration::from_secs(60);

const BEFORE_THE_BEAT: Duration = Duration::from_secs(15);

/// What signs one browser in.
#[derive(Clone, Debug)]
pub struct Link {
    pub address: String,
    pub token: String,
    pub code: String,
}

impl Link {
    /// The one in what the bot says.
    pub fn in_text(text: &str) -> Self {
        let find = || {
            let (address, rest) = text.split_once('<')?.1.split_once("/#l=")?;
            let (token, rest) = rest.split_once('>')?;
            let code = rest.split_once('`')?.1.split_once('`')?.0;
            Some(Self { address: address.into(), token: token.into(), code: code.into() })
        };
        find().unwrap_or_else(|| panic!("no link in {text}"))
    }

    /// The person asks for it in a direct conversation.
    pub async fn for_person(bot: &Bot, person: &str) -> Self {
        let room = bot.room(&format!("with-{person}"));
        room.say_as(person, "web").await;
        Self::in_text(&room.see("It works once").await.text)
    }

    pub fn by_token(&self) -> Value {
        json!({ "token": self.token })
    }

    /// Sends this to the page as its own script does.
    pub async fn login(&self, body: &Value) -> (StatusCode, String) {
        let sent = Client::new().post(format!("{}/login", self.address)).header("origin", &self.address);
        let answer = sent.json(body).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    }
}

/// A browser in which somebody is signed in.
#[derive(Clone)]
pub struct Browser {
    pub address: String,
    pub secret: String,
    http: Client,
}

impl Browser {
    /// Opens the link.
    pub async fn open(link: &Link) -> Self {
        let (status, body) = link.login(&link.by_token()).await;
        assert_eq!(status, 200, "{body}");
        let signed_in: Value = serde_json::from_str(&body).expect("JSON");
        let secret = signed_in["secret"].as_str().expect("a secret").to_owned();
        Self { address: link.address.clone(), secret, http: Client::new() }
    }

    /// Opens a link for this person.
    pub async fn sign_in(bot: &Bot, person: &str) -> Self {
        Self::open(&Link::for_person(bot, person).await).await
    }

    pub async fn get(&self, path: &str) -> (StatusCode, String) {
        let sent = self.http.get(format!("{}{path}", self.address)).bearer_auth(&self.secret);
        let answer = sent.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    }

    pub async fn read(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Sends a file; `origin` is the page that sends it.
    pub async fn upload(&self, name: &str, bytes: Vec<u8>, origin: &str) -> (StatusCode, String) {
        let sent =
            self.http.post(format!("{}/api/upload?name={name}", self.address)).header("origin", origin);
        let answer = sent.bearer_auth(&self.secret).body(bytes).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    }

    /// The answer to the head of an upload with so many bytes, before any of them is sent.
    pub async fn announced(&self, name: &str, bytes: usize) -> String {
        let host = self.address.strip_prefix("http://").expect("it is local");
        let mut socket = TcpStream::connect(host).await.expect("it connects");
        let head = format!(
            "POST /api/upload?name={name} HTTP/1.1\r\nHost: {host}\r\nOrigin: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {bytes}\r\nConnection: close\r\n\r\n",
            self.address, self.secret
        );
        socket.write_all(head.as_bytes()).await.expect("it is taken");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    /// The id of a file that is taken.
    pub async fn uploaded(&self, name: &str, bytes: &[u8]) -> String {
        let (status, body) = self.upload(name, bytes.to_vec(), &self.address).await;
        assert_eq!(status, 200, "{body}");
        let view: Value = serde_json::from_str(&body).expect("JSON");
        view["id"].as_str().expect("an id").to_owned()
    }

    pub fn upgrade(&self, origin: Option<&str>) -> Request {
        let address = format!("{}/live", self.address.replace("http://", "ws://"));
        let mut request = address.into_client_request().expect("a request");
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().expect("a value"));
        }
        request
    }

    /// The same browser with another secret.
    pub fn with_secret(&self, secret: &str) -> Self {
        Self { secret: secret.into(), ..self.clone() }
    }

    /// The first frame; `after` is the last change that the page has seen.
    pub fn hello(&self, after: Value) -> Value {
        json!({ "type": "hello", "secret": self.secret, "after": after })
    }

    /// Connects and greets.
    pub async fn live(&self, after: Value) -> Live {
        let socket = connect_async(self.upgrade(Some(&self.address))).await.expect("it connects").0;
        let mut live = Live(socket);
        live.say(self.hello(after)).await;
        live
    }

    /// The same, without a word yet and with a small buffer: the server feels it when nobody reads.
    pub async fn live_slowly(&self) -> Live {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(32 * 1024).expect("a size");
        let address = self.address.trim_start_matches("http://").parse().expect("an address");
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.expect("it connects"));
        let request = self.upgrade(Some(&self.address));
        Live(tokio_tungstenite::client_async(request, stream).await.expect("it upgrades").0)
    }
}

/// The page's socket.
pub struct Live(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Live {
    pub async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.expect("it is taken");
    }

    /// The next frame but those that only say that the connection lives.
    pub async fn next(&mut self) -> Value {
        tokio::time::timeout(PATIENCE, self.frame()).await.expect("nothing comes")
    }

    pub async fn frame(&mut self) -> Value {
        self.frame_or_end().await.expect("it is open")
    }

    /// The next frame, or `None` where the server has closed the socket.
    pub async fn frame_or_end(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await? {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    if frame["type"] != "beat" {
                        return Some(frame);
                    }
                }
                Ok(Message::Ping(_)) => {}
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(other) => panic!("{other:?}"),
            }
        }
    }

    /// What comes until the server closes the socket.
    pub async fn until_end(&mut self) -> Vec<Value> {
        self.until_end_within(PATIENCE).await
    }

    /// The same, before the server's next beat, at which it looks again at everybody.
    pub async fn until_end_at_once(&mut self) -> Vec<Value> {
        self.until_end_within(BEFORE_THE_BEAT).await
    }

    async fn until_end_within(&mut self, time: Duration) -> Vec<Value> {
        let mut frames = Vec::new();
        let all = async {
            while let Some(frame) = self.frame_or_end().await {
                frames.push(frame);
            }
        };
        tokio::time::timeout(time, all).await.expect("it stays open");
        frames
    }

    /// The next frame for which this holds.
    pub async fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        let found = async {
            loop {
                let frame = self.frame().await;
                if holds(&frame) {
                    return frame;
                }
                seen.push(frame);
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await.ok();
        found.unwrap_or_else(|| panic!("it does not come, but {seen:#?}"))
    }

    pub async fn until_type(&mut self, kind: &str) -> Value {
        self.until(|frame| frame["type"] == kind).await
    }

    /// The next message of the bot with this text.
    pub async fn see(&mut self, text: &str) -> Value {
        let shows = |frame: &Value| frame["message"]["html"].as_str().is_some_and(|html| html.contains(text));
        self.until(|frame| frame["type"] == "message" && frame["message"]["by"].is_null() && shows(frame))
            .await
    }

    /// The next board change with a question for which this holds; returns the question.
    pub async fn until_question(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        let of =
            |frame: &Value| frame["questions"].as_array().into_iter().flatten().cloned().collect::<Vec<_>>();
        let frame = self.until(|frame| of(frame).iter().any(&holds)).await;
        of(&frame).into_iter().find(|question| holds(question)).expect("it is there")
    }
}
