//! `podhook doctor`: what is right and wrong with a node, and what mends it.

use super::error::Error;
use crate::args;
use crate::doctor;
use crate::output::paint::Paint;
use crate::output::print;
use crate::setup::root::Root;

/// Runs the command.
///
/// # Errors
/// When a check fails, or the root folder cannot be opened.
pub async fn run(global: &args::Global, args: &args::Doctor) -> Result<(), Error> {
    let root = Root::open(&args.node.root)?;
    let found = doctor::examine(&root, &global.address, args).await;
    match args.output {
        Some(args::DoctorOutput::Json) => print(&found.json())?,
        None => print(&found.table(Paint::of_stdout()))?,
    }
    if found.has_failed() {
        return Err(Error::Reported);
    }
    Ok(())
}
