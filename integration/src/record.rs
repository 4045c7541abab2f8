//! What the shim records of a container's hooks, followed until the bundle is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

pub use podhook::hooks::{Hook, Record, Termination};

use crate::wait::{self, TimedOut};

/// Reads `<bundle>/podhook.json`; none where there is no lifecycle, and when the bundle is gone.
#[must_use]
pub fn read(bundle: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(bundle.join("podhook.json")).ok()?).ok()
}

/// Every version of a record that was seen. The file goes with the bundle, this stays.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Vec<Record>>>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Follows the record in `bundle`, which need not exist yet.
    #[must_use]
    pub fn start(bundle: PathBuf) -> Self {
        let watch = Self {
            seen: Arc::default(),
            stop: Arc::default(),
        };
        let (seen, stop) = (Arc::clone(&watch.seen), Arc::clone(&watch.stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Some(record) = read(&bundle) {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    if seen.last() != Some(&record) {
                        seen.push(record);
                    }
                }
                // containerd removes the bundle some milliseconds after the last version.
                thread::sleep(Duration::from_millis(1));
            }
        });
        watch
    }

    /// The latest version.
    #[must_use]
    pub fn latest(&self) -> Record {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last()
            .cloned()
            .unwrap_or_default()
    }

    /// The phases in the order they were seen; short ones may be missing.
    #[must_use]
    pub fn phases(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut phases: Vec<_> = seen.iter().map(|record| record.phase.clone()).collect();
        phases.dedup();
        phases
    }

    /// A version for which `wanted` is true, if one was seen.
    pub fn find(&self, wanted: impl Fn(&Record) -> bool) -> Option<Record> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().find(|record| wanted(record)).cloned()
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

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
