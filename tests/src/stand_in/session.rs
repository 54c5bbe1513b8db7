//! A session of the stand-in: one small file in the place of the real CLI's.

use std::{fs, io::Write, path::PathBuf};

use serde_json::{Value, json};

/// A session with its earlier prompts.
#[derive(Debug)]
pub struct Session {
    /// The id, a UUID.
    pub id: String,
    /// All prompts so far.
    pub prompts: Vec<String>,
    /// Dollars spent so far, across resumes.
    pub cost: f64,
    file: PathBuf,
}

impl Session {
    /// A new session; refused if the id is none or was ever used.
    pub fn begin(id: String) -> Result<Self, String> {
        if uuid::Uuid::parse_str(&id).is_err() {
            return Err("Error: Invalid session ID. Must be a valid UUID.".into());
        }
        if find(&id).is_some() {
            return Err(format!("Error: Session ID {id} is already in use."));
        }
        let cwd = std::env::current_dir().unwrap_or_default();
        let slug = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let folder = projects().join(cwd.to_string_lossy().chars().map(slug).collect::<String>());
        Ok(Self { file: folder.join(format!("{id}.jsonl")), id, prompts: vec![], cost: 0.0 })
    }

    /// An earlier session, from whatever folder; `None` if there is none.
    pub fn resume(id: String) -> Option<Self> {
        let file = find(&id)?;
        let text = fs::read_to_string(&file).ok()?;
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let prompts = lines.iter().filter_map(|line| line["prompt"].as_str().map(String::from)).collect();
        let cost = lines.iter().filter_map(|line| line["cost"].as_f64()).fold(0.0, f64::max);
        Some(Self { id, prompts, cost, file })
    }

    /// Stores a prompt, before it is answered.
    pub fn add_prompt(&mut self, prompt: &str) {
        self.prompts.push(prompt.to_owned());
        self.append(&json!({"prompt": prompt}));
    }

    /// Stores the cost of an API call.
    pub fn spend(&mut self, dollars: f64) {
        self.cost += dollars;
        self.append(&json!({"cost": self.cost}));
    }

    // As with the real CLI, a home that cannot be written only costs the memory.
    fn append(&self, line: &Value) {
        let folder = self.file.parent().map(fs::create_dir_all);
        let file = fs::OpenOptions::new().create(true).append(true).open(&self.file);
        if let (Some(Ok(())), Ok(mut file)) = (folder, file) {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// The folder of sessions: below `$CLAUDE_CONFIG_DIR` or `$HOME/.claude`.
fn projects() -> PathBuf {
    let config = std::env::var_os("CLAUDE_CONFIG_DIR").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".claude");
    config.unwrap_or_else(home).join("projects")
}

fn find(id: &str) -> Option<PathBuf> {
    let folders = fs::read_dir(projects()).ok()?;
    let files = folders.filter_map(|folder| Some(folder.ok()?.path().join(format!("{id}.jsonl"))));
    files.into_iter().find(|file| file.exists())
}
