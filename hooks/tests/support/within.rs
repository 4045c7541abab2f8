//! A test that runs once more, in a process that inherits what the test says and not what the suite was started with.

use std::io;
use std::mem::size_of_val;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::{c_int, c_long, c_ulong};

/// Set in that process.
const INSIDE: &str = "PODHOOK_TEST_WITHIN";

/// What a process inherits, all that fork and execve pass on and a daemon can be started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inherited {
    /// What a service manager gives.
    Default,
    /// Nothing of that: see [`off_default`].
    OffDefault,
}

/// True where the test shall run; else it has run, so. With `cgroup_v2` in a mount namespace in which cgroup v2 is
/// the only hierarchy.
pub fn within(test: &str, inherited: Inherited, cgroup_v2: bool) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let own = std::env::current_exe().unwrap();
    let mut command = match cgroup_v2 {
        true => {
            // In the machines it is mounted there.
            let script = "grep -q ' /sys/fs/cgroup cgroup2 ' /proc/mounts \
                || mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit; exec \"$0\" \"$@\"";
            let mut command = Command::new("unshare");
            command
                .args(["--mount", "--propagation", "private", "sh", "-c", script])
                .arg(own);
            command
        }
        false => Command::new(own),
    };
    command
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    // SAFETY: between fork and execve; only system calls.
    unsafe {
        command.pre_exec(move || {
            default()?;
            match inherited {
                Inherited::Default => Ok(()),
                Inherited::OffDefault => off_default(),
            }
        });
    }
    let ran = super::run(&mut command);
    assert!(ran.exit.code() == Some(0), "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("1 passed"), "{}", ran.stdout);
    false
}

/// Passes this thread's signal mask on to `command`, as the shim does: the standard library empties it.
pub fn pass_on_signal_mask(command: &mut Command) {
    let mut mask = 0u64;
    signal_mask(libc::SIG_BLOCK, None, Some(&mut mask)).unwrap();
    // SAFETY: between fork and execve; a system call.
    unsafe { command.pre_exec(move || signal_mask(libc::SIG_SETMASK, Some(&mask), None)) };
}

fn check(ret: c_long) -> io::Result<()> {
    match ret {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn signal_mask(how: c_int, set: Option<&u64>, old: Option<&mut u64>) -> io::Result<()> {
    let set = set.map_or(std::ptr::null(), std::ptr::from_ref);
    let old = old.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the kernel reads and writes 8 bytes, where it is given a place.
    check(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set, old, 8) })
}

/// The kernel's own call: the C library keeps 32 and 33 to itself.
fn every_signal(action: u64) -> io::Result<()> {
    for signal in 1..=64 {
        // Who runs a test must wait for its children.
        if [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(&signal) {
            continue;
        }
        let action = [action, 0, 0, 0];
        let none = std::ptr::null_mut::<u64>();
        // SAFETY: the kernel reads its structure, of four words at most, and nothing is written.
        check(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), none, 8) })?;
    }
    Ok(())
}

fn set_affinity(cpus: u64) -> io::Result<()> {
    let mut mask = [0u64; 128];
    mask[0] = cpus;
    if cpus == u64::MAX {
        mask = [u64::MAX; 128];
    }
    // SAFETY: the kernel reads as many bytes as it is told.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            size_of_val(&mask),
            mask.as_ptr(),
        )
    })
}

fn set_scheduler(policy: c_int, nice: i32) -> io::Result<()> {
    // SAFETY: plain data, all zeroes is a valid value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of_val(&attributes) as u32;
    attributes.sched_policy = policy as u32;
    attributes.sched_nice = nice;
    // SAFETY: the structure has its size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

fn set_io_priority(value: c_int) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, value) })
}

fn set_memory_policy(mode: c_int, nodes: c_ulong) -> io::Result<()> {
    let nodes = [nodes; 1];
    // SAFETY: the kernel reads one word.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.as_ptr(), 64) })
}

fn prctl(option: c_int, second: c_ulong, third: c_ulong) -> io::Result<()> {
    // SAFETY: no option used here takes a pointer.
    check(unsafe { libc::prctl(option, second, third, 0, 0) }.into())
}

fn write(path: &std::ffi::CStr, text: &[u8]) -> io::Result<()> {
    // SAFETY: a path that ends in NUL, as many bytes as there are, a descriptor of this function's own.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(fd.into())?;
        let written = libc::write(fd, text.as_ptr().cast(), text.len());
        libc::close(fd);
        check(written as c_long)
    }
}

/// prctl(PR_SET_MEMORY_MERGE), which libc does not know.
const MEMORY_MERGE: c_int = 67;

/// As systemd starts a service; what may not be lowered stays.
fn default() -> io::Result<()> {
    every_signal(0)?;
    signal_mask(libc::SIG_SETMASK, Some(&0), None)?;
    // SAFETY: no pointers.
    unsafe {
        libc::umask(0o022);
        libc::personality(0);
    }
    set_affinity(u64::MAX)?;
    let _ = set_scheduler(libc::SCHED_OTHER, 0);
    let _ = set_io_priority(0);
    let _ = set_memory_policy(0, 0);
    prctl(libc::PR_SET_TIMERSLACK, 50_000, 0)?;
    prctl(libc::PR_SET_THP_DISABLE, 0, 0)?;
    let _ = prctl(libc::PR_SET_SECUREBITS, 0, 0);
    let _ = prctl(MEMORY_MERGE, 0, 0);
    write(c"/proc/self/coredump_filter", b"0x33")
}

/// What it all differs in, as the probe prints it. (Also different, and printed by no single key: the limits.)
pub const OFF_DEFAULT: &[(&str, &str)] = &[
    ("nice", "5"),
    ("ioprio", "0x4006"),
    ("sched/policy", "0x3"),
    ("timerslack_ns/0", "123456"),
    ("coredump_filter/0", "00000013"),
    ("personality", "0x40000"),
    ("oom_score_adj/0", "123"),
    ("prctl/thp_disable", "0x1"),
    ("prctl/securebits", "0x4"),
    ("prctl/mce_kill", "0x1"),
    ("prctl/no_new_privs", "0x1"),
    ("mempolicy/mode", "3 1"),
];

/// One CPU, a tight umask, a batch scheduler, and so on: as `CPUAffinity=`, `UMask=`, `CPUSchedulingPolicy=`, `Nice=`,
/// `IOSchedulingPriority=`, `TimerSlackNSec=`, `OOMScoreAdjust=`, `CoredumpFilter=`, `Limit…=`, `NUMAPolicy=`,
/// `SecureBits=`, `AmbientCapabilities=`, `NoNewPrivileges=`, `KeyringMode=`, `Personality=` and `MemoryKSM=` of a
/// unit do it, and `nohup` and a shell.
fn off_default() -> io::Result<()> {
    set_affinity(1)?;
    // SAFETY: no pointers. ADDR_NO_RANDOMIZE.
    unsafe {
        libc::umask(0o037);
        libc::personality(0x4_0000);
    }
    set_scheduler(libc::SCHED_BATCH, 5)?;
    set_io_priority(2 << 13 | 6)?;
    prctl(libc::PR_SET_TIMERSLACK, 123_456, 0)?;
    prctl(libc::PR_SET_THP_DISABLE, 1, 0)?;
    prctl(libc::PR_MCE_KILL, 1, 1)?;
    write(c"/proc/self/oom_score_adj", b"123")?;
    write(c"/proc/self/coredump_filter", b"0x13")?;
    limits()?;
    capabilities()?;
    // SECBIT_NO_SETUID_FIXUP.
    prctl(libc::PR_SET_SECUREBITS, 4, 0)?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    // Linux 6.4.
    let _ = prctl(MEMORY_MERGE, 1, 0);
    // Interleaved over node 0; not on a kernel without NUMA.
    set_memory_policy(3, 1)?;
    // SAFETY: a name that ends in NUL. A new session keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, 1, c"podhook-test".as_ptr()) })?;
    every_signal(1)?;
    signal_mask(libc::SIG_SETMASK, Some(&!(1 << (libc::SIGCHLD - 1))), None)
}

/// Each lower than it is, the soft one below the hard one.
fn limits() -> io::Result<()> {
    for resource in 0..16 {
        let mut limit = libc::rlimit64 {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a valid place to write to.
        check(unsafe { libc::getrlimit64(resource, &mut limit) }.into())?;
        // RLIMIT_NICE and RLIMIT_RTPRIO are 0.
        if limit.rlim_max < 100 {
            continue;
        }
        limit.rlim_max = limit.rlim_max.min(1 << 40) - 1;
        limit.rlim_cur = limit.rlim_cur.min(limit.rlim_max - 1);
        // SAFETY: a valid limit.
        check(unsafe { libc::setrlimit64(resource, &limit) }.into())?;
    }
    Ok(())
}

/// CAP_KILL ambient, CAP_SYS_BOOT out of the bounding set.
fn capabilities() -> io::Result<()> {
    let header = [0x2008_0522u32, 0];
    let mut data = [0u32; 6];
    // SAFETY: the kernel's structures of version 3, of this thread.
    unsafe {
        check(libc::syscall(
            libc::SYS_capget,
            header.as_ptr(),
            data.as_mut_ptr(),
        ))?;
        data[2] |= 1 << 5;
        check(libc::syscall(
            libc::SYS_capset,
            header.as_ptr(),
            data.as_ptr(),
        ))?;
    }
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE as c_ulong,
        5,
    )?;
    prctl(libc::PR_CAPBSET_DROP, 22, 0)
}
