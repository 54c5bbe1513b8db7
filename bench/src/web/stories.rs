//! Projects for the page: many stories with titles as people write them, or agents that print.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use pipeline::{Project, board::WorkFolder, stage::Stage};

use crate::world::Place;

/// Only a supervisor, who is never started by itself.
const NOBODY: &str = "[[agent]]\nname = \"boss\"\nstage = \"supervisor\"\n";

/// Prints the lines that its story asks for.
const AGENT: &str = include_str!("agent.py");

const WHO: [&str; 12] = [
    "Operators",
    "Guests",
    "The importer",
    "Editors",
    "The mobile app",
    "Reviewers",
    "The nightly job",
    "New people",
    "The API",
    "Translators",
    "Administrators",
    "The search page",
];
const VERB: [&str; 14] = [
    "can export",
    "cannot open",
    "should remember",
    "loses",
    "shows twice",
    "sorts",
    "can filter",
    "forgets",
    "must confirm",
    "merges",
    "can undo",
    "counts",
    "validates",
    "reloads",
];
const WHAT: [&str; 18] = [
    "invoices",
    "the address book",
    "attachments",
    "draft comments",
    "time zones",
    "the audit log",
    "old sessions",
    "price lists",
    "shared folders",
    "the weekly report",
    "phone numbers",
    "webhooks",
    "empty tables",
    "long names",
    "currency rates",
    "avatars",
    "search results",
    "passwords",
];
const WHEN: [&str; 13] = [
    "as CSV",
    "after a restart",
    "without a reload",
    "on slow networks",
    "by date",
    "when offline",
    "in dark mode",
    "for each team",
    "before midnight",
    "with one click",
    "across devices",
    "in the sidebar",
    "over 10 MB",
];

/// A place for `storkit` with its page; `claude` is the CLI of its agents.
pub fn place(claude: &Path, settings: &str) -> anyhow::Result<Place> {
    let place = Place::new()?;
    let command = serde_json::to_string(&[claude])?;
    place.write_config(&format!(
        "[claude]\ncommand = {command}\n[web]\nlisten = \"127.0.0.1:0\"\n[wall]\nconfine = \"none\"\n"
    ))?;
    place.settle(settings)?;
    Ok(place)
}

/// The settings of a project where nobody works by themselves.
pub fn nobody() -> String {
    NOBODY.to_owned()
}

/// The settings of a project with so many coders.
pub fn coders(count: usize) -> String {
    format!(
        "gates = []\nsweep_after = \"0\"\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\ncount = {count}\n"
    )
}

/// Puts these open stories on the board, and so many archived ones. The first 30 are in the backlog.
pub fn fill(place: &Place, open: std::ops::RangeInclusive<u32>, archived: u32) -> anyhow::Result<()> {
    let project = Project::open(&place.project())?;
    drop(WorkFolder::open(&project)?);
    let last = *open.end();
    for id in *open.start()..=last + archived {
        let stage = match id {
            _ if id > last => Stage::Archived,
            // A search and a click find those on screen.
            1..=30 => Stage::Backlog,
            // None to merge: storkit would, and there is nothing.
            _ => [Stage::Backlog, Stage::Current, Stage::Qa, Stage::Done, Stage::Backlog][(id % 5) as usize],
        };
        let ticked = id % 4;
        let criteria: String = (0..3)
            .map(|at| format!("- [{}] It works in case {at}\n", if at < ticked { "x" } else { " " }))
            .collect();
        let text = format!(
            "---\nname: {}\n---\n# Story {id}\n\n{}\n\n{criteria}",
            title(id),
            "Words about it. ".repeat(20)
        );
        put(&project, stage, id, &text)?;
    }
    Ok(())
}

/// Puts stories into work whose coder prints `bulk` lines of 400 characters, then one every tenth of a second.
pub fn printing(place: &Place, ids: std::ops::RangeInclusive<u32>, bulk: u32) -> anyhow::Result<()> {
    let project = Project::open(&place.project())?;
    drop(WorkFolder::open(&project)?);
    for id in ids {
        let text = format!("---\nname: {}\n---\nprint: {bulk}\n", title(id));
        put(&project, Stage::Current, id, &text)?;
    }
    Ok(())
}

/// The CLI that prints, in this place.
pub fn printing_agent(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("agent");
    fs::write(&path, AGENT)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn put(project: &Project, stage: Stage, id: u32, text: &str) -> anyhow::Result<()> {
    let folder = project.dir().join("work").join(stage.dir());
    Ok(fs::write(folder.join(format!("{id}_story_number.md")), text)?)
}

/// Different for each number, in no order that a compressor could guess.
fn title(id: u32) -> String {
    let mixed = id.wrapping_mul(2_654_435_761) as usize;
    let (who, verb) = (WHO[mixed % WHO.len()], VERB[mixed / 16 % VERB.len()]);
    format!("{who} {verb} {} {}", WHAT[mixed / 512 % WHAT.len()], WHEN[mixed / 16_384 % WHEN.len()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn titles_are_as_different_as_people_write_them() {
        let titles: BTreeSet<String> = (1..=1000).map(title).collect();
        assert!(titles.len() > 900, "{}", titles.len());
    }
}
