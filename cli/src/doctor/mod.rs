//! What is right and wrong with a node, what mends it, and the versions of all that is on it.

mod check;
mod configuration;
mod journal;
mod kubelet;
mod machine;
mod pauseless;
mod programs;
mod running;
#[cfg(test)]
mod tests;
pub mod versions;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args;
use crate::node::state;
use crate::output::escape;
use crate::output::paint::{Colour, Paint};
use crate::output::table::Table;
use crate::setup;
use crate::setup::place::{Configuration, Place};
use crate::setup::root::Root;
use crate::setup::state::State;
use crate::setup::version::Version;
use check::{Check, Status};
use configuration::Used;

/// A containerd that hangs must not keep the rest from being seen.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// What was found.
#[derive(Debug)]
pub struct Diagnosis(Vec<Check>);

/// Looks at everything. What only a running containerd says is asked at its places' sockets, or at `address`.
pub async fn examine(root: &Root, address: &Path, args: &args::Doctor) -> Diagnosis {
    let name = runtime(root, args.runtime.as_deref());
    let mut checks = checks(root, args, &name);
    // What runs is this machine's own: that of a node whose folder is mounted here is not to be reached.
    if root.is_host() {
        let places = places(root, &args.node);
        checks.extend(running::checks(root, &places, address, &name, version(args)).await);
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
    name.unwrap_or_else(|| setup::programs::RUNTIME.to_owned())
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
    let is_configured = used.is_some() || checks.iter().any(configuration::has_runtime);
    let used = used.unwrap_or_default();
    let shim = programs::shim(root, &used);
    checks.extend(programs::labels(root, &shim));
    checks.extend(programs::shims(root, &shim));
    checks.push(programs::check_shim(root, &shim));
    let (node, config) = configuration::node(root);
    // Of podhook's own configuration: that of each handler whose options name none.
    let said = config
        .as_ref()
        .and_then(|config| config.oci.runtime.clone());
    let named = used.binary.clone();
    let of_pods = named.is_some() && pauseless::is_installed(root);
    let also = said
        .clone()
        .filter(|said| of_pods && named.as_ref() != Some(said));
    let used = Used {
        binary: named.or(said),
        ..used
    };
    checks.push(programs::oci(root, &used));
    if also.is_some() {
        checks.push(programs::oci(
            root,
            &Used {
                binary: also,
                ..used.clone()
            },
        ));
    }
    checks.extend(programs::twice(root, &used));
    checks.push(programs::installed(root, is_configured, &shim));
    checks.push(node);
    if let Some(config) = &config {
        checks.extend(journal::checks(root, &places, config));
    }
    checks.extend(kubelet::checks(root, &used, config.as_ref()));
    let is_bare = !is_configured && State::load(root).is_ok_and(|state| state.is_none());
    if is_bare && args.node.kinds.is_empty() {
        one_install(&mut checks);
    }
    checks
}

/// On a node that has nothing of podhook yet, one command sets up all.
fn one_install(checks: &mut [Check]) {
    for check in checks {
        let mend = check.mend.as_deref().unwrap_or_default();
        if let Some(rest) = mend.strip_prefix("podhook install --for ") {
            let rest = rest.split_once(' ').map(|(_, rest)| rest);
            let rest = rest.map_or_else(String::new, |rest| format!(" {rest}"));
            check.mend = Some(format!("podhook install{rest}"));
        }
    }
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
    // A command that mends several is said once.
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in mends {
        let mend = check.mend.as_deref().unwrap_or_default();
        match said.iter_mut().find(|(there, _)| *there == mend) {
            Some((_, names)) if names.contains(&&*check.name) => {}
            Some((_, names)) => names.push(&check.name),
            None => said.push((mend, vec![&check.name])),
        }
    }
    for (mend, names) in said {
        let line = format!("  {}: {mend}\n", names.join(", "));
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
