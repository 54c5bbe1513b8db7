//! What is remembered, and what became of it.

use std::fmt::Write as _;

use adapters::markdown::{code_span, inert};
use pipeline::memory::{MAX_NOTE, MemoryFault, MemoryNote, MemoryScope};

use super::{text::sentence, visible::visible_line};

pub const REMEMBER_WHAT: &str = "What should be remembered comes behind the word.";

pub const FORGET_WHICH: &str = "Which note? `memory` shows their numbers.";

const NOTHING_REMEMBERED: &str = "Nothing is remembered. `remember TEXT` does that for this conversation, `remember project TEXT` for the whole project.";

/// `remember` is done.
pub fn remembered(scope: &MemoryScope, note: &MemoryNote) -> String {
    let number = scope.number(note.number);
    let whom = match scope {
        MemoryScope::Project => "all agents of the project",
        MemoryScope::Room(_) => "this conversation",
    };
    format!("Remembered for {whom} as `{number}`: `memory forget {number}` takes it back.")
}

/// `memory forget` is done.
pub fn forgotten(scope: &MemoryScope, note: &MemoryNote) -> String {
    format!("Forgotten: {}", shown(scope, note))
}

/// The answer to `memory`: the lists of this conversation and of the project, or why one cannot be read.
pub fn memory_list(lists: &[(MemoryScope, Result<Vec<MemoryNote>, MemoryFault>)]) -> String {
    let mut text = String::new();
    for (scope, notes) in lists {
        let heading = match scope {
            MemoryScope::Project => "For the project",
            MemoryScope::Room(_) => "For this conversation",
        };
        match notes {
            Ok(notes) if notes.is_empty() => {}
            Ok(notes) => {
                let _ = writeln!(text, "**{heading}**\n");
                notes.iter().for_each(|note| _ = writeln!(text, "- {}", shown(scope, note)));
                text.push('\n');
            }
            Err(fault) => _ = writeln!(text, "**{heading}**: {}\n", memory_fault(fault)),
        }
    }
    match text.trim_end() {
        "" => NOTHING_REMEMBERED.to_owned(),
        text => text.to_owned(),
    }
}

/// A refusal, as a sentence with a capital letter.
pub fn memory_fault(fault: &MemoryFault) -> String {
    memory_faults(&fault.to_string())
}

/// Why agents do not get what is remembered.
pub fn memory_faults(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    inert(&sentence(&format!("{first}{}", letters.as_str()))).into_owned()
}

/// `memory` with another word.
pub fn not_memory_argument(words: &str) -> String {
    format!("`memory` cannot do {}.", code_span(words))
}

/// `memory forget` with what is no number.
pub fn not_a_note(word: &str) -> String {
    format!("{} is not the number of a note, such as `3` or `p1`.", code_span(word))
}

fn shown(scope: &MemoryScope, note: &MemoryNote) -> String {
    let number = scope.number(note.number);
    let text = plain(&visible_line(&note.text, MAX_NOTE));
    let by = plain(&visible_line(&note.by, 60));
    if by.is_empty() { format!("`{number}` {text}") } else { format!("`{number}` {text} ({by})") }
}

// Notes can be written by hand, and so by anybody: without pings, links and code that begins here and ends elsewhere.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in inert(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '~' | '|' | '#' | '!') {
            plain.push('\\');
        }
        plain.push(c);
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn note(number: u32, text: &str) -> MemoryNote {
        MemoryNote { number, text: text.into(), by: "ann".into() }
    }

    #[test]
    fn a_list_names_each_note_by_the_number_that_forgets_it() {
        let room = MemoryScope::of_room("fake:ops");
        let lists = [
            (
                room.clone(),
                Ok(vec![note(2, "the door\nis blue"), note(7, "see [this](http://evil.example) `x")]),
            ),
            (MemoryScope::Project, Ok(vec![note(1, "ask @room first")])),
        ];
        let expected = "**For this conversation**\n\n- `2` the door ⏎ is blue (ann)\n- `7` see \\[this\\](http://evil.example) \\`x (ann)\n\n\
                        **For the project**\n\n- `p1` ask @\u{200b}room first (ann)";
        assert_eq!(memory_list(&lists), expected);
        assert_eq!(memory_list(&[(room, Ok(Vec::new()))]), NOTHING_REMEMBERED);
        let why = "line 3: it is no TOML".to_owned();
        let broken = MemoryFault::Broken { path: PathBuf::from("x.toml"), why };
        let shown = memory_list(&[(MemoryScope::Project, Err(broken))]);
        assert!(
            shown.starts_with("**For the project**: `x.toml` is not as storkit writes it: line 3"),
            "{shown}"
        );
    }
}
