//! What figure 16 measures on: projects with many stories, the program `storkit` with its page, and the browser's side, which Node
//! drives (`web/dev/real.ts`).

pub mod build;
pub mod measured;
pub mod stories;

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use self::measured::Measured;
use crate::{
    Effort,
    world::{PATIENCE, Place},
};

/// The folder of the page's sources.
pub fn sources() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../web").canonicalize()?;
    ensure!(here.join("node_modules").is_dir(), "the page is not built; run this by script/bench");
    Ok(here)
}

/// `storkit serve` on a project, with its page. Dropping it ends the process.
pub struct Serving {
    child: Child,
    /// `http://127.0.0.1:PORT`
    address: String,
    /// Signs in once.
    token: String,
}

impl Serving {
    pub fn start(place: &Place) -> anyhow::Result<Self> {
        let mut command = place.storkit(&["serve", "--port", "0"])?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("storkit")?;
        // From here on it is ended in any case.
        let mut serving = Self { child, address: String::new(), token: String::new() };
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Some(status) = serving.child.try_wait()? {
                bail!("storkit does not serve: {status}");
            }
            let output = place.storkit(&["web"])?.stdin(Stdio::null()).output()?;
            if let Some((address, token)) = link(&String::from_utf8_lossy(&output.stdout)) {
                (serving.address, serving.token) = (address, token);
                return Ok(serving);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        bail!("storkit gave no link to its page")
    }

    /// Lets Node measure this scene of `web/dev/real.ts` on it.
    pub fn measure(&self, scene: &str, effort: Effort) -> anyhow::Result<Measured> {
        let pid = self.child.id().to_string();
        node(&[scene, effort.pick("thorough", "quick"), &self.address, &self.token, &pid])
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Runs `web/dev/real.mjs` with these arguments. What it prints at the end is what it has measured.
pub fn node(arguments: &[&str]) -> anyhow::Result<Measured> {
    let mut command = Command::new("node");
    command.arg("dev/real.mjs").args(arguments).current_dir(sources()?).stdin(Stdio::null());
    let output = command.stderr(Stdio::inherit()).output().context("node")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "node ended with {}: {text}", output.status);
    Measured::parse(text.lines().last().unwrap_or_default())
}

/// The address and the token in the words of `storkit web`.
fn link(text: &str) -> Option<(String, String)> {
    let (address, rest) = text.split_once("http://")?.1.split_once("/#l=")?;
    let token = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    Some((format!("http://{address}"), token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_taken_out_of_the_words_around_it() {
        let text =
            "Open this.\n\nhttp://127.0.0.1:3003/#l=ab12\n\nOr type `X` at http://127.0.0.1:3003/login.";
        assert_eq!(link(text), Some(("http://127.0.0.1:3003".into(), "ab12".into())));
        assert_eq!(link("Nobody serves it."), None);
    }
}
