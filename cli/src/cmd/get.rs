//! `podhook get pods`.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::error::Error;
use crate::args::{self, Output};
use crate::clock;
use crate::output::print;
use crate::output::table::Table;
use crate::pods::context::Context;
use crate::pods::row::{COLUMNS, WIDE_COLUMNS, row};
use crate::pods::{self, Query, Selector};

const POLL: Duration = Duration::from_millis(200);

/// Runs the command.
///
/// # Errors
/// When a named pod does not exist, or containerd does not answer.
pub async fn run(context: &Context, args: &args::Get) -> Result<(), Error> {
    let names = pods::pods(&args.resources)?;
    let selector = Selector::parse(args.selector.as_deref())?;
    if args.all_namespaces && !names.is_empty() {
        return Err(Error::Refused(
            "a resource cannot be retrieved by name across all namespaces".to_owned(),
        ));
    }
    if args.watch && matches!(args.output, Some(Output::Yaml | Output::Json)) {
        return Err(Error::Refused(
            "--watch prints tables and names only".to_owned(),
        ));
    }
    let query = Query {
        names,
        selector,
        all_namespaces: args.all_namespaces,
    };
    let found = objects(&query, context).await?;
    match args.output {
        Some(Output::Yaml) => print_yaml(&document(&query, found)?),
        Some(Output::Json) => {
            let text = serde_json::to_string_pretty(&document(&query, found)?);
            Ok(print(&format!(
                "{}\n",
                text.map_err(std::io::Error::from)?
            ))?)
        }
        _ => Rows::new(args).run(context, &query, found).await,
    }
}

/// What is found, as API objects.
async fn objects(query: &Query, context: &Context) -> Result<Vec<Pod>, pods::Error> {
    Ok(query
        .find(context)
        .await?
        .iter()
        .map(pods::object)
        .collect())
}

/// One pod by its name is itself, everything else is a List.
fn document(query: &Query, mut found: Vec<Pod>) -> Result<Value, Error> {
    let json = |pod: &Pod| serde_json::to_value(pod).map_err(std::io::Error::from);
    if query.names.len() == 1
        && let Some(pod) = found.pop()
    {
        return Ok(json(&pod)?);
    }
    let items = found.iter().map(json).collect::<Result<Vec<_>, _>>()?;
    Ok(
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}),
    )
}

fn print_yaml(document: &Value) -> Result<(), Error> {
    let text = serde_saphyr::to_string(document)
        .map_err(|e| Error::Refused(format!("cannot print as YAML: {e}")))?;
    Ok(print(&text)?)
}

/// The table, and what was printed of it.
struct Rows<'a> {
    args: &'a args::Get,
    table: Table,
    /// What each pod's row said, its age left out.
    printed: BTreeMap<(String, String), Vec<String>>,
}

impl<'a> Rows<'a> {
    fn new(args: &'a args::Get) -> Self {
        Self {
            args,
            table: Table::default(),
            printed: BTreeMap::new(),
        }
    }

    async fn run(mut self, context: &Context, query: &Query, found: Vec<Pod>) -> Result<(), Error> {
        if found.is_empty() && !self.args.watch {
            if self.args.all_namespaces {
                eprintln!("No resources found");
            } else {
                eprintln!("No resources found in {} namespace.", context.namespace());
            }
            return Ok(());
        }
        self.update(&found)?;
        while self.args.watch {
            tokio::time::sleep(POLL).await;
            match objects(query, context).await {
                Ok(found) => self.update(&found)?,
                // The watched pod is gone.
                Err(pods::Error::Server {
                    code: "NotFound", ..
                }) => self.update(&[])?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Prints the rows that have changed.
    fn update(&mut self, found: &[Pod]) -> Result<(), Error> {
        let now = clock::now();
        let names = self.args.output == Some(Output::Name);
        let wide = self.args.output == Some(Output::Wide);
        let first = self.printed.is_empty() && !found.is_empty();
        if first && !names && !self.args.no_headers {
            let namespace = self.args.all_namespaces.then_some("NAMESPACE");
            let wide = wide.then_some(WIDE_COLUMNS).into_iter().flatten();
            self.table
                .row(namespace.into_iter().chain(COLUMNS).chain(wide));
        }
        for pod in found {
            let key = (
                pod.metadata.namespace.clone().unwrap_or_default(),
                pod.metadata.name.clone().unwrap_or_default(),
            );
            let cells = row(pod, wide, now);
            let mut without_age = cells.clone();
            without_age.remove(4);
            if self.printed.get(&key) == Some(&without_age) {
                continue;
            }
            if names {
                self.table.row([format!("pod/{}", key.1)]);
            } else {
                let namespace = self.args.all_namespaces.then(|| key.0.clone());
                self.table.row(namespace.into_iter().chain(cells));
            }
            self.printed.insert(key, without_age);
        }
        Ok(print(&self.table.take())?)
    }
}
