//! CRI log files, unwrapped.
//!
//! A line of such a file is `<time> <stream> <tags> <content>`; the tag `P` marks a part of a
//! longer line, `F` its end (kubelet `kuberuntime/logs`).

use std::fs::File;
use std::io::{BufRead, BufReader, Write};

/// One line of a CRI log file.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    time: &'a str,
    partial: bool,
    content: &'a [u8],
}

impl<'a> Line<'a> {
    /// Parses a line without its newline.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |b| *b == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        parts
            .next()
            .filter(|stream| [&b"stdout"[..], b"stderr"].contains(stream))?;
        // Tags are separated by colons; the first one says whether the line is whole.
        let partial = parts.next()?.split(|b| *b == b':').next() == Some(b"P");
        Some(Self {
            time,
            partial,
            content: parts.next().unwrap_or_default(),
        })
    }
}

/// The content of a line of a CRI log file.
pub(crate) fn content(line: &str) -> Option<&str> {
    let line = Line::parse(line.as_bytes())?;
    std::str::from_utf8(line.content).ok()
}

/// Where the last `lines` whole lines begin.
pub(crate) fn tail_start(reader: &mut BufReader<File>, lines: usize) -> std::io::Result<u64> {
    let mut starts = std::collections::VecDeque::new();
    let (mut offset, mut at_start) = (0u64, true);
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line)?;
        if count == 0 {
            break;
        }
        if at_start {
            starts.push_back(offset);
            if starts.len() > lines {
                starts.pop_front();
            }
        }
        at_start = Line::parse(trim(&line)).is_none_or(|l| !l.partial);
        offset = offset.saturating_add(count as u64);
    }
    Ok(starts.front().copied().unwrap_or(offset))
}

fn trim(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Prints the lines of a log file, the parts of one joined.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    timestamps: bool,
    /// A line that the runtime has not written to its end yet.
    pending: Vec<u8>,
    /// Within a line of several parts: its time is printed already.
    continued: bool,
}

impl Printer {
    /// Prints each line with its time or without.
    pub(crate) fn new(timestamps: bool) -> Self {
        Self {
            timestamps,
            ..Self::default()
        }
    }

    /// Prints every complete line that is there; returns how many.
    pub(crate) fn print<R: BufRead>(
        &mut self,
        reader: &mut R,
        out: &mut impl Write,
    ) -> Result<usize, CopyError> {
        let mut count = 0usize;
        loop {
            let read = reader
                .read_until(b'\n', &mut self.pending)
                .map_err(CopyError::Read)?;
            if read == 0 || !self.pending.ends_with(b"\n") {
                break;
            }
            let bytes = std::mem::take(&mut self.pending);
            count = count.saturating_add(1);
            // Both streams, as kubectl shows them; a line of another format as it is.
            let text = Line::parse(trim(&bytes)).map_or(bytes.clone(), |line| self.text(&line));
            out.write_all(&text).map_err(CopyError::Write)?;
        }
        out.flush().map_err(CopyError::Write)?;
        Ok(count)
    }

    fn text(&mut self, line: &Line) -> Vec<u8> {
        let mut text = Vec::with_capacity(line.content.len().saturating_add(40));
        if self.timestamps && !self.continued {
            text.extend(line.time.as_bytes());
            text.push(b' ');
        }
        text.extend(line.content);
        if !line.partial {
            text.push(b'\n');
        }
        self.continued = line.partial;
        text
    }
}

/// Which side of the copying failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    Read(std::io::Error),
    Write(std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-23T20:00:00.1Z stdout F one\n\
        2026-11-23T20:00:00.2Z stdout P tw\n\
        2026-11-23T20:00:00.3Z stdout F o\n\
        2026-11-23T20:00:00.4Z stderr F oops\n\
        2026-11-23T20:00:00.5Z stdout F \n";

    fn print(printer: &mut Printer, text: &str) -> String {
        let mut out = Vec::new();
        printer.print(&mut text.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_are_joined_to_lines() {
        assert_eq!(print(&mut Printer::default(), LOG), "one\ntwo\noops\n\n");
    }

    #[test]
    fn a_line_of_several_parts_has_one_time() {
        let mut printer = Printer::new(true);
        let out = print(&mut printer, LOG);
        assert!(out.contains("2026-11-23T20:00:00.2Z two\n"), "{out}");
    }

    #[test]
    fn a_line_half_written_is_printed_when_it_is_whole() {
        let mut printer = Printer::default();
        let (half, rest) = LOG.split_at(20);
        assert_eq!(print(&mut printer, half), "");
        assert_eq!(print(&mut printer, rest), "one\ntwo\noops\n\n");
    }

    #[test]
    fn the_tail_begins_at_the_start_of_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let last = |lines| {
            let mut reader = BufReader::new(File::open(&path).unwrap());
            let start = tail_start(&mut reader, lines).unwrap();
            print(
                &mut Printer::default(),
                &LOG[usize::try_from(start).unwrap()..],
            )
        };
        assert_eq!(last(0), "");
        assert_eq!(last(2), "oops\n\n");
        assert_eq!(last(3), "two\noops\n\n", "not from the middle of it");
        assert_eq!(last(100), "one\ntwo\noops\n\n");
    }
}
