//! The files of the journal, by their names.

use std::fmt;

/// A file of the journal. Its name, `00000012-1764334000.jsonl`, is never given to another one: who has read up to
/// some place of a segment can go on there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// One more than that of the segment before.
    pub number: u64,
    /// When it was begun, s since the epoch.
    pub begun: u64,
}

impl Segment {
    /// The one with this name; none for other files.
    pub fn named(name: &str) -> Option<Self> {
        let (number, begun) = name.strip_suffix(".jsonl")?.split_once('-')?;
        let segment = Self {
            number: number.parse().ok()?,
            begun: begun.parse().ok()?,
        };
        (segment.to_string() == name).then_some(segment)
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}-{:010}.jsonl", self.number, self.begun)
    }
}

/// The segments among the names of a folder, the oldest first.
pub fn ordered(names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Segment> {
    let named = names.into_iter();
    let mut found: Vec<_> = named
        .filter_map(|name| Segment::named(name.as_ref()))
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_journal_has_named_is_a_segment() {
        let one = Segment {
            number: 12,
            begun: 1_764_334_000,
        };
        assert_eq!(one.to_string(), "00000012-1764334000.jsonl");
        assert_eq!(Segment::named(&one.to_string()), Some(one));
        let far = Segment {
            number: u64::MAX,
            begun: u64::MAX,
        };
        assert_eq!(Segment::named(&far.to_string()), Some(far));
        for name in [
            "",
            "lock",
            "12-1764334000.jsonl",
            "00000012-+764334000.jsonl",
            "00000012-1764334000.jsonl.gz",
            "99999999999999999999-1764334000.jsonl",
        ] {
            assert_eq!(Segment::named(name), None, "{name}");
        }
    }

    #[test]
    fn segments_are_in_the_order_of_their_numbers_whatever_the_clock_said() {
        let names = [
            "00000002-0000000005.jsonl",
            "x",
            "100000000-0000000001.jsonl",
            "00000001-0000000009.jsonl",
        ];
        let numbers: Vec<_> = ordered(names).iter().map(|found| found.number).collect();
        assert_eq!(numbers, [1, 2, 100_000_000]);
    }
}
