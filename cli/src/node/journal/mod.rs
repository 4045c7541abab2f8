//! The node's journal: what became of hooks whose containers are gone.
//!
//! [`Reader`] reads it from the oldest line, or from a [`Position`] that somebody has kept, [`Follower`] waits for more;
//! [`runs`] puts the lines of a container together.

mod follow;
mod reader;
mod runs;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use podhook_hooks::config::{Config, ConfigError, DEFAULT_PATH};
use podhook_hooks::journal::{self, Entry};
use serde_json::Value;

pub use follow::Follower;
pub use reader::{Position, Reader};
pub use runs::{Run, ended, kept, runs};

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub entry: Entry,
    /// The same, with the fields that this version does not know.
    pub json: Value,
}

/// A line that is no use, or a file with lines that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}: {reason}", path.display())]
pub struct Unreadable {
    pub path: PathBuf,
    pub reason: String,
}

/// What is read.
pub type Item = Result<Line, Unreadable>;

/// Why there is no journal to read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the journal {}: {source}{}", folder.display(), hint(source))]
    Read { folder: PathBuf, source: io::Error },
    /// It says where the journal is.
    #[error("{0} (--journal says where the journal is)")]
    Config(#[from] ConfigError),
    #[error("this node keeps no journal: {} says journal = \"off\"", DEFAULT_PATH)]
    Off,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (root may)",
        _ => "",
    }
}

/// Where the journal is: `given`, else as the node's configuration says, whose default is below containerd's state directory. There
/// may be no such folder yet.
///
/// # Errors
/// When the configuration cannot be read, or says that there is none.
pub fn folder(given: Option<&Path>, state: &Path) -> Result<PathBuf, Error> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    let config = Config::load(Path::new(DEFAULT_PATH))?;
    journal::folder(&config.journal.place, Some(state)).ok_or(Error::Off)
}
