//! `podhook ps`: the hooks of the node's containers.

mod row;
mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args::{self, RecordOutput};
use crate::bundles::{self, Recorded};
use crate::clock;
use crate::error::Error;
use crate::output::table::Table;
use crate::output::{self, print};
use crate::state;

use row::{COLUMNS, WIDE_COLUMNS};

/// Runs the command.
///
/// # Errors
/// When the state directory cannot be read, or there are records that cannot.
pub async fn run(global: &args::Global, args: &args::Ps) -> Result<(), Error> {
    if args.all_namespaces && global.namespace.is_some() {
        return Err(Error::Refused(
            "--namespace and --all-namespaces exclude each other".to_owned(),
        ));
    }
    let query = Query {
        state: state::directory(global).await,
        namespace: global.namespace.clone(),
    };
    match (args.output, args.watch) {
        (Some(RecordOutput::Json | RecordOutput::Yaml), true) => {
            Err(Error::Refused("--watch prints tables only".to_owned()))
        }
        (Some(output @ (RecordOutput::Json | RecordOutput::Yaml)), false) => {
            let mut reports = Reports::default();
            let found = query.find(&mut reports)?;
            let items: Vec<_> = found.iter().map(|found| &found.json).collect();
            output::document(output, &json!({ "items": items }))?;
            reports.end()
        }
        (_, true) => watch::run(&query, args).await,
        (_, false) => list(&query, args),
    }
}

fn list(query: &Query, args: &args::Ps) -> Result<(), Error> {
    let mut reports = Reports::default();
    let found = query.find(&mut reports)?;
    if found.is_empty() {
        match &query.namespace {
            Some(namespace) => eprintln!("No hooks found in {namespace} namespace."),
            None => eprintln!("No hooks found"),
        }
        return reports.end();
    }
    let wide = args.output == Some(RecordOutput::Wide);
    let mut table = Table::default();
    if !args.no_headers {
        table.row(header(wide));
    }
    let now = clock::now();
    for found in &found {
        for row in row::rows(&found.record) {
            table.row(row.cells(wide, now));
        }
    }
    print(&table.take())?;
    reports.end()
}

fn header(wide: bool) -> Vec<&'static str> {
    let wide = wide.then_some(WIDE_COLUMNS).into_iter().flatten();
    COLUMNS.into_iter().chain(wide).chain(["MESSAGE"]).collect()
}

/// Which containers are asked for.
pub(crate) struct Query {
    /// containerd's state directory.
    pub(crate) state: PathBuf,
    /// The pods' namespace, or containerd's; none: all.
    pub(crate) namespace: Option<String>,
}

impl Query {
    /// The containers with a record, in the order of the table.
    pub(crate) fn find(&self, reports: &mut Reports) -> Result<Vec<Recorded>, Error> {
        let mut all = Vec::new();
        for bundle in bundles::list(&self.state)? {
            match bundle.recorded() {
                Ok(Some(recorded)) if self.wants(&recorded) => all.push(recorded),
                Ok(_) => {}
                Err(e) => reports.add(&e.path.clone(), &e),
            }
        }
        all.sort_by(|a, b| order(a).cmp(&order(b)));
        Ok(all)
    }

    fn wants(&self, recorded: &Recorded) -> bool {
        let (bundle, record) = (&recorded.bundle, &recorded.record);
        let wanted = |name: &String| *name == bundle.namespace || name == record.namespace();
        self.namespace.as_ref().is_none_or(wanted)
    }
}

fn order(recorded: &Recorded) -> (&str, Option<&str>, &str, &str) {
    let record = &recorded.record;
    (
        record.namespace(),
        record.pod_name(),
        record.container(),
        &record.id,
    )
}

/// Tells of each bad file once.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    seen: BTreeSet<PathBuf>,
    quiet: bool,
}

impl Reports {
    /// Tells of none.
    pub(crate) fn quiet() -> Self {
        Self {
            quiet: true,
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, path: &Path, what: &dyn std::fmt::Display) {
        if self.seen.insert(path.to_owned()) && !self.quiet {
            eprintln!("error: {}", output::escape::visible(&what.to_string()));
        }
    }

    /// The command's result: what could not be shown makes it fail.
    pub(crate) fn end(self) -> Result<(), Error> {
        if self.seen.is_empty() {
            Ok(())
        } else {
            Err(Error::Reported)
        }
    }
}
