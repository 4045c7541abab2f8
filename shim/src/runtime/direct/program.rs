//! Whether the OCI runtime is runc or crun itself, of a version whose calls are known here.
//!
//! A program of that name may be a script, or one of another project that calls runc and wants to see each call. What a
//! program in Go was made of is in a section of its file (`go version -m`). crun has the commit that it was made of among its
//! constants: `crun --version` tells it.

use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, io};

use super::{Unfit, elf};
use crate::error::Error;

/// What the file may be called, wherever it is: nodes have either in the other's place.
const NAMES: [&str; 2] = ["runc", "crun"];

/// Where a program in Go says what it was made of, and the most that is read of it.
const MADE_OF: (&[u8], u64) = (b".go.buildinfo", 256 << 10);
/// runc's package.
const PACKAGE: &str = "github.com/opencontainers/runc";
/// Where makers of packages have its version put.
const VERSION: &str = "main.version=";
/// The versions 1.N of runc whose calls were read and tested. Many programs do not say theirs: there, the form of their
/// state decides alone.
const RUNC_TESTED: [u32; 4] = [1, 3, 4, 5];

/// Where a program in C has its constants, and the most that is read of them.
const CONSTANTS: (&[u8], u64) = (b".rodata", 1 << 20);
/// The commits of the versions of crun whose calls were read and tested: 1.8.1, 1.21, 1.28. A release has the same
/// whoever makes a package of it.
const CRUN_TESTED: [&[u8]; 3] = [
    b"f8a096be060b22ccd3d5f3ebe44108517fbf6c30",
    b"10269840aa07fb7e6b7e1acff6198692d8ff5c88",
    b"54f16ffbefcd022bf032af768b5c5ce075c18bfc",
];
/// A constant of the code for `start`, which is in a library of another version where crun was linked so.
const CRUN_CODE: &[u8] = b"write to exec.fifo";

/// An OCI runtime whose calls are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Runc,
    Crun,
}

/// Which one `binary`, a name or a path, is.
///
/// # Errors
/// Where it is not known to be either.
pub fn kind(binary: &str) -> Result<Kind, Unfit> {
    let name = Path::new(binary).file_name();
    if !NAMES.iter().any(|known| name == Some(known.as_ref())) {
        return Err(Unfit::Is("the OCI runtime is not called runc or crun"));
    }
    let (path, metadata) = find(binary).ok_or(Unfit::Is("there is no such OCI runtime"))?;
    let known = known(&path, &metadata).map_err(Error::io("read", &path))?;
    known.ok_or(Unfit::Is(
        "the OCI runtime is no runc and no crun of a tested version",
    ))
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
fn known(path: &Path, metadata: &Metadata) -> io::Result<Option<Kind>> {
    static LAST: Mutex<Option<(Seen, Option<Kind>)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((seen, known)) = &*last
        && *seen == Seen::new(metadata)
    {
        return Ok(*known);
    }
    let file = File::open(path)?;
    let seen = Seen::new(&file.metadata()?);
    let known = identify(&file)?;
    *last = Some((seen, known));
    Ok(known)
}

fn identify(file: &File) -> io::Result<Option<Kind>> {
    if let Some(made_of) = elf::section(file, MADE_OF.0, MADE_OF.1)? {
        return Ok(is_runc(&made_of).then_some(Kind::Runc));
    }
    let constants = elf::section(file, CONSTANTS.0, CONSTANTS.1)?;
    Ok(constants
        .is_some_and(|constants| is_crun(&constants))
        .then_some(Kind::Crun))
}

/// Whether a program with these constants is a crun of a tested version.
fn is_crun(constants: &[u8]) -> bool {
    let texts = || constants.split(|byte| *byte == 0);
    texts().any(|text| CRUN_TESTED.contains(&text)) && texts().any(|text| text == CRUN_CODE)
}

/// Whether a program that was made of this is a runc of a tested version.
fn is_runc(made_of: &[u8]) -> bool {
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
        numbers.next() == Some("1") && minor.is_some_and(|minor| RUNC_TESTED.contains(&minor))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runc_of_a_tested_version_is_known() {
        let tested = |text: &str| is_runc(text.as_bytes());
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

    #[test]
    fn only_crun_of_a_tested_version_is_known() {
        let of = |texts: &[&[u8]]| is_crun(&texts.join(&b"\0"[..]));
        for commit in CRUN_TESTED {
            assert!(of(&[b"directory\n", b"", commit, b"", CRUN_CODE, b""]));
            let changed = commit.split_last().unwrap().1;
            for other in [changed, &[commit, b"-dirty"].concat()] {
                assert!(!of(&[b"", other, CRUN_CODE]));
            }
            assert!(!of(&[commit, b"exec.fifo"]), "linked to a library");
        }
        assert!(!of(&[CRUN_CODE]));
    }
}
