//! What the kernel refuses for want of something, and may give a moment later.

use std::io;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use crate::error::is_exhaustion;

/// How often something is tried in all, and the pause between two tries.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Whether a refusal is of that kind: an interruption, or a want of processes, memory or descriptors.
pub fn is_passing(error: &io::Error) -> bool {
    let passing = |errno| matches!(errno, Errno::EINTR | Errno::EAGAIN | Errno::ENOBUFS);
    let errno = error.raw_os_error().map(Errno::from_raw);
    is_exhaustion(error) || errno.is_some_and(passing)
}

/// Does something that nobody does again if it fails: tried some times, in a process that serves nobody meanwhile.
pub fn insist<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    passes: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error) if passes(&error) => thread::sleep(PAUSE),
            other => return other,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_tried_again() {
        let mut refusals = [Errno::EMFILE, Errno::EINTR].into_iter();
        let attempt = || {
            refusals
                .next()
                .map_or(Ok(()), |errno| Err(io::Error::from(errno)))
        };
        assert!(insist(attempt, is_passing).is_ok());
    }

    #[test]
    fn what_does_not_pass_is_an_error_in_the_end() {
        let mut tries = 0;
        let refused = insist(
            || -> io::Result<()> {
                tries += 1;
                Err(Errno::EAGAIN.into())
            },
            is_passing,
        );
        assert!(refused.is_err());
        assert_eq!(tries, TRIES);
        let mut tries = 0;
        let refused = insist(
            || -> io::Result<()> {
                tries += 1;
                Err(Errno::EROFS.into())
            },
            is_passing,
        );
        assert!(refused.is_err());
        assert_eq!(tries, 1);
    }
}
