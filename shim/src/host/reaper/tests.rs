//! Every order of what the tasks that make processes do, what these processes do, and the reaping between.
//!
//! The shim has one thread that takes part, so a step is what happens between two awaits, and steps do not overlap: to
//! live all orders of them is to live all that can happen. The kernel is a model: a pid is free again once it is reaped.

use std::collections::BTreeMap;

use super::*;

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The task of a process goes on: it holds, makes the process, waits for it and lets go.
    Task(usize),
    /// The same, but it gives up: it lets go and has not waited.
    GivesUp(usize),
    Exits(usize),
    Reaps,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Begin,
    Holds,
    Made,
    Waits,
    End,
}

struct Life {
    state: State,
    tasks: Vec<Task>,
    /// Children that are not reaped, and whether they have ended.
    children: BTreeMap<pid_t, (usize, bool)>,
}

struct Task {
    at: At,
    pid: pid_t,
    exited: bool,
    receiver: Option<oneshot::Receiver<Exit>>,
}

fn exit(task: usize) -> Exit {
    Exit {
        raw_status: i32::try_from(task).unwrap() << 8,
        at: Moment::now(),
        cpu_user: Duration::ZERO,
        cpu_system: Duration::ZERO,
        max_rss: 0,
    }
}

impl Life {
    fn new(tasks: usize) -> Self {
        let task = |_| Task {
            at: At::Begin,
            pid: 0,
            exited: false,
            receiver: None,
        };
        Self {
            state: State::default(),
            tasks: (0..tasks).map(task).collect(),
            children: BTreeMap::new(),
        }
    }

    fn next(&self) -> Vec<Step> {
        let mut next = Vec::new();
        for (number, task) in self.tasks.iter().enumerate() {
            if task.at < At::End {
                next.push(Step::Task(number));
            }
            if task.at == At::Made {
                next.push(Step::GivesUp(number));
            }
            if task.at >= At::Made && !task.exited {
                next.push(Step::Exits(number));
            }
        }
        if self.children.values().any(|(_, ended)| *ended) {
            next.push(Step::Reaps);
        }
        next
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Task(number) => self.go_on(number),
            Step::GivesUp(number) => {
                self.state.let_go();
                self.tasks[number].at = At::End;
            }
            Step::Exits(number) => {
                let task = &mut self.tasks[number];
                task.exited = true;
                self.children.insert(task.pid, (number, true));
            }
            Step::Reaps => {
                let ended = |_: &pid_t, (_, ended): &mut (usize, bool)| *ended;
                for (pid, (number, _)) in self.children.extract_if(.., ended) {
                    self.state.reaped(pid, exit(number));
                }
            }
        }
    }

    fn go_on(&mut self, number: usize) {
        let task = &self.tasks[number];
        let pid = task.pid;
        let at = match task.at {
            At::Begin => {
                self.state.hold();
                At::Holds
            }
            At::Holds => {
                let pid = self.free_pid();
                self.children.insert(pid, (number, false));
                self.tasks[number].pid = pid;
                At::Made
            }
            At::Made => {
                let children = &self.children;
                let receiver = self.state.wait(pid, |pid| children.contains_key(&pid));
                self.tasks[number].receiver = Some(receiver);
                At::Waits
            }
            At::Waits | At::End => {
                self.state.let_go();
                At::End
            }
        };
        self.tasks[number].at = at;
    }

    /// The lowest one, as where the pids have come round: not one that a task has yet to wait for.
    fn free_pid(&self) -> pid_t {
        let awaited = |pid: &pid_t| {
            let mut tasks = self.tasks.iter();
            tasks.any(|task| task.at == At::Made && task.pid == *pid)
        };
        let mut pids = 7..;
        pids.find(|pid| !self.children.contains_key(pid) && !awaited(pid))
            .unwrap()
    }

    /// Every process has ended: who has waited knows how, and it was that one's own.
    fn check(&mut self, steps: &[Step]) {
        for (number, task) in self.tasks.iter_mut().enumerate() {
            let told = task.receiver.as_mut().map(|receiver| receiver.try_recv());
            let told = told.map(|told| told.map(|exit| exit.raw_status));
            let own = exit(number).raw_status;
            assert!(
                told.is_none() || told == Some(Ok(own)),
                "{told:?}: {steps:?}"
            );
        }
        let State {
            waiting,
            kept,
            holds,
        } = &self.state;
        let left = (waiting.len(), kept.len(), *holds);
        assert_eq!(left, (0, 0, 0), "{steps:?}");
    }
}

/// Lives every life that begins with `steps`; how many there are.
fn explore(tasks: usize, steps: &mut Vec<Step>) -> usize {
    let mut life = Life::new(tasks);
    for step in steps.iter() {
        life.step(*step);
    }
    let next = life.next();
    if next.is_empty() {
        life.check(steps);
        return 1;
    }
    let mut lives = 0;
    for step in next {
        steps.push(step);
        lives += explore(tasks, steps);
        steps.pop();
    }
    lives
}

#[test]
fn in_every_order_each_task_is_told_of_its_own_process_and_nothing_is_kept() {
    assert!(explore(1, &mut Vec::new()) > 5);
    assert!(explore(2, &mut Vec::new()) > 1000);
}
