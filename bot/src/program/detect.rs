//! What a project is built with, by the files that git has: its parts with their setup, and the commands that test them.
//!
//! Pure but for reading files, so that `init` and `doctor` find the same. A folder counts as a part of its own if it has its own lock
//! file, or if no folder above it is built with the same tool.

mod files;
mod gate;
mod javascript;
mod other_tools;
mod python;

use std::collections::BTreeSet;

use agents::confine::registries_of;
use pipeline::config::{Component, ProjectConfig};

pub use self::files::ProjectFiles;
use crate::replies::setup::FoundPart;

/// As many parts are listed at most; a project with more is described by hand.
const MOST_PARTS: usize = 8;

/// Below the folder in which `init` was started, parts are looked for this deep.
const DEPTH: usize = 3;

/// Folders whose packages are not what the project is built from.
const PASSED_OVER: [&str; 16] = [
    "bench",
    "benchmarks",
    "docs",
    "example",
    "examples",
    "fixtures",
    "fuzz",
    "node_modules",
    "playground",
    "samples",
    "site",
    "templates",
    "testdata",
    "third_party",
    "vendor",
    "website",
];

/// storkit opens the registries of packages that are at most so deep in the repository (`pipeline::open_hosts`).
const REGISTRY_DEPTH: usize = 2;

/// A part of the project that one tool sets up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetectedComponent {
    /// `npm`, `uv`, `cargo` …
    pub tool: &'static str,
    /// What must be installed on the machine.
    pub program: &'static str,
    /// From the project's root; empty for the root itself.
    pub path: String,
    pub setup: Vec<String>,
    /// Relative to `path`.
    pub inputs: Vec<String>,
    /// The project's own test command, to be run in `path`.
    pub gate: Option<String>,
    /// The file that declares its packages, and with them the registry.
    pub manifest: &'static str,
    /// Hosts beyond the registry, of which the tool needs something.
    pub more_hosts: Vec<String>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetectedProject {
    pub components: Vec<DetectedComponent>,
    /// Commands to be run at the top of a worktree.
    pub gates: Vec<String>,
    /// Parts that were found beyond the first few.
    pub left_out: usize,
    pub has_lfs: bool,
    pub has_submodules: bool,
}

/// Tools of one family do not set up the same folder twice, and share a lock file above it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    JavaScript,
    Python,
    Cargo,
    Go,
    Ruby,
    Php,
    Jvm,
}

type Detector = fn(&ProjectFiles, &str) -> Option<DetectedComponent>;

/// Each family with the files that declare its packages, those that lock them, and how it is recognised.
const FAMILIES: [(Family, &[&str], &[&str], Detector); 7] = [
    (Family::JavaScript, &["package.json"], &javascript::LOCKS, javascript::detect),
    (Family::Python, &python::MANIFESTS, &["uv.lock", "poetry.lock"], python::detect),
    (Family::Cargo, &["Cargo.toml"], &["Cargo.lock"], other_tools::cargo),
    (Family::Go, &["go.work", "go.mod"], &["go.sum", "go.work"], other_tools::go),
    (Family::Ruby, &["Gemfile"], &["Gemfile.lock"], other_tools::bundler),
    (Family::Php, &["composer.json"], &["composer.lock"], other_tools::composer),
    (Family::Jvm, &other_tools::JVM_MANIFESTS, &[], other_tools::jvm),
];

/// The parts in and below `start`, a folder relative to the project's root; where it has none, those of the nearest folder above.
pub fn detect(files: &ProjectFiles, start: &str) -> DetectedProject {
    let mut start = start.trim_matches('/').to_owned();
    loop {
        let found = below(files, &start);
        if start.is_empty() || !(found.components.is_empty() && found.gates.is_empty()) {
            return found;
        }
        start = parent(&start).to_owned();
    }
}

fn below(files: &ProjectFiles, start: &str) -> DetectedProject {
    let mut components = Vec::new();
    for (_, manifests, locks, detector) in FAMILIES {
        let mut taken: Vec<String> = Vec::new();
        for folder in folders_with(files, start, manifests) {
            let is_inside = taken.iter().any(|above| is_below(&folder, above));
            let is_locked = locks.iter().any(|lock| files.has(&folder, lock));
            if is_inside && !is_locked {
                continue;
            }
            // Deeper, what locks and tests nothing is a manifest for publishing the rest elsewhere.
            let is_part = |found: &DetectedComponent| folder == start || is_locked || found.gate.is_some();
            if let Some(found) = detector(files, &folder).filter(is_part) {
                taken.push(folder);
                components.push(found);
            }
        }
    }
    components.sort_by_key(|part| (depth(&part.path), part.path.clone()));
    let left_out = components.len().saturating_sub(MOST_PARTS);
    components.truncate(MOST_PARTS);
    let gates = gate::commands(files, start, &components);
    let (has_lfs, has_submodules) = (other_tools::has_lfs(files), other_tools::has_submodules(files));
    DetectedProject { components, gates, left_out, has_lfs, has_submodules }
}

/// Folders with one of these files, the upper ones first.
fn folders_with(files: &ProjectFiles, start: &str, names: &[&str]) -> Vec<String> {
    let counts = |folder: &str| {
        let rest = if start.is_empty() { folder } else { folder[start.len()..].trim_start_matches('/') };
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        // Go and others pass over names that begin so.
        let is_hidden = |part: &str| part.starts_with(['.', '_']) || PASSED_OVER.contains(&part);
        parts.len() <= DEPTH && !parts.into_iter().any(is_hidden)
    };
    let found: BTreeSet<(usize, String)> = files
        .named(names)
        .map(parent)
        .filter(|folder| is_below(folder, start) && counts(folder))
        .map(|folder| (depth(folder), folder.to_owned()))
        .collect();
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// Parts that the settings do not name yet.
pub fn not_configured(found: &DetectedProject, config: &ProjectConfig) -> Vec<DetectedComponent> {
    let known = |part: &DetectedComponent| config.components.iter().any(|component| sets_up(component, part));
    found.components.iter().filter(|part| !known(part)).cloned().collect()
}

/// Whether a component of `project.toml` does what this part needs: it is about the same files, or calls the same program there.
fn sets_up(component: &Component, part: &DetectedComponent) -> bool {
    let listed = component.inputs.iter().flatten();
    let own: Vec<String> = part.inputs.iter().map(|input| from_root(&part.path, input)).collect();
    let shares_input =
        listed.map(|input| input.to_string_lossy()).any(|input| own.iter().any(|own| *own == input));
    let path = component.path.to_string_lossy();
    let is_same_folder = path.trim_start_matches("./").trim_matches('/').trim_matches('.') == part.path;
    let words = component.setup.iter().flat_map(|line| line.split([' ', '/', ';', '&', '|']));
    shares_input
        || (is_same_folder && words.into_iter().any(|word| word == part.program || word == part.tool))
}

/// A file of this folder, from the project's root. `..` leads to the folder above.
fn from_root(folder: &str, file: &str) -> String {
    let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        if part == ".." {
            path.pop();
        } else {
            path.push(part);
        }
    }
    path.join("/")
}

/// Where `file`, in a folder at or above `folder`, is from there.
fn relative(folder: &str, above: &str, file: &str) -> String {
    format!("{}{file}", "../".repeat(depth(folder) - depth(above)))
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn owned(hosts: &[&str]) -> Vec<String> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

fn depth(folder: &str) -> usize {
    folder.split('/').filter(|part| !part.is_empty()).count()
}

fn is_below(folder: &str, above: &str) -> bool {
    above.is_empty()
        || folder == above
        || folder.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// The nearest of the folder and those above it that has one of these files, and which.
fn nearest<'a>(
    files: &ProjectFiles,
    folder: &'a str,
    names: &[&'static str],
) -> Option<(&'a str, &'static str)> {
    let mut folder = folder;
    loop {
        if let Some(name) = names.iter().find(|name| files.has(folder, name)) {
            return Some((folder, name));
        }
        if folder.is_empty() {
            return None;
        }
        folder = parent(folder);
    }
}

/// Whether this machine has a program of that name on its `PATH`.
pub fn is_installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

impl DetectedComponent {
    /// Unique as long as no two tools of one family are in a folder.
    pub fn name(&self) -> String {
        if self.path.is_empty() { self.tool.to_owned() } else { format!("{} {}", self.path, self.tool) }
    }

    pub fn shown(&self) -> FoundPart {
        let gate = self.gate.as_ref().map(|gate| gate::in_folder(&self.path, gate));
        FoundPart { name: self.name(), setup: self.setup.join("; "), program: self.program, gate }
    }

    /// The package registries that it needs.
    pub fn registries(&self) -> Vec<String> {
        registries_of(self.manifest)
            .map(|host| host.to_string().trim_end_matches(":443").to_owned())
            .collect()
    }

    /// Hosts that have to be listed, since they are not open by themselves.
    pub fn listed_hosts(&self) -> Vec<String> {
        let more = self.more_hosts.iter().cloned();
        if depth(&self.path) > REGISTRY_DEPTH || !self.more_hosts.is_empty() {
            return self.registries().into_iter().chain(more).collect();
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)], start: &str) -> String {
        let found = detect(&ProjectFiles::in_memory(files), start);
        let part = |part: &DetectedComponent| {
            format!("{}: {} [{}]", part.name(), part.setup.join("; "), part.inputs.join(" "))
        };
        let mut lines: Vec<String> = found.components.iter().map(part).collect();
        lines.extend(found.gates.iter().map(|gate| format!("gate: {gate}")));
        lines.join("\n")
    }

    #[test]
    fn a_monorepos_parts_are_found_and_members_of_a_workspace_are_not_parts_of_their_own() {
        let files = [
            ("package.json", r#"{"workspaces": ["packages/*"], "scripts": {"test": "vitest run"}}"#),
            ("package-lock.json", "{}"),
            ("packages/a/package.json", "{}"),
            ("tools/package.json", r#"{"scripts": {"test": "node --test"}}"#),
            ("tools/package-lock.json", "{}"),
            ("services/api/go.mod", "module api"),
            ("services/api/go.sum", ""),
            ("services/api/testdata/x/go.mod", "module x"),
            ("vendor/y/Cargo.toml", "[package]"),
            ("_examples/z/go.mod", "module z"),
            (".tools/w/package.json", "{}"),
            ("components/composer.json", "{}"),
            ("fuzz/Cargo.toml", "[package]"),
            ("fuzz/Cargo.lock", ""),
        ];
        insta::assert_snapshot!(found(&files, ""), @r"
        npm: npm ci [package-lock.json package.json]
        tools npm: npm ci [package-lock.json package.json]
        services/api go: go mod download [go.mod go.sum]
        gate: CI=true npm test
        gate: cd tools && CI=true npm test
        gate: cd services/api && go test ./...
        ");
    }

    #[test]
    fn started_in_a_sub_folder_only_its_parts_count_with_the_lock_file_above() {
        let files = [
            ("package.json", r#"{"workspaces": ["packages/*"]}"#),
            ("pnpm-lock.yaml", "lockfileVersion: 9"),
            ("packages/a/package.json", r#"{"scripts": {"test": "vitest"}}"#),
            ("packages/a/src/index.ts", ""),
            ("other/go.mod", "module x"),
        ];
        let expected = "packages/a pnpm: pnpm install --frozen-lockfile [../../pnpm-lock.yaml package.json]\n\
                        gate: cd packages/a && CI=true pnpm test";
        let shown = |start: &str| found(&files, start).replace("corepack ", "");
        assert_eq!(shown("packages/a"), expected);
        assert_eq!(shown("packages/a/src"), expected, "a folder without parts belongs to the one above");
        assert_eq!(shown("other"), "other go: go mod download [go.mod]\ngate: cd other && go test ./...");
    }

    #[test]
    fn a_part_is_known_by_its_lock_file_or_by_its_program_in_the_folder() {
        let files = ProjectFiles::in_memory(&[
            ("web/package.json", "{}"),
            ("web/package-lock.json", "{}"),
            ("go.mod", "module x"),
        ]);
        let found = detect(&files, "");
        let missing = |text: &str| {
            let config = ProjectConfig::parse(text, "project.toml".as_ref(), |_| None).unwrap().config;
            let missing = not_configured(&found, &config);
            missing.iter().map(DetectedComponent::name).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(missing(""), "go, web npm");
        let by_program = "[[component]]\nname = \"x\"\npath = \"web\"\nsetup = \"cd . && npm install\"";
        assert_eq!(missing(by_program), "go");
        let elsewhere = "[[component]]\nname = \"x\"\npath = \"other\"\nsetup = \"npm ci\"";
        assert_eq!(missing(elsewhere), "go, web npm");
        let by_input = "[[component]]\nname = \"x\"\nsetup = \"make deps\"\ninputs = [\"web/package-lock.json\", \"go.mod\"]";
        assert_eq!(missing(by_input), "");
    }

    #[test]
    fn hosts_are_listed_only_where_they_are_not_open_anyway() {
        let listed = |path: &str, manifest: &'static str| {
            DetectedComponent { path: path.into(), manifest, ..DetectedComponent::default() }
                .listed_hosts()
                .join(" ")
        };
        assert_eq!(listed("a/b", "Cargo.toml"), "");
        assert_eq!(listed("a/b/c", "Cargo.toml"), "index.crates.io static.crates.io");
    }

    #[test]
    fn more_parts_than_anybody_reads_are_counted() {
        let names: Vec<String> = (0..11).map(|number| format!("m{number:02}/go.mod")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "module x")).collect();
        let found = detect(&ProjectFiles::in_memory(&files), "");
        assert_eq!((found.components.len(), found.left_out), (8, 3));
    }
}
