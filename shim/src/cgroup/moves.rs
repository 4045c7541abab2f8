//! Moves of processes between cgroups, made quick.
//!
//! A write to `cgroup.procs` takes a lock of the whole kernel (`cgroup_threadgroup_rwsem`), and for that waits for a grace
//! period of RCU, 7 to 20 ms, unless another move was just made. The OCI runtime makes such a move in each `create`.
//! So the shim makes moves that change nothing while the runtime's program is being started: the first one waits, and the
//! runtime's own comes just after one of the others.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{process, thread};

use super::file;
use super::locate::{self, Layout};
use crate::host::apart;

/// Between two moves: less than a grace period.
const PERIOD: Duration = Duration::from_millis(8);
/// The most there are after the first. Until then the runtime has made its own, or the node has so much to do that it is no matter;
/// and each of them holds up, for a moment, whatever forks.
const MORE: usize = 5;
/// What waits takes longer.
const WAITS: Duration = Duration::from_millis(1);

/// Moves are quick until this is dropped, for some time at the longest. Where that cannot be had they are as always.
pub struct QuickMoves(#[allow(dead_code, reason = "its drop is what counts")] Arc<()>);

impl QuickMoves {
    /// Returns at once.
    pub fn start() -> Self {
        let wanted = Arc::new(());
        let until = Arc::downgrade(&wanted);
        drop(apart::start(move || {
            if let Some(mut procs) = own() {
                // The process that writes, to where it is.
                repeat(&until, || procs.write_all(b"0").is_ok());
            }
        }));
        Self(wanted)
    }
}

/// A first one that has not waited shows that there is no wait, or that others make moves all the time.
fn repeat(until: &Weak<()>, mut one: impl FnMut() -> bool) {
    let begun = Instant::now();
    if !one() || begun.elapsed() < WAITS {
        return;
    }
    for _ in 0..MORE {
        thread::sleep(PERIOD);
        if until.strong_count() == 0 || !one() {
            return;
        }
    }
}

/// `cgroup.procs` of a cgroup that this process is in.
fn own() -> Option<File> {
    OpenOptions::new()
        .write(true)
        .open(own_dir()?.join("cgroup.procs"))
        .ok()
}

/// The mounts are looked through again only where the process was moved: they may be many.
fn own_dir() -> Option<PathBuf> {
    static KNOWN: Mutex<Option<(String, PathBuf)>> = Mutex::new(None);
    let now = file::read(Path::new("/proc/self/cgroup")).ok()??;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, dir)) = known.as_ref().filter(|(then, _)| *then == now) {
        return Some(dir.clone());
    }
    let dir = match locate::of_pid(Path::new("/proc"), process::id().cast_signed()).ok()? {
        Layout::V1(found) => found.v1.into_iter().next()?.1,
        Layout::V2(dir) => dir,
    };
    *known = Some((now, dir.clone()));
    Some(dir)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn cgroups() -> String {
        fs::read_to_string("/proc/self/cgroup").unwrap()
    }

    #[test]
    fn a_move_to_where_the_process_is_changes_nothing() {
        let before = cgroups();
        let procs = own().expect("tests run as root");
        for _ in 0..3 {
            (&procs).write_all(b"0").unwrap();
        }
        assert_eq!(cgroups(), before);
        let members = fs::read_to_string(own_dir().unwrap().join("cgroup.procs")).unwrap();
        let own = process::id().to_string();
        assert!(members.lines().any(|pid| pid == own), "{members}");
    }

    #[test]
    fn there_are_as_many_as_are_wanted_and_not_for_ever() {
        let wanted = Arc::new(());
        let until = Arc::downgrade(&wanted);
        let count = |takes: Duration, limit: usize| {
            let mut made = 0;
            repeat(&until, || {
                thread::sleep(takes);
                made += 1;
                made < limit
            });
            made
        };
        assert_eq!(count(2 * WAITS, usize::MAX), 1 + MORE);
        assert_eq!(count(2 * WAITS, 2), 2);
        drop(wanted);
        assert_eq!(count(2 * WAITS, usize::MAX), 1);
    }

    #[test]
    fn where_nothing_waits_there_is_one() {
        let wanted = Arc::new(());
        let mut made = 0;
        // On a busy machine one that does nothing may be late, once and again.
        let is_one = (0..1000).any(|_| {
            made = 0;
            repeat(&Arc::downgrade(&wanted), || {
                made += 1;
                made < 2
            });
            made == 1
        });
        assert!(is_one, "{made}");
    }
}
