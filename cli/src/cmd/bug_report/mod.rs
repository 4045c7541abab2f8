//! `podhook bug-report`: what whoever looks for a fault needs to know of a node, in one file.

mod archive;
mod configuration;
mod facts;
mod logs;
mod redact;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::error::Error;
use crate::args;
use crate::clock;
use crate::doctor::{self, versions};
use crate::node::bundles;
use crate::node::machine;
use crate::output::escape;
use crate::output::paint::Paint;
use crate::setup;
use crate::setup::place::Place;
use crate::setup::root::Root;
use crate::setup::shims;
use crate::setup::version::Version;
use archive::Archive;
use redact::Redaction;

/// Where it goes where nobody says.
const STDOUT: &str = "-";

/// Runs the command.
///
/// # Errors
/// Without root's rights, and when the file cannot be written.
pub async fn run(global: &args::Global, args: &args::BugReport) -> Result<(), Error> {
    let root = Root::open(&args.node.root)?;
    if root.is_host() && !rustix::process::geteuid().is_root() {
        return Err(setup::Error::refused(
            "records, configurations and logs are root's",
            "sudo podhook bug-report",
        )
        .into());
    }
    let name = format!(
        "podhook-bug-report-{}-{}",
        plain(&machine::name()),
        clock::now().strftime("%Y%m%dT%H%M%SZ")
    );
    let path = match &args.output {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{name}.tar.gz")),
    };
    let mut to = open(&path)?;
    let redaction = match args.unredacted {
        true => Redaction::Off,
        false => Redaction::On,
    };
    let archive = collect(global, &root, args, redaction).await;
    let readme = readme(&archive, redaction);
    let time = u64::try_from(clock::now().as_second()).unwrap_or_default();
    let written = archive.write(&name, &readme, time, &mut to);
    written.map_err(|e| unwritten(&path, &e))?;
    let left_out = match redaction {
        Redaction::On => {
            "Left out: arguments of commands, paths of URLs, values of headers, environments, output of hooks."
        }
        Redaction::Off => {
            "NOT left out, as you said: arguments of commands, paths of URLs, output of hooks."
        }
    };
    // stdout may be the archive.
    eprintln!(
        "written: {}, {} files\n{left_out}\nIn it are the names of the node, its pods and containers: read it before you give it to \
         others{}",
        path.display(),
        archive.len(),
        match is_stdout(&path) {
            true => String::new(),
            false => format!(" (tar -xzf {})", path.display()),
        }
    );
    Ok(())
}

/// Half a report is none: it goes.
fn unwritten(path: &Path, error: &io::Error) -> Error {
    if is_stdout(path) {
        return Error::Refused(format!("cannot write to stdout: {error}"));
    }
    let left = match std::fs::remove_file(path) {
        Ok(()) => String::new(),
        Err(e) => format!(", and cannot remove it: {e}"),
    };
    Error::Refused(format!("cannot write {}: {error}{left}", path.display()))
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new(STDOUT)
}

/// A part of a file's name.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.chars().map(plain).collect()
}

/// A new file that only its owner reads, or stdout.
fn open(path: &Path) -> Result<Box<dyn Write>, Error> {
    if is_stdout(path) {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(Error::Refused(
                "the report is an archive, which is not for a terminal\n  hint: podhook bug-report -o - > FILE.tar.gz"
                    .to_owned(),
            ));
        }
        return Ok(Box::new(stdout));
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let file = file.map_err(|e| {
        let hint = match e.kind() {
            io::ErrorKind::AlreadyExists => "nothing is written over: -o names another file",
            _ => "-o names another file, - is stdout",
        };
        Error::Refused(format!(
            "cannot create {}: {e}\n  hint: {hint}",
            path.display()
        ))
    })?;
    Ok(Box::new(file))
}

/// Says what is being done, to a person who waits for it.
fn progress(what: &str) {
    if io::stderr().is_terminal() {
        eprintln!("{what} …");
    }
}

async fn collect(
    global: &args::Global,
    root: &Root,
    args: &args::BugReport,
    redaction: Redaction,
) -> Archive {
    let mut archive = Archive::default();
    progress("versions");
    let versions = versions::all(root, global, &args.node).await;
    archive.add("version.txt", "podhook version", versions.table());
    archive.add("version.json", "the same as JSON", json(&versions));
    progress("doctor");
    let doctor = args::Doctor {
        node: args.node.clone(),
        runtime: None,
        output: None,
    };
    let diagnosis = doctor::examine(root, &global.address, &doctor).await;
    archive.add("doctor.txt", "podhook doctor", diagnosis.table(Paint::NONE));
    archive.add("doctor.json", "the same as JSON", diagnosis.json());
    let places = doctor::places(root, &args.node);
    let facts = facts::machine(root, &places);
    archive.add("machine.txt", "kernel, cgroups, memory, units", facts);
    progress("configuration");
    let version = args
        .node
        .containerd_version
        .as_deref()
        .and_then(Version::parse);
    for place in &places {
        if let Some(config) = configuration::of(root, place, version) {
            let name = format!("configuration/{}.json", place.kind.name());
            archive.add(
                name,
                "what the configuration says of runtimes",
                json(&config),
            );
        }
    }
    if let Some(config) = configuration::podhook(root, redaction) {
        let name = match redaction {
            Redaction::On => "configuration/podhook.json",
            Redaction::Off => "configuration/podhook.toml",
        };
        archive.add(name, "podhook's own configuration", config);
    }
    progress("shims and records");
    archive.add(
        "shims.txt",
        "the shims that run, of every kind",
        running(root),
    );
    records(global, root, &places, redaction, &mut archive).await;
    progress("logs");
    for place in &places {
        let name = format!("logs/{}.log", place.kind.name());
        match logs::of(root, place, redaction).await {
            Ok(log) => archive.add(
                name,
                "the lines about podhook in containerd's log, of a day at most",
                log,
            ),
            Err(why) => archive.absent(name, escape::visible(&why)),
        }
    }
    archive
}

fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    escape::json(&text).into_owned() + "\n"
}

fn running(root: &Root) -> String {
    let lines = shims::all(root).into_iter().map(|shim| {
        let replaced = if shim.replaced {
            " (replaced since)"
        } else {
            ""
        };
        let line = format!(
            "{} {}{replaced} {}",
            shim.pid,
            shim.program.display(),
            shim.container
        );
        escape::visible(&line).into_owned() + "\n"
    });
    lines.collect()
}

/// podhook.json of all containers, one to a line.
async fn records(
    global: &args::Global,
    root: &Root,
    places: &[Place],
    redaction: Redaction,
    archive: &mut Archive,
) {
    let mut lines = String::new();
    for state in doctor::states(global, places).await {
        let state = match root.is_host() {
            true => state,
            false => root.outside(&state),
        };
        for bundle in bundles::list(&state).unwrap_or_default() {
            let line = match bundle.recorded() {
                Ok(None) => continue,
                Ok(Some(found)) => redaction.record(&found.json),
                Err(e) => Value::from(format!(
                    "{}/{}: {}",
                    bundle.namespace,
                    bundle.id,
                    redaction.message(&e.reason)
                )),
            };
            lines.push_str(&escape::json(&line.to_string()));
            lines.push('\n');
        }
    }
    archive.add(
        "records.jsonl",
        "podhook.json of every container with hooks, one to a line",
        lines,
    );
}

fn readme(archive: &Archive, redaction: Redaction) -> String {
    let redacted = match redaction {
        Redaction::On => {
            "Left out, and <redacted> in its place: the arguments of commands, the paths of URLs, the values of headers, and\n\
             the output of hooks. Messages are kept up to the first word that is not podhook's own.\n"
        }
        Redaction::Off => {
            "Made with --unredacted: commands with their arguments, URLs and the output of hooks are in it. Values of headers are\n\
             not: podhook does not record them.\n"
        }
    };
    format!(
        "A report of podhook {} on the node {}, made at {}.\n\n\
         {redacted}\
         Never in it: environments, registries and their credentials, images, manifests, files and logs of containers.\n\
         In it are the names of the node, of pods, their namespaces and containers, and paths of programs.\n\n\
         {}",
        podhook_hooks::build::Build::own(),
        escape::visible(&machine::name()),
        clock::now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        archive.contents()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_cannot_be_written_is_named_and_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar.gz");
        drop(open(&path).unwrap());
        let error = unwritten(&path, &io::ErrorKind::StorageFull.into());
        let says = format!("cannot write {}: ", path.display());
        assert!(error.to_string().contains(&says), "{error}");
        assert!(!path.exists());
    }
}
