//! The test programs, built by cargo for this machine.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use podhook_integration::generation::repository;
use podhook_integration::shim::built;
use serde_json::Value;

use crate::Error;

/// The packages' own tests that are about cgroups and processes, by target.
const UNIT: [&str; 4] = ["exec_cgroup_v2", "exec_full", "exec_handler", "exec_leaf"];

/// What is to be there in the machine.
pub struct Programs {
    /// Test programs by target; the name of a library or binary is that of its crate.
    pub tests: BTreeMap<String, PathBuf>,
    /// What they test.
    pub own: [PathBuf; 2],
}

/// Builds the integration tests with these names, and those of the crates that are to run where cgroup v2 is the only
/// hierarchy, in the profile of this program.
pub fn build(names: &[&str], crates: bool) -> Result<Programs, Error> {
    let mut tests = BTreeMap::new();
    // The same choice of packages as in the other targets of the Makefile: another one would build all
    // dependencies again with other features.
    let mut unit = vec![
        "--workspace",
        "--exclude",
        "podhook-integration",
        "--lib",
        "--bins",
    ];
    unit.extend(UNIT.iter().flat_map(|test| ["--test", test]));
    if crates {
        tests.extend(compile(&unit)?);
    }
    let mut own = vec!["--package", "podhook-integration"];
    own.extend(names.iter().flat_map(|test| ["--test", test]));
    tests.extend(compile(&own)?);
    let own = ["containerd-shim-podhook-v1", "podhook"].map(built);
    match own.iter().find(|path| !path.exists()) {
        Some(path) => Err(format!("no {}: run `make build`", path.display()).into()),
        None => Ok(Programs { tests, own }),
    }
}

fn compile(selection: &[&str]) -> Result<Vec<(String, PathBuf)>, Error> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = built("")
        .components()
        .next_back()
        .map_or_else(String::new, |folder| {
            folder.as_os_str().to_string_lossy().into_owned()
        });
    let profile = if profile == "debug" { "dev" } else { &profile };
    let mut command = Command::new(cargo);
    command
        .args([
            "test",
            "--locked",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .args(["--profile", profile])
        .args(selection)
        .current_dir(repository())
        .stderr(Stdio::inherit());
    // What `cargo run` says of this program. Crates whose build looks at it (ring) would be built again, and so would
    // all that depends on them, here and by the next call of cargo.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{command:?} failed").into());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = message["executable"].as_str()?;
        let is_test = message["profile"]["test"] == true;
        is_test.then(|| Some((message["target"]["name"].as_str()?.to_owned(), path.into())))?
    };
    Ok(messages.lines().filter_map(executable).collect())
}
