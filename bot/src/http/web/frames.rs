//! The frames of `/live`, in both directions. `web/src/wire.ts` is written from them, as from `view.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::view::{BoardState, ChoiceView, Me, MergeCard, QuestionCard, RunCard, StoryCard};

/// A message of a room in its present state: a later one of the same id takes its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MessageView {
    pub room: String,
    pub id: String,
    #[cfg_attr(test, ts(type = "number"))]
    pub at: u64,
    /// The person who wrote it; `null` for the bot.
    pub by: Option<String>,
    /// Safe HTML.
    pub html: String,
    pub tone: ToneView,
    pub choices: Vec<ChoiceView>,
    /// Whether edits will follow.
    pub live: bool,
    pub reply_to: Option<String>,
    /// The question that it asks.
    #[cfg_attr(test, ts(type = "number | null"))]
    pub question: Option<i64>,
    /// The name of a file that it shows: `GET /api/file?room=ROOM&message=ID`.
    pub file: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum ToneView {
    Answer,
    Notice,
    Question,
    Failure,
}

/// A frame of the browser on `/live`. The first one is `hello`, within 5 s.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum ToServer {
    Hello {
        secret: String,
        after: Option<SeenUntil>,
    },
    /// The lines of a run from this one on.
    Follow {
        run: String,
        #[cfg_attr(test, ts(type = "number"))]
        from: u64,
    },
    Unfollow {
        run: String,
    },
    /// The last line of each run, once a second.
    Tails {
        on: bool,
    },
    /// The messages of a room, and every change of it; before this message, to read on backwards.
    Open {
        room: String,
        before: Option<String>,
    },
    Close {
        room: String,
    },
    /// Text for the bot. The ticket is the page's own number.
    Say {
        ticket: u32,
        room: String,
        text: String,
        #[serde(default)]
        #[cfg_attr(test, ts(optional))]
        reply_to: Option<String>,
        /// Ids of `POST /api/upload`.
        #[serde(default)]
        #[cfg_attr(test, ts(optional, as = "Option<Vec<String>>"))]
        files: Vec<String>,
    },
    /// A button of a message, or of a question, which has no message here.
    Choose {
        ticket: u32,
        room: String,
        message: Option<String>,
        key: String,
    },
    /// Whether somebody looks at the page. A hidden one gets changes of the board alone.
    Visible {
        on: bool,
    },
}

/// The last change that a page has seen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SeenUntil {
    pub boot: String,
    #[cfg_attr(test, ts(type = "number"))]
    pub seq: u64,
}

/// A frame to the browser on `/live`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum FromServer {
    Hello {
        boot: String,
        #[cfg_attr(test, ts(type = "number"))]
        seq: u64,
        /// The version of the page that this server has.
        build: String,
        #[cfg_attr(test, ts(type = "number"))]
        at: u64,
        me: Me,
    },
    /// What was missed is not kept: the board has to be fetched again.
    Anew,
    /// This person as they are now: they have one more chat.
    Me {
        me: Me,
    },
    Changed(BoardChange),
    Lines {
        run: String,
        /// The number of the first of them.
        #[cfg_attr(test, ts(type = "number"))]
        from: u64,
        lines: Vec<String>,
        /// Whether the run is over and these are its last ones.
        over: bool,
    },
    /// The last line of each run that has a new one.
    Tails {
        lines: BTreeMap<String, String>,
    },
    /// Every 20 s: browsers do not show the pings of the socket, and could not tell a dead connection from a quiet one.
    Beat {
        #[cfg_attr(test, ts(type = "number"))]
        at: u64,
    },
    Message {
        message: MessageView,
    },
    /// The messages that [`ToServer::Open`] asked for are sent.
    Opened {
        room: String,
        more: bool,
    },
    Activity {
        room: String,
        state: ActivityView,
    },
    /// The frame with this ticket became this act; answers to it name it in `reply_to`.
    Taken {
        ticket: u32,
        message: String,
    },
    Refused {
        ticket: u32,
        why: String,
    },
    /// The last frame: sign in again, unless `again` says to connect again.
    Bye {
        why: String,
        again: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum ActivityView {
    Idle,
    Working,
    Asking,
}

/// A change of the board: whole entries, each in the place of the one with the same id.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "Changes"))]
pub struct BoardChange {
    #[cfg_attr(test, ts(type = "number"))]
    pub seq: u64,
    #[cfg_attr(test, ts(type = "number"))]
    pub at: u64,
    pub stories: Vec<StoryCard>,
    /// Deleted, or archived.
    pub gone_stories: Vec<u32>,
    pub runs: Vec<RunCard>,
    pub gone_runs: Vec<String>,
    /// The whole queue, if it is another.
    pub merges: Option<Vec<MergeCard>>,
    pub questions: Vec<QuestionCard>,
    pub state: Option<BoardState>,
}
