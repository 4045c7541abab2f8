//! `podhook describe pod`: kubectl's page, and what became of the hooks.

mod container;
mod lifecycle;
mod pod;

use podhook_hooks::record::Record;

use super::error::Error;
use crate::args;
use crate::node::{record, state};
use crate::output::page::Page;
use crate::output::print;
use crate::pods::context::Context;
use crate::pods::{self, PodView, Query, Selector};

/// Runs the command.
///
/// # Errors
/// When a named pod does not exist, or containerd does not answer.
pub async fn run(context: &Context, args: &args::Describe) -> Result<(), Error> {
    let query = Query {
        names: pods::pods(&args.resources)?,
        selector: Selector::parse(args.selector.as_deref())?,
        all_namespaces: args.all_namespaces,
    };
    let state = state::of(&context.client, &context.global).await?;
    let views = query.find(context).await?;
    if views.is_empty() {
        eprintln!("No resources found in {} namespace.", context.namespace());
    }
    let mut text = String::new();
    for (i, view) in views.iter().enumerate() {
        if i > 0 {
            text.push_str("\n\n");
        }
        let record = |id: &str| record::record(&state, id);
        text.push_str(&page(view, &record));
    }
    Ok(print(&text)?)
}

/// Looks up the record of a container.
type Records<'a> = dyn Fn(&str) -> Option<Record> + 'a;

fn page(view: &PodView, records: &Records) -> String {
    let pod = pods::object(view);
    let mut page = Page::default();
    pod::header(&mut page, view, &pod);
    let spec = pod.spec.clone().unwrap_or_default();
    let state = pod.status.clone().unwrap_or_default();
    let init = spec.init_containers.unwrap_or_default();
    for (title, containers, statuses) in [
        ("Init Containers:", init, state.init_container_statuses),
        ("Containers:", spec.containers, state.container_statuses),
    ] {
        if containers.is_empty() && title != "Containers:" {
            continue;
        }
        page.line(0, title, "");
        let statuses = statuses.unwrap_or_default();
        for container in &containers {
            let status = statuses.iter().find(|s| s.name == container.name);
            let cri = view.container(&container.name);
            // What CRI does not know of another client's pod is not told.
            let guessed = cri.filter(|_| view.manifest.is_none());
            container::describe(&mut page, container, status, guessed);
            let record = cri.and_then(|c| records(&c.id));
            lifecycle::describe(&mut page, &pod, container, record.as_ref());
        }
    }
    pod::footer(&mut page, &pod, view.manifest.is_some());
    page.into_text()
}

#[cfg(test)]
mod tests;
