//! What perf has recorded: which programs ran when, and when podhook's server had something to do.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::spans::Span;
use crate::Fallible;

const EVENTS: &str = "sched:sched_process_exec,sched:sched_process_exit,\
                      syscalls:sys_enter_epoll_wait,syscalls:sys_exit_epoll_wait,\
                      syscalls:sys_enter_epoll_pwait,syscalls:sys_exit_epoll_pwait";
/// The kernel's name of every shim.
const SHIM: &str = "containerd-shim";
/// perf has begun by then.
const BEGINS: Duration = Duration::from_secs(1);

/// The moment, as perf tells it.
fn now() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid place to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// What it gives, and when it was done.
///
/// # Errors
/// Its own.
pub fn spanned<T>(what: impl FnOnce() -> Fallible<T>) -> Fallible<(T, Span)> {
    let begin = now();
    let done = what()?;
    Ok((done, Span { begin, end: now() }))
}

/// perf, which records the whole node.
pub struct Recording {
    perf: Child,
    file: PathBuf,
}

impl Recording {
    /// Begins.
    ///
    /// # Errors
    /// Where there is no perf, or it may not record.
    pub fn start(dir: &Path) -> Fallible<Self> {
        let file = dir.join("perf.data");
        let perf = Command::new("perf")
            .args(["record", "--all-cpus", "--clockid", "CLOCK_MONOTONIC"])
            .args(["--event", EVENTS, "--output"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("perf: {error}: install linux-perf"))?;
        let mut recording = Self { perf, file };
        thread::sleep(BEGINS);
        match recording.perf.try_wait()? {
            Some(status) => {
                Err(format!("perf record: {status}: see `perf record -a -e {EVENTS}`").into())
            }
            None => Ok(recording),
        }
    }

    /// Ends, and reads what there is.
    ///
    /// # Errors
    /// What perf says.
    pub fn end(mut self) -> Fallible<Trace> {
        self.stop()?;
        let output = Command::new("perf")
            .args([
                "script",
                "--ns",
                "--fields",
                "comm,pid,tid,time,event,trace",
                "--input",
            ])
            .arg(&self.file)
            .stderr(Stdio::null())
            .output()?;
        Ok(Trace::of(&String::from_utf8_lossy(&output.stdout)))
    }

    fn stop(&mut self) -> Fallible<()> {
        if self.perf.try_wait()?.is_none() {
            kill(Pid::from_raw(self.perf.id().cast_signed()), Signal::SIGINT)?;
            self.perf.wait()?;
        }
        Ok(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// When what ran.
#[derive(Debug, Default, PartialEq)]
pub struct Trace {
    /// Programs of the OCI runtime; the container's first process is none.
    pub runtime: Vec<Span>,
    /// Plugins of the pod network.
    pub network: Vec<Span>,
    /// Verbs of shims, which end: servers do not while anybody looks.
    pub verbs: Vec<Span>,
    /// podhook's servers, from a wake-up until they sleep again.
    pub busy: Vec<Span>,
}

/// A line of `perf script`.
#[derive(Debug, PartialEq)]
struct Event<'a> {
    comm: &'a str,
    pid: &'a str,
    tid: &'a str,
    at: Duration,
    name: &'a str,
    rest: &'a str,
}

/// `runc 4711/4711  1234.567890123: sched:sched_process_exec: filename=/usr/bin/runc pid=4711 old_pid=4711`
fn event(line: &str) -> Option<Event<'_>> {
    let (head, rest) = line.trim().split_once(": ")?;
    let (name, rest) = rest.trim().split_once(": ")?;
    let (head, time) = head.rsplit_once(' ')?;
    let (comm, ids) = head.trim().rsplit_once(' ')?;
    let (pid, tid) = ids.split_once('/')?;
    let (seconds, nanos) = time.split_once('.')?;
    Some(Event {
        comm: comm.trim(),
        pid,
        tid,
        at: Duration::new(seconds.parse().ok()?, nanos.parse().ok()?),
        name: name.rsplit(':').next().unwrap_or(name),
        rest,
    })
}

impl Trace {
    fn of(text: &str) -> Self {
        let mut trace = Self::default();
        let (mut runs, mut woken) = (HashMap::new(), HashMap::new());
        for event in text.lines().filter_map(event) {
            match event.name {
                "sched_process_exec" => {
                    runs.insert(event.pid, (program(event.rest), event.at));
                }
                // Of the threads of a process the first one is it.
                "sched_process_exit" if event.pid == event.tid => {
                    if let Some((program, begin)) = runs.remove(event.pid) {
                        let span = Span {
                            begin,
                            end: event.at,
                        };
                        match program {
                            "runc" | "crun" => trace.runtime.push(span),
                            "bridge" | "host-local" | "loopback" => trace.network.push(span),
                            name if name.starts_with(SHIM) => trace.verbs.push(span),
                            _ => {}
                        }
                    }
                }
                // musl's epoll_wait is the second.
                "sys_exit_epoll_wait" | "sys_exit_epoll_pwait" if event.comm == SHIM => {
                    woken.insert(event.tid, event.at);
                }
                "sys_enter_epoll_wait" | "sys_enter_epoll_pwait" if event.comm == SHIM => {
                    let end = event.at;
                    trace
                        .busy
                        .extend(woken.remove(event.tid).map(|begin| Span { begin, end }));
                }
                _ => {}
            }
        }
        trace
    }
}

/// The file's name in `filename=/usr/bin/runc pid=4711 old_pid=4711`.
fn program(text: &str) -> &str {
    let path = text.strip_prefix("filename=").unwrap_or(text);
    let path = path.split(" pid=").next().unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
containerd-shim  70/70    10.000000000: syscalls:sys_exit_epoll_wait: 0x1
           runc  71/71    10.001000000: sched:sched_process_exec: filename=/tmp/x/bin/runc pid=71 old_pid=71
            exe  72/72    10.002000000: sched:sched_process_exec: filename=/proc/self/fd/6 pid=72 old_pid=72
           runc  71/75    10.003000000: sched:sched_process_exit: comm=runc pid=75 prio=120
           runc  71/71    10.004000000: sched:sched_process_exit: comm=runc pid=71 prio=120
containerd-shim  70/70    10.005000000: syscalls:sys_enter_epoll_wait: epfd: 0x3, events: 0x1, maxevents: 0x400
containerd-shim  80/80    10.006000000: sched:sched_process_exec: filename=/a/containerd-shim-podhook-v1 pid=80 old_pid=80
containerd-shim  80/80    10.007000000: sched:sched_process_exit: comm=containerd-shim pid=80 prio=120
         bridge  90/90    10.008000000: sched:sched_process_exec: filename=/opt/cni/bin/bridge pid=90 old_pid=90
         bridge  90/90    10.009000000: sched:sched_process_exit: comm=bridge pid=90 prio=120
";

    fn span(begin: u64, end: u64) -> Span {
        Span {
            begin: Duration::from_millis(10_000 + begin),
            end: Duration::from_millis(10_000 + end),
        }
    }

    #[test]
    fn programs_run_from_exec_to_the_end_of_their_first_thread() {
        let trace = Trace::of(TEXT);
        assert_eq!(trace.runtime, [span(1, 4)]);
        assert_eq!(trace.verbs, [span(6, 7)]);
        assert_eq!(trace.network, [span(8, 9)]);
        assert_eq!(trace.busy, [span(0, 5)]);
        let of_musl = Trace::of(&TEXT.replace("epoll_wait", "epoll_pwait"));
        assert_eq!(of_musl.busy, [span(0, 5)]);
    }
}
