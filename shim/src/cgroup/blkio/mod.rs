//! The v1 blkio statistics (cgroup-v1/blkio-controller.rst).

use std::collections::HashMap;
use std::path::Path;

use containerd_shim_protos::cgroups::metrics::{BlkIOEntry, BlkIOStat};

use super::error::{Error, Malformed};
use super::file;

/// The recursive counters of a CFQ kernel (before 5.0), and if they are empty or not there the
/// throttle policy's two, which every kernel has: the order and the choice of cgroup1/blkio.go.
pub(super) fn stats(dir: &Path, proc: &Path) -> Result<Option<BlkIOStat>, Error> {
    let entries = |name: &str| file::parse(dir, &format!("blkio.{name}"), parse);
    let list = |name: &str| entries(name).map(Option::unwrap_or_default);
    let mut stats = BlkIOStat::new();
    let cfq = entries("io_serviced_recursive")?;
    let mut present = cfq.is_some();
    if let Some(serviced) = cfq {
        stats.io_serviced_recursive = serviced;
        stats.sectors_recursive = list("sectors_recursive")?;
        stats.io_service_bytes_recursive = list("io_service_bytes_recursive")?;
        stats.io_queued_recursive = list("io_queued_recursive")?;
        stats.io_service_time_recursive = list("io_service_time_recursive")?;
        stats.io_wait_time_recursive = list("io_wait_time_recursive")?;
        stats.io_merged_recursive = list("io_merged_recursive")?;
        stats.io_time_recursive = list("time_recursive")?;
    }
    if lists(&mut stats).iter().all(|list| list.is_empty()) {
        let serviced = entries("throttle.io_serviced")?;
        present |= serviced.is_some();
        stats.io_serviced_recursive = serviced.unwrap_or_default();
        stats.io_service_bytes_recursive = list("throttle.io_service_bytes")?;
    }
    name_devices(&mut stats, proc)?;
    Ok(present.then_some(stats))
}

fn lists(stats: &mut BlkIOStat) -> [&mut Vec<BlkIOEntry>; 8] {
    [
        &mut stats.io_service_bytes_recursive,
        &mut stats.io_serviced_recursive,
        &mut stats.io_queued_recursive,
        &mut stats.io_service_time_recursive,
        &mut stats.io_wait_time_recursive,
        &mut stats.io_merged_recursive,
        &mut stats.io_time_recursive,
        &mut stats.sectors_recursive,
    ]
}

/// Sets `/dev/<name>` in every entry whose device `/proc/partitions` knows.
fn name_devices(stats: &mut BlkIOStat, proc: &Path) -> Result<(), Error> {
    let mut entries = lists(stats).into_iter().flatten().peekable();
    if entries.peek().is_none() {
        return Ok(());
    }
    let path = proc.join("partitions");
    let text = file::read(&path)?.unwrap_or_default();
    let names = parse_partitions(&text).map_err(Error::parse(&path))?;
    for entry in entries {
        if let Some(name) = names.get(&(entry.major, entry.minor)) {
            entry.device = format!("/dev/{name}");
        }
    }
    Ok(())
}

/// `major:minor [operation] value` lines; the last line is a total over all devices.
fn parse(text: &str) -> Result<Vec<BlkIOEntry>, Malformed> {
    let lines = text.lines().filter(|line| !line.starts_with("Total "));
    lines
        .map(|line| parse_line(line).ok_or_else(|| Malformed::new(line)))
        .collect()
}

fn parse_line(line: &str) -> Option<BlkIOEntry> {
    let (device, rest) = line.split_once(' ')?;
    let (major, minor) = device.split_once(':')?;
    let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
    Some(BlkIOEntry {
        op: op.to_owned(),
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        value: file::parse_value(value)
            .ok()
            .filter(|value| *value != u64::MAX)?,
        ..Default::default()
    })
}

/// Names by device number; of several with one number the first.
fn parse_partitions(text: &str) -> Result<HashMap<(u64, u64), &str>, Malformed> {
    let mut names = HashMap::new();
    for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
        let mut fields = line.split_ascii_whitespace();
        let mut number = || fields.next().and_then(|field| field.parse().ok());
        let (major, minor, _blocks) = (number(), number(), number());
        let (Some(major), Some(minor), Some(name)) = (major, minor, fields.next()) else {
            return Err(Malformed::new(line));
        };
        names.entry((major, minor)).or_insert(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
