//! The operator's toolchains, found in the home folder, the environment and on the `PATH`. All of them are shown read-only.

use std::path::{Path, PathBuf};

use super::environment::NAME_FILES;

/// In the home folder: programs, and the libraries that they need. Of `.cargo` only the programs: the rest holds credentials.
const IN_HOME: [&str; 31] = [
    ".cargo/bin",
    ".cargo/env",
    ".rustup",
    ".elan",
    ".pyenv",
    ".rbenv",
    ".nodenv",
    ".jenv",
    ".goenv",
    ".nvm",
    ".fnm",
    ".volta",
    ".asdf/bin",
    ".asdf/installs",
    ".asdf/plugins",
    ".asdf/shims",
    ".sdkman/candidates",
    ".ghcup",
    ".juliaup",
    ".dotnet",
    ".bun/bin",
    ".deno/bin",
    "go/bin",
    ".local/bin",
    ".local/lib",
    ".local/share/claude/versions",
    ".local/share/fnm",
    ".local/share/mise",
    ".local/share/pipx",
    ".local/share/uv",
    ".claude/local",
];

/// Variables that name a toolchain's folder.
const VARIABLES: [&str; 9] = [
    "RUSTUP_HOME",
    "PYENV_ROOT",
    "RBENV_ROOT",
    "NVM_DIR",
    "FNM_DIR",
    "VOLTA_HOME",
    "GOROOT",
    "JAVA_HOME",
    "DOTNET_ROOT",
];

/// A folder of programs belongs to a toolchain if one of these is next to it.
const BESIDE: [&str; 4] = ["lib", "lib64", "libexec", "pkg"];

/// What exists of it, before links are followed. Nothing of the project `root`: its main checkout stays hidden.
pub(super) fn paths(home: &Path, root: &Path) -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    found(home, root, variable, std::env::split_paths(&path))
}

fn found(
    home: &Path,
    root: &Path,
    variable: impl Fn(&str) -> Option<PathBuf>,
    path: impl Iterator<Item = PathBuf>,
) -> Vec<PathBuf> {
    let in_home = IN_HOME.iter().map(|name| home.join(name));
    let named = VARIABLES.iter().filter_map(|name| variable(name));
    let lists = NAME_FILES.iter().filter_map(|name| variable(name));
    let read: Vec<PathBuf> =
        lists.flat_map(|list| std::env::split_paths(&list).collect::<Vec<_>>()).collect();
    // A folder in such a place may hold more than what the variable is for: certificates lie beside private keys.
    let is_private = |path: &Path| path.starts_with(home) || path.starts_with("/etc");
    let read = read.into_iter().filter(|path| path.is_file() || !is_private(path));
    let cargo = variable("CARGO_HOME").map(|cargo| cargo.join("bin"));
    let on_path = path.flat_map(|folder| [with_libraries(&folder, home, root), Some(folder)]).flatten();
    let all = in_home.chain(named).chain(read).chain(cargo).chain(on_path);
    all.filter(|path| may_be_shown(path, home, root) && path.exists()).collect()
}

/// cargo's own folder, if this is the home and `set` is `CARGO_HOME`.
pub(super) fn cargo_home(set: Option<&Path>, home: &Path) -> PathBuf {
    set.filter(|path| path.is_absolute()).map_or_else(|| home.join(".cargo"), Path::to_owned)
}

/// The folder around a `bin` that has the programs' libraries.
fn with_libraries(programs: &Path, home: &Path, root: &Path) -> Option<PathBuf> {
    let folder = programs.parent().filter(|_| programs.ends_with("bin"))?;
    let is_toolchain = BESIDE.iter().any(|name| folder.join(name).is_dir());
    // A project has a `bin` and a `lib`, too.
    let is_project = folder.join(".git").exists();
    let is_listed = [home.join(".local"), home.join(".cargo")].iter().any(|listed| listed == folder);
    (is_toolchain && !is_project && !is_listed && may_be_shown(folder, home, root)).then(|| folder.to_owned())
}

/// Neither the home, nor the project, nor a folder that one of them is in.
fn may_be_shown(path: &Path, home: &Path, root: &Path) -> bool {
    // By its real path, or a link could lead to either.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.is_absolute()
        && [path, real.as_path()]
            .iter()
            .all(|path| !home.starts_with(path) && !root.starts_with(path) && !path.starts_with(root))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(folders: &[&str]) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            folders.iter().for_each(|name| fs::create_dir_all(folder.path().join(name)).expect("a folder"));
            Self(folder)
        }

        fn shown(&self, path: &[&str], cargo: Option<&str>) -> Vec<String> {
            let at = |name: &str| self.0.path().join(name);
            let variable = |name: &str| cargo.filter(|_| name == "CARGO_HOME").map(at);
            let path = path.iter().map(|name| at(name));
            let found = found(&at("home"), &at("home/p"), variable, path);
            let name =
                |path: &PathBuf| path.strip_prefix(self.0.path()).expect("below").display().to_string();
            found.iter().map(name).collect()
        }
    }

    #[test]
    fn programs_and_their_libraries_are_shown_and_of_cargo_no_credentials() {
        let machine = Machine::new(&[
            "home/.cargo/bin",
            "home/.cargo/registry",
            "opt/go/bin",
            "opt/go/pkg",
            "opt/x/bin",
        ]);
        assert_eq!(
            machine.shown(&["home/.cargo/bin", "opt/go/bin", "opt/x/bin"], None),
            ["home/.cargo/bin", "home/.cargo/bin", "opt/go", "opt/go/bin", "opt/x/bin"]
        );
        assert_eq!(machine.shown(&[], Some("opt/x")), ["home/.cargo/bin", "opt/x/bin"]);
    }

    #[test]
    fn what_builds_read_is_shown_and_in_the_home_files_only() {
        let machine = Machine::new(&["home/p", "home/.mitmproxy", "opt/wheels", "opt/cuda/lib"]);
        let at = |name: &str| machine.0.path().join(name);
        fs::write(at("home/.mitmproxy/ca-cert.pem"), "").expect("a file");
        let shown = |name: &'static str, value: String| {
            let variable = |asked: &str| (asked == name).then(|| value.clone().into());
            found(&at("home"), &at("home/p"), variable, std::iter::empty())
        };
        let path = |name: &str| at(name).display().to_string();
        assert_eq!(shown("PIP_FIND_LINKS", path("opt/wheels")), [at("opt/wheels")]);
        let list = format!("{}:{}:lib:/", path("opt/cuda/lib"), path("opt/none"));
        assert_eq!(shown("LD_LIBRARY_PATH", list), [at("opt/cuda/lib")]);
        let certificate = path("home/.mitmproxy/ca-cert.pem");
        assert_eq!(shown("REQUESTS_CA_BUNDLE", certificate), [at("home/.mitmproxy/ca-cert.pem")]);
        for hidden in [path("home/.mitmproxy"), path("home"), path("home/p"), "/etc/ssl".into()] {
            assert_eq!(shown("SSL_CERT_DIR", hidden), Vec::<PathBuf>::new());
        }
        assert_eq!(shown("PIP_FIND_LINKS", "https://example.org/wheels".into()), Vec::<PathBuf>::new());
    }

    #[test]
    fn neither_the_home_nor_a_project_is_shown_because_it_is_on_the_path() {
        let machine = Machine::new(&[
            "home/p/bin",
            "home/p/lib",
            "home/bin",
            "home/lib",
            "home/other/bin",
            "home/other/lib",
            "home/other/.git",
        ]);
        assert_eq!(
            machine.shown(&["", "home", "home/p", "home/p/bin", "home/bin", "home/other/bin"], None),
            ["home/bin", "home/other/bin"]
        );
        std::os::unix::fs::symlink("home", machine.0.path().join("link")).expect("a link");
        assert_eq!(machine.shown(&["link"], None), Vec::<String>::new());
    }
}
