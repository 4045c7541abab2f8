//! The files of a node, below a root folder: `/`, or a node's that is mounted or made up somewhere.
//!
//! Links are followed within the root only, as the node itself would. What is written goes by a path none of whose
//! folders and links belongs to somebody who is not root or may be written by everybody, and over no link: who can write
//! to /tmp, or to a folder of their own, can not have root write elsewhere.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::error::Error;

/// The kernel's own limit.
const MAX_LINKS: usize = 40;
/// More than any program has.
const MAX_FILE: u64 = 512 << 20;
/// The bit of a folder in which everybody may write files of their own.
const STICKY: u32 = 0o1000;
/// The label of SELinux.
const LABEL: &str = "security.selinux";

/// A node's root folder, held open.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

/// A file as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub bytes: Vec<u8>,
    pub access: Access,
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Access {
    /// Permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Access {
    /// Of a new file that everybody may read.
    pub const NEW: Self = Self::of_root(0o644);
    /// Of a new program.
    pub const PROGRAM: Self = Self::of_root(0o755);

    /// A file of root's.
    #[must_use]
    pub const fn of_root(mode: u32) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
        }
    }
}

/// Whose folders a path may lead through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Any: the file is only looked at.
    All,
    /// Root's, which only root writes.
    Root,
}

impl Root {
    /// Opens the root folder.
    ///
    /// # Errors
    /// When it is no folder, or may not be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, &path, flags, Mode::empty())
            .map_err(|e| Error::io("open", &path, e))?;
        Ok(Self { path, fd })
    }

    /// Waits until no other install or uninstall is under way here, and keeps others waiting until it is dropped. The
    /// folder itself is what is locked: nothing is made for it.
    ///
    /// # Errors
    /// Where the file system has no locks.
    pub fn lock(&self) -> Result<(), Error> {
        rustix::fs::flock(&self.fd, FlockOperation::LockExclusive)
            .map_err(|e| Error::io("lock", &self.path, e))
    }

    /// Whether it is this machine's own.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.path == Path::new("/")
    }

    /// A path of the node as this machine has it: for messages.
    #[must_use]
    pub fn outside(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file, or none; for what is only looked at.
    ///
    /// # Errors
    /// When it cannot be read, or is no regular file.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.open_file(path)? else {
            return Ok(None);
        };
        self.bytes(path, file).map(Some)
    }

    /// The same as text; nothing where it cannot be read: for what is good to know.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.read(Path::new(path)).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file that is to be replaced, or none.
    ///
    /// # Errors
    /// As [`Self::read`]; for a link; and for a folder on the way that is not root's alone.
    pub fn read_to_edit(&self, path: &Path) -> Result<Option<Found>, Error> {
        let (parent, name) = split(path)?;
        let Some(folder) = self.walk(parent, Trust::Root, &mut None)? else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(self.link(path)),
            Err(e) => return Err(Error::io("open", &self.outside(path), e)),
        };
        let metadata = file
            .metadata()
            .map_err(|e| Error::io("read", &self.outside(path), e))?;
        let access = Access {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
        };
        let bytes = self.bytes(path, file)?;
        Ok(Some(Found { bytes, access }))
    }

    /// Whether there is such a file or folder.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.real_path(Path::new(path)).is_some()
    }

    /// The path as this machine has it, every link followed; none where there is nothing.
    #[must_use]
    pub fn real_path(&self, path: &Path) -> Option<PathBuf> {
        let fd = self.open_path(path).ok()??;
        std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
    }

    /// The same as the node has it.
    #[must_use]
    pub fn real_path_inside(&self, path: &Path) -> Option<PathBuf> {
        let root = std::fs::read_link(format!("/proc/self/fd/{}", self.fd.as_raw_fd())).ok()?;
        let real = self.real_path(path)?;
        Some(Path::new("/").join(real.strip_prefix(root).ok()?))
    }

    /// The names in a folder, in order; none where there is no folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self, path: &Path) -> Result<Vec<String>, Error> {
        let Some(folder) = self.walk(path, Trust::All, &mut None)? else {
            return Ok(Vec::new());
        };
        let failed = |e: Errno| Error::io("read", &self.outside(path), e);
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.extend(String::from_utf8(name).ok());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Replaces a file in one step that a crash of the machine does not cut: a reader sees the old or the new one.
    ///
    /// # Errors
    /// With the step that failed; the old file stays then.
    pub fn replace(&self, path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
        let (parent, name) = split(path)?;
        let shown = self.outside(path);
        let missing = || Error::io("open", &self.outside(parent), Errno::NOENT);
        let folder = self
            .walk(parent, Trust::Root, &mut None)?
            .ok_or_else(missing)?;
        let old = match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(old) if FileType::from_raw_mode(old.st_mode) == FileType::Symlink => {
                return Err(self.link(path));
            }
            Ok(_) => true,
            Err(Errno::NOENT) => false,
            Err(e) => return Err(Error::io("read", &shown, e)),
        };
        let mut new = OsString::from(".");
        new.push(name);
        new.push(".podhook-new");
        // What a run that was killed has left.
        match rustix::fs::unlinkat(&folder, &new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(Error::io("replace", &shown, e)),
        }
        let written = self.write_beside(&folder, name, &new, bytes, access, old);
        let replaced = written.and_then(|()| {
            rustix::fs::renameat(&folder, &new, &folder, name)?;
            Ok(rustix::fs::fsync(&folder)?)
        });
        replaced.map_err(|e| {
            let _ = rustix::fs::unlinkat(&folder, &new, AtFlags::empty());
            Error::io("write", &shown, e)
        })
    }

    fn write_beside(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        new: &OsStr,
        bytes: &[u8],
        access: Access,
        old: bool,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(folder, new, flags, mode)?;
        let mut file = File::from(fd);
        file.write_all(bytes)?;
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (access.uid, access.gid) {
            let (uid, gid) = (Uid::from_raw(access.uid), Gid::from_raw(access.gid));
            rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        // After the owner: that takes set-user-ID bits away.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(access.mode))?;
        if old {
            copy_label(folder, name, &file);
        }
        file.sync_all()
    }

    /// Removes a file; none is no error.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, path: &Path) -> Result<(), Error> {
        let (parent, name) = split(path)?;
        let Some(folder) = self.walk(parent, Trust::Root, &mut None)? else {
            return Ok(());
        };
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(Error::io("remove", &self.outside(path), e)),
        }
        rustix::fs::fsync(&folder).map_err(|e| Error::io("write", &self.outside(parent), e))
    }

    /// Makes a folder with those above it; gives those that were not there, the outermost first.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn make_folder(&self, path: &Path, mode: u32) -> Result<Vec<PathBuf>, Error> {
        let mut made = Some((mode, Vec::new()));
        self.walk(path, Trust::Root, &mut made)?;
        Ok(made.map(|(_, made)| made).unwrap_or_default())
    }

    /// Removes a folder if it is empty.
    pub fn remove_empty_folder(&self, path: &Path) {
        if let Ok((parent, name)) = split(path)
            && let Ok(Some(folder)) = self.walk(parent, Trust::Root, &mut None)
        {
            let _ = rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR);
        }
    }

    fn bytes(&self, path: &Path, file: File) -> Result<Vec<u8>, Error> {
        let failed = |e: io::Error| Error::io("read", &self.outside(path), e);
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("not a regular file")));
        }
        let mut bytes = Vec::new();
        let limit = MAX_FILE.saturating_add(1);
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(failed(ErrorKind::FileTooLarge.into()));
        }
        Ok(bytes)
    }

    fn open_file(&self, path: &Path) -> Result<Option<File>, Error> {
        let Some(fd) = self.open_path(path)? else {
            return Ok(None);
        };
        // Through the open file: no other path leads there.
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, link, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(e) => Err(Error::io("open", &self.outside(path), e)),
        }
    }

    /// The file or folder itself, its last link followed.
    fn open_path(&self, path: &Path) -> Result<Option<OwnedFd>, Error> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Ok((parent, name)) = split(&path) else {
                return self.walk(&path, Trust::All, &mut None);
            };
            let Some(folder) = self.walk(parent, Trust::All, &mut None)? else {
                return Ok(None);
            };
            let failed = |e| Error::io("open", &self.outside(&path), e);
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(e) => return Err(failed(e)),
            };
            let stat = rustix::fs::fstat(&fd).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                return Ok(Some(fd));
            }
            let target = rustix::fs::readlinkat(&folder, name, Vec::new()).map_err(failed)?;
            path = parent.join(OsStr::from_bytes(target.as_bytes()));
        }
        Err(Error::io("open", &self.outside(&path), Errno::LOOP))
    }

    /// Opens a folder, component by component; `None` where there is none and none is to be made.
    fn walk(
        &self,
        path: &Path,
        trust: Trust,
        made: &mut Option<(u32, Vec<PathBuf>)>,
    ) -> Result<Option<OwnedFd>, Error> {
        let mut stack: Vec<(OwnedFd, PathBuf)> = Vec::new();
        let mut pending: VecDeque<OsString> = parts(path).collect();
        let mut links = 0_usize;
        let failed = |path: &Path, e: Errno| Error::io("open", &self.outside(path), e);
        while let Some(part) = pending.pop_front() {
            if part == ".." {
                stack.pop();
                continue;
            }
            let (at, here) = match stack.last() {
                Some((fd, path)) => (fd, path.clone()),
                None => (&self.fd, PathBuf::from("/")),
            };
            let next = here.join(&part);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match rustix::fs::openat(at, &part, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    let Some((mode, made)) = made.as_mut() else {
                        return Ok(None);
                    };
                    let mode = Mode::from_raw_mode(*mode);
                    match rustix::fs::mkdirat(at, &part, mode) {
                        Ok(()) => made.push(next.clone()),
                        Err(Errno::EXIST) => {}
                        Err(e) => return Err(Error::io("create", &self.outside(&next), e)),
                    }
                    rustix::fs::openat(at, &part, flags, Mode::empty())
                }
                opened => opened,
            };
            match opened {
                Ok(fd) => {
                    let stat = rustix::fs::fstat(&fd).map_err(|e| failed(&next, e))?;
                    self.trusted(trust, &stat, &next)?;
                    stack.push((fd, next));
                }
                // A link, or no folder.
                Err(e @ (Errno::NOTDIR | Errno::LOOP)) => {
                    let stat = rustix::fs::statat(at, &part, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(|e| failed(&next, e))?;
                    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                        return match trust {
                            Trust::All => Ok(None),
                            Trust::Root => Err(failed(&next, e)),
                        };
                    }
                    links = links.saturating_add(1);
                    if links > MAX_LINKS {
                        return Err(failed(&next, Errno::LOOP));
                    }
                    if trust == Trust::Root && !is_own(stat.st_uid) {
                        return Err(Error::Untrusted {
                            path: self.outside(&next),
                            why: "a link that is not root's",
                            hint: "name the file itself, or make the link root's (chown -h root)",
                        });
                    }
                    let target = rustix::fs::readlinkat(at, &part, Vec::new())
                        .map_err(|e| failed(&next, e))?;
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        stack.clear();
                    }
                    let rest = std::mem::take(&mut pending);
                    pending = parts(&target).chain(rest).collect();
                }
                Err(e) => return Err(failed(&next, e)),
            }
        }
        match stack.pop() {
            Some((fd, _)) => Ok(Some(fd)),
            None => self
                .fd
                .try_clone()
                .map(Some)
                .map_err(|e| Error::io("open", &self.path, e)),
        }
    }

    fn trusted(&self, trust: Trust, stat: &Stat, path: &Path) -> Result<(), Error> {
        let (why, hint) = if trust == Trust::All {
            return Ok(());
        } else if !is_own(stat.st_uid) {
            ("a folder that is not root's", "chown root and chmod o-w it")
        } else if stat.st_mode & 0o002 == 0 {
            return Ok(());
        } else if stat.st_mode & STICKY != 0 {
            // As /tmp is, and has to be.
            let hint = "keep the file in a folder that is root's alone, as /etc/containerd is";
            ("a folder that everybody may write to", hint)
        } else {
            ("a folder that everybody may write to", "chmod o-w it")
        };
        Err(Error::Untrusted {
            path: self.outside(path),
            why,
            hint,
        })
    }

    fn link(&self, path: &Path) -> Error {
        Error::Link {
            path: self.outside(path),
            target: self.real_path_inside(path),
        }
    }
}

/// Root's, or of whoever runs this: in a test that is not root.
fn is_own(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// The label goes with the file that is replaced; where there is none, nothing does.
fn copy_label(folder: &OwnedFd, name: &OsStr, new: &File) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(old) = rustix::fs::openat(folder, name, flags, Mode::empty()) else {
        return;
    };
    let mut label = [0_u8; 1024];
    if let Ok(length) = rustix::fs::fgetxattr(&old, LABEL, &mut label[..])
        && let Some(label) = label.get(..length)
    {
        let _ = rustix::fs::fsetxattr(new, LABEL, label, XattrFlags::empty());
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    parts.collect::<Vec<_>>().into_iter()
}

/// The folder and the name in it.
fn split(path: &Path) -> Result<(&Path, &OsStr), Error> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(Error::io("open", path, Errno::ISDIR)),
    }
}
