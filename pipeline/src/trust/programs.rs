//! Programs that a repository's own git configuration names. A clone brings no configuration, but an archive, a copied
//! folder or an agent without a sandbox can.

use std::collections::BTreeSet;

use crate::{
    Project,
    git::program::{GitProgram, GitProgramError},
};

/// What `git lfs install --local` writes: the one filter that is common, and known to be harmless.
const LFS: [&str; 6] = [
    "filter.lfs.clean=git-lfs clean -- %f",
    "filter.lfs.smudge=git-lfs smudge -- %f",
    "filter.lfs.smudge=git-lfs smudge --skip -- %f",
    "filter.lfs.process=git-lfs filter-process",
    "filter.lfs.process=git-lfs filter-process --skip",
    "lfs.repositoryformatversion=0",
];

/// The settings of the repository's configuration, files that it includes among them, that make git run a program, as
/// `key=value`. Hooks are not among them: storkit's own git calls run none.
pub(super) fn of(project: &Project) -> Result<BTreeSet<String>, GitProgramError> {
    // Listing runs nothing. libgit2 does not know every condition of `includeIf`, and would miss the files behind it.
    let listed = GitProgram::at(project.root())
        .answer(["config", "--list", "--show-scope", "-z", "--includes"], &[])?;
    if listed.code != Some(0) {
        return Err(listed.refusal(&["config", "--list"]));
    }
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(named(&text))
}

/// `SCOPE NUL key LF value NUL`, again and again. A key without a value has no line break.
fn named(list: &str) -> BTreeSet<String> {
    let mut parts = list.split('\0');
    let mut found = BTreeSet::new();
    while let (Some(scope), Some(setting)) = (parts.next(), parts.next()) {
        let (key, value) = setting.split_once('\n').unwrap_or((setting, ""));
        let line = format!("{key}={value}");
        if matches!(scope, "local" | "worktree")
            && runs_a_program(key, value)
            && !LFS.contains(&line.as_str())
        {
            found.insert(line);
        }
    }
    found
}

/// Git writes section and variable in lower case; the name between them is the person's.
fn runs_a_program(key: &str, value: &str) -> bool {
    let (section, rest) = key.split_once('.').unwrap_or((key, ""));
    let variable = rest.rsplit_once('.').map_or(rest, |(_, variable)| variable);
    match (section, variable) {
        ("filter" | "lfs", "clean" | "smudge" | "process")
        // A transfer agent, `lfs.customtransfer.NAME.path`.
        | ("lfs", "path")
        | ("merge", "driver")
        | ("diff", "external" | "command" | "textconv")
        | ("core", "sshcommand" | "gitproxy" | "askpass" | "alternaterefscommand")
        | ("credential", "helper")
        // `storkit init` signs its commit where the configuration asks for it.
        | ("gpg", "program" | "defaultkeycommand")
        | ("remote", "uploadpack" | "receivepack" | "vcs") => !value.is_empty(),
        // `true` selects git's own monitor.
        ("core", "fsmonitor") => !matches!(
            value.to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "0" | "1"
        ),
        // The tree that git works on would be another folder.
        ("core", "worktree") => true,
        ("remote", "url" | "pushurl") => value.starts_with("ext::"),
        ("protocol", "allow") => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    #[test]
    fn programs_of_the_repositorys_own_configuration_are_found_through_includes() {
        let git = WorktreeFixture::new();
        let none: BTreeSet<String> = BTreeSet::new();
        assert_eq!(of(&git.project).unwrap(), none, "a fresh repository names none");
        for (key, value) in [
            ("core.fsmonitor", "./monitor"),
            ("filter.Some.Name.smudge", "sh -c evil"),
            ("merge.m.driver", "./driver %A"),
            ("diff.external", "./differ"),
            ("core.sshCommand", "./ssh"),
            ("gpg.program", "./signer"),
            ("gpg.ssh.defaultKeyCommand", "./key"),
            ("remote.origin.url", "ext::sh -c evil"),
            ("filter.lfs.process", "git-lfs filter-process"),
            ("lfs.customTransfer.own.path", "./transfer"),
            ("lfs.extension.own.clean", "./clean"),
            ("lfs.url", "https://example.org/lfs"),
            ("core.hooksPath", ".husky"),
            ("remote.other.url", "https://example.org/a.git"),
        ] {
            git.git(&["config", key, value]);
        }
        git.write("tracked.gitconfig", "[diff \"pdf\"]\n\ttextconv = ./convert\n");
        git.git(&["config", "include.path", "../tracked.gitconfig"]);
        git.git(&[
            "config",
            "includeIf.hasconfig:remote.*.url:https://example.org/**.path",
            "../more.gitconfig",
        ]);
        git.write("more.gitconfig", "[filter \"x\"]\n\tprocess = ./guarded\n");
        let found: Vec<String> = of(&git.project).unwrap().into_iter().collect();
        assert_eq!(
            found,
            [
                "core.fsmonitor=./monitor",
                "core.sshcommand=./ssh",
                "diff.external=./differ",
                "diff.pdf.textconv=./convert",
                "filter.Some.Name.smudge=sh -c evil",
                "filter.x.process=./guarded",
                "gpg.program=./signer",
                "gpg.ssh.defaultkeycommand=./key",
                "lfs.customTransfer.own.path=./transfer",
                "lfs.extension.own.clean=./clean",
                "merge.m.driver=./driver %A",
                "remote.origin.url=ext::sh -c evil",
            ]
        );
    }

    #[test]
    fn gits_own_monitor_is_no_program_of_the_repository() {
        assert!(!runs_a_program("core.fsmonitor", "true") && runs_a_program("core.fsmonitor", "./true"));
    }
}
