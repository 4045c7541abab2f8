//! The containers that the journal tells of, as their records would be.

use std::collections::HashMap;
use std::path::Path;

use podhook_hooks::journal::Event;
use podhook_hooks::named::OpenEnum;
use podhook_hooks::record::Record;
use serde_json::{Value, json};

use super::{Error, Line, Reader, Unreadable};
use crate::node::bundles::Recorded;

/// A container, from its first hook to its end.
#[derive(Debug, Clone)]
pub struct Run {
    pub record: Record,
    /// The same, with the fields that this version does not know.
    pub json: Value,
    /// Its end is told.
    pub is_ended: bool,
}

/// The containers of these lines, in the order of their first. An ID may be used again by another one.
pub fn runs(lines: impl IntoIterator<Item = Line>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut last = HashMap::new();
    for line in lines {
        let entry = &line.entry;
        let key = (entry.namespace.clone(), entry.id.clone());
        let begins = |run: &Run| run.is_ended && entry.event != Event::StartFailed.name();
        let known = last.get(&key).copied();
        let known = known.filter(|n| runs.get(*n).is_some_and(|run| !begins(run)));
        let n = known.unwrap_or(runs.len());
        if known.is_none() {
            runs.push(Run::of(&line));
            last.insert(key, n);
        }
        if let Some(run) = runs.get_mut(n) {
            run.take(line);
        }
    }
    runs
}

/// The containers that the journal tells of, those that are wanted by containerd's namespace and record.
///
/// # Errors
/// When the folder cannot be read; what is no use in it goes to `bad`.
pub fn kept(
    folder: &Path,
    wanted: impl Fn(&str, &Record) -> bool,
    mut bad: impl FnMut(Unreadable),
) -> Result<Vec<Run>, Error> {
    let mut lines = Vec::new();
    Reader::new(folder).read_all(|item| match item {
        Ok(line) if wanted(&line.entry.namespace, &line.entry.record()) => lines.push(line),
        Ok(_) => {}
        Err(e) => bad(e),
    })?;
    Ok(runs(lines))
}

/// Those that are gone: `live` is what has a record now.
#[must_use]
pub fn ended(runs: Vec<Run>, live: &[Recorded]) -> Vec<Run> {
    let is_live = |run: &Run| {
        let exit = |record: &Record| record.termination.as_ref().and_then(|end| end.exited_at);
        live.iter().any(|live| {
            live.bundle.namespace == run.record.namespace
                && live.bundle.id == run.record.id
                && (!run.is_ended || exit(&live.record) == exit(&run.record))
        })
    };
    runs.into_iter()
        .filter(|run| !is_live(run))
        .map(Run::without_bundle)
        .collect()
}

impl Run {
    fn of(line: &Line) -> Self {
        let mut json = json!({
            "version": line.entry.version, "id": line.entry.id, "namespace": line.entry.namespace,
            "phase": line.entry.phase.as_str(), "hooks": [],
        });
        if let (Some(pod), Some(object)) = (line.json.get("pod"), json.as_object_mut()) {
            object.insert("pod".to_owned(), pod.clone());
        }
        let entry = &line.entry;
        let mut record = Record::new(&*entry.id, &*entry.namespace, entry.pod.clone());
        record.version = entry.version;
        Self {
            record,
            json,
            is_ended: false,
        }
    }

    fn take(&mut self, mut line: Line) {
        let entry = line.entry;
        self.is_ended |= entry.event.known() == Some(Event::ContainerEnded);
        self.set("phase", entry.phase.as_str().into());
        self.record.phase = entry.phase;
        if let Some(hook) = entry.hook {
            self.record.hooks.push(hook);
            let hooks = self.json.get_mut("hooks").and_then(Value::as_array_mut);
            if let (Some(hooks), Some(hook)) = (hooks, line.json.get_mut("hook")) {
                hooks.push(hook.take());
            }
        }
        if entry.termination.is_some() {
            self.record.termination = entry.termination;
            if let Some(termination) = line.json.get_mut("termination") {
                self.set("termination", termination.take());
            }
        }
    }

    /// One whose shim could not tell its end.
    fn without_bundle(mut self) -> Self {
        if !self.is_ended {
            self.record.phase = OpenEnum::Unknown("Removed".to_owned());
            self.set("phase", "Removed".into());
        }
        self
    }

    fn set(&mut self, field: &str, value: Value) {
        if let Some(object) = self.json.as_object_mut() {
            object.insert(field.to_owned(), value);
        }
    }
}
