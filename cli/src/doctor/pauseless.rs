//! The runtime handlers whose pods have no pause container.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::check::Check;
use super::configuration::{absent, annotations_missing, install_command};
use crate::cri::SANDBOXER;
use crate::setup::configure;
use crate::setup::containerd::Generation;
use crate::setup::containerd::load::{Loaded, runtimes};
use crate::setup::containerd::pauseless;
use crate::setup::containerd::section::{self, SHIM, TYPE, is_pauseless, is_podhook, text};
use crate::setup::place::Place;
use crate::setup::root::Root;
use crate::setup::state::State;

/// Whether a handler is called as the one without a pause container that stands beside `runtime`.
pub(super) fn is_beside(name: &str, runtime: &str) -> bool {
    pauseless::name(runtime) == name
}

/// Whether podhook install has made such a handler.
pub(super) fn is_installed(root: &Root) -> bool {
    let state = State::load(root).ok().flatten();
    state.is_some_and(|state| state.pauseless.is_some())
}

/// What a containerd has of them.
#[derive(Debug)]
pub(super) struct Handlers<'a> {
    pub(super) root: &'a Root,
    pub(super) place: &'a Place,
    pub(super) loaded: &'a Loaded,
    /// The handler that they stand beside.
    pub(super) runtime: &'a str,
}

impl Handlers<'_> {
    /// Their names: what was installed, what is configured so, and what is called so.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let cri = self.loaded.cri();
        let installed = State::load(self.root).ok().flatten();
        let installed = installed.and_then(|state| state.pauseless);
        let called = pauseless::name(self.runtime);
        let called = runtimes(&cri)
            .is_some_and(|all| all.contains_key(&called))
            .then_some(called);
        let configured = pauseless::names(&cri).into_iter().map(str::to_owned);
        configured.chain(installed).chain(called).collect()
    }

    /// A check or more of each.
    pub(super) fn checks(&self) -> Vec<Check> {
        let name = format!("{} pauseless", self.place.kind.name());
        let cri = self.loaded.cri();
        let mut checks = Vec::new();
        for handler in self.names() {
            let called = pauseless::beside(&handler).map(|_| handler.clone());
            let called = called.unwrap_or_else(|| pauseless::name(self.runtime));
            let install = install_command(self.place, &called);
            let section = runtimes(&cri).and_then(|all| all.get(&handler));
            let Some(section) = section.and_then(Value::as_object) else {
                let message = format!("no runtime {handler}: pods of it do not start");
                checks.push(Check::fail(&name, message, install));
                continue;
            };
            let mut wrong = self.wrong(&name, &handler, section, &install);
            if wrong.is_empty() {
                let message = format!("pods of the runtime {handler} have no pause container");
                wrong.push(Check::ok(&name, message));
            }
            checks.extend(wrong);
        }
        checks
    }

    fn wrong(
        &self,
        name: &str,
        handler: &str,
        section: &Map<String, Value>,
        install: &str,
    ) -> Vec<Check> {
        let generation = self.loaded.generation;
        if !is_podhook(section) {
            let message = format!("the runtime {handler} is not podhook's");
            return vec![Check::fail(
                name,
                message,
                "give one of the two another name",
            )];
        }
        if !generation.has_pauseless() {
            return vec![too_old(name, handler, generation)];
        }
        if !is_pauseless(section) {
            let message = format!(
                "the runtime {handler} has no sandboxer = \"{SANDBOXER}\": its pods have a pause container"
            );
            return vec![Check::warn(name, message, install)];
        }
        let mut checks = Vec::new();
        checks.extend(self.program(name, handler, section, install));
        checks.extend(self.path(name, handler, section, install));
        if generation.can_leave_pause_image()
            && section.get("disable_pause_image_pull") != Some(&Value::Bool(true))
        {
            let message = format!(
                "the runtime {handler} has no disable_pause_image_pull = true: a pause image is pulled, and not used"
            );
            checks.push(Check::warn(name, message, install));
        }
        checks.extend(options(name, handler, section));
        // The sandbox brings the pod's annotations whole.
        let missing = configure::missing_annotations(section).into_iter();
        let missing = missing.filter(|(key, _)| *key != "pod_annotations");
        checks.extend(annotations_missing(
            name,
            &missing.collect::<Vec<_>>(),
            install,
        ));
        checks
    }

    /// Whether containerd finds the shim that is to be the sandbox.
    fn program(
        &self,
        name: &str,
        handler: &str,
        section: &Map<String, Value>,
        install: &str,
    ) -> Option<Check> {
        let kind = text(section, "runtime_type");
        if kind == TYPE {
            return absent(self.root, self.place, name, install);
        }
        let path = Path::new(kind);
        if path.file_name().is_none_or(|file| file != SHIM) {
            let message = format!(
                "the runtime {handler} has runtime_type {kind}, by which alone containerd finds a sandbox's shim: \
                 its runtime_path is not used, and its pods do not start"
            );
            let mend = format!("{install}, or runtime_type = \"{TYPE}\"");
            return Some(Check::fail(name, message, mend));
        }
        if self.root.real_path(path).is_some() {
            return None;
        }
        let shown = self.root.outside(path);
        let message = format!("it names {}, which is not there", shown.display());
        Some(Check::fail(name, message, install))
    }

    /// A second way to a shim, which may be another one.
    fn path(
        &self,
        name: &str,
        handler: &str,
        section: &Map<String, Value>,
        install: &str,
    ) -> Option<Check> {
        let [kind, path] = ["runtime_type", "runtime_path"].map(|key| text(section, key));
        let is_shims = kind == TYPE || Path::new(kind).is_absolute();
        if path.is_empty() || path == kind || !is_shims {
            return None;
        }
        let message = format!(
            "the runtime {handler} has runtime_path {path}, which is not used for its sandboxes: it must be the same program"
        );
        Some(Check::warn(
            name,
            message,
            format!("{install}, or take runtime_path out"),
        ))
    }
}

fn too_old(name: &str, handler: &str, generation: Generation) -> Check {
    let message = format!(
        "containerd {} cannot run pods without a pause container, those of the runtime {handler}",
        generation.version
    );
    Check::fail(name, message, "upgrade containerd to 2.3 or later")
}

/// Whether pods with users of their own can start: not where containerd takes options for runc's.
fn options(name: &str, handler: &str, section: &Map<String, Value>) -> Option<Check> {
    let said = section::options(Some(section), None);
    let said: Vec<_> = said.keys().map(String::as_str).collect();
    let message = format!(
        "the runtime {handler} has options ({}): with them containerd starts no container of a pod with users of its own (hostUsers: false)",
        said.join(", ")
    );
    let mend = "say them in /etc/podhook/config.toml (runtime, root) and take them out; SystemdCgroup is not needed";
    (!said.is_empty()).then(|| Check::warn(name, message, mend))
}
