//! The output of agents that one page shows: whole runs that it follows, and the last line of each run. A page that nobody looks at gets
//! none.

use std::{collections::BTreeMap, sync::Arc};

use pipeline::event::{NumberedEvent, PipelineEvent, RunId};
use tokio::sync::broadcast::error::RecvError;

use super::api::LOG_LINES;

/// Runs that a page follows at once.
const FOLLOWED: usize = 8;

/// What a page wants, and what waits to be sent.
pub struct PageOutput {
    followed: BTreeMap<RunId, FollowedRun>,
    /// The last line of each run since they were sent; `None` where the page does not show them.
    tails: Option<BTreeMap<String, String>>,
    is_visible: bool,
}

/// One run from the line that the page needs next.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowedRun {
    pub next: u64,
    /// Lines that wait to be sent.
    pub waiting: Vec<String>,
    /// Lines before those that wait are missing here, and have to be read from the log.
    pub has_gap: bool,
    pub over: bool,
}

impl Default for PageOutput {
    fn default() -> Self {
        Self { followed: BTreeMap::new(), tails: None, is_visible: true }
    }
}

impl PageOutput {
    /// Whether somebody looks at the page. What it wants, a page says again when somebody does.
    pub fn set_visible(&mut self, on: bool) {
        self.is_visible = on;
        if !on {
            self.followed.clear();
            self.tails = self.tails.is_some().then(BTreeMap::new);
        }
    }

    pub fn is_visible(&self) -> bool {
        self.is_visible
    }

    pub fn show_tails(&mut self, on: bool) {
        self.tails = on.then(BTreeMap::new);
    }

    /// Whether it wants lines of agents at all.
    pub fn listens(&self) -> bool {
        self.is_visible && (self.tails.is_some() || self.follows())
    }

    pub fn follows(&self) -> bool {
        !self.followed.is_empty()
    }

    /// Whether one more run may be followed.
    pub fn may_follow(&self) -> bool {
        self.is_visible && self.followed.len() < FOLLOWED
    }

    /// From this line on. What was printed since the log was read, and before events are heard, is in the log.
    pub fn follow(&mut self, run: RunId, next: u64) {
        self.followed.insert(run, FollowedRun { next, waiting: Vec::new(), has_gap: true, over: false });
    }

    pub fn unfollow(&mut self, run: &RunId) {
        self.followed.remove(run);
    }

    pub fn note(&mut self, event: Result<Arc<NumberedEvent>, RecvError>) {
        let Ok(event) = event else {
            // It lags: the log has what it missed.
            self.followed.values_mut().for_each(|followed| followed.has_gap = true);
            return;
        };
        match &event.event {
            PipelineEvent::RunSaid { run, line } => {
                if let Some(tails) = &mut self.tails {
                    tails.insert(run.to_string(), line.text.clone());
                }
                if let Some(followed) = self.followed.get_mut(run) {
                    followed.said(line.number, &line.text);
                }
            }
            PipelineEvent::RunEnded { run, .. } => {
                if let Some(followed) = self.followed.get_mut(&run.id) {
                    followed.over = true;
                }
                if let Some(tails) = &mut self.tails {
                    // The page has forgotten it.
                    tails.remove(&*run.id.0);
                }
            }
            _ => {}
        }
    }

    /// The runs of which something has to be sent.
    pub fn due(&self) -> Vec<RunId> {
        let is_due = |run: &FollowedRun| run.has_gap || run.over || !run.waiting.is_empty();
        self.followed.iter().filter(|(_, followed)| is_due(followed)).map(|(run, _)| run.clone()).collect()
    }

    /// What waits of this run. From then on lines are expected that follow those.
    pub fn take(&mut self, run: &RunId) -> Option<FollowedRun> {
        let followed = self.followed.get_mut(run)?;
        let next = followed.next + followed.waiting.len() as u64;
        let rest = FollowedRun { next, waiting: Vec::new(), has_gap: false, over: followed.over };
        Some(std::mem::replace(followed, rest))
    }

    /// Lines of this run before `next` are sent; `has_gap` where the log has more.
    pub fn sent(&mut self, run: &RunId, next: u64, has_gap: bool) {
        if let Some(followed) = self.followed.get_mut(run) {
            (followed.next, followed.has_gap) = (next, has_gap);
        }
    }

    /// The last lines that are new.
    pub fn take_tails(&mut self) -> BTreeMap<String, String> {
        self.tails.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl FollowedRun {
    fn said(&mut self, number: u64, text: &str) {
        match number {
            // More than an answer has: they are read from the log, part by part.
            _ if self.waiting.len() >= LOG_LINES => {
                self.waiting.clear();
                self.has_gap = true;
            }
            number if number == self.next + self.waiting.len() as u64 => self.waiting.push(text.to_owned()),
            // It is in the log that was read.
            number if number < self.next => {}
            _ => self.has_gap = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use pipeline::run_log::LogLine;

    use super::*;

    fn run(name: &str) -> RunId {
        RunId(name.into())
    }

    fn said(output: &mut PageOutput, name: &str, number: u64) {
        let line = LogLine { number, text: format!("line {number}") };
        let event = PipelineEvent::RunSaid { run: run(name), line };
        output.note(Ok(Arc::new(NumberedEvent { seq: 1, at: 0, event })));
    }

    fn following(name: &str, next: u64) -> PageOutput {
        let mut output = PageOutput::default();
        output.follow(run(name), next);
        output.take(&run(name));
        output
    }

    #[test]
    fn a_page_that_nobody_looks_at_gets_no_output_and_nothing_waits_for_it() {
        let mut output = following("1-coder-1", 1);
        output.show_tails(true);
        said(&mut output, "1-coder-1", 1);
        assert!(output.listens() && !output.due().is_empty());
        output.set_visible(false);
        assert!(!output.listens() && !output.may_follow());
        assert!(output.due().is_empty() && output.take_tails().is_empty());
        output.set_visible(true);
        assert!(output.listens(), "it still shows last lines");
        said(&mut output, "1-coder-1", 9);
        assert_eq!(output.take_tails().into_values().collect::<Vec<_>>(), ["line 9"]);
        assert!(!output.follows(), "the page says again what it follows");
    }

    #[test]
    fn lines_in_order_wait_and_others_are_read_from_the_log() {
        let mut output = following("1-coder-1", 5);
        for number in [4, 5, 6] {
            said(&mut output, "1-coder-1", number);
        }
        said(&mut output, "2-coder-2", 1);
        let taken = output.take(&run("1-coder-1")).unwrap();
        assert_eq!(
            (taken.next, taken.waiting, taken.has_gap),
            (5, vec!["line 5".into(), "line 6".into()], false)
        );
        assert!(output.due().is_empty());
        said(&mut output, "1-coder-1", 9);
        assert!(output.take(&run("1-coder-1")).unwrap().has_gap, "7 and 8 are missing");
        output.sent(&run("1-coder-1"), 10, false);
        said(&mut output, "1-coder-1", 10);
        assert_eq!(output.take(&run("1-coder-1")).unwrap().waiting, ["line 10"]);
    }

    #[test]
    fn a_flood_does_not_pile_up() {
        let mut output = following("1-coder-1", 1);
        output.show_tails(true);
        for number in 1..=LOG_LINES as u64 * 3 + 7 {
            said(&mut output, "1-coder-1", number);
        }
        let taken = output.take(&run("1-coder-1")).unwrap();
        assert!(taken.waiting.len() <= LOG_LINES && taken.has_gap);
        assert_eq!(output.take_tails().len(), 1);
        for name in 1..=20 {
            if output.may_follow() {
                output.follow(run(&format!("{name}-coder-{name}")), 1);
            }
        }
        assert_eq!(output.followed.len(), FOLLOWED);
    }
}
