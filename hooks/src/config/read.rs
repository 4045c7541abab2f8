//! A table of TOML, read strictly: nothing in it is unknown, and every mistake has its line.

use toml::de::DeTable;

use super::ConfigError;
use crate::lifecycle::FieldError;
use crate::lifecycle::reader::{At, Fields};
use crate::lifecycle::tree::{Lines, from_toml};

/// Reads a document whose root table has these keys and no others; `origin` names it in errors.
///
/// # Errors
/// What is wrong in it, and where; what `take` says.
pub fn read<T>(
    text: &str,
    origin: &str,
    known: &[&str],
    take: impl FnOnce(&mut Fields) -> Result<T, FieldError>,
) -> Result<T, ConfigError> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| lines.at(span.start));
        ConfigError::syntax(origin, line, error.message())
    })?;
    let root = At::root("", from_toml(table.get_ref(), &lines));
    root.object(known)
        .and_then(|mut fields| take(&mut fields))
        .map_err(|field| ConfigError::field(origin, field))
}
