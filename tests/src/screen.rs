//! Runs the program in a real terminal, tmux, and reads its screen.

use std::{
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::place::Place;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the screen is read: tmux does not report changes.
const LOOK: Duration = Duration::from_millis(50);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A tmux server with one window. Dropping it kills the server.
pub struct Screen {
    socket: String,
    place: Arc<Place>,
}

impl Screen {
    /// Runs the command in a window of 100 by 40, which shows `ended with N` after its exit.
    /// Tests that use it begin with `needs!(Tmux)`.
    ///
    /// Panics where tmux is missing.
    pub(crate) fn run(command: &Command, place: Arc<Place>) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let screen = Self { socket: format!("storkit-test-{}-{number}", std::process::id()), place };
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", &screen.socket, "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "40"]);
        tmux.args(["sh", "-c", "\"$@\"; echo \"ended with $?\"; exec cat", "sh"]);
        tmux.arg(command.get_program()).args(command.get_args());
        tmux.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env_remove("TMUX");
        tmux.current_dir(command.get_current_dir().expect("a folder"));
        let output = tmux.output().expect("tmux runs; install it (`apt-get install tmux`)");
        assert!(output.status.success(), "{output:?}");
        screen
    }

    /// Types the text literally.
    pub fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Presses a key by tmux's name: `Enter`, `Tab`, `C-d`.
    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Changes the window's size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Types a line and presses Enter.
    pub fn enters(&self, line: &str) {
        self.types(line);
        self.press("Enter");
    }

    /// Waits until the screen passes this check, and returns it.
    ///
    /// Panics after a minute, with the contents of the screen.
    pub fn until(&self, what: &str, passes: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let shown = self.shown();
            if passes(&shown) {
                return shown;
            }
            assert!(Instant::now() < end, "never {what}:\n{shown}");
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until this text is on the screen.
    pub fn see(&self, text: &str) -> String {
        self.until(&format!("showed {text:?}"), |shown| shown.contains(text))
    }

    fn shown(&self) -> String {
        let shown = String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned();
        self.place.check("a screen", &shown);
        shown
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let output = Command::new("tmux").args(["-L", &self.socket]).args(arguments).output();
        let output = output.expect("tmux runs");
        assert!(output.status.success(), "tmux {arguments:?}: {output:?}");
        output
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}
