//! The commands that a prefix rule may cover: a short list of programs, their options, and what their arguments may be.
//!
//! Everything that is missing here is covered word for word only. A program belongs on the list if no listed option and no argument
//! makes it run another program, write elsewhere, or read a file that no argument names: so no `find` (`-exec`), `sort` (`-o`), `uniq`
//! (its second file is written), `tar`, `sed`, `awk`, `xargs`, no recursion (it would read hidden files), no `git fetch`
//! (`--upload-pack`), and no `make`, `npm` or `cargo build`, whose arguments choose what runs.

use super::paths::AgentFolder;

/// A command of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct ListedCommand {
    /// The program, and its subcommand if it has one.
    pub words: &'static str,
    /// Options of one letter without a value; they may be joined (`-la`).
    letters: &'static str,
    /// Options of one letter with a number (`-n 5`, `-n5`).
    numbers: &'static str,
    /// Long options, to be written in full.
    long: &'static [&'static str],
    pub takes: ListedArguments,
}

/// The arguments of a listed command besides options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedArguments {
    /// Files that its worktree holds.
    Files,
    /// A pattern, then files that its worktree holds.
    PatternAndFiles,
    TestNames,
}

const LIST: &[ListedCommand] = &[
    files("cat", "AbEnsTv", "", &["--number", "--show-all"]),
    files("head", "qv", "nc", &["--quiet", "--verbose"]),
    files("tail", "qv", "nc", &["--quiet", "--verbose"]),
    files("wc", "clmwL", "", &["--bytes", "--chars", "--lines", "--words"]),
    files("ls", "1aAdFhilrSt", "", &["--all", "--almost-all", "--human-readable", "--reverse"]),
    files("stat", "", "", &[]),
    files("mkdir", "pv", "", &["--parents", "--verbose"]),
    files("touch", "acm", "", &["--no-create"]),
    files("git add", "v", "", &["--verbose"]),
    ListedCommand {
        takes: ListedArguments::PatternAndFiles,
        ..files("grep", "cEFHhilLnoqsvwx", "ABCm", &["--count", "--ignore-case", "--line-number"])
    },
    // It runs this repository's code whatever its arguments are; a test's name does not change which program that is.
    ListedCommand {
        takes: ListedArguments::TestNames,
        ..files("cargo test", "qv", "", &["--quiet", "--verbose", "--locked", "--offline"])
    },
];

const fn files(
    words: &'static str,
    letters: &'static str,
    numbers: &'static str,
    long: &'static [&'static str],
) -> ListedCommand {
    ListedCommand { words, letters, numbers, long, takes: ListedArguments::Files }
}

impl ListedCommand {
    /// The listed command with these words, e.g. `git add`.
    pub fn named(words: &str) -> Option<&'static Self> {
        LIST.iter().find(|listed| listed.words == words)
    }

    /// The listed command that a shell command is a plain call of, with arguments that stay in the agent's folder.
    pub(super) fn of(command: &str, folder: AgentFolder<'_>) -> Option<&'static Self> {
        // A list of what may stand in the command, not of what may not: every shell has marks that another one lacks.
        let is_inert = |c: char| c.is_ascii_alphanumeric() || " _-./,@%+:".contains(c);
        if !command.chars().all(is_inert) {
            return None;
        }
        let words: Vec<&str> = command.split(' ').filter(|word| !word.is_empty()).collect();
        LIST.iter().find(|listed| listed.arguments_of(&words).is_some_and(|rest| listed.takes(rest, folder)))
    }

    /// The words behind this command's own, if the command begins with those.
    fn arguments_of<'w>(&self, words: &'w [&'w str]) -> Option<&'w [&'w str]> {
        let own: Vec<&str> = self.words.split(' ').collect();
        words.strip_prefix(own.as_slice())
    }

    fn takes(&self, arguments: &[&str], folder: AgentFolder<'_>) -> bool {
        let mut arguments = arguments.iter().copied();
        let mut pattern_due = self.takes == ListedArguments::PatternAndFiles;
        while let Some(word) = arguments.next() {
            let taken = match word {
                // Behind it nothing is an option any more.
                "--" if self.takes != ListedArguments::TestNames => {
                    return arguments.all(|word| self.takes_argument(word, &mut pattern_due, folder));
                }
                _ if word.starts_with("--") => self.long.contains(&word),
                _ if word.len() > 1 && word.starts_with('-') => {
                    self.takes_letters(&word[1..], || arguments.next())
                }
                _ => self.takes_argument(word, &mut pattern_due, folder),
            };
            if !taken {
                return false;
            }
        }
        true
    }

    fn takes_letters<'w>(&self, letters: &str, next: impl FnOnce() -> Option<&'w str>) -> bool {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match letters.strip_prefix(|first| self.numbers.contains(first)) {
            Some("") => next().is_some_and(is_number),
            Some(attached) => is_number(attached),
            None => letters.chars().all(|letter| self.letters.contains(letter)),
        }
    }

    fn takes_argument(&self, word: &str, pattern_due: &mut bool, folder: AgentFolder<'_>) -> bool {
        match self.takes {
            ListedArguments::PatternAndFiles if std::mem::take(pattern_due) => true,
            // `:` begins git's pathspec magic, which names files in other ways.
            ListedArguments::PatternAndFiles | ListedArguments::Files => {
                !word.starts_with(':') && folder.holds(word)
            }
            ListedArguments::TestNames => {
                word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use proptest::prelude::*;

    use super::*;

    fn scene() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a", "b", "src/c", ".env", ".storkit/bot.toml", "-n"] {
            let path = dir.path().join("work").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        symlink("/etc", dir.path().join("work/etc")).unwrap();
        symlink("/etc/hostname", dir.path().join("work/host")).unwrap();
        symlink("../made-outside", dir.path().join("work/dangling")).unwrap();
        dir
    }

    fn listed(command: &str) -> Option<&'static str> {
        let dir = scene();
        ListedCommand::of(command, AgentFolder(Some(&dir.path().join("work")))).map(|listed| listed.words)
    }

    #[test]
    fn plain_calls_with_files_of_the_worktree_are_listed() {
        for (command, words) in [
            ("cat a", "cat"),
            ("  cat   -n  a ./b src/c ", "cat"),
            ("cat -nb --number a", "cat"),
            ("cat -- -n a", "cat"),
            ("cat -", "cat"),
            ("cat", "cat"),
            ("head -n 5 a", "head"),
            ("head -n5 -q a", "head"),
            ("tail -c 20 a", "tail"),
            ("wc -l a b", "wc"),
            ("ls -la src", "ls"),
            ("ls", "ls"),
            ("stat a", "stat"),
            ("mkdir -p new/newer", "mkdir"),
            ("touch new src/new", "touch"),
            ("git add a src", "git add"),
            ("grep -n fn src/c a", "grep"),
            ("grep -A3 -B 2 -- -n a", "grep"),
            ("grep /etc/passwd a", "grep"),
            ("cargo test", "cargo test"),
            ("cargo test -q store::tests::a_name", "cargo test"),
        ] {
            assert_eq!(listed(command), Some(words), "{command}");
        }
    }

    #[test]
    fn nothing_outside_the_worktree_and_nothing_hidden_is_reached() {
        for command in [
            "cat /etc/passwd",
            "cat ../x",
            "cat src/../../x",
            "cat etc/passwd",
            "cat host",
            "cat a host",
            "touch dangling",
            "mkdir etc/x",
            "mkdir -p ../../x",
            "touch /tmp/x",
            "cat .env",
            "cat .storkit/bot.toml",
            "cat ./.storkit/bot.toml",
            "ls .git",
            "ls .",
            "git add .",
            "git add :/",
            "git add -- :/",
            "grep x /etc/passwd",
            "grep - /etc/passwd",
            "grep -- x /etc/passwd",
            "grep x a host",
            "cat -- host",
            "cat //etc/passwd",
        ] {
            assert_eq!(listed(command), None, "{command}");
        }
    }

    #[test]
    fn programs_and_options_that_are_not_listed_are_never_covered() {
        for command in [
            // Programs that run others, write to a file that an argument names, or send it away.
            "uniq a b",
            "sort -o b a",
            "sort a",
            "tee b",
            "cp a b",
            "mv a b",
            "ln -s /etc x",
            "rm a",
            "dd of=b",
            "install a b",
            "find . -exec sh",
            "find a -delete",
            "find . -fprint b",
            "xargs a",
            "env a",
            "nice a",
            "timeout 5 a",
            "sudo a",
            "sed -i a b",
            "sed s/a/b/w a",
            "awk a b",
            "perl -e a",
            "python3 a",
            "sh a",
            "bash a",
            "source a",
            ". a",
            "eval a",
            "exec a",
            "command cat a",
            "builtin cat a",
            "tar -cf b a",
            "tar --to-command=a",
            "zip b a",
            "rsync a b",
            "scp a b:",
            "curl -o b example.org",
            "wget example.org",
            "ssh a",
            "nc a 1",
            "rg --pre a b",
            "rg a",
            "split a b",
            "csplit a 1",
            "diff -r a b",
            "diff --to-file=a b",
            "vim a",
            "less a",
            "man a",
            "jq -f a b",
            "file -C -m a",
            "od a",
            "xxd a b",
            "openssl enc -out b",
            "gpg a",
            "tsort a",
            "shuf -o b a",
            "truncate -s 0 a",
            "chmod 777 a",
            "chown a b",
            "kill 1",
            "docker run a",
            "kubectl get a",
            "make",
            "make test",
            "make -C /tmp",
            "make -f a",
            "npm test",
            "npm run a",
            "npm ci",
            "npm --prefix /tmp test",
            "npx a",
            "yarn a",
            "pnpm a",
            "pip install a",
            "go test",
            "go run a",
            "go generate",
            "cargo run",
            "cargo build",
            "cargo install a",
            "cargo publish",
            "cargo",
            "cargo clippy",
            "cargo fmt",
            "pytest a",
            "node a",
            "rustc a",
            "gcc a",
            "printf -v x",
            "echo a",
            "true",
            "test a",
            "which a",
            "hash -p a b",
            // git, whose options and subcommands reach anything.
            "git fetch origin",
            "git fetch --upload-pack=a origin",
            "git fetch",
            "git pull",
            "git push",
            "git clone a b",
            "git status",
            "git log",
            "git log --output=a",
            "git diff --no-index a b",
            "git show",
            "git -c a add b",
            "git -C /tmp add a",
            "git --git-dir=/tmp add a",
            "git --exec-path=a add b",
            "git grep -Oa b",
            "git commit -m a",
            "git config a b",
            "git apply a",
            "git archive -o b",
            "git bisect run a",
            "git submodule foreach a",
            "git",
            "git add -A",
            "git add -u",
            "git add --pathspec-from-file=a",
            "git add -p",
            "git add -e",
            "git add -f a",
            "git add -i",
            "git ls-remote a",
            "git rebase -x a",
            "git difftool -x a",
            "git hook run a",
            "git daemon",
            "git-add a",
            // Listed programs with options that read, write or run more than their arguments name.
            "cat --help",
            "cat -x a",
            "cat --show-al a",
            "cat -n5 a",
            "ls -R src",
            "ls -laR src",
            "ls --recursive src",
            "ls -L src",
            "ls --color=always src",
            "tail -f a",
            "tail --follow a",
            "tail -n -5 a",
            "tail -n +5 a",
            "head -n",
            "head -n a",
            "head -nx a",
            "head -n5x a",
            "head --lines=5 a",
            "wc --files0-from=a",
            "mkdir -m 777 x",
            "mkdir -m777 x",
            "mkdir --mode=777 x",
            "mkdir -Z x",
            "touch -r a b",
            "touch --reference=a b",
            "touch -d now a",
            "touch -t 1 a",
            "stat -c x a",
            "stat -f a",
            "stat --printf=x a",
            "grep -r x src",
            "grep -R x src",
            "grep -nr x src",
            "grep --recursive x src",
            "grep -f a b",
            "grep --file=a b",
            "grep -e x a",
            "grep -d recurse x a",
            "grep -P x a",
            "grep --include=a x b",
            "grep -A x a",
            "cargo test -p x",
            "cargo test --manifest-path a",
            "cargo test --config a",
            "cargo test -C a",
            "cargo test -Z a",
            "cargo test --target-dir a",
            "cargo test -- a",
            "cargo test --",
            "cargo test --test a",
            "cargo test -j 1",
            "cargo test a/b",
            "cargo test a.b",
            "cargo --config a test",
            "cargo +nightly test",
            "cargo -C a test",
            "cargo test -F a",
            "cargo t",
            // The program itself must be a bare name of the list.
            "./cat a",
            "/bin/cat a",
            "src/cat a",
            "CAT a",
            "cat.sh a",
            "",
            " ",
            "-cat a",
            "cat,a",
        ] {
            assert_eq!(listed(command), None, "{command:?}");
        }
    }

    #[test]
    fn what_a_shell_reads_otherwise_is_never_covered() {
        for command in [
            "cat a; rm b",
            "cat a && rm b",
            "cat a & rm b",
            "cat a | sh",
            "cat a > b",
            "cat < b",
            "cat a\nrm b",
            "cat a\rrm b",
            "cat $HOME",
            "cat `x`",
            "cat $(x)",
            "cat ~/x",
            "cat ~root",
            "cat *",
            "cat a?",
            "cat [ab]",
            "cat {a,b}",
            "cat a#b",
            "cat 'a'",
            "cat \"a\"",
            "cat a\\ b",
            "X=1 cat a",
            "cat a=b",
            "cat !x",
            "cat a\tb",
            "cat a\u{a0}b",
            "cat ä",
            "cat a^b",
            "cat a\u{200b}",
            "cat a\0b",
            "cat (a)",
            "cat =a",
            "cat a\u{2028}b",
            "c\u{430}t a",
        ] {
            assert_eq!(listed(command), None, "{command:?}");
        }
    }

    #[test]
    fn without_a_known_folder_no_file_is_covered() {
        assert_eq!(ListedCommand::of("cat a", AgentFolder(None)), None);
        assert!(ListedCommand::of("cargo test", AgentFolder(None)).is_some());
    }

    #[test]
    fn a_listed_command_is_found_by_its_words() {
        assert_eq!(ListedCommand::named("git add").map(|listed| listed.takes), Some(ListedArguments::Files));
        assert_eq!(
            ListedCommand::named("grep").map(|listed| listed.takes),
            Some(ListedArguments::PatternAndFiles)
        );
        assert_eq!(
            ListedCommand::named("cargo test").map(|listed| listed.takes),
            Some(ListedArguments::TestNames)
        );
        assert!(ListedCommand::named("git").is_none() && ListedCommand::named("make").is_none());
    }

    proptest! {
        // Whatever else is in it, a covered command is one program with words that the shell takes as they are.
        #[test]
        fn a_covered_command_is_a_single_plain_one(tail in r#"[a-z/.~$;|&<>`'"\\(){}\[\]*?!#= \n\t-]{0,12}"#) {
            let command = format!("cat {tail}");
            if listed(&command).is_some() {
                let is_plain = |c: char| c.is_ascii_lowercase() || "/. -".contains(c);
                let climbs = tail.split(['/', ' ']).any(|part| part == "..");
                prop_assert!(tail.chars().all(is_plain) && !climbs, "{command:?}");
            }
        }
    }
}
