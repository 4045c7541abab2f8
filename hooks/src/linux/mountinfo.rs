//! The mounts of this process: `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub const TABLE: &str = "/proc/self/mountinfo";

/// A node with ten thousand mounts has some megabytes.
const MOST: u64 = 64 << 20;

/// One line. Its paths are escaped as the kernel wrote them.
#[derive(Debug, Clone, Copy)]
pub struct Mount<'a> {
    root: &'a [u8],
    point: &'a [u8],
    /// The type of the file system.
    pub kind: &'a [u8],
    /// The options of the file system, separated by commas.
    pub options: &'a [u8],
}

impl<'a> Mount<'a> {
    /// `None` for what is no line of the table.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.trim_ascii_end();
        let middle = line.windows(3).position(|three| three == b" - ")?;
        let (before, after) = line.split_at_checked(middle)?;
        let after = after.strip_prefix(b" - ")?;
        let blank = |byte: &u8| *byte == b' ';
        let mut before = before.split(blank).skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(blank);
        let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
        Some(Self {
            root,
            point,
            kind,
            options,
        })
    }

    /// The folder of the file system that is mounted.
    pub fn root(&self) -> PathBuf {
        unescape(self.root)
    }

    pub fn point(&self) -> PathBuf {
        unescape(self.point)
    }
}

/// Hands every mount of `table` to `each`, the earliest first. Line by line: on a full node all of them together are
/// megabytes.
///
/// # Errors
/// Where the table cannot be read, or has more than 64 MiB.
pub fn read(table: &Path, mut each: impl FnMut(Mount<'_>)) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(table)?.take(MOST));
    let (mut line, mut total) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)? as u64;
        total = read.saturating_add(total);
        if total >= MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if line.is_empty() {
            return Ok(());
        }
        if let Some(mount) = Mount::parse(&line) {
            each(mount);
        }
    }
}

/// The mount points at and below `folder`, the latest first. The path is the kernel's own, without links.
///
/// # Errors
/// As of [`read`].
pub fn points_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut points = Vec::new();
    read(Path::new(TABLE), |mount| {
        let point = mount.point();
        if point.starts_with(folder) {
            points.push(point);
        }
    })?;
    points.reverse();
    Ok(points)
}

/// Undoes the kernel's mangle_path(): blanks, backslashes and their like are octal (`\040`).
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        match tail
            .split_first_chunk::<3>()
            .filter(|_| *first == b'\\')
            .and_then(octal)
        {
            Some((byte, tail)) => {
                bytes.push(byte);
                rest = tail;
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The byte that three digits stand for, and what follows them.
fn octal<'a>((digits, tail): (&[u8; 3], &'a [u8])) -> Option<(u8, &'a [u8])> {
    let digits = OsStr::from_bytes(digits).to_str()?;
    Some((u8::from_str_radix(digits, 8).ok()?, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_parts_whatever_options_it_has() {
        let line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.root(), Path::new("/mnt1"));
        assert_eq!(mount.point(), Path::new("/mnt2"));
        assert_eq!(mount.kind, b"ext3");
        assert_eq!(mount.options, b"rw,errors=continue");
        let plain = Mount::parse(b"36 35 0:1 / /x rw - tmpfs tmpfs rw").unwrap();
        assert_eq!((plain.kind, plain.options), (&b"tmpfs"[..], &b"rw"[..]));
        for wrong in ["", "36 35 0:1 / /x rw", "36 35 0:1 - tmpfs tmpfs rw"] {
            assert!(Mount::parse(wrong.as_bytes()).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn escapes_are_undone_once() {
        assert_eq!(unescape(br"/a\040b\134c\011\012"), Path::new("/a b\\c\t\n"));
        assert_eq!(
            unescape(br"/a\134040"),
            Path::new(r"/a\040"),
            "a backslash and digits"
        );
        assert_eq!(unescape(br"/plain\"), Path::new(r"/plain\"));
        assert_eq!(unescape(br"/a\0"), Path::new(r"/a\0"));
        assert_eq!(unescape(br"/a\777"), Path::new(r"/a\777"), "no byte");
        assert_eq!(unescape(b"/\xff\\043").as_os_str().as_bytes(), b"/\xff#");
    }

    #[test]
    fn this_process_has_a_root_and_a_procfs() {
        let all = points_below(Path::new("/")).unwrap();
        assert!(all.contains(&PathBuf::from("/proc")));
        assert!(all.contains(&PathBuf::from("/")));
        assert!(points_below(Path::new("/proc/version")).unwrap().is_empty());
    }
}
