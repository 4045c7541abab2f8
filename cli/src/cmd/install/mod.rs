//! `podhook install`.

#[cfg(test)]
mod tests;

use std::env;
use std::path::Path;
use std::time::Duration;

use super::error::Error;
use crate::args::{self, DefaultRuntime, Global, NodeKind};
use crate::cri::{Client, Handlers};
use crate::output::print;
use crate::setup::change::Change;
use crate::setup::configure::{self, Wanted};
use crate::setup::containerd::pauseless;
use crate::setup::place::{Configuration, Place};
use crate::setup::root::Root;
use crate::setup::state::{self, State};
use crate::setup::version::Version;
use crate::setup::{self, programs, restart};

/// How long CRI may take to come up after a restart.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a containerd that runs may take to say what it has.
const SOON: Duration = Duration::from_secs(3);

/// Runs the command.
///
/// # Errors
/// With the first thing that is in the way; nothing is changed before all is known. And after a restart, when containerd has
/// not taken the runtime.
pub async fn run(global: &Global, args: &args::Install) -> Result<(), Error> {
    let own = env::current_exe().map_err(|e| {
        setup::Error::refused(
            format!("this program is not found: {e}"),
            "is /proc mounted?",
        )
    })?;
    let args = &as_installed(args)?;
    let stale = stale(global, args).await?;
    let places = install(&own, global, args, &stale)?;
    let root = Root::open(&args.node.root)?;
    for place in places.iter().filter(|_| args.restart.is_some()) {
        let socket = place.socket(&root, &global.address);
        for name in names(args)
            .iter()
            .filter(|_| place.kind != NodeKind::Docker)
        {
            if has_runtime(&socket, name).await {
                continue;
            }
            return Err(setup::Error::refused(
                format!("{} has not taken the runtime {name}", place.kind.name()),
                format!(
                    "podhook doctor, and journalctl -u {}, say why; podhook uninstall takes everything back",
                    place.unit
                ),
            )
            .into());
        }
    }
    Ok(())
}

/// What was installed before goes on, where the user does not say otherwise: under its name, in its folder.
fn as_installed(args: &args::Install) -> Result<args::Install, setup::Error> {
    let state = State::load(&Root::open(&args.node.root)?)?.unwrap_or_default();
    let mut args = args.clone();
    let installed = Some(&state.runtime).filter(|name| !name.is_empty());
    args.runtime = args.runtime.or_else(|| installed.cloned());
    args.bin_dir = args
        .bin_dir
        .or_else(|| Some(state.folder(Path::new(programs::FOLDER))?.to_owned()));
    // It is there, and need not be said again.
    let beside = pauseless::name(runtime(&args));
    if args.default == Some(DefaultRuntime::Pauseless) && state.pauseless == Some(beside) {
        args.pauseless = true;
    }
    Ok(args)
}

/// The name of podhook's handler.
fn runtime(args: &args::Install) -> &str {
    args.runtime.as_deref().unwrap_or(programs::RUNTIME)
}

/// What runs without the runtime that its files may have had before: it is restarted, too, where that is asked for.
async fn stale(global: &Global, args: &args::Install) -> Result<Vec<NodeKind>, Error> {
    let mut stale = Vec::new();
    if args.restart.is_none() {
        return Ok(stale);
    }
    let root = Root::open(&args.node.root)?;
    for place in places(&root, &args.node)? {
        let socket = place.socket(&root, &global.address);
        let ask = async { Client::connect(&socket).await.ok()?.handlers().await.ok() };
        let handlers = tokio::time::timeout(SOON, ask).await.ok().flatten();
        let lacks = |handlers: Handlers| {
            let mut names = names(args).into_iter();
            names.any(|name| handlers.get(&name).is_none())
        };
        if handlers.is_some_and(lacks) {
            stale.push(place.kind);
        }
    }
    Ok(stale)
}

/// Whether a containerd that was started just now has the runtime.
async fn has_runtime(socket: &Path, name: &str) -> bool {
    let ask = async {
        loop {
            if let Ok(client) = Client::connect(socket).await
                && let Ok(handlers) = client.handlers().await
                && handlers.get(name).is_some()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ask).await.is_ok()
}

/// Installs the program `own` with its shim. Gives the places that were changed, and those
/// that do not know it yet.
fn install(
    own: &Path,
    global: &Global,
    args: &args::Install,
    stale: &[NodeKind],
) -> Result<Vec<Place>, Error> {
    check(args)?;
    let root = Root::open(&args.node.root)?;
    if !args.dry_run {
        root.lock()?;
    }
    let places = places(&root, &args.node)?;
    let mut state = State::load(&root)?.unwrap_or_default();
    let pauseless = args.pauseless.then(|| pauseless::name(runtime(args)));
    let programs = programs::plan(&root, own, args.bin_dir.as_deref(), args.shim.as_deref())?;
    let wanted = Wanted {
        name: runtime(args).to_owned(),
        // Pods of it may run: it goes with `podhook uninstall` only.
        pauseless: pauseless.or(state.pauseless.clone()),
        pauseless_asked: args.pauseless,
        default: args.default,
        shim: programs.shim.clone(),
        version: version(&args.node)?,
        file: args.node.config.clone(),
    };
    if args.pauseless && !places.iter().any(Place::has_pods) {
        return Err(setup::Error::refused(
            "--pauseless: nothing that was found here has pods",
            "docker and nerdctl have containers alone; --for containerd names a containerd that was not found",
        )
        .into());
    }
    let mut changes = programs.changes;
    let mut again = Vec::new();
    let mut notes: Vec<String> = Vec::new();
    for place in &places {
        let mut planned = configure::plan(&root, place, &wanted)?;
        // Two places may share a file.
        planned
            .changes
            .retain(|one| changes.iter().all(|there| there.path != one.path));
        let has_it = planned.changes.is_empty() && planned.notes.is_empty();
        if !planned.changes.is_empty() || (has_it && stale.contains(&place.kind)) {
            again.push(place);
        }
        changes.append(&mut planned.changes);
        notes.append(&mut planned.notes);
        planned.said.retain(|one| !notes.contains(one));
        notes.append(&mut planned.said);
    }
    restart::check(&root, &again, args.restart.as_deref())?;
    if args.dry_run {
        let diffs: String = changes.iter().map(|change| change.diff(&root)).collect();
        print(&diffs)?;
        for note in notes {
            eprintln!("{note}");
        }
        if diffs.is_empty() {
            eprintln!("nothing to do: podhook is installed");
        }
        return Ok(Vec::new());
    }
    if !changes.is_empty() {
        state.runtime.clone_from(&wanted.name);
        state.pauseless.clone_from(&wanted.pauseless);
        state.shim.clone_from(&wanted.shim);
        for place in &places {
            if !state.places.contains(&place.kind) {
                state.places.push(place.kind);
            }
        }
        state.apply(&root, &changes)?;
    }
    let mut text: String = changes.iter().map(|change| said(&root, change)).collect();
    if changes.is_empty() {
        text.push_str("nothing to do: podhook is installed\n");
    } else if changes.iter().any(|change| change.before.is_some()) {
        let kept = root.outside(state::FOLDER.as_ref());
        text.push_str(&format!("what was there is kept in {}\n", kept.display()));
    }
    print(&text)?;
    for note in notes {
        print(&format!("{note}\n"))?;
    }
    let lines = restart::all(&root, &again, args.restart.as_deref(), &global.address)?;
    print(&lines)?;
    if again.iter().any(|place| place.has_pods()) {
        print(&runtime_classes(args))?;
    }
    Ok(again.into_iter().cloned().collect())
}

fn check(args: &args::Install) -> Result<(), setup::Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name = runtime(args);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(setup::Error::refused(
            format!("--runtime {name}: not a name"),
            "letters, digits and - only: a RuntimeClass names it",
        ));
    }
    if name == "runc" {
        return Err(setup::Error::refused(
            "--runtime runc: that is containerd's own",
            "--default has pods that name none run on podhook",
        ));
    }
    if let Some(beside) = pauseless::beside(name) {
        return Err(setup::Error::refused(
            format!("--runtime {name}: so is called what --pauseless makes beside {beside}"),
            format!("--runtime {beside} --pauseless makes both"),
        ));
    }
    if args.default == Some(DefaultRuntime::Pauseless) && !args.pauseless {
        return Err(setup::Error::refused(
            "--default=pauseless without --pauseless",
            "give both: --pauseless --default=pauseless",
        ));
    }
    if args.restart.as_ref().is_some_and(String::is_empty) && args.node.root != *"/" {
        return Err(setup::Error::refused(
            "--restart with --root: the services of another root are not this machine's",
            "--restart=COMMAND names what restarts its containerd",
        ));
    }
    Ok(())
}

/// Those that the user names, else those that the node has.
fn places(root: &Root, node: &args::NodeRoot) -> Result<Vec<Place>, setup::Error> {
    let mut places = Vec::new();
    for kind in &node.kinds {
        let place = Place::find(root, *kind).or_else(|| assumed(*kind, node));
        places.push(place.ok_or_else(|| {
            setup::Error::refused(
                format!(
                    "--for {}: there is none below {}",
                    kind.name(),
                    node.root.display()
                ),
                "without --for podhook takes what it finds",
            )
        })?);
    }
    if node.kinds.is_empty() {
        places = Place::all(root);
        // nerdctl's hint is of no use where containerd is configured anyway.
        if places.len() > 1 {
            places.retain(|place| place.kind != NodeKind::Nerdctl);
        }
        places.extend(assumed(NodeKind::Containerd, node).filter(|_| places.is_empty()));
    }
    if places.is_empty() {
        return Err(setup::Error::refused(
            format!(
                "nothing that runs containers was found below {}",
                node.root.display()
            ),
            "--for containerd --config FILE --containerd-version VERSION say what is not in its usual place",
        ));
    }
    if node.config.is_some() {
        places.retain(|place| matches!(place.configuration, Configuration::Toml(_)));
    }
    Ok(places)
}

/// A containerd of which the user says all.
fn assumed(kind: NodeKind, node: &args::NodeRoot) -> Option<Place> {
    let known = node.config.is_some() || node.containerd_version.is_some();
    (known && kind == NodeKind::Containerd).then(Place::plain)
}

fn version(node: &args::NodeRoot) -> Result<Option<Version>, setup::Error> {
    let Some(text) = &node.containerd_version else {
        return Ok(None);
    };
    match Version::parse(text) {
        Some(version) => Ok(Some(version)),
        None => Err(setup::Error::refused(
            format!("--containerd-version {text}: not a version"),
            "as `containerd --version` says it: 1.7.24",
        )),
    }
}

fn said(root: &Root, change: &Change) -> String {
    let path = root.outside(&change.path).display().to_string();
    match (change.program, &change.before) {
        (true, None) => format!("installed {path}\n"),
        (true, Some(_)) => format!("replaced {path}; shims that run go on with the old one\n"),
        (false, None) => format!("wrote {path}\n"),
        (false, Some(_)) => format!("changed {path}\n"),
    }
}

/// The runtime handlers that are asked for: podhook's, and the one whose pods have no pause container.
fn names(args: &args::Install) -> Vec<String> {
    let pauseless = args.pauseless.then(|| pauseless::name(runtime(args)));
    std::iter::once(runtime(args).to_owned())
        .chain(pauseless)
        .collect()
}

/// What Kubernetes must have, once, for those that pods must name.
fn runtime_classes(args: &args::Install) -> String {
    let which = [DefaultRuntime::Podhook, DefaultRuntime::Pauseless];
    let named = names(args).into_iter().zip(which);
    let named = named.filter(|(_, which)| args.default != Some(*which));
    let classes = named.map(|(name, _)| {
        format!(
            "Kubernetes knows {name} by a RuntimeClass, once for the cluster:\n  \
             echo '{{\"apiVersion\": \"node.k8s.io/v1\", \"kind\": \"RuntimeClass\", \
             \"metadata\": {{\"name\": \"{name}\"}}, \"handler\": \"{name}\"}}' | kubectl apply -f -\n"
        )
    });
    classes.collect()
}
