//! Follows the journal while it is written, over its segments.

use std::io;

use super::{Error, Item, Reader};
use crate::node::changes::Changes;

/// A reader that waits.
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    changes: Changes,
}

impl Follower {
    /// Goes on where `reader` is.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub fn new(reader: Reader) -> io::Result<Self> {
        Ok(Self {
            reader,
            changes: Changes::new()?,
        })
    }

    /// What was read so far, for who wants to go on there later: keep its position after the items are dealt with.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The next lines, at least one; waits for them. Dropped while it waits it has lost nothing.
    ///
    /// # Errors
    /// When the folder cannot be read. One that is not there may come.
    pub async fn next(&mut self) -> Result<Vec<Item>, Error> {
        loop {
            // Before the files are read: what changes meanwhile is told.
            self.changes.content(self.reader.folder());
            let items = self.reader.read()?;
            if !items.is_empty() {
                return Ok(items);
            }
            let waited = self.changes.wait().await;
            waited.map_err(|source| Error::Read {
                folder: self.reader.folder().to_owned(),
                source,
            })?;
        }
    }
}
