//! Bytes of a terminal cut into lines, with bounded memory whatever comes.

/// A line of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamLine<'a> {
    /// A line without its `\n` or `\r\n`.
    Whole(&'a [u8]),
    /// The length of a line over the limit, whose content is dropped.
    TooLong(u64),
}

/// Capacity that stays allocated between lines, after a line that was split across reads.
const KEPT: usize = 256 * 1024;

/// Cuts a stream into lines. Holds at most `limit` bytes, and those only while a line is incomplete.
#[derive(Debug)]
pub(super) struct LineSplitter {
    limit: usize,
    partial: Vec<u8>,
    /// Bytes of the current line that are already dropped; 0 while it is within the limit.
    dropped: u64,
}

impl LineSplitter {
    /// Lines have at most `limit` bytes each, without the line feed.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, partial: Vec::new(), dropped: 0 }
    }

    /// Takes the next bytes and gives every line that they complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(StreamLine<'_>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.complete(&bytes[..end], &mut each);
            bytes = &bytes[end + 1..];
        }
        self.append_partial(bytes);
    }

    /// Passes the rest of a stream that ended without a line feed.
    pub(super) fn finish(&mut self, each: impl FnMut(StreamLine<'_>)) {
        if self.dropped > 0 || !self.partial.is_empty() {
            self.complete(&[], each);
        }
    }

    fn complete(&mut self, rest: &[u8], mut each: impl FnMut(StreamLine<'_>)) {
        // The common case, a line within one read, is not copied.
        if self.dropped == 0 && self.partial.is_empty() && rest.len() <= self.limit {
            return each(StreamLine::Whole(without_return(rest)));
        }
        self.append_partial(rest);
        if self.dropped > 0 {
            each(StreamLine::TooLong(self.dropped));
        } else {
            each(StreamLine::Whole(without_return(&self.partial)));
        }
        self.dropped = 0;
        self.partial.clear();
        self.partial.shrink_to(KEPT);
    }

    fn append_partial(&mut self, bytes: &[u8]) {
        if self.dropped == 0 && self.partial.len() + bytes.len() <= self.limit {
            return self.grow(bytes);
        }
        self.dropped += (self.partial.len() + bytes.len()) as u64;
        // The memory is freed at once: the rest of the line is only counted.
        self.partial = Vec::new();
    }

    fn grow(&mut self, bytes: &[u8]) {
        // `Vec` itself would double its capacity up to nearly twice the limit.
        let needed = self.partial.len() + bytes.len();
        if needed > self.partial.capacity() {
            let target = needed.max(self.partial.capacity() * 2).min(self.limit);
            self.partial.reserve_exact(target - self.partial.len());
        }
        self.partial.extend_from_slice(bytes);
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.partial.capacity()
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    // A terminal writes `\r\n` for `\n` (ONLCR).
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(limit: usize, pieces: &[&[u8]]) -> Vec<String> {
        let mut seen = Vec::new();
        let mut each = |line: StreamLine<'_>| {
            seen.push(match line {
                StreamLine::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                StreamLine::TooLong(bytes) => format!("<{bytes} bytes>"),
            });
        };
        let mut lines = LineSplitter::new(limit);
        for piece in pieces {
            lines.feed(piece, &mut each);
        }
        lines.finish(each);
        seen
    }

    #[test]
    fn line_ends_of_a_terminal_are_cut_and_the_rest_is_given_at_the_end() {
        assert_eq!(
            cut(100, &[b"one\r\ntwo\n\r\nthr", b"ee\r", b"\ntail"]),
            ["one", "two", "", "three", "tail"]
        );
        assert_eq!(cut(100, &[b"done\n"]), ["done"]);
    }

    #[test]
    fn a_line_over_the_limit_is_counted_and_the_next_one_is_whole() {
        assert_eq!(cut(4, &[b"12345\nok\n"]), ["<5 bytes>", "ok"]);
        assert_eq!(cut(4, &[b"123", b"456", b"78\nok"]), ["<8 bytes>", "ok"]);
        assert_eq!(cut(4, &[b"1234\n", b"12345"]), ["1234", "<5 bytes>"]);
    }

    #[test]
    fn a_line_of_100_mb_never_holds_more_than_the_limit() {
        let (mut lines, piece, mut seen) = (LineSplitter::new(8 << 20), vec![b'x'; 64 * 1024], 0);
        let mut most = 0;
        for _ in 0..1600 {
            lines.feed(&piece, |_| panic!("no line has ended"));
            most = most.max(lines.held());
        }
        lines.feed(b"\n", |line| seen = if let StreamLine::TooLong(bytes) = line { bytes } else { 0 });
        assert_eq!(seen, 1600 * 64 * 1024);
        assert!(((8 << 20) - 64 * 1024..=8 << 20).contains(&most), "held {most} bytes");
        assert_eq!(lines.held(), 0);
    }

    #[test]
    fn memory_of_a_long_line_is_given_back() {
        let mut lines = LineSplitter::new(8 << 20);
        lines.feed(&vec![b'x'; 4 << 20], |_| ());
        lines.feed(b"\n", |_| ());
        assert!(lines.held() <= KEPT, "{} bytes are kept", lines.held());
    }

    proptest! {
        #[test]
        fn where_the_stream_is_split_makes_no_difference(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            at in prop::collection::vec(0usize..200, 0..8),
        ) {
            let mut at: Vec<usize> = at.into_iter().map(|at| at.min(bytes.len())).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(cut(16, &pieces), cut(16, &[&bytes]));
        }
    }
}
