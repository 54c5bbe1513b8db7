//! What the image and the scripts pin by number is the same everywhere.

use std::{fs, path::Path};

use agents::claude::TESTED_VERSION;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).expect("it is in the repository")
}

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).expect("it is named");
    rest.split_once(after).expect("it ends").0
}

#[test]
fn the_image_and_the_scripts_install_the_claude_code_that_the_tests_know() {
    let package = read("docker/claude-code/package.json");
    assert_eq!(between(&package, "\"@anthropic-ai/claude-code\": \"", "\""), TESTED_VERSION);
    let lock: serde_json::Value =
        serde_json::from_str(&read("docker/claude-code/package-lock.json")).expect("it is JSON");
    for name in ["claude-code", "claude-code-linux-x64", "claude-code-linux-arm64"] {
        let entry = &lock["packages"][format!("node_modules/@anthropic-ai/{name}")];
        assert_eq!(entry["version"], TESTED_VERSION, "{name}");
        assert!(entry["integrity"].as_str().is_some_and(|sum| sum.starts_with("sha512-")), "{name}");
    }
    assert_eq!(between(&read("script/claude-code"), "\npinned=", "\n"), TESTED_VERSION);
}

#[test]
fn the_image_builds_with_the_rust_that_the_workspace_asks_for() {
    let wanted = between(&read("Cargo.toml"), "rust-version = \"", "\"").to_owned();
    let dockerfile = read("docker/Dockerfile");
    assert_eq!(between(&dockerfile, "\nARG RUST_IMAGE=rust:", "-"), wanted);
    assert_eq!(between(&read("docker/try"), "\ntoolchain=", "\n"), wanted);
    let release = between(&dockerfile, "\nARG BASE=debian:", "-");
    for image in ["RUST_IMAGE", "NODE_IMAGE"] {
        let image = between(&dockerfile, &format!("\nARG {image}="), "\n");
        assert!(image.contains(release), "{image} and the base are of one Debian release");
    }
}

#[test]
fn rustup_and_the_scripts_take_the_rust_that_the_workspace_asks_for() {
    let wanted = between(&read("Cargo.toml"), "rust-version = \"", "\"").to_owned();
    let toolchain = read("rust-toolchain.toml");
    let channel = between(&toolchain, "\nchannel = \"", "\"");
    assert!(channel.starts_with(&format!("{wanted}.")), "{channel} is not a release of {wanted}");
    for component in ["rustfmt", "clippy"] {
        assert!(toolchain.contains(&format!("\"{component}\"")), "script/test needs {component}");
    }
    assert_eq!(between(&read("script/build-tools"), "Rust is missing (", " or newer)"), wanted);
}

#[test]
fn the_license_is_the_one_that_the_manifest_names() {
    let license = read("LICENSE");
    let name = between(&read("Cargo.toml"), "\nlicense = \"", "\"").to_owned();
    assert_eq!(license.lines().next(), Some(format!("{name} License").as_str()));
    assert!(license.contains(" the storkit authors\n"));
}
