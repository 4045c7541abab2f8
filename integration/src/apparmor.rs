//! Profiles of AppArmor, on a kernel that has it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::{Outcome, command};

/// Why nothing can be tested of it here, if so.
#[must_use]
pub fn is_missing() -> Option<&'static str> {
    let kernel = Path::new("/sys/kernel/security/apparmor");
    (!kernel.exists()).then_some("AppArmor is off")
}

/// Loads a profile, in the place of one of its name.
///
/// # Errors
/// What the parser says.
pub fn load(profile: &str) -> Outcome {
    let mut parser = Command::new("apparmor_parser");
    parser.args(["--replace", "--skip-cache"]);
    let limit = Duration::from_secs(60);
    command::run(&mut parser, Some(profile.as_bytes()), limit)?.success()?;
    Ok(())
}
