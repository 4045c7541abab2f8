//! containerd's configuration as it is: the main file, what it imports, and what comes of both.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use toml_edit::{DocumentMut, Item};

use super::{Generation, plugin};
use crate::cri::path_match;
use crate::setup::error::Error;
use crate::setup::root::Root;

/// What CRI's plugin is called where it is switched off.
const DISABLED: [&str; 3] = [
    "cri",
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.runtime",
];

/// One file.
#[derive(Debug, Clone)]
pub struct Source {
    pub path: PathBuf,
    pub document: DocumentMut,
}

impl Source {
    /// A file that is not there yet.
    #[must_use]
    pub fn new(path: &Path, version: i64) -> Self {
        let mut document = DocumentMut::new();
        document.insert("version", toml_edit::value(version));
        Self {
            path: path.to_owned(),
            document,
        }
    }

    fn read(root: &Root, path: &Path) -> Result<Option<Self>, Error> {
        let Some(bytes) = root.read(path)? else {
            return Ok(None);
        };
        let document = parse(root, path, &bytes)?;
        Ok(Some(Self {
            path: path.to_owned(),
            document,
        }))
    }

    /// The version that it says it has; a file without one is of version 1.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.document
            .get("version")
            .and_then(Item::as_integer)
            .unwrap_or(1)
    }

    /// Whether it has the section of CRI's plugin.
    #[must_use]
    pub fn has_plugin(&self) -> bool {
        self.plugin().is_some()
    }

    fn plugin(&self) -> Option<&Item> {
        let plugins = self.document.get("plugins")?;
        plugins.get(plugin(self.version()))
    }

    /// The section of CRI's plugin.
    #[must_use]
    pub fn cri(&self) -> Value {
        self.plugin().map_or(Value::Null, to_json)
    }

    fn imports(&self) -> Vec<String> {
        let imports = self.document.get("imports").and_then(Item::as_array);
        let imports = imports.into_iter().flatten();
        imports
            .filter_map(|import| Some(import.as_str()?.to_owned()))
            .collect()
    }

    fn disables_cri(&self) -> bool {
        let list = self.document.get("disabled_plugins");
        let list = list.and_then(Item::as_array).into_iter().flatten();
        list.filter_map(|plugin| plugin.as_str())
            .any(|plugin| DISABLED.contains(&plugin))
    }
}

fn parse(root: &Root, path: &Path, bytes: &[u8]) -> Result<DocumentMut, Error> {
    let shown = root.outside(path).display().to_string();
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Error::refused(
            format!("{shown} is not UTF-8"),
            "containerd does not read it either",
        )
    })?;
    text.parse().map_err(|e: toml_edit::TomlError| {
        Error::refused(
            format!("{shown} is not TOML: {}", e.to_string().trim_end()),
            "containerd does not read it either: mend it first",
        )
    })
}

/// All files, in the order in which containerd reads them: a later one has the last word.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub generation: Generation,
    pub files: Vec<Source>,
}

impl Loaded {
    /// Reads `main` with what it imports, to be changed; `main` need not be there.
    ///
    /// # Errors
    /// As [`Self::read`], and where `main` is not to be written.
    pub fn to_edit(root: &Root, main: &Path, generation: Generation) -> Result<Self, Error> {
        // The one that is likely to be changed must be a file; what it imports may be links.
        root.read_to_edit(main)?;
        Self::read(root, main, generation)
    }

    /// The same, to be looked at.
    ///
    /// # Errors
    /// When a file cannot be read, or is no TOML.
    pub fn read(root: &Root, main: &Path, generation: Generation) -> Result<Self, Error> {
        let mut files: Vec<Source> = Vec::new();
        let mut seen = HashSet::new();
        let mut pending = VecDeque::from([main.to_owned()]);
        while let Some(path) = pending.pop_front() {
            if !seen.insert(path.clone()) {
                continue;
            }
            let Some(file) = Source::read(root, &path)? else {
                continue;
            };
            for import in file.imports() {
                pending.extend(resolve(root, &path, &import)?);
            }
            files.push(file);
        }
        Ok(Self { generation, files })
    }

    /// Whether containerd reads files of these versions at all: of a later one than it knows it reads nothing.
    ///
    /// # Errors
    /// With the first file that it refuses.
    pub fn check_versions(&self, root: &Root) -> Result<(), Error> {
        let newest = self.generation.newest();
        let Some(file) = self.files.iter().find(|file| file.version() > newest) else {
            return Ok(());
        };
        let shown = root.outside(&file.path).display().to_string();
        let version = self.generation.version;
        Err(Error::refused(
            format!(
                "{shown} is a configuration of version {}, and containerd {version} has none later than {newest}",
                file.version()
            ),
            "write it for this containerd (`containerd config default` is of its version), or say which one reads it: \
             --containerd-version",
        ))
    }

    /// The file that everything begins with.
    #[must_use]
    pub fn main(&self) -> Option<&Source> {
        self.files.first()
    }

    /// The file that switches CRI off.
    #[must_use]
    pub fn disabled_by(&self) -> Option<&Source> {
        self.files.iter().find(|file| file.disables_cri())
    }

    /// The folder that the main file imports every `*.toml` of, with the name that `file` then has.
    #[must_use]
    pub fn drop_in(&self, file: &str) -> Option<PathBuf> {
        let main = self.main()?;
        main.imports().iter().find_map(|import| {
            let pattern = absolute(&main.path, import);
            let (folder, name) = (pattern.parent()?, pattern.file_name()?.to_str()?);
            let plain = !folder.to_string_lossy().contains(['*', '?', '[']);
            let fits = name.contains('*') && path_match(name, file);
            (plain && fits).then(|| folder.join(file))
        })
    }

    /// What containerd makes of the sections of CRI's plugin.
    #[must_use]
    pub fn cri(&self) -> Value {
        let mut all = Value::Null;
        for file in self.files.iter().filter(|file| file.has_plugin()) {
            if self.generation.merges() {
                merge(&mut all, file.cri());
            } else {
                all = file.cri();
            }
        }
        all
    }

    /// The default runtime, where it has no section: CRI does not start then. With it the file that has the last word.
    #[must_use]
    pub fn dead_default(&self) -> Option<(String, &Path)> {
        let cri = self.cri();
        let name = default_runtime(&cri);
        let merges = self.generation.merges();
        // containerd 1.x still takes a section of the older kind for the default one's.
        let older = cri.get("containerd").and_then(|c| c.get("default_runtime"));
        let older = older.and_then(|older| older.get("runtime_type")?.as_str());
        let has_older = !merges && older.is_some_and(|kind| !kind.is_empty());
        let has_it = runtimes(&cri).is_none_or(|all| all.contains_key(name));
        if has_it || has_older || (merges && name == "runc") {
            return None;
        }
        let file = self.last(Source::has_plugin)?;
        Some((name.to_owned(), &file.path))
    }

    /// The last file for which something holds: the one that has the last word.
    #[must_use]
    pub fn last(&self, holds: impl Fn(&Source) -> bool) -> Option<&Source> {
        self.files.iter().rev().find(|file| holds(file))
    }

    /// The same with one file as it is to be.
    #[must_use]
    pub fn with(&self, changed: &Source) -> Self {
        let mut all = self.clone();
        match all.files.iter_mut().find(|file| file.path == changed.path) {
            Some(file) => *file = changed.clone(),
            None => {
                // A new drop-in stands where its name does; a new main file is alone.
                let folder = changed.path.parent();
                let later =
                    |file: &Source| file.path.parent() == folder && file.path > changed.path;
                let at = all.files.iter().skip(1).position(later);
                let end = all.files.len();
                let at = at.map_or(end, |at| at.saturating_add(1));
                all.files.insert(at, changed.clone());
            }
        }
        all
    }
}

/// `runtimes` of what [`Loaded::cri`] gives.
#[must_use]
pub fn runtimes(cri: &Value) -> Option<&Map<String, Value>> {
    cri.get("containerd")?.get("runtimes")?.as_object()
}

/// The runtime of pods that name none.
#[must_use]
pub fn default_runtime(cri: &Value) -> &str {
    let name = cri
        .get("containerd")
        .and_then(|c| c.get("default_runtime_name"));
    match name.and_then(Value::as_str) {
        None | Some("") => "runc",
        Some(name) => name,
    }
}

fn merge(to: &mut Value, from: Value) {
    match (to, from) {
        (Value::Object(to), Value::Object(from)) => {
            for (key, value) in from {
                merge(to.entry(key).or_insert(Value::Null), value);
            }
        }
        (to, from) => *to = from,
    }
}

fn absolute(parent: &Path, import: &str) -> PathBuf {
    parent.parent().unwrap_or(Path::new("/")).join(import)
}

/// The files that an import means, in Go's order.
fn resolve(root: &Root, parent: &Path, import: &str) -> Result<Vec<PathBuf>, Error> {
    let pattern = absolute(parent, import);
    if !import.contains('*') {
        return Ok(vec![pattern]);
    }
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.components().skip(1) {
        let part = part.as_os_str().to_string_lossy();
        if !part.contains(['*', '?']) {
            for path in &mut found {
                path.push(&*part);
            }
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            let names = root.names(&folder)?;
            let names = names.iter().filter(|name| path_match(&part, name));
            next.extend(names.map(|name| folder.join(name)));
        }
        found = next;
    }
    Ok(found)
}

/// The same value as JSON, without comments.
#[must_use]
pub fn to_json(item: &Item) -> Value {
    if let Some(table) = item.as_table_like() {
        let entries = table.iter();
        return Value::Object(
            entries
                .map(|(key, item)| (key.to_owned(), to_json(item)))
                .collect(),
        );
    }
    match item {
        Item::Value(value) => value_to_json(value),
        Item::ArrayOfTables(tables) => {
            let tables = tables.iter();
            let tables = tables.map(|table| to_json(&Item::Table(table.clone())));
            Value::Array(tables.collect())
        }
        Item::None | Item::Table(_) => Value::Null,
    }
}

fn value_to_json(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::from(text.value().clone()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Float(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(flag) => Value::from(*flag.value()),
        toml_edit::Value::Datetime(time) => Value::from(time.value().to_string()),
        toml_edit::Value::Array(array) => array.iter().map(value_to_json).collect(),
        toml_edit::Value::InlineTable(table) => {
            let entries = table.iter();
            let entries = entries.map(|(key, value)| (key.to_owned(), value_to_json(value)));
            Value::Object(entries.collect())
        }
    }
}

/// The same value as TOML; TOML has no null.
#[must_use]
pub fn from_json(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) => text.into(),
        Value::Array(values) => {
            let values: toml_edit::Array = values.iter().filter_map(from_json).collect();
            values.into()
        }
        Value::Object(entries) => {
            let mut table = toml_edit::InlineTable::new();
            for (key, value) in entries {
                if let Some(value) = from_json(value) {
                    table.insert(key, value);
                }
            }
            table.into()
        }
    })
}
