//! Work that may wait for a disk, in a thread of its own: the shim has one thread for everything else.
//!
//! A thread is what the kernel refuses first when a neighbour fills the node with processes, and tokio's own threads
//! panic then. Here the calling thread does the work itself. That holds up everything else, which is better than a
//! file system that stays mounted or output that is lost.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use tokio::sync::oneshot;

use super::memory;

/// How long a thread without work stays: one that writes a busy log is not made anew for each line.
const IDLE: Duration = Duration::from_millis(100);
/// Enough for what is done here: system calls on a few paths.
const STACK: usize = 256 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// The work has panicked.
#[derive(Debug, thiserror::Error)]
#[error("the thread ended early")]
pub struct Ended;

/// Starts `work` at once; the future has its result. Dropping that stops nothing.
pub fn start<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Ended>> + Send + 'static {
    static POOL: Pool = Pool::new();
    let (answer, answered) = oneshot::channel();
    let job = Box::new(move || {
        // Who asked may have given up.
        let _ = answer.send(work());
    });
    POOL.submit(job, || POOL.new_thread());
    async move { answered.await.map_err(|_| Ended) }
}

/// Threads, and what they are to do.
struct Pool {
    queue: Mutex<Queue<Job>>,
    more: Condvar,
}

/// What is decided under the lock.
struct Queue<J> {
    jobs: VecDeque<J>,
    /// Threads that wait for one.
    idle: usize,
}

impl<J> Queue<J> {
    /// Whether a thread that waits is there for it.
    fn push(&mut self, job: J) -> bool {
        let served = self.idle > self.jobs.len();
        self.jobs.push_back(job);
        served
    }

    /// What a thread does next; without any it waits, and is counted.
    fn next(&mut self) -> Option<J> {
        let job = self.jobs.pop_front();
        if job.is_none() {
            self.idle = self.idle.saturating_add(1);
        }
        job
    }

    /// A thread has waited: whether it goes on.
    fn woken(&mut self, timed_out: bool) -> bool {
        self.idle = self.idle.saturating_sub(1);
        !timed_out || !self.jobs.is_empty()
    }
}

impl Pool {
    const fn new() -> Self {
        Self {
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                idle: 0,
            }),
            more: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<Job>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, job: Job, new_thread: impl FnOnce() -> io::Result<()>) {
        let served = self.lock().push(job);
        if served {
            self.more.notify_one();
        } else if let Err(e) = new_thread() {
            log::warn!("no thread, the work is done without: {e}");
            // A thread that has just become free may have taken it.
            let job = self.lock().jobs.pop_back();
            if let Some(job) = job {
                job();
            }
        }
    }

    fn new_thread(&'static self) -> io::Result<()> {
        thread::Builder::new()
            .name("apart".to_owned())
            .stack_size(STACK)
            .spawn(|| self.serve())
            .map(drop)
    }

    /// A thread's life.
    fn serve(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.next() {
                drop(queue);
                job();
                queue = self.lock();
                continue;
            }
            let waited = self.more.wait_timeout(queue, IDLE);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if !queue.woken(timeout.timed_out()) {
                drop(queue);
                return memory::leave_stack(STACK / 2);
            }
        }
    }
}

#[cfg(test)]
mod orders;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn work_that_waits_holds_up_nobody() {
        let (go, wait) = mpsc::channel::<()>();
        let stuck = start(move || wait.recv());
        for n in 0..20 {
            assert_eq!(start(move || n).await.unwrap(), n);
        }
        go.send(()).unwrap();
        assert!(stuck.await.unwrap().is_ok());
    }

    #[test]
    fn it_runs_elsewhere_but_here_where_the_kernel_gives_no_thread() {
        static POOL: Pool = Pool::new();
        let here = thread::current().id();
        let (answer, answered) = mpsc::channel();
        let job = || -> Job {
            let answer = answer.clone();
            Box::new(move || answer.send(thread::current().id()).unwrap())
        };
        POOL.submit(job(), || Err(io::Error::from_raw_os_error(libc::EAGAIN)));
        assert_eq!(answered.recv().unwrap(), here);
        POOL.submit(job(), || POOL.new_thread());
        assert_ne!(answered.recv().unwrap(), here);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_panic_is_an_error_and_the_next_work_is_done() {
        let panicked: Result<(), Ended> = start(|| panic!("on purpose")).await;
        assert!(panicked.is_err());
        assert_eq!(start(|| 7).await.unwrap(), 7);
    }
}
