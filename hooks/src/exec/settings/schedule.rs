//! Scheduling policy, I/O priority, CPU lists and execution domain of the OCI process.

use libc::{c_int, c_ulong};

use super::spec;
use crate::exec::Error;
use crate::exec::plan::entry::{self, MAX_CPU};

/// `process.scheduler` for sched_setattr(2).
pub(crate) fn attributes(spec: &spec::Scheduler) -> Result<libc::sched_attr, Error> {
    let unknown = |what: &str| Error::Invalid(format!("unknown scheduler setting {what:?}"));
    let policy = match spec.policy.as_str() {
        "SCHED_OTHER" => libc::SCHED_OTHER,
        "SCHED_FIFO" => libc::SCHED_FIFO,
        "SCHED_RR" => libc::SCHED_RR,
        "SCHED_BATCH" => libc::SCHED_BATCH,
        "SCHED_IDLE" => libc::SCHED_IDLE,
        "SCHED_DEADLINE" => libc::SCHED_DEADLINE,
        // SCHED_ISO was never merged into Linux.
        other => return Err(unknown(other)),
    };
    let mut flags = 0;
    for flag in &spec.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => return Err(unknown(other)),
        };
    }
    // SAFETY: `sched_attr` is plain data, all zeroes is a valid value.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    attr.size = size_of::<libc::sched_attr>() as u32;
    attr.sched_policy = policy as u32;
    attr.sched_flags = flags;
    attr.sched_nice = spec.nice;
    attr.sched_priority = u32::try_from(spec.priority)
        .map_err(|_| Error::Invalid(format!("scheduler priority {}", spec.priority)))?;
    attr.sched_runtime = spec.runtime;
    attr.sched_deadline = spec.deadline;
    attr.sched_period = spec.period;
    Ok(attr)
}

/// `process.ioPriority` for ioprio_set(2).
pub(crate) fn io_priority(spec: &spec::IoPriority) -> Result<c_int, Error> {
    let class = match spec.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(Error::Invalid(format!("unknown I/O priority {other:?}"))),
    };
    if !(0..=7).contains(&spec.priority) {
        return Err(Error::Invalid(format!("I/O priority {}", spec.priority)));
    }
    Ok(class << 13 | spec.priority)
}

/// A CPU list such as `0-3,7` for sched_setaffinity(2); `None` for an empty one.
pub(crate) fn cpus(list: &str) -> Result<Option<Vec<u64>>, Error> {
    if list.trim().is_empty() {
        return Ok(None);
    }
    let bad = || Error::Invalid(format!("invalid CPU list {list:?}"));
    let mut mask = vec![0u64; MAX_CPU / 64];
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| bad())?;
        let last: usize = last.trim().parse().map_err(|_| bad())?;
        if first > last || last >= MAX_CPU {
            return Err(bad());
        }
        for cpu in first..=last {
            if let Some(word) = mask.get_mut(cpu / 64) {
                *word |= 1 << (cpu % 64);
            }
        }
    }
    if mask.iter().all(|&word| word == 0) {
        return Err(bad());
    }
    Ok(Some(mask))
}

/// The CPUs of a process that has joined the container's cgroups, see [`entry::Affinity`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Affinity {
    Kept,
    All,
    Set(Vec<u64>),
}

impl Affinity {
    /// As the specification asks for it; `all` where the runtime gives a process without an affinity of its own all
    /// CPUs of the cpuset.
    pub fn asked(asked: Option<&spec::CpuAffinity>, all: bool) -> Result<Self, Error> {
        let initial = asked.is_some_and(|asked| !asked.initial.trim().is_empty());
        Ok(match cpus(asked.map_or("", |asked| &asked.last))? {
            Some(mask) => Self::Set(mask),
            None if all && !initial => Self::All,
            None => Self::Kept,
        })
    }

    pub fn plan(&self) -> entry::Affinity<'_> {
        match self {
            Self::Kept => entry::Affinity::Kept,
            Self::All => entry::Affinity::All,
            Self::Set(mask) => entry::Affinity::Set(mask),
        }
    }
}

/// `linux.personality` for personality(2).
pub(crate) fn personality(spec: &spec::Personality) -> Result<c_ulong, Error> {
    if !spec.flags.is_empty() {
        return Err(Error::Unsupported("personality flags".into()));
    }
    // PER_LINUX and PER_LINUX32 of linux/personality.h.
    match spec.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(Error::Invalid(format!("unknown personality {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        let mask = cpus("0-2, 65").unwrap().unwrap();
        assert_eq!(mask[0], 0b111);
        assert_eq!(mask[1], 0b10);
        assert!(cpus("").unwrap().is_none());
        for bad in ["a", "3-1", "9999", ",", "1-"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn io_priorities_and_policies() {
        let idle = spec::IoPriority {
            class: "IOPRIO_CLASS_IDLE".into(),
            priority: 2,
        };
        assert_eq!(io_priority(&idle).unwrap(), 3 << 13 | 2);
        let batch = spec::Scheduler {
            policy: "SCHED_BATCH".into(),
            nice: 5,
            ..Default::default()
        };
        let attr = attributes(&batch).unwrap();
        assert_eq!((attr.sched_policy, attr.sched_nice), (3, 5));
        assert!(attributes(&spec::Scheduler::default()).is_err());
    }
}
