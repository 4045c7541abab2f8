//! Every order of what the threads do and of what the shim's own does: the one place where threads of the shim meet.
//!
//! All that they share is behind one lock, so a step is what happens under it, or a call of the condition variable. Time
//! is a step that can come wherever a thread waits. A state that was met before is not gone through again.

use std::collections::HashSet;

use super::*;

const JOBS: u8 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Thread {
    /// It is about to take the lock and look for work.
    Looks,
    Works(u8),
    Waits,
    /// Out of the wait, and not yet in the lock.
    Woken {
        timed_out: bool,
    },
}

/// How far the shim's own thread is with the job that is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Own {
    Submits,
    Notifies,
    StartsThread,
    /// The kernel has given none.
    TakesBack,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Life {
    jobs: VecDeque<u8>,
    idle: usize,
    threads: Vec<Thread>,
    own: Own,
    submitted: u8,
    done: Vec<u8>,
}

impl Life {
    fn new() -> Self {
        Self {
            jobs: VecDeque::new(),
            idle: 0,
            threads: Vec::new(),
            own: Own::Submits,
            submitted: 0,
            done: Vec::new(),
        }
    }

    /// What the lock is held for.
    fn locked<T>(&mut self, step: impl FnOnce(&mut Queue<u8>) -> T) -> T {
        let mut queue = Queue {
            jobs: std::mem::take(&mut self.jobs),
            idle: self.idle,
        };
        let result = step(&mut queue);
        Queue {
            jobs: self.jobs,
            idle: self.idle,
        } = queue;
        result
    }

    fn count(&self, which: impl Fn(Thread) -> bool) -> usize {
        self.threads.iter().filter(|thread| which(**thread)).count()
    }

    /// Every life that can follow by one step.
    fn next(&self) -> Vec<Self> {
        let mut next = self.own_steps();
        for at in 0..self.threads.len() {
            next.extend(self.steps_of(at));
        }
        for life in &mut next {
            // Threads are alike, and so are the orders of what is done.
            life.threads.sort_unstable();
            life.done.sort_unstable();
        }
        next
    }

    fn own_steps(&self) -> Vec<Self> {
        let step = |own: Own| Self {
            own,
            ..self.clone()
        };
        match self.own {
            Own::Submits if self.submitted == JOBS => Vec::new(),
            Own::Submits => {
                let mut life = self.clone();
                let job = life.submitted;
                life.submitted += 1;
                life.own = match life.locked(|queue| queue.push(job)) {
                    true => Own::Notifies,
                    false => Own::StartsThread,
                };
                vec![life]
            }
            Own::Notifies => {
                let waits = |at: &usize| self.threads[*at] == Thread::Waits;
                let woken = |at: usize| {
                    let mut life = step(Own::Submits);
                    life.threads[at] = Thread::Woken { timed_out: false };
                    life
                };
                let mut all: Vec<_> = (0..self.threads.len()).filter(waits).map(woken).collect();
                if all.is_empty() {
                    all.push(step(Own::Submits));
                }
                all
            }
            Own::StartsThread => {
                let mut started = step(Own::Submits);
                started.threads.push(Thread::Looks);
                vec![started, step(Own::TakesBack)]
            }
            Own::TakesBack => {
                let mut life = step(Own::Submits);
                let job = life.locked(|queue| queue.jobs.pop_back());
                life.done.extend(job);
                vec![life]
            }
        }
    }

    fn steps_of(&self, at: usize) -> Vec<Self> {
        let becomes = |thread| {
            let mut life = self.clone();
            life.threads[at] = thread;
            life
        };
        match self.threads[at] {
            Thread::Looks => {
                let mut life = self.clone();
                let job = life.locked(Queue::next);
                life.threads[at] = job.map_or(Thread::Waits, Thread::Works);
                vec![life]
            }
            Thread::Works(job) => {
                let mut life = becomes(Thread::Looks);
                life.done.push(job);
                vec![life]
            }
            // A condition variable may also wake for nothing.
            Thread::Waits => [true, false]
                .map(|timed_out| becomes(Thread::Woken { timed_out }))
                .into(),
            Thread::Woken { timed_out } => {
                let mut life = becomes(Thread::Looks);
                if !life.locked(|queue| queue.woken(timed_out)) {
                    life.threads.remove(at);
                }
                vec![life]
            }
        }
    }

    fn check(&self) {
        let waits = |thread| matches!(thread, Thread::Waits | Thread::Woken { .. });
        assert_eq!(self.idle, self.count(waits), "{self:?}");
        let is_once = self.done.windows(2).all(|two| two[0] != two[1]);
        assert!(is_once, "done twice: {self:?}");
        // Whoever works may do so for ever, and whoever waits may sleep on: the others are enough for what is left.
        let comes = |thread| matches!(thread, Thread::Looks | Thread::Woken { .. });
        let at_rest = self.own == Own::Submits;
        assert!(
            !at_rest || self.jobs.len() <= self.count(comes),
            "nobody comes for it: {self:?}"
        );
        if at_rest && self.threads.is_empty() {
            assert_eq!(self.done.len(), usize::from(self.submitted), "{self:?}");
        }
    }
}

#[test]
fn in_every_order_each_work_is_done_once_and_waits_for_no_other() {
    let mut known = HashSet::from([Life::new()]);
    let mut open = vec![Life::new()];
    let mut ended = 0;
    while let Some(life) = open.pop() {
        life.check();
        let next = life.next();
        ended += usize::from(next.is_empty());
        for life in next {
            if known.insert(life.clone()) {
                open.push(life);
            }
        }
    }
    // All is done, and no thread is left.
    assert_eq!(ended, 1);
    assert!(known.len() > 1000, "{}", known.len());
}
