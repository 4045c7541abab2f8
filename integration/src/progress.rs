//! How far something long is: a line that changes on a terminal, whole lines now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(20);

/// What counts up to something.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: usize,
    terminal: bool,
    /// When the last line was written.
    last: Option<Instant>,
}

impl Progress {
    /// Nothing done yet, on stderr.
    #[must_use]
    pub fn new(what: &'static str, total: usize) -> Self {
        Self {
            what,
            total,
            terminal: io::stderr().is_terminal(),
            last: None,
        }
    }

    /// So many are done.
    pub fn done(&mut self, count: usize) {
        if let Some(text) = self.text(count, Instant::now()) {
            // Who has closed stderr does not want to know.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    fn text(&mut self, count: usize, now: Instant) -> Option<String> {
        let text = format!("{} {count} of {}", self.what, self.total);
        let is_end = count == self.total;
        if self.terminal {
            return Some(format!("\r{text} {}", if is_end { "\n" } else { "" }));
        }
        let is_due = self
            .last
            .is_none_or(|last| now.duration_since(last) >= PAUSE);
        if !is_due && !is_end {
            return None;
        }
        self.last = Some(now);
        Some(format!("{text}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(terminal: bool) -> Progress {
        Progress {
            terminal,
            ..Progress::new("round", 100)
        }
    }

    #[test]
    fn a_log_gets_few_lines_and_whole_ones() {
        let mut progress = progress(false);
        let begin = Instant::now();
        let text: String = (1..=100)
            .filter_map(|n| progress.text(n, begin + Duration::from_secs(n as u64)))
            .collect();
        assert_eq!(
            text,
            "round 1 of 100\nround 21 of 100\nround 41 of 100\nround 61 of 100\nround 81 of 100\nround 100 of 100\n"
        );
    }

    #[test]
    fn a_terminal_has_one_line_that_changes() {
        let mut progress = progress(true);
        let now = Instant::now();
        assert_eq!(progress.text(1, now).as_deref(), Some("\rround 1 of 100 "));
        assert_eq!(
            progress.text(100, now).as_deref(),
            Some("\rround 100 of 100 \n")
        );
    }
}
