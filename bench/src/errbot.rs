//! errbot, a chat-ops bot to compare with. `script/bench` installs it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// A virtual environment with errbot in it.
pub struct Errbot {
    bin: PathBuf,
}

/// The output of `errbot/dispatch.py`.
#[derive(Deserialize)]
pub struct Dispatch {
    /// The number of registered commands, errbot's own included.
    pub registered: usize,
    /// CPU per message of each round.
    pub micros: Vec<f64>,
}

impl Errbot {
    /// The environment that `script/bench` made.
    ///
    /// Fails if errbot is not installed: a figure without its comparison is worth nothing.
    pub fn installed() -> anyhow::Result<Self> {
        let folder = std::env::var_os("STORKIT_BENCH_ERRBOT").filter(|folder| !folder.is_empty());
        let folder =
            folder.context("errbot is not installed (script/bench does that; is PyPI reachable?)")?;
        Ok(Self { bin: Path::new(&folder).join("bin") })
    }

    /// Its version, e.g. `errbot 6.2.1`.
    pub fn version(&self) -> String {
        let asked = Command::new(self.bin.join("errbot")).arg("--version").output();
        let text =
            asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let number = text.split_whitespace().last().unwrap_or("of an unknown version");
        format!("errbot {number}")
    }

    /// Measures the CPU per message.
    pub fn dispatch(&self, numbers: [usize; 4], rendered: bool) -> anyhow::Result<Dispatch> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/errbot/dispatch.py");
        let form = if rendered { "rendered" } else { "raw" };
        let numbers = numbers.map(|number| number.to_string());
        let output = Command::new(self.bin.join("python")).arg(script).args(numbers).arg(form).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // Plugins and libraries may print before the result.
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| {
            format!("errbot did not answer: {}", String::from_utf8_lossy(&output.stderr).trim())
        })
    }

    /// `errbot` on its text console, with its data in this folder. It prints [`Errbot::READY`] when it is ready.
    pub fn console(&self, folder: &Path) -> anyhow::Result<Command> {
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        let config = format!(
            "import logging\nBACKEND = 'Text'\nBOT_ADMINS = ('@ann',)\nBOT_DATA_DIR = {data:?}\nBOT_LOG_FILE = {log:?}\n\
             BOT_LOG_LEVEL = logging.WARNING\nBOT_EXTRA_PLUGIN_DIR = None\nTEXT_DEMO_MODE = True\n\
             CORE_PLUGINS = ('ACLs', 'CommandNotFoundFilter', 'Help')\n",
            log = folder.join("log.txt"),
        );
        let path = folder.join("config.py");
        fs::write(&path, config)?;
        let program = self.bin.join("errbot");
        if !program.exists() {
            bail!("`{}` is not there", program.display());
        }
        let mut command = Command::new(program);
        command.arg("-c").arg(path).env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(command)
    }

    /// Part of the greeting that its console shows when all plugins are active.
    pub const READY: &str = "You start as";
}
