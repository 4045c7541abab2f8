//! OOM kills as the kernel has logged them: they stay when a cgroup, and its counter with it, is removed.
//!
//! The kubelet learns of OOM kills from the same lines (cadvisor's `oomparser`), so that every node lets them be read.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Error;
use super::file;

const KERNEL_LOG: &str = "/dev/kmsg";
const COUNTERS: &str = "/proc/vmstat";
/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// The kernel writes no longer record (CONSOLE_EXT_LOG_MAX), and wants room for one.
const RECORD: usize = 8192;
/// The log's clock may start this much before or after the monotonic one.
const SLACK: Duration = Duration::from_secs(2);

/// What to look for in the log.
#[derive(Debug)]
pub(super) struct KernelLog {
    counters: PathBuf,
    log: PathBuf,
    victim: Victim,
    /// OOM kills of the whole machine when the search began, and when that was.
    kills: Option<u64>,
    since: Duration,
}

/// Whose kill a record must be about.
#[derive(Debug)]
struct Victim {
    /// The first process of the container.
    pid: i32,
    /// The container's cgroup as the kernel names it.
    cgroup: String,
}

impl KernelLog {
    /// For kills from now on in a cgroup's directory, or of its first process.
    pub(super) fn from_now(dir: &Path, pid: i32) -> Self {
        Self::of_files(dir, pid, Path::new(COUNTERS), Path::new(KERNEL_LOG))
    }

    pub(super) fn of_files(dir: &Path, pid: i32, counters: &Path, log: &Path) -> Self {
        let path = dir.strip_prefix(ROOT).unwrap_or(dir);
        let path = path.to_string_lossy();
        let cgroup = format!("/{}", path.trim_start_matches('/'));
        let mut this = Self {
            counters: counters.to_owned(),
            log: log.to_owned(),
            victim: Victim { pid, cgroup },
            kills: None,
            since: Duration::ZERO,
        };
        this.restart();
        this
    }

    /// What has happened until now is known.
    pub(super) fn restart(&mut self) {
        self.since = now();
        self.kills = self.kills_of_machine();
    }

    /// Whether it says that there was such a kill. `None` where it cannot be read.
    pub(super) fn names_kill(&self) -> Option<bool> {
        let kills = self.kills_of_machine();
        if kills.is_some() && kills == self.kills {
            // Nearly always: the log of a large machine takes some milliseconds.
            return Some(false);
        }
        match self.search() {
            Ok(found) => Some(found),
            Err(error) => {
                log::debug!("cannot read the kernel's log: {error}");
                None
            }
        }
    }

    /// The kernel raises this counter before it kills.
    fn kills_of_machine(&self) -> Option<u64> {
        let text = file::read(&self.counters).ok()??;
        file::key(&text, "oom_kill").ok()?
    }

    fn search(&self) -> Result<bool, Error> {
        let log = &self.log;
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(log)
            .map_err(Error::io("open", log))?;
        let since = self.since.saturating_sub(SLACK);
        let mut buffer = [0; RECORD];
        loop {
            // One record, oldest first.
            let read = match file.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                // Newer ones have taken its place, or a signal came.
                Err(e) if e.kind() == ErrorKind::Interrupted || is_overwritten(&e) => continue,
                Err(e) => return Err(Error::io("read", log)(e)),
            };
            let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default());
            if text
                .lines()
                .filter_map(parse)
                .any(|(at, message)| at >= since && self.victim.is_in(message))
            {
                return Ok(true);
            }
        }
    }
}

fn is_overwritten(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPIPE)
}

impl Victim {
    /// Whether a message is about a kill of it. There are two of each kill, the first of which is left out
    /// when there are many (`dump_oom_victim`, `__oom_kill_process` of mm/oom_kill.c):
    ///
    /// `oom-kill:constraint=CONSTRAINT_MEMCG,…,oom_memcg=/a,task_memcg=/a/b,task=tail,pid=7,uid=0`
    /// `Memory cgroup out of memory: Killed process 7 (tail) total-vm:…`
    fn is_in(&self, message: &str) -> bool {
        if let Some(rest) = message.strip_prefix("oom-kill:") {
            let cgroup = rest
                .split_once(",task_memcg=")
                .and_then(|(_, rest)| rest.split_once(",task="));
            return cgroup.is_some_and(|(cgroup, _)| self.is_below(cgroup));
        }
        let pid = message
            .split_once("ut of memory: Killed process ")
            .and_then(|(_, rest)| rest.split_once(' '));
        pid.is_some_and(|(pid, _)| pid.parse() == Ok(self.pid))
    }

    /// Whether a cgroup is the container's or one below. The kernel's name of it is longer where this
    /// process is in a cgroup namespace, as on a node that is a container itself.
    fn is_below(&self, cgroup: &str) -> bool {
        cgroup
            .split_once(&self.cgroup)
            .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The time since boot and the message of `PRIORITY,NUMBER,MICROSECONDS,FLAGS;MESSAGE`
/// (Documentation/ABI/testing/dev-kmsg); not of the lines that may follow, which begin with a space.
fn parse(line: &str) -> Option<(Duration, &str)> {
    let (head, message) = line.split_once(';')?;
    let at = head.split(',').nth(2)?.parse().ok()?;
    (!line.starts_with(' ')).then_some((Duration::from_micros(at), message))
}

/// The clock that is nearest to the log's: both stand still while the machine sleeps, and neither can be set.
fn now() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(
        u64::try_from(time.tv_nsec).unwrap_or(0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CGROUP: &str = "/system.slice/x-c1.scope";

    fn victim() -> Victim {
        Victim {
            pid: 4711,
            cgroup: CGROUP.to_owned(),
        }
    }

    /// As Linux 6.1 says it.
    fn oom_kill(cgroup: &str, pid: i32) -> String {
        format!(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x-c1.scope,mems_allowed=0,\
             oom_memcg=/system.slice,task_memcg={cgroup},task=tail,pid={pid},uid=0"
        )
    }

    #[test]
    fn a_kill_in_the_containers_cgroup_or_below_is_its_own() {
        for own in [
            CGROUP,
            "/system.slice/x-c1.scope/container",
            "/docker/node1/system.slice/x-c1.scope",
        ] {
            assert!(victim().is_in(&oom_kill(own, 1)), "{own}");
        }
        for other in [
            "/system.slice/x-c2.scope",
            "/system.slice/x-c1.scope2",
            "/system.slice",
            "/",
        ] {
            assert!(!victim().is_in(&oom_kill(other, 4711)), "{other}");
        }
    }

    #[test]
    fn a_kill_that_names_no_cgroup_is_told_by_the_pid() {
        let killed = |pid| {
            format!(
                "Memory cgroup out of memory: Killed process {pid} (tail) total-vm:196kB, anon-rss:4kB"
            )
        };
        assert!(victim().is_in(&killed(4711)));
        assert!(!victim().is_in(&killed(471)));
        assert!(victim().is_in("Out of memory: Killed process 4711 (tail) total-vm:196kB"));
        assert!(!victim().is_in("audit: Killed process 4711 (tail)"));
    }

    #[test]
    fn a_record_has_a_time_and_a_message() {
        let record = "6,1093,81000012,-;oom-kill:a;b\n SUBSYSTEM=memory;x\n";
        let parsed: Vec<_> = record.lines().filter_map(parse).collect();
        assert_eq!(
            parsed,
            [(Duration::from_micros(81_000_012), "oom-kill:a;b")]
        );
        assert_eq!(parse("garbage"), None);
    }

    /// A log and counters of a machine with so many kills.
    fn files(records: &str, kills: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("kmsg"), records).unwrap();
        std::fs::write(dir.path().join("vmstat"), format!("oom_kill {kills}\n")).unwrap();
        dir
    }

    fn log_of(dir: &tempfile::TempDir) -> KernelLog {
        let file = |name| dir.path().join(name);
        KernelLog::of_files(
            &Path::new(ROOT).join(CGROUP.trim_start_matches('/')),
            4711,
            &file("vmstat"),
            &file("kmsg"),
        )
    }

    #[test]
    fn a_kill_since_the_search_began_counts() {
        for (age, found) in [(Duration::ZERO, true), (SLACK * 2, false)] {
            let at = now().saturating_sub(age).as_micros();
            let records = format!("6,1,{at},-;{}\n", oom_kill(CGROUP, 1));
            let dir = files(&records, 3);
            let log = log_of(&dir);
            // No kill in the whole machine: nothing to look for.
            assert_eq!(log.names_kill(), Some(false));
            std::fs::write(dir.path().join("vmstat"), "oom_kill 4\n").unwrap();
            assert_eq!(log.names_kill(), Some(found));
        }
    }

    #[test]
    fn a_log_that_cannot_be_read_says_nothing() {
        let dir = files("", 3);
        let log = log_of(&dir);
        std::fs::remove_file(dir.path().join("kmsg")).unwrap();
        std::fs::write(dir.path().join("vmstat"), "oom_kill 4\n").unwrap();
        assert_eq!(log.names_kill(), None);
    }
}
