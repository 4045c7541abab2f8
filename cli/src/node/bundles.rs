//! The containers of a node as containerd's runtime keeps them: one folder, the bundle, for each.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use podhook_hooks::counters::ledger::TASKS;
use podhook_hooks::record::{FILE_NAME, Record};
use serde_json::Value;

use crate::store::regular;

/// More than any record has: two hooks with 4 KiB of output each.
const MAX_RECORD: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bundle {
    /// containerd's namespace.
    pub namespace: String,
    pub id: String,
    pub path: PathBuf,
}

/// A container that has a record.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Where it is.
    pub bundle: Bundle,
    /// What the shim has recorded.
    pub record: Record,
    /// The same, with the fields that this version does not know.
    pub json: Value,
}

/// A record that is no use.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct Unreadable {
    pub path: PathBuf,
    pub reason: String,
}

/// A state directory that is none, or may not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}\n  hint: {}", state.display(), hint(source))]
pub struct Error {
    pub state: PathBuf,
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => "root may: sudo podhook …",
        _ => "--state names containerd's state directory, as /run/containerd",
    }
}

/// containerd's folder of bundles.
#[must_use]
pub fn folder(state: &Path) -> PathBuf {
    state.join(TASKS)
}

/// Every bundle, in order; those that containerd is removing are left out.
///
/// # Errors
/// When the state directory is none, or may not be read.
pub fn list(state: &Path) -> Result<Vec<Bundle>, Error> {
    let refused = |source| Error {
        state: state.to_owned(),
        source,
    };
    fs::metadata(state).map_err(refused)?;
    let mut bundles = Vec::new();
    for namespace in names(&folder(state)).map_err(refused)? {
        // A namespace may go with its last container.
        let within = folder(state).join(&namespace);
        for id in names(&within).unwrap_or_default() {
            bundles.push(Bundle {
                namespace: namespace.clone(),
                path: within.join(&id),
                id,
            });
        }
    }
    bundles.sort();
    Ok(bundles)
}

/// The names in a folder; none where there is no folder. containerd hides what it removes.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    Ok(entries
        .filter_map(name)
        .filter(|name| !name.starts_with('.'))
        .collect())
}

impl Bundle {
    #[must_use]
    pub fn record_path(&self) -> PathBuf {
        self.path.join(FILE_NAME)
    }

    /// What the shim has recorded; none where there is no lifecycle, or where the container is gone.
    ///
    /// # Errors
    /// When there is a file that is no record.
    pub fn recorded(&self) -> Result<Option<Recorded>, Unreadable> {
        let path = self.record_path();
        let unreadable = |reason: String| Unreadable {
            path: path.clone(),
            reason,
        };
        let mut text = Vec::new();
        let read =
            regular::open(&path).and_then(|file| file.take(MAX_RECORD + 1).read_to_end(&mut text));
        match read {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(unreadable(e.to_string())),
            Ok(_) if text.len() as u64 > MAX_RECORD => {
                return Err(unreadable("too large for a record".to_owned()));
            }
            Ok(_) => {}
        }
        let no_record = |e: serde_json::Error| unreadable(format!("not a record: {e}"));
        let json: Value = serde_json::from_slice(&text).map_err(no_record)?;
        let record = Record::from_json(&json).map_err(no_record)?;
        Ok(Some(Recorded {
            bundle: self.clone(),
            record,
            json,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        for (bundle, record) in [
            (
                "k8s.io/good",
                Some(
                    r#"{"version":1,"id":"good","namespace":"k8s.io","phase":"Running","hooks":[],"later":1}"#,
                ),
            ),
            ("k8s.io/plain", None),
            ("moby/half", Some(r#"{"version":1,"id":"ha"#)),
            ("moby/list", Some("[]")),
            ("moby/.going", Some("{}")),
        ] {
            let path = folder(state.path()).join(bundle);
            fs::create_dir_all(&path).unwrap();
            if let Some(record) = record {
                fs::write(path.join(FILE_NAME), record).unwrap();
            }
        }
        state
    }

    #[test]
    fn bundles_of_all_namespaces_are_found_and_those_on_their_way_out_are_not() {
        let state = node();
        let found: Vec<_> = list(state.path())
            .unwrap()
            .into_iter()
            .map(|b| format!("{}/{}", b.namespace, b.id))
            .collect();
        assert_eq!(
            found,
            ["k8s.io/good", "k8s.io/plain", "moby/half", "moby/list"]
        );
    }

    #[test]
    fn a_bad_file_is_named_and_a_missing_one_is_no_error() {
        let state = node();
        let bundles = list(state.path()).unwrap();
        let good = bundles[0].recorded().unwrap().unwrap();
        assert_eq!(
            (good.record.phase.as_str(), &good.json["later"]),
            ("Running", &1.into())
        );
        assert!(bundles[1].recorded().unwrap().is_none());
        for bundle in &bundles[2..] {
            let error = bundle.recorded().unwrap_err().to_string();
            let path = bundle.record_path();
            assert!(
                error.starts_with(&format!("{}: not a record: ", path.display())),
                "{error}"
            );
        }
        fs::write(
            bundles[0].record_path(),
            vec![b' '; MAX_RECORD as usize + 1],
        )
        .unwrap();
        assert!(
            bundles[0]
                .recorded()
                .unwrap_err()
                .to_string()
                .contains("too large")
        );
        fs::remove_dir_all(&bundles[0].path).unwrap();
        assert!(bundles[0].recorded().unwrap().is_none());
    }

    #[test]
    fn a_wrong_state_directory_is_an_error_and_one_without_containers_is_not() {
        let state = tempfile::tempdir().unwrap();
        assert!(list(state.path()).unwrap().is_empty());
        let error = list(&state.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("--state"), "{error}");
    }
}
