//! Small static C programs, which run in any root file system.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds `tests/SOURCE`; what is built already is not built again.
pub fn build(source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(source);
    let changed = std::fs::metadata(&source).unwrap().modified().unwrap();
    let age = changed.duration_since(std::time::UNIX_EPOCH).unwrap();
    let name = source.file_stem().unwrap().to_string_lossy();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join(format!("{name}-{:x}", age.as_nanos()));
    if !program.exists() {
        let thread = std::thread::current().id();
        let new = folder.join(format!("{name}-{}-{thread:?}", std::process::id()));
        let gcc = ["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"];
        super::readable(|| {
            super::run(Command::new("gcc").args(gcc).arg(&new).arg(&source)).ok();
        });
        std::fs::rename(new, &program).unwrap();
    }
    program
}
