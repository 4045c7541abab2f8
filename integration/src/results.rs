//! What became of every test at every place, kept in files for the table of `docs/compatibility-matrix.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, io};

use libtest_mimic::{Arguments, Failed};
use serde_json::{Map, Value, json};

use crate::place::Place;
use crate::shim::podhook_shim;
use crate::{command, hierarchy};

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
enum One {
    Passed,
    Failed(String),
    NotRun(String),
}

/// The results so far.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    all: Mutex<BTreeMap<Place, BTreeMap<&'static str, One>>>,
}

impl Outcomes {
    /// The test cannot run there.
    pub(crate) fn skipped(&self, place: Place, test: &'static str, reason: &str) {
        self.put(place, test, One::NotRun(reason.to_owned()));
    }

    /// The test has run there.
    pub(crate) fn done(&self, place: Place, test: &'static str, outcome: &Result<(), Failed>) {
        let one = match outcome {
            Ok(()) => One::Passed,
            Err(failed) => {
                let text = failed.message().unwrap_or_default();
                One::Failed(text.lines().next().unwrap_or_default().to_owned())
            }
        };
        self.put(place, test, one);
    }

    fn put(&self, place: Place, test: &'static str, one: One) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(place).or_default().insert(test, one);
    }
}

/// The folder of `PODHOOK_RESULTS`, one file per suite and place in it.
#[derive(Debug)]
pub(crate) struct Results {
    dir: PathBuf,
}

impl Results {
    /// Only for a run of everything: a filter's results would pass for the whole.
    pub(crate) fn wanted(arguments: &Arguments) -> Option<Self> {
        let dir = PathBuf::from(env::var_os("PODHOOK_RESULTS")?);
        let whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
        whole.then_some(Self { dir })
    }

    pub(crate) fn write(&self, outcomes: &Outcomes) -> Result<(), String> {
        let all = outcomes.all.lock().unwrap_or_else(PoisonError::into_inner);
        let suite = suite_name();
        for (place, tests) in &*all {
            let path = self.dir.join(file_name(&suite, *place));
            let result = fs::create_dir_all(&self.dir)
                .and_then(|()| fs::write(&path, render(&suite, *place, tests).to_string()));
            result.map_err(|error| format!("write {}: {error}", path.display()))?;
        }
        Ok(())
    }
}

fn file_name(suite: &str, place: Place) -> String {
    format!("{suite}_{}.json", place.to_string().replace('/', "_"))
}

/// The test binary's name without cargo's hash.
fn suite_name() -> String {
    let path = env::current_exe().unwrap_or_default();
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    name.split_once('-')
        .map_or(name.clone(), |(name, _)| name.to_owned())
}

fn render(suite: &str, place: Place, tests: &BTreeMap<&str, One>) -> Value {
    let of = |choose: fn(&One) -> Option<&String>| -> Map<String, Value> {
        tests
            .iter()
            .filter_map(|(name, one)| Some(((*name).to_owned(), json!(choose(one)?))))
            .collect()
    };
    json!({
        "suite": suite,
        "place": place.to_string(),
        "containerd": place.generation.version().unwrap_or_default(),
        "runtime": place.generation.oci_version(place.runtime).unwrap_or_default(),
        "packages": place.packages(),
        "podhook": podhook_version(),
        "kernel": kernel(),
        "passed": tests.values().filter(|one| **one == One::Passed).count(),
        "failed": of(|one| if let One::Failed(text) = one { Some(text) } else { None }),
        "notRun": of(|one| if let One::NotRun(text) = one { Some(text) } else { None }),
    })
}

/// What the shim under test says of itself.
fn podhook_version() -> String {
    let said = podhook_shim().map(|shim| command::stdout_of(&shim.to_string_lossy(), &["-v"]));
    let said = said.ok().and_then(Result::ok).unwrap_or_default();
    let version = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("Version: "));
    version.unwrap_or("?").to_owned()
}

/// `Linux 6.1.0, cgroup v1`
fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.split(['-', '\n']).next().unwrap_or_default();
    let version = if hierarchy::is_v2() { "v2" } else { "v1" };
    format!("Linux {release}, cgroup {version}")
}

/// Reads the files of a folder, one value each.
///
/// # Errors
/// When the folder or a file of it cannot be read.
pub fn read(dir: &Path) -> io::Result<Vec<Value>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths
        .iter()
        .map(|path| Ok(serde_json::from_slice(&fs::read(path)?)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_what_was_not_run_are_kept_with_their_reasons() {
        let outcomes = Outcomes::default();
        let place = Place::all()[0];
        outcomes.done(place, "ctr::one", &Ok(()));
        outcomes.done(place, "ctr::two", &Err("it broke\nlog".into()));
        outcomes.skipped(place, "ctr::three", "needs a moon");
        let all = outcomes.all.lock().unwrap_or_else(PoisonError::into_inner);
        let value = render("parity", place, &all[&place]);
        assert_eq!(value["passed"], 1);
        assert_eq!(value["failed"], json!({"ctr::two": "it broke"}));
        assert_eq!(value["notRun"], json!({"ctr::three": "needs a moon"}));
        assert_eq!(file_name("parity", place), "parity_1.6_runc.json");
    }
}
