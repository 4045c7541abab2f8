//! What the agent keeps in its file: how far it has read, and what it has yet to post.
//!
//! The file is written before anything is posted, and an Event has the same name and count whenever it is posted: an agent that
//! is killed between the two posts it again, and the API server has it once.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;

use podhook_hooks::linux::file;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::conditions::Conditions;
use super::correlate::{Correlator, Counted};
use super::notice::timestamp;
use crate::node::journal::Position;
use crate::output::escape;

/// Whom Events are from.
const COMPONENT: &str = "podhook";
/// With more waiting nothing is read any more: the journal keeps it.
const ROOM: usize = 1024;
const VERSION: u32 = 1;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Outbox {
    version: u32,
    pub(super) position: Option<Position>,
    pub(super) correlator: Correlator,
    pub(super) conditions: Conditions,
    pub(super) waiting: VecDeque<Outgoing>,
}

/// An Event to be posted, or a pod with the status that it is to have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outgoing {
    pub(super) event: Value,
    /// The API server does not have it yet.
    pub(super) is_new: bool,
    /// ms since the epoch.
    pub(super) time: u64,
}

impl Outgoing {
    /// `Event` or `Pod`.
    pub(super) fn kind(&self) -> &str {
        let kind = self.event.get("kind").and_then(Value::as_str);
        kind.unwrap_or_default()
    }
}

impl Outbox {
    /// What was kept. A file that is no use is as none: what is in the journal is read from its beginning.
    pub(super) fn load(path: &Path) -> Self {
        let wrong = |e: &dyn std::fmt::Display| {
            let text = format!("warning: {}: {e}; begins anew", path.display());
            eprintln!("{}", escape::lines(&text));
            Self::default()
        };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Self::default(),
            Err(e) => return wrong(&e),
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(outbox) if outbox.version == VERSION => outbox,
            Ok(outbox) => wrong(&format!("version {}, want {VERSION}", outbox.version)),
            Err(e) => wrong(&e),
        }
    }

    pub(super) fn save(&mut self, path: &Path) -> Result<(), String> {
        self.version = VERSION;
        let text = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        file::replace(path, &text, 0o600).map_err(|e| e.to_string())
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= ROOM
    }

    /// Puts an Event behind the others; one that waits already is that, with its new count.
    pub(super) fn put(&mut self, counted: &Counted, node: &str) {
        self.push(Outgoing {
            event: event(counted, node),
            is_new: counted.count == 1,
            time: counted.last,
        });
    }

    /// The same of a pod's status.
    pub(super) fn put_status(&mut self, pod: Value, time: u64) {
        self.push(Outgoing {
            event: pod,
            is_new: false,
            time,
        });
    }

    fn push(&mut self, new: Outgoing) {
        let key = |one: &Outgoing| {
            let parts = ["/kind", "/metadata/namespace", "/metadata/name"];
            parts.map(|part| one.event.pointer(part).cloned())
        };
        match self.waiting.iter_mut().find(|one| key(one) == key(&new)) {
            Some(waiting) => (waiting.event, waiting.time) = (new.event, new.time),
            None => self.waiting.push_back(new),
        }
    }
}

fn event(counted: &Counted, node: &str) -> Value {
    let notice = &counted.notice;
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": notice.namespace, "name": notice.name},
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": notice.namespace, "name": notice.pod, "uid": notice.uid,
            "fieldPath": format!("spec.containers{{{}}}", notice.container),
        },
        "type": "Warning",
        "reason": notice.reason,
        "message": notice.message,
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
        "firstTimestamp": timestamp(counted.first),
        "lastTimestamp": timestamp(counted.last),
        "count": counted.count,
    })
}
