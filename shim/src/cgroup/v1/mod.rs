//! `io.containerd.cgroups.v1.Metrics`, filled as github.com/containerd/cgroups/v3/cgroup1 does.
//!
//! A controller that is not there leaves its message out. Where a message is there, its own parts
//! are there too, zero or not: containerd's Prometheus collector and docker follow `cpu.usage`,
//! `cpu.throttling` and `memory.swap` without looking whether they are set.

use std::path::Path;

use containerd_shim_protos::cgroups::metrics::{
    CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl, MemoryStat, Metrics, PidsStat,
    RdmaEntry, RdmaStat, Throttle,
};
use containerd_shim_protos::protobuf::MessageField;
use nix::unistd::{SysconfVar, sysconf};

use super::HostFiles;
use super::blkio;
use super::error::{Error, Malformed};
use super::file;
use super::hugetlb;
use super::locate::Hierarchies;
use super::rdma;

/// Reads all metrics of the cgroup.
pub(super) fn metrics(cgroup: &Hierarchies, host: HostFiles<'_>) -> Result<Metrics, Error> {
    let mut metrics = Metrics::new();
    if let Some(dir) = cgroup.dir("hugetlb") {
        metrics.hugetlb = hugetlb_stats(dir, &hugetlb::page_sizes(host.sys))?;
    }
    if let Some(dir) = cgroup.dir("pids") {
        metrics.pids = pids(dir)?.into();
    }
    metrics.cpu = cpu(cgroup.dir("cpu"), cgroup.dir("cpuacct"))?.into();
    if let Some(dir) = cgroup.dir("memory") {
        metrics.memory = memory(dir)?.into();
        metrics.memory_oom_control = oom_control(dir)?.into();
    }
    if let Some(dir) = cgroup.dir("blkio") {
        metrics.blkio = blkio::stats(dir, host.proc)?.into();
    }
    if let Some(dir) = cgroup.dir("rdma") {
        metrics.rdma = rdma_stats(dir)?.into();
    }
    Ok(metrics)
}

fn hugetlb_stats(dir: &Path, sizes: &[String]) -> Result<Vec<HugetlbStat>, Error> {
    let mut stats = Vec::new();
    for size in sizes {
        let value = |name: &str| file::value(dir, &format!("hugetlb.{size}.{name}"));
        let Some(usage) = value("usage_in_bytes")? else {
            continue;
        };
        stats.push(HugetlbStat {
            usage,
            max: value("max_usage_in_bytes")?.unwrap_or_default(),
            failcnt: value("failcnt")?.unwrap_or_default(),
            pagesize: size.clone(),
            ..Default::default()
        });
    }
    Ok(stats)
}

fn pids(dir: &Path) -> Result<Option<PidsStat>, Error> {
    let Some(current) = file::value(dir, "pids.current")? else {
        return Ok(None);
    };
    // In v1 metrics no limit has always been 0 (cgroup1/pids.go), unlike in v2.
    let limit = file::value(dir, "pids.max")?.filter(|limit| *limit != u64::MAX);
    Ok(Some(PidsStat {
        current,
        limit: limit.unwrap_or_default(),
        ..Default::default()
    }))
}

fn cpu(cpu: Option<&Path>, cpuacct: Option<&Path>) -> Result<Option<CPUStat>, Error> {
    let throttling = cpu
        .map(|dir| file::parse(dir, "cpu.stat", parse_throttling))
        .transpose()?;
    let usage = cpuacct.map(cpu_usage).transpose()?;
    let (throttling, usage) = (throttling.flatten(), usage.flatten());
    if throttling.is_none() && usage.is_none() {
        return Ok(None);
    }
    Ok(Some(CPUStat {
        usage: MessageField::some(usage.unwrap_or_default()),
        throttling: MessageField::some(throttling.unwrap_or_default()),
        ..Default::default()
    }))
}

fn parse_throttling(text: &str) -> Result<Throttle, Malformed> {
    let mut throttle = Throttle::new();
    file::flat_keyed(text, |key, value| match key {
        "nr_periods" => throttle.periods = value,
        "nr_throttled" => throttle.throttled_periods = value,
        "throttled_time" => throttle.throttled_time = value,
        _ => {}
    })?;
    Ok(throttle)
}

fn cpu_usage(dir: &Path) -> Result<Option<CPUUsage>, Error> {
    let Some(total) = file::value(dir, "cpuacct.usage")? else {
        return Ok(None);
    };
    let (user, kernel) = file::parse(dir, "cpuacct.stat", parse_cpuacct)?.unwrap_or_default();
    let per_cpu = file::parse(dir, "cpuacct.usage_percpu", parse_per_cpu)?.unwrap_or_default();
    Ok(Some(CPUUsage {
        total,
        kernel,
        user,
        per_cpu,
        ..Default::default()
    }))
}

/// User and system time in nanoseconds; the file has them in ticks of USER_HZ.
fn parse_cpuacct(text: &str) -> Result<(u64, u64), Malformed> {
    const NANOSECONDS: u128 = 1_000_000_000;
    let hertz = sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|hz| u128::try_from(hz).ok());
    let hertz = hertz.filter(|hz| *hz > 0).unwrap_or(100);
    let nanoseconds = |key| {
        let ticks = file::key(text, key)?.ok_or_else(|| Malformed::new(text))?;
        let nanoseconds = u128::from(ticks)
            .saturating_mul(NANOSECONDS)
            .checked_div(hertz);
        Ok(nanoseconds.map_or(0, |all| u64::try_from(all).unwrap_or(u64::MAX)))
    };
    Ok((nanoseconds("user")?, nanoseconds("system")?))
}

fn parse_per_cpu(text: &str) -> Result<Vec<u64>, Malformed> {
    text.split_ascii_whitespace()
        .map(file::parse_value)
        .collect()
}

fn memory(dir: &Path) -> Result<Option<MemoryStat>, Error> {
    let Some(mut memory) = file::parse(dir, "memory.stat", parse_memory)? else {
        return Ok(None);
    };
    memory.usage = memory_entry(dir, "memory")?;
    memory.swap = memory_entry(dir, "memory.memsw")?;
    memory.kernel = memory_entry(dir, "memory.kmem")?;
    memory.kernel_tcp = memory_entry(dir, "memory.kmem.tcp")?;
    Ok(Some(memory))
}

/// The four files of a counter. Without swap accounting there are no `memory.memsw` ones.
fn memory_entry(dir: &Path, counter: &str) -> Result<MessageField<MemoryEntry>, Error> {
    let value = |name: &str| {
        let value = file::value(dir, &format!("{counter}.{name}"));
        value.map(Option::unwrap_or_default)
    };
    Ok(MessageField::some(MemoryEntry {
        limit: value("limit_in_bytes")?,
        usage: value("usage_in_bytes")?,
        max: value("max_usage_in_bytes")?,
        failcnt: value("failcnt")?,
        ..Default::default()
    }))
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
        "cache" => &mut memory.cache,
        "rss" => &mut memory.rss,
        "rss_huge" => &mut memory.rss_huge,
        "mapped_file" => &mut memory.mapped_file,
        "dirty" => &mut memory.dirty,
        "writeback" => &mut memory.writeback,
        "pgpgin" => &mut memory.pg_pg_in,
        "pgpgout" => &mut memory.pg_pg_out,
        "pgfault" => &mut memory.pg_fault,
        "pgmajfault" => &mut memory.pg_maj_fault,
        "inactive_anon" => &mut memory.inactive_anon,
        "active_anon" => &mut memory.active_anon,
        "inactive_file" => &mut memory.inactive_file,
        "active_file" => &mut memory.active_file,
        "unevictable" => &mut memory.unevictable,
        "hierarchical_memory_limit" => &mut memory.hierarchical_memory_limit,
        "hierarchical_memsw_limit" => &mut memory.hierarchical_swap_limit,
        "total_cache" => &mut memory.total_cache,
        "total_rss" => &mut memory.total_rss,
        "total_rss_huge" => &mut memory.total_rss_huge,
        "total_mapped_file" => &mut memory.total_mapped_file,
        "total_dirty" => &mut memory.total_dirty,
        "total_writeback" => &mut memory.total_writeback,
        "total_pgpgin" => &mut memory.total_pg_pg_in,
        "total_pgpgout" => &mut memory.total_pg_pg_out,
        "total_pgfault" => &mut memory.total_pg_fault,
        "total_pgmajfault" => &mut memory.total_pg_maj_fault,
        "total_inactive_anon" => &mut memory.total_inactive_anon,
        "total_active_anon" => &mut memory.total_active_anon,
        "total_inactive_file" => &mut memory.total_inactive_file,
        "total_active_file" => &mut memory.total_active_file,
        "total_unevictable" => &mut memory.total_unevictable,
        _ => return None,
    })
}

fn oom_control(dir: &Path) -> Result<Option<MemoryOomControl>, Error> {
    file::parse(dir, "memory.oom_control", parse_oom_control)
}

/// Parses memory.oom_control; the OOM watch reads it, too.
pub(super) fn parse_oom_control(text: &str) -> Result<MemoryOomControl, Malformed> {
    let mut control = MemoryOomControl::new();
    file::flat_keyed(text, |key, value| match key {
        "oom_kill_disable" => control.oom_kill_disable = value,
        "under_oom" => control.under_oom = value,
        "oom_kill" => control.oom_kill = value,
        _ => {}
    })?;
    Ok(control)
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

#[cfg(test)]
mod tests;
