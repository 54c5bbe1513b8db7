//! Caches that builds share and that can carry code: inside, the operator's are the read-only lower layer below a private one, so that
//! nobody else sees a run's changes in them.
//!
//! The private layer belongs to a worktree and lasts as long as it: its builds stay warm.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{host_folders::HostFolders, toolchains::cargo_home};

/// In the home folder.
const IN_HOME: [&str; 17] = [
    ".npm",
    ".bun/install/cache",
    ".cache/deno",
    ".cache/go-build",
    ".cache/ms-playwright",
    ".cache/node",
    ".cache/pip",
    ".cache/pnpm",
    ".cache/pypoetry",
    ".cache/uv",
    ".cache/yarn",
    ".gradle/caches",
    ".gradle/wrapper",
    ".local/share/pnpm/store",
    ".m2/repository",
    ".nuget/packages",
    ".yarn/berry/cache",
];

/// Go's modules, in the home folder; the operator's may be elsewhere.
const GO_MODULES: &str = "go/pkg/mod";

/// In cargo's own folder.
const IN_CARGO: [&str; 2] = ["registry", "git"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CacheLayer {
    /// Where it is inside.
    pub at: PathBuf,
    /// The operator's, if there is one.
    pub lower: Option<PathBuf>,
    /// Has the private layer, and the folder in which both are joined.
    folder: PathBuf,
}

impl CacheLayer {
    /// The joined folder. Where the layers cannot be joined it is a private cache that starts empty.
    pub(super) fn merged(&self) -> PathBuf {
        self.folder.join("merged")
    }

    pub(super) fn upper(&self) -> PathBuf {
        self.folder.join("upper")
    }

    /// overlayfs' own folder, on the disk of the private layer.
    pub(super) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    pub(super) fn make_folders(&self) -> io::Result<()> {
        [self.merged(), self.upper(), self.work()].iter().try_for_each(fs::create_dir_all)
    }
}

/// The caches of a worktree: of the operator's home, at the places of `inner_home`.
pub(super) fn layers(host: &HostFolders, inner_home: &Path, private: &Path) -> Vec<CacheLayer> {
    let (home, set) = (host.home.as_path(), host.cargo_home.as_deref());
    let layer = |at: PathBuf, lower: PathBuf, name: &str| CacheLayer {
        at,
        lower: lower.canonicalize().ok().filter(|lower| lower.is_dir()),
        folder: private.join("caches").join(name.replace('/', "-").trim_start_matches('.')),
    };
    let in_home = IN_HOME.iter().map(|name| layer(inner_home.join(name), home.join(name), name));
    let go = layer(inner_home.join(GO_MODULES), go_modules(home), GO_MODULES);
    let (cargo, inner_cargo) = (cargo_home(set, home), cargo_home(set, inner_home));
    let in_cargo =
        IN_CARGO.iter().map(|name| layer(inner_cargo.join(name), cargo.join(name), &format!("cargo-{name}")));
    in_home.chain(in_cargo).chain([go]).collect()
}

fn go_modules(home: &Path) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let in_gopath = || set("GOPATH").map(|folder| folder.join("pkg/mod"));
    set("GOMODCACHE").or_else(in_gopath).unwrap_or_else(|| home.join(GO_MODULES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cache_has_a_private_folder_of_its_own_below_the_operators() {
        let home = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(home.path().join(".npm/_npx")).expect("a folder");
        let host = HostFolders::of_home(home.path());
        let layers = layers(&host, Path::new("/inside"), Path::new("/private"));
        let npm = layers.iter().find(|layer| layer.at == Path::new("/inside/.npm")).expect("npm's");
        assert_eq!(npm.lower, home.path().join(".npm").canonicalize().ok());
        assert_eq!(npm.upper(), Path::new("/private/caches/npm/upper"));
        let folders: std::collections::BTreeSet<PathBuf> = layers.iter().map(CacheLayer::merged).collect();
        assert_eq!(folders.len(), layers.len());
        assert!(layers.iter().filter(|layer| layer.lower.is_some()).count() == 1);
    }
}
