//! The archive: what is put in has a limit, alone and together, and the README says what was cut.

use std::fmt::Write as _;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

/// The largest file, in bytes.
const MAX_FILE: usize = 1 << 20;
/// All files together.
const MAX_ALL: usize = 16 << 20;

/// What goes into a report.
#[derive(Debug, Default)]
pub(super) struct Archive {
    files: Vec<File>,
    /// What could not be had, and why.
    absent: Vec<(String, String)>,
    size: usize,
}

#[derive(Debug)]
struct File {
    name: String,
    about: String,
    bytes: Vec<u8>,
    /// How much was left off at its beginning.
    cut: usize,
}

impl Archive {
    /// Adds a file. Of one that is too large the end is kept.
    pub(super) fn add(&mut self, name: impl Into<String>, about: &str, bytes: impl Into<Vec<u8>>) {
        let mut bytes = bytes.into();
        let room = MAX_ALL.saturating_sub(self.size).min(MAX_FILE);
        let cut = bytes.len().saturating_sub(room);
        bytes.drain(..cut);
        self.size = self.size.saturating_add(bytes.len());
        self.files.push(File {
            name: name.into(),
            about: about.to_owned(),
            bytes,
            cut,
        });
    }

    /// Says in the README that a file is not there.
    pub(super) fn absent(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.absent.push((name.into(), why.into()));
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// A line for each file.
    pub(super) fn contents(&self) -> String {
        let widest = self.files.iter().map(|file| file.name.len()).max();
        let mut text = String::new();
        for file in &self.files {
            let _ = write!(
                text,
                "  {:width$}  {}",
                file.name,
                file.about,
                width = widest.unwrap_or(0)
            );
            if file.cut > 0 {
                let _ = write!(
                    text,
                    " (too large: its first {} bytes are left off)",
                    file.cut
                );
            }
            text.push('\n');
        }
        if !self.absent.is_empty() {
            text.push_str("\nNot in it:\n");
        }
        for (name, why) in &self.absent {
            let _ = writeln!(text, "  {name}  {why}");
        }
        text
    }

    /// Writes it, below a folder of that name, with the README first.
    pub(super) fn write(
        &self,
        folder: &str,
        readme: &str,
        time: u64,
        to: impl Write,
    ) -> io::Result<()> {
        let mut builder = Builder::new(GzEncoder::new(to, Compression::default()));
        let mut put = |name: &str, bytes: &[u8]| {
            let mut header = Header::new_gnu();
            header.set_mode(0o600);
            header.set_mtime(time);
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, format!("{folder}/{name}"), bytes)
        };
        put("README", readme.as_bytes())?;
        for file in &self.files {
            put(&file.name, &file.bytes)?;
        }
        builder.into_inner()?.finish()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_limit_and_says_what_was_cut() {
        let mut archive = Archive::default();
        let mut large = vec![b'x'; MAX_FILE];
        large.extend(b"end");
        archive.add("log", "the log", large);
        let contents = archive.contents();
        assert_eq!(
            contents,
            "  log  the log (too large: its first 3 bytes are left off)\n"
        );
        assert!(archive.files[0].bytes.ends_with(b"end"));
        archive.absent("logs/x.log", "journalctl: not found");
        let contents = archive.contents();
        let end = "\nNot in it:\n  logs/x.log  journalctl: not found\n";
        assert!(contents.ends_with(end), "{contents}");
        for _ in 0..20 {
            archive.add("more", "", vec![b'y'; MAX_FILE]);
        }
        let total: usize = archive.files.iter().map(|file| file.bytes.len()).sum();
        assert_eq!(total, MAX_ALL);
    }
}
