//! `podhook completion`.

use clap::CommandFactory;

use crate::args::{Cli, Completion};
use crate::error::Error;
use crate::output::print;

/// Prints the script of a shell.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Completion) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "podhook", &mut script);
    print(&String::from_utf8_lossy(&script))
}
