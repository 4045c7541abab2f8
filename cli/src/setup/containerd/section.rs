//! What containerd's configuration is to say of podhook's runtime.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Generation;
use super::load::{default_runtime, runtimes};
use crate::cri::SANDBOXER;
use crate::setup::error::Error;
use crate::setup::version::in_path;

/// The shim's program.
pub const SHIM: &str = "containerd-shim-podhook-v1";
/// The runtime's type where containerd looks for the program itself.
pub const TYPE: &str = "io.containerd.podhook.v1";
/// The type whose options are runc's.
pub const RUNC: &str = "io.containerd.runc.v2";

/// The annotations of pods that the shim reads.
pub const POD_ANNOTATIONS: [&str; 2] = ["podhook.dev/*", "lifecycle.podhook.dev/*"];
/// Those that the kubelet gives a container.
pub const CONTAINER_ANNOTATIONS: [&str; 2] = ["podhook.dev/*", "io.kubernetes.*"];

/// What of runc's section is its own alone.
const NOT_INHERITED: [&str; 10] = [
    "runtime_type",
    "runtime_path",
    "runtime_engine",
    "runtime_root",
    "sandboxer",
    "sandbox_mode",
    "disable_pause_image_pull",
    "pod_annotations",
    "container_annotations",
    "options",
];

/// The runtime.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The handler's name.
    pub name: String,
    /// Its keys, without its options.
    pub keys: Map<String, Value>,
    pub options: Map<String, Value>,
    /// Whether pods that name no runtime get it.
    pub default: bool,
    /// Whether runc's own section must be written beside it: containerd 1.x has that only where a file has no runtime.
    pub runc: bool,
    /// What podhook's own configuration must say, because options do not reach the shim.
    pub node: Map<String, Value>,
}

impl Section {
    /// Makes it of what containerd's configuration says so far: as runc's, with podhook's program.
    ///
    /// # Errors
    /// When the handler is somebody else's.
    pub fn new(
        cri: &Value,
        generation: Generation,
        name: &str,
        shim: &Path,
        default: bool,
    ) -> Result<Self, Error> {
        let all = runtimes(cri);
        let existing = existing(cri, name)?;
        if existing.is_some_and(is_pauseless) {
            return Err(Error::refused(
                format!(
                    "the runtime handler {name} is there already, and its pods have no pause container"
                ),
                "--runtime NAME gives podhook's with pause containers another name; --pauseless makes NAME-pauseless beside it",
            ));
        }
        let model = all.and_then(|all| model(all, default_runtime(cri)));
        let mut keys = Map::new();
        let types = match (generation.has_runtime_path(), in_path(shim)) {
            (true, _) => vec![
                ("runtime_type", RUNC.to_owned()),
                ("runtime_path", path(shim)),
            ],
            (false, true) => vec![("runtime_type", TYPE.to_owned())],
            (false, false) => vec![("runtime_type", path(shim))],
        };
        keys.extend(
            types
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.into())),
        );
        keys.extend(inherited(existing, model));
        let options = options(existing, model);
        let (options, node) = if generation.passes_options() {
            (options, Map::new())
        } else {
            split(options)
        };
        Ok(Self {
            name: name.to_owned(),
            keys,
            options,
            default,
            runc: !generation.merges() && all.is_none_or(Map::is_empty),
            node,
        })
    }
}

/// The handler of that name, where it is there already.
///
/// # Errors
/// When it is somebody else's.
pub(super) fn existing<'a>(
    cri: &'a Value,
    name: &str,
) -> Result<Option<&'a Map<String, Value>>, Error> {
    let existing = runtimes(cri).and_then(|all| all.get(name));
    let existing = existing.and_then(Value::as_object);
    if existing.is_none_or(is_podhook) {
        return Ok(existing);
    }
    Err(foreign(
        name,
        existing.map_or("", |section| text(section, "runtime_type")),
        None,
    ))
}

/// Says whose the handler of that name is, and in which file it is said, where that is known.
pub(in crate::setup) fn foreign(name: &str, kind: &str, file: Option<&Path>) -> Error {
    let file = file.map_or_else(String::new, |file| format!(" of {}", file.display()));
    Error::refused(
        format!(
            "the runtime handler {name}{file} is there already, and is not podhook's: its runtime_type is {kind:?}"
        ),
        "--runtime NAME gives podhook's another name",
    )
}

/// The keys that a handler is to have as its model has them, and its annotations. What is there already stays.
pub(super) fn inherited(
    existing: Option<&Map<String, Value>>,
    model: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut keys = Map::new();
    for (key, ours) in [
        ("pod_annotations", &POD_ANNOTATIONS),
        ("container_annotations", &CONTAINER_ANNOTATIONS),
    ] {
        let theirs = existing.or(model).and_then(|section| section.get(key));
        keys.insert(key.to_owned(), union(theirs, ours));
    }
    for (key, value) in model.filter(|_| existing.is_none()).into_iter().flatten() {
        if !NOT_INHERITED.contains(&&**key) && !is_empty(value) {
            keys.insert(key.clone(), value.clone());
        }
    }
    keys
}

/// The handler's options, else its model's.
pub(crate) fn options(
    existing: Option<&Map<String, Value>>,
    model: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    // What a generated file says of every option is containerd's own default.
    let said = |section: Option<&Map<String, Value>>| {
        let mut options = section?.get("options")?.as_object()?.clone();
        options.retain(|_, value| !is_empty(value));
        Some(options).filter(|options| !options.is_empty())
    };
    said(existing).or_else(|| said(model)).unwrap_or_default()
}

/// Whether a handler starts podhook's shim.
#[must_use]
pub fn is_podhook(section: &Map<String, Value>) -> bool {
    let is_shim = |path: &str| Path::new(path).file_name().is_some_and(|name| name == SHIM);
    let [kind, path] = ["runtime_type", "runtime_path"].map(|key| text(section, key));
    kind == TYPE || is_shim(kind) || is_shim(path)
}

/// Whether a handler's pods have no pause container.
#[must_use]
pub fn is_pauseless(section: &Map<String, Value>) -> bool {
    text(section, "sandboxer") == SANDBOXER
}

/// The program that a handler names.
#[must_use]
pub fn program(section: &Map<String, Value>) -> Option<PathBuf> {
    let mut paths = ["runtime_path", "runtime_type"]
        .into_iter()
        .map(|key| text(section, key));
    paths.find(|path| path.starts_with('/')).map(PathBuf::from)
}

/// A text of a handler; empty where there is none.
#[must_use]
pub fn text<'a>(section: &'a Map<String, Value>, key: &str) -> &'a str {
    section.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The section whose keys a new one gets: runc's, or the default one's if that is runc by another name.
fn model<'a>(all: &'a Map<String, Value>, default: &str) -> Option<&'a Map<String, Value>> {
    let is_runc = |section: &&Map<String, Value>| {
        section.get("runtime_type").and_then(Value::as_str) == Some(RUNC) && !is_podhook(section)
    };
    let named = |name| all.get(name).and_then(Value::as_object);
    // A section that only adds options to containerd's own has no type.
    named("runc")
        .filter(|runc| !is_podhook(runc))
        .or_else(|| named(default).filter(is_runc))
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Null => true,
    }
}

/// What is there, and what is missing of ours.
fn union(theirs: Option<&Value>, ours: &[&str]) -> Value {
    let mut all = theirs
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for one in ours {
        if !all.iter().any(|there| there == one) {
            all.push(Value::from(*one));
        }
    }
    all.into()
}

/// containerd 1.6 passes on nothing but `ConfigPath`: the rest goes into podhook's own configuration.
pub(super) fn split(options: Map<String, Value>) -> (Map<String, Value>, Map<String, Value>) {
    let mut passed = Map::new();
    let mut node = Map::new();
    for (key, value) in options {
        let name = match &*key {
            "ConfigPath" => {
                passed.insert(key, value);
                continue;
            }
            "SystemdCgroup" => "systemd_cgroup",
            "BinaryName" => "runtime",
            "Root" => "root",
            _ => continue,
        };
        if !is_empty(&value) {
            node.insert(name.to_owned(), value);
        }
    }
    (passed, node)
}
