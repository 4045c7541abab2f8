//! `podhook uninstall`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::Error;
use crate::args::{self, Changed, Global};
use crate::output::print;
use crate::setup::change::Change;
use crate::setup::containerd::section::{SHIM, TYPE};
use crate::setup::place::Place;
use crate::setup::root::{Access, Found, Root};
use crate::setup::state::{Entry, Now, State};
use crate::setup::{self, restart, shims};

/// How many containers are named.
const NAMED: usize = 5;

/// Runs the command.
///
/// # Errors
/// While containers run on podhook, also for a dry run; where somebody has changed a file, and when one cannot be restored.
pub fn run(global: &Global, args: &args::Uninstall) -> Result<(), Error> {
    let root = Root::open(&args.root)?;
    if !args.dry_run {
        root.lock()?;
    }
    let Some(mut state) = State::load(&root)? else {
        print("nothing to do: podhook install has not been run here\n")?;
        return Ok(());
    };
    if args.restart.as_ref().is_some_and(String::is_empty) && !root.is_host() {
        return Err(setup::Error::refused(
            "--restart with --root: the services of another root are not this machine's",
            "--restart=COMMAND names what restarts its containerd",
        )
        .into());
    }
    let places: Vec<Place> = state
        .places
        .iter()
        .filter_map(|kind| Place::find(&root, *kind))
        .collect();
    let states = places.iter().map(|place| place.state);
    let states = states.chain([Place::plain().state]).collect();
    let running = running(&root, &states, &state)?;
    let is_refused = !running.is_empty() && !args.force;
    if is_refused && !args.dry_run {
        return Err(in_use(&named(&root, &states, &running)).into());
    }
    let mut todo = Vec::new();
    let mut kept = Vec::new();
    let mut refused = Vec::new();
    let mut left = Vec::new();
    for entry in &state.files {
        if entry.program && !running.is_empty() {
            // containerd calls it when the container ends.
            kept.push(entry.clone());
            continue;
        }
        let found = root.read_to_edit(&entry.path)?;
        match (entry.now(found.as_ref()), args.changed) {
            (Now::Restored, _) => {}
            (Now::Written, _) | (Now::Changed, Changed::Restore) => todo.push((entry, found)),
            (Now::Changed, Changed::Keep) => {
                left.extend(lines(&root, entry, found.as_ref(), &state));
                print(&format!(
                    "left alone: {}\n",
                    root.outside(&entry.path).display()
                ))?;
            }
            (Now::Changed, Changed::Refuse) => refused.push(entry),
        }
    }
    if let Some(entry) = refused.first() {
        return Err(changed(&root, entry, &state).into());
    }
    if args.dry_run {
        for (entry, found) in todo {
            let now = found.map(|found| (found.bytes, found.access));
            print(&back(&root, entry, now)?)?;
        }
        for entry in kept {
            let path = root.outside(&entry.path).display().to_string();
            print(&format!(
                "Program {path}: stays, since containers run on it\n"
            ))?;
        }
        if is_refused {
            return Err(in_use(&named(&root, &states, &running)).into());
        }
        return Ok(());
    }
    // Before anything is taken off: what cannot be restarted goes on as it is.
    if todo.iter().any(|(entry, _)| !entry.program) {
        let all: Vec<&Place> = places.iter().collect();
        restart::check(&root, &all, args.restart.as_deref())?;
    }
    // What names the program goes first.
    todo.sort_by_key(|(entry, _)| entry.program);
    for (entry, _) in &todo {
        entry.restore(&root)?;
        let verb = if entry.before.is_some() {
            "restored"
        } else {
            "removed"
        };
        print(&format!("{verb} {}\n", root.outside(&entry.path).display()))?;
    }
    let texts = todo.iter().any(|(entry, _)| !entry.program);
    let shim = state.shim.clone();
    if kept.is_empty() {
        state.remove(&root)?;
    } else {
        state.half = true;
        state.forget_but(&root, kept)?;
        print(
            "the programs stay, since containers run on them: podhook uninstall again when those are gone\n",
        )?;
    }
    let again: Vec<&Place> = places.iter().filter(|_| texts).collect();
    print(&restart::all(
        &root,
        &again,
        args.restart.as_deref(),
        &global.address,
    )?)?;
    if !left.is_empty() {
        print(&still_there(&root, &shim, &left))?;
    }
    Ok(())
}

/// The lines of a file that name podhook's programs or handlers.
fn lines(root: &Root, entry: &Entry, found: Option<&Found>, state: &State) -> Vec<String> {
    let text = found.map(|found| String::from_utf8_lossy(&found.bytes).into_owned());
    let text = text.filter(|_| !entry.program).unwrap_or_default();
    let handlers = std::iter::once(&state.runtime).chain(&state.pauseless);
    let handlers: Vec<&str> = handlers.map(String::as_str).collect();
    let names = |line: &&str| {
        let line = line.trim_start();
        let mut words = line.split(|c: char| c.is_whitespace() || "[].\"'=:,{}".contains(c));
        let is_said = line.contains(SHIM) || line.contains(TYPE);
        !line.starts_with('#') && (is_said || words.any(|word| handlers.contains(&word)))
    };
    let path = root.outside(&entry.path).display().to_string();
    let numbered = text.lines().zip(1_usize..);
    let numbered = numbered.filter(|(line, _)| names(line));
    numbered
        .map(|(line, number)| format!("  {path}:{number}: {}\n", line.trim()))
        .collect()
}

/// What a file that was left alone still says of podhook.
fn still_there(root: &Root, shim: &Path, lines: &[String]) -> String {
    let what = if root.real_path(shim).is_none() {
        format!(
            "{} is gone, and what was left alone still names it, or a handler of it: no pod or container of it starts",
            root.outside(shim).display()
        )
    } else {
        "what was left alone still names podhook".to_owned()
    };
    format!(
        "{what}. Take these out by hand, with the sections that they begin:\n{}",
        lines.concat()
    )
}

/// The containers of podhook's shims.
fn running(root: &Root, states: &BTreeSet<&str>, state: &State) -> Result<Vec<String>, Error> {
    if !shims::are_seen(root) {
        let proc = root.outside(Path::new("/proc")).display().to_string();
        print(&format!(
            "no process is seen in {proc}: containers are looked for in containerd's state directory alone\n"
        ))?;
        let may_run = |bundle: &PathBuf| shims::may_be_of(root, bundle, &state.shim);
        let all = shims::bundles(root, states).into_iter();
        let running = all.filter(|(_, bundles)| bundles.iter().any(may_run));
        return Ok(running.map(|(container, _)| container).collect());
    }
    let shims = shims::all(root).into_iter();
    let mut running: Vec<String> = shims
        .filter(|shim| shim.runs(root, &state.shim))
        .map(|shim| shim.container)
        .collect();
    running.dedup();
    Ok(running)
}

/// The same with the names of the pods, where containerd has written them down for their containers.
fn named(root: &Root, states: &BTreeSet<&str>, running: &[String]) -> Vec<String> {
    let specification = |bundle: PathBuf| root.text(bundle.join("config.json").to_str()?);
    let bundles = shims::bundles(root, states).into_values().flatten();
    let pods: BTreeMap<_, _> = bundles
        .filter_map(|bundle| pod(&specification(bundle)?))
        .collect();
    let name = |container: &String| {
        let id = container.strip_prefix("k8s.io/").unwrap_or_default();
        match pods.get(id) {
            Some(pod) => format!("pod {pod} ({container})"),
            None => container.clone(),
        }
    };
    running.iter().map(name).collect()
}

/// The sandbox and the pod of a container, by what CRI writes into its specification.
fn pod(specification: &str) -> Option<(String, String)> {
    let specification: Value = serde_json::from_str(specification).ok()?;
    let annotations = specification.get("annotations")?;
    let text = |name: &str| {
        let key = format!("io.kubernetes.cri.sandbox-{name}");
        annotations.get(key)?.as_str()
    };
    let pod = format!("{}/{}", text("namespace")?, text("name")?);
    Some((text("id")?.to_owned(), pod))
}

fn in_use(running: &[String]) -> setup::Error {
    let mut names: Vec<&str> = running.iter().take(NAMED).map(String::as_str).collect();
    if running.len() > NAMED {
        names.push("…");
    }
    setup::Error::refused(
        format!(
            "pods or containers run on podhook, {}: {}",
            running.len(),
            names.join(", ")
        ),
        "drain the node (kubectl drain), or remove them; --force restores the configuration all the same, and leaves \
         the programs to them",
    )
}

fn changed(root: &Root, entry: &Entry, state: &State) -> setup::Error {
    let path = root.outside(&entry.path).display().to_string();
    let compare = match entry.copy() {
        Some(copy) => format!("compare: diff {} {path}", root.outside(&copy).display()),
        None => "there was no such file before".to_owned(),
    };
    setup::Error::refused(
        format!("{path} was changed by somebody else since podhook install"),
        format!(
            "{compare}\n        --changed keep leaves it as it is (take {} out of it by hand), \
             --changed restore brings back what was before",
            match &state.pauseless {
                Some(pauseless) => format!("the runtimes {} and {pauseless}", state.runtime),
                None => format!("the runtime {}", state.runtime),
            }
        ),
    )
}

/// The way back as a diff.
fn back(
    root: &Root,
    entry: &Entry,
    now: Option<(Vec<u8>, Access)>,
) -> Result<String, setup::Error> {
    let path = root.outside(&entry.path).display().to_string();
    let copy = match entry.copy() {
        Some(copy) => root.read_to_edit(&copy)?,
        None => None,
    };
    if entry.program {
        let verb = if copy.is_some() {
            "restored"
        } else {
            "removed"
        };
        return Ok(format!("Program {path}: {verb}\n"));
    }
    let Some(copy) = copy else {
        return Ok(format!("File {path}: removed\n"));
    };
    let before = now.map(|(bytes, access)| Found { bytes, access });
    let change = Change {
        path: entry.path.clone(),
        before,
        after: copy.bytes,
        access: copy.access,
        program: false,
        carries: true,
    };
    Ok(change.diff(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_that_stays_still_says_of_podhook_is_listed_and_its_program_is_called_gone() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let text = "version = 2\n# podhook\n[p.runtimes.podhook]\n  runtime_path = \"/x/containerd-shim-podhook-v1\"\n\
            pod_annotations = [\"podhook.dev/*\"]\n[p.runtimes.\"podhook-pauseless\"]\n[p.runtimes.runc]\n";
        let found = Found {
            bytes: text.into(),
            access: Access::NEW,
        };
        let state = State {
            runtime: "podhook".to_owned(),
            pauseless: Some("podhook-pauseless".to_owned()),
            shim: "/x/containerd-shim-podhook-v1".into(),
            ..State::default()
        };
        let entry = Entry {
            path: "/etc/containerd/config.toml".into(),
            before: None,
            sha256: String::new(),
            program: false,
            changed: true,
        };
        let lines = lines(&root, &entry, Some(&found), &state);
        let numbers: Vec<_> = lines
            .iter()
            .filter_map(|line| line.split(':').nth(1))
            .collect();
        assert_eq!(numbers, ["3", "4", "5", "6"], "{lines:?}");
        let said = still_there(&root, &state.shim, &lines);
        assert!(
            said.contains("x/containerd-shim-podhook-v1 is gone"),
            "{said}"
        );
        assert!(
            said.contains("config.toml:3: [p.runtimes.podhook]"),
            "{said}"
        );
        std::fs::create_dir(folder.path().join("x")).unwrap();
        std::fs::write(folder.path().join("x/containerd-shim-podhook-v1"), "").unwrap();
        assert!(!still_there(&root, &state.shim, &lines).contains("gone"));
    }
}
