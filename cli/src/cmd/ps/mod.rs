//! `podhook ps`: the hooks of the node's containers.

mod watch;

use podhook_hooks::record::Record;
use serde_json::json;

use super::error::Error;
use crate::args::{self, RecordOutput};
use crate::clock;
use crate::node::bundles::Recorded;
use crate::node::journal::{self, Run};
use crate::node::query::{self, Query, Reports};
use crate::node::row::{self, Width, header};
use crate::node::state;
use crate::output::table::Table;
use crate::output::{self, print};

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
            let (found, ended) = find(&query, args, &mut reports)?;
            let live = found.iter().map(|found| &found.json);
            let items: Vec<_> = ended.iter().map(|run| &run.json).chain(live).collect();
            output::document(output, &json!({ "items": items }))?;
            Ok(reports.end()?)
        }
        (_, true) => watch::run(&query, args).await,
        (_, false) => list(&query, args),
    }
}

fn list(query: &Query, args: &args::Ps) -> Result<(), Error> {
    let mut reports = Reports::default();
    let (found, ended) = find(query, args, &mut reports)?;
    let live = found.iter().map(|found| &found.record);
    let mut records: Vec<_> = ended.iter().map(|run| &run.record).chain(live).collect();
    records.sort_by(|a, b| query::order(a).cmp(&query::order(b)));
    if records.is_empty() {
        match &query.namespace {
            Some(namespace) => eprintln!("No hooks found in {namespace} namespace."),
            None => eprintln!("No hooks found"),
        }
        return Ok(reports.end()?);
    }
    let width = Width::of(args.output);
    let mut table = Table::default();
    if !args.no_headers {
        table.row(header(width));
    }
    let now = clock::now();
    for record in records {
        for row in row::rows(record) {
            table.row(row.cells(width, now));
        }
    }
    print(&table.take())?;
    Ok(reports.end()?)
}

/// The containers that there are, and with --all those that are gone.
fn find(
    query: &Query,
    args: &args::Ps,
    reports: &mut Reports,
) -> Result<(Vec<Recorded>, Vec<Run>), Error> {
    // First: one that ends meanwhile is not shown twice.
    let kept = match args.all {
        true => kept(query, args, reports)?,
        false => Vec::new(),
    };
    let found = query.find(reports)?;
    let ended = journal::ended(kept, &found);
    Ok((found, ended))
}

/// What the journal tells of.
fn kept(query: &Query, args: &args::Ps, reports: &mut Reports) -> Result<Vec<Run>, Error> {
    let folder = journal::folder(args.journal.journal.as_deref(), &query.state)?;
    let wanted = |namespace: &str, record: &Record| query.wants_record(namespace, record);
    Ok(journal::kept(&folder, wanted, |e| {
        reports.add(&e.path, &e)
    })?)
}
