//! The files of the node's journal: read at once, from every position that can be kept, and while they are written.
//!
//! In the input 0xff begins the next file, 0xfe stands for a quarter of what is read at once.
#![no_main]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use podhook::node::journal::{Item, Line, Reader, ended, runs};
use podhook_hooks::journal::{Entry, MAX_LINE, Segment, ordered};
use podhook_hooks::record::Record;

/// No line is as long.
const PART: usize = 4 * MAX_LINE;
/// As many files and long pieces are enough.
const FILES: usize = 4;
const LONG: usize = 9;

fuzz_target!(|input: &[u8]| {
    names(input);
    let files = files(input);
    let expected = expected(&files);
    let folder = tempfile::tempdir().expect("a folder");
    let while_written = read_while_written(folder.path(), &files);
    assert_eq!(while_written, expected, "while it was written");
    let at_once = all(&mut Reader::new(folder.path()));
    assert_eq!(at_once, expected, "at once");
    assert_eq!(from_each_position(folder.path()), expected, "resumed");
    lines(at_once.into_iter().flatten().collect());
});

/// The names that a folder may have.
fn names(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let found = ordered(text.lines());
    assert!(found.is_sorted());
    for segment in found {
        assert_eq!(Segment::named(&segment.to_string()), Some(segment));
    }
}

fn files(input: &[u8]) -> Vec<Vec<u8>> {
    let mut long = 0;
    let parts = input.splitn(FILES, |byte| *byte == 0xff);
    let files = parts.map(|part| {
        let mut file = Vec::new();
        for byte in part {
            if *byte == 0xfe && long < LONG {
                long += 1;
                file.resize(file.len() + MAX_LINE, b'x');
            } else {
                file.push(*byte);
            }
        }
        file
    });
    files.collect()
}

/// What is to come of them, simply: a line, or that there is none to read.
fn expected(files: &[Vec<u8>]) -> Vec<Option<Line>> {
    let mut all = Vec::new();
    for (n, file) in files.iter().enumerate() {
        let mut parts: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
        let last = parts.pop().unwrap_or_default();
        for line in parts.into_iter().filter(|line| !line.is_empty()) {
            all.push(line_of(line).filter(|_| line.len() < PART));
        }
        // The last one has no end. Where more files follow it gets none; else it may be written just now.
        let is_last = n + 1 == files.len();
        if last.len() >= PART || !is_last && !last.is_empty() {
            all.push(None);
        }
    }
    all
}

fn line_of(text: &[u8]) -> Option<Line> {
    let json = serde_json::from_slice(text).ok()?;
    let entry = Entry::from_json(&json).ok()?;
    Some(Line { entry, json })
}

fn all(reader: &mut Reader) -> Vec<Option<Line>> {
    let mut all = Vec::new();
    reader
        .read_all(|item: Item| all.push(item.ok()))
        .expect("a folder");
    all
}

fn path(folder: &Path, n: usize) -> PathBuf {
    let segment = Segment {
        number: n as u64,
        begun: 1,
    };
    folder.join(segment.to_string())
}

/// Writes them, each in two pieces, and reads what there is after each.
fn read_while_written(folder: &Path, files: &[Vec<u8>]) -> Vec<Option<Line>> {
    let mut reader = Reader::new(folder);
    let mut read = Vec::new();
    for (n, file) in files.iter().enumerate() {
        let (begin, end) = file.split_at(file.len() / 2);
        let mut output = fs::File::create(path(folder, n)).expect("a file");
        for piece in [begin, end] {
            output.write_all(piece).expect("a file");
            read.extend(all(&mut reader));
        }
    }
    read
}

/// Each time another reader.
fn from_each_position(folder: &Path) -> Vec<Option<Line>> {
    let mut reader = Reader::new(folder);
    let mut read = Vec::new();
    loop {
        let items = reader.read().expect("a folder");
        if items.is_empty() {
            return read;
        }
        read.extend(items.into_iter().map(Item::ok));
        let position = reader.position().expect("a position");
        reader = Reader::from(folder, &position);
    }
}

/// What is made of lines.
fn lines(lines: Vec<Line>) {
    for line in &lines {
        // Written again it is as it was, but where it would be too long.
        if let Ok(text) = line.entry.line() {
            assert!(text.len() <= MAX_LINE && text.ends_with('\n'));
            let again = line_of(text.as_bytes()).expect("a line").entry;
            assert_eq!(again.id, line.entry.id);
            if serde_json::to_string(&line.entry).is_ok_and(|json| json.len() < MAX_LINE / 6) {
                assert_eq!(again, line.entry);
            }
        }
    }
    let containers = runs(lines.iter().cloned());
    let hooks = lines.iter().filter(|line| line.entry.hook.is_some());
    let kept = containers.iter().map(|run| run.record.hooks.len());
    assert_eq!(kept.sum::<usize>(), hooks.count(), "no hook is lost");
    for run in &containers {
        let record = Record::from_json(&run.json).expect("a record");
        assert_eq!(record, run.record);
    }
    let is_told =
        |run: &podhook::node::journal::Run| run.is_ended || run.record.phase.as_str() == "Removed";
    assert!(ended(containers, &[]).iter().all(is_told));
}
