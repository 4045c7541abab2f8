//! Writes lines: many shims at once, each line by one call.

mod folder;
#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::{Entry, JournalError, Segment};
use crate::config::{JournalKeys, JournalPlace};
use folder::Folder;

/// Into how many parts the journal's size and age are divided: the last is written, the first is dropped.
const PARTS: u64 = 8;
/// How long a writer waits for the lock. Who has it for longer was stopped, or waits for a disk.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

/// Where a node's journal is, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    folder: PathBuf,
    size: u64,
    age: Duration,
    patience: Duration,
}

/// Where the journal is, by the node's configuration and containerd's state directory; nowhere where it is off, or where that
/// directory is not known.
pub fn folder(place: &JournalPlace, state: Option<&Path>) -> Option<PathBuf> {
    match place {
        JournalPlace::Off => None,
        JournalPlace::Folder(folder) => Some(folder.clone()),
        JournalPlace::State => Some(state?.join("podhook/journal")),
    }
}

impl Journal {
    /// The one that the node's configuration says, if there is one.
    pub fn of(keys: &JournalKeys, state: Option<&Path>) -> Option<Self> {
        Some(Self {
            folder: folder(&keys.place, state)?,
            size: keys.size,
            age: keys.age,
            patience: PATIENCE,
        })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends an entry. This may wait for the lock, and for a disk.
    ///
    /// # Errors
    /// Where the line was not written. What is there stays readable.
    pub fn append(&self, entry: &Entry) -> Result<(), JournalError> {
        self.append_at(entry, SystemTime::now())
    }

    fn append_at(&self, entry: &Entry, now: SystemTime) -> Result<(), JournalError> {
        let line = entry.line()?;
        let folder = Folder::open(&self.folder)?;
        let locked = Locked::take(folder.file(), self.patience);
        let segments = folder.segments()?;
        let newest = segments.last().copied();
        let opened = newest.and_then(|newest| Some((newest, folder.open_segment(newest)?)));
        let epoch = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = epoch.unwrap_or_default().as_secs();
        let room = self.size / PARTS;
        let goes_on = opened.filter(|(segment, (_, size))| {
            // Without the lock none can be begun.
            let room = match locked {
                Some(_) => room,
                None => room.saturating_mul(2),
            };
            let is_full = size.saturating_add(line.len() as u64) > room;
            // One from the future is as good as new: the clock was set back.
            let since = now.saturating_sub(segment.begun);
            let is_old = locked.is_some() && since >= self.age.as_secs() / PARTS;
            !is_full && !is_old
        });
        let (segment, (file, size)) = match goes_on {
            Some(found) => found,
            None if locked.is_none() => return Err(JournalError::Locked(self.folder.clone())),
            None => {
                self.drop_old(&folder, &segments, now);
                let begun = Segment {
                    number: newest.map_or(1, |newest| newest.number.saturating_add(1)),
                    begun: now,
                };
                (begun, (folder.begin(begun)?, 0))
            }
        };
        let written = write(file, size, &line, locked.is_some());
        written.map_err(JournalError::io(
            "write",
            &self.folder.join(segment.to_string()),
        ))
    }

    /// Makes room for a new segment. What cannot be removed stays: the new one counts for more.
    fn drop_old(&self, folder: &Folder, segments: &[Segment], now: u64) {
        let part = self.size / PARTS;
        let mut left = self.size.saturating_sub(part);
        let mut drop = false;
        // From the newest on: what is older than one that goes, goes too.
        for segment in segments.iter().rev() {
            let (size, changed) = folder.size_and_time(*segment).unwrap_or_default();
            let old = now.saturating_sub(changed) > self.age.as_secs();
            match left.checked_sub(size) {
                Some(rest) if !old && !drop => left = rest,
                _ => {
                    drop = true;
                    folder.remove(*segment);
                }
            }
        }
    }
}

/// Appends a line to a segment of that size, and what a writer that was killed has left is a line of its own. What
/// does not fit on the disk is taken back, by who has the lock.
fn write(mut file: File, size: u64, line: &str, locked: bool) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(line.len().saturating_add(1));
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(size.saturating_sub(1)))?;
        if file.read(&mut last)? == 1 && last != *b"\n" {
            bytes.push(b'\n');
        }
    }
    bytes.extend_from_slice(line.as_bytes());
    let written = loop {
        match file.write(&bytes) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            written => break written?,
        }
    };
    if written == bytes.len() {
        return Ok(());
    }
    if locked {
        file.set_len(size)?;
    }
    Err(ErrorKind::StorageFull.into())
}

/// The lock: until this is dropped, whatever children of this process have of the descriptor.
struct Locked<'a>(&'a File);

impl<'a> Locked<'a> {
    fn take(file: &'a File, patience: Duration) -> Option<Self> {
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Some(Self(file)),
                Err(TryLockError::WouldBlock) if began.elapsed() < patience => thread::sleep(PAUSE),
                // A file system without locks is as good as one that somebody has.
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
