//! The CLI's own folder inside: a private one that starts empty, with the operator's settings in it, read-only, and this run's transcripts.
//!
//! Whatever else the CLI keeps there is run or read by its next process: `shell-snapshots` is executed by every Bash call.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    host_folders::HostFolders,
    paths::WorktreePaths,
    scratch::ScratchFolders,
    view::{Shown, View, real_or_named},
};

/// Of the user, who chose them: settings, instructions and tools. An agent cannot change them.
const SETTINGS: [&str; 8] =
    ["settings.json", "CLAUDE.md", "agents", "commands", "output-styles", "plugins", "rules", "skills"];

/// The token of a login.
const CREDENTIALS: &str = ".credentials.json";

/// The CLI's record of a login, and of the notices that the user has seen.
const RECORD: &str = ".claude.json";

/// Longer names are shortened by the CLI in a way of its own.
const MAX_SLUG: usize = 180;

/// Adds the folder to the view of an agent in this worktree.
pub(super) fn show(
    view: &mut View,
    host: &HostFolders,
    place: &WorktreePaths,
    scratch: &ScratchFolders,
    login: bool,
) {
    view.lead_to(&host.claude);
    let config = real_or_named(&host.claude);
    view.put(&config, Shown::Writable(scratch.claude()));
    for name in SETTINGS {
        show_in(view, &config, name);
    }
    if login {
        show_in(view, &config, CREDENTIALS);
        keep_record(host, scratch);
    }
    let (at, from) = sessions(&config, place);
    if fs::create_dir_all(&from).is_ok() {
        view.put(&at, Shown::Writable(from));
    }
}

fn show_in(view: &mut View, config: &Path, name: &str) {
    // By its real path: a person may keep these settings in a repository and link to them.
    let real = config.join(name).canonicalize();
    if let Ok(real) = real {
        view.put(&config.join(name), Shown::ReadOnly(real));
    }
}

/// Where the transcripts of this worktree are inside and outside: the CLI's folder for a working directory is its path, with everything
/// but ASCII letters and digits replaced by `-`. Those of other folders are none of this run's business.
fn sessions(config: &Path, place: &WorktreePaths) -> (PathBuf, PathBuf) {
    let path = place.folder.to_string_lossy();
    let slug: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let projects = config.join("projects");
    let private = place.private.join("sessions");
    // For a shortened name we do not know the folder, so all of them are this worktree's own.
    if slug.len() > MAX_SLUG {
        return (projects, private);
    }
    // In a slot the next story would find what this one's agents noted for themselves.
    let outside = if place.is_slot { private } else { projects.join(&slug) };
    (projects.join(slug), outside)
}

/// Copies what says whose login it is. The rest of the record lists the user's projects and servers, with keys.
fn keep_record(host: &HostFolders, scratch: &ScratchFolders) {
    let read = |folder: &Path| -> Option<Value> {
        serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
    };
    let Some(record) = read(&host.claude).or_else(|| read(host.inner_home())) else { return };
    let kept = json!({"oauthAccount": record["oauthAccount"], "hasCompletedOnboarding": true});
    // The CLI reads it in its folder, or in the home where that is not set by `CLAUDE_CONFIG_DIR`.
    for folder in [scratch.claude(), scratch.home()] {
        let path = folder.join(RECORD);
        if let Err(error) = fs::write(&path, kept.to_string()) {
            tracing::warn!(%error, path = %path.display(), "an agent may not know its login");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: &str, private: &Path) -> WorktreePaths {
        WorktreePaths {
            root: "/p".into(),
            common: "/p/.git".into(),
            folder: folder.into(),
            admin: "/p/.git/worktrees/7_x".into(),
            private: private.into(),
            hooks: "/p/.storkit/worktrees/.hooks".into(),
            ref_folders: vec![],
            is_slot: false,
        }
    }

    fn shown(folder: &str, login: bool) -> Vec<String> {
        shown_in(folder, false, login)
    }

    fn shown_in(folder: &str, is_slot: bool, login: bool) -> Vec<String> {
        let home = tempfile::tempdir().expect("a folder");
        let home = home.path().canonicalize().expect("a path");
        let claude = home.join(".claude");
        fs::create_dir_all(claude.join("shell-snapshots")).expect("a folder");
        fs::create_dir_all(claude.join("projects/-other")).expect("a folder");
        for file in ["settings.json", "history.jsonl", ".credentials.json"] {
            fs::write(claude.join(file), "{}").expect("a file");
        }
        fs::write(home.join(".claude.json"), r#"{"oauthAccount": {"id": 1}, "mcpServers": {"x": "key"}}"#)
            .expect("a file");
        let place = WorktreePaths { is_slot, ..place(folder, &home.join("private")) };
        let scratch = ScratchFolders::make(&place).expect("folders");
        let mut view = View::default();
        show(&mut view, &HostFolders::of_home(&home), &place, &scratch, login);
        let record = fs::read_to_string(scratch.home().join(".claude.json"));
        assert_eq!(record.is_ok(), login);
        assert!(!record.unwrap_or_default().contains("key"));
        let line = |(at, shown): (&PathBuf, &Shown)| {
            let at = at.strip_prefix(&claude).expect("below").display();
            match shown {
                Shown::ReadOnly(_) => format!("{at} read-only"),
                Shown::Writable(_) => format!("{at} writable"),
                Shown::Empty | Shown::Link(_) => panic!("{at}"),
            }
        };
        view.entries.iter().map(line).collect()
    }

    #[test]
    fn an_agent_sees_the_settings_and_its_own_transcripts_and_nothing_that_another_session_runs() {
        assert_eq!(
            shown("/p/.storkit/worktrees/7_x", false),
            [" writable", "projects/-p--storkit-worktrees-7-x writable", "settings.json read-only"]
        );
    }

    #[test]
    fn in_a_slot_nothing_that_an_agent_noted_for_itself_is_there_for_the_next_storys() {
        let shown = shown_in("/p/.storkit/worktrees/slot-1", true, false);
        assert_eq!(
            shown,
            [" writable", "projects/-p--storkit-worktrees-slot-1 writable", "settings.json read-only"]
        );
        let (at, from) = sessions(
            Path::new("/home/.claude"),
            &WorktreePaths { is_slot: true, ..place("/p/slot-1", Path::new("/private/7_x")) },
        );
        assert_eq!((at, from), ("/home/.claude/projects/-p-slot-1".into(), "/private/7_x/sessions".into()));
    }

    #[test]
    fn a_login_is_shown_only_where_it_is_used() {
        assert!(shown("/p/7_x", true).contains(&".credentials.json read-only".into()));
    }

    #[test]
    fn a_name_that_the_cli_shortens_has_private_transcripts() {
        let shown = shown(&format!("/{}", "x".repeat(200)), false);
        assert!(shown.contains(&"projects writable".into()), "{shown:?}");
    }
}
