//! What single tests need that cargo does not bring: other programs, in the versions that `script/test` installs.
//!
//! A test says so in its first line: `needs!(Claude, Tmux);`. Where something is missing, the test is skipped and says
//! how to get it. `script/test` sets `STORKIT_TESTS=all`, so that a missing program is a failure there and nothing is
//! skipped unseen; `script/test --fast` sets `STORKIT_TESTS=fast`, which skips all of these tests.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use landlock::{ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};

const BUBBLEWRAP: &str = "bwrap";
const LANDLOCK: &str = "landlock";

/// Something that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The real Claude Code CLI.
    Claude,
    /// The homeserver Synapse and the client matrix-nio.
    Synapse,
    /// Element's library, in node.
    MatrixJs,
    /// The Python SDK of MCP and the conformance suite.
    McpClients,
    /// Slack's own SDK.
    SlackSdk,
    /// The client library pywa.
    WhatsappSdk,
    /// A browser, what drives it, and the web page.
    Browser,
    /// A terminal whose screen can be read.
    Tmux,
    /// Large files outside the repository.
    GitLfs,
    /// A sandbox; many containers have the program and forbid what it does.
    Bubblewrap,
    /// Bubblewrap or Landlock.
    Wall,
}

/// Skips the test unless all of this is there.
///
/// # Panics
/// In a run of `script/test`, where something is missing.
#[macro_export]
macro_rules! needs {
    ($($need:ident),+) => {
        $(if $crate::is_to_be_skipped($crate::Need::$need) {
            return;
        })+
    };
}

/// Whether a test with this need is to be skipped now; says so on standard error. For [`needs!`].
///
/// # Panics
/// In a run of `script/test`, where it is missing.
pub fn is_to_be_skipped(need: Need) -> bool {
    let tests = std::env::var("STORKIT_TESTS").unwrap_or_default();
    match decide(&tests, need.path().is_some()) {
        Decision::Run => false,
        Decision::Fail => panic!("{}", need.missing()),
        Decision::Skip => {
            let thread = std::thread::current();
            let line = format!("skipped {}: {}\n", thread.name().unwrap_or("a test"), need.missing());
            // Not `eprintln!`, whose output the test harness shows of failed tests only.
            let _ = std::io::stderr().write_all(line.as_bytes());
            true
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Run,
    Skip,
    Fail,
}

fn decide(tests: &str, is_there: bool) -> Decision {
    match (tests, is_there) {
        ("fast", _) => Decision::Skip,
        (_, true) => Decision::Run,
        ("all", false) => Decision::Fail,
        (_, false) => Decision::Skip,
    }
}

/// Where something comes from.
enum Source {
    /// A script of this repository, which prints where it is.
    Script {
        name: &'static str,
        /// What `script/test` passes on.
        variable: &'static str,
        /// Below `.tools`, where the script puts it.
        usual: &'static str,
        /// A file in it that shows that the installation is complete; empty where the path is the program itself.
        file: &'static str,
    },
    /// A package of the system.
    Package { program: &'static str, package: &'static str },
    /// The package of bubblewrap, or a feature of the kernel.
    PackageOrLandlock,
}

impl Need {
    /// What its script prints, or the program's name; `None` where it is missing.
    pub fn path(self) -> Option<PathBuf> {
        match self.source() {
            Source::Script { variable, usual, file, .. } => {
                let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools").join(usual);
                let path = std::env::var_os(variable).map_or(usual, PathBuf::from);
                let is_complete = if file.is_empty() { path.exists() } else { path.join(file).exists() };
                is_complete.then_some(path)
            }
            Source::Package { program, .. } => self.works(program).then(|| program.into()),
            Source::PackageOrLandlock => working_walls().first().map(PathBuf::from),
        }
    }

    /// A sentence on how to get it.
    pub fn missing(self) -> String {
        match self.source() {
            Source::Script { name, .. } => format!("needs what script/{name} installs; script/test runs it."),
            Source::Package { package: "bubblewrap", .. } => {
                "needs bubblewrap, which is not installed (on Debian or Ubuntu: sudo apt-get install bubblewrap) or cannot work here, as \
                 in most containers."
                    .into()
            }
            Source::Package { package, .. } => {
                format!("needs {package}; on Debian or Ubuntu: sudo apt-get install {package}.")
            }
            Source::PackageOrLandlock => "needs bubblewrap, or a kernel with Landlock (Linux 6.2 or newer).".into(),
        }
    }

    fn source(self) -> Source {
        let script = |name, variable, usual, file| Source::Script { name, variable, usual, file };
        match self {
            Self::Claude => {
                script("claude-code", "STORKIT_TEST_CLAUDE", "claude/node_modules/.bin/claude", "")
            }
            Self::Synapse => script("synapse", "STORKIT_TEST_SYNAPSE", "synapse", "bin/python"),
            Self::MatrixJs => {
                script("matrix-js", "STORKIT_TEST_MATRIX_JS", "matrix-js", "node_modules/matrix-js-sdk")
            }
            Self::McpClients => script("mcp-tools", "STORKIT_TEST_MCP", "mcp", "python/bin/python"),
            Self::SlackSdk => script("slack-sdk", "STORKIT_TEST_SLACK", "slack", "python/bin/python"),
            Self::WhatsappSdk => {
                script("whatsapp-sdk", "STORKIT_TEST_WHATSAPP", "whatsapp", "python/bin/python")
            }
            // Beside the page that `script/web` builds.
            Self::Browser => script("web", "STORKIT_TEST_WEB", "../web", "node_modules/playwright-core"),
            Self::Tmux => Source::Package { program: "tmux", package: "tmux" },
            Self::GitLfs => Source::Package { program: "git-lfs", package: "git-lfs" },
            Self::Bubblewrap => Source::Package { program: "bwrap", package: "bubblewrap" },
            Self::Wall => Source::PackageOrLandlock,
        }
    }

    /// Starts the program: containers often have bubblewrap and forbid what it does.
    fn works(self, program: &str) -> bool {
        let arguments: &[&str] = match self {
            Self::Bubblewrap => {
                &["--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "--", "/bin/sh", "-c", "exit 0"]
            }
            Self::GitLfs => &["version"],
            _ => &["-V"],
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// The walls that tests are to run behind, as `[wall] confine` names them: those that work here, and in a run of `script/test` all.
pub fn walls() -> Vec<&'static str> {
    match std::env::var("STORKIT_TESTS").is_ok_and(|tests| tests == "all") {
        true => vec![BUBBLEWRAP, LANDLOCK],
        false => working_walls(),
    }
}

fn working_walls() -> Vec<&'static str> {
    let bubblewrap = Need::Bubblewrap.path().map(|_| BUBBLEWRAP);
    bubblewrap.into_iter().chain(has_landlock().then_some(LANDLOCK)).collect()
}

/// Whether the kernel enforces as much of it as storkit needs: rules for the truncation of files are the third version.
fn has_landlock() -> bool {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    rules.handle_access(AccessFs::from_all(ABI::V3)).and_then(Ruleset::create).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_fails_in_script_test_and_is_skipped_elsewhere() {
        assert_eq!(decide("all", false), Decision::Fail);
        assert_eq!(decide("", false), Decision::Skip);
        assert_eq!([decide("all", true), decide("", true)], [Decision::Run, Decision::Run]);
    }

    #[test]
    fn the_fast_tests_need_nothing() {
        assert_eq!([decide("fast", true), decide("fast", false)], [Decision::Skip, Decision::Skip]);
    }

    #[test]
    fn every_need_is_installed_by_a_script_of_this_repository_or_a_package() {
        use Need::{
            Browser, Bubblewrap, Claude, GitLfs, MatrixJs, McpClients, SlackSdk, Synapse, Tmux, WhatsappSdk,
        };
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../script");
        let test = std::fs::read_to_string(scripts.join("test")).unwrap();
        let scripted = [Claude, Synapse, MatrixJs, McpClients, SlackSdk, WhatsappSdk, Browser];
        for need in scripted.into_iter().chain([Tmux, GitLfs, Bubblewrap]) {
            match need.source() {
                Source::Script { name, variable, .. } => {
                    assert!(scripts.join(name).exists() && test.contains(variable), "{name}");
                }
                Source::PackageOrLandlock => unreachable!("it is none of these"),
                Source::Package { program, package } => {
                    assert!(test.contains(&format!("{program}={package}")), "{program}");
                }
            }
        }
    }
}
