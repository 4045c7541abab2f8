//! Many writers, full disks, killed writers, clocks that jump, and folders that are not ours.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::journal::{Event, MAX_LINE, ordered};
use crate::record::{HookRecord, Record};

const MIB: u64 = 1 << 20;
const DAY: u64 = 24 * 60 * 60;

fn journal(folder: &Path) -> Journal {
    Journal {
        folder: folder.to_owned(),
        size: MIB,
        age: Duration::from_secs(8 * DAY),
        // A machine that is busy with other tests.
        patience: Duration::from_secs(60),
    }
}

fn entry(id: &str) -> Entry {
    Entry::now(Event::ContainerEnded, &Record::new(id, "default", None))
}

/// An entry that takes about so many bytes.
fn long(id: &str, bytes: usize) -> Entry {
    Entry {
        hook: Some(HookRecord {
            output: Some("x".repeat(bytes)),
            ..HookRecord::default()
        }),
        ..entry(id)
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found = ordered(names).into_iter();
    found.map(|one| folder.join(one.to_string())).collect()
}

fn lines(folder: &Path) -> Vec<String> {
    let text = segments(folder).into_iter();
    let text: String = text.map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(text.is_empty() || text.ends_with('\n'), "a line is cut");
    text.lines().map(str::to_owned).collect()
}

/// The ids of all entries, each of which must be whole.
fn ids(folder: &Path) -> Vec<String> {
    let id = |line: &String| {
        let json = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        Entry::from_json(&json).unwrap().id
    };
    lines(folder).iter().map(id).collect()
}

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("podhook/journal");
    (dir, folder)
}

#[test]
fn many_writers_lose_nothing_and_tear_nothing_over_many_segments() {
    let (_dir, folder) = place();
    let journal = Journal {
        size: 8 * MIB,
        ..journal(&folder)
    };
    // 32 × 60 lines of some 2 KiB are 4 MiB: at least four segments of 1 MiB.
    thread::scope(|scope| {
        for writer in 0..32 {
            let journal = &journal;
            scope.spawn(move || {
                for n in 0..60 {
                    journal
                        .append(&long(&format!("{writer}-{n}"), 2000))
                        .unwrap();
                }
            });
        }
    });
    let ids = ids(&folder);
    assert_eq!(ids.len(), 32 * 60);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 32 * 60);
    assert!(segments(&folder).len() >= 4);
    // Each writer's own lines are in its order.
    for writer in 0..32 {
        let own = ids
            .iter()
            .filter_map(|id| id.strip_prefix(&format!("{writer}-")));
        let own: Vec<u32> = own.map(|n| n.parse().unwrap()).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}

#[test]
fn many_processes_lose_nothing_and_tear_nothing() {
    if let Ok(folder) = std::env::var("PODHOOK_TEST_JOURNAL") {
        let journal = journal(Path::new(&folder));
        for n in 0..20 {
            let id = format!("{}-{n}", std::process::id());
            journal.append(&long(&id, 1000)).unwrap();
        }
        return;
    }
    let (_dir, folder) = place();
    let name = "journal::write::tests::many_processes_lose_nothing_and_tear_nothing";
    let start = || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env("PODHOOK_TEST_JOURNAL", &folder)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut writers: Vec<_> = (0..32).map(|_| start()).collect();
    for writer in &mut writers {
        assert!(writer.wait().unwrap().success());
    }
    let ids: BTreeSet<_> = ids(&folder).into_iter().collect();
    assert_eq!(ids.len(), 32 * 20);
    assert!(segments(&folder).len() > 4);
}

#[test]
fn the_journal_never_grows_beyond_its_size_and_the_oldest_go_first() {
    let (_dir, folder) = place();
    let journal = journal(&folder);
    for n in 0..400 {
        journal.append(&long(&n.to_string(), 8000)).unwrap();
        let size: u64 = segments(&folder)
            .iter()
            .map(|path| path.metadata().unwrap().len())
            .sum();
        assert!(size <= MIB, "{size} after {n}");
    }
    let ids: Vec<u32> = ids(&folder).iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids.last(), Some(&399));
    assert!(ids.is_sorted() && ids.len() > 80, "{}", ids.len());
    assert!(ids[0] > 200);
}

#[test]
fn what_is_too_old_goes_and_a_quiet_node_begins_anew() {
    let (_dir, folder) = place();
    let journal = journal(&folder);
    let now = SystemTime::now();
    journal.append_at(&entry("old"), now).unwrap();
    journal.append_at(&entry("same"), now).unwrap();
    assert_eq!(segments(&folder).len(), 1);
    let days = |days: u64| now + Duration::from_secs(days * DAY);
    // An eighth of the age.
    journal.append_at(&entry("next"), days(1)).unwrap();
    assert_eq!(segments(&folder).len(), 2);
    journal.append_at(&entry("later"), days(8)).unwrap();
    assert_eq!(ids(&folder), ["old", "same", "next", "later"]);
    journal.append_at(&entry("last"), days(10)).unwrap();
    // By when they were written, which is today for all of them.
    assert_eq!(ids(&folder), ["last"]);
}

#[test]
fn a_clock_that_was_set_back_drops_nothing_and_the_order_is_that_of_writing() {
    let (_dir, folder) = place();
    let journal = journal(&folder);
    let now = SystemTime::now();
    journal
        .append_at(&entry("a"), now + Duration::from_secs(400 * DAY))
        .unwrap();
    journal.append_at(&entry("b"), now).unwrap();
    assert_eq!(segments(&folder).len(), 1);
    journal.append_at(&entry("c"), at(0)).unwrap();
    for n in 0..20 {
        journal
            .append_at(&long(&n.to_string(), 8000), at(5))
            .unwrap();
    }
    assert_eq!(ids(&folder)[..4], ["a", "b", "c", "0"]);
    assert_eq!(ids(&folder).len(), 23);
    // Before 1970.
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    journal.append_at(&entry("d"), before).unwrap();
    assert_eq!(ids(&folder).last().unwrap(), "d");
}

#[test]
fn what_a_killed_writer_has_left_is_a_line_of_its_own() {
    let (_dir, folder) = place();
    let journal = journal(&folder);
    journal.append(&entry("a")).unwrap();
    let path = segments(&folder).pop().unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    for rest in ["{\"version\":1,\"ti", "\0\0\0\0"] {
        fs::write(&path, format!("{whole}{rest}")).unwrap();
        journal.append(&entry("b")).unwrap();
        let lines = lines(&folder);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[1], rest);
        assert!(lines[2].contains("\"id\":\"b\""));
    }
    // An empty segment is one that was just begun.
    fs::write(&path, "").unwrap();
    journal.append(&entry("c")).unwrap();
    assert_eq!(ids(&folder), ["c"]);
}

#[test]
fn who_is_stopped_with_the_lock_holds_up_nobody_for_long() {
    let (_dir, folder) = place();
    let journal = Journal {
        patience: Duration::from_millis(20),
        ..journal(&folder)
    };
    journal.append(&entry("a")).unwrap();
    let held = Folder::open(&folder).unwrap();
    let lock = Locked::take(held.file(), Duration::ZERO).unwrap();
    journal.append(&entry("b")).unwrap();
    assert_eq!(ids(&folder), ["a", "b"]);
    // Full is full, or it would grow without end.
    let path = segments(&folder).pop().unwrap();
    fs::write(&path, vec![b'\n'; (MIB / 4) as usize]).unwrap();
    let error = journal.append(&entry("c")).unwrap_err().to_string();
    assert!(error.contains("locked by somebody"), "{error}");
    drop(lock);
    journal.append(&entry("d")).unwrap();
    assert_eq!(segments(&folder).len(), 2);
}

#[test]
fn the_folder_and_its_files_are_for_root_alone() {
    let (dir, folder) = place();
    journal(&folder).append(&entry("a")).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("podhook")), 0o700);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&segments(&folder)[0]), 0o600);
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    let error = journal(&folder)
        .append(&entry("b"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("others may write"), "{error}");
    // One that can be read by others: its files cannot.
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    journal(&folder).append(&entry("b")).unwrap();
}

#[test]
fn nothing_is_written_through_a_link_or_into_what_is_no_file() {
    let (dir, folder) = place();
    let victim = dir.path().join("victim");
    fs::write(&victim, "kept").unwrap();
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    let journal = journal(&folder);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let name = |number| folder.join(Segment { number, begun: now }.to_string());
    symlink(&victim, name(1)).unwrap();
    journal.append(&entry("a")).unwrap();
    fs::hard_link(&victim, name(3)).unwrap();
    journal.append(&entry("b")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, name(5), rustix::fs::Mode::RWXU).unwrap();
    journal.append(&entry("c")).unwrap();
    fs::create_dir(name(7)).unwrap();
    journal.append(&entry("d")).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
    for number in [2, 4, 6, 8] {
        let found = segments(&folder).into_iter();
        let mut found = found.filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            Segment::named(name).unwrap().number == number
        });
        assert_eq!(
            fs::read_to_string(found.next().unwrap())
                .unwrap()
                .lines()
                .count(),
            1
        );
    }
    // The folder itself.
    let link = dir.path().join("link");
    symlink(&folder, &link).unwrap();
    let error = self::journal(&link)
        .append(&entry("e"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("open "), "{error}");
}

#[test]
fn the_last_number_is_no_panic() {
    let (_dir, folder) = place();
    journal(&folder).append(&entry("a")).unwrap();
    let last = Segment {
        number: u64::MAX,
        begun: 1,
    };
    fs::write(folder.join(last.to_string()), vec![b'\n'; MIB as usize]).unwrap();
    let _ = journal(&folder).append(&entry("b"));
}

#[test]
fn no_folder_no_disk_no_space_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    let error = journal(&deep).append(&entry("a")).unwrap_err().to_string();
    assert!(
        error.starts_with("create ") && error.contains("/a/b: "),
        "{error}"
    );
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = journal(&file).append(&entry("a")).unwrap_err().to_string();
    assert!(error.starts_with("open "), "{error}");
    // The kernel's own full disk.
    let full = File::options()
        .read(true)
        .write(true)
        .open("/dev/full")
        .unwrap();
    let error = write(full, 0, "line\n", false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[test]
fn the_longest_line_fits_into_the_smallest_segment() {
    assert!((MAX_LINE as u64) < MIB / PARTS);
}

/// In a mount namespace with a file system of 32 KiB at `$PODHOOK_TEST_DISK`.
#[test]
fn a_full_disk_tears_no_line_and_is_written_again_when_there_is_room() {
    let name =
        "journal::write::tests::a_full_disk_tears_no_line_and_is_written_again_when_there_is_room";
    let Some(disk) = std::env::var_os("PODHOOK_TEST_DISK").map(PathBuf::from) else {
        if !rustix::process::geteuid().is_root() {
            eprintln!("NOT TESTED: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=32k,mode=700 none \"$PODHOOK_TEST_DISK\" && exec \"$0\" --exact \"$1\"";
        let ended = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env("PODHOOK_TEST_DISK", dir.path())
            .output()
            .unwrap();
        assert!(ended.status.success(), "{ended:?}");
        return;
    };
    let mount = |options: &str| {
        let mut command = std::process::Command::new("mount");
        let command = command.args(["-o", options]).arg(&disk);
        assert!(command.status().unwrap().success());
    };
    let (folder, journal) = (disk.clone(), journal(&disk));
    let mut written = 0;
    let error = loop {
        match journal.append(&long(&written.to_string(), 3000)) {
            Ok(()) => written += 1,
            Err(e) => break e.to_string(),
        }
    };
    assert!(
        error.starts_with("write ") && error.contains("no storage space"),
        "{error}"
    );
    assert!(written >= 8, "{written}");
    assert_eq!(ids(&folder).len(), written);
    assert!(journal.append(&long("still", 9000)).is_err());
    mount("remount,size=64k");
    journal.append(&entry("room")).unwrap();
    assert_eq!(ids(&folder).len(), written + 1);
    mount("remount,ro");
    let error = journal.append(&entry("a")).unwrap_err().to_string();
    assert!(error.contains("Read-only file system"), "{error}");
}
