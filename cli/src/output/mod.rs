//! How things are printed: kubectl's tables, ages and YAML.

pub mod age;
pub mod pod;
pub mod table;

use std::io::Write;

use crate::error::Error;

/// Prints to stdout. That nobody reads on (`podhook get pods | head`) is no error.
///
/// # Errors
/// When stdout cannot be written for another reason.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
