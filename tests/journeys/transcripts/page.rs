//! What was said, as a page of `docs/transcripts`.

use std::{collections::HashMap, fmt::Write as _, fs, path::Path};

use e2e::Program;

/// What is the same on every page.
const HOW_TO_READ: &str = "\
A test has this conversation, with the real Claude Code CLI and a scripted model
([tests/journeys/transcripts.rs](../../tests/journeys/transcripts.rs)), and `script/transcripts` writes this page. `[Allow]` is a choice that is
offered below a message.";

/// Where messages are edited.
const EDITED: &str =
    " A question's message is edited when it is decided: the line after `→` is what it says then.";

/// A page, and what is special to its messenger.
pub struct ChatPage {
    pub file: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    /// Whether the bot edits its messages there.
    pub edits: bool,
}

/// A message of the bot as people see it.
#[derive(Clone, Debug)]
pub struct BotLine {
    pub id: String,
    pub text: String,
    pub choices: Vec<String>,
    /// Whether it waits for an answer, and shows all of its choices.
    pub is_open_question: bool,
    pub relation: Relation,
}

impl BotLine {
    /// A message of nothing but a call, which appears where that takes long.
    pub fn is_long_call(&self) -> bool {
        self.text.starts_with("- ") && self.text.ends_with('…') && !self.text.contains('\n')
    }
}

/// How a message belongs to an earlier one, by its id.
#[derive(Clone, Debug)]
pub enum Relation {
    None,
    InThread(String),
    ReplyTo(String),
    /// Something is done to that message.
    Target(String),
}

/// Something that Ann does.
#[derive(Clone, Debug)]
pub struct Act {
    pub id: Option<String>,
    /// `Ann`, and what she does if she does not just speak.
    pub how: String,
    pub words: String,
    pub relation: Relation,
}

/// What the page is made of.
#[derive(Default)]
pub struct Draft {
    /// Each with the number of the bot's messages before it.
    acts: Vec<(usize, Act)>,
    /// As they were asked.
    questions: Vec<BotLine>,
}

enum PageEntry<'a> {
    Act(&'a Act),
    Line(&'a BotLine),
}

impl Act {
    pub fn said(id: Option<String>, words: &str, relation: Relation) -> Self {
        Self { id, how: "Ann".to_owned(), words: words.to_owned(), relation }
    }

    /// Something other than words.
    pub fn done(how: &str, words: &str, to: &str) -> Self {
        let relation = Relation::Target(to.to_owned());
        Self { id: None, how: how.to_owned(), words: words.to_owned(), relation }
    }
}

impl Draft {
    pub fn add(&mut self, before: usize, act: Act) -> Act {
        self.acts.push((before, act.clone()));
        act
    }

    pub fn add_question(&mut self, question: &BotLine) {
        self.questions.push(question.clone());
    }

    /// Compares the page with the one in `docs`, or writes it there. `lines` are the bot's messages in the end.
    pub fn check(&self, page: &ChatPage, lines: &[BotLine], program: &Program) {
        let text =
            self.page(page, lines).replace(&program.project().display().to_string(), "/home/ann/house");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/transcripts").join(page.file);
        if std::env::var("STORKIT_TRANSCRIPTS").is_ok_and(|it| it == "write") {
            return fs::write(path, text).expect("written");
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text == written,
            "{} is not what happens; `script/transcripts` writes it anew:\n{text}",
            path.display()
        );
    }

    fn page(&self, page: &ChatPage, lines: &[BotLine]) -> String {
        let ChatPage { title, about, edits, .. } = page;
        let edited = if *edits { EDITED } else { "" };
        let mut text = format!("# {title}\n\n{HOW_TO_READ}{edited}\n\n{about}\n\n~~~text\n");
        let entries = self.entries(lines);
        let mut numbers = HashMap::new();
        for (number, entry) in (1..).zip(&entries) {
            if number > 1 {
                text.push('\n');
            }
            match entry {
                PageEntry::Act(act) => {
                    let to = related(&act.relation, &numbers);
                    write_entry(&mut text, number, &format!("{}{to}", act.how), &act.words);
                    numbers.extend(act.id.clone().map(|id| (id, number)));
                }
                PageEntry::Line(line) => {
                    let to = related(&line.relation, &numbers);
                    write_entry(&mut text, number, &format!("Timmy{to}"), &self.lifelong(line));
                    numbers.insert(line.id.clone(), number);
                }
            }
        }
        text.push_str("~~~\n");
        text
    }

    /// Everything in its order.
    fn entries<'a>(&'a self, lines: &'a [BotLine]) -> Vec<PageEntry<'a>> {
        let mut entries = Vec::new();
        let mut acts = self.acts.iter().peekable();
        for (index, line) in lines.iter().enumerate() {
            while let Some((_, act)) = acts.next_if(|(before, _)| *before <= index) {
                entries.push(PageEntry::Act(act));
            }
            entries.push(PageEntry::Line(line));
        }
        entries.extend(acts.map(|(_, act)| PageEntry::Act(act)));
        entries
    }

    /// A question as it was asked, and what became of it.
    fn lifelong(&self, line: &BotLine) -> String {
        let Some(asked) = self.questions.iter().find(|asked| asked.id == line.id) else {
            return line.text.clone();
        };
        let choices: Vec<String> = asked.choices.iter().map(|choice| format!("[{choice}]")).collect();
        let mut text = asked.text.trim_end().to_owned();
        if !choices.is_empty() {
            let _ = write!(text, "\n{}", choices.join(" "));
        }
        if line.text != asked.text {
            let _ = write!(text, "\n→ {}", line.text);
        }
        text
    }
}

fn related(relation: &Relation, numbers: &HashMap<String, usize>) -> String {
    let number = |id: &String| numbers.get(id).map_or_else(|| "?".to_owned(), ToString::to_string);
    match relation {
        Relation::None => String::new(),
        Relation::InThread(id) => format!(", in the thread below {}", number(id)),
        Relation::ReplyTo(id) => format!(", in reply to {}", number(id)),
        Relation::Target(id) => format!(" {}", number(id)),
    }
}

fn write_entry(text: &mut String, number: usize, who: &str, words: &str) {
    let _ = writeln!(text, "{number:2}  {who}");
    for line in words.trim().lines().map(str::trim_end) {
        let _ = if line.is_empty() { writeln!(text) } else { writeln!(text, "    {line}") };
    }
}
