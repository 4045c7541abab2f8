//! `podhook describe pod`: kubectl's page, and what became of the hooks.

use crate::args;
use crate::context::Context;
use crate::error::Error;
use crate::get::Query;
use crate::hooks;
use crate::output::print;
use crate::pods::{self, PodView, Selector};

mod container;
pub(crate) mod lifecycle;
pub(crate) mod page;

use page::Page;

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
    let state = context.state().await?;
    let views = query.find(context).await?;
    if views.is_empty() {
        eprintln!("No resources found in {} namespace.", context.namespace());
    }
    let mut text = String::new();
    for (i, view) in views.iter().enumerate() {
        if i > 0 {
            text.push_str("\n\n");
        }
        let record = |id: &str| hooks::record(&state, id);
        text.push_str(&page(view, &record));
    }
    print(&text)
}

/// Looks up the record of a container.
type Records<'a> = dyn Fn(&str) -> Option<hooks::Record> + 'a;

fn page(view: &PodView, records: &Records) -> String {
    let pod = pods::object(view);
    let mut page = Page::default();
    page::header(&mut page, view, &pod);
    page.line(0, "Containers:", "");
    for container in pod.spec.iter().flat_map(|s| &s.containers) {
        let status = pod
            .status
            .iter()
            .flat_map(|s| s.container_statuses.iter().flatten())
            .find(|s| s.name == container.name);
        container::describe(&mut page, container, status);
        let record = view.container(&container.name).and_then(|c| records(&c.id));
        lifecycle::describe(&mut page, &pod, container, record.as_ref());
    }
    page::footer(&mut page, &pod);
    page.into_text()
}

#[cfg(test)]
mod tests;
