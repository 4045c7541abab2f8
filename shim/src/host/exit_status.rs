//! `exit.json`: how a container's init ended, kept in its bundle for the `delete` that comes when the shim is gone. The
//! file is that of containerd-shim-runc-v2 since containerd 2.4, so that each deletes the bundles of the other.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use podhook_hooks::linux::file::replace;
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::file;
use crate::error::{Error, Result};

/// The status of what SIGKILL has ended.
pub const KILLED: u32 = 128 + libc::SIGKILL as u32;
/// Of the file.
pub const NAME: &str = "exit.json";
/// More than the file ever has, bytes.
const MAX_SIZE: u64 = 4096;

/// How init ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    pub pid: u32,
    /// As a shell has it: 128 and the signal.
    pub status: u32,
    pub at: SystemTime,
}

/// go-runc's `Exit`, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exit {
    timestamp: String,
    pid: i64,
    status: i64,
}

impl ExitStatus {
    /// What `bundle` has; `None` where its init has not ended, or its shim could not write it.
    pub fn read(bundle: &Path) -> Result<Option<Self>> {
        let path = bundle.join(NAME);
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Error::io("open", &path))?,
        };
        let mut text = Vec::new();
        file.take(MAX_SIZE)
            .read_to_end(&mut text)
            .map_err(Error::io("read", &path))?;
        match Self::parse(&text) {
            Ok(status) => Ok(Some(status)),
            Err(reason) => {
                let source = io::Error::new(io::ErrorKind::InvalidData, reason);
                Err(Error::io("read", &path)(source))
            }
        }
    }

    /// Refuses what the original does: no pid, a negative status, Go's zero time.
    pub fn parse(text: &[u8]) -> std::result::Result<Self, String> {
        let exit: Exit = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let at = OffsetDateTime::parse(&exit.timestamp, &Rfc3339)
            .map_err(|e| format!("Timestamp: {e}"))?;
        if at.year() <= 1 {
            return Err("Timestamp is not set".to_owned());
        }
        // The last day of the year 9999 ends a day later somewhere.
        let at = at
            .checked_to_offset(UtcOffset::UTC)
            .ok_or("Timestamp is out of range")?;
        let pid = u32::try_from(exit.pid).ok().filter(|pid| *pid > 0);
        Ok(Self {
            pid: pid.ok_or_else(|| format!("{} is no pid", exit.pid))?,
            status: u32::try_from(exit.status)
                .map_err(|_| format!("{} is no exit status", exit.status))?,
            at: at.into(),
        })
    }

    /// Leaves it in `bundle`. Not flushed to the disk: the folder does not outlive a boot.
    pub fn write(&self, bundle: &Path) -> Result<()> {
        let failed = "encode the exit status";
        let timestamp = utc(self.at)
            .ok_or_else(|| io::Error::other("a time beyond the year 9999"))
            .and_then(|at| at.format(&Rfc3339).map_err(io::Error::other))
            .map_err(Error::failed(failed))?;
        let exit = Exit {
            timestamp,
            pid: self.pid.into(),
            status: self.status.into(),
        };
        let text =
            serde_json::to_vec(&exit).map_err(|e| Error::failed(failed)(io::Error::from(e)))?;
        replace(&bundle.join(NAME), &text, 0o600)
            .map_err(|e| Error::io(e.operation, &e.path)(e.source))
    }

    /// Makes `bundle` ready for a new container.
    pub fn remove(bundle: &Path) -> Result<()> {
        file::remove(&bundle.join(NAME))
    }
}

/// None where its conversion would panic.
fn utc(at: SystemTime) -> Option<OffsetDateTime> {
    let epoch = OffsetDateTime::UNIX_EPOCH;
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => epoch.checked_add(after.try_into().ok()?),
        Err(before) => epoch.checked_sub(before.duration().try_into().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn read(text: &str) -> Result<Option<ExitStatus>> {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join(NAME), text).unwrap();
        ExitStatus::read(bundle.path())
    }

    #[test]
    fn what_was_written_is_read_to_the_nanosecond() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(ExitStatus::read(bundle.path()).unwrap(), None);
        let at = UNIX_EPOCH + Duration::new(1_795_000_000, 123_456_789);
        let status = ExitStatus {
            pid: 4711,
            status: 3,
            at,
        };
        status.write(bundle.path()).unwrap();
        let text = fs::read_to_string(bundle.path().join(NAME)).unwrap();
        assert_eq!(
            text,
            r#"{"Timestamp":"2026-11-18T11:06:40.123456789Z","Pid":4711,"Status":3}"#
        );
        assert_eq!(ExitStatus::read(bundle.path()).unwrap(), Some(status));
        ExitStatus::remove(bundle.path()).unwrap();
        assert_eq!(ExitStatus::read(bundle.path()).unwrap(), None);
        ExitStatus::remove(bundle.path()).unwrap();
    }

    #[test]
    fn the_originals_local_time_is_understood() {
        let text = r#"{"Timestamp":"2026-11-18T13:06:40.5+02:00","Pid":12,"Status":137}"#;
        let found = read(text).unwrap().unwrap();
        assert_eq!(
            found.at,
            UNIX_EPOCH + Duration::from_millis(1_795_000_000_500)
        );
    }

    #[test]
    fn a_clock_that_no_calendar_has_ends_no_shim() {
        let bundle = tempfile::tempdir().unwrap();
        let exit = |at| ExitStatus {
            pid: 4711,
            status: 3,
            at,
        };
        let beyond = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert!(exit(beyond).write(bundle.path()).is_err());
        let before = exit(UNIX_EPOCH - Duration::from_secs(1));
        before.write(bundle.path()).unwrap();
        assert_eq!(ExitStatus::read(bundle.path()).unwrap(), Some(before));
    }

    #[test]
    fn a_broken_file_is_an_error() {
        for text in [
            "",
            "{",
            "null",
            r#"{"Timestamp":"2026-11-18T11:06:40Z","Pid":0,"Status":3}"#,
            r#"{"Timestamp":"2026-11-18T11:06:40Z","Pid":12,"Status":-1}"#,
            r#"{"Timestamp":"2026-11-18T11:06:40Z","Pid":12,"Status":99999999999}"#,
            r#"{"Timestamp":"0001-01-01T00:00:00Z","Pid":12,"Status":3}"#,
            r#"{"Timestamp":"9999-12-31T23:59:59-23:59","Pid":12,"Status":3}"#,
            r#"{"Timestamp":"yesterday","Pid":12,"Status":3}"#,
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("read /"), "{error}");
        }
    }
}
