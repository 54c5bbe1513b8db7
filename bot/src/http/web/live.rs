//! `/live`: one browser's socket. It gets the changes of the board, the messages of the rooms that it has open, and the lines of the
//! runs that it follows; it says what its person says.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use adapters::{
    ActivityState, Room, Tone, html,
    markdown::inert,
    web::{WebChange, WebMessage, WebNews, WebText},
};
use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::StatusCode,
    response::Response,
};
use pipeline::event::{NumberedEvent, RunId, millis};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{MissedTickBehavior, interval},
};

use super::{
    WebServices,
    api::LOG_LINES,
    board::{BoardFollower, EncodedFrame, Resumed, encode},
    cards, files,
    frames::{ActivityView, FromServer, MessageView, SeenUntil, ToServer, ToneView},
    output::{FollowedRun, PageOutput},
    visitors::Visitor,
};
use crate::{
    http::connections::refuse,
    permission::{Question, QuestionId},
    replies,
    sent_files::FILES_MAX,
};

/// How many browsers may be connected at a time.
pub const BROWSERS: usize = 256;

/// The first frame names the session; until then nothing is sent.
const HELLO: Duration = Duration::from_secs(5);

/// A person's text: a story with its body.
const LONGEST_FRAME: usize = 256 * 1024;

/// The page tells a dead connection from a quiet one by these.
const BEAT: Duration = Duration::from_secs(20);

/// A browser that neither says anything nor answers a ping for so long is gone.
const SILENT: Duration = Duration::from_secs(60);

/// A browser that takes no frame for so long is gone.
const STUCK: Duration = Duration::from_secs(30);

/// A browser that has been told why the socket ends closes it within this time.
const FAREWELL: Duration = Duration::from_secs(2);

/// Lines of agents within this time go in one frame.
const LINES_TOGETHER: Duration = Duration::from_millis(100);

const TAILS: Duration = Duration::from_secs(1);

/// Messages of a room in one answer.
const MESSAGES: usize = 50;

/// Rooms that a page has open.
const OPEN_AT_ONCE: usize = 8;

pub async fn live(upgrade: WebSocketUpgrade, State(services): State<Arc<WebServices>>) -> Response {
    let Ok(place) = services.browsers.clone().try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Too many browsers are connected.");
    };
    upgrade.max_message_size(LONGEST_FRAME).on_upgrade(move |socket| async move {
        let _place = place;
        // A browser that is gone is no error.
        let _ = greet(socket, services).await;
    })
}

/// Why a socket ends.
enum Ended {
    /// The browser is gone, or stuck.
    Gone,
    /// The page is told why.
    Bye { why: &'static str, again: bool },
}

impl From<axum::Error> for Ended {
    fn from(_: axum::Error) -> Self {
        Self::Gone
    }
}

async fn greet(mut socket: WebSocket, services: Arc<WebServices>) -> Result<(), Ended> {
    let first = tokio::time::timeout(HELLO, socket.recv()).await.map_err(|_| Ended::Gone)?;
    let Some(Ok(Message::Text(first))) = first else { return Ok(()) };
    let Ok(ToServer::Hello { secret, after }) = serde_json::from_str(&first) else {
        return say_bye(socket, "The first frame is a `hello`.", false).await;
    };
    let visitor = match services.visitor(&secret) {
        Ok(visitor) => visitor,
        Err(why) => return say_bye(socket, why.sentence(), false).await,
    };
    let mut browser = Browser::new(socket, services, secret, visitor);
    match browser.serve(after).await {
        Ok(()) | Err(Ended::Gone) => Ok(()),
        Err(Ended::Bye { why, again }) => say_bye(browser.socket, why, again).await,
    }
}

async fn say_bye(mut socket: WebSocket, why: &str, again: bool) -> Result<(), Ended> {
    let frame = encode(&FromServer::Bye { why: why.into(), again });
    let _ = tokio::time::timeout(STUCK, socket.send(text(&frame))).await;
    let _ = tokio::time::timeout(STUCK, socket.send(Message::Close(None))).await;
    // A socket that is closed while something of the browser is still on its way is reset, and a reset takes the last frame away
    // from the browser. So the browser closes it first.
    let closed = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = tokio::time::timeout(FAREWELL, closed).await;
    Ok(())
}

fn text(frame: &EncodedFrame) -> Message {
    Message::Text(frame.clone())
}

struct Browser {
    socket: WebSocket,
    services: Arc<WebServices>,
    secret: String,
    visitor: Visitor,
    open: Vec<Room>,
    output: PageOutput,
    heard: Instant,
}

impl Browser {
    fn new(socket: WebSocket, services: Arc<WebServices>, secret: String, visitor: Visitor) -> Self {
        let (open, output, heard) = (Vec::new(), PageOutput::default(), Instant::now());
        Self { socket, services, secret, visitor, open, output, heard }
    }

    async fn serve(&mut self, after: Option<SeenUntil>) -> Result<(), Ended> {
        let services = self.services.clone();
        let stop = services.tasks.stop.clone();
        let mut sessions = services.sessions.changes();
        let mut chat = services.chat.follow();
        // Only while it listens: what is not taken would be kept for it.
        let mut events = None;
        let mut board = self.catch_up(after).await?;
        let (mut beat, mut lines, mut tails) = (interval(BEAT), interval(LINES_TOGETHER), interval(TAILS));
        for timer in [&mut beat, &mut lines, &mut tails] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let (follows, listens) = (self.output.follows(), self.output.listens());
            tokio::select! {
                () = stop.cancelled() => return Err(Ended::Bye { why: replies::WEB_STOPPING, again: true }),
                said = self.socket.recv() => match said {
                    Some(Ok(message)) => self.hear(message).await?,
                    Some(Err(_)) | None => return Ok(()),
                },
                changes = board.next() => self.send_changes(changes).await?,
                news = chat.recv() => self.show_news(news).await?,
                event = next_event(&mut events) => self.output.note(event),
                _ = lines.tick(), if follows => self.send_lines().await?,
                _ = tails.tick(), if listens => self.send_tails().await?,
                _ = sessions.changed() => self.check_visitor()?,
                _ = beat.tick() => self.beat().await?,
            }
            if self.output.listens() != events.is_some() {
                events = self.output.listens().then(|| services.pipeline.follow().1);
            }
        }
    }

    /// Greets the page and tells it what it missed.
    async fn catch_up(&mut self, after: Option<SeenUntil>) -> Result<BoardFollower, Ended> {
        let board = self.services.board.clone();
        let hello = FromServer::Hello {
            boot: board.boot().into(),
            seq: board.seq(),
            build: files::build().into(),
            at: cards::now(&self.services.clock),
            me: self.visitor.me(&self.services),
        };
        self.send(&hello).await?;
        let (boot, seq) = after.map(|after| (after.boot, after.seq)).unwrap_or_default();
        let mut follower = board.follow(&boot, seq);
        while let Some(missed) = follower.missed() {
            self.send_changes(missed).await?;
        }
        Ok(follower)
    }

    async fn send_changes(&mut self, changes: Resumed) -> Result<(), Ended> {
        match changes {
            Resumed::With(frames) => {
                for frame in frames {
                    self.send_encoded(&frame).await?;
                }
                Ok(())
            }
            Resumed::Anew => self.send(&FromServer::Anew).await,
        }
    }

    async fn hear(&mut self, message: Message) -> Result<(), Ended> {
        self.heard = Instant::now();
        let frame = match message {
            Message::Text(text) => text,
            Message::Close(_) => return Err(Ended::Gone),
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => return Ok(()),
        };
        let Ok(frame) = serde_json::from_str(&frame) else {
            return Err(Ended::Bye {
                why: "A frame is not of this protocol. Load the page again.",
                again: true,
            });
        };
        self.check_visitor()?;
        match frame {
            ToServer::Hello { .. } => Ok(()),
            ToServer::Follow { run, from } => self.follow(RunId(run.into()), from).await,
            ToServer::Unfollow { run } => {
                self.output.unfollow(&RunId(run.into()));
                Ok(())
            }
            ToServer::Tails { on } => {
                self.output.show_tails(on);
                Ok(())
            }
            ToServer::Open { room, before } => self.open(&room, before).await,
            ToServer::Close { room } => {
                self.open.retain(|open| open.to_string() != room);
                Ok(())
            }
            ToServer::Say { ticket, room, text, reply_to, files } => {
                let reply_to = reply_to.map(adapters::MessageId::new);
                let said = WebText { text, reply_to, files: Vec::new() };
                self.say(ticket, &room, said, &files).await
            }
            ToServer::Choose { ticket, room, message, key } => self.choose(ticket, &room, message, key).await,
            ToServer::Visible { on } => {
                self.output.set_visible(on);
                Ok(())
            }
        }
    }

    async fn say(&mut self, ticket: u32, room: &str, said: WebText, files: &[String]) -> Result<(), Ended> {
        let Some(room) = self.visitor.room(&self.services.chat, room) else {
            return self.refuse(ticket, replies::WEB_NOT_YOUR_ROOM).await;
        };
        if said.text.trim().is_empty() && files.is_empty() {
            return self.refuse(ticket, "There is nothing in it.").await;
        }
        if files.len() > FILES_MAX {
            let why = format!("{}.", replies::too_many_files(FILES_MAX));
            return self.refuse(ticket, &why).await;
        }
        let (speaker, chat) = (self.visitor.speaker(), self.services.chat.clone());
        let Some(files) = chat.uploads().send(&speaker.id, files, Instant::now()) else {
            return self.refuse(ticket, replies::WEB_FILES_GONE).await;
        };
        let begins_chat = chat.page(&room, None, 1).messages.is_empty();
        self.taken(ticket, chat.say(&speaker, &room, WebText { files, ..said }).await).await?;
        if begins_chat {
            self.send(&FromServer::Me { me: self.visitor.me(&self.services) }).await?;
        }
        Ok(())
    }

    async fn choose(
        &mut self,
        ticket: u32,
        room: &str,
        message: Option<String>,
        key: String,
    ) -> Result<(), Ended> {
        let Some(room) = self.visitor.room(&self.services.chat, room) else {
            return self.refuse(ticket, replies::WEB_NOT_YOUR_ROOM).await;
        };
        // A question's card has no message: its key names the question.
        let on = adapters::MessageId::new(message.unwrap_or_default());
        let (speaker, chat) = (self.visitor.speaker(), self.services.chat.clone());
        self.taken(ticket, chat.choose(&speaker, &room, on, key).await).await
    }

    async fn taken(&mut self, ticket: u32, id: Option<adapters::MessageId>) -> Result<(), Ended> {
        match id {
            Some(id) => self.send(&FromServer::Taken { ticket, message: id.as_str().into() }).await,
            None => self.refuse(ticket, replies::WEB_STOPPING).await,
        }
    }

    async fn refuse(&mut self, ticket: u32, why: &str) -> Result<(), Ended> {
        self.send(&FromServer::Refused { ticket, why: why.into() }).await
    }

    async fn open(&mut self, name: &str, before: Option<String>) -> Result<(), Ended> {
        let Some(room) = self.visitor.room(&self.services.chat, name) else { return Ok(()) };
        let before = before.map(adapters::MessageId::new);
        if !self.open.contains(&room) && self.open.len() < OPEN_AT_ONCE {
            self.open.push(room.clone());
        }
        let page = self.services.chat.page(&room, before.as_ref(), MESSAGES);
        for message in &page.messages {
            self.send_message(&room, message).await?;
        }
        let state = activity(self.services.chat.activity_of(&room));
        self.send(&FromServer::Activity { room: name.into(), state }).await?;
        self.send(&FromServer::Opened { room: name.into(), more: page.more }).await
    }

    async fn show_news(&mut self, news: Result<Arc<WebNews>, RecvError>) -> Result<(), Ended> {
        if !self.output.is_visible() && !matches!(news, Err(RecvError::Closed)) {
            // The page opens its rooms again when somebody looks.
            return Ok(());
        }
        let news = match news {
            Ok(news) => news,
            Err(RecvError::Lagged(_)) => {
                // The rooms as they are now have everything that it missed.
                for room in self.open.clone() {
                    self.open(&room.to_string(), None).await?;
                }
                return Ok(());
            }
            Err(RecvError::Closed) => return Err(Ended::Gone),
        };
        let Some(room) = self.open.iter().find(|room| room.id() == &*news.room).cloned() else {
            return Ok(());
        };
        match &news.change {
            WebChange::Message(message) => self.send_message(&room, message).await,
            WebChange::Activity(state) => {
                self.send(&FromServer::Activity { room: room.to_string(), state: activity(*state) }).await
            }
        }
    }

    async fn send_message(&mut self, room: &Room, message: &WebMessage) -> Result<(), Ended> {
        self.send(&FromServer::Message { message: message_view(room, message) }).await
    }

    /// Follows a run from this line on, or its last lines where `from` is 0.
    async fn follow(&mut self, run: RunId, from: u64) -> Result<(), Ended> {
        if !self.output.may_follow() {
            return Ok(());
        }
        // Looked at first: what is printed before the end is in the log then.
        let is_living = self.services.is_living(&run);
        let from = (from > 0).then_some(from);
        let page = self.services.pipeline.run_log(&run, from, LOG_LINES).await.ok().flatten();
        let page =
            page.unwrap_or_else(|| pipeline::run_log::LogPage { from: from.unwrap_or(1), lines: Vec::new() });
        let next = page.next();
        let over = !is_living && page.lines.len() < LOG_LINES;
        let lines = FromServer::Lines { run: run.to_string(), from: page.from, lines: page.lines, over };
        self.send(&lines).await?;
        if !over {
            self.output.follow(run, next);
        }
        Ok(())
    }

    async fn send_lines(&mut self) -> Result<(), Ended> {
        for run in self.output.due() {
            let Some(FollowedRun { next: mut from, waiting: mut lines, mut has_gap, mut over }) =
                self.output.take(&run)
            else {
                continue;
            };
            // The last lines may not have come as events, and its end may have come before the page followed.
            if has_gap || over {
                over |= !self.services.is_living(&run);
                let page = self.services.pipeline.run_log(&run, Some(from), LOG_LINES).await.ok().flatten();
                if let Some(page) = page {
                    // Later than asked for where the log has lost its beginning.
                    (from, lines) = (page.from.max(from), page.lines);
                }
                has_gap = lines.len() == LOG_LINES;
                over &= !has_gap;
            }
            if over {
                self.output.unfollow(&run);
            } else {
                self.output.sent(&run, from + lines.len() as u64, has_gap);
            }
            if over || !lines.is_empty() {
                self.send(&FromServer::Lines { run: run.to_string(), from, lines, over }).await?;
            }
        }
        Ok(())
    }

    async fn send_tails(&mut self) -> Result<(), Ended> {
        let lines = self.output.take_tails();
        if lines.is_empty() {
            return Ok(());
        }
        self.send(&FromServer::Tails { lines }).await
    }

    async fn beat(&mut self) -> Result<(), Ended> {
        self.check_visitor()?;
        if self.heard.elapsed() > SILENT {
            return Err(Ended::Bye { why: "The browser did not answer for a minute.", again: true });
        }
        // The browser answers it by itself.
        self.send_frame(Message::Ping(Default::default())).await?;
        self.send(&FromServer::Beat { at: cards::now(&self.services.clock) }).await
    }

    /// The person may have been signed out, or taken off the lists.
    fn check_visitor(&mut self) -> Result<(), Ended> {
        match self.services.visitor(&self.secret) {
            Ok(visitor) => {
                self.visitor = visitor;
                Ok(())
            }
            Err(why) => Err(Ended::Bye { why: why.sentence(), again: false }),
        }
    }

    async fn send(&mut self, frame: &FromServer) -> Result<(), Ended> {
        self.send_encoded(&encode(frame)).await
    }

    async fn send_encoded(&mut self, frame: &EncodedFrame) -> Result<(), Ended> {
        self.send_frame(text(frame)).await
    }

    async fn send_frame(&mut self, message: Message) -> Result<(), Ended> {
        match tokio::time::timeout(STUCK, self.socket.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Ended::Gone),
        }
    }
}

/// Never, where it does not listen.
async fn next_event(
    events: &mut Option<Receiver<Arc<NumberedEvent>>>,
) -> Result<Arc<NumberedEvent>, RecvError> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

fn activity(state: ActivityState) -> ActivityView {
    match state {
        ActivityState::Idle => ActivityView::Idle,
        ActivityState::Working => ActivityView::Working,
        ActivityState::Asking => ActivityView::Asking,
    }
}

fn message_view(room: &Room, message: &WebMessage) -> MessageView {
    let question = message.choices.iter().find_map(|choice| Question::parse_key(&choice.key));
    // What a person typed is no Markdown of ours.
    let shown = match &message.by {
        Some(_) => html(&inert(&message.text)),
        None => html(&message.text),
    };
    MessageView {
        room: room.to_string(),
        id: message.id.as_str().into(),
        at: millis(message.at),
        by: message.by.as_deref().map(str::to_owned),
        html: shown,
        tone: match message.tone {
            Tone::Answer => ToneView::Answer,
            Tone::Notice => ToneView::Notice,
            Tone::Question => ToneView::Question,
            Tone::Failure => ToneView::Failure,
        },
        choices: cards::choices(&message.choices),
        live: message.live,
        reply_to: message.reply_to.as_ref().map(|id| id.as_str().into()),
        question: question.map(|(QuestionId(id), _)| id),
        file: message.file.as_ref().map(|file| replies::visible_line(&file.name, 120)),
    }
}
