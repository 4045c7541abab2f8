//! What a program prints, kept in memory: a file, not a pipe. There is nothing to read while it runs, and nothing that
//! can fill up.

use std::fs::File;
use std::io::{Read, Seek};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::error::{Error, Result};

/// The file, to be given to the program.
pub fn file() -> Result<File> {
    let fd =
        memfd_create(c"captured", MFdFlags::MFD_CLOEXEC).map_err(Error::sys("create a memfd"))?;
    Ok(fd.into())
}

/// Its first bytes. The descriptor shares its offset with the program's, which is at the end.
pub fn read_back(mut file: File, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if file.rewind().is_ok() {
        let _ = file.take(limit).read_to_end(&mut bytes);
    }
    bytes
}
