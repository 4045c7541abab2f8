//! containerd's, docker's and podhook's own configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use podhook_hooks::config::{Config, DEFAULT_PATH};
use serde_json::{Map, Value};

use super::check::Check;
use super::pauseless;
use crate::cri::Handlers;
use crate::setup::configure::{self, missing_annotations};
use crate::setup::containerd::Generation;
use crate::setup::containerd::load::{Loaded, runtimes};
use crate::setup::containerd::section::{self, TYPE, is_pauseless, is_podhook};
use crate::setup::docker;
use crate::setup::place::{Configuration, Place};
use crate::setup::root::Root;
use crate::setup::version::{self, Version};
use crate::setup::{self, Error};

/// What a configuration says that other checks are about.
#[derive(Debug, Clone, Default)]
pub(super) struct Used {
    /// The shim's program, where the configuration names it.
    pub(super) shim: Option<PathBuf>,
    /// The OCI runtime, where it is not runc of PATH.
    pub(super) binary: Option<String>,
    /// Whether cgroups are systemd's, as far as the runtime is told.
    pub(super) systemd: Option<bool>,
    /// Folders of programs beside PATH.
    pub(super) programs: Vec<String>,
}

impl Used {
    /// The OCI runtime's name or path.
    pub(super) fn oci(&self) -> &str {
        self.binary.as_deref().unwrap_or("runc")
    }
}

/// The configuration of one place.
pub(super) fn check(
    root: &Root,
    place: &Place,
    runtime: &str,
    version: Option<Version>,
) -> (Option<Used>, Vec<Check>) {
    let name = format!("{} configuration", place.kind.name());
    match &place.configuration {
        Configuration::Toml(path)
        | Configuration::Template {
            generated: path, ..
        } => {
            let programs = place
                .program
                .iter()
                .filter_map(|program| program.path.parent());
            let programs = programs
                .map(|folder| folder.display().to_string())
                .collect();
            let (used, mut checks) = toml(root, place, path, runtime, version, &name);
            checks.extend(not_written(root, path, &name));
            (used.map(|used| Used { programs, ..used }), checks)
        }
        Configuration::Daemon(path) => (None, vec![daemon(root, path, runtime, name)]),
        Configuration::None => (None, Vec::new()),
    }
}

fn toml(
    root: &Root,
    place: &Place,
    path: &Path,
    runtime: &str,
    version: Option<Version>,
    name: &str,
) -> (Option<Used>, Vec<Check>) {
    let one = |check: Check| (None, vec![check]);
    let install = install_command(place, runtime);
    let loaded = match read(root, place, path, version) {
        Ok(loaded) => loaded,
        Err(e) => {
            return one(Check::fail(
                name,
                first_line(&e.to_string()),
                hint(&e.to_string()),
            ));
        }
    };
    if let Some(file) = loaded.disabled_by() {
        let message = format!(
            "CRI is switched off in {}: ctr, nerdctl and docker name the runtime themselves",
            root.outside(&file.path).display()
        );
        return one(Check::ok(name, message));
    }
    let cri = loaded.cri();
    let section = runtimes(&cri).and_then(|all| all.get(runtime));
    let refused = configure::target(root, &loaded, path, runtime).err();
    // Where podhook install refuses it, that comes first.
    let refused = refused.map(|e| e.to_string());
    let install = refused.as_deref().map_or(install, hint);
    let Some(section) = section.and_then(Value::as_object) else {
        let mut message = format!("no runtime {runtime} in {}", root.outside(path).display());
        if let Some(why) = refused {
            message.push_str(&format!(
                ": podhook install adds none, {}",
                first_line(&why)
            ));
        }
        return one(Check::fail(name, message, install));
    };
    if !is_podhook(section) {
        let kind = section::text(section, "runtime_type");
        let message = format!(
            "the runtime {runtime} of {} is not podhook's: its runtime_type is {kind:?}",
            last_file(root, &loaded, runtime)
        );
        return one(Check::fail(
            name,
            message,
            "--runtime NAME says how podhook's is called",
        ));
    }
    if let Some((message, mend)) = configure::dead_default(root, &loaded) {
        return one(Check::fail(name, message, mend));
    }
    let (used, mut checks) = of_section(root, place, section, loaded.generation, name, &install);
    if checks.is_empty() {
        let message = format!("runtime {runtime} in {}", last_file(root, &loaded, runtime));
        checks.push(Check::ok(name, message));
    }
    for other in others(&cri, runtime) {
        let section = runtimes(&cri).and_then(|all| all.get(&other));
        let Some(section) = section.and_then(Value::as_object) else {
            continue;
        };
        let install = install_command(place, &other);
        let (_, wrong) = of_section(root, place, section, loaded.generation, name, &install);
        let of_it = wrong.into_iter().map(|check| Check {
            message: format!("the runtime {other}: {}", check.message),
            ..check
        });
        checks.extend(of_it);
    }
    checks.extend(handlers(root, place, &loaded, runtime).checks());
    (Some(used), checks)
}

/// Says that podhook install does not write the file; it is read all the same.
fn not_written(root: &Root, path: &Path, name: &str) -> Option<Check> {
    let error = root.read_to_edit(path).err()?;
    if !matches!(error, Error::Untrusted { .. } | Error::Link { .. }) {
        return None;
    }
    let error = error.to_string();
    let message = format!(
        "podhook install does not write {}: {}",
        root.outside(path).display(),
        first_line(&error)
    );
    Some(Check::warn(name, message, hint(&error)))
}

pub(super) fn read(
    root: &Root,
    place: &Place,
    path: &Path,
    version: Option<Version>,
) -> Result<Loaded, Error> {
    let generation = configure::generation(root, place, path, version)?;
    let loaded = Loaded::read(root, path, generation)?;
    loaded.check_versions(root)?;
    Ok(loaded)
}

fn handlers<'a>(
    root: &'a Root,
    place: &'a Place,
    loaded: &'a Loaded,
    runtime: &'a str,
) -> pauseless::Handlers<'a> {
    pauseless::Handlers {
        root,
        place,
        loaded,
        runtime,
    }
}

/// Whether a check has found podhook's runtime in a configuration.
pub(super) fn has_runtime(check: &Check) -> bool {
    let is_ok = check.status == super::Status::Ok;
    is_ok && check.name.ends_with(" configuration") && check.message.starts_with("runtime ")
}

/// The names of podhook's handlers beside the one of that name: of pods without a pause container, and of other installs.
pub(super) fn handlers_beside(
    root: &Root,
    place: &Place,
    runtime: &str,
    version: Option<Version>,
) -> BTreeSet<String> {
    let Some(path) = place.configuration.of_containerd() else {
        return BTreeSet::new();
    };
    let loaded = read(root, place, path, version).ok();
    let Some(loaded) = loaded else {
        return BTreeSet::new();
    };
    let mut names = handlers(root, place, &loaded, runtime).names();
    names.extend(others(&loaded.cri(), runtime));
    names.remove(runtime);
    names
}

/// podhook's handlers with a pause container beside the one of that name.
fn others(cri: &Value, runtime: &str) -> Vec<String> {
    let all = runtimes(cri).into_iter().flatten();
    let ours = all.filter(|(name, section)| {
        let section = section.as_object();
        let is_ours = section.is_some_and(|section| is_podhook(section) && !is_pauseless(section));
        let is_beside = pauseless::is_beside(name, runtime);
        is_ours && *name != runtime && !is_beside
    });
    ours.map(|(name, _)| name.clone()).collect()
}

fn last_file(root: &Root, loaded: &Loaded, name: &str) -> String {
    let has = |cri: &Value| runtimes(cri).is_some_and(|all| all.contains_key(name));
    let file = loaded.last(|file| has(&file.cri()));
    file.map_or_else(String::new, |file| {
        root.outside(&file.path).display().to_string()
    })
}

/// What is wrong with the runtime's section.
fn of_section(
    root: &Root,
    place: &Place,
    section: &Map<String, Value>,
    generation: Generation,
    name: &str,
    install: &str,
) -> (Used, Vec<Check>) {
    let mut checks = Vec::new();
    let text = |key: &str| section.get(key).and_then(Value::as_str).unwrap_or_default();
    let options = section.get("options").and_then(Value::as_object);
    let option = |key: &str| options.and_then(|options| options.get(key));
    if text("runtime_type") != TYPE
        && !text("runtime_path").is_empty()
        && !generation.has_runtime_path()
    {
        let message = format!(
            "containerd {} makes no use of runtime_path: pods get the original shim, and no hooks",
            generation.version
        );
        checks.push(Check::fail(
            name,
            message,
            format!("{install}, or runtime_type = \"{TYPE}\""),
        ));
    }
    let shim = section::program(section);
    if let Some(shim) = &shim
        && root.real_path(shim).is_none()
    {
        let message = format!(
            "it names {}, which is not there",
            root.outside(shim).display()
        );
        checks.push(Check::fail(name, message, install));
    }
    if shim.is_none() {
        checks.extend(absent(root, place, name, install));
    }
    // Of a pod without a pause container the shim has all of them.
    if !is_pauseless(section) {
        let missing = missing_annotations(section);
        checks.extend(annotations_missing(name, &missing, install));
    }
    let keys = options.into_iter().flat_map(Map::keys);
    let dropped: Vec<&str> = keys
        .map(String::as_str)
        .filter(|key| *key != "ConfigPath")
        .collect();
    if !generation.passes_options()
        && text("runtime_type") != "io.containerd.runc.v2"
        && !dropped.is_empty()
    {
        let message = format!(
            "containerd {} drops the options {}",
            generation.version,
            dropped.join(", ")
        );
        let mend = format!("say them in {DEFAULT_PATH}: systemd_cgroup, runtime, root");
        checks.push(Check::warn(name, message, mend));
    }
    let binary = option("BinaryName")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    let used = Used {
        shim,
        binary: binary.map(str::to_owned),
        systemd: option("SystemdCgroup").and_then(Value::as_bool),
        programs: Vec::new(),
    };
    (used, checks)
}

/// Says that containerd does not find the shim by its type.
pub(super) fn absent(root: &Root, place: &Place, name: &str, install: &str) -> Option<Check> {
    let beside = place.programs(root);
    let folders = version::PATH.iter().map(Path::new).chain(beside.as_deref());
    let mut programs = folders.map(|folder| folder.join(section::SHIM));
    if programs.any(|program| root.real_path(&program).is_some()) {
        return None;
    }
    let message = format!("{TYPE} needs {} in containerd's PATH", section::SHIM);
    Some(Check::fail(name, message, install))
}

/// Says what containerd keeps from the shim.
pub(super) fn annotations_missing(
    name: &str,
    missing: &[(&str, &str)],
    install: &str,
) -> Option<Check> {
    let missing: Vec<String> = missing
        .iter()
        .map(|(key, pattern)| format!("{key} {pattern}"))
        .collect();
    let message = format!("annotations do not reach the shim: {}", missing.join(", "));
    (!missing.is_empty()).then(|| Check::fail(name, message, install))
}

fn daemon(root: &Root, path: &Path, name: &str, check: String) -> Check {
    let shown = root.outside(path).display().to_string();
    let text = path
        .to_str()
        .and_then(|path| root.text(path))
        .unwrap_or_else(|| "{}".to_owned());
    let config: Value = match serde_json::from_str(&text) {
        Ok(config) => config,
        Err(e) => {
            let message = format!("{shown} is not JSON: {e}");
            return Check::fail(check, message, "docker does not start with it: mend it");
        }
    };
    match config.get("runtimes").and_then(|all| all.get(name)) {
        Some(runtime) if docker::is_podhook(runtime) => {
            Check::ok(check, format!("runtime {name} in {shown}"))
        }
        Some(_) => Check::fail(
            check,
            format!("the runtime {name} of {shown} is not podhook's"),
            "--runtime NAME says how podhook's is called",
        ),
        None => Check::warn(
            check,
            format!("no runtime {name} in {shown}; docker run --runtime {TYPE} works without"),
            "podhook install --for docker",
        ),
    }
}

/// Whether a running containerd has read what its files say.
pub(super) fn loaded(place: &Place, handlers: &Handlers, name: &str) -> Check {
    let check = format!("running {}", place.kind.name());
    match handlers.get(name) {
        Some(handler) if handler.is_podhook() => {
            Check::ok(check, format!("it has the runtime {name}"))
        }
        _ => Check::fail(
            check,
            format!("it has no runtime {name}: it has not read its configuration since"),
            place.restart_command(),
        ),
    }
}

/// podhook's own.
pub(super) fn node(root: &Root) -> (Check, Option<Config>) {
    let path = Path::new(DEFAULT_PATH);
    let shown = root.outside(path).display().to_string();
    let text = match root.read(path) {
        Ok(None) => {
            let check = Check::ok("podhook configuration", format!("no {shown}: the defaults"));
            return (check, Some(Config::default()));
        }
        Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) => {
            let check = Check::fail(
                "podhook configuration",
                first_line(&e.to_string()),
                format!("mend {shown}"),
            );
            return (check, None);
        }
    };
    match Config::parse(&text, &shown) {
        Ok(config) => (Check::ok("podhook configuration", shown), Some(config)),
        Err(e) => {
            let check = Check::fail(
                "podhook configuration",
                e.to_string(),
                "mend the line: no container is created while it is wrong",
            );
            (check, None)
        }
    }
}

/// What makes a handler as it is to be.
pub(super) fn install_command(place: &Place, handler: &str) -> String {
    let mut command = format!("podhook install --for {}", place.kind.name());
    let beside = setup::containerd::pauseless::beside(handler);
    let name = beside.unwrap_or(handler);
    if name != "podhook" {
        command.push_str(" --runtime ");
        command.push_str(name);
    }
    if beside.is_some() {
        command.push_str(" --pauseless");
    }
    command
}

pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn hint(text: &str) -> String {
    let hint = text.split_once("hint: ").map(|(_, hint)| hint);
    hint.map_or_else(|| "mend it".to_owned(), first_line)
}
