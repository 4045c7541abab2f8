//! `podhook get pods`.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::args::{self, Output};
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::output::pod::{COLUMNS, WIDE_COLUMNS, row};
use crate::output::print;
use crate::output::table::Table;
use crate::pods::{self, Selector};

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
    let found = query.run(context).await?;
    match args.output {
        Some(Output::Yaml) => print_yaml(&document(&query, found)?),
        Some(Output::Json) => {
            let text = serde_json::to_string_pretty(&document(&query, found)?);
            print(&format!("{}\n", text.map_err(std::io::Error::from)?))
        }
        _ => Rows::new(args).run(context, &query, found).await,
    }
}

/// Which pods are asked for.
pub(crate) struct Query {
    /// Empty: all.
    pub(crate) names: Vec<String>,
    /// Of their labels.
    pub(crate) selector: Selector,
    /// Not only those of the context's namespace.
    pub(crate) all_namespaces: bool,
}

impl Query {
    /// The pods, as they are now.
    pub(crate) async fn find(&self, context: &Context) -> Result<Vec<pods::PodView>, Error> {
        let (client, store) = (&context.client, &context.store);
        let mut views = Vec::new();
        for name in &self.names {
            views.push(pods::get(client, store, context.namespace(), name).await?);
        }
        if self.names.is_empty() {
            let namespace = (!self.all_namespaces).then(|| context.namespace());
            views = pods::list(client, store, namespace, None).await?;
        }
        views.retain(|v| self.selector.matches(&v.labels()));
        Ok(views)
    }

    async fn run(&self, context: &Context) -> Result<Vec<Pod>, Error> {
        Ok(self.find(context).await?.iter().map(pods::object).collect())
    }
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
    print(&text)
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
            match query.run(context).await {
                Ok(found) => self.update(&found)?,
                // The watched pod is gone.
                Err(Error::Server {
                    code: "NotFound", ..
                }) => self.update(&[])?,
                Err(e) => return Err(e),
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
        print(&self.table.take())
    }
}
