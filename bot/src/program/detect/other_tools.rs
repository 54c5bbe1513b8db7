//! Cargo, Go, Bundler, Composer, Maven and Gradle, and what git itself has to fetch.

use serde_json::Value;
use toml::{Table, Value as TomlValue};

use super::{DetectedComponent, ProjectFiles, nearest, owned, relative};

pub(super) const JVM_MANIFESTS: [&str; 5] =
    ["pom.xml", "settings.gradle", "settings.gradle.kts", "build.gradle", "build.gradle.kts"];

/// Where Gradle's wrapper gets Gradle.
const GRADLE_HOSTS: &[&str] = &[
    "services.gradle.org",
    "downloads.gradle.org",
    "github.com",
    "objects.githubusercontent.com",
    "release-assets.githubusercontent.com",
];

/// A part in this folder whose tool is installed under its own name.
fn part(tool: &'static str, folder: &str, setup: &str, gate: Option<&str>) -> DetectedComponent {
    DetectedComponent {
        tool,
        program: tool,
        path: folder.to_owned(),
        setup: vec![setup.to_owned()],
        gate: gate.map(str::to_owned),
        ..DetectedComponent::default()
    }
}

/// These files, as far as the folder has them.
fn own(files: &ProjectFiles, folder: &str, names: &[&str]) -> Vec<String> {
    names.iter().filter(|name| files.has(folder, name)).map(|name| (*name).to_owned()).collect()
}

pub(super) fn cargo(files: &ProjectFiles, folder: &str) -> Option<DetectedComponent> {
    let manifest: Table = files.text(folder, "Cargo.toml").parse().ok()?;
    let gate = match manifest.get("workspace").is_some_and(TomlValue::is_table) {
        true => "cargo test --workspace",
        false => "cargo test",
    };
    let lock = nearest(files, folder, &["Cargo.lock"]);
    let setup = if lock.is_some() { "cargo fetch --locked" } else { "cargo fetch" };
    let mut inputs: Vec<String> =
        lock.map(|(above, lock)| relative(folder, above, lock)).into_iter().collect();
    inputs.extend(own(files, folder, &["Cargo.toml", "rust-toolchain.toml"]));
    Some(DetectedComponent { inputs, manifest: "Cargo.toml", ..part("cargo", folder, setup, Some(gate)) })
}

pub(super) fn go(files: &ProjectFiles, folder: &str) -> Option<DetectedComponent> {
    let gate = match files.has(folder, "go.work") {
        // `./...` means the modules of this folder only.
        true => "go list -f '{{.Dir}}/...' -m | xargs go test",
        false => "go test ./...",
    };
    let inputs = own(files, folder, &["go.work", "go.work.sum", "go.mod", "go.sum"]);
    Some(DetectedComponent {
        inputs,
        manifest: "go.mod",
        ..part("go", folder, "go mod download", Some(gate))
    })
}

pub(super) fn bundler(files: &ProjectFiles, folder: &str) -> Option<DetectedComponent> {
    // The home folder is empty each time, so the gems have to be in the worktree; most projects ignore `.bundle`.
    const PLACE: &str = "BUNDLE_PATH=.bundle/gems";
    let gate = if files.has(folder, ".rspec") || files.has_folder(folder, "spec") {
        Some("bundle exec rspec")
    } else if files.has(folder, "bin/rails") && files.has_folder(folder, "test") {
        Some("bundle exec rails test")
    } else if files.has(folder, "Rakefile") {
        Some("bundle exec rake test")
    } else {
        None
    };
    let gate = gate.map(|gate| format!("{PLACE} {gate}"));
    let inputs = own(files, folder, &["Gemfile.lock", "Gemfile"]);
    let setup = format!("{PLACE} bundle install --quiet");
    let found = part("bundler", folder, &setup, gate.as_deref());
    Some(DetectedComponent { inputs, program: "bundle", manifest: "Gemfile", ..found })
}

pub(super) fn composer(files: &ProjectFiles, folder: &str) -> Option<DetectedComponent> {
    let manifest: Value = serde_json::from_str(&files.text(folder, "composer.json")).ok()?;
    let has_phpunit = files.has(folder, "phpunit.xml") || files.has(folder, "phpunit.xml.dist");
    let gate = match (manifest["scripts"]["test"].is_null(), has_phpunit) {
        (false, _) => Some("composer test"),
        (true, true) => Some("vendor/bin/phpunit"),
        (true, false) => None,
    };
    let inputs = own(files, folder, &["composer.lock", "composer.json"]);
    let setup = "composer install --no-interaction --no-progress";
    Some(DetectedComponent { inputs, manifest: "composer.json", ..part("composer", folder, setup, gate) })
}

/// Maven or Gradle, by its wrapper where there is one.
pub(super) fn jvm(files: &ProjectFiles, folder: &str) -> Option<DetectedComponent> {
    if files.has(folder, "pom.xml") {
        let has_wrapper = files.has(folder, "mvnw");
        let program = if has_wrapper { "./mvnw" } else { "mvn" };
        let (setup, gate) =
            (format!("{program} -B -q -DskipTests test-compile"), format!("{program} -B -q test"));
        let inputs = own(files, folder, &["pom.xml", ".mvn/wrapper/maven-wrapper.properties"]);
        let found = part("maven", folder, &setup, Some(&gate));
        let program = if has_wrapper { "java" } else { "mvn" };
        return Some(DetectedComponent { inputs, program, manifest: "pom.xml", ..found });
    }
    let has_wrapper = files.has(folder, "gradlew");
    let program = if has_wrapper { "./gradlew" } else { "gradle" };
    let (setup, gate) =
        (format!("{program} --no-daemon -q testClasses"), format!("{program} --no-daemon -q test"));
    let names =
        [&JVM_MANIFESTS[1..], &["gradle.properties", "gradle/libs.versions.toml"], &["gradle.lockfile"]];
    let mut inputs = own(files, folder, &names.concat());
    inputs.extend(own(files, folder, &["gradle/wrapper/gradle-wrapper.properties"]));
    let found = part("gradle", folder, &setup, Some(&gate));
    Some(DetectedComponent {
        inputs,
        program: if has_wrapper { "java" } else { "gradle" },
        manifest: "build.gradle",
        more_hosts: owned(if has_wrapper { GRADLE_HOSTS } else { &[] }),
        ..found
    })
}

/// Whether the project has submodules.
pub(super) fn has_submodules(files: &ProjectFiles) -> bool {
    files.text("", ".gitmodules").lines().any(|line| line.trim_start().starts_with("[submodule"))
}

/// Whether files of the project are kept in Git LFS.
pub(super) fn has_lfs(files: &ProjectFiles) -> bool {
    files.named(&[".gitattributes"]).any(|path| {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        files.text(folder, name).lines().any(|line| !line.starts_with('#') && line.contains("filter=lfs"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::detect::detect;

    fn shown(files: &[(&str, &str)]) -> String {
        let found = detect(&ProjectFiles::in_memory(files), "");
        let part = |part: &DetectedComponent| {
            let gate = part.gate.clone().unwrap_or_else(|| "none".into());
            format!("{} | {} | {gate}", part.setup.join("; "), part.inputs.join(" "))
        };
        found.components.iter().map(part).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn cargo_tests_all_of_a_workspace_and_its_members_are_no_parts() {
        assert_eq!(
            shown(&[
                ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n"),
                ("Cargo.lock", ""),
                ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
            ]),
            "cargo fetch --locked | Cargo.lock Cargo.toml | cargo test --workspace"
        );
        assert_eq!(shown(&[("Cargo.toml", "[package]\n")]), "cargo fetch | Cargo.toml | cargo test");
    }

    #[test]
    fn go_tests_every_module_of_a_workspace() {
        assert_eq!(
            shown(&[("go.mod", ""), ("go.sum", "")]),
            "go mod download | go.mod go.sum | go test ./..."
        );
        assert_eq!(
            shown(&[("go.work", "use ./a\n"), ("a/go.mod", "")]),
            "go mod download | go.work | go list -f '{{.Dir}}/...' -m | xargs go test"
        );
    }

    #[test]
    fn gems_are_in_the_worktree() {
        assert_eq!(
            shown(&[("Gemfile", ""), ("Gemfile.lock", ""), ("spec/a_spec.rb", "")]),
            "BUNDLE_PATH=.bundle/gems bundle install --quiet | Gemfile.lock Gemfile | BUNDLE_PATH=.bundle/gems bundle exec rspec"
        );
    }

    #[test]
    fn composer_maven_and_gradle_are_called_as_the_project_does() {
        assert_eq!(
            shown(&[("composer.json", r#"{"scripts": {"test": "phpunit"}}"#), ("composer.lock", "")]),
            "composer install --no-interaction --no-progress | composer.lock composer.json | composer test"
        );
        assert_eq!(
            shown(&[("pom.xml", ""), ("mvnw", ""), ("core/pom.xml", "")]),
            "./mvnw -B -q -DskipTests test-compile | pom.xml | ./mvnw -B -q test"
        );
        assert_eq!(
            shown(&[("settings.gradle.kts", ""), ("gradlew", ""), ("app/build.gradle.kts", "")]),
            "./gradlew --no-daemon -q testClasses | settings.gradle.kts | ./gradlew --no-daemon -q test"
        );
    }

    #[test]
    fn submodules_are_known_by_their_list_and_lfs_by_its_attribute() {
        let modules = |text: &str| has_submodules(&ProjectFiles::in_memory(&[(".gitmodules", text)]));
        assert!(modules("[submodule \"lib\"]\n\tpath = vendor/lib\n") && !modules("# none\n"));
        let lfs = |text: &str| has_lfs(&ProjectFiles::in_memory(&[("assets/.gitattributes", text)]));
        assert!(lfs("*.png filter=lfs diff=lfs\n") && !lfs("# filter=lfs\n") && !lfs("*.png binary\n"));
    }
}
