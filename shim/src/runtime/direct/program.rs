//! Whether the OCI runtime is runc itself, of a version whose calls are known here.
//!
//! A program of that name may be a script, or one of another project that calls runc and wants to see each call. What a
//! program in Go was made of is in a section of its file (`go version -m`).

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, io};

use super::Unfit;
use crate::error::Error;

/// The file's name, wherever it is.
const NAME: &str = "runc";
/// The package that it is made of.
const PACKAGE: &str = "github.com/opencontainers/runc";
/// Where makers of packages have its version put.
const VERSION: &str = "main.version=";
/// The versions 1.N whose calls were read and tested. Many programs do not say theirs: there, the form of their state
/// decides alone.
const TESTED: [u32; 4] = [1, 3, 4, 5];

/// The section of an ELF file that says what a program in Go was made of, and the most that is read of one.
const SECTION: &[u8] = b".go.buildinfo";
const LIMIT: u64 = 256 << 10;

/// Refuses a `binary`, a name or a path, that is not known to be such a runc.
pub fn check(binary: &str) -> Result<(), Unfit> {
    if Path::new(binary).file_name() != Some(NAME.as_ref()) {
        return Err(Unfit::Is("the OCI runtime is not called runc"));
    }
    let (path, metadata) = find(binary).ok_or(Unfit::Is("there is no runc"))?;
    if known(&path, &metadata).map_err(Error::io("read", &path))? {
        Ok(())
    } else {
        Err(Unfit::Is("the OCI runtime is no runc of a tested version"))
    }
}

/// The file that is executed by this name.
fn find(binary: &str) -> Option<(PathBuf, Metadata)> {
    let candidates = match binary.contains('/') {
        true => vec![PathBuf::from(binary)],
        false => env::split_paths(&env::var_os("PATH")?)
            .map(|dir| dir.join(binary))
            .collect(),
    };
    candidates.into_iter().find_map(|path| {
        let metadata = fs::metadata(&path).ok()?;
        let is_program = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        is_program.then_some((path, metadata))
    })
}

/// A file as it was: another content has another of these.
#[derive(Debug, PartialEq, Eq)]
struct Seen([i64; 7]);

impl Seen {
    fn new(of: &Metadata) -> Self {
        let number = |number: u64| number.cast_signed();
        Self([
            number(of.dev()),
            number(of.ino()),
            number(of.size()),
            of.mtime(),
            of.mtime_nsec(),
            of.ctime(),
            of.ctime_nsec(),
        ])
    }
}

/// Reads each file once.
fn known(path: &Path, metadata: &Metadata) -> io::Result<bool> {
    static LAST: Mutex<Option<(Seen, bool)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((seen, known)) = &*last
        && *seen == Seen::new(metadata)
    {
        return Ok(*known);
    }
    let file = File::open(path)?;
    let seen = Seen::new(&file.metadata()?);
    let known = section(&file)?.is_some_and(|made_of| is_tested(&made_of));
    *last = Some((seen, known));
    Ok(known)
}

/// Whether a program that was made of this is a runc of a tested version.
fn is_tested(made_of: &[u8]) -> bool {
    let text = String::from_utf8_lossy(made_of);
    if !text.contains(&format!("path\t{PACKAGE}\n")) {
        return false;
    }
    let module = format!("mod\t{PACKAGE}\t");
    // A version that is none, as `(devel)`, says nothing.
    let said = [&*module, VERSION].into_iter().filter_map(|name| {
        let (_, version) = text.split_once(name)?;
        let version = version.trim_start_matches(['v', '\'', '"']);
        version
            .starts_with(|c: char| c.is_ascii_digit())
            .then_some(version)
    });
    said.into_iter().all(|version| {
        let mut numbers = version.split('.');
        let minor = numbers.clone().nth(1).and_then(|minor| minor.parse().ok());
        numbers.next() == Some("1") && minor.is_some_and(|minor| TESTED.contains(&minor))
    })
}

/// The section, of a 64-bit ELF file in this machine's order of bytes.
fn section(file: &File) -> io::Result<Option<Vec<u8>>> {
    const HEADER: usize = 64;
    let mut header = [0; HEADER];
    match file.read_exact_at(&mut header, 0) {
        Err(e) if is_outside(&e) => return Ok(None),
        other => other?,
    }
    let order: &[u8] = if cfg!(target_endian = "little") {
        b"\x02\x01"
    } else {
        b"\x02\x02"
    };
    if !header.starts_with(b"\x7fELF") || header.get(4..6) != Some(order) {
        return Ok(None);
    }
    let fields = (
        u64_at(&header, 0x28),
        u16_at(&header, 0x3a),
        u16_at(&header, 0x3c),
        u16_at(&header, 0x3e),
    );
    let (Some(offset), Some(size), Some(count), Some(names)) = fields else {
        return Ok(None);
    };
    let (size, names) = (usize::from(size), usize::from(names));
    let Some(table) = part(file, offset, size.saturating_mul(count.into()) as u64)? else {
        return Ok(None);
    };
    let mut entries = table.chunks_exact(size.max(1));
    let place = |entry: &[u8]| Some((u64_at(entry, 0x18)?, u64_at(entry, 0x20)?));
    let Some((offset, length)) = entries.clone().nth(names).and_then(place) else {
        return Ok(None);
    };
    let Some(names) = part(file, offset, length)? else {
        return Ok(None);
    };
    let is_it = |entry: &&[u8]| {
        let name = u32_at(entry, 0).and_then(|at| names.get(at as usize..));
        name.and_then(|name| name.split(|byte| *byte == 0).next()) == Some(SECTION)
    };
    match entries.find(is_it).and_then(place) {
        Some((offset, length)) => part(file, offset, length),
        None => Ok(None),
    }
}

/// A part of the file; none where it is not all there, or too large.
fn part(file: &File, offset: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
    if length > LIMIT {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(e) if is_outside(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether a read says that there is no such part: beyond the end, or beyond what an offset can be.
fn is_outside(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
    )
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes_at(bytes, at).map(u64::from_ne_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    /// A file as the linker of Go makes it, with this in its section.
    pub fn elf(made_of: &str) -> Vec<u8> {
        let names = b"\0.shstrtab\0.go.buildinfo\0";
        let section = [b"\xff Go buildinf:\x08\x02", made_of.as_bytes()].concat();
        let (names_at, section_at) = (64, 64 + names.len());
        let table_at = section_at + section.len();
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x28..0x30].copy_from_slice(&(table_at as u64).to_le_bytes());
        for (at, number) in [(0x3a, 64), (0x3c, 3), (0x3e, 1)] {
            file[at..at + 2].copy_from_slice(&u16::to_le_bytes(number));
        }
        file.extend_from_slice(names);
        file.extend_from_slice(&section);
        for (name, at, length) in [
            (0, 0, 0),
            (1, names_at, names.len()),
            (11, section_at, section.len()),
        ] {
            let mut entry = [0; 64];
            entry[..4].copy_from_slice(&u32::to_le_bytes(name));
            entry[0x18..0x20].copy_from_slice(&(at as u64).to_le_bytes());
            entry[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
            file.extend_from_slice(&entry);
        }
        file
    }

    fn section_of(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        section(&file).unwrap()
    }

    #[test]
    fn what_a_program_was_made_of_is_found() {
        let whole = elf("path\tx\n");
        assert!(section_of(&whole).unwrap().ends_with(b"path\tx\n"));
        assert_eq!(section_of(b"#!/bin/sh\nexec runc \"$@\"\n"), None);
        // Cut off anywhere, or with any one byte of the head broken, it is no such file, or one without the section.
        for length in 0..whole.len() {
            assert_eq!(section_of(&whole[..length]), None, "{length}");
        }
        for at in 0..64 {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            drop(section_of(&broken));
        }
    }

    #[test]
    fn only_runc_of_a_tested_version_is_known() {
        let tested = |text: &str| is_tested(text.as_bytes());
        let with = |rest: &str| tested(&format!("path\tgithub.com/opencontainers/runc\n{rest}"));
        // As Debian's, upstream's of different times, and those that a distribution makes.
        for known in [
            "build\t-compiler=gc\n",
            "mod\tgithub.com/opencontainers/runc\tv1.5.2\th1:x\n",
            "mod\tgithub.com/opencontainers/runc\tv1.3.0-0.2026+dirty\n",
            "mod\tgithub.com/opencontainers/runc\t(devel)\t\n",
            "mod\tgithub.com/opencontainers/runc\t(devel)\t\nbuild\t-ldflags=\"-X main.version=1.1.12 -s\"\n",
            "build\t-ldflags=\"-X 'main.version=1.4.3' -X main.gitCommit=v9\"\n",
        ] {
            assert!(with(known), "{known}");
        }
        for other in [
            "mod\tgithub.com/opencontainers/runc\tv1.2.4\th1:x\n",
            "mod\tgithub.com/opencontainers/runc\tv1.6.0\th1:x\n",
            "mod\tgithub.com/opencontainers/runc\tv2.1.0\th1:x\n",
            "mod\tgithub.com/opencontainers/runc\tv0.0.0-2026\th1:x\n",
            "mod\tgithub.com/opencontainers/runc\t(devel)\t\nbuild\t-ldflags=\"-X main.version=1.0.3\"\n",
        ] {
            assert!(!with(other), "{other}");
        }
        assert!(!tested(
            "path\tgithub.com/NVIDIA/nvidia-container-toolkit/cmd/nvidia-container-runtime\n"
        ));
        assert!(!tested(
            "path\tgithub.com/opencontainers/runc/contrib/cmd/x\n"
        ));
        assert!(!tested(""));
    }
}
