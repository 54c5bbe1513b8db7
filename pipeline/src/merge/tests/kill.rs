//! A storkit that merges and is killed at random moments, again and again. `STORKIT_KILLS` says how often,
//! `STORKIT_SEED` repeats a run.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, SystemTime},
};

use agents::{confine::Confinement, tree};
use rustix::process::Signal;

use super::shop::{Shop, add_story, gates, git, stages};
use crate::{
    Project, audit,
    merge::{
        MergePaths, MergeQueue, MergeRequest, MergeSettings, merges, paths::MERGE_VARIABLE, recover,
        resolution,
    },
    story::{FileName, StoryId},
};

/// How often, unless the environment says.
const KILLS: u32 = 40;

/// Stories that wait at once.
const BATCH: u32 = 5;

/// New files of each.
const FILES: u32 = 12;

/// Longest life of a child after it is ready, in milliseconds, but for one in six: on a busy machine a conflict's
/// worktree alone takes longer.
const LONGEST: u64 = 600;

/// Names the project that a child is to serve.
const CHILD: &str = "STORKIT_KILL_TEST_PROJECT";

/// Not a test by itself: what the killed process runs.
#[tokio::test]
async fn child_storkit() {
    let Some(root) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let project = Project::open(&root).expect("a project");
    recover(&project).expect("it recovers");
    let settings = MergeSettings {
        base: "main".into(),
        gates: gates(&["test ! -f broken"]),
        components: Vec::new(),
        hosts: Default::default(),
        network: agents::confine::NetworkAccess::All,
        confinement: Ok(Confinement::None),
        variables: Vec::new(),
    };
    let (queue, mut ends) = MergeQueue::open(&project, settings).expect("a queue");
    for file in fs::read_dir(root.join(".storkit/work/4_merge")).into_iter().flatten().flatten() {
        let file: FileName = file.file_name().to_string_lossy().parse().expect("a story");
        let branch = format!("feature/story-{}/work", file.id_slug());
        // One that was left in the queue is refused, and done all the same; a conflict waits for somebody.
        if !queue.conflicts().contains(&file.id) {
            let _ = queue.start(&MergeRequest {
                title: format!("Story {}", file.id),
                file,
                branch,
                in_quarantine: false,
            });
        }
    }
    eprintln!("ready");
    while ends.recv().await.is_some() {}
}

struct Random(u64);

impl Random {
    /// xorshift64: a seed is all there is to print.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn start(root: &Path) -> (Child, mpsc::Receiver<()>) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "merge::tests::kill::child_storkit", "--nocapture"]).env(CHILD, root);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a child");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
            if line.contains("ready") && told.send(()).is_err() {
                break;
            }
            line.clear();
        }
        let _ = lines.read_to_string(&mut line);
    });
    (child, heard)
}

/// One life. At random git is taken first, after storkit, or left to end by itself.
fn live_and_die(root: &Path, random: &mut Random) {
    let (mut child, heard) = start(root);
    // One in four does not even get to its queue.
    if random.below(4) > 0 {
        let _ = heard.recv_timeout(Duration::from_secs(120));
    }
    let longest = if random.below(6) == 0 { 8 * LONGEST } else { LONGEST };
    let _ = heard.recv_timeout(Duration::from_micros(random.below(longest * 1_000)));
    let git = || {
        tree::marked(|environment| {
            environment.get(MERGE_VARIABLE) == Some(root.as_os_str().as_encoded_bytes())
        })
    };
    let order = random.below(3);
    if order == 0 {
        git().iter().for_each(|seen| assert!(seen.signal(Signal::KILL) || !seen.is_alive()));
    }
    let _ = child.kill();
    if order == 1 {
        tree::kill_all(Duration::from_secs(20), git);
    }
    child.wait().expect("it is our child");
}

fn locks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(locks(&path));
        } else if path.extension().is_some_and(|end| end == "lock") {
            found.push(path);
        }
    }
    found
}

/// What holds after every start; how many stories are merged.
fn check(project: &Project, stories: &BTreeSet<u32>) -> usize {
    let root = project.root();
    assert_eq!(git(root, &["fsck", "--no-dangling", "--no-progress", "--connectivity-only"]), "");
    assert_eq!(git(root, &["rev-list", "--merges", "--count", "main"]), "0");
    assert_eq!(git(root, &["status", "--porcelain"]), "");
    assert_eq!(locks(&root.join(".git")), Vec::<PathBuf>::new());
    assert!(!root.join(".storkit/run/merge.json").exists());
    assert_eq!(git(root, &["log", "--format=%h", "main", "--", "broken"]), "", "base is green");
    let repository = git2::Repository::open(root).expect("a repository");
    let merged: Vec<u32> =
        merges(&repository, "main").expect("a log").iter().map(|merge| merge.story.0).collect();
    let once: BTreeSet<u32> = merged.iter().copied().collect();
    assert_eq!(once.len(), merged.len(), "one story, one merge");
    let board = match git(root, &["branch", "--list", "storkit/board"]).is_empty() {
        true => String::new(),
        false => git(root, &["ls-tree", "-r", "--name-only", "storkit/board"]),
    };
    for story in stories {
        let is_done = board.contains(&format!("5_done/{story}_story_kill.md"));
        assert_eq!(is_done, once.contains(story), "base and board have story {story}, or neither has");
        let expected = if once.contains(story) { "5_done" } else { "4_merge" };
        assert_eq!(stages(root, *story), [expected], "story {story}");
    }
    let mut findings = audit::audit(project, "main").expect("an audit");
    // Whoever called for the merge removes the branch.
    findings.retain(|finding| !matches!(finding, audit::AuditFinding::OrphanBranch(_)));
    assert_eq!(findings, [], "nothing for the audit");
    merged.len()
}

fn batch(root: &Path, first: u32, stories: &mut BTreeSet<u32>) {
    for id in first..first + BATCH {
        let broken: &[(&str, &str)] = if id % BATCH == 3 { &[("broken", "")] } else { &[] };
        // All of a batch add a line in the same place; two of them rewrite the same line, which is a conflict.
        let before = git(root, &["show", "main:CHANGES"]);
        let changes = before.replacen("# Changes", &format!("# Changes\n- story {id}"), 1) + "\n";
        let readme = format!("a shop, says {id}\n");
        let names: Vec<String> = (0..FILES).map(|number| format!("src/{id}/{number}.txt")).collect();
        let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "text\n")).collect();
        files.push(("CHANGES", &changes));
        if id % BATCH > 3 || id % BATCH == 0 {
            files.push(("README", &readme));
        }
        add_story(root, id, "kill", &[&files[..], broken].concat(), &[]);
        stories.insert(id);
    }
}

/// A person takes back what cannot be merged, and removes the branches.
fn take_back(project: &Project, stories: &mut BTreeSet<u32>) {
    let (root, place) = (project.root(), MergePaths::of(project).expect("a place"));
    stories.retain(|story| {
        git(root, &["update-ref", "-d", &format!("refs/heads/feature/story-{story}_kill/work")]);
        let waits =
            fs::remove_file(root.join(format!(".storkit/work/4_merge/{story}_story_kill.md"))).is_ok();
        if waits {
            resolution::clear(&place, StoryId(*story)).expect("it goes");
        }
        !waits
    });
}

#[test]
fn a_storkit_killed_at_any_moment_loses_and_doubles_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    let seed = number("STORKIT_SEED").unwrap_or(now) | 1;
    let kills = number("STORKIT_KILLS").unwrap_or(u64::from(KILLS));
    eprintln!("STORKIT_SEED={seed}");
    let mut random = Random(seed);
    let (_folder, project) = Shop::new().keep();
    let (root, mut stories, mut merged) = (project.root(), BTreeSet::new(), 0);
    let mut next = 1;
    for kill in 0..kills {
        let waiting = stories.iter().filter(|story| stages(root, **story) == ["4_merge"]).count();
        // The broken one, and the loser of the conflict.
        if waiting <= 2 {
            take_back(&project, &mut stories);
            batch(root, next, &mut stories);
            next += BATCH;
        }
        live_and_die(root, &mut random);
        let recovery = recover(&project).expect("it recovers");
        eprintln!("kill {kill} of seed {seed}: {recovery:?}");
        assert_eq!(recovery.kept, Vec::<PathBuf>::new());
        merged = check(&project, &stories);
    }
    eprintln!("{merged} merged, {} stories, {kills} kills, seed {seed}", next - 1);
    assert!(merged > 0 || kills < 20, "nothing was ever merged");
}
