//! The ledger of runs, their costs and results: an append-only file with one JSON line per
//! start and per outcome.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use settings::unlinked;

use crate::{
    Project,
    event::{RunId, RunInfo},
    run_log,
    story::{StoryId, stage::Role},
    verdict::FailureCause,
};

/// `.storkit/logs/runs.jsonl`. Cheap to clone. A line that a kill cut in two is skipped.
#[derive(Clone, Debug)]
pub struct RunLedger(Arc<LedgerShared>);

#[derive(Debug)]
struct LedgerShared {
    path: PathBuf,
    state: Mutex<LedgerState>,
}

#[derive(Debug)]
struct LedgerState {
    file: File,
    entries: BTreeMap<String, LedgerEntry>,
    started: u64,
    /// Entries written since it was opened.
    edition: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    pub run: String,
    pub story: StoryId,
    pub slot: String,
    pub agent: String,
    pub role: Role,
    pub session: Option<String>,
    /// When it was started, in seconds since 1970.
    pub started: u64,
    pub ended: Option<u64>,
    /// US dollars of this run alone.
    #[serde(default)]
    pub usd: f64,
    /// Tokens read and written.
    #[serde(default)]
    pub tokens: (u64, u64),
    /// What came of it.
    #[serde(flatten)]
    pub summary: RunSummary,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSummary {
    /// For people, as a clause.
    pub outcome: String,
    /// Whether it counted as a failure.
    pub failed: bool,
    /// Why it failed. Absent in lines of an older storkit, and where the story was blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<FailureCause>,
}

impl RunLedger {
    /// Opens the file, or makes it.
    pub fn open(project: &Project) -> io::Result<Self> {
        let path = project.dir().join("logs/runs.jsonl");
        unlinked::create_dir_all(path.parent().unwrap_or(&path))?;
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text?,
        };
        let mut entries = BTreeMap::new();
        // A run whose setup failed has a log and no line here.
        let newest = run_log::newest(&run_log::folder(project), |_, _| true)?;
        let mut started = newest.and_then(|run| run.parts().map(|(.., number)| number)).unwrap_or(0);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<LedgerEntry>(line) {
                Ok(entry) => {
                    let number = RunId(entry.run.as_str().into()).parts().map_or(0, |(.., number)| number);
                    started = started.max(number);
                    entries.insert(entry.run.clone(), entry);
                }
                Err(error) => tracing::warn!(%error, "a line of the run ledger is skipped"),
            }
        }
        let mut file = unlinked::open(OpenOptions::new().create(true).append(true), &path)?;
        if text.last().is_some_and(|byte| *byte != b'\n') {
            // Completes a line that a kill cut in two, so that the next one is readable.
            file.write_all(b"\n")?;
        }
        Ok(Self(Arc::new(LedgerShared {
            path,
            state: Mutex::new(LedgerState { file, entries, started, edition: 0 }),
        })))
    }

    /// A name for the next run, never used before in this project.
    pub(crate) fn next(&self, story: StoryId, slot: &str) -> RunId {
        let mut state = self.0.state.lock();
        state.started += 1;
        RunId(format!("{story}-{slot}-{}", state.started).into())
    }

    /// Notes that a run was started, with its session: after a kill its processes are found by it.
    pub(crate) fn started(&self, run: &RunInfo, session: &str) {
        self.write(LedgerEntry {
            run: run.id.to_string(),
            story: run.story,
            slot: run.slot.clone(),
            agent: run.agent.clone(),
            role: run.role,
            session: Some(session.into()),
            started: seconds(run.since),
            ended: None,
            usd: 0.0,
            tokens: (0, 0),
            summary: RunSummary::default(),
        });
    }

    /// Notes how a run ended. `usd` and `tokens` are of this run alone.
    pub(crate) fn ended(&self, run: &RunId, usd: f64, tokens: (u64, u64), summary: RunSummary) {
        let known = self.0.state.lock().entries.get(&*run.0).cloned();
        let Some(entry) = known else { return };
        let ended = Some(seconds(SystemTime::now()));
        self.write(LedgerEntry { ended, usd, tokens, summary, ..entry });
    }

    /// Runs that never ended: an earlier storkit was killed with them.
    pub(crate) fn open_runs(&self) -> Vec<LedgerEntry> {
        self.0.state.lock().entries.values().filter(|entry| entry.ended.is_none()).cloned().collect()
    }

    /// All runs, oldest first.
    pub fn entries(&self) -> Vec<LedgerEntry> {
        let mut entries: Vec<LedgerEntry> = self.0.state.lock().entries.values().cloned().collect();
        entries.sort_by_key(|entry| entry.started);
        entries
    }

    /// The runs of one story, oldest first.
    pub fn of_story(&self, story: StoryId) -> Vec<LedgerEntry> {
        self.entries().into_iter().filter(|entry| entry.story == story).collect()
    }

    /// The costs of a story, in US dollars.
    pub fn story_usd(&self, story: StoryId) -> f64 {
        self.0.state.lock().entries.values().filter(|entry| entry.story == story).map(|entry| entry.usd).sum()
    }

    /// What the runs of each story have cost that has any, in US dollars.
    pub fn usd_by_story(&self) -> HashMap<StoryId, f64> {
        let mut costs = HashMap::new();
        for entry in self.0.state.lock().entries.values() {
            *costs.entry(entry.story).or_default() += entry.usd;
        }
        costs
    }

    /// What runs that ended at or after `since` have cost, in US dollars.
    pub fn usd_since(&self, since: SystemTime) -> f64 {
        let since = seconds(since);
        let entries = &self.0.state.lock().entries;
        entries
            .values()
            .filter(|entry| entry.ended.is_some_and(|at| at >= since))
            .map(|entry| entry.usd)
            .sum()
    }

    /// Another number after each change, for those who keep what they have computed of it.
    pub fn edition(&self) -> u64 {
        self.0.state.lock().edition
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    fn write(&self, entry: LedgerEntry) {
        let mut state = self.0.state.lock();
        match serde_json::to_vec(&entry) {
            Ok(mut line) => {
                line.push(b'\n');
                if let Err(error) = state.file.write_all(&line) {
                    tracing::error!(%error, path = %self.0.path.display(), "a run cannot be noted");
                }
            }
            Err(error) => tracing::error!(%error, "a run cannot be noted"),
        }
        // Also where the disk refused: the budgets must count this run.
        state.entries.insert(entry.run.clone(), entry);
        state.edition += 1;
    }
}

/// The beginning of the day that budgets count by: UTC.
pub fn day_begin(now: SystemTime) -> SystemTime {
    const DAY: u64 = 24 * 3600;
    UNIX_EPOCH + Duration::from_secs(seconds(now) / DAY * DAY)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::RunPhase;

    fn run(ledger: &RunLedger, story: u32) -> RunInfo {
        RunInfo {
            id: ledger.next(StoryId(story), "coder"),
            branch: None,
            story: StoryId(story),
            title: "x".into(),
            slot: "coder".into(),
            agent: "coder".into(),
            role: Role::Coder,
            since: UNIX_EPOCH + Duration::from_secs(1_000),
            phase: RunPhase::Working,
            pid: None,
            session: None,
            cost_usd: 0.0,
        }
    }

    #[test]
    fn a_ledger_is_read_back_also_after_a_torn_line_and_never_reuses_a_name() {
        let folder = tempfile::tempdir().unwrap();
        git2::Repository::init(folder.path()).unwrap();
        let project = Project::open(folder.path()).unwrap();
        let ledger = RunLedger::open(&project).unwrap();
        let (one, two) = (run(&ledger, 1), run(&ledger, 2));
        ledger.started(&one, "s1");
        ledger.started(&two, "s2");
        let cause = Some(FailureCause::GatesFailed { gate: "`make` failed with code 1".into() });
        let summary = RunSummary { outcome: "the gate failed".into(), failed: true, cause };
        ledger.ended(&one.id, 0.5, (10, 20), summary.clone());
        let mut file = OpenOptions::new().append(true).open(ledger.path()).unwrap();
        file.write_all(b"{\"run\": \"3-co").unwrap();
        let again = RunLedger::open(&project).unwrap();
        assert_eq!(again.of_story(StoryId(1))[0].summary, summary);
        assert_eq!(again.story_usd(StoryId(1)), 0.5);
        assert_eq!(again.usd_since(UNIX_EPOCH), 0.5);
        assert_eq!(again.open_runs().len(), 1);
        assert_eq!(again.open_runs()[0].session.as_deref(), Some("s2"));
        let next = run(&again, 2);
        assert!(next.id != one.id && next.id != two.id, "{:?}", next.id);
        // Its setup failed, so that nothing but a log tells of it.
        let folder = run_log::folder(&project);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{}.log", next.id)), "").unwrap();
        let further = run(&RunLedger::open(&project).unwrap(), 2);
        assert!(further.id != next.id, "{:?}", further.id);
        again.started(&next, "s3");
        assert_eq!(RunLedger::open(&project).unwrap().entries().len(), 3);
    }

    #[test]
    fn a_line_of_an_older_storkit_is_read_without_a_cause() {
        let line = r#"{"run":"1-coder-1","story":1,"slot":"coder","agent":"coder","role":"coder","session":null,
            "started":1,"ended":2,"usd":0.5,"tokens":[1,2],"outcome":"the gate failed","failed":true}"#;
        let entry: LedgerEntry = serde_json::from_str(line).unwrap();
        let summary = RunSummary { outcome: "the gate failed".into(), failed: true, cause: None };
        assert_eq!((entry.summary, entry.usd), (summary, 0.5));
    }
}
