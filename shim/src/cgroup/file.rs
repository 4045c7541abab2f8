//! Bounded reads of cgroup files, and the formats they share (cgroup-v2.rst, "Interface Files").

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::error::{Error, Malformed};

/// More than any cgroup file but cgroup.procs has: io.stat of some thousand devices.
const MAX_FILE: u64 = 1 << 20;
/// 4,194,304 pids (PID_MAX_LIMIT) of at most seven digits and a newline.
pub(super) const MAX_PROCS_FILE: u64 = 32 << 20;

/// As much is read at a time: any usual file.
const PART: usize = 4096;

/// The whole file, or `None` where the controller, the file or the cgroup does not exist.
pub(super) fn read(path: &Path) -> Result<Option<String>, Error> {
    read_bounded(path, MAX_FILE)
}

/// As [`read`], with another bound than the usual one.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Option<String>, Error> {
    // containerd's CRI asks for statistics every second: as few system calls as can be. Opened by the C library it is one more,
    // and read by the standard one several.
    let file = match open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(e) if is_missing(e) => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e.into())),
    };
    let (mut text, mut part) = (Vec::new(), [0; PART]);
    loop {
        match rustix::io::read(&file, &mut part) {
            Ok(0) => break,
            Ok(size) => text.extend_from_slice(part.get(..size).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(e) if is_missing(e) => return Ok(None),
            Err(e) => return Err(Error::io("read", path)(e.into())),
        }
        if text.len() as u64 > limit {
            return Err(Error::TooLarge {
                path: path.to_owned(),
                limit,
                unit: "bytes",
            });
        }
    }
    let bad = |_| Error::io("read", path)(io::ErrorKind::InvalidData.into());
    String::from_utf8(text).map(Some).map_err(bad)
}

/// Reads `dir/name` and parses it; `None` where there is no such file.
pub(super) fn parse<T>(
    dir: &Path,
    name: &str,
    parser: impl FnOnce(&str) -> Result<T, Malformed>,
) -> Result<Option<T>, Error> {
    let path = dir.join(name);
    match read(&path)? {
        Some(text) => parser(&text).map(Some).map_err(Error::parse(&path)),
        None => Ok(None),
    }
}

/// The single value of `dir/name`; `None` where there is no such file.
pub(super) fn value(dir: &Path, name: &str) -> Result<Option<u64>, Error> {
    parse(dir, name, parse_value)
}

/// Whether an open or read says that there is nothing to read. A file that was opened before its
/// cgroup was removed answers ENODEV, a pressure file that is switched off EOPNOTSUPP.
fn is_missing(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP)
}

/// A number or `max`. Negative numbers are 0: some counters of the kernel are sums over CPUs read
/// without a lock and can dip below zero (containerd reads them as 0, too).
pub(super) fn parse_value(text: &str) -> Result<u64, Malformed> {
    let text = text.trim();
    if text == "max" {
        return Ok(u64::MAX);
    }
    match text.strip_prefix('-') {
        Some(digits) => digits.parse::<u64>().map(|_| 0),
        None => text.parse(),
    }
    .map_err(|_| Malformed::new(text))
}

/// Hands every `key value` line of a flat-keyed file to `each`.
pub(super) fn flat_keyed<'a>(
    text: &'a str,
    mut each: impl FnMut(&'a str, u64),
) -> Result<(), Malformed> {
    for line in text.lines() {
        let (key, value) = line.split_once(' ').ok_or_else(|| Malformed::new(line))?;
        each(key, parse_value(value).map_err(|_| Malformed::new(line))?);
    }
    Ok(())
}

/// The value of one key of a flat-keyed file, `None` where the key is not there. Other lines are
/// not looked at.
pub(super) fn key(text: &str, key: &str) -> Result<Option<u64>, Malformed> {
    for line in text.lines() {
        if let Some((name, value)) = line.split_once(' ')
            && name == key
        {
            return parse_value(value)
                .map(Some)
                .map_err(|_| Malformed::new(line));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_is_the_largest_value_and_not_zero() {
        assert_eq!(parse_value("max\n"), Ok(u64::MAX));
        assert_eq!(
            parse_value("9223372036854771712\n"),
            Ok(9_223_372_036_854_771_712)
        );
    }

    #[test]
    fn negative_counters_are_zero_but_garbage_is_an_error() {
        assert_eq!(parse_value("-4096\n"), Ok(0));
        for bad in [
            "",
            "-",
            "-x",
            "12 13",
            "0x10",
            "1.5",
            "18446744073709551616",
        ] {
            assert!(parse_value(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_malformed_line_is_an_error_with_that_line() {
        let error = flat_keyed("low 0\nhigh none\n", |_, _| {}).unwrap_err();
        assert_eq!(error, Malformed::new("high none"));
        assert!(flat_keyed("low\n", |_, _| {}).is_err());
    }

    #[test]
    fn oom_is_not_taken_for_oom_kill() {
        let events = "low 0\nhigh 0\nmax 57\noom 4\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(key(events, "oom_kill"), Ok(Some(2)));
        assert_eq!(key(events, "oom"), Ok(Some(4)));
        assert_eq!(key(events, "kill"), Ok(None));
    }

    #[test]
    fn a_missing_file_is_none_and_a_bad_one_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(value(dir.path(), "pids.current").unwrap().is_none());
        std::fs::write(dir.path().join("pids.current"), "many\n").unwrap();
        let error = value(dir.path(), "pids.current").unwrap_err().to_string();
        assert!(
            error.ends_with("/pids.current: cannot parse \"many\""),
            "{error}"
        );
    }

    #[test]
    fn a_file_beyond_the_bound_is_refused_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cgroup.procs");
        std::fs::write(&path, "12345678").unwrap();
        assert_eq!(read_bounded(&path, 8).unwrap().as_deref(), Some("12345678"));
        assert!(matches!(
            read_bounded(&path, 7),
            Err(Error::TooLarge { limit: 7, .. })
        ));
    }
}
