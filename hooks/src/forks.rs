//! Forks that are still copies of this process. Until it has executed its program, one has every descriptor that was open
//! when it was made: where somebody asks whether a fifo has a reader, this process's own end counts as long as a copy of it is
//! open.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Numbers in the order of the forks, of those that are copies still.
struct Copies {
    next: u64,
    open: BTreeSet<u64>,
}

static COPIES: Mutex<Copies> = Mutex::new(Copies {
    next: 0,
    open: BTreeSet::new(),
});

fn copies() -> MutexGuard<'static, Copies> {
    COPIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fork from before it is made until its copies of the descriptors are closed: dropped then.
#[derive(Debug)]
pub struct Fork(u64);

impl Fork {
    /// To be called before the fork.
    #[must_use]
    pub fn new() -> Self {
        let mut copies = copies();
        let number = copies.next;
        copies.next = number.wrapping_add(1);
        copies.open.insert(number);
        Self(number)
    }
}

impl Default for Fork {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        copies().open.remove(&self.0);
    }
}

/// All forks that were made before this.
#[derive(Debug, Clone, Copy)]
pub struct Before(u64);

impl Before {
    /// Those that were made before now.
    #[must_use]
    pub fn now() -> Self {
        Self(copies().next)
    }

    /// Whether none of them has a copy any more.
    #[must_use]
    pub fn are_over(self) -> bool {
        copies().open.first().is_none_or(|oldest| *oldest >= self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests of this process fork, too: what is not over may be theirs.
    fn are_soon_over(before: Before) -> bool {
        (0..6000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            before.are_over()
        })
    }

    #[test]
    fn a_fork_counts_for_what_comes_after_it_until_it_is_dropped() {
        let before = Before::now();
        let fork = Fork::new();
        let after = Before::now();
        assert!(are_soon_over(before));
        assert!(!after.are_over());
        drop(fork);
        assert!(are_soon_over(after));
    }
}
