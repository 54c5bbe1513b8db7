//! Projects of npm, pnpm, Yarn and Bun.

use serde_json::Value;

use super::{DetectedComponent, ProjectFiles, nearest, owned, relative};

/// Lock files, and so the package managers, in the order of preference.
pub(super) const LOCKS: [&str; 6] =
    ["pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb", "npm-shrinkwrap.json", "package-lock.json"];

/// Scripts that can be a gate, the first that is there.
const SCRIPTS: [&str; 5] = ["test", "check", "typecheck", "lint", "build"];

/// What `npm init` writes.
const NO_TEST: &str = "no test specified";

/// Where corepack gets Yarn 2 and newer.
const YARN_HOST: &[&str] = &["repo.yarnpkg.com"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum PackageManager {
    Npm,
    Pnpm,
    /// 1.x
    YarnClassic,
    /// 2 and newer.
    YarnBerry,
    Bun,
}

/// The package in this folder. Its lock file can be that of a workspace above.
pub(super) fn detect(files: &ProjectFiles, folder: &str) -> Option<DetectedComponent> {
    let package: Value = serde_json::from_str(&files.text(folder, "package.json")).ok()?;
    let lock = nearest(files, folder, &LOCKS);
    let manager = match lock {
        Some((above, lock)) => by_lock(files, above, lock),
        None => by_name(package["packageManager"].as_str().unwrap_or_default()),
    };
    // A package without any packages, scripts or lock is a marker, like `{"type": "module"}`.
    let names = ["dependencies", "devDependencies", "workspaces", "scripts", "optionalDependencies"];
    if lock.is_none() && names.iter().all(|name| package[*name].is_null()) {
        return None;
    }
    let inputs = lock.map(|(above, lock)| relative(folder, above, lock)).into_iter();
    Some(DetectedComponent {
        tool: manager.name(),
        program: manager.name(),
        path: folder.to_owned(),
        setup: vec![manager.command(manager.install(lock.is_some()))],
        inputs: inputs.chain(["package.json".to_owned()]).collect(),
        gate: gate(&package, manager),
        manifest: "package.json",
        more_hosts: owned(if manager == PackageManager::YarnBerry { YARN_HOST } else { &[] }),
    })
}

fn by_lock(files: &ProjectFiles, folder: &str, lock: &str) -> PackageManager {
    match lock {
        "pnpm-lock.yaml" => PackageManager::Pnpm,
        "bun.lock" | "bun.lockb" => PackageManager::Bun,
        "yarn.lock" if files.has(folder, ".yarnrc.yml") => PackageManager::YarnBerry,
        "yarn.lock" if files.text(folder, lock).contains("__metadata:") => PackageManager::YarnBerry,
        "yarn.lock" => PackageManager::YarnClassic,
        _ => PackageManager::Npm,
    }
}

/// `pnpm@9.1.0+sha512…`, as corepack reads it.
fn by_name(chosen: &str) -> PackageManager {
    let (name, version) = chosen.split_once('@').unwrap_or((chosen, ""));
    match name {
        "pnpm" => PackageManager::Pnpm,
        "bun" => PackageManager::Bun,
        "yarn" if version.starts_with("1.") => PackageManager::YarnClassic,
        "yarn" => PackageManager::YarnBerry,
        _ => PackageManager::Npm,
    }
}

fn gate(package: &Value, manager: PackageManager) -> Option<String> {
    let scripts = package["scripts"].as_object()?;
    let counts = |name: &&&str| {
        scripts.get(**name).and_then(Value::as_str).is_some_and(|script| !script.contains(NO_TEST))
    };
    let script = SCRIPTS.iter().find(counts)?;
    // `npm test` is `npm run test`. `CI`: runners that would watch files run once.
    let words = if *script == "test" { "test".to_owned() } else { format!("run {script}") };
    // `bun test` is Bun's own runner, not the script.
    let words = if manager == PackageManager::Bun { format!("run {script}") } else { words };
    Some(format!("CI=true {}", manager.command(&words)))
}

impl PackageManager {
    fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::YarnClassic | Self::YarnBerry => "yarn",
            Self::Bun => "bun",
        }
    }

    fn install(self, is_locked: bool) -> &'static str {
        match (self, is_locked) {
            (Self::Npm, true) => "ci",
            // A lock file that nobody asked for would be in every story's way.
            (Self::Npm, false) => "install --no-package-lock",
            (Self::Pnpm, true) => "install --frozen-lockfile",
            (Self::Pnpm, false) => "install --no-lockfile",
            (Self::YarnClassic, true) => "install --frozen-lockfile",
            (Self::YarnClassic, false) => "install --no-lockfile",
            (Self::YarnBerry, true) => "install --immutable",
            (Self::YarnBerry | Self::Bun, false) => "install",
            (Self::Bun, true) => "install --frozen-lockfile",
        }
    }

    /// Where the manager itself is not installed, corepack gets it.
    fn command(self, words: &str) -> String {
        let name = self.name();
        let through = match self {
            Self::Pnpm | Self::YarnClassic | Self::YarnBerry => {
                !crate::program::detect::is_installed(name)
                    && crate::program::detect::is_installed("corepack")
            }
            Self::Npm | Self::Bun => false,
        };
        if through { format!("corepack {name} {words}") } else { format!("{name} {words}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(files: &[(&str, &str)]) -> String {
        let Some(found) = detect(&ProjectFiles::in_memory(files), "") else { return "none".into() };
        let gate = found.gate.unwrap_or_else(|| "none".into());
        format!("{} | {} | {}", found.setup.join("; "), found.inputs.join(" "), gate).replace("corepack ", "")
    }

    #[test]
    fn each_manager_is_known_by_its_lock_file() {
        let package = ("package.json", r#"{"scripts": {"test": "vitest"}}"#);
        let with = |lock: &'static str, text: &'static str| shown(&[package, (lock, text)]);
        assert_eq!(
            with("package-lock.json", ""),
            "npm ci | package-lock.json package.json | CI=true npm test"
        );
        assert_eq!(
            with("pnpm-lock.yaml", ""),
            "pnpm install --frozen-lockfile | pnpm-lock.yaml package.json | CI=true pnpm test"
        );
        assert_eq!(
            with("yarn.lock", "# yarn lockfile v1"),
            "yarn install --frozen-lockfile | yarn.lock package.json | CI=true yarn test"
        );
        assert_eq!(
            with("yarn.lock", "__metadata:\n  version: 8"),
            "yarn install --immutable | yarn.lock package.json | CI=true yarn test"
        );
        assert_eq!(
            with("bun.lock", ""),
            "bun install --frozen-lockfile | bun.lock package.json | CI=true bun run test"
        );
    }

    #[test]
    fn without_a_lock_file_the_package_names_its_manager_and_none_is_written() {
        assert_eq!(
            shown(&[("package.json", r#"{"devDependencies": {}}"#)]),
            "npm install --no-package-lock | package.json | none"
        );
        let named = r#"{"packageManager": "pnpm@9.1.0+sha512.x", "scripts": {"lint": "eslint ."}}"#;
        assert_eq!(
            shown(&[("package.json", named)]),
            "pnpm install --no-lockfile | package.json | CI=true pnpm run lint"
        );
        assert_eq!(shown(&[("package.json", r#"{"type": "module"}"#)]), "none");
        assert_eq!(shown(&[("package.json", "no json")]), "none");
    }

    #[test]
    fn what_npm_init_writes_is_no_gate() {
        let text = r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1", "build": "tsc"}}"#;
        assert_eq!(
            shown(&[("package.json", text)]),
            "npm install --no-package-lock | package.json | CI=true npm run build"
        );
    }
}
