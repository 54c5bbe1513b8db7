//! Tables as lines: columns aligned by their width on a terminal, cells wrapped where the width is short.

use pulldown_cmark::Alignment;

use super::layout::{StyledLine, Target, TextStyle};

// Cells wider than this are not aligned, so that one long cell does not widen every row.
const WIDEST: usize = 60;
const NARROWEST: usize = 3;
const GAP: usize = 3;

/// A table as it is read; the first row is the head.
#[derive(Default)]
pub(super) struct TableReader {
    pub alignments: Vec<Alignment>,
    pub rows: Vec<Vec<StyledLine>>,
}

impl TableReader {
    pub fn lines(mut self, look: Target, width: usize) -> Vec<StyledLine> {
        if let Some(head) = self.rows.first_mut() {
            head.iter_mut().for_each(|cell| cell.restyle(|style| style.bold = true));
        }
        let columns = self.column_widths(look, width);
        let mut lines = Vec::new();
        for (index, row) in self.rows.into_iter().enumerate() {
            lines.extend(row_lines(row, &columns, &self.alignments, look));
            if index == 0 {
                lines.push(rule(&columns, look));
            }
        }
        lines
    }

    fn column_widths(&self, look: Target, width: usize) -> Vec<usize> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let natural = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.width).max().unwrap_or(0).max(NARROWEST)
        };
        let columns: Vec<_> = (0..count).map(natural).collect();
        match look {
            Target::Plain => columns.into_iter().map(|column| column.min(WIDEST)).collect(),
            Target::Ansi { .. } => shrink(columns, width.saturating_sub(GAP * count.saturating_sub(1))),
        }
    }
}

// Narrows the widest columns until all fit, or none can give more: short columns stay readable. A binary
// search for the common limit.
fn shrink(mut columns: Vec<usize>, width: usize) -> Vec<usize> {
    let total =
        |most: usize, columns: &[usize]| columns.iter().map(|column| (*column).min(most)).sum::<usize>();
    let (mut fitting, mut beyond) = (NARROWEST, columns.iter().copied().max().unwrap_or(0) + 1);
    while fitting + 1 < beyond {
        let middle = fitting + (beyond - fitting) / 2;
        if total(middle, &columns) <= width { fitting = middle } else { beyond = middle }
    }
    columns.iter_mut().for_each(|column| *column = (*column).min(fitting));
    columns
}

fn row_lines(
    row: Vec<StyledLine>,
    columns: &[usize],
    alignments: &[Alignment],
    look: Target,
) -> Vec<StyledLine> {
    let wrap = |(cell, width): (StyledLine, &usize)| match look {
        Target::Plain => vec![cell],
        Target::Ansi { .. } => cell.wrap(*width),
    };
    let mut cells: Vec<_> = row.into_iter().zip(columns).map(wrap).map(Vec::into_iter).collect();
    let height = cells.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    let line = |_| {
        let mut line = StyledLine::default();
        for (index, width) in columns.iter().enumerate() {
            if index > 0 {
                line.append(separator(look));
            }
            let cell = cells.get_mut(index).and_then(Iterator::next).unwrap_or_default();
            let is_last = index + 1 == columns.len();
            align(&mut line, cell, *width, alignments.get(index).copied(), is_last);
        }
        line
    };
    (0..height).map(line).collect()
}

fn align(line: &mut StyledLine, cell: StyledLine, width: usize, alignment: Option<Alignment>, is_last: bool) {
    let room = width.saturating_sub(cell.width);
    let before = match alignment {
        Some(Alignment::Right) => room,
        Some(Alignment::Center) => room / 2,
        Some(Alignment::Left | Alignment::None) | None => 0,
    };
    line.pad(before);
    line.append(cell);
    if !is_last {
        line.pad(room - before);
    }
}

fn separator(look: Target) -> StyledLine {
    match look {
        Target::Plain => StyledLine::of(" | ", TextStyle::default()),
        Target::Ansi { .. } => StyledLine::of(" │ ", TextStyle { dim: true, ..TextStyle::default() }),
    }
}

fn rule(columns: &[usize], look: Target) -> StyledLine {
    let (dash, cross) = match look {
        Target::Plain => ("-", "-|-"),
        Target::Ansi { .. } => ("─", "─┼─"),
    };
    let dashes: Vec<_> = columns.iter().map(|width| dash.repeat(*width)).collect();
    StyledLine::of(&dashes.join(cross), TextStyle { dim: true, ..TextStyle::default() })
}
