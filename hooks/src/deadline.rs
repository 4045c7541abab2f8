//! Deadlines: a limit may come from outside and be as long as a number can tell, and a timer may be late.
//!
//! After a stop (SIGSTOP, a frozen cgroup, a machine that slept or had no time) all that has happened meanwhile comes at
//! once: timers, the ends of processes, answers. What an end has to pass through before it reaches who waits takes some
//! turns of the event loop, a timer none. So that what came in time does not count as too late, a deadline is over only
//! when what was there has been dealt with.

use std::time::{Duration, Instant};

/// The turns that news may need: from SIGCHLD to who waits for the process they are four.
const TURNS: usize = 16;

/// What stands for "never": longer than any node lives.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The end of a limit that begins at `from`. One that no clock can tell is far away.
#[must_use]
pub fn after(from: Instant, limit: Duration) -> Instant {
    let at = from.checked_add(limit).or_else(|| from.checked_add(FAR));
    at.unwrap_or(from)
}

/// Ends when `at` is over, and all that was there by then has had its effect.
pub async fn over(at: tokio::time::Instant) {
    tokio::time::sleep_until(at).await;
    for _ in 0..TURNS {
        // Every other task, then what the kernel has to tell.
        tokio::task::yield_now().await;
    }
}

/// The end of a limit that begins now, on the clock of timers.
#[must_use]
pub fn from_now(limit: Duration) -> tokio::time::Instant {
    after(tokio::time::Instant::now().into_std(), limit).into()
}

/// What `work` came to within `limit`; none where it did not end in time.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = over(from_now(limit)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use tokio::io::AsyncReadExt;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_limit_ends_where_it_says() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::ZERO), now);
        let second = Duration::from_secs(1);
        assert_eq!(after(now, second).duration_since(now), second);
    }

    #[test]
    fn the_longest_limit_is_far_away_and_no_panic() {
        let now = Instant::now();
        assert!(after(now, Duration::MAX).duration_since(now) >= FAR);
    }

    /// News that go from task to task, `hops` times, once there is something to read.
    fn news(socket: UnixStream, hops: usize) -> oneshot::Receiver<()> {
        socket.set_nonblocking(true).unwrap();
        let mut socket = tokio::net::UnixStream::from_std(socket).unwrap();
        let (sender, mut receiver) = oneshot::channel();
        tokio::spawn(async move {
            if socket.read_u8().await.is_ok() {
                let _ = sender.send(());
            }
        });
        for _ in 0..hops {
            let (sender, next) = oneshot::channel();
            let former = std::mem::replace(&mut receiver, next);
            tokio::spawn(async move {
                if former.await.is_ok() {
                    let _ = sender.send(());
                }
            });
        }
        receiver
    }

    /// As after SIGCONT: the deadline is long over, and what came before it has not been looked at.
    #[tokio::test(flavor = "current_thread")]
    async fn what_was_there_is_in_time_however_late_the_timer_is() {
        let limit = Duration::from_millis(20);
        for hops in [0, 1, 4, 8] {
            let (mut peer, socket) = UnixStream::pair().unwrap();
            let told = news(socket, hops);
            let waits = tokio::spawn(within(limit, told));
            tokio::task::yield_now().await;
            std::io::Write::write_all(&mut peer, b".").unwrap();
            std::thread::sleep(limit * 3);
            assert_eq!(waits.await.unwrap(), Some(Ok(())), "{hops}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_does_not_come_is_waited_for_until_the_deadline() {
        let began = Instant::now();
        let limit = Duration::from_millis(20);
        assert_eq!(within(limit, std::future::pending::<()>()).await, None);
        assert!(began.elapsed() >= limit);
        assert_eq!(within(Duration::MAX, async { 7 }).await, Some(7));
    }
}
