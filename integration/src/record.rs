//! What the shim records of a container's hooks, followed until the bundle is gone.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::fanotify::{EventFFlags, Fanotify, FanotifyEvent, InitFlags, MarkFlags, MaskFlags};

use crate::wait::{self, TimedOut};

pub use podhook_hooks::record::{HookRecord, Record, Timestamp};

/// Reads `<bundle>/podhook.json`; none where there is no lifecycle, and when the bundle is gone.
#[must_use]
pub fn read(bundle: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(bundle.join("podhook.json")).ok()?).ok()
}

/// Every version of a record from the start of the watch. The file goes with the bundle, this stays.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Follows the record in `bundle`, which need not exist yet.
    #[must_use]
    pub fn start(bundle: PathBuf) -> Self {
        let seen = Seen {
            writes: Writes::below(&bundle),
            bundle,
            complete: false,
            versions: Vec::new(),
        };
        let watch = Self {
            seen: Arc::new(Mutex::new(seen)),
            stop: Arc::default(),
        };
        let (seen, stop) = (Arc::clone(&watch.seen), Arc::clone(&watch.stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let complete = lock(&seen).look();
                thread::sleep(Duration::from_millis(if complete { 20 } else { 1 }));
            }
        });
        watch
    }

    /// The latest version.
    #[must_use]
    pub fn latest(&self) -> Record {
        let mut seen = lock(&self.seen);
        seen.look();
        seen.versions.last().cloned().unwrap_or_default()
    }

    /// The phases in the order they were seen; short ones may be missing.
    #[must_use]
    pub fn phases(&self) -> Vec<String> {
        let mut seen = lock(&self.seen);
        seen.look();
        let versions = seen.versions.iter();
        let mut phases: Vec<_> = versions.map(|record| record.phase.to_string()).collect();
        phases.dedup();
        phases
    }

    /// A version for which `wanted` is true, if one was seen.
    pub fn find(&self, wanted: impl Fn(&Record) -> bool) -> Option<Record> {
        let mut seen = lock(&self.seen);
        seen.look();
        seen.versions.iter().find(|record| wanted(record)).cloned()
    }

    /// Waits for a version for which `wanted` is true.
    ///
    /// # Errors
    /// When there is none within `limit`.
    pub fn wait(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Record, TimedOut> {
        wait::until(what, limit, || self.find(&wanted))
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The versions so far, and what tells of further ones.
#[derive(Debug)]
struct Seen {
    bundle: PathBuf,
    writes: Option<Writes>,
    /// The version of before the watch has been read.
    complete: bool,
    versions: Vec<Record>,
}

impl Seen {
    /// Takes what is new. Whether nothing can be missed from now on.
    fn look(&mut self) -> bool {
        // What was written since the watch began comes by its event as well.
        let before = if self.complete {
            None
        } else {
            read(&self.bundle)
        };
        let written = self.writes.as_ref().map_or(Vec::new(), Writes::records);
        let before = before.filter(|before| !written.contains(before));
        for version in before.into_iter().chain(written) {
            if self.versions.last() != Some(&version) {
                self.versions.push(version);
            }
        }
        self.complete = self.writes.is_some();
        if self.writes.is_none() {
            self.writes = Writes::below(&self.bundle);
        }
        self.complete
    }
}

/// What is written in a bundle, from the kernel: containerd removes the bundle some milliseconds after the last
/// version of the record, and whoever looks for files by their names then comes too late on a busy machine. An event
/// holds the file itself, that has no name any more.
#[derive(Debug)]
struct Writes(Fanotify);

impl Writes {
    /// None without the bundle, or where the kernel offers no such events.
    fn below(bundle: &Path) -> Option<Self> {
        let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_NONBLOCK | InitFlags::FAN_CLOEXEC;
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC).ok()?;
        let written = MaskFlags::FAN_CLOSE_WRITE | MaskFlags::FAN_EVENT_ON_CHILD;
        // The path is absolute, and the folder of no importance.
        let folder = File::open("/").ok()?;
        group
            .mark(MarkFlags::FAN_MARK_ADD, written, folder, Some(bundle))
            .ok()?;
        Some(Self(group))
    }

    /// The versions that were written since the last call.
    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        while let Ok(events) = self.0.read_events() {
            for event in &events {
                records.extend(written(event));
            }
            if events.is_empty() {
                break;
            }
        }
        records
    }
}

/// The record that was written, if it was one.
fn written(event: &FanotifyEvent) -> Option<Record> {
    let file = File::from(event.fd()?.try_clone_to_owned().ok()?);
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes).ok()?;
    let is_record = path.to_string_lossy().contains("podhook.json");
    is_record
        .then(|| serde_json::from_slice(&bytes).ok())
        .flatten()
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
