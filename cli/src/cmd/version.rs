//! `podhook version`: what is installed, what runs, and whether it fits together.

use super::error::Error;
use crate::args::{self, VersionOutput};
use crate::doctor::versions;
use crate::output::{self, print};
use crate::setup::root::Root;

/// Runs the command.
///
/// # Errors
/// When the root folder cannot be opened, or stdout not be written.
pub async fn run(global: &args::Global, args: &args::Version) -> Result<(), Error> {
    let root = Root::open(&args.node.root)?;
    let versions = versions::all(&root, global, &args.node).await;
    let Some(output) = args.output else {
        return Ok(print(&versions.table())?);
    };
    let output = match output {
        VersionOutput::Json => args::RecordOutput::Json,
        VersionOutput::Yaml => args::RecordOutput::Yaml,
    };
    let document = serde_json::to_value(&versions).map_err(std::io::Error::other)?;
    Ok(output::document(output, &document)?)
}
