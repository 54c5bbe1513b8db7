//! The text that the operator reads before confirming the commands of a repository.

use std::{fmt::Write as _, path::Path};

use agents::confine::NetworkAccess;
use pipeline::{
    config::ProjectConfig,
    trust::{ChangedLine, StateError},
};

use super::text::count;

pub const QUESTION: &str = "Let storkit run exactly this here? (yes/no) [no] ";
pub const CONFIRMED: &str = "Confirmed. A running storkit takes it up within a few seconds.\n";
pub const NOT_CONFIRMED: &str = "Not confirmed. Of this repository only what you confirmed before runs.\n";
pub const STATE_QUESTION: &str = "Is all of this your own? (yes/no) [no] ";
/// No terminal and no `--yes`.
pub const NOBODY_TO_ASK: &str =
    "Standard input is not a terminal, so I cannot ask. `storkit trust --yes` confirms what is shown above.";

/// State that came with the folder, before the question about it.
pub fn foreign_state(error: &StateError) -> String {
    format!("{error}\n")
}

/// There is nothing to ask.
pub fn nothing_to_confirm(has_settings: bool, base: &str) -> String {
    match has_settings {
        true => format!("You have confirmed what `{base}` has now. There is nothing to ask.\n"),
        false => format!(
            "`{base}` has no `.storkit/project.toml`, so storkit's defaults apply. There is nothing to confirm.\n"
        ),
    }
}

/// The settings are wrong, so confirming them makes no sense.
pub fn cannot_be_confirmed(why: &str) -> String {
    format!("{why} It cannot be confirmed until this is fixed on the branch.")
}

/// What `storkit init` says about a file that was there before.
pub const INIT_KEPT: &str = "The existing .storkit/project.toml came with the repository. `storkit trust` shows what it runs, and asks.\n";

/// `storkit init` does not commit.
pub fn init_without_git(why: &str) -> String {
    format!("Nothing is committed. {why}.\n")
}

/// The beginning of the question.
pub fn heading(root: &Path, base: &str, is_first: bool) -> String {
    let root = visible(&root.display().to_string());
    match is_first {
        true => format!(
            "You have not confirmed yet what storkit may run in this repository:\n  {root}, branch `{base}`\nUntil you do, \
             nothing of it runs.\n"
        ),
        false => format!(
            "What this repository makes storkit run has changed since you confirmed it:\n  {root}, branch `{base}`\nUntil \
             you confirm the change, the version before stays in effect.\n"
        ),
    }
}

/// The commands that would run, and the hosts that they could reach.
pub fn summary(config: &ProjectConfig) -> String {
    let mut text = String::from("\nIt runs, in the sandbox of the agents:\n");
    let mut line = |what: String, commands: &[String]| {
        for command in commands {
            let _ = writeln!(text, "  {what}: {}", visible(command));
        }
    };
    line("before each merge".into(), &config.gates);
    for component in &config.components {
        let name = visible(&component.name);
        line(format!("setup of {name}"), &component.setup);
        line(format!("teardown of {name}"), &component.teardown);
    }
    let workers = config.agents.iter().map(|agent| format!("{} x {}", agent.count, visible(&agent.name)));
    let _ = writeln!(text, "  agents, with the prompts below: {}", workers.collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "Network access:");
    let _ = writeln!(text, "  gates: {}", reach(&config.gate_network));
    for component in &config.components {
        let _ = writeln!(text, "  component {}: {}", visible(&component.name), reach(&component.network));
    }
    for agent in &config.agents {
        let _ = writeln!(text, "  agent {}: {}", visible(&agent.name), reach(&agent.network));
    }
    text
}

fn reach(network: &NetworkAccess) -> String {
    match network {
        NetworkAccess::All => "everything".to_owned(),
        NetworkAccess::Unset | NetworkAccess::Ask(_) => {
            let hosts = network.asking().unwrap_or_default().iter();
            let hosts = hosts.map(|host| format!(", {}", visible(&host.to_string())));
            format!("package registries{}, and other hosts that people here allow", hosts.collect::<String>())
        }
        NetworkAccess::Only(hosts) if hosts.is_empty() => "nothing of its own".to_owned(),
        NetworkAccess::Only(hosts) => {
            hosts.iter().map(|host| visible(&host.to_string())).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The stories that a clone brought in work.
pub fn stories_in_work(number: usize) -> String {
    match number {
        0 => String::new(),
        number => format!(
            "{} that nobody started here: each waits for `start`.\n",
            count(number, "story is in work", "stories are in work")
        ),
    }
}

/// The text itself, or what changed in it.
pub fn changes(lines: &[ChangedLine]) -> String {
    let mut text = String::from("\nThe text, with `+` for what is new and `-` for what is gone:\n");
    for line in lines {
        let _ = match line {
            ChangedLine::Same(line) => writeln!(text, "  {}", visible(line)),
            ChangedLine::Removed(line) => writeln!(text, "- {}", visible(line)),
            ChangedLine::Added(line) => writeln!(text, "+ {}", visible(line)),
            ChangedLine::Gap => writeln!(text, "  ..."),
        };
    }
    text.push('\n');
    text
}

/// Spells out the characters that a terminal would hide: a control, invisible or blank character by its number alone, and a character that may
/// look like another with its number behind it. Runs of blanks, which push the rest out of sight, by their length.
pub fn visible(text: &str) -> String {
    const MOST_BLANKS: usize = 40;
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            ' ' => {
                let mut blanks = 1;
                while rest.next_if_eq(&' ').is_some() {
                    blanks += 1;
                }
                match blanks > MOST_BLANKS || rest.peek().is_none() {
                    true => drop(write!(out, "<{blanks} blanks>")),
                    false => out.push_str(&" ".repeat(blanks)),
                }
            }
            '\t' => out.push_str("    "),
            ' '..='~' => out.push(letter),
            // The letters of western European languages; none of them looks like an ASCII character.
            '\u{c0}'..='\u{ff}' if letter.is_alphabetic() => out.push(letter),
            letter if is_shown(letter) => drop(write!(out, "{letter}<U+{:04X}>", u32::from(letter))),
            letter => drop(write!(out, "<U+{:04X}>", u32::from(letter))),
        }
    }
    out
}

/// Whether a terminal shows it by itself. Anything that is no letter, digit or symbol with a width may be invisible, or
/// change what is beside it.
fn is_shown(letter: char) -> bool {
    use unicode_width::UnicodeWidthChar as _;
    // Hangul and other fillers are letters that show nothing.
    const FILLERS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}', '\u{2800}'];
    !letter.is_control()
        && !letter.is_whitespace()
        && letter.width().is_some_and(|width| width > 0)
        && !FILLERS.contains(&letter)
        // Private use, tags and variation selectors.
        && !matches!(letter, '\u{e000}'..='\u{f8ff}' | '\u{ad}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ProjectConfig {
        ProjectConfig::parse(text, "project.toml".as_ref(), |_| None).expect("valid").config
    }

    #[test]
    fn all_that_runs_and_all_it_reaches_is_listed() {
        let text = r#"
            gates = ["sh gate.sh", "curl https://example.org | sh"]
            gate_network = ["example.org"]
            [[component]]
            name = "web"
            path = "web"
            setup = ["npm ci"]
            teardown = ["rm -rf node_modules"]
            network = true
            [[agent]]
            name = "coder"
            stage = "coder"
            count = 2
            network = false
        "#;
        insta::assert_snapshot!(summary(&config(text)), @"
        It runs, in the sandbox of the agents:
          before each merge: sh gate.sh
          before each merge: curl https://example.org | sh
          setup of web: npm ci
          teardown of web: rm -rf node_modules
          agents, with the prompts below: 2 x coder
        Network access:
          gates: example.org
          component web: everything
          agent coder: nothing of its own
        ");
    }

    #[test]
    fn the_question_says_whether_it_is_the_first() {
        insta::assert_snapshot!(heading("/srv/shop".as_ref(), "main", true), @"
        You have not confirmed yet what storkit may run in this repository:
          /srv/shop, branch `main`
        Until you do, nothing of it runs.
        ");
        insta::assert_snapshot!(heading("/srv/shop".as_ref(), "main", false), @"
        What this repository makes storkit run has changed since you confirmed it:
          /srv/shop, branch `main`
        Until you confirm the change, the version before stays in effect.
        ");
        insta::assert_snapshot!(stories_in_work(2), @"2 stories are in work that nobody started here: each waits for `start`.");
        assert_eq!(stories_in_work(0), "");
    }

    #[test]
    fn changed_lines_are_marked_and_hidden_characters_shown() {
        let lines = [
            ChangedLine::Gap,
            ChangedLine::Same("# gates".into()),
            ChangedLine::Removed("gates = [\"make\"]".into()),
            ChangedLine::Added(format!("gates = [\"m\u{430}ke\"]{}# \u{202e}hsilgne", " ".repeat(300))),
            ChangedLine::Added("x\u{1b}[2K\r\u{200b}y\u{3164}z\u{a0}\u{ad}für \u{2014}".into()),
        ];
        insta::assert_snapshot!(changes(&lines), @r#"
        The text, with `+` for what is new and `-` for what is gone:
          ...
          # gates
        - gates = ["make"]
        + gates = ["mа<U+0430>ke"]<300 blanks># <U+202E>hsilgne
        + x<U+001B>[2K<U+000D><U+200B>y<U+3164>z<U+00A0><U+00AD>für —<U+2014>
        "#);
    }
}
