//! The probe program, built once per test process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support;

/// A static binary: it runs in any root file system.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exec_equality/probe.c");
        let program = folder.join(format!("probe-{:x}", age(source)));
        if !program.exists() {
            let new = folder.join(format!("probe-new-{}", std::process::id()));
            let gcc = ["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"];
            support::run(Command::new("gcc").args(gcc).arg(&new).arg(source)).ok();
            std::fs::rename(new, &program).unwrap();
        }
        program
    })
}

/// Another one for another source.
fn age(source: &str) -> u128 {
    let changed = std::fs::metadata(source).unwrap().modified().unwrap();
    changed
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos()
}
