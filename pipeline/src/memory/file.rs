//! One file of notes, as TOML. What people wrote beside the notes by hand, comments and keys of their own, stays there.

use std::{collections::BTreeSet, fs::OpenOptions, io, io::Read as _, path::PathBuf};

use serde::Deserialize;
use settings::unlinked;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::{MAX_NOTES, MemoryFault, MemoryNote, MemoryScope, disk};
use crate::{
    Project,
    board::{MAX_MEMORY, put_file},
    sentence::in_one_line,
};

const HEAD: &str = "# What people asked storkit to remember. `remember TEXT` adds a note, `memory forget N` removes one.\n\
                    # Numbers are never given twice: `next` only grows.\n";

pub(super) struct MemoryFile {
    document: DocumentMut,
    /// By number.
    pub notes: Vec<MemoryNote>,
    /// The number of the next note.
    next: u32,
}

#[derive(Deserialize)]
struct StoredMemory {
    #[serde(default)]
    next: u32,
    #[serde(default)]
    note: Vec<StoredNote>,
}

#[derive(Deserialize)]
struct StoredNote {
    number: u32,
    text: String,
    #[serde(default)]
    by: String,
}

impl MemoryFile {
    /// Reads the file; one that is not there is empty.
    pub(super) fn read(project: &Project, scope: &MemoryScope) -> Result<Self, MemoryFault> {
        let path = scope.file();
        let broken = |why: String| MemoryFault::Broken { path: path.clone(), why };
        let Some(text) = text_of(project, &path)? else {
            let document = format!("{HEAD}{}", room_line(scope)).parse().unwrap_or_default();
            return Ok(Self { document, notes: Vec::new(), next: 1 });
        };
        let text = text.map_err(broken)?;
        let stored: StoredMemory = toml::from_str(&text).map_err(|error| broken(told(&text, &error)))?;
        let document: DocumentMut = text.parse().map_err(|_| broken("it is no TOML".into()))?;
        let mut numbers = BTreeSet::new();
        if let Some(twice) = stored.note.iter().find(|note| !numbers.insert(note.number)) {
            return Err(broken(format!("two notes have the number {}", twice.number)));
        }
        // An inline list would be valid, and is not what a note is appended to.
        if document.get("note").is_some_and(|notes| !notes.is_array_of_tables()) {
            return Err(broken("its notes are not written as `[[note]]`".into()));
        }
        let mut notes: Vec<MemoryNote> = stored
            .note
            .into_iter()
            .map(|StoredNote { number, text, by }| MemoryNote { number, text, by })
            .collect();
        notes.sort_by_key(|note| note.number);
        let highest = notes.last().map_or(0, |note| note.number);
        Ok(Self { document, notes, next: stored.next.max(highest.saturating_add(1)) })
    }

    pub(super) fn add(&mut self, text: String, by: String) -> Result<MemoryNote, MemoryFault> {
        if self.notes.len() >= MAX_NOTES {
            return Err(MemoryFault::TooMany);
        }
        let note = MemoryNote { number: self.next, text, by };
        self.next = self.next.saturating_add(1);
        let mut table = Table::new();
        table.insert("number", value(i64::from(note.number)));
        table.insert("by", value(note.by.as_str()));
        table.insert("text", value(note.text.as_str()));
        let notes = self.document.entry("note").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        if let Some(notes) = notes.as_array_of_tables_mut() {
            notes.push(table);
        }
        self.notes.push(note.clone());
        Ok(note)
    }

    pub(super) fn remove(&mut self, scope: &MemoryScope, number: u32) -> Result<MemoryNote, MemoryFault> {
        let Some(at) = self.notes.iter().position(|note| note.number == number) else {
            let number = scope.number(number);
            return Err(match (1..self.next).contains(&number.number) {
                true => MemoryFault::Forgotten(number),
                false => MemoryFault::Unknown(number),
            });
        };
        if let Some(notes) = self.document.get_mut("note").and_then(Item::as_array_of_tables_mut) {
            notes.retain(|table| table.get("number").and_then(Item::as_integer) != Some(i64::from(number)));
        }
        Ok(self.notes.remove(at))
    }

    pub(super) fn write(mut self, project: &Project, scope: &MemoryScope) -> Result<(), MemoryFault> {
        let path = scope.file();
        self.document.insert("next", value(i64::from(self.next)));
        let file = project.root().join(&path);
        let folder = file.parent().unwrap_or(project.root());
        unlinked::create_dir_all(folder).and_then(|()| unlinked::check(&file)).map_err(disk(path.clone()))?;
        put_file(&project.dir(), &file, self.document.to_string().as_bytes()).map_err(disk(path))
    }
}

/// For people who look at the file: its name shows the room only in parts.
fn room_line(scope: &MemoryScope) -> String {
    match scope {
        MemoryScope::Project => String::new(),
        MemoryScope::Room(room) => format!("room = {}\n", value(room.as_str())),
    }
}

/// The file's text; the inner error is a clause about the file.
fn text_of(project: &Project, path: &PathBuf) -> Result<Option<Result<String, String>>, MemoryFault> {
    let file = project.root().join(path);
    let opened = unlinked::check(&file).and_then(|()| match file.symlink_metadata() {
        Ok(found) if !found.is_file() => Err(io::Error::other("it is no plain file")),
        _ => unlinked::open(OpenOptions::new().read(true), &file),
    });
    let opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(disk(path.clone()))?,
    };
    let mut bytes = Vec::new();
    opened.take(MAX_MEMORY + 1).read_to_end(&mut bytes).map_err(disk(path.clone()))?;
    if bytes.len() as u64 > MAX_MEMORY {
        return Ok(Some(Err(format!("it is larger than {} KiB", MAX_MEMORY >> 10))));
    }
    Ok(Some(String::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".into())))
}

/// A parser's message in one line, with the line where it is wrong.
fn told(text: &str, error: &toml::de::Error) -> String {
    let why = in_one_line(error.message());
    match error.span() {
        Some(span) => {
            let line = text.get(..span.start).map_or(0, |before| before.matches('\n').count()) + 1;
            format!("line {line}: {why}")
        }
        None => why,
    }
}
