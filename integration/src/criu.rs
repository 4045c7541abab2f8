//! CRIU, for checkpoint and restore; `integration/criu` fetches it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::generation::cache;

#[must_use]
pub fn program() -> PathBuf {
    cache().join("criu/criu")
}

/// Whether it is there and runs on this kernel.
///
/// # Errors
/// Why not.
pub fn works() -> Result<(), String> {
    static WORKS: OnceLock<Result<(), String>> = OnceLock::new();
    WORKS.get_or_init(check).clone()
}

fn check() -> Result<(), String> {
    let program = program();
    if !program.exists() {
        return Err(format!("no {}: run `integration/criu`", program.display()));
    }
    let checked = Command::new(&program).arg("check").output();
    let checked = checked.map_err(|e| format!("{}: {e}", program.display()))?;
    if checked.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&checked.stderr);
    Err(format!("criu check: {}", stderr.trim()))
}
