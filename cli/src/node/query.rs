//! Which records a command is about.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use podhook_hooks::record::{Record, Timestamp};

use super::bundles::{self, Recorded};
use crate::output;

/// Records that could not be shown; which, is on stderr already.
#[derive(Debug)]
pub struct Unshown;

/// Which containers are asked for.
pub struct Query {
    /// containerd's state directory.
    pub state: PathBuf,
    /// The pods' namespace, or containerd's; none: all.
    pub namespace: Option<String>,
}

impl Query {
    /// The containers with a record, in the order of the table.
    ///
    /// # Errors
    /// When the state directory cannot be read.
    pub fn find(&self, reports: &mut Reports) -> Result<Vec<Recorded>, bundles::Error> {
        let mut all = Vec::new();
        for bundle in bundles::list(&self.state)? {
            match bundle.recorded() {
                Ok(Some(recorded)) if self.wants(&recorded) => all.push(recorded),
                Ok(_) => {}
                Err(e) => reports.add(&e.path.clone(), &e),
            }
        }
        all.sort_by(|a, b| order(&a.record).cmp(&order(&b.record)));
        Ok(all)
    }

    pub(crate) fn wants(&self, recorded: &Recorded) -> bool {
        self.wants_record(&recorded.bundle.namespace, &recorded.record)
    }

    /// The same of a record that is in no bundle.
    pub(crate) fn wants_record(&self, namespace: &str, record: &Record) -> bool {
        let wanted = |name: &String| name == namespace || name == record.namespace();
        self.namespace.as_ref().is_none_or(wanted)
    }
}

/// `POD`, `CONTAINER`, `POD/CONTAINER` or `NAMESPACE/POD/CONTAINER`.
pub(crate) fn is_named(record: &Record, wanted: &str) -> bool {
    let Some(pod) = record.pod_name() else {
        return false;
    };
    let container = record.container();
    match wanted.split('/').collect::<Vec<_>>()[..] {
        [name] => name == pod || name == container,
        [first, second] => first == pod && second == container,
        [first, second, third] => {
            first == record.namespace() && second == pod && third == container
        }
        _ => false,
    }
}

/// The order of the table.
pub(crate) fn order(
    record: &Record,
) -> (&str, Option<&str>, &str, (bool, Option<Timestamp>), &str) {
    let hook = record.hooks.iter().find_map(|hook| hook.started_at);
    let end = record.termination.as_ref();
    let end = end.and_then(|end| end.requested_at.or(end.exited_at));
    let first = hook.or(end);
    (
        record.namespace(),
        record.pod_name(),
        record.container(),
        // The attempts of a container from the oldest on. One without a time has only begun.
        (first.is_none(), first),
        &record.id,
    )
}

/// Tells of each bad file once.
#[derive(Debug, Default)]
pub struct Reports {
    seen: BTreeSet<PathBuf>,
    quiet: bool,
}

impl Reports {
    /// Tells of none.
    pub fn quiet() -> Self {
        Self {
            quiet: true,
            ..Self::default()
        }
    }

    /// Tells of a file that is no use.
    pub fn add(&mut self, path: &Path, what: &dyn fmt::Display) {
        if self.seen.insert(path.to_owned()) && !self.quiet {
            eprintln!("error: {}", output::escape::visible(&what.to_string()));
        }
    }

    /// The command's result: what could not be shown makes it fail.
    ///
    /// # Errors
    /// When there was one.
    pub fn end(self) -> Result<(), Unshown> {
        if self.seen.is_empty() {
            Ok(())
        } else {
            Err(Unshown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attempts_of_a_container_are_in_the_order_of_time() {
        let record = |id: &str, hooks: &str| -> Record {
            let json = format!(
                r#"{{"version": 1, "id": "{id}", "namespace": "k8s.io", "phase": "Running",
                "pod": {{"namespace": "shop", "name": "web", "container": "c"}}, "hooks": [{hooks}]}}"#
            );
            serde_json::from_str(&json).unwrap()
        };
        let hook = |time: &str| {
            format!(
                r#"{{"hook": "preStop", "handler": "exec", "startedAt": "2026-11-23T20:{time}:00Z"}}"#
            )
        };
        let mut all = [
            record("a", ""),
            record("b", &hook("03")),
            record("c", &hook("01")),
            record("d", &hook("02")),
        ];
        all.sort_by(|a, b| order(a).cmp(&order(b)));
        let ids: Vec<_> = all.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(ids, ["c", "d", "b", "a"]);
    }
}
