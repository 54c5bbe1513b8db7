//! The commands that test a project: its own scripts, before what its tools do by default.

use super::{DetectedComponent, ProjectFiles};

/// Scripts that test everything, by a custom of many projects.
const SCRIPTS: [&str; 3] = ["script/test", "scripts/test", "bin/test"];

/// Targets of a Makefile, the first that is there.
const TARGETS: [&str; 2] = ["test", "check"];

const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

/// The gates of the parts in and below `start`, to be run at the top of a worktree.
pub(super) fn commands(files: &ProjectFiles, start: &str, parts: &[DetectedComponent]) -> Vec<String> {
    if let Some(script) = SCRIPTS.iter().find(|script| files.has(start, script)) {
        return vec![in_folder(start, script)];
    }
    let gates: Vec<String> =
        parts.iter().filter_map(|part| Some(in_folder(&part.path, part.gate.as_ref()?))).collect();
    if !gates.is_empty() {
        return gates;
    }
    make(files, start).map(|gate| in_folder(start, &gate)).into_iter().collect()
}

/// The folder's own Makefile.
fn make(files: &ProjectFiles, folder: &str) -> Option<String> {
    let name = MAKEFILES.iter().find(|name| files.has(folder, name))?;
    let text = files.text(folder, name);
    let is_target = |target: &str| {
        text.lines().any(|line| {
            line.strip_prefix(target).is_some_and(|rest| {
                let rest = rest.trim_start();
                rest.starts_with(':') && !rest.starts_with(":=") && !rest.starts_with("::=")
            })
        })
    };
    TARGETS.into_iter().find(|target| is_target(target)).map(|target| format!("make {target}"))
}

/// The command as it is run from the project's root.
pub(super) fn in_folder(folder: &str, command: &str) -> String {
    if folder.is_empty() { command.to_owned() } else { format!("cd {} && {command}", quoted(folder)) }
}

/// As one word of a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@' | '+');
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('-') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(files: &[(&str, &str)], start: &str) -> String {
        commands(&ProjectFiles::in_memory(files), start, &[]).join("; ")
    }

    #[test]
    fn a_script_that_tests_everything_goes_first_then_the_makefile() {
        assert_eq!(gates(&[("script/test", ""), ("Makefile", "test:\n")], ""), "script/test");
        assert_eq!(gates(&[("Makefile", "all:\n\ncheck: all\n\ttrue\n")], ""), "make check");
        assert_eq!(gates(&[("Makefile", "test := x\ntests:\n\ttrue\n")], ""), "");
        assert_eq!(gates(&[("lib/Makefile", "test :\n")], "lib"), "cd lib && make test");
    }

    #[test]
    fn a_folders_name_is_one_word_of_the_shell() {
        assert_eq!(in_folder("it's here", "x"), r"cd 'it'\''s here' && x");
        assert_eq!(in_folder("$(rm -rf)", "x"), "cd '$(rm -rf)' && x");
        assert_eq!(quoted("-rf"), "'-rf'");
    }
}
