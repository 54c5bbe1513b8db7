//! Cuts a line that is too long: after a sentence, a word or a grapheme.

use unicode_segmentation::GraphemeCursor;

/// The length in bytes to take of `fitting`, which `rest` follows on the same line: up to the last sentence in the second
/// half, else between words, neither inside inline code nor bold text where that can be helped, else between graphemes. Never
/// 0 unless `fitting` is empty.
pub(super) fn cut_line(fitting: &str, rest: &str) -> usize {
    let whole = fitting.len();
    if rest.is_empty() || rest.starts_with(char::is_whitespace) && is_balanced(fitting) {
        return whole;
    }
    let best = CutPoints::of(fitting);
    let half = |end: &usize| *end >= whole / 2;
    let quarter = |end: &usize| *end >= whole / 4;
    let sentence = best.sentence.filter(half).or(best.clean_word.filter(quarter));
    sentence.or(best.word).unwrap_or_else(|| grapheme_end(fitting, rest))
}

/// The last possible cuts of each kind, in bytes.
#[derive(Default)]
struct CutPoints {
    sentence: Option<usize>,
    clean_word: Option<usize>,
    word: Option<usize>,
}

impl CutPoints {
    fn of(text: &str) -> Self {
        let mut ends = Self::default();
        let mut marks = OpenMarks::default();
        let mut previous = ' ';
        for (at, c) in text.char_indices() {
            if c.is_whitespace() && !previous.is_whitespace() && at > 0 {
                ends.word = Some(at);
                ends.clean_word = if marks.are_closed() { Some(at) } else { ends.clean_word };
                if marks.are_closed() && matches!(previous, '.' | '!' | '?' | ':' | ';' | '…') {
                    ends.sentence = Some(at);
                }
            }
            marks.take(c);
            previous = c;
            if marks.are_closed() && matches!(c, '。' | '！' | '？') {
                ends.sentence = Some(at + c.len_utf8());
            }
        }
        ends
    }
}

// Counting is enough: a wrong guess only costs a better place for the cut.
#[derive(Default)]
struct OpenMarks {
    ticks: usize,
    stars: usize,
}

impl OpenMarks {
    fn take(&mut self, c: char) {
        match c {
            '`' => self.ticks += 1,
            '*' if self.ticks.is_multiple_of(2) => self.stars += 1,
            _ => {}
        }
    }

    fn are_closed(&self) -> bool {
        self.ticks.is_multiple_of(2) && self.stars.is_multiple_of(4)
    }
}

fn is_balanced(text: &str) -> bool {
    let mut marks = OpenMarks::default();
    text.chars().for_each(|c| marks.take(c));
    marks.are_closed()
}

// The rest is needed to see whether the last character combines with the next. 64 bytes cover any real grapheme.
fn grapheme_end(fitting: &str, rest: &str) -> usize {
    let after = &rest[..ceil_boundary(rest, rest.len().min(64))];
    let text = format!("{fitting}{after}");
    let mut cursor = GraphemeCursor::new(fitting.len(), text.len(), true);
    if cursor.is_boundary(&text, 0).unwrap_or(true) {
        return fitting.len();
    }
    match cursor.prev_boundary(&text, 0) {
        Ok(Some(end)) if end > 0 => end,
        _ => fitting.len(),
    }
}

/// The character boundary at or before `at`.
pub(super) fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The character boundary at or after `at`.
pub(super) fn ceil_boundary(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}
