//! The runtime handler of pods without a pause container: containerd asks the shim itself for their sandboxes.
//!
//! containerd starts a sandbox's shim by `runtime_type` alone: a `runtime_path` is only for what comes after it.

use std::path::Path;

use serde_json::{Map, Value};

use super::Generation;
use super::load::runtimes;
use super::section::{
    Section, TYPE, existing, inherited, is_empty, is_pauseless, is_podhook, split, text,
};
use crate::cri::SANDBOXER;
use crate::setup::error::Error;

/// What its name has behind that of the handler that it stands beside.
const SUFFIX: &str = "-pauseless";

/// What the handler beside the handler `runtime` is called.
#[must_use]
pub fn name(runtime: &str) -> String {
    format!("{runtime}{SUFFIX}")
}

/// The handler that one of this name stands beside.
#[must_use]
pub fn beside(name: &str) -> Option<&str> {
    name.strip_suffix(SUFFIX)
}

/// podhook's handlers whose pods have none.
#[must_use]
pub fn names(cri: &Value) -> Vec<&str> {
    let all = runtimes(cri).into_iter().flatten();
    let ours = all.filter(|(_, section)| {
        let section = section.as_object();
        section.is_some_and(|section| is_podhook(section) && is_pauseless(section))
    });
    ours.map(|(name, _)| &**name).collect()
}

impl Section {
    /// The handler `name` beside this one, as this one in everything else. `by_type`: whether containerd finds the program
    /// `shim` by the runtime's type.
    ///
    /// # Errors
    /// When the handler is somebody else's.
    pub fn pauseless(
        &self,
        cri: &Value,
        generation: Generation,
        name: &str,
        shim: &Path,
        by_type: bool,
    ) -> Result<Self, Error> {
        let there = existing(cri, name)?;
        let mut model = existing(cri, &self.name)?.cloned().unwrap_or_default();
        model.extend(self.keys.clone());
        let mut keys = inherited(there, Some(&model));
        let path = shim.display().to_string();
        let kind = if by_type { TYPE.to_owned() } else { path };
        keys.insert("runtime_type".to_owned(), kind.into());
        keys.insert("sandboxer".to_owned(), SANDBOXER.into());
        if generation.can_leave_pause_image() {
            keys.insert("disable_pause_image_pull".to_owned(), true.into());
        }
        if there.is_some_and(|there| !text(there, "runtime_path").is_empty()) {
            keys.insert("runtime_path".to_owned(), "".into());
        }
        Ok(Self {
            name: name.to_owned(),
            keys,
            options: Map::new(),
            default: false,
            runc: false,
            node: split(without_driver(self.options.clone())).1,
        })
    }

    /// Whether this is a handler of pods without a pause container, and one that containerd reads from its files is not as
    /// this is to be.
    #[must_use]
    pub fn differs(&self, read: &Map<String, Value>) -> bool {
        const KEYS: [&str; 4] = [
            "runtime_type",
            "runtime_path",
            "sandboxer",
            "disable_pause_image_pull",
        ];
        let mut said = KEYS
            .iter()
            .filter_map(|key| Some((key, self.keys.get(*key)?)));
        is_pauseless(&self.keys) && said.any(|(key, value)| read.get(*key) != Some(value))
    }
}

/// The options of runc's that this handler's pods are without: podhook's own configuration has no key for them.
#[must_use]
pub fn unsaid(options: &Map<String, Value>) -> Vec<&str> {
    let said = |key: &str| matches!(key, "SystemdCgroup" | "BinaryName" | "Root");
    let keys = options.iter().filter(|(_, value)| !is_empty(value));
    let keys = keys.map(|(key, _)| &**key);
    keys.filter(|key| !said(key)).collect()
}

/// Which cgroup driver it is, a pod's own cgroup says. The rest is said in podhook's own configuration: a handler of another type
/// than runc's that has options starts no container with user namespaces, since containerd takes its options for runc's then
/// ("failed to get runtime v2 options").
fn without_driver(mut options: Map<String, Value>) -> Map<String, Value> {
    options.remove("SystemdCgroup");
    options
}
