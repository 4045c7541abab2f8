//! `podhook completion`.

use clap::CommandFactory;

use super::error::Error;
use crate::args::{Cli, Completion};
use crate::output::print;

/// Prints the script of a shell.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Completion) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "podhook", &mut script);
    Ok(print(&String::from_utf8_lossy(&script))?)
}
