//! A section of a program's file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The most that is read of the tables.
const TABLE: u64 = 256 << 10;

/// The section of this name, of a 64-bit ELF file in this machine's order of bytes; none where it has more than `limit` bytes.
pub fn section(file: &File, name: &[u8], limit: u64) -> io::Result<Option<Vec<u8>>> {
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
    let Some(table) = part(
        file,
        offset,
        size.saturating_mul(count.into()) as u64,
        TABLE,
    )?
    else {
        return Ok(None);
    };
    let mut entries = table.chunks_exact(size.max(1));
    let place = |entry: &[u8]| Some((u64_at(entry, 0x18)?, u64_at(entry, 0x20)?));
    let Some((offset, length)) = entries.clone().nth(names).and_then(place) else {
        return Ok(None);
    };
    let Some(names) = part(file, offset, length, TABLE)? else {
        return Ok(None);
    };
    let is_it = |entry: &&[u8]| {
        let found = u32_at(entry, 0).and_then(|at| names.get(at as usize..));
        found.and_then(|found| found.split(|byte| *byte == 0).next()) == Some(name)
    };
    match entries.find(is_it).and_then(place) {
        Some((offset, length)) => part(file, offset, length, limit),
        None => Ok(None),
    }
}

/// A part of the file; none where it is not all there, or too large.
fn part(file: &File, offset: u64, length: u64, limit: u64) -> io::Result<Option<Vec<u8>>> {
    if length > limit {
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
pub mod tests {
    use std::io::Write;

    use super::*;

    /// A file as a linker makes it, with a section.
    pub fn elf(name: &str, section: &[u8]) -> Vec<u8> {
        let names = [b"\0.shstrtab\0", name.as_bytes(), b"\0"].concat();
        let (names_at, section_at) = (64, 64 + names.len());
        let table_at = section_at + section.len();
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x28..0x30].copy_from_slice(&(table_at as u64).to_le_bytes());
        for (at, number) in [(0x3a, 64), (0x3c, 3), (0x3e, 1)] {
            file[at..at + 2].copy_from_slice(&u16::to_le_bytes(number));
        }
        file.extend_from_slice(&names);
        file.extend_from_slice(section);
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
        section(&file, b".go.buildinfo", 7).unwrap()
    }

    #[test]
    fn what_a_program_was_made_of_is_found() {
        let whole = elf(".go.buildinfo", b"path\tx\n");
        assert_eq!(section_of(&whole).unwrap(), b"path\tx\n");
        assert_eq!(section_of(&elf(".go.buildinf", b"path\tx\n")), None);
        assert_eq!(
            section_of(&elf(".go.buildinfo", b"path\txy\n")),
            None,
            "too long"
        );
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
}
