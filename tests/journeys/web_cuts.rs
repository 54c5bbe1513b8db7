//! Connections of the page that are cut at random moments, while a real storkit has runs that print and stories that change; and pages
//! that read too slowly. Nothing may be missing in the end, and nothing may come twice.
//!
//! `STORKIT_CUTS` sets how many cuts, `STORKIT_CUTS_SEED` the seed. A failure prints both.

mod client;
mod farm;

use std::{collections::BTreeSet, time::Duration};

use e2e::page::{Browser, Live};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use self::{
    client::{Holds, PageClient},
    farm::Farm,
};

/// Cuts without a word.
const CUTS: u64 = 1_000;

/// The seed without a word.
const SEED: u64 = 20_261_130;

/// Browsers at a time.
const BROWSERS: u64 = 4;

/// A connection lives so long, in milliseconds, once it is greeted.
const LIFE: u64 = 60;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// SplitMix64: the same seed gives the same moments.
struct Moments(u64);

impl Moments {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }

    fn moment(&mut self) -> Duration {
        Duration::from_millis(self.below(LIFE))
    }
}

/// One browser: what its page knows, and when its connections are cut.
struct CutBrowser {
    browser: Browser,
    page: PageClient,
    moments: Moments,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl CutBrowser {
    /// One connection, from its beginning to its cut.
    async fn connection(&mut self) -> Holds {
        let stream = self.connect().await;
        if self.moments.below(10) == 0 {
            return self.cut_in_the_upgrade(stream).await;
        }
        let request = self.browser.upgrade(Some(&self.browser.address));
        let stream = MaybeTlsStream::Plain(stream);
        let upgraded = tokio_tungstenite::client_async(request, stream).await;
        let mut socket = upgraded.map_err(|error| format!("no upgrade: {error}"))?.0;
        match self.moments.below(10) {
            0 => {}
            1 => self.cut_in_the_hello(&mut socket).await,
            2 => {
                self.greet(&mut socket).await;
                tokio::time::sleep(self.moments.moment()).await;
            }
            3 => {
                self.greet(&mut socket).await;
                let frames = self.moments.below(4);
                self.read_until(&mut socket, Duration::from_secs(60), frames).await?;
            }
            slow => {
                self.greet(&mut socket).await;
                if slow < 6 {
                    // The server feels it where the buffers are small.
                    tokio::time::sleep(self.moments.moment()).await;
                }
                let moment = self.moments.moment();
                self.read_until(&mut socket, moment, u64::MAX).await?;
            }
        }
        self.cut(socket).await;
        Ok(())
    }

    async fn connect(&mut self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        if self.moments.below(3) == 0 {
            socket.set_recv_buffer_size(4096).expect("a size");
        }
        let address = self.browser.address.trim_start_matches("http://").parse().expect("an address");
        socket.connect(address).await.expect("it connects")
    }

    async fn cut_in_the_upgrade(&mut self, mut stream: TcpStream) -> Holds {
        let host = self.browser.address.trim_start_matches("http://");
        let request = format!(
            "GET /live HTTP/1.1\r\nHost: {host}\r\nOrigin: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.browser.address
        );
        let part = usize::try_from(self.moments.below(request.len() as u64)).unwrap_or(0);
        stream.write_all(&request.as_bytes()[..part]).await.map_err(|error| error.to_string())
    }

    async fn cut_in_the_hello(&mut self, socket: &mut Socket) {
        let hello = self.browser.hello(self.page.seen()).to_string();
        let length = u16::try_from(hello.len()).expect("it is short").to_be_bytes();
        // A masked text frame, whose mask is zero.
        let frame = [&[0x81, 0xFE, length[0], length[1], 0, 0, 0, 0], hello.as_bytes()].concat();
        let part = usize::try_from(self.moments.below(frame.len() as u64)).unwrap_or(0);
        let _ = socket.get_mut().write_all(&frame[..part]).await;
    }

    async fn greet(&mut self, socket: &mut Socket) {
        // Whoever is cut off notices it at the next frame.
        let _ = socket.send(Message::text(self.browser.hello(self.page.seen()).to_string())).await;
    }

    /// Takes what comes, at most so many frames and so long.
    async fn read_until(&mut self, socket: &mut Socket, time: Duration, frames: u64) -> Holds {
        let end = tokio::time::Instant::now() + time;
        let mut followed = BTreeSet::new();
        for frame in 0..frames {
            let Ok(read) = tokio::time::timeout_at(end, socket.next()).await else { return Ok(()) };
            let text = match read {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Ping(_))) => continue,
                other => return Err(format!("the server ended it: {other:?}")),
            };
            let read: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            self.page.take(&read, &self.browser).await?;
            let mut wants = self.page.follows(&mut followed);
            if frame == 0 {
                wants.push(json!({ "type": "open", "room": "web:team", "before": null }));
            }
            for want in wants {
                let _ = socket.send(Message::text(want.to_string())).await;
            }
        }
        Ok(())
    }

    async fn cut(&mut self, mut socket: Socket) {
        match self.moments.below(3) {
            // With all that was not read: the other side gets a reset.
            0 => {}
            1 => drop(socket.close(None).await),
            _ => drop(socket.get_mut().shutdown().await),
        }
    }

    /// Reads on until it has what there is.
    async fn catch_up(&mut self) -> Holds {
        for _ in 0..100 {
            let stream = MaybeTlsStream::Plain(self.connect().await);
            let request = self.browser.upgrade(Some(&self.browser.address));
            let mut socket = tokio_tungstenite::client_async(request, stream).await.expect("it upgrades").0;
            self.greet(&mut socket).await;
            self.read_until(&mut socket, Duration::from_millis(500), u64::MAX).await?;
            let board = self.browser.read("/api/board").await;
            if self.page.has_ends() && board["seq"].as_u64() == self.page.seq() {
                return self.page.equals(&board);
            }
        }
        Err(format!("it does not come to the end: {:?}", self.page.seq()))
    }
}

/// What happens on the farm between two cuts.
async fn live_on(farm: &mut Farm, run: &mut String, cuts: std::ops::Range<u64>, all: u64) -> Option<String> {
    let is_due = |every: u64| cuts.clone().any(|cut| cut % every == 0);
    if is_due(7) {
        farm.new_story();
    }
    if is_due(11) {
        farm.terminal.say("edit 1 qa off");
        farm.terminal.say("overview");
    }
    if is_due(97) {
        // More than an answer about a log has.
        farm.order(run, "print 2500 1");
        farm.order(run, "steady 5");
    }
    if !is_due(all / 5) {
        return None;
    }
    farm.order(run, "end");
    let next = farm.start_run().await;
    farm.order(&next, "steady 5");
    Some(std::mem::replace(run, next))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_random_cuts_lose_nothing_and_double_nothing() {
    let (cuts, seed) = (setting("STORKIT_CUTS", CUTS), setting("STORKIT_CUTS_SEED", SEED));
    let mut farm = Farm::start().await;
    let mut run = farm.start_run().await;
    farm.order(&run, "steady 5");
    let mut runs = Vec::new();
    let page = |number| CutBrowser {
        browser: farm.browser.clone(),
        page: PageClient::default(),
        moments: Moments(seed.wrapping_add(number)),
    };
    let mut browsers: Vec<CutBrowser> = (0..BROWSERS).map(page).collect();
    let fails = |cut: u64, why: &str| panic!("at cut {cut} of {cuts}, seed {seed}: {why}");
    for cut in (0..cuts).step_by(BROWSERS as usize) {
        let connections = browsers.iter_mut().map(CutBrowser::connection);
        for held in futures::future::join_all(connections).await {
            held.unwrap_or_else(|why| fails(cut, &why));
        }
        runs.extend(live_on(&mut farm, &mut run, cut + 1..cut + 1 + BROWSERS, cuts).await);
    }
    farm.order(&run, "end");
    runs.push(run);
    for run in &runs {
        farm.until_over(run).await;
    }
    for browser in &mut browsers {
        // Also those that came and went while it was away.
        for run in &runs {
            browser.page.logs.entry(run.clone()).or_default();
        }
        browser.catch_up().await.unwrap_or_else(|why| fails(cuts, &why));
        has_every_line(&farm, &runs, &browser.page).await.unwrap_or_else(|why| fails(cuts, &why));
        has_every_message(&browser.browser, &browser.page).await.unwrap_or_else(|why| fails(cuts, &why));
        let (resumed, anew) = (browser.page.resumed, browser.page.anew);
        assert!(anew <= 1 && u64::from(resumed) > cuts / BROWSERS / 10, "{resumed} resumed, {anew} anew");
    }
    farm.end();
}

async fn has_every_line(farm: &Farm, runs: &[String], page: &PageClient) -> Holds {
    for run in runs {
        let (first, logged) = farm.log(run).await;
        let followed = &page.logs[run].lines;
        if first != 1 || *followed != logged {
            return Err(format!("{run}: {} lines of {}, from {first}", followed.len(), logged.len()));
        }
        let numbers: Vec<usize> = logged.iter().filter_map(|line| printed_number(line)).collect();
        if !numbers.iter().copied().eq(1..=numbers.len()) {
            return Err(format!("{run}: its log is not what its agent printed"));
        }
    }
    Ok(())
}

/// The number that the agent gave to its line.
fn printed_number<T: std::str::FromStr>(line: &str) -> Option<T> {
    line.strip_prefix("line ")?.split(' ').next()?.parse().ok()
}

/// The room as somebody finds it who opens it now.
async fn has_every_message(browser: &Browser, page: &PageClient) -> Holds {
    let mut live = browser.live(Value::Null).await;
    live.say(json!({ "type": "open", "room": "web:team", "before": null })).await;
    loop {
        let frame = live.next().await;
        match frame["type"].as_str() {
            Some("opened") => return Ok(()),
            Some("message") => {
                let id = frame["message"]["id"].as_str().unwrap_or_default();
                if page.messages.get(id) != Some(&frame["message"]) {
                    return Err(format!("{:?} and not {frame:#}", page.messages.get(id)));
                }
            }
            _ => {}
        }
    }
}

/// A page that has begun to follow a run and does not read: the server waits amid the first lines, and hears nothing of what happens.
struct SlowPage {
    live: Live,
    run: String,
    printed: u64,
}

/// Lines that fill every buffer between the server and a page, of four bytes a door.
const LONG: &str = "print 2000 480";

impl SlowPage {
    async fn start(farm: &mut Farm) -> Self {
        let run = farm.start_run().await;
        farm.order(&run, LONG);
        farm.until_logged(&run, 2_000).await;
        let mut live = farm.browser.live_slowly().await;
        live.say(farm.browser.hello(Value::Null)).await;
        live.until_type("anew").await;
        live.say(json!({ "type": "follow", "run": run, "from": 1 })).await;
        // The log was read by then.
        let MaybeTlsStream::Plain(stream) = live.0.get_ref() else { unreachable!("it is plain") };
        stream.peek(&mut [0]).await.expect("it comes");
        Self { live, run, printed: 2_000 }
    }

    async fn prints(&mut self, farm: &Farm, lines: u64, width: usize) {
        farm.order(&self.run, &format!("print {lines} {width}"));
        self.printed += lines;
        farm.until_logged(&self.run, self.printed).await;
    }

    /// Reads lines until this one, or until the end of the run: each with its number, and all in order. Returns the first after `seen`.
    async fn reads(&mut self, last: Option<u64>, seen: u64) -> u64 {
        let (mut next, mut first) = (1, None);
        loop {
            let frame = self.live.until_type("lines").await;
            let from = frame["from"].as_u64().expect("a number");
            let lines = frame["lines"].as_array().expect("lines");
            if next > seen && first.is_none() && !lines.is_empty() {
                (first, next) = (Some(from), from);
            }
            assert_eq!(from, next, "lines are missing, or come twice");
            for line in lines {
                let text = line.as_str().expect("text");
                // Behind what the agent printed storkit says how the run ended.
                assert!(printed_number(text) == Some(next) || next > self.printed, "{next}: {text}");
                next += 1;
            }
            assert!(last.is_none() || frame["over"] == false);
            if frame["over"] == true || last.is_some_and(|last| next > last) {
                assert!(next > self.printed, "{next} of {}: that was not all", self.printed);
                return first.unwrap_or(next);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_come_while_a_page_begins_to_follow_are_shown_though_the_run_is_silent_then() {
    let mut farm = Farm::start().await;
    let mut page = SlowPage::start(&mut farm).await;
    page.prints(&farm, 5, 1).await;
    assert_eq!(page.reads(Some(2_005), 2_000).await, 2_001);
    farm.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_run_that_comes_while_a_page_begins_to_follow_is_shown() {
    let mut farm = Farm::start().await;
    let mut page = SlowPage::start(&mut farm).await;
    farm.order(&page.run, "end");
    farm.until_over(&page.run).await;
    page.reads(None, 2_000).await;
    farm.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_keep_their_numbers_where_the_log_lost_its_beginning_while_a_page_was_slow() {
    let mut farm = Farm::start().await;
    let mut page = SlowPage::start(&mut farm).await;
    for _ in 0..3 {
        page.prints(&farm, 2_000, 480).await;
    }
    let (first, _) = farm.log(&page.run).await;
    assert!(first > 2_001, "the log was not cut: {first}");
    assert_eq!(page.reads(Some(8_000), 2_000).await, first);
    // One that comes now begins where the log does.
    let mut late = farm.browser.live(Value::Null).await;
    late.say(json!({ "type": "follow", "run": page.run, "from": 1 })).await;
    assert_eq!(late.until_type("lines").await["from"].as_u64(), Some(first));
    farm.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_of_more_lines_than_one_answer_has_is_read_to_its_end() {
    let mut farm = Farm::start().await;
    let mut page = SlowPage::start(&mut farm).await;
    page.prints(&farm, 5_000, 1).await;
    assert_eq!(page.reads(Some(7_000), 2_000).await, 2_001);
    // And with the end of the run amid the gap.
    let mut page = SlowPage::start(&mut farm).await;
    page.prints(&farm, 5_000, 1).await;
    farm.order(&page.run, "end");
    farm.until_over(&page.run).await;
    assert_eq!(page.reads(None, 2_000).await, 2_001);
    farm.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_over_is_followed_to_its_last_line() {
    let mut farm = Farm::start().await;
    let run = farm.start_run().await;
    farm.order(&run, "print 5000 1");
    farm.order(&run, "end");
    farm.until_over(&run).await;
    let (first, lines) = farm.log(&run).await;
    let last = lines.len() as u64;
    assert!(first == 1 && last >= 5_000, "{last} lines from {first}");
    for from in [1, last - 2_100, last - 2_000, last - 1_999, last, last + 1] {
        let mut live = farm.browser.live(Value::Null).await;
        live.say(json!({ "type": "follow", "run": run, "from": from })).await;
        let (mut next, mut over) = (from, false);
        while !over {
            let frame = live.until_type("lines").await;
            assert_eq!(frame["from"].as_u64(), Some(next));
            next += frame["lines"].as_array().map_or(0, Vec::len) as u64;
            over = frame["over"] == true;
        }
        assert_eq!(next, last + 1, "from {from}");
    }
    farm.end();
}
