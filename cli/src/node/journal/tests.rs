//! Reading and following what shims write.

use std::fs;
use std::time::Duration;

use podhook_hooks::config::{JournalKeys, JournalPlace};
use podhook_hooks::journal::{Event, Journal};
use podhook_hooks::record::{HookRecord, Record, TerminationRecord};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::node::bundles::{Bundle, Recorded};

struct Node {
    dir: TempDir,
    journal: Journal,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = JournalKeys {
            place: JournalPlace::Folder(dir.path().join("journal")),
            // Segments of 128 KiB.
            size: 1 << 20,
            ..JournalKeys::default()
        };
        let journal = Journal::of(&keys, None).unwrap();
        Self { dir, journal }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn write(&self, id: &str) {
        let record = Record::new(id, "default", None);
        self.journal
            .append(&Entry::now(Event::ContainerEnded, &record))
            .unwrap();
    }

    fn write_long(&self, id: &str) {
        let record = Record::new(id, "default", None);
        let hook = HookRecord {
            output: Some("x".repeat(4000)),
            ..HookRecord::default()
        };
        let entry = Entry {
            hook: Some(hook),
            ..Entry::now(Event::HookEnded, &record)
        };
        self.journal.append(&entry).unwrap();
    }

    fn segments(&self) -> Vec<PathBuf> {
        let names = fs::read_dir(self.folder()).unwrap();
        let mut paths: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

/// The IDs of lines, and the reasons of what is none.
fn told(items: Vec<Item>) -> Vec<String> {
    let told = items.into_iter().map(|item| match item {
        Ok(line) => line.entry.id,
        Err(e) => {
            let reason = e.reason.split(':').next().unwrap().to_owned();
            format!("! {reason}")
        }
    });
    told.collect()
}

fn rest(reader: &mut Reader) -> Vec<String> {
    let mut items = Vec::new();
    reader.read_all(|item| items.push(item)).unwrap();
    told(items)
}

#[test]
fn lines_are_read_in_order_over_segments_and_once() {
    let node = Node::new();
    let mut reader = Reader::new(&node.folder());
    assert!(rest(&mut reader).is_empty(), "there is no folder yet");
    assert_eq!(reader.position(), None);
    let ids: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    ids.iter().for_each(|id| node.write_long(id));
    assert!(node.segments().len() > 2);
    assert_eq!(rest(&mut reader), ids);
    assert!(rest(&mut reader).is_empty());
    node.write("more");
    assert_eq!(rest(&mut reader), ["more"]);
}

#[test]
fn who_has_kept_a_position_goes_on_there() {
    let node = Node::new();
    for id in ["a", "b"] {
        node.write(id);
    }
    let mut reader = Reader::new(&node.folder());
    rest(&mut reader);
    let position = serde_json::to_string(&reader.position()).unwrap();
    node.write("c");
    let position: Position = serde_json::from_str(&position).unwrap();
    assert_eq!(rest(&mut Reader::from(&node.folder(), &position)), ["c"]);
    // Behind a long absence: the segment is gone.
    for n in 0..400 {
        node.write_long(&n.to_string());
    }
    let all = rest(&mut Reader::new(&node.folder()));
    assert_eq!(rest(&mut Reader::from(&node.folder(), &position)), all);
    assert!(!all.contains(&"c".to_owned()) && all.len() > 100);
    // A boot has emptied the folder, and it has the same numbers again.
    fs::remove_dir_all(node.folder()).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    node.write("new");
    assert_eq!(rest(&mut Reader::from(&node.folder(), &position)), ["new"]);
    // A file that somebody has cut.
    let mut reader = Reader::new(&node.folder());
    rest(&mut reader);
    let path = node.segments().pop().unwrap();
    fs::write(&path, "").unwrap();
    node.write("x");
    assert_eq!(rest(&mut reader), ["x"]);
    let none = Position {
        segment: "../../etc/passwd".to_owned(),
        offset: 7,
    };
    assert_eq!(rest(&mut Reader::from(&node.folder(), &none)), ["x"]);
}

#[test]
fn bad_lines_are_named_and_hide_no_others() {
    let node = Node::new();
    node.write("a");
    let path = node.segments().pop().unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let long = "x".repeat(700_000);
    let text = format!("{good}{{\"version\":1,\"ti\n\n[]\n\0\0\u{1b}[2J\n{good}{long}\n{good}");
    fs::write(&path, text).unwrap();
    let mut reader = Reader::new(&node.folder());
    assert_eq!(
        rest(&mut reader),
        [
            "a",
            "! not a line of the journal",
            "! not a line of the journal",
            "! not a line of the journal",
            "a",
            "! a line is too long",
            "a",
        ]
    );
    let mut items = Vec::new();
    let mut again = Reader::new(&node.folder());
    again.read_all(|item| items.push(item)).unwrap();
    let named = items.into_iter().find_map(Result::err).unwrap().to_string();
    assert!(named.starts_with(&path.display().to_string()), "{named}");
}

#[test]
fn the_beginning_of_a_line_is_waited_for_until_a_later_segment_is_there() {
    let node = Node::new();
    node.write("a");
    let path = node.segments().pop().unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let (begin, end) = good.split_at(20);
    fs::write(&path, format!("{good}{begin}")).unwrap();
    let mut reader = Reader::new(&node.folder());
    assert_eq!(rest(&mut reader), ["a"]);
    fs::write(&path, format!("{good}{begin}{end}{begin}")).unwrap();
    assert_eq!(rest(&mut reader), ["a"]);
    // Killed, and the disk was full: nobody has ended it.
    fs::write(node.folder().join("00000002-0000000001.jsonl"), &good).unwrap();
    assert_eq!(rest(&mut reader), ["! its last line is cut off", "a"]);
}

#[test]
fn a_line_that_is_too_long_hides_nothing_after_it() {
    let node = Node::new();
    node.write("a");
    let path = node.segments().pop().unwrap();
    let good = fs::read_to_string(&path).unwrap();
    // As much as is read at once, and then what would be a line.
    let long = "x".repeat(256 * 1024);
    fs::write(&path, format!("{long}{good}{good}")).unwrap();
    let mut reader = Reader::new(&node.folder());
    assert_eq!(told(reader.read().unwrap()), ["! a line is too long"]);
    let kept = reader.position().unwrap();
    assert_eq!(rest(&mut reader), ["a"]);
    assert_eq!(rest(&mut Reader::from(&node.folder(), &kept)), ["a"]);
    // It ends with its segment, at a place to which was read.
    fs::write(&path, &long).unwrap();
    fs::write(node.folder().join("00000002-0000000001.jsonl"), &good).unwrap();
    let all = rest(&mut Reader::new(&node.folder()));
    assert_eq!(all, ["! a line is too long", "a"]);
}

#[test]
fn what_is_no_file_is_named_once_and_not_waited_for() {
    let node = Node::new();
    node.write("a");
    let fifo = node.folder().join("00000002-0000000001.jsonl");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let secret = node.dir.path().join("secret");
    fs::write(&secret, "{}\n").unwrap();
    let link = node.folder().join("00000003-0000000001.jsonl");
    std::os::unix::fs::symlink(&secret, link).unwrap();
    let mut reader = Reader::new(&node.folder());
    let told = rest(&mut reader);
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[..2], ["a", "! not a regular file"]);
    assert!(told[2].starts_with("! "), "{told:?}");
    assert!(rest(&mut reader).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_files_hold_reading_ends_and_a_position_is_in_them(
        files in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), any::<u8>()], 0..400), 1..4),
        offset in 0..500_u64,
    ) {
        let node = tempfile::tempdir().unwrap();
        for (n, text) in files.iter().enumerate() {
            fs::write(node.path().join(format!("{n:08}-0000000001.jsonl")), text).unwrap();
        }
        let position = Position {
            segment: "00000000-0000000001.jsonl".to_owned(),
            offset,
        };
        for mut reader in [Reader::new(node.path()), Reader::from(node.path(), &position)] {
            let told = rest(&mut reader);
            let most: usize = files.iter().map(|text| text.split(|byte| *byte == b'\n').count()).sum();
            prop_assert!(told.len() <= most);
            let (at, last) = (reader.position().unwrap(), files.len() - 1);
            prop_assert_eq!(at.segment, format!("{last:08}-0000000001.jsonl"));
            prop_assert!(at.offset <= files[last].len() as u64);
        }
    }
}

#[tokio::test]
async fn a_follower_sees_every_line_of_many_segments() {
    let node = Node::new();
    let reader = Reader::new(&node.folder());
    let mut follower = Follower::new(reader).unwrap();
    let journal = node.journal.clone();
    let writer = std::thread::spawn(move || {
        let record = |n: u32| Record::new(n.to_string(), "default", None);
        for n in 0..200 {
            let hook = HookRecord {
                output: Some("x".repeat(2000)),
                ..HookRecord::default()
            };
            let entry = Entry {
                hook: Some(hook),
                ..Entry::now(Event::HookEnded, &record(n))
            };
            journal.append(&entry).unwrap();
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 200 {
        let items = tokio::time::timeout(Duration::from_secs(60), follower.next());
        seen.extend(told(items.await.unwrap().unwrap()));
    }
    writer.join().unwrap();
    let all: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(seen, all);
    assert!(node.segments().len() > 2);
}

/// A line about container `id`.
fn line(id: &str, event: &str, fields: Value) -> Line {
    let mut json =
        json!({"version": 1, "event": event, "id": id, "namespace": "default", "phase": "Stopped"});
    for (name, value) in fields.as_object().unwrap() {
        json[name] = value.clone();
    }
    Line {
        entry: Entry::from_json(&json).unwrap(),
        json,
    }
}

fn end(id: &str, second: u32) -> Line {
    let exited = format!("2026-11-23T20:00:{second:02}.000000Z");
    line(
        id,
        "ContainerEnded",
        json!({"termination": {"exitedAt": exited, "exitStatus": 0, "later": 1}}),
    )
}

fn hook(id: &str) -> Line {
    line(
        id,
        "HookEnded",
        json!({"phase": "Running", "hook": {"hook": "postStart", "handler": "exec", "result": "Succeeded", "later": 2}}),
    )
}

#[test]
fn the_lines_of_a_container_are_its_record_and_an_id_may_be_used_again() {
    let failed = line("a", "StartFailed", json!({"message": "m"}));
    let lines = [
        hook("a"),
        hook("b"),
        end("a", 1),
        failed,
        hook("a"),
        end("a", 2),
        end("c", 3),
    ];
    let runs = runs(lines);
    let shown: Vec<_> = runs
        .iter()
        .map(|run| (&*run.record.id, run.record.hooks.len(), run.is_ended))
        .collect();
    assert_eq!(
        shown,
        [
            ("a", 1, true),
            ("b", 1, false),
            ("a", 1, true),
            ("c", 0, true)
        ]
    );
    let json = &runs[0].json;
    assert_eq!(json["termination"]["later"], 1);
    assert_eq!(json["hooks"][0]["later"], 2);
    assert_eq!(json["phase"], "Stopped");
    assert_eq!(Record::from_json(json).unwrap(), runs[0].record);
}

#[test]
fn what_has_a_record_is_not_gone() {
    let live = |id: &str, exited: Option<&Line>| {
        let mut record = Record::new(id, "default", None);
        record.termination = exited.and_then(|line| line.entry.termination.clone());
        Recorded {
            bundle: Bundle {
                namespace: "default".to_owned(),
                id: id.to_owned(),
                path: PathBuf::new(),
            },
            json: json!({}),
            record,
        }
    };
    let lines = || {
        [
            end("again", 1),
            hook("runs"),
            end("stopped", 2),
            hook("lost"),
            end("gone", 3),
        ]
    };
    let found = [
        live("again", None),
        live("runs", None),
        live("stopped", Some(&end("stopped", 2))),
    ];
    let ended = ended(runs(lines()), &found);
    let shown: Vec<_> = ended
        .iter()
        .map(|run| (&*run.record.id, run.record.phase.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("again", "Stopped"),
            ("lost", "Removed"),
            ("gone", "Stopped")
        ]
    );
    assert_eq!(ended[1].json["phase"], "Removed");
    assert_eq!(
        ended[0].record.termination,
        Some(TerminationRecord {
            exited_at: end("again", 1).entry.termination.unwrap().exited_at,
            exit_status: Some(0),
            ..TerminationRecord::default()
        })
    );
}

#[test]
fn the_journal_is_where_it_is_said_to_be() {
    let given = Path::new("/somewhere");
    assert_eq!(folder(Some(given), given).unwrap(), given);
}
