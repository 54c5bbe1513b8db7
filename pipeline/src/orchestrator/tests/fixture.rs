//! A project with a pipeline, and a CLI that does what the story's text says.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, OnceLock, atomic::AtomicUsize},
    time::Duration,
};

use agents::{
    claude::PermissionRoute,
    confine::{ConfineChoice, WallSettings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::broadcast::Receiver,
};

use crate::{
    Pipeline,
    board::BOARD_BRANCH,
    event::{Actor, NumberedEvent, PipelineEvent, RunInfo},
    host::{AgentSettings, PipelineHost, RunAccess},
    mailbox::RunMailbox,
    story::{StoryId, StoryKind, stage::Stage},
    strangers::StrangersRead,
    verdict::ReviewDecision,
    worktree,
};

/// The stand-in. As a coder it runs the lines of the story that begin with `do: ` in a shell, those with `again: `
/// where its branch has commits already; as a reviewer it says what `review: ` says (default `approve`) and runs
/// `qa: ` lines; as a mergemaster it runs `merge: ` lines. `retry: N` says that the service is busy, for N seconds.
const CLI: &str = r#"#!/usr/bin/env python3
import json, os, re, subprocess, sys, time, urllib.request
args = sys.argv[1:]
value = lambda name: args[args.index(name) + 1] if name in args else None
prompt = args[-1]
session = value('--resume') or value('--session-id')
home = os.environ.get('STAND_IN') or os.environ['HOME']
story = open(f'{home}/{session}').read() if value('--resume') else prompt
if '--resume' not in args: open(f'{home}/{session}', 'w').write(prompt)
open(f'{home}/prompts', 'a').write(json.dumps(prompt) + '\n')
def put(line): print(json.dumps(line), flush=True)
def lines(word): return [l[len(word):].strip() for l in story.splitlines() if l.startswith(word)]
def say(text): put({'type': 'assistant', 'message': {'content': [{'type': 'text', 'text': text}]}, 'session_id': session})
def run(commands):
    for command in commands:
        done = subprocess.run(['bash', '-c', command], capture_output=True, text=True)
        say(f'{command}: {done.returncode} {done.stdout}{done.stderr}')
put({'type': 'system', 'subtype': 'init', 'session_id': session, 'model': 'none', 'mcp_servers': []})
error, text, status = False, 'done', None
if story.startswith('Do story'):
    for seconds in lines('retry: '):
        put({'type': 'system', 'subtype': 'api_retry', 'attempt': 1, 'max_retries': 10, 'retry_delay_ms': 1000,
             'error_status': 529, 'error': 'overloaded', 'session_id': session})
        time.sleep(float(seconds))
    came_back = 'feedback>' in prompt or 'You ended with work' in prompt
    run(lines('again: ') if came_back and lines('again: ') else lines('do: '))
    for word in lines('result: '):
        error, status = True, int(word)
elif story.startswith('Review story'):
    run(lines('qa: '))
    number = re.search(r'story (\d+)', prompt).group(1)
    for word in (lines('review: ') or ['approve']):
        if word == 'nothing': continue
        url = json.load(open(value('--mcp-config')))['mcpServers']['storkit']['url']
        body = json.dumps({'story': int(number), 'say': word}).encode()
        urllib.request.urlopen(urllib.request.Request(url, body)).read()
elif story.startswith('The merge of story'):
    run(lines('merge: '))
put({'type': 'result', 'subtype': 'success', 'is_error': error, 'result': text, 'session_id': session, 'api_error_status': status,
     'total_cost_usd': 0.25, 'num_turns': 1, 'duration_ms': 1, 'usage': {'input_tokens': 10, 'output_tokens': 5}})
"#;

/// Two coders, a reviewer, a mergemaster, no sandbox; the gate is a script of the repository.
pub(super) const TEAM: &str = r#"
gates = ["sh gate.sh"]
gate_network = true
[[agent]]
name = "coder"
stage = "coder"
network = true
count = 2
[[agent]]
name = "qa"
stage = "qa"
network = true
[[agent]]
name = "merger"
stage = "mergemaster"
network = true
"#;

pub(super) struct Fixture {
    pub git: worktree::fixture::WorktreeFixture,
    pub pipeline: Pipeline,
    place: tempfile::TempDir,
    events: Receiver<Arc<NumberedEvent>>,
    seen: Vec<Arc<NumberedEvent>>,
}

/// Answers the reviewers' calls.
struct TestHost {
    port: u16,
    pipeline: OnceLock<Pipeline>,
}

impl PipelineHost for TestHost {
    fn open(&self, _run: &RunInfo, _read: &StrangersRead, _mailbox: &RunMailbox) -> RunAccess {
        let url = format!("http://127.0.0.1:{}/", self.port);
        RunAccess {
            route: PermissionRoute::Mcp { url, token: "t".into() },
            waiting: Arc::new(AtomicUsize::new(0)),
            trials: Default::default(),
            guard: Box::new(()),
        }
    }

    fn has_secret(&self, _content: &[u8]) -> bool {
        false
    }
}

/// One request: `{"story": 1, "say": "approve"}` or `"reject WHY"`.
async fn serve(listener: TcpListener, host: Arc<TestHost>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            let body = loop {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).await.unwrap_or(0);
                bytes.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
                if read == 0 || body.ends_with('}') {
                    break body;
                }
            };
            let call: serde_json::Value = serde_json::from_str(&body).expect("a call");
            let story = StoryId(u32::try_from(call["story"].as_u64().expect("a number")).expect("small"));
            let review = match call["say"].as_str().expect("words") {
                "approve" => ReviewDecision::Approved,
                words => ReviewDecision::Rejected(words.trim_start_matches("reject ").into()),
            };
            let pipeline = host.pipeline.get().expect("it is there");
            let done = pipeline.review(story, review, Actor::Agent("qa".into())).await;
            let answer = format!("{done:?}");
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
        });
    }
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with(TEAM, |_| ()).await
    }

    pub async fn with(project: &str, change: impl FnOnce(&mut AgentSettings)) -> Self {
        let git = worktree::fixture::WorktreeFixture::new();
        git.write("gate.sh", "! test -e broken\n");
        git.write(".storkit/project.toml", project);
        git.git(&["add", "gate.sh", ".storkit/project.toml"]);
        git.git(&["commit", "-q", "-m", "gate"]);
        git.confirm();
        Self::on(git, change).await
    }

    pub async fn on(
        git: worktree::fixture::WorktreeFixture,
        change: impl FnOnce(&mut AgentSettings),
    ) -> Self {
        // Not below `/tmp`, which a sandbox has of its own.
        let target = std::env::current_exe().expect("a path");
        let place = tempfile::tempdir_in(target.parent().expect("a folder")).expect("a folder");
        let beside = place.path().to_owned();
        let program = beside.join("claude");
        fs::write(&program, CLI).expect("the CLI");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can run");
        let beside = beside.to_str().expect("text").to_owned();
        let mut settings = AgentSettings {
            model_access: Default::default(),
            command: vec![program.to_str().expect("text").into()],
            model: String::new(),
            env: [("STAND_IN".to_owned(), beside)].into(),
            secret_env: vec!["STORKIT_TEST_SECRET".into()],
            home: git.root().with_file_name("home"),
            wall: WallSettings { confine: ConfineChoice::None, ..WallSettings::default() },
            stall: Duration::ZERO,
            trust_project_settings: false,
            busy_wait: Duration::from_millis(10),
            settle: Duration::from_millis(20),
            trust: git.trust(),
        };
        change(&mut settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let host = Arc::new(TestHost { port, pipeline: OnceLock::new() });
        tokio::spawn(serve(listener, Arc::clone(&host)));
        let pipeline = Pipeline::open(&git.project, settings, host.clone()).expect("a pipeline");
        host.pipeline.set(pipeline.clone()).expect("once");
        let (_, events) = pipeline.follow();
        // Refused where there is nothing to start on; else it has begun now.
        let _ = pipeline.rescan().await;
        Self { git, pipeline, place, events, seen: Vec::new() }
    }

    /// A person commits this `project.toml`.
    pub fn commit_settings(&self, text: &str) {
        self.git.write(".storkit/project.toml", text);
        self.git.git(&["commit", "-q", "-m", "settings", "--", ".storkit/project.toml"]);
    }

    /// A story with this text, as a person creates and starts it.
    pub async fn start(&self, title: &str, body: &str) -> StoryId {
        let id = self.create(title, body).await;
        self.pipeline.start(id, None, ann()).await.expect("it starts");
        id
    }

    pub async fn create(&self, title: &str, body: &str) -> StoryId {
        let story = self.pipeline.create(StoryKind::Story, title, Some(body.into()), ann()).await;
        story.expect("a story").id()
    }

    /// The first event, also of the past, that this holds for.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&PipelineEvent) -> bool) -> PipelineEvent {
        if let Some(found) = self.seen.iter().find(|event| holds(&event.event)) {
            return found.event.clone();
        }
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), self.events.recv()).await;
            let Ok(next) = next else { panic!("waited for: {what}\n{}", self.story_so_far()) };
            let next = next.expect("events come");
            self.seen.push(Arc::clone(&next));
            if holds(&next.event) {
                return next.event.clone();
            }
        }
    }

    /// The first event after `seen` events that this holds for.
    pub async fn until_new(&mut self, what: &str, seen: usize, holds: impl Fn(&PipelineEvent) -> bool) {
        loop {
            if self.seen.iter().skip(seen).any(|event| holds(&event.event)) {
                return;
            }
            let next = tokio::time::timeout(Duration::from_secs(60), self.events.recv()).await;
            let Ok(next) = next else { panic!("waited for: {what}\n{}", self.story_so_far()) };
            self.seen.push(next.expect("events come"));
        }
    }

    /// Until the story is there; returns why it moved.
    pub async fn until_in(&mut self, id: StoryId, stage: Stage) -> Option<String> {
        let moved = |event: &PipelineEvent| matches!(event, PipelineEvent::StoryMoved { story, to, .. } if *story == id && *to == stage);
        match self.until(&format!("story {id} in {stage}"), moved).await {
            PipelineEvent::StoryMoved { why, .. } => why,
            _ => None,
        }
    }

    /// Until the story has been seen at all.
    pub async fn until_in_or_created(&mut self, id: StoryId) {
        let seen = |event: &PipelineEvent| matches!(event, PipelineEvent::StoryCreated { story, .. } if *story == id);
        self.until(&format!("story {id} is seen"), seen).await;
    }

    /// Until a person is asked about the story; returns why.
    pub async fn until_asked(&mut self, id: StoryId) -> String {
        let asked =
            |event: &PipelineEvent| matches!(event, PipelineEvent::NeedsPerson { story, .. } if *story == id);
        match self.until(&format!("a person is asked about story {id}"), asked).await {
            PipelineEvent::NeedsPerson { why, .. } => why,
            _ => String::new(),
        }
    }

    /// The ends of runs so far.
    pub fn outcomes(&self) -> Vec<String> {
        let ends = self.seen.iter().filter_map(|event| match &event.event {
            PipelineEvent::RunEnded { run, outcome, .. } => {
                Some(format!("{} {}: {outcome}", run.story, run.agent))
            }
            _ => None,
        });
        ends.collect()
    }

    /// What was told so far that matches.
    pub fn told(&self, of: impl Fn(&PipelineEvent) -> bool) -> usize {
        self.seen.iter().filter(|event| of(&event.event)).count()
    }

    pub fn story_so_far(&self) -> String {
        let lines = self.seen.iter().map(|event| format!("{:?}", event.event));
        let snapshot = self.pipeline.snapshot();
        let logs = fs::read_dir(self.git.root().join(".storkit/logs/agents")).into_iter().flatten().flatten();
        let logs = logs.map(|log| fs::read_to_string(log.path()).unwrap_or_default());
        format!(
            "{}\nholds {:?}, paused {:?}\n{}",
            lines.collect::<Vec<_>>().join("\n"),
            snapshot.holds,
            snapshot.paused,
            logs.collect::<Vec<_>>().join("\n---\n")
        )
    }

    pub fn stage(&self, id: StoryId) -> Option<Stage> {
        self.pipeline.snapshot().board.story(id).map(|story| story.stage)
    }

    /// The prompts that agents got.
    pub fn prompts(&self) -> Vec<String> {
        let path = self.place.path().join("prompts");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a prompt")).collect()
    }

    /// Waits until no story has a worktree or branch: they go in the background.
    pub async fn until_clean(&self) {
        self.until_true("worktrees are left", || {
            let list = self.git.worktrees().list().expect("a list");
            list.values()
                .all(|found| !found.folder && !found.admin && found.branch.is_none() && !found.private)
        })
        .await;
    }

    /// Waits for something on disk.
    pub async fn until_true(&self, what: &str, holds: impl Fn() -> bool) {
        let until = std::time::Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(std::time::Instant::now() < until, "{what}\n{}", self.story_so_far());
            tokio::task::yield_now().await;
        }
    }

    /// The files on the board's branch.
    pub fn on_board(&self) -> String {
        match self.git.git(&["branch", "--list", BOARD_BRANCH]).is_empty() {
            true => String::new(),
            false => self.git.git(&["ls-tree", "-r", "--name-only", BOARD_BRANCH]),
        }
    }

    /// Waits until this file is committed to the board's branch.
    pub async fn until_on_board(&self, path: &str) {
        let there = || self.on_board().lines().any(|line| line == path);
        self.until_true(&format!("{path} is on the board"), there).await;
    }

    /// Ends this pipeline and begins another on the same project.
    pub async fn restart(self) -> Self {
        let Self { git, pipeline, .. } = self;
        pipeline.shutdown().await;
        drop(pipeline);
        Self::on(git, |_| ()).await
    }
}

pub(super) fn ann() -> Actor {
    Actor::Person("Ann".into())
}
