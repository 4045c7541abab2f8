//! The wall clock jumps by hours, forward and back, or has a leap second, and the machine is suspended, while hooks and
//! grace periods run. Only the machine's own may: its runs of these tests are by themselves (`PODHOOK_SETS_CLOCK`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, io, thread};

use podhook_integration::node::{Container, Starting};
use podhook_integration::suite::Test;
use podhook_integration::trace::{Trace, mark};
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use serde_json::json;

use crate::recorded::{Record, Recorded};
use crate::script::{Error, exec, held, polite, stubborn, with, words};

/// Set where nothing else runs beside these tests.
const PERMISSION: &str = "PODHOOK_SETS_CLOCK";
/// What only the kernel of such a machine was started with (`integration/src/bin/machine`).
const MACHINE: &str = "podhook.machine=";

pub fn tests() -> Vec<Test> {
    if env::var_os(PERMISSION).is_none() {
        return Vec::new();
    }
    tests![clock:
        a_jump_ends_no_post_start_early,
        a_jump_ends_no_post_start_late,
        a_jump_changes_no_pre_stop_and_no_grace_period,
        a_leap_second_ends_no_post_start_early,
        a_suspend_takes_nothing_of_a_hooks_time_and_of_a_grace_period,
    ]
}

/// The machine's wall clock, set by whoever has this; right again when it is dropped.
struct Clock {
    _alone: MutexGuard<'static, ()>,
    right: SystemTime,
    /// Since boot, for a machine may be suspended meanwhile.
    since: Duration,
}

/// A jump, s.
const JUMPS: [i64; 2] = [5 * 3600, -5 * 3600];

/// Less than a jump, more than anything here takes.
const AN_HOUR: Duration = Duration::from_secs(3600);

impl Clock {
    fn take() -> Result<Self, Error> {
        static ALONE: Mutex<()> = Mutex::new(());
        let started_with = fs::read_to_string("/proc/cmdline")?;
        if !started_with.contains(MACHINE) {
            return Err("REFUSED: the clock is set in the machines of `make test-v2` only".into());
        }
        Ok(Self {
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
            right: SystemTime::now(),
            since: since_boot()?,
        })
    }

    /// The wall clock shows some seconds before the end of its day, in UTC.
    fn to_midnight(&self, seconds: i64) -> Outcome {
        const DAY: i64 = 24 * 3600;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let now = i64::try_from(now.as_secs())?;
        Ok(set(now - now % DAY + DAY - seconds)?)
    }

    fn jump(&self, seconds: i64) -> Outcome {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(set(i64::try_from(now.as_secs())? + seconds)?)
    }
}

/// What the kernel does at the end of a day, in UTC: a second more, or one less.
const LEAPS: [libc::c_int; 2] = [libc::STA_INS, libc::STA_DEL];

/// Tells the kernel, and gives its answer: where in a leap second the clock is.
fn leap(status: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: all of it are numbers.
    let mut time: libc::timex = unsafe { std::mem::zeroed() };
    time.modes = libc::ADJ_STATUS;
    time.status = status;
    // SAFETY: `time` outlives the call.
    match unsafe { libc::adjtimex(&raw mut time) } {
        -1 => Err(io::Error::last_os_error()),
        state => Ok(state),
    }
}

/// The time since boot, with that in which the machine was suspended.
fn since_boot() -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    if unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(
        time.tv_sec.cast_unsigned(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    ))
}

/// The alarm of the hardware's clock.
const WAKE: &str = "/sys/class/rtc/rtc0/wakealarm";
/// When the machine is woken, s. It falls asleep within some of them.
const ALARM: u64 = 30;
/// How long it must have been suspended at least, so that it makes a difference.
const ASLEEP: Duration = Duration::from_secs(10);

/// Suspends the machine, which its hardware clock wakes; again where it was slow to fall asleep. Gives how long it was so.
fn suspend() -> Result<Duration, Error> {
    let (ran, passed) = (Instant::now(), since_boot()?);
    let mut asleep = Duration::ZERO;
    for _ in 0..3 {
        // One that is still set is not replaced.
        fs::write(WAKE, "0")?;
        fs::write(WAKE, format!("+{ALARM}"))?;
        fs::write("/sys/power/state", "mem")?;
        let passed = since_boot()?.saturating_sub(passed);
        asleep = passed.saturating_sub(ran.elapsed());
        if asleep >= ASLEEP {
            return Ok(asleep);
        }
    }
    Err(format!("the machine was suspended for {asleep:?} only").into())
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = leap(0);
        let passed = since_boot().unwrap_or_default().saturating_sub(self.since);
        let right = self.right + passed;
        if let Ok(right) = right.duration_since(SystemTime::UNIX_EPOCH) {
            let _ = set(right.as_secs().cast_signed());
        }
    }
}

fn set(seconds: i64) -> io::Result<()> {
    let time = libc::timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    match unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The run of a hook says how long it took, and nothing of the jump. It begins a moment after its limit does.
fn check_run(record: &Record, hook: &str, result: &str, least: Duration) -> Outcome {
    let least = least.saturating_sub(Duration::from_secs(1));
    let run = record.hook(hook)?;
    assert_eq!(run.text("/result"), result, "{run:?}");
    let took =
        Duration::from_secs_f64(run.json()["durationMs"].as_f64().ok_or("no duration")? / 1e3);
    assert!(took >= least && took < AN_HOUR, "{run:?}");
    // The other way round it would be none.
    let between = run
        .time("/finishedAt")?
        .duration_since(run.time("/startedAt")?)?;
    assert!(between >= least && between < AN_HOUR, "{run:?}");
    Ok(())
}

/// The container runs: its postStart was as it should be, and it is stopped.
fn check_post_start(container: Container<'_>, result: &str, least: Duration) -> Outcome {
    check_run(&container.recorded()?, "postStart", result, least)?;
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    container.delete()?;
    Ok(())
}

/// The limits, s: far beyond what the machine needs to jump.
const LIMIT: u64 = 20;
/// That around a suspend.
const LONG_LIMIT: u64 = 40;

/// A container whose postStart runs until the limit is over, and the folder that it marks.
fn endless_post_start<'a>(
    node: &'a Node,
    name: &str,
    limit: u64,
) -> Result<(Trace, Container<'a>, Starting), Error> {
    let trace = Trace::new(node)?;
    let hook = with(
        exec(&format!("{}; exec sleep 6000", mark("begun"))),
        json!({"timeoutSeconds": limit, "onFailure": "Ignore"}),
    );
    let (container, starting) = node
        .container(name)
        .flag(["--mount", &trace.mount()])
        .lifecycle(&json!({"postStart": hook}).to_string())
        .start_behind(&words(&polite()))?;
    trace.wait("begun")?;
    Ok((trace, container, starting))
}

fn has_started(starting: Starting) -> Outcome {
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    Ok(())
}

fn a_jump_ends_no_post_start_early(node: &Node) -> Outcome {
    let clock = Clock::take()?;
    for jump in JUMPS {
        let trace = Trace::new(node)?;
        let hook = with(held(&trace, "hook")?, json!({"timeoutSeconds": 1800}));
        let (container, starting) = node
            .container("early")
            .flag(["--mount", &trace.mount()])
            .lifecycle(&json!({"postStart": hook}).to_string())
            .start_behind(&words(&polite()))?;
        trace.wait("hook-begin")?;
        clock.jump(jump)?;
        thread::sleep(Duration::from_secs(3));
        assert_eq!(container.recorded()?.result("postStart"), "");
        trace.release("hook")?;
        has_started(starting)?;
        check_post_start(container, "Succeeded", Duration::from_secs(3))?;
    }
    Ok(())
}

fn a_jump_ends_no_post_start_late(node: &Node) -> Outcome {
    let clock = Clock::take()?;
    for jump in JUMPS {
        let (_trace, container, starting) = endless_post_start(node, "late", LIMIT)?;
        clock.jump(jump)?;
        has_started(starting)?;
        check_post_start(container, "TimedOut", Duration::from_secs(LIMIT))?;
    }
    Ok(())
}

fn a_jump_changes_no_pre_stop_and_no_grace_period(node: &Node) -> Outcome {
    let clock = Clock::take()?;
    for jump in JUMPS {
        let trace = Trace::new(node)?;
        let lifecycle = json!({
            "preStop": with(exec("sleep 6000"), json!({"timeoutSeconds": LIMIT / 2})),
            "terminationGracePeriodSeconds": LIMIT,
        });
        let container = node
            .container("grace")
            .flag(["--mount", &trace.mount()])
            .lifecycle(&lifecycle.to_string())
            .start(&words(&stubborn()))?;
        trace.wait("ready")?;
        container.kill("SIGTERM")?;
        container.wait_record("preStop to run", SOON, |record| {
            !record.runs("preStop").is_empty()
        })?;
        clock.jump(jump)?;
        // Once more, in the grace period.
        trace.wait("got-TERM")?;
        clock.jump(-2 * jump)?;
        assert_eq!(container.wait_exit(SOON)?, 137);
        let now = SystemTime::now();
        let record = container.wait_end()?;
        check_run(
            &record,
            "preStop",
            "TimedOut",
            Duration::from_secs(LIMIT / 2),
        )?;
        for (from, to, least) in [
            (
                "/termination/requestedAt",
                "/termination/signalledAt",
                LIMIT / 2,
            ),
            ("/termination/requestedAt", "/termination/killedAt", LIMIT),
        ] {
            let between = record.time(to)?.duration_since(record.time(from)?)?;
            assert!(
                between >= Duration::from_secs(least) && between < AN_HOUR,
                "{record:?}"
            );
        }
        // The exit is told as the clock is then.
        let exited = record.time("/termination/exitedAt")?;
        let apart = now
            .duration_since(exited)
            .or_else(|_| exited.duration_since(now))?;
        assert!(apart < AN_HOUR, "{record:?}");
        assert_eq!(container.delete()?, 137);
        clock.jump(jump)?;
    }
    Ok(())
}

fn a_leap_second_ends_no_post_start_early(node: &Node) -> Outcome {
    let clock = Clock::take()?;
    for status in LEAPS {
        let (_trace, container, starting) = endless_post_start(node, "leap", LIMIT)?;
        clock.to_midnight(3)?;
        leap(status)?;
        has_started(starting)?;
        // It has had its leap second.
        assert_eq!(leap(status)?, libc::TIME_WAIT);
        leap(0)?;
        check_post_start(container, "TimedOut", Duration::from_secs(LIMIT))?;
    }
    Ok(())
}

/// One suspend for both: this hardware may wake at once when it is suspended again.
fn a_suspend_takes_nothing_of_a_hooks_time_and_of_a_grace_period(node: &Node) -> Outcome {
    let _clock = Clock::take()?;
    let trace = Trace::new(node)?;
    let container = node
        .container("grace")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&json!({"terminationGracePeriodSeconds": LONG_LIMIT}).to_string())
        .start(&words(&stubborn()))?;
    trace.wait("ready")?;
    let (_trace, hooked, starting) = endless_post_start(node, "asleep", LONG_LIMIT)?;
    container.kill("SIGTERM")?;
    trace.wait("got-TERM")?;
    let least = all_of_its_time_after_a_suspend()?;
    has_started(starting)?;
    assert!(since_boot()? >= least);
    assert_eq!(container.wait_exit(SOON)?, 137);
    assert!(since_boot()? >= least);
    check_post_start(hooked, "TimedOut", Duration::from_secs(LONG_LIMIT))?;
    let record = container.wait_end()?;
    let killed = record
        .time("/termination/killedAt")?
        .duration_since(record.time("/termination/requestedAt")?)?;
    assert!(
        killed >= Duration::from_secs(LONG_LIMIT) && killed < AN_HOUR,
        "{record:?}"
    );
    assert_eq!(container.delete()?, 137);
    Ok(())
}

/// Suspends the machine, and gives the time since boot before which nothing is over that has begun just now, with a limit
/// of `LONG_LIMIT`.
fn all_of_its_time_after_a_suspend() -> Result<Duration, Error> {
    let limit = since_boot()? + Duration::from_secs(LONG_LIMIT);
    // The hook has begun some seconds before.
    Ok(limit + suspend()? - Duration::from_secs(8))
}
