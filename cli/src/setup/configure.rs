//! What is to change so that a place has podhook's runtime.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use toml_edit::DocumentMut;

use super::change::Change;
use super::containerd::load::{Loaded, Source, default_runtime, runtimes, to_json};
use super::containerd::section::{
    CONTAINER_ANNOTATIONS, POD_ANNOTATIONS, RUNC, Section, foreign, is_pauseless, is_podhook, text,
};
use super::containerd::{Generation, edit, pauseless, template};
use super::docker;
use super::error::Error;
use super::place::{Configuration, Place};
use super::root::{Found, Root};
use super::version::{self, Version};
use crate::args::DefaultRuntime;
use crate::cri::path_match;

/// The file that podhook has alone where containerd's configuration imports a folder. It sorts behind others'.
pub const DROP_IN: &str = "99-podhook.toml";
/// The same for k3s' and RKE2's own configuration.
const SETTINGS: &str = "99-podhook.yaml";
/// podhook's own configuration.
const NODE: &str = podhook_hooks::config::DEFAULT_PATH;
const WRITTEN: &str = "# Written by `podhook install`; `podhook uninstall` takes it away.\n";

/// What the user wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The handler's name.
    pub name: String,
    /// The name of the handler whose pods have no pause container, where there is to be one.
    pub pauseless: Option<String>,
    /// Whether that was asked for now: else it is left away where containerd cannot have it.
    pub pauseless_asked: bool,
    /// The one of the two that pods get which name none.
    pub default: Option<DefaultRuntime>,
    /// The shim, as the node has it.
    pub shim: PathBuf,
    /// containerd's version, where it does not say it itself.
    pub version: Option<Version>,
    /// containerd's configuration, where it is not in the usual place.
    pub file: Option<PathBuf>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Configured {
    pub changes: Vec<Change>,
    /// What the user should know: here no handler is needed.
    pub notes: Vec<String>,
    /// What the user should know of the handlers.
    pub said: Vec<String>,
}

/// Plans it for one place.
///
/// # Errors
/// When its configuration cannot be read, or cannot be given the runtime.
pub fn plan(root: &Root, place: &Place, wanted: &Wanted) -> Result<Configured, Error> {
    match &place.configuration {
        Configuration::Toml(path) => {
            let path = wanted.file.as_ref().unwrap_or(path);
            toml(root, place, path, wanted)
        }
        Configuration::Template {
            generated,
            folder,
            settings,
        } => from_template(root, place, generated, folder, settings, wanted),
        Configuration::Daemon(path) => daemon(root, path, wanted),
        Configuration::None => Ok(Configured {
            notes: vec![
                "nerdctl: nothing to configure, the shim in containerd's PATH is enough: \
                 nerdctl run --runtime io.containerd.podhook.v1 …"
                    .to_owned(),
            ],
            ..Configured::default()
        }),
    }
}

/// The generation of a place's containerd.
///
/// # Errors
/// When neither its program nor the configuration says it.
pub fn generation(
    root: &Root,
    place: &Place,
    path: &Path,
    version: Option<Version>,
) -> Result<Generation, Error> {
    let said = || {
        let text = root.text(path.to_str()?)?;
        let document: DocumentMut = text.parse().ok()?;
        match document.get("version")?.as_integer()? {
            3 => Some(Version(2, 0, 0)),
            4.. => Some(Version(2, 3, 0)),
            _ => None,
        }
    };
    let version = version.or(place.version()).or_else(said);
    let version = version.ok_or_else(|| {
        let program = place.program.as_ref().map_or_else(
            || "no containerd was found".to_owned(),
            |program| format!("{} does not say its version", program.path.display()),
        );
        Error::refused(
            format!("the version of containerd is not known: {program}"),
            "say it: --containerd-version 1.7.24 (its configuration means something else in each generation)",
        )
    })?;
    Ok(Generation { version })
}

fn toml(root: &Root, place: &Place, path: &Path, wanted: &Wanted) -> Result<Configured, Error> {
    let generation = generation(root, place, path, wanted.version)?;
    let loaded = Loaded::to_edit(root, path, generation)?;
    loaded.check_versions(root)?;
    let mut configured = Configured::default();
    if let Some(file) = loaded.disabled_by() {
        configured.notes.push(format!(
            "containerd: CRI is switched off (disabled_plugins of {}): no runtime handler is needed; ctr and nerdctl: \
             --runtime io.containerd.podhook.v1",
            root.outside(&file.path).display()
        ));
        return Ok(configured);
    }
    let cri = loaded.cri();
    not_foreign(root, &loaded, wanted)?;
    let sections = sections(root, place, &cri, generation, wanted)?;
    let target = target(root, &loaded, path, &wanted.name)?;
    let mut changed = target.clone();
    let carries = has_podhook(&target.cri(), &wanted.name);
    if edit::add_all(&mut changed, &sections) {
        let text = changed.document.to_string();
        check(root, &loaded, &changed, &text, &sections)?;
        let before = root.read_to_edit(&target.path)?;
        let change = Change::text(&target.path, before, text, carries);
        configured.changes.push(change);
    }
    say_in_node(root, &sections, &mut configured)?;
    say_default(&cri, wanted, &sections, &mut configured);
    Ok(configured)
}

/// An install that is not asked about the default runtime leaves one of podhook's as it is.
fn say_default(cri: &Value, wanted: &Wanted, sections: &[Section], configured: &mut Configured) {
    let name = default_runtime(cri);
    if wanted.default.is_none() && sections.iter().any(|section| section.name == name) {
        configured.said.push(stays_default(name));
    }
}

fn stays_default(name: &str) -> String {
    format!(
        "{name} stays the default runtime, as an install before has made it; `podhook uninstall` takes it back"
    )
}

/// What does not reach the shim as a handler's options is said in podhook's own configuration.
fn say_in_node(
    root: &Root,
    sections: &[Section],
    configured: &mut Configured,
) -> Result<(), Error> {
    let shown = root.outside(Path::new(NODE)).display().to_string();
    for section in sections {
        let (change, other) = node(root, &section.node)?;
        let name = &section.name;
        if change.is_some() {
            let keys: Vec<&str> = section.node.keys().map(String::as_str).collect();
            configured.said.push(format!(
                "{shown} says {} for {name}, and for all of podhook's that have no options of their own",
                keys.join(", ")
            ));
        }
        for (key, there, wanted) in other {
            configured.said.push(format!(
                "{name} has {key} = {there}, as {shown} says, and not {wanted}, as runc's options say"
            ));
        }
        configured.changes.extend(change);
    }
    let pauseless = sections.iter().find(|section| is_pauseless(&section.keys));
    let unsaid = sections
        .first()
        .map(|first| pauseless::unsaid(&first.options));
    if let (Some(pauseless), Some(unsaid)) = (pauseless, unsaid)
        && !unsaid.is_empty()
    {
        configured.said.push(format!(
            "{} has no options, and is without {}: {shown} has no such key",
            pauseless.name,
            unsaid.join(", ")
        ));
    }
    Ok(())
}

/// podhook's handler, and the one beside it whose pods have no pause container.
fn sections(
    root: &Root,
    place: &Place,
    cri: &Value,
    generation: Generation,
    wanted: &Wanted,
) -> Result<Vec<Section>, Error> {
    let default = |which| wanted.default == Some(which);
    let shim = &wanted.shim;
    let is_default = default(DefaultRuntime::Podhook);
    let podhook = Section::new(cri, generation, &wanted.name, shim, is_default)?;
    let Some(name) = &wanted.pauseless else {
        return Ok(vec![podhook]);
    };
    if !generation.has_pauseless() {
        if !wanted.pauseless_asked {
            return Ok(vec![podhook]);
        }
        return Err(Error::refused(
            format!(
                "{}: pods without a pause container need containerd 2.3 or later, and this is {}",
                place.kind.name(),
                generation.version
            ),
            "upgrade containerd, or leave --pauseless away; --containerd-version VERSION says it where it is not found, --for KIND \
             leaves other containerds of the node out",
        ));
    }
    let by_type = place.finds(root, shim);
    let mut pauseless = podhook.pauseless(cri, generation, name, shim, by_type)?;
    pauseless.default = default(DefaultRuntime::Pauseless);
    Ok(vec![podhook, pauseless])
}

/// Refuses a handler of podhook's name that is somebody else's, with the file that has it.
fn not_foreign(root: &Root, loaded: &Loaded, wanted: &Wanted) -> Result<(), Error> {
    let cri = loaded.cri();
    for name in std::iter::once(&wanted.name).chain(&wanted.pauseless) {
        let section = runtimes(&cri).and_then(|all| all.get(name));
        let section = section.and_then(Value::as_object);
        if let Some(section) = section.filter(|section| !is_podhook(section)) {
            let has =
                |file: &Source| runtimes(&file.cri()).is_some_and(|all| all.contains_key(name));
            let file = loaded.last(has).map(|file| root.outside(&file.path));
            let kind = text(section, "runtime_type");
            return Err(foreign(name, kind, file.as_deref()));
        }
    }
    Ok(())
}

/// The file that is to have the runtime.
///
/// # Errors
/// When it is of version 1.
pub fn target(root: &Root, loaded: &Loaded, main: &Path, name: &str) -> Result<Source, Error> {
    let merges = loaded.generation.merges();
    let has = |file: &Source| has_podhook(&file.cri(), name);
    let own = loaded.last(has).filter(|_| merges);
    let plugin = || loaded.last(Source::has_plugin).filter(|_| !merges);
    if let Some(file) = own.or_else(plugin) {
        return of_names(root, file.clone());
    }
    let Some(first) = loaded.main() else {
        let mut file = Source::new(main, loaded.generation.newest());
        sign(&mut file.document);
        return Ok(file);
    };
    if merges && let Some(path) = loaded.drop_in(DROP_IN) {
        // 2.0 to 2.2 take files of one version only.
        let mut file = Source::new(&path, first.version().max(2));
        sign(&mut file.document);
        return Ok(file);
    }
    let mut file = first.clone();
    if file.document.get("version").is_none() && file.document.is_empty() {
        let version = loaded.generation.newest();
        file.document.insert("version", toml_edit::value(version));
    }
    of_names(root, file)
}

/// A file whose plugins have their whole names, as they have from version 2 on.
fn of_names(root: &Root, file: Source) -> Result<Source, Error> {
    if file.version() >= 2 {
        return Ok(file);
    }
    let shown = root.outside(&file.path).display().to_string();
    Err(Error::refused(
        format!("{shown} is a configuration of version 1"),
        format!(
            "bring it to version 2 first: `containerd --config {shown} config migrate`, or `version = 2` \
             and plugins by their whole names"
        ),
    ))
}

fn sign(document: &mut DocumentMut) {
    document.decor_mut().set_prefix(WRITTEN);
}

fn has_podhook(cri: &Value, name: &str) -> bool {
    let section = runtimes(cri).and_then(|all| all.get(name));
    section.and_then(Value::as_object).is_some_and(is_podhook)
}

/// Reads the new text as containerd will: the runtimes are to be there, and nothing has the last word over it.
fn check(
    root: &Root,
    loaded: &Loaded,
    changed: &Source,
    text: &str,
    sections: &[Section],
) -> Result<(), Error> {
    let shown = root.outside(&changed.path).display().to_string();
    let document: DocumentMut = text.parse().map_err(|_| {
        Error::refused(
            format!("{shown} is written in a way that podhook cannot add to"),
            "add the section by hand: docs/configuration.md has it",
        )
    })?;
    let new = Source {
        document,
        ..changed.clone()
    };
    let all = loaded.with(&new);
    let cri = all.cri();
    for section in sections {
        let read = runtimes(&cri).and_then(|all| all.get(&section.name));
        let read = read.and_then(Value::as_object);
        let is_right = |read: &Map<String, Value>| {
            is_podhook(read) && passes_annotations(read) && !section.differs(read)
        };
        if !read.is_some_and(is_right) {
            return Err(Error::refused(
                format!("another file that is imported has the last word over {shown}"),
                format!(
                    "give it the runtime {} by hand, or put the files in one",
                    section.name
                ),
            ));
        }
    }
    let mut defaults = sections.iter().filter(|section| section.default);
    if defaults.any(|section| default_runtime(&cri) != section.name) {
        let sets = |file: &Source| {
            let containerd = file.cri();
            let containerd = containerd.get("containerd");
            containerd.is_some_and(|c| c.get("default_runtime_name").is_some())
        };
        let other = all.last(sets).map_or(Path::new(""), |file| &file.path);
        return Err(Error::refused(
            format!(
                "{} is read later, and sets default_runtime_name",
                root.outside(other).display()
            ),
            "take that line out of it",
        ));
    }
    match dead_default(root, &all) {
        Some((what, mend)) => Err(Error::refused(
            format!("{what}, with podhook or without"),
            mend,
        )),
        None => Ok(()),
    }
}

/// What is wrong where the default runtime has no section, and what mends it.
#[must_use]
pub fn dead_default(root: &Root, loaded: &Loaded) -> Option<(String, String)> {
    let (name, file) = loaded.dead_default()?;
    let what = format!(
        "CRI does not start: the default runtime {name} has no section in {}",
        root.outside(file).display()
    );
    let mut mend = format!(
        "add [….containerd.runtimes.{name}] with its runtime_type (runc: \"{RUNC}\") there"
    );
    if !loaded.generation.merges() {
        mend.push_str(
            ": containerd 1.x takes nothing of CRI's from the files that are read before",
        );
    }
    Some((what, mend))
}

/// Whether a handler lets the annotations through that the shim reads.
#[must_use]
pub fn passes_annotations(section: &Map<String, Value>) -> bool {
    missing_annotations(section).is_empty()
}

/// What a handler does not let through: key and pattern.
#[must_use]
pub fn missing_annotations(section: &Map<String, Value>) -> Vec<(&'static str, &'static str)> {
    let passes = |key: &str, pattern: &str| {
        let name = pattern.replace('*', "name");
        let patterns = section.get(key).and_then(Value::as_array);
        let mut patterns = patterns.into_iter().flatten().filter_map(Value::as_str);
        patterns.any(|pattern| path_match(pattern, &name))
    };
    let pod = POD_ANNOTATIONS.map(|pattern| ("pod_annotations", pattern));
    let container = CONTAINER_ANNOTATIONS.map(|pattern| ("container_annotations", pattern));
    let all = pod.into_iter().chain(container);
    all.filter(|(key, pattern)| !passes(key, pattern)).collect()
}

fn from_template(
    root: &Root,
    place: &Place,
    generated: &Path,
    folder: &Path,
    settings: &Path,
    wanted: &Wanted,
) -> Result<Configured, Error> {
    let kind = place.kind.name();
    let Some(text) = generated.to_str().and_then(|path| root.text(path)) else {
        return Err(Error::refused(
            format!(
                "{kind} has not written {} yet",
                root.outside(generated).display()
            ),
            format!(
                "start it once: systemctl start {}; where it is used no more, --for names what is",
                place.unit
            ),
        ));
    };
    // k3s writes version 2 for the containerd 1.7 it had, and where the template is that for it.
    let version = wanted.version.or(place.version()).or_else(|| {
        let document: DocumentMut = text.parse().ok()?;
        let is_old = document.get("version")?.as_integer()? == 2;
        is_old.then_some(Version(1, 7, 1))
    });
    let generation = generation(root, place, generated, version)?;
    let loaded = Loaded::to_edit(root, generated, generation)?;
    loaded.check_versions(root)?;
    let version = loaded.main().map_or(2, Source::version).max(2);
    let mut cri = loaded.cri();
    if let Some(all) = runtimes_mut(&mut cri) {
        // podhook's own, of an install before: it is to be as runc's is now.
        let names = [Some(&wanted.name), wanted.pauseless.as_ref()];
        for name in names.into_iter().flatten() {
            let section = all.get(name).and_then(Value::as_object);
            if section.is_some_and(is_podhook) {
                all.remove(name);
            }
        }
    }
    not_foreign(root, &loaded, wanted)?;
    let mut sections = sections(root, place, &cri, generation, wanted)?;
    let mut configured = Configured::default();
    say_in_node(root, &sections, &mut configured)?;
    say_default(&cri, wanted, &sections, &mut configured);
    let name = if version >= 3 {
        "config-v3.toml.tmpl"
    } else {
        "config.toml.tmpl"
    };
    let path = folder.join(name);
    let drop_in = loaded.drop_in(DROP_IN).filter(|_| generation.merges());
    let there = root.read_to_edit(&path)?;
    let is_ours = |found: &Found| String::from_utf8_lossy(&found.bytes).contains("podhook install");
    match drop_in {
        // An install of before the folder was imported goes on in its template.
        Some(path) if !there.as_ref().is_some_and(is_ours) => {
            let before = root.read_to_edit(&path)?;
            let mut source = Source::new(&path, version);
            if wanted.default.is_none() {
                keep_default(&mut sections, &source, before.as_ref());
            }
            sign(&mut source.document);
            edit::add_all(&mut source, &sections);
            let change = Change::text(&path, before, source.document.to_string(), true);
            configured
                .changes
                .extend(change.is_needed().then_some(change));
        }
        _ => {
            let default = sections.iter_mut().find(|section| section.default);
            let default = default.map(|section| {
                section.default = false;
                section.name.clone()
            });
            let mut source = Source::new(&path, version);
            edit::add_all(&mut source, &sections);
            source.document.remove("version");
            let block = source.document.to_string();
            let text = there
                .as_ref()
                .map(|found| String::from_utf8_lossy(&found.bytes));
            let names: Vec<&str> = sections.iter().map(|section| &*section.name).collect();
            let text = template::add(text.as_deref(), &block, &names)?;
            let change = Change::text(&path, there, text, true);
            configured
                .changes
                .extend(change.is_needed().then_some(change));
            if let Some(default) = default {
                let path = settings.join(SETTINGS);
                let before = root.read_to_edit(&path)?;
                let text = format!("{WRITTEN}default-runtime: {default}\n");
                let change = Change::text(&path, before, text, true);
                configured
                    .changes
                    .extend(change.is_needed().then_some(change));
            }
        }
    }
    Ok(configured)
}

/// The default runtime that an install before has written stays: this file is written anew.
fn keep_default(sections: &mut [Section], new: &Source, before: Option<&Found>) {
    let text = before.map(|found| String::from_utf8_lossy(&found.bytes));
    let Some(Ok(document)) = text.map(|text| text.parse()) else {
        return;
    };
    let old = Source {
        document,
        ..new.clone()
    };
    let cri = old.cri();
    for section in sections {
        section.default = section.name == default_runtime(&cri);
    }
}

fn runtimes_mut(cri: &mut Value) -> Option<&mut Map<String, Value>> {
    cri.get_mut("containerd")?
        .get_mut("runtimes")?
        .as_object_mut()
}

fn daemon(root: &Root, path: &Path, wanted: &Wanted) -> Result<Configured, Error> {
    let before = root.read_to_edit(path)?;
    let text = before
        .as_ref()
        .map(|found| String::from_utf8_lossy(&found.bytes).into_owned());
    let shown = root.outside(path).display().to_string();
    let shim = wanted.shim.display().to_string();
    let in_path = version::in_path(&wanted.shim);
    let runtime = docker::runtime(&shim, in_path, docker_has_systemd(root, text.as_deref()));
    let new = docker::add(
        text.as_deref(),
        &shown,
        &wanted.name,
        &runtime,
        wanted.default.is_some(),
    )?;
    let text = text.unwrap_or_default();
    let config: Value = serde_json::from_str(&text).unwrap_or_default();
    let is_default = config.get("default-runtime").and_then(Value::as_str) == Some(&wanted.name);
    let stays = (is_default && wanted.default.is_none()).then(|| stays_default(&wanted.name));
    let carries = text.contains(&*wanted.name);
    let change = new.map(|new| Change::text(path, before, new, carries));
    Ok(Configured {
        changes: change.into_iter().collect(),
        said: stays.into_iter().collect(),
        ..Configured::default()
    })
}

/// Whether docker's cgroups are systemd's: what it is told, else what it takes by itself.
fn docker_has_systemd(root: &Root, text: Option<&str>) -> bool {
    let config: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
    let options = config.as_ref().and_then(|config| config.get("exec-opts"));
    let options = options.and_then(Value::as_array).into_iter().flatten();
    let mut drivers =
        options.filter_map(|option| option.as_str()?.strip_prefix("native.cgroupdriver="));
    match drivers.next() {
        Some(driver) => driver == "systemd",
        None => root.has("/run/systemd/system") && root.has("/sys/fs/cgroup/cgroup.controllers"),
    }
}

/// A key of podhook's own configuration that says something else: the key, what it says, and what it was to say.
type Other = (String, Value, Value);

/// podhook's own configuration with what does not reach the shim as options. What is said there already stays.
fn node(root: &Root, keys: &Map<String, Value>) -> Result<(Option<Change>, Vec<Other>), Error> {
    let mut others = Vec::new();
    if keys.is_empty() {
        return Ok((None, others));
    }
    let path = Path::new(NODE);
    let before = root.read_to_edit(path)?;
    let text = before
        .as_ref()
        .map(|found| String::from_utf8_lossy(&found.bytes));
    let mut document: DocumentMut = match &text {
        None => {
            let mut document = DocumentMut::new();
            sign(&mut document);
            document
        }
        Some(text) => text.parse().map_err(|e: toml_edit::TomlError| {
            Error::refused(
                format!(
                    "{} is not TOML: {}",
                    root.outside(path).display(),
                    e.message()
                ),
                "mend it first: no container is created with it",
            )
        })?,
    };
    let there = to_json(document.as_item());
    for (key, value) in keys {
        match there.get(key) {
            Some(said) if said == value => {}
            Some(said) => others.push((key.clone(), said.clone(), value.clone())),
            None => {
                if let Some(value) = super::containerd::load::from_json(value) {
                    document.insert(key, toml_edit::Item::Value(value));
                }
            }
        }
    }
    let change = Change::text(path, before, document.to_string(), false);
    Ok((change.is_needed().then_some(change), others))
}
