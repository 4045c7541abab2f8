//! The numbers of the node: what shims left when they ended, and what those alive said last.
//!
//! One file per containerd, `<state>/podhook/counters.json`, under one lock. A command that asks the shims holds
//! the lock meanwhile, so a shim's numbers are either in its answer or in the file, never in both and
//! never in neither: sums over the node do not fall when a pod ends, which Prometheus would take for
//! a counter that began anew. The state directory is that of the running system: a boot empties it,
//! as it ends the shims.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Counters;
use crate::build::Build;
use crate::linux::file;

/// containerd's folder of bundles below its state directory.
pub const TASKS: &str = "io.containerd.runtime.v2.task";
/// The same of the bundles of pods without a pause container.
pub const SANDBOXES: &str = "io.containerd.sandbox.controller.v1.shim";
/// podhook's folder below containerd's state directory.
const FOLDER: &str = "podhook";
const FILE: &str = "counters.json";
/// How long a shim may be unreachable before it is taken for killed, s: one that ends leaves its
/// numbers within moments.
const PATIENCE: u64 = 60;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Of shims that have ended.
    pub ended: Counters,
    /// What the others said when they were asked last, by their own names.
    pub live: BTreeMap<String, Live>,
}

/// The last word of a shim.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Live {
    pub address: String,
    /// Its numbers.
    pub counters: Counters,
    /// Since when nothing listens on its socket, s since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<u64>,
}

/// What a shim answers to the question for its numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// A name that no other shim has: addresses are used again.
    pub shim: String,
    /// Its program's, which may have been replaced since.
    pub build: Build,
    /// Its numbers.
    pub counters: Counters,
}

impl Ledger {
    /// A shim ends.
    pub fn hand_over(&mut self, last: &Answer) {
        self.live.remove(&last.shim);
        self.ended.add(&last.counters);
    }

    /// A shim has answered.
    pub fn seen(&mut self, address: &str, answer: Answer) {
        let live = Live {
            address: address.to_owned(),
            counters: answer.counters,
            missing_since: None,
        };
        self.live.insert(answer.shim, live);
    }

    /// Nothing listens at the socket of a shim that has not said goodbye: it was killed, or is just
    /// about to.
    pub fn missed(&mut self, shim: &str, now: u64) {
        let Some(live) = self.live.get_mut(shim) else {
            return;
        };
        let since = *live.missing_since.get_or_insert(now);
        if now.saturating_sub(since) > PATIENCE
            && let Some(live) = self.live.remove(shim)
        {
            self.ended.add(&live.counters);
        }
    }

    /// The sum over the node.
    pub fn total(&self) -> Counters {
        let mut total = self.ended.clone();
        for live in self.live.values() {
            total.add(&live.counters);
        }
        total
    }
}

/// The lock, and the right to read and write.
#[derive(Debug)]
pub struct Locked {
    folder: PathBuf,
    _lock: File,
}

/// The state directory of the containerd that a bundle belongs to.
pub fn state_of(bundle: &Path) -> Option<PathBuf> {
    let bundles = bundle.parent()?.parent()?;
    let name = bundles.file_name()?;
    (name == TASKS || name == SANDBOXES).then_some(bundles.parent()?.to_owned())
}

/// Takes the lock if it is free.
///
/// # Errors
/// When the folder or the lock's file cannot be made.
pub fn try_lock(state: &Path) -> io::Result<Option<Locked>> {
    let folder = state.join(FOLDER);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // Not the file itself: that is replaced.
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(Locked {
            folder,
            _lock: lock,
        })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

impl Locked {
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Reads it; an empty one where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is no such file.
    pub fn read(&self) -> io::Result<Ledger> {
        match fs::read(self.path()) {
            Ok(json) => Ok(serde_json::from_slice(&json)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Ledger::default()),
            Err(e) => Err(e),
        }
    }

    /// Replaces it.
    ///
    /// # Errors
    /// When it cannot be written; the old one stays then.
    pub fn write(&self, ledger: &Ledger) -> io::Result<()> {
        let json = serde_json::to_vec(ledger)?;
        file::replace(&self.path(), &json, 0o600).map_err(|error| error.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(shim: &str, execs: u64) -> Answer {
        Answer {
            shim: shim.to_owned(),
            build: Build::own(),
            counters: Counters {
                execs_native: execs,
                ..Counters::default()
            },
        }
    }

    #[test]
    fn the_sum_does_not_fall_when_a_shim_ends() {
        let mut ledger = Ledger::default();
        ledger.seen("a", answer("1", 5));
        ledger.seen("b", answer("2", 3));
        assert_eq!(ledger.total().execs_native, 8);
        // It has gone on since.
        ledger.hand_over(&answer("1", 7));
        assert_eq!(ledger.total().execs_native, 10);
        // One that was never asked.
        ledger.hand_over(&answer("3", 1));
        assert_eq!(ledger.total().execs_native, 11);
    }

    #[test]
    fn a_killed_shim_keeps_what_it_said_last() {
        let mut ledger = Ledger::default();
        ledger.seen("a", answer("1", 5));
        ledger.missed("1", 1000);
        ledger.missed("1", 1000 + PATIENCE);
        assert!(ledger.live.contains_key("1"), "it may still say goodbye");
        ledger.missed("1", 1001 + PATIENCE);
        assert!(ledger.live.is_empty());
        assert_eq!(ledger.total().execs_native, 5);
    }

    #[test]
    fn a_shim_at_the_address_of_an_earlier_one_is_another() {
        let mut ledger = Ledger::default();
        ledger.seen("a", answer("1", 5));
        ledger.seen("a", answer("2", 1));
        assert_eq!(ledger.total().execs_native, 6);
    }

    #[test]
    fn one_at_a_time_writes_and_nothing_is_lost() {
        let state = tempfile::tempdir().unwrap();
        let locked = try_lock(state.path()).unwrap().unwrap();
        assert!(try_lock(state.path()).unwrap().is_none());
        let mut ledger = locked.read().unwrap();
        ledger.hand_over(&answer("1", 2));
        ledger.seen("b", answer("2", 3));
        locked.write(&ledger).unwrap();
        drop(locked);
        let again = try_lock(state.path()).unwrap().unwrap();
        assert_eq!(again.read().unwrap(), ledger);
        fs::write(again.path(), "{").unwrap();
        assert!(again.read().is_err());
    }

    #[test]
    fn the_state_directory_is_found_from_a_bundle() {
        for bundles in [TASKS, SANDBOXES] {
            let bundle = Path::new("/run/containerd").join(bundles).join("k8s.io/c1");
            assert_eq!(
                state_of(&bundle).as_deref(),
                Some(Path::new("/run/containerd"))
            );
        }
        assert_eq!(state_of(Path::new("/somewhere/else/c1")), None);
    }
}
