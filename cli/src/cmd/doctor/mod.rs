//! `podhook doctor`: what is right and wrong with a node, and what mends it.

mod check;
mod configuration;
mod kubelet;
mod machine;
mod programs;
#[cfg(test)]
mod tests;

use serde_json::json;

use super::error::Error;
use crate::args;
use crate::cri::{Client, Handlers};
use crate::output::table::Table;
use crate::output::{escape, print};
use crate::setup::place::{Configuration, Place};
use crate::setup::root::Root;
use crate::setup::state::State;
use crate::setup::version::Version;
use check::{Check, Status};

/// A containerd that hangs must not keep the other checks from being seen.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// Runs the command.
///
/// # Errors
/// When a check fails, or the root folder cannot be opened.
pub async fn run(global: &args::Global, args: &args::Doctor) -> Result<(), Error> {
    let root = Root::open(&args.node.root)?;
    let name = runtime(&root, args);
    let mut checks = checks(&root, args, &name);
    if root.is_host() {
        for place in places(&root, args) {
            if let Some(handlers) = ask(&place.socket(&root, &global.address)).await {
                checks.push(configuration::loaded(&place, &handlers, &name));
            }
        }
    }
    let failed = checks.iter().any(|check| check.status == Status::Fail);
    match args.output {
        Some(args::DoctorOutput::Json) => print(&json(&checks, failed))?,
        None => print(&table(&checks))?,
    }
    if failed {
        return Err(Error::Reported);
    }
    Ok(())
}

/// The runtime handler's name.
fn runtime(root: &Root, args: &args::Doctor) -> String {
    let installed = || Some(State::load(root).ok()??.runtime);
    let name = args.runtime.clone().or_else(installed);
    name.unwrap_or_else(|| "podhook".to_owned())
}

/// What containerd has read, if it answers.
async fn ask(socket: &std::path::Path) -> Option<Handlers> {
    let ask = async {
        let client = Client::connect(socket).await.ok()?;
        client.handlers().await.ok()
    };
    tokio::time::timeout(PATIENCE, ask).await.ok().flatten()
}

/// All that files say.
fn checks(root: &Root, args: &args::Doctor, name: &str) -> Vec<Check> {
    let mut checks = vec![machine::kernel(root), machine::cgroups(root)];
    checks.push(machine::seccomp(root));
    let places = places(root, args);
    if places.is_empty() {
        checks.push(Check::fail(
            "containerd",
            "nothing that runs containers was found",
            "install containerd; or say where it is: --config FILE --containerd-version VERSION",
        ));
    }
    let version = args
        .node
        .containerd_version
        .as_deref()
        .and_then(Version::parse);
    let mut used = None;
    for place in &places {
        checks.push(programs::containerd(place, version));
        if place.kind == args::NodeKind::Nerdctl {
            continue;
        }
        checks.extend(machine::unit(root, place));
        let (found, more) = configuration::check(root, place, name, version);
        checks.extend(more);
        used = used.or(found);
    }
    let used = used.unwrap_or_default();
    let shim = programs::shim(root, &used);
    checks.extend(programs::labels(root, &shim));
    checks.extend(programs::shims(root, &shim));
    checks.push(programs::check_shim(root, &shim));
    checks.push(programs::oci(root, &used));
    checks.push(programs::installed(root));
    let (node, config) = configuration::node(root);
    checks.push(node);
    checks.extend(kubelet::checks(root, &used, config.as_ref()));
    checks
}

fn places(root: &Root, args: &args::Doctor) -> Vec<Place> {
    let mut places = match &*args.node.kinds {
        [] => Place::all(root),
        kinds => kinds
            .iter()
            .filter_map(|kind| Place::find(root, *kind))
            .collect(),
    };
    if let Some(path) = &args.node.config {
        places.retain(|place| matches!(place.configuration, Configuration::Toml(_)));
        if places.is_empty() {
            places.push(Place::plain());
        }
        for place in &mut places {
            place.configuration = Configuration::Toml(path.clone());
        }
    }
    places
}

fn table(checks: &[Check]) -> String {
    let mut table = Table::default();
    table.row(["CHECK", "STATUS", "MESSAGE"]);
    for check in checks {
        table.row([&*check.name, check.status.word(), &check.message]);
    }
    let mut text = table.take();
    let mends: Vec<&Check> = checks.iter().filter(|check| check.mend.is_some()).collect();
    if !mends.is_empty() {
        text.push_str("\nWhat mends it:\n");
    }
    for check in mends {
        let mend = check.mend.as_deref().unwrap_or_default();
        let line = format!("  {}: {mend}\n", check.name);
        text.push_str(&escape::lines(&line));
    }
    text
}

fn json(checks: &[Check], failed: bool) -> String {
    let checks: Vec<_> = checks
        .iter()
        .map(|check| {
            json!({
                "check": check.name,
                "status": check.status.word(),
                "message": check.message,
                "mend": check.mend,
            })
        })
        .collect();
    let document = json!({"ok": !failed, "podhook": env!("CARGO_PKG_VERSION"), "checks": checks});
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    format!("{}\n", escape::json(&text))
}
