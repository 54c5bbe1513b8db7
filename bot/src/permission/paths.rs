//! The real paths behind the names in a call: links resolved, and compared with the worktree of the agent that asks.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;

/// Beyond this many names in a call nobody can vouch for its links, and no rule is made.
const MOST_NAMES: usize = 1_000;

/// The folder that an agent works in, which its relative paths start from.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgentFolder<'a>(pub Option<&'a Path>);

impl AgentFolder<'_> {
    /// Whether a path leads to something strictly inside the folder, and to nothing hidden: `.git`, `.storkit`, `.env` and the like
    /// are never covered by a rule about "files". Links are resolved now, so a link that is repointed later counts by its new target.
    pub fn holds(self, named: &str) -> bool {
        let Some(root) = self.0.and_then(|root| root.canonicalize().ok()) else { return false };
        let Some(path) = self.absolute(named).filter(|path| has_no_parent(path)) else { return false };
        let Some(real) = real_path(&path) else { return false };
        let Ok(inside) = real.strip_prefix(&root) else { return false };
        let is_hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        !inside.as_os_str().is_empty() && !inside.iter().any(is_hidden)
    }

    /// The names in these texts that lead through a link, each with the place it leads to; `None` where there are too many names to
    /// tell. Places inside the folder are relative to it, so that a rule of a role holds in each of its worktrees.
    pub fn links<'a>(self, texts: impl IntoIterator<Item = &'a str>) -> Option<BTreeMap<String, String>> {
        let root = self.0.and_then(|root| root.canonicalize().ok());
        let mut links = BTreeMap::new();
        for (n, name) in texts.into_iter().flat_map(names).enumerate() {
            if n >= MOST_NAMES {
                return None;
            }
            let Some(path) = self.absolute(name) else { continue };
            let Some(target) = link_target(&path) else { continue };
            let shown = match (&target, &root) {
                (Some(real), Some(root)) => real.strip_prefix(root).unwrap_or(real).display().to_string(),
                (Some(real), None) => real.display().to_string(),
                (None, _) => String::new(),
            };
            links.insert(name.to_owned(), shown);
        }
        Some(links)
    }

    /// The first real path outside the folder to which these texts lead by `..`. Other paths outside are there to read.
    pub fn outside<'a>(self, texts: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let root = self.0.and_then(|root| root.canonicalize().ok())?;
        let climbs = |name: &&str| Path::new(name).components().any(|part| part == Component::ParentDir);
        let found = texts.into_iter().flat_map(names).take(MOST_NAMES).filter(climbs).find_map(|name| {
            let path = self.absolute(name)?;
            // Where it cannot be told, people see the path as it is written.
            let real = reached_path(&path).unwrap_or(path);
            let is_known = has_no_parent(&real);
            (!is_known || !real.starts_with(&root)).then_some(real)
        });
        found.map(|path| path.display().to_string())
    }

    /// Whether a path is a file of the folder itself: no link leads out of it, and nothing in it is hidden, as settings are.
    pub fn holds_plainly(self, path: &str) -> bool {
        let Some(root) = self.0.and_then(|root| root.canonicalize().ok()) else { return false };
        let real = self.absolute(path).and_then(|path| reached_path(&path));
        let below = real.as_deref().and_then(|real| real.strip_prefix(&root).ok());
        let is_plain = |part: Component<'_>| match part {
            Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
            _ => false,
        };
        below.is_some_and(|below| below.components().all(is_plain))
    }

    fn absolute(self, named: &str) -> Option<PathBuf> {
        let named = Path::new(named);
        match self.0 {
            _ if named.is_absolute() => Some(named.to_owned()),
            Some(root) => Some(root.join(named)),
            None => None,
        }
    }
}

/// Whether a path is absolute and has no `..`, so that the same words always mean the same file, whatever the agent's current folder.
pub(super) fn is_plain(path: &str) -> bool {
    let path = Path::new(path);
    path.is_absolute()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// The place that a path leads to, links resolved; its last parts need not exist. `None` where that cannot be told: a link to
/// nothing, a loop, a folder that may not be read.
pub(super) fn real_path(path: &Path) -> Option<PathBuf> {
    if !has_no_parent(path) {
        return path.canonicalize().ok();
    }
    let mut missing = Vec::new();
    for known in path.ancestors() {
        match (known.canonicalize(), known.symlink_metadata()) {
            (Ok(real), _) => return Some(missing.iter().rev().fold(real, |path, name| path.join(name))),
            // A link to nothing is not a missing file: whoever writes to it makes a file elsewhere.
            (Err(_), Ok(_)) => return None,
            (Err(_), Err(error)) if error.kind() != io::ErrorKind::NotFound => return None,
            (Err(_), Err(_)) => missing.push(known.file_name()?),
        }
    }
    None
}

/// The place that a command reaches by a path, with `..` as the kernel takes it, for people to read; rules need [`real_path`]. `None`
/// where it cannot be told.
fn reached_path(path: &Path) -> Option<PathBuf> {
    let mut real = PathBuf::new();
    for part in path.components() {
        match part {
            // As the kernel does it: `real` has no links, so this is the folder behind a link and not the one before it.
            Component::ParentDir => drop(real.pop()),
            Component::CurDir => {}
            part => {
                let next = real.join(part);
                real = match (next.canonicalize(), next.symlink_metadata()) {
                    (Ok(found), _) => found,
                    // A link to nothing is not a missing file: whoever writes to it makes a file elsewhere.
                    (Err(_), Ok(_)) => return None,
                    (Err(_), Err(error)) if error.kind() != io::ErrorKind::NotFound => return None,
                    (Err(_), Err(_)) => next,
                };
            }
        }
    }
    Some(real)
}

fn has_no_parent(path: &Path) -> bool {
    !path.components().any(|part| part == Component::ParentDir)
}

/// Where a path leads if it passes a link: `Some(None)` for a link to nothing. `None` where no link is involved.
fn link_target(path: &Path) -> Option<Option<PathBuf>> {
    let mut passed = PathBuf::new();
    let mut linked = false;
    for part in path.components() {
        passed.push(part);
        linked |= passed.is_symlink();
    }
    linked.then(|| real_path(path))
}

// Quotes, operators and the marks that put a path behind an option (`--file=a`, `-o=a`, `@a`, `a:b`) all end a name. A quoted text
// counts as a name as well, since it may hold blanks.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| c.is_whitespace() || "'\"`;&|<>()$={}@,:".contains(c);
    let words = text.split(ends).filter(|name| !name.is_empty());
    // `-o/etc/x`: the option's value is attached.
    let words = words.flat_map(|word| {
        let attached = word.strip_prefix('-').and_then(|rest| rest.find('/').map(|at| &rest[at..]));
        std::iter::once(word).chain(attached)
    });
    words.chain(text.split(['\'', '"']).filter(|quoted| quoted.contains(' ')))
}

/// Every text in a value, keys left out.
pub(super) fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use serde_json::json;

    use super::*;

    /// A folder `work` with files, a sibling with a secret, and links between them.
    fn scene() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        for folder in ["work/src", "work/.storkit", "work-too", "out"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in
            ["work/a", "work/src/b", "work/.env", "work/.storkit/bot.toml", "out/secret", "work-too/a"]
        {
            fs::write(dir.path().join(file), "x").unwrap();
        }
        symlink(dir.path().join("out"), work.join("out-link")).unwrap();
        symlink("../out/secret", work.join("file-link")).unwrap();
        symlink("../out/new", work.join("dangling")).unwrap();
        symlink("loop", work.join("loop")).unwrap();
        symlink("src", work.join("in-link")).unwrap();
        symlink(".storkit", work.join("state")).unwrap();
        symlink(&work, dir.path().join("alias")).unwrap();
        dir
    }

    fn held(dir: &tempfile::TempDir, named: &str) -> bool {
        AgentFolder(Some(&dir.path().join("work"))).holds(named)
    }

    #[test]
    fn dots_behind_a_link_lead_out_of_the_folder_behind_it_also_to_a_file_that_is_not_there_yet() {
        let dir = scene();
        let (work, above) = (dir.path().join("work"), dir.path().canonicalize().unwrap());
        let folder = AgentFolder(Some(&work));
        for (text, outside) in [
            ("echo x > out-link/../new", Some(above.join("new"))),
            ("echo x > in-link/../new", None),
            ("cat src/../a", None),
            ("cat dangling/../a", Some(work.join("dangling/../a"))),
            ("cat a/x/../y", Some(work.join("a/x/../y"))),
        ] {
            assert_eq!(folder.outside([text]), outside.map(|path| path.display().to_string()), "{text}");
        }
    }

    #[test]
    fn a_folder_holds_its_files_by_whatever_name_leads_there() {
        let dir = scene();
        let inside = dir.path().join("work/a").display().to_string();
        let alias = dir.path().join("alias/src/b").display().to_string();
        for named in
            ["a", "./a", "src", "src/", "src/b", "src/new", "new/newer", "in-link/b", &inside, &alias]
        {
            assert!(held(&dir, named), "{named}");
        }
        assert!(
            AgentFolder(Some(&dir.path().join("alias"))).holds("a"),
            "the folder itself is named by a link"
        );
    }

    #[test]
    fn nothing_outside_is_held_whatever_leads_there() {
        let dir = scene();
        let beside = dir.path().join("work-too/a").display().to_string();
        let secret = dir.path().join("out/secret").display().to_string();
        for named in [
            "out-link/secret",
            "out-link",
            "out-link/new",
            "file-link",
            "dangling",
            "dangling/x",
            "loop",
            "loop/x",
            "../out/secret",
            "src/../a",
            "src/../../out/secret",
            "/etc/passwd",
            "/",
            &beside,
            &secret,
            ".",
            "./",
            "",
        ] {
            assert!(!held(&dir, named), "{named}");
        }
        assert!(!AgentFolder(None).holds("a"), "no folder is known");
        assert!(!AgentFolder(Some(Path::new("/does/not/exist"))).holds("a"));
    }

    #[test]
    fn nothing_hidden_is_held() {
        let dir = scene();
        for named in
            [".env", ".git/config", ".storkit/bot.toml", "src/.env", "state/bot.toml", ".storkit", "src/.x/y"]
        {
            assert!(!held(&dir, named), "{named}");
        }
        let root = dir.path().join("work/.storkit");
        assert!(
            AgentFolder(Some(&root)).holds("bot.toml"),
            "a worktree may itself lie below a hidden folder"
        );
    }

    #[test]
    fn a_real_path_resolves_links_and_needs_no_existing_file() {
        let dir = scene();
        let real = dir.path().canonicalize().unwrap();
        let of = |path: &str| real_path(&dir.path().join(path));
        assert_eq!(of("work/file-link"), Some(real.join("out/secret")));
        assert_eq!(of("work/out-link/new/newer"), Some(real.join("out/new/newer")));
        assert_eq!(of("work/src/../a"), Some(real.join("work/a")));
        assert_eq!((of("work/dangling"), of("work/loop/x"), of("work/src/../none")), (None, None, None));
    }

    #[test]
    fn only_an_absolute_path_without_parents_is_plain() {
        assert!(is_plain("/p/a.rs"));
        for path in ["a.rs", "./a.rs", "src/a.rs", "/p/../a.rs", ""] {
            assert!(!is_plain(path), "{path:?}");
        }
    }

    #[test]
    fn links_are_found_in_every_form_that_a_command_names_them() {
        let dir = scene();
        let work = dir.path().join("work");
        let secret = dir.path().canonicalize().unwrap().join("out/secret").display().to_string();
        for command in [
            "bash file-link",
            "tool --file=file-link",
            "tool -ofile-link;true",
            "tool @file-link",
            "x 'file-link'",
            "a\tfile-link",
            "A=file-link b",
            "x <file-link",
            "x>file-link",
            "$(cat file-link)",
            "x {file-link,a}",
        ] {
            let links = AgentFolder(Some(&work)).links([command]).unwrap();
            let attached = command.contains("-ofile");
            assert_eq!(links.get("file-link"), (!attached).then_some(&secret), "{command}");
        }
        let absolute = work.join("file-link").display().to_string();
        let links = AgentFolder(Some(&work)).links([format!("tool -o{absolute}").as_str()]).unwrap();
        assert_eq!(links.get(&absolute), Some(&secret), "attached to its option");
        let links = AgentFolder(None).links([absolute.as_str(), "file-link"]).unwrap();
        assert_eq!(links, [(absolute, secret.clone())].into(), "without a known folder only a whole path");
        let links = AgentFolder(Some(&work)).links(["cat in-link/b a dangling"]).unwrap();
        let expected = [("dangling", ""), ("in-link/b", "src/b")].map(|(name, to)| (name.into(), to.into()));
        assert_eq!(links, expected.into(), "inside, relative; and to nothing");
        fs::rename(work.join("file-link"), work.join("a b")).unwrap();
        assert_eq!(AgentFolder(Some(&work)).links(["cat 'a b'"]).unwrap().get("a b"), Some(&secret));
    }

    #[test]
    fn a_call_with_too_many_names_has_no_known_links() {
        let names = |count| "a ".repeat(count);
        assert!(AgentFolder(None).links([names(MOST_NAMES - 1).as_str()]).is_some());
        assert!(AgentFolder(None).links([names(MOST_NAMES + 1).as_str()]).is_none());
    }

    #[test]
    fn texts_are_found_at_any_depth() {
        let value = json!({ "a": ["x", { "b": "y" }], "c": 1, "d": "z", "e": null, "f": true });
        let mut found = texts(&value);
        found.sort_unstable();
        assert_eq!(found, ["x", "y", "z"]);
    }
}
