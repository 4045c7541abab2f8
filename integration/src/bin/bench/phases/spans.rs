//! Spans of time, and what they cover together.

use std::time::Duration;

/// From one moment to another, by the kernel's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub begin: Duration,
    pub end: Duration,
}

impl Span {
    #[must_use]
    pub fn length(self) -> Duration {
        self.end.saturating_sub(self.begin)
    }
}

/// The parts of them that are in `whole`.
#[must_use]
pub fn within(spans: &[Span], whole: Span) -> Vec<Span> {
    let parts = spans.iter().map(|span| Span {
        begin: span.begin.max(whole.begin),
        end: span.end.min(whole.end),
    });
    parts.filter(|span| span.begin < span.end).collect()
}

/// The same time, no moment of it twice.
#[must_use]
pub fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut union: Vec<Span> = Vec::new();
    for span in spans {
        match union.last_mut() {
            Some(last) if span.begin <= last.end => last.end = last.end.max(span.end),
            _ => union.push(span),
        }
    }
    union
}

/// Of spans that do not overlap.
#[must_use]
pub fn length(spans: &[Span]) -> Duration {
    spans.iter().map(|span| span.length()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(begin: u64, end: u64) -> Span {
        Span {
            begin: Duration::from_millis(begin),
            end: Duration::from_millis(end),
        }
    }

    #[test]
    fn no_moment_counts_twice() {
        let spans = vec![span(8, 9), span(1, 4), span(3, 6), span(6, 7)];
        assert_eq!(union(spans), [span(1, 7), span(8, 9)]);
    }

    #[test]
    fn what_is_outside_of_a_call_is_cut_off() {
        let spans = [span(0, 2), span(3, 4), span(5, 9), span(10, 12)];
        let parts = within(&spans, span(1, 6));
        assert_eq!(parts, [span(1, 2), span(3, 4), span(5, 6)]);
        assert_eq!(length(&parts), Duration::from_millis(3));
    }
}
