//! `podhook ps --watch`: a line for every change, as `kubectl get --watch` prints them.
//!
//! The kernel tells when a record is replaced: its last versions live some milliseconds, until
//! containerd removes the bundle.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use podhook_hooks::named::OpenEnum;

use super::find;
use crate::args;
use crate::clock;
use crate::cmd::error::Error;
use crate::node::bundles::{self, Bundle, Recorded};
use crate::node::changes::Changes;
use crate::node::query::{Query, Reports};
use crate::node::row::{self, Row, Width, header};
use crate::output::print;
use crate::output::table::Table;

/// Prints what there is, then the changes, until it is interrupted.
pub(crate) async fn run(query: &Query, args: &args::Ps) -> Result<(), Error> {
    let mut view = View {
        query,
        width: Width::of(args.output),
        headers: !args.no_headers,
        table: Table::default(),
        known: BTreeMap::new(),
        reports: Reports::default(),
    };
    let mut changes = Changes::new()?;
    if args.all {
        let (_, ended) = find(query, args, &mut view.reports)?;
        for run in ended {
            for row in row::rows(&run.record) {
                view.line(row.cells(view.width, clock::now()));
            }
        }
    }
    loop {
        // Before the files are read: what changes meanwhile is told.
        let bundles = bundles::list(&query.state)?;
        watch(&changes, &query.state, &bundles);
        view.update(bundles)?;
        changes.wait().await?;
    }
}

/// What is on the screen.
struct View<'a> {
    query: &'a Query,
    width: Width,
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
                        self.line(row.cells(self.width, now));
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
                .map(|row| row.cells(self.width, now));
            self.line(last.unwrap_or_default());
        }
        Ok(print(&self.table.take())?)
    }

    fn line(&mut self, cells: Vec<String>) {
        if std::mem::take(&mut self.headers) {
            self.table.row(header(self.width));
        }
        self.table.row(cells);
    }
}

fn version(bundle: &Bundle) -> Option<(u64, i64, i64)> {
    let metadata = fs::metadata(bundle.record_path()).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

/// Watches what is there now.
fn watch(changes: &Changes, state: &Path, bundles: &[Bundle]) {
    let tasks = bundles::folder(state);
    changes.names(state);
    changes.names(&tasks);
    let mut namespace = "";
    for bundle in bundles {
        if bundle.namespace != namespace {
            namespace = &bundle.namespace;
            changes.names(&tasks.join(namespace));
        }
        changes.names(&bundle.path);
    }
}
