//! Hosts that are open with `network = "ask"`: the package registries of a project, and what people allowed.

use std::{collections::BTreeSet, fmt, sync::Arc};

use agents::confine::{AllowedHost, HostGate, OpenHosts, registries_of};
use git2::{ObjectType, Repository, TreeWalkMode, TreeWalkResult};

use crate::{Project, story::StoryId};

/// Folders below the project's root in which packages are looked for: `crates/NAME/Cargo.toml`, `services/web/package.json`.
const DEPTH: usize = 2;

/// Folders with the packages of others.
const VENDORED: [&str; 4] = ["node_modules", "vendor", "third_party", ".storkit"];

/// Who decides about the hosts that a story's commands reach beyond the registries; `None`: no further host is open.
pub(crate) type CommandGates = Arc<dyn Fn(StoryId) -> Option<Arc<dyn HostGate>> + Send + Sync>;

/// Opens hosts to the commands of a project, for the story that they are about.
#[derive(Clone, Default)]
pub struct CommandHosts(Option<HostSource>);

#[derive(Clone)]
struct HostSource {
    project: Project,
    base: String,
    gates: CommandGates,
}

impl CommandHosts {
    pub(crate) fn new(project: &Project, base: &str, gates: CommandGates) -> Self {
        Self(Some(HostSource { project: project.clone(), base: base.to_owned(), gates }))
    }

    /// Blocks while git is read.
    pub(crate) fn of(&self, story: StoryId) -> OpenHosts {
        let Some(HostSource { project, base, gates }) = &self.0 else { return OpenHosts::default() };
        OpenHosts { registries: registries(project, base), gate: gates(story) }
    }
}

/// The registries of the files on base, not of those in a worktree: an agent would open a registry by writing a file, and
/// some of them fetch from addresses that the caller names. Blocks.
pub(crate) fn registries(project: &Project, base: &str) -> Vec<AllowedHost> {
    let found = declared(project, base).unwrap_or_else(|error| {
        tracing::warn!(%error, "the project's packages cannot be read; no registry is open");
        BTreeSet::new()
    });
    found.into_iter().collect()
}

fn declared(project: &Project, base: &str) -> Result<BTreeSet<AllowedHost>, git2::Error> {
    let repository = Repository::open(project.root())?;
    let tree = repository.find_reference(&format!("refs/heads/{base}"))?.peel_to_tree()?;
    let mut hosts = BTreeSet::new();
    tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
        let Ok(name) = entry.name() else { return TreeWalkResult::Skip };
        if entry.kind() == Some(ObjectType::Tree) {
            let deep = folder.split_terminator('/').count() >= DEPTH;
            return if deep || VENDORED.contains(&name) { TreeWalkResult::Skip } else { TreeWalkResult::Ok };
        }
        hosts.extend(registries_of(name));
        TreeWalkResult::Ok
    })?;
    Ok(hosts)
}

impl fmt::Debug for CommandHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommandHosts").field(&self.0.as_ref().map(|source| &source.base)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    #[test]
    fn registries_are_those_of_what_base_declares_and_not_of_what_lies_about() {
        let fixture = WorktreeFixture::new();
        fixture.write("Cargo.toml", "[workspace]\n");
        fixture.write("services/web/package.json", "{}");
        fixture.write("a/b/c/go.mod", "module x\n");
        fixture.write("vendor/x/Gemfile", "");
        fixture.git(&["add", "-A", "-f", "."]);
        fixture.git(&["commit", "-q", "-m", "packages"]);
        fixture.write("pyproject.toml", "");
        let found: Vec<String> =
            registries(&fixture.project, "main").iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "index.crates.io:443",
                "registry.npmjs.org:443",
                "registry.yarnpkg.com:443",
                "static.crates.io:443"
            ]
        );
        assert!(registries(&fixture.project, "none").is_empty());
    }
}
