//! Programs that the operator's own git configuration names for kinds of files: filters and merge drivers. A `.gitattributes` chooses
//! among them, and agents write that file, so storkit's git runs none: `filter=git-crypt` would hand an agent what only its
//! operator can decrypt.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    process::{Command, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How long the names are remembered: a git that only reads takes no longer than this look does.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Git LFS stays, since without it a large file would be committed whole. It downloads nothing ([`NO_DOWNLOADS`]).
const LFS: &str = "lfs";

/// Lets Git LFS use what is in its store, and leave other pointers as they are. The address to download from may be in `.lfsconfig`, which
/// agents write, and the operator's credentials would go there; these settings count before that file (git-lfs-config(5)).
pub(super) const NO_DOWNLOADS: [&str; 2] = ["lfs.url=file:///dev/null", "lfs.skipDownloadErrors=true"];

/// Where a git is called, and with which variables.
type CallPlace = (Vec<OsString>, Vec<(OsString, OsString)>);

type KnownDrivers = HashMap<CallPlace, (Instant, Vec<String>)>;

/// Settings that turn the operator's drivers off. `git` is called for the names; it has `place` as its arguments already.
pub(super) fn turned_off(place: CallPlace, git: Command) -> Vec<String> {
    static KNOWN: LazyLock<Mutex<KnownDrivers>> = LazyLock::new(Mutex::default);
    let known = KNOWN.lock().get(&place).filter(|(since, _)| since.elapsed() < REMEMBERED).cloned();
    if let Some((_, settings)) = known {
        return settings;
    }
    let settings: Vec<String> = listed(git).iter().flat_map(settings_of).collect();
    let mut known = KNOWN.lock();
    known.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
    known.insert(place, (Instant::now(), settings.clone()));
    settings
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DriverName {
    Filter(String),
    Merge(String),
}

/// Of the repository's own configuration none are listed: there the operator has confirmed each by itself.
fn listed(mut git: Command) -> BTreeSet<DriverName> {
    let output =
        git.args(["config", "--list", "--show-scope", "--name-only", "-z"]).stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut parts = text.split('\0');
    let mut names = BTreeSet::new();
    while let (Some(scope), Some(key)) = (parts.next(), parts.next()) {
        if !matches!(scope, "local" | "worktree") {
            names.extend(driver(key));
        }
    }
    names
}

fn driver(key: &str) -> Option<DriverName> {
    let (section, rest) = key.split_once('.')?;
    let (name, variable) = rest.rsplit_once('.')?;
    match (section, variable) {
        ("filter", "clean" | "smudge" | "process") if name != LFS => {
            Some(DriverName::Filter(name.to_owned()))
        }
        ("merge", "driver") => Some(DriverName::Merge(name.to_owned())),
        _ => None,
    }
}

/// An empty filter passes a file on as it is (gitattributes(5)). A merge driver that fails
/// leaves a conflict, which somebody resolves.
fn settings_of(name: &DriverName) -> Vec<String> {
    match name {
        DriverName::Filter(name) => {
            let empty = ["clean", "smudge", "process"].map(|part| format!("filter.{name}.{part}="));
            empty.into_iter().chain([format!("filter.{name}.required=false")]).collect()
        }
        DriverName::Merge(name) => vec![format!("merge.{name}.driver=false")],
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::atomic::Ordering};

    use needs::needs;

    use super::super::GitProgram;
    use crate::worktree::fixture::stranger;

    /// A repository whose attributes choose the operator's drivers, and what they leave when they run.
    struct Trap {
        folder: tempfile::TempDir,
        git: GitProgram,
    }

    fn trap(drivers: &str) -> Trap {
        let folder = tempfile::tempdir().expect("a folder");
        let trace = folder.path().join("trace");
        let config = folder.path().join("gitconfig");
        fs::write(&config, drivers.replace("TRACE", trace.to_str().expect("text"))).expect("a configuration");
        let root = folder.path().join("repository");
        fs::create_dir(&root).expect("a folder");
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let git = GitProgram::at(&root).env("GIT_CONFIG_GLOBAL", &config).env("PATH", path);
        git.run(["init", "-q", "-b", "main"]).expect("a repository");
        Trap { folder, git: git.with_identity().expect("an identity") }
    }

    impl Trap {
        fn write(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join("repository").join(name), text).expect("a file");
        }

        fn trace(&self) -> std::path::PathBuf {
            self.folder.path().join("trace")
        }

        fn run(&self, args: &[&str]) -> String {
            self.git.run(args).expect("git does it")
        }
    }

    const DRIVERS: &str = "[filter \"crypt\"]\n\tclean = touch TRACE; cat\n\tsmudge = touch TRACE; cat\n\trequired = true\n\
         [filter \"long\"]\n\tprocess = touch TRACE; exit 1\n\trequired = true\n\
         [merge \"own\"]\n\tdriver = touch TRACE; true\n";

    #[test]
    fn an_agents_attributes_run_a_program_of_the_operators_in_storkits_git() {
        let trap = trap(DRIVERS);
        trap.write("a.txt", "one\n");
        trap.run(&["add", "--all"]);
        trap.run(&["commit", "-q", "-m", "base"]);
        // What an agent does on its branch.
        trap.run(&["switch", "-q", "-c", "story"]);
        trap.write(".gitattributes", "*.txt filter=crypt merge=own\n*.bin filter=long\n");
        trap.write("a.txt", "story\n");
        trap.write("b.bin", "b\n");
        trap.run(&["add", "--all"]);
        trap.run(&["commit", "-q", "-m", "story"]);
        trap.run(&["status", "--porcelain"]);
        trap.run(&["checkout", "-q", "main"]);
        trap.write("a.txt", "main\n");
        trap.run(&["commit", "-q", "-a", "-m", "main"]);
        trap.run(&["reset", "-q", "--hard", "story"]);
        let merged = trap.git.answer(["merge", "--squash", "-q", "main@{1}"], &[]).expect("an answer");
        assert_eq!(merged.code, Some(1), "a conflict, and nobody's side");
        assert!(!trap.trace().exists(), "a program of the operator's ran");
    }

    #[test]
    fn an_agents_lfsconfig_makes_storkit_download_from_a_strangers_host() {
        needs!(GitLfs);
        let trap = trap(
            "[filter \"lfs\"]\n\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge -- %f\n\t\
             process = git-lfs filter-process\n\trequired = true\n",
        );
        let (address, called) = stranger();
        trap.write(".gitattributes", "*.psd filter=lfs\n");
        trap.write(
            ".lfsconfig",
            &format!("[lfs]\n\turl = http://{address}/\n\tskipdownloaderrors = false\n"),
        );
        trap.write("here.psd", "content");
        trap.run(&["add", "--all"]);
        let nowhere = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 5\n",
            "0123456789abcdef".repeat(4)
        );
        trap.write("nowhere.psd", &nowhere);
        trap.run(&["add", "--all"]);
        trap.run(&["commit", "-q", "-m", "pointers"]);
        for name in ["here.psd", "nowhere.psd"] {
            trap.write(name, "x");
        }
        trap.run(&["reset", "-q", "--hard"]);
        assert!(!called.load(Ordering::SeqCst), "it asked the host of `.lfsconfig`");
        let read = |name: &str| {
            fs::read_to_string(trap.folder.path().join("repository").join(name)).expect("a file")
        };
        assert_eq!(
            (read("here.psd"), read("nowhere.psd")),
            ("content".into(), nowhere),
            "what is here is used"
        );
    }
}
