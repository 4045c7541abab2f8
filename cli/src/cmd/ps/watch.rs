//! `podhook ps --watch`: a line for every change, as `kubectl get --watch` prints them.
//!
//! The kernel tells when a record is replaced: its last versions live some milliseconds, until
//! containerd removes the bundle.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use podhook_hooks::named::OpenEnum;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::header;
use super::row::{self, Row};
use crate::args::{self, RecordOutput};
use crate::clock;
use crate::cmd::error::Error;
use crate::node::bundles::{self, Bundle, Recorded};
use crate::node::query::{Query, Reports};
use crate::output::print;
use crate::output::table::Table;

/// How often to look without being told: for what the kernel cannot watch, or was not asked to yet.
const POLL: Duration = Duration::from_secs(1);

/// Prints what there is, then the changes, until it is interrupted.
pub(crate) async fn run(query: &Query, args: &args::Ps) -> Result<(), Error> {
    let mut view = View {
        query,
        wide: args.output == Some(RecordOutput::Wide),
        headers: !args.no_headers,
        table: Table::default(),
        known: BTreeMap::new(),
        reports: Reports::default(),
    };
    let mut changes = Changes::new(&query.state)?;
    loop {
        // Before the files are read: what changes meanwhile is told.
        let bundles = bundles::list(&query.state)?;
        changes.watch(&bundles);
        view.update(bundles)?;
        changes.wait().await?;
    }
}

/// What is on the screen.
struct View<'a> {
    query: &'a Query,
    wide: bool,
    headers: bool,
    table: Table,
    known: BTreeMap<Bundle, Known>,
    reports: Reports,
}

/// A record as it was read last.
struct Known {
    /// The file's inode and time: another file is another version.
    file: (u64, i64, i64),
    recorded: Option<Recorded>,
    printed: Vec<Vec<String>>,
}

impl View<'_> {
    fn update(&mut self, bundles: Vec<Bundle>) -> Result<(), Error> {
        let now = clock::now();
        let mut before = std::mem::take(&mut self.known);
        for bundle in bundles {
            // Taken before the file is read: a version in between is read again.
            let Some(file) = version(&bundle) else {
                continue;
            };
            let known = before.remove(&bundle);
            if let Some(known) = known.as_ref().filter(|known| known.file == file) {
                let known = Known {
                    recorded: known.recorded.clone(),
                    printed: known.printed.clone(),
                    file,
                };
                self.known.insert(bundle, known);
                continue;
            }
            let mut printed = known.map(|known| known.printed).unwrap_or_default();
            let recorded = match bundle.recorded() {
                Ok(recorded) => recorded.filter(|recorded| self.query.wants(recorded)),
                Err(e) => {
                    self.reports.add(&e.path.clone(), &e);
                    None
                }
            };
            if let Some(recorded) = &recorded {
                let rows = row::rows(&recorded.record);
                let states: Vec<_> = rows.iter().map(Row::state).collect();
                for (row, state) in rows.iter().zip(&states) {
                    if !printed.contains(state) {
                        self.line(row.cells(self.wide, now));
                    }
                }
                printed = states;
            }
            self.known.insert(
                bundle,
                Known {
                    file,
                    recorded,
                    printed,
                },
            );
        }
        for gone in before.into_values().filter_map(|known| known.recorded) {
            let mut record = gone.record;
            record.phase = OpenEnum::Unknown("Removed".to_owned());
            let last = row::rows(&record)
                .pop()
                .map(|row| row.cells(self.wide, now));
            self.line(last.unwrap_or_default());
        }
        Ok(print(&self.table.take())?)
    }

    fn line(&mut self, cells: Vec<String>) {
        if std::mem::take(&mut self.headers) {
            self.table.row(header(self.wide));
        }
        self.table.row(cells);
    }
}

fn version(bundle: &Bundle) -> Option<(u64, i64, i64)> {
    let metadata = fs::metadata(bundle.record_path()).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

/// inotify on the folders that bundles and records come and go in.
struct Changes {
    inotify: AsyncFd<OwnedFd>,
    state: PathBuf,
}

impl Changes {
    fn new(state: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // SAFETY: an OwnedFd is the same open descriptor until it is dropped, with the AsyncFd.
        let inotify = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) };
        let inotify = inotify.map_err(|e| e.into_parts().1)?;
        Ok(Self {
            inotify,
            state: state.to_owned(),
        })
    }

    /// Watches what is there now; watching twice is watching once.
    fn watch(&self, bundles: &[Bundle]) {
        let tasks = bundles::folder(&self.state);
        self.add(&self.state);
        self.add(&tasks);
        let mut namespace = "";
        for bundle in bundles {
            if bundle.namespace != namespace {
                namespace = &bundle.namespace;
                self.add(&tasks.join(namespace));
            }
            self.add(&bundle.path);
        }
    }

    fn add(&self, folder: &Path) {
        let events = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        // Gone already, or too many watches on this node: the poll sees it.
        let _ = inotify::add_watch(&self.inotify, folder, events);
    }

    /// Waits for a change, or for some time.
    async fn wait(&mut self) -> io::Result<()> {
        let Ok(ready) = tokio::time::timeout(POLL, self.inotify.readable()).await else {
            return Ok(());
        };
        let mut ready = ready?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        // What has changed is found by looking: only that something has is of interest.
        let mut events = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        while events.next().is_ok() {}
        ready.clear_ready();
        Ok(())
    }
}
