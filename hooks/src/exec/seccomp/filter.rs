//! A compiled profile, and what it lets the engine do under it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::bpf;
use crate::exec::plan::report::{GO, REPORT};
use crate::exec::plan::{CLONE_FLAGS, rights, sys};

/// A compiled profile.
#[derive(Clone)]
pub(in crate::exec) struct Filter {
    pub flags: libc::c_ulong,
    pub program: Vec<libc::sock_filter>,
    /// It lets the joiner go on to make the command, and that on its way to execve.
    pub lets_fork: bool,
    /// It lets the joiner tell of the command, and that wait.
    pub lets_wait: bool,
}

impl Filter {
    pub fn new(flags: libc::c_ulong, program: Vec<libc::sock_filter>) -> Self {
        let calls: [(_, &[u64]); 8] = [
            (libc::SYS_madvise, &[]),
            (libc::SYS_munmap, &[]),
            (libc::SYS_clone, &[CLONE_FLAGS as u64]),
            (libc::SYS_close, &[REPORT as u64]),
            (libc::SYS_exit_group, &[]),
            (libc::SYS_setsid, &[]),
            (libc::SYS_ioctl, &[0, sys::TAKE_TERMINAL]),
            (libc::SYS_chdir, &[]),
        ];
        let waiting: [(_, &[u64]); 2] = [
            (libc::SYS_write, &[REPORT as u64]),
            (libc::SYS_read, &[GO as u64]),
        ];
        let allows = |&(number, arguments)| bpf::allows(&program, number, arguments);
        Self {
            flags,
            lets_fork: calls.iter().all(allows),
            lets_wait: waiting.iter().all(allows),
            program,
        }
    }

    /// As the plan takes it.
    pub fn plan(&self) -> rights::Filter<'_> {
        rights::Filter {
            flags: self.flags,
            program: &self.program,
        }
    }

    /// One for all that are the same: so are, as a rule, those of a pod's containers.
    pub fn shared(self) -> Arc<Self> {
        static ALL: Mutex<Vec<Weak<Filter>>> = Mutex::new(Vec::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|filter| filter.strong_count() > 0);
        if let Some(same) = all
            .iter()
            .filter_map(Weak::upgrade)
            .find(|filter| filter.is(&self))
        {
            return same;
        }
        let filter = Arc::new(self);
        all.push(Arc::downgrade(&filter));
        filter
    }

    fn is(&self, other: &Self) -> bool {
        let words = |i: &libc::sock_filter| (i.code, i.jt, i.jf, i.k);
        self.flags == other.flags
            && self
                .program
                .iter()
                .map(words)
                .eq(other.program.iter().map(words))
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("flags", &self.flags)
            .field("instructions", &self.program.len())
            .finish()
    }
}
