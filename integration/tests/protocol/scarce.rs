//! Takes from a shim what the kernel gives it: processes, by a pids cgroup as a neighbour fills it; descriptors, by
//! its limit of them. And system calls, by a filter.

use std::fs::{self, File};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use podhook_integration::wait::{self, SOON};
use podhook_integration::{Outcome, hierarchy};

use crate::stage::{Failure, Stage};

/// Waits until a shim's threads that waited for more work have ended: one that ends later gives back what was counted.
pub fn wait_alone(pid: i32) -> Outcome {
    let tasks = format!("/proc/{pid}/task");
    wait::until_true("the end of the shim's other threads", SOON, || {
        fs::read_dir(&tasks).is_ok_and(|tasks| tasks.count() == 1)
    })?;
    Ok(())
}

/// A pids cgroup of this test's own, gone when dropped.
pub struct Processes(PathBuf);

impl Processes {
    pub fn new(stage: &Stage) -> Result<Self, Failure> {
        let dir = hierarchy::of("pids").join(format!("{}-shims", stage.namespace()));
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }

    /// The same with the shim `pid` in it.
    pub fn around(stage: &Stage, pid: i32) -> Result<Self, Failure> {
        let processes = Self::new(stage)?;
        fs::write(processes.0.join("cgroup.procs"), pid.to_string())?;
        Ok(processes)
    }

    /// The command will run in it.
    pub fn enclose(&self, command: &mut Command) -> Outcome {
        let procs = File::options()
            .write(true)
            .open(self.0.join("cgroup.procs"))?;
        // SAFETY: between fork and exec; a write is async-signal-safe.
        unsafe {
            command.pre_exec(move || (&procs).write_all(b"0"));
        }
        Ok(())
    }

    /// How many processes and threads there are.
    pub fn used(&self) -> Result<u64, Failure> {
        Ok(fs::read_to_string(self.0.join("pids.current"))?
            .trim()
            .parse()?)
    }

    /// Allows so many in all.
    pub fn allow(&self, count: u64) -> Outcome {
        Ok(fs::write(self.0.join("pids.max"), count.to_string())?)
    }

    /// Allows any number.
    pub fn lift(&self) -> Outcome {
        Ok(fs::write(self.0.join("pids.max"), "max")?)
    }

    /// Lets those that are in it go, and removes it.
    pub fn abandon(self) -> Outcome {
        let root = self.0.parent().ok_or("no parent")?.join("cgroup.procs");
        for pid in fs::read_to_string(self.0.join("cgroup.procs"))?.lines() {
            fs::write(&root, pid)?;
        }
        Ok(())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // A shim that is still there is the failure of another check.
        let _ = wait::until_true("the end of the shims' cgroup", SOON, || {
            if fs::remove_dir(&self.0).is_ok() {
                return true;
            }
            let left = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            for pid in left.lines() {
                if let Some(root) = self.0.parent() {
                    let _ = fs::write(root.join("cgroup.procs"), pid);
                }
            }
            false
        });
    }
}

/// The limit of a process's descriptors.
pub struct Descriptors {
    pid: i32,
    given: libc::rlimit64,
}

impl Descriptors {
    pub fn of(pid: i32) -> Result<Self, Failure> {
        let mut given = MaybeUninit::uninit();
        // SAFETY: a valid place to write to.
        let ret = unsafe {
            libc::prlimit64(
                pid,
                libc::RLIMIT_NOFILE,
                std::ptr::null(),
                given.as_mut_ptr(),
            )
        };
        if ret != 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: written by the call.
        let given = unsafe { given.assume_init() };
        Ok(Self { pid, given })
    }

    /// What it was given: soft and hard.
    pub fn given(&self) -> (u64, u64) {
        (self.given.rlim_cur, self.given.rlim_max)
    }

    /// How many it has open.
    pub fn used(&self) -> Result<u64, Failure> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid))?;
        Ok(open.count() as u64)
    }

    fn set(&self, limit: libc::rlimit64) -> Outcome {
        let none = std::ptr::null_mut();
        // SAFETY: a valid limit.
        match unsafe { libc::prlimit64(self.pid, libc::RLIMIT_NOFILE, &limit, none) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error().into()),
        }
    }

    /// Allows numbers below `count`. (The hard limit stays: it could not be raised again.)
    pub fn allow(&self, count: u64) -> Outcome {
        self.set(libc::rlimit64 {
            rlim_cur: count,
            ..self.given
        })
    }

    /// As it was given.
    pub fn lift(&self) -> Outcome {
        self.set(self.given)
    }
}

/// The command gets these limits of a resource.
pub fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, soft: u64, hard: u64) {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: between fork and exec; setrlimit is async-signal-safe.
    unsafe {
        command.pre_exec(move || match libc::setrlimit64(resource, &limit) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// These system calls are refused to the command and to all that it starts.
pub fn without(command: &mut Command, calls: &[libc::c_long], errno: i32) {
    let code = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut filter = vec![code(0x20, 0, 0)];
    for &call in calls {
        filter.push(code(0x15, 1, call as u32));
        filter.push(code(0x06, 0, libc::SECCOMP_RET_ERRNO | errno as u32));
    }
    filter.push(code(0x06, 0, libc::SECCOMP_RET_ALLOW));
    // SAFETY: between fork and exec; what is called is a system call, with a program of that length.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog {
                len: filter.len() as u16,
                filter: filter.as_ptr().cast_mut(),
            };
            let mode = libc::SECCOMP_SET_MODE_FILTER;
            match libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

/// The command has nothing open but its stdio, whatever this process has.
pub fn only_stdio(command: &mut Command) {
    // SAFETY: between fork and exec; the call takes integers only.
    unsafe {
        command.pre_exec(|| {
            let flag = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
            match libc::close_range(io::stderr().as_raw_fd() as libc::c_uint + 1, u32::MAX, flag) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}
