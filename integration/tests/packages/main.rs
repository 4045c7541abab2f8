//! The packages: what is in them, and that a node's containers live through their upgrade. `make test-packages`.
//!
//! A package is installed into a root folder of its own, which has a shell and the libraries that the programs load: dpkg runs
//! the package's scripts in it. The containerds of the tests start the shim that is there.

mod contents;
mod root;
mod upgrade;

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use podhook_integration::suite::{each_once, podhook_only, run_with_threads};

use root::{Failure, Installed};

/// Where this program, run again, finds the packages.
const PACKAGES: &str = "PODHOOK_TEST_PACKAGES";

fn main() -> ExitCode {
    let Some(folder) = env::var_os(PACKAGES) else {
        return match prepared() {
            Ok(passed) if passed => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(e) => {
                eprintln!("{e}");
                ExitCode::FAILURE
            }
        };
    };
    root::remember(Installed::new(PathBuf::from(folder)));
    let mut tests = contents::tests();
    tests.extend(upgrade::tests());
    // They install into one root.
    run_with_threads(podhook_only(each_once(tests)), 1)
}

/// Makes the packages, and runs this program again with their shim under test.
fn prepared() -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let installed = Installed::new(folder.path().to_owned());
    installed.packages.make()?;
    installed.install_old()?;
    let matrix = env::var_os("PODHOOK_MATRIX");
    let status = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(PACKAGES, folder.path())
        .env("PODHOOK_SHIM", installed.shim())
        .env(
            "PODHOOK_MATRIX",
            matrix.as_deref().unwrap_or(OsStr::new("2.4/podhook")),
        )
        .status()?;
    Ok(status.success())
}
