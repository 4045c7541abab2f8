//! `podhook ps`: the hooks of the node's containers.

mod row;
mod watch;

use serde_json::json;

use super::error::Error;
use crate::args::{self, RecordOutput};
use crate::clock;
use crate::node::query::{Query, Reports};
use crate::node::state;
use crate::output::table::Table;
use crate::output::{self, print};
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
            Ok(reports.end()?)
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
        return Ok(reports.end()?);
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
    Ok(reports.end()?)
}

fn header(wide: bool) -> Vec<&'static str> {
    let wide = wide.then_some(WIDE_COLUMNS).into_iter().flatten();
    COLUMNS.into_iter().chain(wide).chain(["MESSAGE"]).collect()
}
