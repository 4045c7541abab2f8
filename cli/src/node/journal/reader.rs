//! Reads the journal, part by part, also while it is written.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use podhook_hooks::journal::{Entry, MAX_LINE, Segment, ordered};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, Item, Line, Unreadable};
use crate::store::regular;

/// How much is read at once: more than any line has.
const PART: usize = 4 * MAX_LINE;

/// A place in the journal, up to where it was read. It may be kept, and is good after a restart of the reader and of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file's name.
    pub segment: String,
    /// Bytes in it.
    pub offset: u64,
}

/// Reads the lines in the order in which they were written.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    at: Option<(Segment, u64)>,
    /// Amid a line that is too long.
    skips: bool,
    /// The last segment, which could not be opened: said already.
    bad: Option<Segment>,
}

impl Reader {
    /// From the oldest line on.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            at: None,
            skips: false,
            bad: None,
        }
    }

    /// From a position on: what came after it, or, where that segment is gone, everything there is.
    #[must_use]
    pub fn from(folder: &Path, position: &Position) -> Self {
        let segment = Segment::named(&position.segment);
        let path = segment.map(|segment| folder.join(segment.to_string()));
        Self {
            at: segment.map(|segment| (segment, position.offset)),
            skips: path.is_some_and(|path| is_amid_line(&path, position.offset)),
            ..Self::new(folder)
        }
    }

    /// Where the journal is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Behind the last line that was read; none before the first.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let (segment, offset) = self.at?;
        Some(Position {
            segment: segment.to_string(),
            offset,
        })
    }

    /// The next lines, at least one where there is more. Empty: that is all, until more is written. The beginning of a line at
    /// the very end is left for later: it is being written, or its writer was killed, and the next one ends it.
    ///
    /// # Errors
    /// When the folder cannot be read. One that is not there is empty.
    pub fn read(&mut self) -> Result<Vec<Item>, Error> {
        // Before the files: a segment that has a later one gets no more lines.
        let segments = self.segments().map_err(|source| Error::Read {
            folder: self.folder.clone(),
            source,
        })?;
        let at = self.at.map(|(segment, _)| segment);
        let mut from = segments.iter().position(|one| Some(*one) == at);
        if from.is_none() {
            // Dropped since, or a journal that was begun anew.
            (self.at, self.skips) = (segments.first().map(|first| (*first, 0)), false);
            from = self.at.map(|_| 0);
        }
        let Some(from) = from else {
            return Ok(Vec::new());
        };
        for (n, segment) in segments.iter().enumerate().skip(from) {
            let offset = self.at.filter(|(at, _)| at == segment);
            let is_last = n.saturating_add(1) == segments.len();
            let offset = offset.map_or(0, |(_, offset)| offset);
            let items = self.read_segment(*segment, offset, is_last);
            if !items.is_empty() {
                return Ok(items);
            }
        }
        Ok(Vec::new())
    }

    /// All lines up to the end, one after the other.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_all(&mut self, mut take: impl FnMut(Item)) -> Result<(), Error> {
        loop {
            let items = self.read()?;
            if items.is_empty() {
                return Ok(());
            }
            items.into_iter().for_each(&mut take);
        }
    }

    fn segments(&self) -> io::Result<Vec<Segment>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        Ok(ordered(names.collect::<io::Result<Vec<_>>>()?))
    }

    /// The next lines of a segment; none at its end.
    fn read_segment(&mut self, segment: Segment, offset: u64, is_last: bool) -> Vec<Item> {
        if self.at.is_some_and(|(at, _)| at != segment) {
            // A line that was too long has ended with its segment.
            self.skips = false;
        }
        self.at = Some((segment, offset));
        let path = self.folder.join(segment.to_string());
        let bad = |reason: String| {
            Err(Unreadable {
                path: path.clone(),
                reason,
            })
        };
        let (mut offset, mut items) = (offset, Vec::new());
        loop {
            let part = match part(&path, &mut offset) {
                Ok(part) => part,
                // Dropped just now.
                Err(e) if e.kind() == ErrorKind::NotFound => return items,
                Err(_) if self.bad == Some(segment) => return items,
                Err(e) => {
                    self.bad = Some(segment);
                    items.push(bad(e.to_string()));
                    return items;
                }
            };
            let mut taken: usize = 0;
            for line in part.split_inclusive(|byte| *byte == b'\n') {
                let Some(line) = line.strip_suffix(b"\n") else {
                    continue;
                };
                taken = taken.saturating_add(line.len()).saturating_add(1);
                // The end of one that was too long is no line; an empty one ends what a killed writer has left.
                if !std::mem::take(&mut self.skips) && !line.is_empty() {
                    items.push(parse(line).or_else(bad));
                }
            }
            if taken == 0 && part.len() == PART {
                if !std::mem::replace(&mut self.skips, true) {
                    items.push(bad("a line is too long".to_owned()));
                }
                taken = part.len();
            } else if taken == 0 && !part.is_empty() && !is_last {
                if !std::mem::take(&mut self.skips) {
                    items.push(bad("its last line is cut off".to_owned()));
                }
                taken = part.len();
            }
            offset = offset.saturating_add(taken as u64);
            self.at = Some((segment, offset));
            if taken == 0 || !items.is_empty() {
                return items;
            }
        }
    }
}

/// The bytes from `offset` on, which is set back where the file has become shorter.
fn part(path: &Path, offset: &mut u64) -> io::Result<Vec<u8>> {
    let mut file: File = regular::open(path)?;
    if file.metadata()?.len() < *offset {
        *offset = 0;
    }
    file.seek(SeekFrom::Start(*offset))?;
    let mut part = Vec::new();
    file.take(PART as u64).read_to_end(&mut part)?;
    Ok(part)
}

/// What is before the offset is not the end of a line: the position was kept amid one that is too long, or the file is
/// another one since.
fn is_amid_line(path: &Path, offset: u64) -> bool {
    let mut before = [0];
    let is_read = offset.checked_sub(1).is_some_and(|at| {
        regular::open(path).is_ok_and(|file| file.read_exact_at(&mut before, at).is_ok())
    });
    is_read && before != *b"\n"
}

fn parse(line: &[u8]) -> Result<Line, String> {
    let wrong = |e: serde_json::Error| format!("not a line of the journal: {e}");
    let json: Value = serde_json::from_slice(line).map_err(wrong)?;
    let entry = Entry::from_json(&json).map_err(wrong)?;
    Ok(Line { entry, json })
}
