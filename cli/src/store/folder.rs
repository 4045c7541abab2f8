//! A folder that is held open. What is in it is reached by one plain name, never along a link, so that no
//! name from outside (a pod's UID, a manifest) leads anywhere else.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Error;
use super::make_dir;

/// The most that is read of a file of podhook's: a manifest is at most 1.5 MiB for the API server.
const MAX_FILE: u64 = 16 << 20;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// A name that stays in its folder: one component, neither empty nor a dot folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// Takes `name` if it is plain.
    pub(crate) fn of(name: &'a str) -> Option<Self> {
        let plain = !matches!(name, "" | "." | "..")
            && name.len() <= 255
            && !name.bytes().any(|byte| byte == b'/' || byte == 0);
        plain.then_some(Self(name))
    }

    /// One of podhook's own names.
    pub(super) const fn own(name: &'static str) -> Name<'static> {
        Name(name)
    }

    pub(crate) fn as_str(&self) -> &'a str {
        self.0
    }
}

impl AsRef<OsStr> for Name<'_> {
    fn as_ref(&self) -> &OsStr {
        self.0.as_ref()
    }
}

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
}

impl Folder {
    /// Opens a folder that the user has named; `None` when there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self {
                fd,
                path: path.to_owned(),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io("open", path)(e.into())),
        }
    }

    /// The same, and makes it with its parents, for root alone.
    pub(super) fn make(path: &Path) -> Result<Self, Error> {
        make_dir(path)?;
        Self::open(path)?
            .ok_or_else(|| Error::io("open", path)(std::io::ErrorKind::NotFound.into()))
    }

    pub(super) fn path_of(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// The folder's path as the kernel has it, without links.
    pub(super) fn real_path(&self) -> Result<PathBuf, Error> {
        let link = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        std::fs::read_link(&link).map_err(Error::io("read", Path::new(&link)))
    }

    fn open_at(
        &self,
        name: &OsStr,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        loop {
            // EAGAIN: something was renamed meanwhile.
            match rustix::fs::openat2(&self.fd, name, flags, mode, BENEATH | resolve) {
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
    }

    /// A folder in this one; `None` when there is none.
    pub(crate) fn folder(&self, name: Name<'_>) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let path = self.path_of(name);
        match self.open_at(name.as_ref(), flags, Mode::empty(), ResolveFlags::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io("open", &path)(e.into())),
        }
    }

    /// A folder in this one, made for root alone where there is none.
    pub(super) fn make_folder(&self, name: Name<'_>) -> Result<Self, Error> {
        let path = self.path_of(name);
        match rustix::fs::mkdirat(&self.fd, name.as_ref(), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::io("create", &path)(e.into())),
        }
        self.folder(name)?
            .ok_or_else(|| Error::io("open", &path)(std::io::ErrorKind::NotFound.into()))
    }

    /// A regular file in this one, for reading; `None` when there is none. Nothing is waited for.
    pub(crate) fn file(&self, name: Name<'_>) -> Result<Option<File>, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let path = self.path_of(name);
        let opened = self.open_at(name.as_ref(), flags, Mode::empty(), ResolveFlags::empty());
        let file = match opened {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::io("open", &path)(e.into())),
        };
        let metadata = file.metadata().map_err(Error::io("read", &path))?;
        if !metadata.is_file() {
            let no_file = std::io::Error::other("not a regular file");
            return Err(Error::io("read", &path)(no_file));
        }
        Ok(Some(file))
    }

    /// What is in a file; `None` when there is none.
    pub(super) fn read(&self, name: Name<'_>) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.file(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let path = self.path_of(name);
        let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
        read.map_err(Error::io("read", &path))?;
        if bytes.len() as u64 > MAX_FILE {
            let large = std::io::ErrorKind::FileTooLarge;
            return Err(Error::io("read", &path)(large.into()));
        }
        Ok(Some(bytes))
    }

    /// A file to lock, made where there is none.
    pub(super) fn lock_file(&self, name: Name<'_>) -> Result<File, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let mode = Mode::RUSR | Mode::WUSR;
        let opened = self.open_at(name.as_ref(), flags, mode, ResolveFlags::empty());
        opened
            .map(File::from)
            .map_err(|e| Error::io("open", &self.path_of(name))(e.into()))
    }

    /// Replaces a file in one step: a reader sees the old or the new one.
    pub(super) fn replace(&self, name: Name<'_>, bytes: &[u8]) -> Result<(), Error> {
        let partial = Path::new(name.0).with_extension(format!("partial-{}", std::process::id()));
        let partial = partial.as_os_str();
        let path = self.path_of(partial);
        // A rest of a process of the same pid.
        self.unlink(partial)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = self
            .open_at(partial, flags, mode, ResolveFlags::empty())
            .map_err(|e| Error::io("create", &path)(e.into()))?;
        File::from(fd)
            .write_all(bytes)
            .map_err(Error::io("write", &path))?;
        rustix::fs::renameat(&self.fd, partial, &self.fd, name.as_ref())
            .map_err(|e| Error::io("rename", &self.path_of(name))(e.into()))
    }

    /// Removes a file; says whether there was one.
    pub(super) fn remove_file(&self, name: Name<'_>) -> Result<bool, Error> {
        self.unlink(name.as_ref())
    }

    pub(super) fn unlink(&self, name: &OsStr) -> Result<bool, Error> {
        self.remove_entry(name, AtFlags::empty())
    }

    /// Removes a folder that is empty; says whether there was one.
    pub(super) fn remove_empty(&self, name: &OsStr) -> Result<bool, Error> {
        self.remove_entry(name, AtFlags::REMOVEDIR)
    }

    fn remove_entry(&self, name: &OsStr, flags: AtFlags) -> Result<bool, Error> {
        match rustix::fs::unlinkat(&self.fd, name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(Errno::BUSY) => Err(Error::Mounted {
                path: self.path_of(name),
            }),
            Err(e) => Err(Error::io("remove", &self.path_of(name))(e.into())),
        }
    }

    /// Whether something is mounted on `name`, and of which kind of file system (`statfs` magic).
    pub(super) fn mounted_on(&self, name: Name<'_>) -> Result<Option<u64>, Error> {
        let failed = |e: Errno| Error::io("open", &self.path_of(name))(e.into());
        let open = |resolve| self.open_at(name.as_ref(), OFlags::PATH, Mode::empty(), resolve);
        match open(ResolveFlags::NO_XDEV) {
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(Errno::XDEV) => {
                let root = open(ResolveFlags::empty()).map_err(failed)?;
                let kind = rustix::fs::fstatfs(&root).map_err(failed)?.f_type;
                Ok(Some(kind.cast_unsigned()))
            }
            Err(e) => Err(failed(e)),
        }
    }

    /// Takes away what is mounted on `name`.
    pub(super) fn unmount(&self, name: Name<'_>) -> Result<(), Error> {
        // Through the open folder: no other path leads there.
        let path = format!("/proc/self/fd/{}/{}", self.fd.as_raw_fd(), name.0);
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::NOFOLLOW)
            .map_err(|e| Error::io("unmount", &self.path_of(name))(e.into()))
    }

    /// The names in this folder, `limit` at most; not those that begin with a dot folder's name.
    pub(super) fn names(&self, limit: usize) -> Result<Vec<OsString>, Error> {
        let failed = |e: Errno| Error::io("read", &self.path)(e.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
            if names.len() == limit {
                break;
            }
        }
        Ok(names)
    }

    pub(super) fn is_folder(&self, name: &OsStr) -> Result<bool, Error> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(Error::io("read", &self.path_of(name))(e.into())),
        }
    }

    /// A folder in this one that is not a mount point.
    pub(super) fn same_mount(&self, name: &OsStr) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let path = self.path_of(name);
        match self.open_at(name, flags, Mode::empty(), ResolveFlags::NO_XDEV) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(Errno::XDEV) => Err(Error::Mounted { path }),
            Err(e) => Err(Error::io("open", &path)(e.into())),
        }
    }

    /// Moves a folder out of this one to `to`.
    pub(super) fn move_to(&self, name: &OsStr, to: &Self, new: &OsStr) -> Result<(), Error> {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, new, flags) {
            Err(Errno::BUSY) => Err(Error::Mounted {
                path: self.path_of(name),
            }),
            result => result.map_err(|e| Error::io("move", &self.path_of(name))(e.into())),
        }
    }
}
