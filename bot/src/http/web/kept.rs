//! The last changes of the board, for pages that come back and for those that are slow.

use std::collections::VecDeque;

use super::board::EncodedFrame;

/// More are not kept. A page that is further behind reads the whole board.
const MOST: usize = 4096;

/// Nor more bytes, which bounds what all slow pages together take.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that are handed to a page at a time: while it takes them, they stay although others have taken their place.
const PART: usize = 256 * 1024;

/// Changes are numbered from 1.
#[derive(Default)]
pub struct KeptChanges {
    newest: u64,
    frames: VecDeque<EncodedFrame>,
    bytes: usize,
}

impl KeptChanges {
    /// The number of the last change; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// The next change.
    pub fn push(&mut self, frame: EncodedFrame) {
        self.newest += 1;
        self.bytes += frame.len();
        self.frames.push_back(frame);
        while self.frames.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    /// The changes after this one, or the first part of them; `None` if it is not known, or not all of them are kept.
    pub fn after(&self, seq: u64) -> Option<Vec<EncodedFrame>> {
        let missed = usize::try_from(self.newest.checked_sub(seq)?).ok()?;
        let first = self.frames.len().checked_sub(missed)?;
        let mut bytes = 0;
        let is_in_part = |frame: &&EncodedFrame| {
            let is_first = bytes == 0;
            bytes += frame.len();
            is_first || bytes <= PART
        };
        Some(self.frames.range(first..).take_while(is_in_part).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(frames: usize, length: usize) -> KeptChanges {
        let mut kept = KeptChanges::default();
        for number in 1..=frames {
            let number = number.to_string();
            kept.push(format!("{}{number}", "0".repeat(length - number.len().min(length))).into());
        }
        kept
    }

    fn numbers(frames: Option<Vec<EncodedFrame>>) -> Option<Vec<u64>> {
        frames.map(|frames| frames.iter().map(|frame| frame.parse().unwrap()).collect())
    }

    #[test]
    fn a_page_gets_what_it_missed_and_begins_anew_where_that_is_not_known() {
        let kept = with(3, 1);
        assert_eq!(numbers(kept.after(1)), Some(vec![2, 3]));
        assert_eq!(numbers(kept.after(3)), Some(vec![]));
        assert_eq!(numbers(kept.after(0)), Some(vec![1, 2, 3]));
        assert_eq!(kept.after(4), None, "a number of another life");
        let many = with(MOST + 2, 1);
        assert_eq!(many.after(1), None);
        assert_eq!(many.after(2).map(|frames| frames.len()), Some(MOST));
    }

    #[test]
    fn a_page_that_is_4_mb_behind_begins_anew_and_nobody_holds_more() {
        let kept = with(50, 100_000);
        assert_eq!((kept.newest(), kept.after(50 - 42)), (50, None));
        assert!(kept.after(50 - 41).is_some());
        assert!(kept.bytes <= MOST_BYTES && kept.bytes == kept.frames.len() * 100_000);
        let huge = with(1, MOST_BYTES + 1);
        assert_eq!((huge.after(0), huge.bytes), (None, 0));
        assert_eq!(numbers(huge.after(1)), Some(vec![]));
    }

    #[test]
    fn all_pages_get_the_same_bytes() {
        let kept = with(1, 100);
        let of = || kept.after(0).unwrap()[0].as_ptr();
        assert_eq!(of(), of());
    }

    #[test]
    fn what_was_missed_is_handed_over_in_parts() {
        let kept = with(10, 100_000);
        assert_eq!(numbers(kept.after(0)), Some(vec![1, 2]));
        assert_eq!(numbers(kept.after(2)), Some(vec![3, 4]));
        assert_eq!(numbers(with(2, 1_000_000).after(0)), Some(vec![1]), "one at least");
    }
}
