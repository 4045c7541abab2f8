//! The end of a process that a process of the container traces.
//!
//! A zombie is its tracer's first: as long as a tracer neither waits nor lets go, the parent's wait(2) does
//! not see it, and a process with CAP_SYS_PTRACE could hold up the end of every exec, and of every container in its
//! pid namespace, for ever. Its pidfd tells that it has ended, and its entry in procfs how.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::exec::{Children, Exit};
use crate::linux::process::{Stat, read_stat, status_field};
use crate::linux::watch;
use crate::moment::Moment;
use crate::task;

/// How long the reaper is given first, and between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// The exit of `pid` by `reaper`, or, where a tracer keeps it from that, as it looks to us.
pub fn exit<P>(
    pid: libc::pid_t,
    pidfd: Option<P>,
    reaper: oneshot::Receiver<Exit>,
) -> oneshot::Receiver<Exit>
where
    P: watch::Owner + Send + Sync + 'static,
{
    let watched = pidfd.and_then(|fd| watch::readable(fd).ok());
    let Some(watched) = watched else {
        return reaper;
    };
    let (sender, receiver) = oneshot::channel();
    task::spawn(async move {
        let exit = tokio::select! {
            biased;
            exit = reaper => exit.ok(),
            exit = held_back(&watched, pid) => Some(exit),
        };
        if let Some(exit) = exit {
            let _ = sender.send(exit);
        }
    });
    receiver
}

/// The exit of our child `pid`, likewise.
pub(crate) fn exit_of(
    pid: libc::pid_t,
    pidfd: Option<&OwnedFd>,
    children: &dyn Children,
) -> oneshot::Receiver<Exit> {
    let own = pidfd.and_then(|pidfd| pidfd.try_clone().ok());
    exit(pid, own, children.wait(pid))
}

/// Ends only for a process that has ended and that a tracer holds.
async fn held_back<P: watch::Owner>(pidfd: &AsyncFd<P>, pid: libc::pid_t) -> Exit {
    if pidfd.readable().await.is_err() {
        std::future::pending::<()>().await;
    }
    let at = Moment::now();
    loop {
        tokio::time::sleep(PAUSE).await;
        // Not reaped, since this is still running: the pid is its own.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let stat = read_stat(pid).unwrap_or_default();
        if is_traced(&status)
            && let Some(exit) = of_zombie(&stat, at)
        {
            return exit;
        }
    }
}

fn is_traced(status: &str) -> bool {
    status_field(status, "TracerPid").is_some_and(|pid| pid != "0")
}

/// From `/proc/PID/stat` (proc(5)); `None` where it has not ended.
fn of_zombie(stat: &str, at: Moment) -> Option<Exit> {
    let stat = Stat::parse(stat)?;
    if stat.state() != Some('Z') {
        return None;
    }
    let number = |field| stat.field(field);
    let ticks = clock_ticks_per_second();
    let time = |own: usize, children: usize| {
        let ticks_used = number(own)?.checked_add(number(children)?)?;
        Some(Duration::from_millis(
            ticks_used.checked_mul(1000)?.checked_div(ticks)?,
        ))
    };
    Some(Exit {
        raw_status: number(52)? as i32,
        at,
        cpu_user: time(14, 16)?,
        cpu_system: time(15, 17)?,
        max_rss: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZOMBIE: &str = "77 (a) b Z) Z 1 77 77 0 -1 4228100 90 0 0 0 150 50 20 30 20 0 1 0 900 0 0 \
        18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 1792\n";

    #[test]
    fn a_zombie_tells_how_it_ended() {
        let exit = of_zombie(ZOMBIE, Moment::now()).unwrap();
        assert_eq!(exit.code(), Some(7));
        assert_eq!(exit.cpu_user, Duration::from_millis(1700));
        assert_eq!(exit.cpu_system, Duration::from_millis(800));
    }

    #[test]
    fn what_runs_has_not_ended() {
        let running = ZOMBIE.replace(") Z ", ") S ");
        assert_eq!(of_zombie(&running, Moment::now()), None);
        assert_eq!(of_zombie("", Moment::now()), None);
        assert!(is_traced("Name:\ta\nTracerPid:\t7\n"));
        assert!(!is_traced("Name:\ta\nTracerPid:\t0\n"));
        assert!(!is_traced(""));
    }
}
