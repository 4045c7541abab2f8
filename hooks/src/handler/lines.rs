//! Whole lines out of what comes in pieces.

/// A longer line is broken: as long as CRI's own lines are by default.
pub const MAX_LINE: usize = 16 * 1024;

/// Gives out a stream line by line; what has no end yet is kept.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The line that has not ended.
    rest: Vec<u8>,
}

impl Lines {
    /// The lines that end with `bytes`; each has its newline.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        for mut piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            loop {
                let room = MAX_LINE.saturating_sub(self.rest.len());
                let (fits, over) = piece.split_at(piece.len().min(room));
                if over.is_empty() || over == b"\n" {
                    break;
                }
                self.rest.extend_from_slice(fits);
                whole.append(&mut self.rest);
                whole.push(b'\n');
                piece = over;
            }
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                whole.append(&mut self.rest);
            }
        }
        whole
    }

    /// The last line, which had no end; empty where there is none.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut last = std::mem::take(&mut self.rest);
        if !last.is_empty() {
            last.push(b'\n');
        }
        last
    }

    /// The bytes that are kept.
    pub fn kept(&self) -> usize {
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_given_out_once_it_has_ended() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one"), b"");
        assert_eq!(lines.push(b" line\ntwo\nthr"), b"one line\ntwo\n");
        assert_eq!(lines.push(b""), b"");
        assert_eq!(lines.push(b"\n"), b"thr\n");
        assert_eq!(lines.finish(), b"");
    }

    #[test]
    fn the_last_line_gets_its_end() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a\nb"), b"a\n");
        assert_eq!(lines.finish(), b"b\n");
        assert_eq!(lines.finish(), b"");
    }

    #[test]
    fn an_endless_line_is_broken_and_costs_no_more_than_its_limit() {
        let mut lines = Lines::default();
        let mut given = Vec::new();
        for _ in 0..100 {
            given.extend(lines.push(&[b'x'; 1000]));
            assert!(lines.kept() <= MAX_LINE);
        }
        given.extend(lines.finish());
        let lengths: Vec<_> = given.split(|b| *b == b'\n').map(<[u8]>::len).collect();
        assert_eq!(
            lengths,
            [
                MAX_LINE,
                MAX_LINE,
                MAX_LINE,
                MAX_LINE,
                MAX_LINE,
                MAX_LINE,
                100_000 - 6 * MAX_LINE,
                0
            ]
        );
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole() {
        let mut lines = Lines::default();
        let line = [vec![b'x'; MAX_LINE], b"\n".to_vec()].concat();
        assert_eq!(lines.push(&line), line);
        assert_eq!(lines.push(&line[..MAX_LINE]), b"");
        assert_eq!(lines.push(b"\n"), line);
        assert_eq!(lines.finish(), b"");
    }
}
