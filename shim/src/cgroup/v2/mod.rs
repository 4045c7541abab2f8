//! `io.containerd.cgroups.v2.Metrics`, filled as github.com/containerd/cgroups/v3/cgroup2 does,
//! but for two things: what does not exist is left out instead of reported as zero, and
//! `hugetlb.failcnt` and `memory_events.oom_group_kill` are filled.

use std::path::Path;

use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats,
    PidsStat, RdmaEntry, RdmaStat,
};

use super::HostFiles;
use super::error::{Error, Malformed};
use super::file;
use super::hugetlb;
use super::rdma;

/// Reads all metrics of the cgroup.
pub(super) fn metrics(dir: &Path, host: HostFiles<'_>) -> Result<Metrics, Error> {
    Ok(Metrics {
        pids: pids(dir)?.into(),
        cpu: cpu(dir)?.into(),
        memory: memory(dir)?.into(),
        rdma: rdma_stats(dir)?.into(),
        io: io(dir)?.into(),
        hugetlb: hugetlb_stats(dir, &hugetlb::page_sizes(host.sys))?,
        memory_events: file::parse(dir, "memory.events", parse_memory_events)?.into(),
        ..Default::default()
    })
}

fn pids(dir: &Path) -> Result<Option<PidsStat>, Error> {
    let Some(current) = file::value(dir, "pids.current")? else {
        return Ok(None);
    };
    let limit = file::value(dir, "pids.max")?.unwrap_or_default();
    Ok(Some(PidsStat {
        current,
        limit,
        ..Default::default()
    }))
}

/// cpu.stat is there without the controller, too, with the times only.
fn cpu(dir: &Path) -> Result<Option<CPUStat>, Error> {
    let Some(mut cpu) = file::parse(dir, "cpu.stat", parse_cpu)? else {
        return Ok(None);
    };
    cpu.psi = file::parse(dir, "cpu.pressure", parse_pressure)?.into();
    Ok(Some(cpu))
}

fn parse_cpu(text: &str) -> Result<CPUStat, Malformed> {
    let mut cpu = CPUStat::new();
    file::flat_keyed(text, |key, value| match key {
        "usage_usec" => cpu.usage_usec = value,
        "user_usec" => cpu.user_usec = value,
        "system_usec" => cpu.system_usec = value,
        "nr_periods" => cpu.nr_periods = value,
        "nr_throttled" => cpu.nr_throttled = value,
        "throttled_usec" => cpu.throttled_usec = value,
        "nr_bursts" => cpu.nr_bursts = value,
        "burst_usec" => cpu.burst_usec = value,
        _ => {}
    })?;
    Ok(cpu)
}

fn memory(dir: &Path) -> Result<Option<MemoryStat>, Error> {
    let Some(mut memory) = file::parse(dir, "memory.stat", parse_memory)? else {
        return Ok(None);
    };
    let value = |name| file::value(dir, name).map(Option::unwrap_or_default);
    memory.usage = value("memory.current")?;
    memory.usage_limit = value("memory.max")?;
    memory.max_usage = value("memory.peak")?;
    memory.swap_usage = value("memory.swap.current")?;
    memory.swap_limit = value("memory.swap.max")?;
    memory.swap_max_usage = value("memory.swap.peak")?;
    memory.psi = file::parse(dir, "memory.pressure", parse_pressure)?.into();
    Ok(Some(memory))
}

fn parse_memory(text: &str) -> Result<MemoryStat, Malformed> {
    let mut memory = MemoryStat::new();
    file::flat_keyed(text, |key, value| {
        if let Some(field) = memory_field(&mut memory, key) {
            *field = value;
        }
    })?;
    Ok(memory)
}

fn memory_field<'a>(memory: &'a mut MemoryStat, key: &str) -> Option<&'a mut u64> {
    Some(match key {
        "anon" => &mut memory.anon,
        "file" => &mut memory.file,
        "kernel_stack" => &mut memory.kernel_stack,
        "slab" => &mut memory.slab,
        "sock" => &mut memory.sock,
        "shmem" => &mut memory.shmem,
        "file_mapped" => &mut memory.file_mapped,
        "file_dirty" => &mut memory.file_dirty,
        "file_writeback" => &mut memory.file_writeback,
        "anon_thp" => &mut memory.anon_thp,
        "inactive_anon" => &mut memory.inactive_anon,
        "active_anon" => &mut memory.active_anon,
        "inactive_file" => &mut memory.inactive_file,
        "active_file" => &mut memory.active_file,
        "unevictable" => &mut memory.unevictable,
        "slab_reclaimable" => &mut memory.slab_reclaimable,
        "slab_unreclaimable" => &mut memory.slab_unreclaimable,
        "pgfault" => &mut memory.pgfault,
        "pgmajfault" => &mut memory.pgmajfault,
        "workingset_refault" => &mut memory.workingset_refault,
        "workingset_activate" => &mut memory.workingset_activate,
        "workingset_nodereclaim" => &mut memory.workingset_nodereclaim,
        "pgrefill" => &mut memory.pgrefill,
        "pgscan" => &mut memory.pgscan,
        "pgsteal" => &mut memory.pgsteal,
        "pgactivate" => &mut memory.pgactivate,
        "pgdeactivate" => &mut memory.pgdeactivate,
        "pglazyfree" => &mut memory.pglazyfree,
        "pglazyfreed" => &mut memory.pglazyfreed,
        "thp_fault_alloc" => &mut memory.thp_fault_alloc,
        "thp_collapse_alloc" => &mut memory.thp_collapse_alloc,
        _ => return None,
    })
}

fn parse_memory_events(text: &str) -> Result<MemoryEvents, Malformed> {
    let mut events = MemoryEvents::new();
    file::flat_keyed(text, |key, value| match key {
        "low" => events.low = value,
        "high" => events.high = value,
        "max" => events.max = value,
        "oom" => events.oom = value,
        "oom_kill" => events.oom_kill = value,
        "oom_group_kill" => events.oom_group_kill = value,
        _ => {}
    })?;
    Ok(events)
}

fn io(dir: &Path) -> Result<Option<IOStat>, Error> {
    let usage = file::parse(dir, "io.stat", parse_io)?;
    let psi = file::parse(dir, "io.pressure", parse_pressure)?;
    let present = usage.is_some() || psi.is_some();
    let usage = usage.unwrap_or_default();
    Ok(present.then(|| IOStat {
        usage,
        psi: psi.into(),
        ..Default::default()
    }))
}

fn parse_io(text: &str) -> Result<Vec<IOEntry>, Malformed> {
    text.lines()
        // A device without a counter yet can leave a line of its number only, or (until 5.17)
        // one that lacks its newline: `8:16 8:0 rbytes=…`.
        .map(|line| parse_io_line(line).ok_or_else(|| Malformed::new(line)))
        .filter_map(Result::transpose)
        .collect()
}

/// `None` is malformed; `Some(Ok(None))` a device without counters.
fn parse_io_line(line: &str) -> Option<Option<IOEntry>> {
    let mut entry = None;
    for field in line.split_ascii_whitespace() {
        let Some((key, value)) = field.split_once('=') else {
            let (major, minor) = field.split_once(':')?;
            let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
            entry = Some((
                false,
                IOEntry {
                    major,
                    minor,
                    ..Default::default()
                },
            ));
            continue;
        };
        let (counted, entry) = entry.as_mut()?;
        let counter = match key {
            "rbytes" => &mut entry.rbytes,
            "wbytes" => &mut entry.wbytes,
            "rios" => &mut entry.rios,
            "wios" => &mut entry.wios,
            // dbytes, dios and what controllers add (cost.usage=…, use_delay=…).
            _ => continue,
        };
        *counter = value.parse().ok()?;
        *counted = true;
    }
    entry.map(|(counted, entry)| counted.then_some(entry))
}

fn rdma_stats(dir: &Path) -> Result<Option<RdmaStat>, Error> {
    let entries = |name| {
        let entry = |e: rdma::Entry| RdmaEntry {
            device: e.device,
            hca_handles: e.handles,
            hca_objects: e.objects,
            ..Default::default()
        };
        let parsed = file::parse(dir, name, rdma::parse)?;
        Ok(parsed.map(|list| list.into_iter().map(entry).collect::<Vec<_>>()))
    };
    let (current, limit) = (entries("rdma.current")?, entries("rdma.max")?);
    Ok(current.zip(limit).map(|(current, limit)| RdmaStat {
        current,
        limit,
        ..Default::default()
    }))
}

fn hugetlb_stats(dir: &Path, sizes: &[String]) -> Result<Vec<HugeTlbStat>, Error> {
    let mut stats = Vec::new();
    for size in sizes {
        let name = |name: &str| format!("hugetlb.{size}.{name}");
        let Some(current) = file::value(dir, &name("current"))? else {
            continue;
        };
        let failures = file::parse(dir, &name("events"), |text| file::key(text, "max"))?;
        stats.push(HugeTlbStat {
            current,
            max: file::value(dir, &name("max"))?.unwrap_or_default(),
            pagesize: size.clone(),
            failcnt: failures.flatten().unwrap_or_default(),
            ..Default::default()
        });
    }
    Ok(stats)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and `full …` (accounting/psi.rst).
fn parse_pressure(text: &str) -> Result<PSIStats, Malformed> {
    let mut stats = PSIStats::new();
    for line in text.lines() {
        let malformed = || Malformed::new(line);
        let (kind, fields) = line.split_once(' ').ok_or_else(malformed)?;
        let data = parse_pressure_fields(fields).ok_or_else(malformed)?;
        match kind {
            "some" => stats.some = Some(data).into(),
            "full" => stats.full = Some(data).into(),
            _ => {}
        }
    }
    Ok(stats)
}

fn parse_pressure_fields(fields: &str) -> Option<PSIData> {
    let mut data = PSIData::new();
    for field in fields.split_ascii_whitespace() {
        let (key, value) = field.split_once('=')?;
        match key {
            "avg10" => data.avg10 = value.parse().ok()?,
            "avg60" => data.avg60 = value.parse().ok()?,
            "avg300" => data.avg300 = value.parse().ok()?,
            "total" => data.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(data)
}

#[cfg(test)]
mod tests;
