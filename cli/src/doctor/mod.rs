//! What is right and wrong with a node, what mends it, and the versions of all that is on it.

mod check;
mod configuration;
mod kubelet;
mod machine;
mod pauseless;
mod programs;
#[cfg(test)]
mod tests;
pub mod versions;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args;
use crate::cri::{Client, Handlers};
use crate::node::state;
use crate::output::escape;
use crate::output::paint::{Colour, Paint};
use crate::output::table::Table;
use crate::setup::place::{Configuration, Place};
use crate::setup::root::Root;
use crate::setup::state::State;
use crate::setup::version::Version;
use check::{Check, Status};

/// A containerd that hangs must not keep the other checks from being seen.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// What was found.
#[derive(Debug)]
pub struct Diagnosis(Vec<Check>);

/// Looks at everything. What only a running containerd says is asked at its places' sockets, or at `address`.
pub async fn examine(root: &Root, address: &Path, args: &args::Doctor) -> Diagnosis {
    let name = runtime(root, args.runtime.as_deref());
    let mut checks = checks(root, args, &name);
    if root.is_host() {
        for place in places(root, &args.node) {
            if let Some(handlers) = ask(&place.socket(root, address)).await {
                checks.push(configuration::loaded(&place, &handlers, &name));
                let more = configuration::pauseless(root, &place, &name, version(args));
                let more = more.iter().filter(|more| **more != name);
                checks.extend(more.map(|more| configuration::loaded(&place, &handlers, more)));
            }
        }
    }
    Diagnosis(checks)
}

impl Diagnosis {
    /// Whether podhook does not work; a warning is none.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.iter().any(|check| check.status == Status::Fail)
    }

    /// For people.
    #[must_use]
    pub fn table(&self, paint: Paint) -> String {
        table(&self.0, paint)
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> String {
        json(&self.0, self.has_failed())
    }
}

/// The runtime handler's name.
fn runtime(root: &Root, said: Option<&str>) -> String {
    let installed = || Some(State::load(root).ok()??.runtime);
    let name = said.map(str::to_owned).or_else(installed);
    name.unwrap_or_else(|| "podhook".to_owned())
}

/// What containerd has read, if it answers.
async fn ask(socket: &Path) -> Option<Handlers> {
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
    let places = places(root, &args.node);
    if places.is_empty() {
        checks.push(Check::fail(
            "containerd",
            "nothing that runs containers was found",
            "install containerd; or say where it is: --config FILE --containerd-version VERSION",
        ));
    }
    let version = version(args);
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

/// containerd's version, where the user says it.
fn version(args: &args::Doctor) -> Option<Version> {
    let said = args.node.containerd_version.as_deref();
    said.and_then(Version::parse)
}

pub(crate) fn places(root: &Root, args: &args::NodeRoot) -> Vec<Place> {
    let mut places = match &*args.kinds {
        [] => Place::all(root),
        kinds => kinds
            .iter()
            .filter_map(|kind| Place::find(root, *kind))
            .collect(),
    };
    if let Some(path) = &args.config {
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

/// The state directories of the containerds: those of the places, or that of the one which the user names.
pub(crate) async fn states(global: &args::Global, places: &[Place]) -> BTreeSet<PathBuf> {
    if global.state.is_some() || global.address != Path::new(args::ADDRESS) {
        return BTreeSet::from([state::directory(global).await]);
    }
    places.iter().map(|place| place.state.into()).collect()
}

fn table(checks: &[Check], paint: Paint) -> String {
    let mut table = Table::painted(paint, colour);
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

/// The colour of a cell.
fn colour(column: usize, cell: &str) -> Option<Colour> {
    let words = [
        (Status::Ok, Colour::Green),
        (Status::Warn, Colour::Yellow),
        (Status::Fail, Colour::Red),
    ];
    let mut words = words.into_iter().filter(|_| column == 1);
    words
        .find(|(status, _)| status.word() == cell)
        .map(|(_, colour)| colour)
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
