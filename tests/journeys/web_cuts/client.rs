//! What a page knows over all its connections, and what must never come to it: a change or a line that it has, or not the next one.

use std::collections::{BTreeMap, BTreeSet};

use e2e::page::Browser;
use serde_json::{Value, json};

pub type Holds = Result<(), String>;

#[derive(Default)]
pub struct PageClient {
    boot: Value,
    seq: Option<u64>,
    /// The server said that the board has to be fetched, so changes from before that may follow.
    is_anew: bool,
    pub stories: BTreeMap<String, Value>,
    pub runs: BTreeMap<String, Value>,
    pub merges: Value,
    pub state: Value,
    pub logs: BTreeMap<String, FollowedLog>,
    pub messages: BTreeMap<String, Value>,
    /// How often it resumed, and how often it had to begin anew.
    pub resumed: u32,
    pub anew: u32,
}

#[derive(Default)]
pub struct FollowedLog {
    pub lines: Vec<String>,
    pub over: bool,
}

impl FollowedLog {
    fn next(&self) -> u64 {
        self.lines.len() as u64 + 1
    }
}

fn keyed(list: &Value) -> impl Iterator<Item = (String, Value)> + '_ {
    list.as_array().into_iter().flatten().map(|it| (key(&it["id"]), it.clone()))
}

fn key(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// The rest of the board: what is neither a list nor about the answer itself.
fn state_of(board: &Value) -> Value {
    let mut state = board.clone();
    if let Some(fields) = state.as_object_mut() {
        fields.retain(|name, _| {
            !["boot", "seq", "at", "project", "stories", "runs", "merges", "questions"]
                .contains(&name.as_str())
        });
    }
    state
}

impl PageClient {
    /// For the first frame.
    pub fn seen(&self) -> Value {
        self.seq.map_or(Value::Null, |seq| json!({ "boot": self.boot, "seq": seq }))
    }

    /// The frames that follow the runs which it knows, has not to the end, and does not follow on this connection.
    pub fn follows(&self, followed: &mut BTreeSet<String>) -> Vec<Value> {
        let known: BTreeSet<&String> = self.runs.keys().chain(self.logs.keys()).collect();
        let lacks_end = |run: &&String| self.logs.get(*run).is_none_or(|log| !log.over);
        let mut frames = Vec::new();
        for run in known.into_iter().filter(lacks_end) {
            if followed.insert(run.clone()) {
                let from = self.logs.get(run).map_or(1, FollowedLog::next);
                frames.push(json!({ "type": "follow", "run": run, "from": from }));
            }
        }
        frames
    }

    /// Whether it has the end of every run that it knows.
    pub fn has_ends(&self) -> bool {
        self.follows(&mut BTreeSet::new()).is_empty()
    }

    pub async fn take(&mut self, frame: &Value, browser: &Browser) -> Holds {
        match frame["type"].as_str().unwrap_or_default() {
            "hello" if self.seq.is_some() && self.boot == frame["boot"] => {
                self.resumed += 1;
                self.is_anew = false;
                Ok(())
            }
            "anew" => {
                self.anew += 1;
                self.take_board(&browser.read("/api/board").await);
                Ok(())
            }
            "changed" => self.take_change(frame),
            "lines" => self.take_lines(frame),
            "message" => {
                self.messages.insert(key(&frame["message"]["id"]), frame["message"].clone());
                Ok(())
            }
            "bye" => Err(format!("it is sent away: {frame}")),
            _ => Ok(()),
        }
    }

    fn take_board(&mut self, board: &Value) {
        (self.boot, self.seq, self.is_anew) = (board["boot"].clone(), board["seq"].as_u64(), true);
        self.stories = keyed(&board["stories"]).collect();
        self.runs = keyed(&board["runs"]).collect();
        (self.merges, self.state) = (board["merges"].clone(), state_of(board));
    }

    fn take_change(&mut self, change: &Value) -> Holds {
        let (seq, seen) = (change["seq"].as_u64(), self.seq);
        if self.is_anew && seq <= seen {
            return Ok(());
        }
        if seq != seen.map(|seen| seen + 1) {
            return Err(format!("change {seq:?} came after {seen:?}"));
        }
        (self.seq, self.is_anew) = (seq, false);
        self.stories.extend(keyed(&change["stories"]));
        self.runs.extend(keyed(&change["runs"]));
        let gone = |name: &str| change[name].as_array().into_iter().flatten().map(key).collect::<Vec<_>>();
        self.stories.retain(|id, _| !gone("gone_stories").contains(id));
        self.runs.retain(|id, _| !gone("gone_runs").contains(id));
        for (known, name) in [(&mut self.merges, "merges"), (&mut self.state, "state")] {
            if !change[name].is_null() {
                known.clone_from(&change[name]);
            }
        }
        Ok(())
    }

    fn take_lines(&mut self, frame: &Value) -> Holds {
        let run = frame["run"].as_str().unwrap_or_default();
        let log = self.logs.entry(run.to_owned()).or_default();
        if frame["from"].as_u64() != Some(log.next()) {
            return Err(format!(
                "lines of {run} from {} came, and {} is the next",
                frame["from"],
                log.next()
            ));
        }
        let lines = frame["lines"].as_array().into_iter().flatten();
        log.lines.extend(lines.filter_map(|line| line.as_str().map(str::to_owned)));
        log.over |= frame["over"] == true;
        Ok(())
    }

    /// Whether it has just what the server tells to whoever asks now.
    pub fn equals(&self, board: &Value) -> Holds {
        let stories: BTreeMap<_, _> = keyed(&board["stories"]).collect();
        let runs: BTreeMap<_, _> = keyed(&board["runs"]).collect();
        let same = [
            ("stories", self.stories == stories),
            ("runs", self.runs == runs),
            ("merges", self.merges == board["merges"]),
            ("state", self.state == state_of(board)),
        ];
        match same.iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(format!(
                "its {what} differ: {:#?}\n{:#?}\n{:#}\n{board:#}",
                self.stories, self.runs, self.state
            )),
            None => Ok(()),
        }
    }

    pub fn seq(&self) -> Option<u64> {
        self.seq
    }
}
