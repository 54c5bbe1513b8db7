//! Writes a figure's section into the page and leaves the other sections as they are.

use std::{fmt::Write as _, fs, io, path::Path};

use anyhow::Context as _;

use crate::{
    Effort,
    figures::{FIGURES, Figure},
    machine::Conditions,
    numbers::short,
};

const PAGE: &str = "# Performance\n\nWritten by `script/bench`: what stands between two marks is replaced when that figure is measured again; what \
stands outside them is written by hand. Ratios count: both sides of each were measured in the same run on the same machine.\n";

/// The result of a figure.
#[derive(Default)]
pub struct Outcome {
    pub rows: Vec<Row>,
    /// Remarks on this run, for example on a missing comparison.
    pub remarks: Vec<String>,
}

/// One row of a figure's table.
pub struct Row {
    pub what: String,
    /// Storkit's number with its unit.
    pub ours: String,
    /// The number it is compared with, with its unit; empty for a bound.
    pub theirs: String,
    /// Our number divided by theirs; `None` for a bound.
    pub ratio: Option<f64>,
    /// The goal, and whether it was reached; `None` for a row without a goal.
    pub goal: Option<(String, bool)>,
}

impl Row {
    /// A number with an upper limit, both in this unit.
    pub fn bound(what: &str, ours: f64, limit: f64, unit: &str) -> Self {
        Self {
            what: what.to_owned(),
            ours: format!("{} {unit}", short(ours)),
            theirs: String::new(),
            ratio: None,
            goal: Some((format!("<= {limit} {unit}"), ours <= limit)),
        }
    }

    /// A number that must be at most this multiple of another.
    pub fn at_most(what: &str, (ours, theirs): (f64, f64), limit: f64, unit: &str, other: &str) -> Self {
        let row = Self::beside(what, (ours, theirs), unit, other);
        Self { goal: Some((format!("<= {limit} x"), ours <= limit * theirs)), ..row }
    }

    /// A number that must be at least this multiple of another.
    pub fn at_least(what: &str, (ours, theirs): (f64, f64), limit: f64, unit: &str, other: &str) -> Self {
        let row = Self::beside(what, (ours, theirs), unit, other);
        Self { goal: Some((format!(">= {limit} x"), ours >= limit * theirs)), ..row }
    }

    /// Two numbers without a goal.
    pub fn beside(what: &str, (ours, theirs): (f64, f64), unit: &str, other: &str) -> Self {
        Self {
            what: what.to_owned(),
            ours: format!("{} {unit}", short(ours)),
            theirs: format!("{} {unit} ({other})", short(theirs)),
            ratio: Some(ours / theirs),
            goal: None,
        }
    }

    /// One number without a goal.
    pub fn alone(what: &str, ours: f64, unit: &str) -> Self {
        let ours = format!("{} {unit}", short(ours));
        Self { what: what.to_owned(), ours, theirs: String::new(), ratio: None, goal: None }
    }
}

/// The section of a figure, with the marks that enclose it.
pub fn section(figure: &Figure, outcome: &Outcome, conditions: &Conditions, effort: Effort) -> String {
    let Figure { number, name, title, method, .. } = figure;
    let mut text = format!("{}\n## {number}. {title}\n\n", begin(name));
    let kind = if effort.quick { "Quick run, not for the record" } else { "Median after a warm-up" };
    let _ = writeln!(text, "{}\n{kind}; rounds: {}.\n", conditions.sentence(), effort.rounds());
    let _ =
        writeln!(text, "{method}\n\n| | storkit | beside it | ratio | goal | |\n|---|---|---|---|---|---|");
    for row in &outcome.rows {
        text.push_str(&line(row));
    }
    for remark in &outcome.remarks {
        let _ = writeln!(text, "\n{remark}");
    }
    let _ = writeln!(text, "{}", end(name));
    text
}

fn line(row: &Row) -> String {
    let ratio = row.ratio.map(|ratio| format!("{} x", short(ratio))).unwrap_or_default();
    let (goal, reached) = match &row.goal {
        Some((goal, true)) => (goal.as_str(), "reached"),
        Some((goal, false)) => (goal.as_str(), "**missed**"),
        None => ("", ""),
    };
    format!("| {} | {} | {} | {ratio} | {goal} | {reached} |\n", row.what, row.ours, row.theirs)
}

/// Replaces the figure's section. A new section goes before that of the next figure.
///
/// Fails if the page cannot be read or written.
pub fn write(page: &Path, figure: &Figure, section: &str) -> anyhow::Result<()> {
    let old = match fs::read_to_string(page) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => PAGE.to_owned(),
        read => read.with_context(|| format!("`{}` cannot be read", page.display()))?,
    };
    let later: Vec<&str> = FIGURES
        .iter()
        .skip_while(|other| other.name != figure.name)
        .skip(1)
        .map(|other| other.name)
        .collect();
    let new = placed(&old, figure.name, &later, section);
    fs::write(page, new).with_context(|| format!("`{}` cannot be written", page.display()))
}

fn placed(page: &str, name: &str, later: &[&str], section: &str) -> String {
    let (begin_mark, end_mark) = (begin(name), end(name));
    let found = page.find(&begin_mark).and_then(|from| {
        let length = page[from..].find(&end_mark)? + end_mark.len();
        Some((from, from + length))
    });
    if let Some((from, to)) = found {
        return format!("{}{}{}", &page[..from], section.trim_end(), &page[to..]);
    }
    let next = later.iter().find_map(|later| page.find(&begin(later)));
    let (before, after) = page.split_at(next.unwrap_or(page.len()));
    format!("{}\n\n{section}{}{after}", before.trim_end(), if after.is_empty() { "" } else { "\n" })
}

fn begin(name: &str) -> String {
    format!("<!-- figure {name} -->")
}

fn end(name: &str) -> String {
    format!("<!-- end of {name} -->")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "<!-- figure a -->\nnew\n<!-- end of a -->\n";

    #[test]
    fn a_section_takes_the_place_of_the_old_one_and_nothing_else_changes() {
        let page = "head\n\n<!-- figure a -->\nold\n<!-- end of a -->\n\nby hand\n\n<!-- figure b -->\nb\n<!-- end of b -->\n";
        assert_eq!(placed(page, "a", &["b"], NEW), page.replace("old", "new"));
    }

    #[test]
    fn a_first_section_goes_before_the_next_figure_or_to_the_end() {
        assert_eq!(placed("head\n", "a", &["b"], NEW), format!("head\n\n{NEW}"));
        let later = "<!-- figure c -->\nc\n<!-- end of c -->\n";
        assert_eq!(
            placed(&format!("head\n\n{later}"), "a", &["b", "c"], NEW),
            format!("head\n\n{NEW}\n{later}")
        );
    }

    #[test]
    fn a_missed_goal_is_written_as_missed() {
        let missed = Row::at_most("dispatch", (30.0, 200.0), 0.125, "µs", "errbot");
        assert_eq!(
            line(&missed),
            "| dispatch | 30.0 µs | 200 µs (errbot) | 0.150 x | <= 0.125 x | **missed** |\n"
        );
        let reached = Row::at_least("stream", (20.0, 30.0), 0.6, "MB/s", "bare");
        assert!(line(&reached).ends_with("| reached |\n"));
        assert!(line(&Row::bound("memory", 65.0, 64.0, "MB")).ends_with("| **missed** |\n"));
        assert!(line(&Row::alone("load", 1.0, "")).ends_with("|  |  |  |  |\n"));
    }
}
