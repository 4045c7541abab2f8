//! How things are printed: kubectl's tables, ages and YAML.

pub mod age;
pub mod duration;
pub mod escape;
pub mod exposition;
pub(crate) mod page;
pub(crate) mod pem;
pub(crate) mod report;
pub mod table;

use std::io::{self, Write};

use serde_json::Value;

use crate::args::RecordOutput;

/// Prints a document, as YAML where that is asked for, else as JSON.
///
/// # Errors
/// When stdout cannot be written.
pub fn document(output: RecordOutput, document: &Value) -> io::Result<()> {
    let text = match output {
        RecordOutput::Yaml => serde_saphyr::to_string(document)
            .map_err(|e| io::Error::other(format!("cannot print as YAML: {e}")))?,
        _ => serde_json::to_string_pretty(document)? + "\n",
    };
    print(&escape::json(&text))
}

/// Prints to stdout. That nobody reads on (`podhook get pods | head`) is no error.
///
/// # Errors
/// When stdout cannot be written for another reason.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
