//! The node's journal: what became of hooks whose containers, and with them their records, are gone.
//!
//! A folder of [`Segment`]s, files to which the shims of a node append a line of JSON, an [`Entry`], for every hook that has
//! ended and every container with a lifecycle that has. Entries are never changed; the oldest segments are removed
//! by size and by age. One writer at a time has the lock, a `flock` of the folder; a reader needs none: what
//! it sees up to the last end of a line is whole.

mod entry;
mod error;
mod segment;
mod write;

pub use entry::{Entry, Event, MAX_LINE, VERSION};
pub use error::JournalError;
pub use segment::{Segment, ordered};
pub use write::{Journal, folder};
