//! From a plan to a forked joiner and what the parent keeps of it.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::build::{Attempt, Build};
use super::children::{Children, Exit};
use super::host::above;
use super::places::{Counted, Move};
use crate::exec::plan::report::{Failure, Step};
use crate::exec::plan::{STACK, Shared, sys};
use crate::exec::{Error, child};
use crate::forks::Fork;
use crate::linux::{pidfd, watch};

/// A launched joiner.
pub(crate) struct Launched {
    pub exit: oneshot::Receiver<Exit>,
    open: Option<Open>,
    page: Page,
    /// It was born beside the tree's leaf, which took no process.
    pub leaf_refused: bool,
    /// What the command waits for, and where it is to be moved first.
    pub go: Option<(OwnedFd, Vec<Move>)>,
    /// Joiner and command are copies of this process, until the command has executed its program.
    _fork: Fork,
}

/// What is heard of the joiner and the command.
pub(crate) enum News {
    /// The command's process is there, and waits for its move.
    Made(libc::pid_t),
    /// A step has failed; that one is over.
    Failed(Failure),
    /// No more is to be heard: the command runs, or all has failed.
    Over,
}

/// The operation of the error where the kernel makes no joiner.
pub(crate) const CLONE: &str = "making a process";

/// The parent's descriptors of a joiner.
struct Open {
    /// For the signal that stops it.
    pidfd: OwnedFd,
    report: pipe::Receiver,
}

/// libc's constant does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks the joiner. `children` holds exits meanwhile.
pub(crate) fn launch(build: &mut Build<'_>, children: &dyn Children) -> Result<Launched, Error> {
    let page = Page::new()?;
    let (read, write) = pipe()?;
    let write = above(write)?;
    let read = watch::receiver(read).map_err(|source| Error::System {
        operation: "watch report pipe",
        source,
    })?;
    let (wait, go) = match build.counted {
        Counted::Both => (None, None),
        Counted::Command => {
            let (wait, go) = pipe()?;
            (
                Some(above(wait)?),
                Some((go, std::mem::take(&mut build.places.moves))),
            )
        }
    };
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain data, all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args.stack = build.packed.joiner_stack.saturating_sub(STACK) as u64;
    args.stack_size = STACK as u64;
    let attempt = Attempt {
        report: write.as_raw_fd(),
        go: wait.as_ref().map(AsRawFd::as_raw_fd),
        shared: page.0,
    };
    let foreign = build.foreign(page.0)?;
    let mut plan = build.plan(&attempt, foreign);
    let start = (&raw mut plan).cast::<c_void>();
    let fork = Fork::new();
    let (into, leaf_first) = (&build.places.into, build.places.leaf_first);
    // A handler of this process must not run in the child: it would write into our own wake-up pipe.
    let mask = sys::set_signal_mask(u64::MAX).map_err(os_error("sigprocmask"))?;
    let mut place = 0;
    let forked = loop {
        if let Some(&cgroup) = into.get(place) {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = cgroup as u64;
        }
        // SAFETY: without CLONE_VM the child has its own copy of all memory, the plan among it; it
        // goes straight into `run`, which keeps to what is safe after fork.
        let forked = unsafe { sys::clone3(&args, child::run, start) };
        if forked.is_ok() || place.saturating_add(1) >= into.len() {
            break forked;
        }
        place = place.saturating_add(1);
    };
    let _ = sys::set_signal_mask(mask);
    let pid = forked.map_err(os_error(CLONE))?;
    Ok(Launched {
        open: Some(Open {
            // SAFETY: the kernel stored a new descriptor that nothing else owns.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
            report: read,
        }),
        exit: children.wait(pid),
        page,
        leaf_refused: leaf_first && place != 0,
        go,
        _fork: fork,
    })
}

impl Launched {
    /// The command's pid, once there is one.
    pub fn command(&self) -> Option<libc::pid_t> {
        // SAFETY: the page is mapped as long as `self` lives, atomics may be written by others.
        match unsafe { self.page.0.as_ref() }.pid.load(Ordering::Acquire) {
            0 => None,
            pid => Some(pid),
        }
    }

    /// Whether the command is beside the tree's leaf, which did not take it.
    pub fn is_beside_leaf(&self) -> bool {
        // SAFETY: as above.
        self.leaf_refused
            || unsafe { self.page.0.as_ref() }
                .leaf_refused
                .load(Ordering::Acquire)
                != 0
    }

    /// Kills it, if it has not ended.
    pub fn kill(&self) {
        if let Some(open) = &self.open {
            let _ = pidfd::send_signal(open.pidfd.as_fd(), libc::SIGKILL);
        }
    }

    /// Closes its descriptors: their numbers are free for those of the command.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// The next that is heard through the report pipe.
    pub async fn news(&self) -> News {
        let Some(Open { report, .. }) = &self.open else {
            return News::Over;
        };
        let mut bytes = [0u8; Failure::SIZE];
        loop {
            if report.readable().await.is_err() {
                return News::Over;
            }
            return match report.try_read(&mut bytes) {
                Ok(Failure::SIZE) => match Failure::from_bytes(&bytes) {
                    Some(made) if made.step == Step::Made => News::Made(made.errno),
                    Some(failure) => News::Failed(failure),
                    None => continue,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                _ => News::Over,
            };
        }
    }
}

/// One page shared with the joiner and the command. Processes of the container may write to it: its content is checked
/// before it is believed.
struct Page(NonNull<Shared>);

// SAFETY: the page holds atomics only.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    fn new() -> Result<Self, Error> {
        // SAFETY: a new anonymous mapping; the kernel fills it with zeroes, a valid `Shared`.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Shared>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(Error::system("mmap"));
        }
        NonNull::new(page.cast())
            .map(Self)
            .ok_or_else(|| Error::system("mmap"))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this size, and no reference is left.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Shared>()) };
    }
}

/// A pipe: reading end, writing end.
fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    let mut fds = [-1; 2];
    // SAFETY: `fds` has room for two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(Error::system("pipe2"));
    }
    // SAFETY: two new descriptors that nothing else owns.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

fn os_error(operation: &'static str) -> impl Fn(i32) -> Error {
    move |errno| Error::System {
        operation,
        source: io::Error::from_raw_os_error(errno),
    }
}
