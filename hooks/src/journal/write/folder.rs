//! The journal's folder, held open: what is done in it goes through no link.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, statat, unlinkat};

use crate::journal::{JournalError, Segment, ordered};

/// Write for the group or for others.
const WRITABLE: u32 = 0o022;

pub(super) struct Folder {
    file: File,
    path: PathBuf,
}

impl Folder {
    /// Opens it, and makes it where there is none, with the folder above it. Nobody else may be able to write to it.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let open = || {
            OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
                .open(path)
        };
        let opened = match open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if let Some(above) = path.parent() {
                    make(above)?;
                }
                make(path)?;
                open()
            }
            opened => opened,
        };
        let file = opened.map_err(JournalError::io("open", path))?;
        let found = file.metadata().map_err(JournalError::io("stat", path))?;
        let refused = |reason| JournalError::Refused {
            path: path.to_owned(),
            reason,
        };
        if found.uid() != own_user() {
            return Err(refused("is not the shim's user's own (chown root)"));
        }
        if found.mode() & WRITABLE != 0 {
            return Err(refused("others may write to it (chmod 700)"));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The segments in it, the oldest first.
    pub(super) fn segments(&self) -> Result<Vec<Segment>, JournalError> {
        let read = || {
            let entries = Dir::read_from(&self.file)?;
            let names = entries.map(|entry| {
                let entry = entry?;
                Ok(entry.file_name().to_string_lossy().into_owned())
            });
            names.collect::<Result<Vec<_>, io::Error>>()
        };
        let names = read().map_err(JournalError::io("read", &self.path))?;
        Ok(ordered(names))
    }

    /// One that is there, for appending, with its size; none where that is not a file of the shim's user and of no other name.
    pub(super) fn open_segment(&self, segment: Segment) -> Option<(File, u64)> {
        let file = self.open_with(segment, OFlags::empty()).ok()?;
        let found = file.metadata().ok()?;
        let own = found.is_file() && found.uid() == own_user() && found.nlink() == 1;
        own.then_some((file, found.size()))
    }

    /// Makes a new one.
    pub(super) fn begin(&self, segment: Segment) -> Result<File, JournalError> {
        let made = self.open_with(segment, OFlags::CREATE | OFlags::EXCL);
        made.map_err(JournalError::io(
            "create",
            &self.path.join(segment.to_string()),
        ))
    }

    fn open_with(&self, segment: Segment, more: OFlags) -> io::Result<File> {
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = openat(&self.file, segment.to_string(), flags | more, mode)?;
        Ok(fd.into())
    }

    /// Its bytes, and when it was written last, s since the epoch.
    pub(super) fn size_and_time(&self, segment: Segment) -> Option<(u64, u64)> {
        let name = segment.to_string();
        let found = statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((
            u64::try_from(found.st_size).ok()?,
            u64::try_from(found.st_mtime).unwrap_or_default(),
        ))
    }

    pub(super) fn remove(&self, segment: Segment) {
        if let Err(e) = unlinkat(&self.file, segment.to_string(), AtFlags::empty()) {
            log::warn!(
                "remove {}: {e}",
                self.path.join(segment.to_string()).display()
            );
        }
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn make(path: &Path) -> Result<(), JournalError> {
    match DirBuilder::new().mode(0o700).create(path) {
        // A link to a folder, above the journal's own, is the operator's.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && fs::metadata(path).is_ok() => Ok(()),
        made => made.map_err(JournalError::io("create", path)),
    }
}
