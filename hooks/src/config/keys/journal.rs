//! What is kept of hooks when their containers are gone: `journal::Journal`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::key::{Key, keys};
use crate::lifecycle::FieldError;
use crate::lifecycle::reader::{At, shown};

keys! {
    /// What is kept of hooks when their containers are gone.
    JournalKeys {
        place: JournalPlace = Place,
        size: u64 = Size,
        age: Duration = Age,
    }
}

/// Where the journal is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum JournalPlace {
    /// Below containerd's state directory.
    #[default]
    State,
    /// In this folder.
    Folder(PathBuf),
    /// Nowhere: nothing is kept.
    Off,
}

/// The folder.
struct Place;

impl Key for Place {
    type Value = JournalPlace;

    const NAME: &'static str = "journal";
    const MEANING: &'static str = "where [the journal](cli.md#the-journal) is, which keeps the results of hooks when their \
        containers are gone: `state`, `podhook/journal` below containerd's state directory, which a boot empties; an absolute path, \
        as `/var/lib/podhook/journal`, which outlives a boot; or `off`";
    const DEFAULT: &'static str = "`state`";

    fn read(at: At) -> Result<JournalPlace, FieldError> {
        match at.string()? {
            "state" => Ok(JournalPlace::State),
            "off" => Ok(JournalPlace::Off),
            path if Path::new(path).is_absolute() => Ok(JournalPlace::Folder(path.into())),
            other => Err(at.error(format!(
                "{} must be state, off or an absolute path",
                shown(other)
            ))),
        }
    }
}

/// How large it may be, in bytes; the file has MiB.
struct Size;

impl Key for Size {
    type Value = u64;

    const NAME: &'static str = "journal_size";
    const MEANING: &'static str =
        "MiB that the journal may have, all of it; the oldest results go first";
    const DEFAULT: &'static str = "`4`";

    fn default() -> u64 {
        4 << 20
    }

    fn read(at: At) -> Result<u64, FieldError> {
        Ok(u64::from(at.integer(1, 4096)?) << 20)
    }
}

/// How long a result is kept; the file has days.
struct Age;

const DAY: u64 = 24 * 60 * 60;

impl Key for Age {
    type Value = Duration;

    const NAME: &'static str = "journal_age";
    const MEANING: &'static str = "days that the journal keeps a result";
    const DEFAULT: &'static str = "`7`";

    fn default() -> Duration {
        Duration::from_secs(7 * DAY)
    }

    fn read(at: At) -> Result<Duration, FieldError> {
        let days = u64::from(at.integer(1, 3650)?);
        Ok(Duration::from_secs(days.saturating_mul(DAY)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{given, refused};

    #[test]
    fn the_journal_is_somewhere_or_nowhere() {
        let place = |text| given(text).journal.place;
        assert_eq!(place(""), JournalPlace::State);
        assert_eq!(place("journal = 'off'"), JournalPlace::Off);
        let folder = JournalPlace::Folder("/var/lib/podhook/journal".into());
        assert_eq!(place("journal = '/var/lib/podhook/journal'"), folder);
        refused(
            "journal = 'var/log'",
            "line 1: journal: \"var/log\" must be state, off or an absolute path",
        );
    }

    #[test]
    fn its_size_is_in_mebibytes_and_its_age_in_days() {
        assert_eq!(given("journal_size = 1").journal.size, 1 << 20);
        assert_eq!(given("").journal.size, 4 << 20);
        let age = |text| given(text).journal.age.as_secs();
        assert_eq!(age("journal_age = 2"), 2 * DAY);
        assert_eq!(age(""), 7 * DAY);
        refused(
            "journal_size = 0",
            "line 1: journal_size: must be between 1 and 4096, inclusive",
        );
        refused(
            "journal_age = 3651",
            "line 1: journal_age: must be between 1 and 3650, inclusive",
        );
    }
}
