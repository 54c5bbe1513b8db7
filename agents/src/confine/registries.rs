//! The package registries of ecosystems, known by the files that declare their packages. Pure.
//!
//! Only the hosts that downloads need, by each tool's own documentation. A host that also takes uploads is listed only where
//! downloads come from the same one (npm, RubyGems, Packagist): publishing there needs an account's token, which no agent has.

use super::hosts::AllowedHost;

/// Files whose names declare packages, and the hosts that these come from.
const REGISTRIES: &[(&[&str], &[&str])] = &[
    // Cargo: the sparse index and the downloads that its `config.json` names. Not `crates.io` itself, which takes uploads.
    (&["Cargo.toml"], &["index.crates.io", "static.crates.io"]),
    // npm and pnpm; Yarn's name for the same registry.
    (&["package.json"], &["registry.npmjs.org", "registry.yarnpkg.com"]),
    // pip, uv and Poetry: the simple index and its files (PEP 503). Uploads go to `upload.pypi.org`.
    (
        &[
            "pyproject.toml",
            "requirements.txt",
            "requirements-dev.txt",
            "setup.py",
            "setup.cfg",
            "Pipfile",
            "uv.lock",
        ],
        &["pypi.org", "files.pythonhosted.org"],
    ),
    // The Go command's defaults for GOPROXY and GOSUMDB.
    (&["go.mod", "go.work"], &["proxy.golang.org", "sum.golang.org"]),
    // Bundler: the compact index and the gems.
    (&["Gemfile", "gems.rb"], &["rubygems.org", "index.rubygems.org"]),
    // Maven central by both of its names, and what Gradle's plugins come from.
    (&["pom.xml"], &["repo.maven.apache.org", "repo1.maven.org"]),
    (
        &["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"],
        &["repo.maven.apache.org", "repo1.maven.org", "plugins.gradle.org", "plugins-artifacts.gradle.org"],
    ),
    (&["composer.json"], &["repo.packagist.org", "packagist.org"]),
    (&["mix.exs"], &["repo.hex.pm", "builds.hex.pm"]),
    (&["pubspec.yaml"], &["pub.dev"]),
];

/// Ends of file names that declare packages.
const BY_EXTENSION: &[(&str, &[&str])] =
    &[(".csproj", &["api.nuget.org"]), (".fsproj", &["api.nuget.org"]), (".sln", &["api.nuget.org"])];

/// The hosts of the registries that a file of this name declares packages of.
pub fn registries_of(file_name: &str) -> impl Iterator<Item = AllowedHost> + use<> {
    let named = REGISTRIES.iter().filter(|(files, _)| files.contains(&file_name)).map(|(_, hosts)| *hosts);
    let ending = BY_EXTENSION.iter().filter(|(end, _)| file_name.ends_with(end)).map(|(_, hosts)| *hosts);
    let hosts: Vec<&str> = named.chain(ending).flatten().copied().collect();
    hosts.into_iter().filter_map(|host| AllowedHost::exact(host, 443))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registry_is_a_host_and_is_found_by_its_file() {
        let shown =
            |name: &str| registries_of(name).map(|host| host.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(shown("Cargo.toml"), "index.crates.io:443 static.crates.io:443");
        assert_eq!(shown("app.csproj"), "api.nuget.org:443");
        assert_eq!(shown("README.md"), "");
        for (files, hosts) in REGISTRIES {
            for file in *files {
                assert_eq!(registries_of(file).count(), hosts.len(), "{file}");
            }
        }
    }
}
