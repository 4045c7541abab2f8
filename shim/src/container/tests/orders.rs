//! Every order of up to six RPCs and events ends in a state that the events told truly.
//!
//! A life is a string of steps. Each is lived from its beginning, since a container on tokio cannot be copied. What is
//! left out:
//!
//! - Of the lives that have come to the same state (what State, the record, the events, the hooks that run, the
//!   processes and the freezer say) one goes on, and to its end: the shortest. So none goes on from a step that was
//!   refused, or that has changed nothing else: the life without it does. Every step of every life is checked.
//! - Steps that could do nothing: the end of what does not run, and Start, Pause, Resume and Exec where `state.rs` says
//!   no, which has a test of its own. Kill and Delete are tried everywhere.
//! - Times are of two kinds: a moment after every step, and one step that lets two minutes pass, more than any limit.

use std::collections::HashSet;

use containerd_shim_protos::api::Status;

use super::world::*;

const LENGTH: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Start,
    KillTerm,
    KillKill,
    Pause,
    Resume,
    Exec,
    Delete,
    InitExits,
    ExecExits,
    HookSucceeds,
    HookFails,
    TimePasses,
}

const STEPS: [Step; 12] = [
    Step::Start,
    Step::KillTerm,
    Step::KillKill,
    Step::Pause,
    Step::Resume,
    Step::Exec,
    Step::Delete,
    Step::InitExits,
    Step::ExecExits,
    Step::HookSucceeds,
    Step::HookFails,
    Step::TimePasses,
];

struct Life {
    world: World,
    task: Task,
    start: Option<Rpc<u32>>,
    deleted: bool,
    /// The answers, printed with a failure.
    told: Vec<String>,
}

impl Life {
    async fn new(lifecycle: &str) -> Self {
        let world = World::in_memory();
        let task = world.create("c1", lifecycle).await.unwrap();
        Self {
            world,
            task,
            start: None,
            deleted: false,
            told: Vec::new(),
        }
    }

    async fn step(&mut self, step: Step) {
        let task = self.task.clone();
        let answer = match step {
            // One that is pending, as during postStart, is looked at in the end.
            Step::Start if self.start.is_none() => {
                let start = task.start();
                moment().await;
                let refused = start.is_finished() && self.world.calls("c1").len() == 1;
                if refused {
                    answer(start).await
                } else {
                    self.start = Some(start);
                    "begun".to_owned()
                }
            }
            Step::Start => answer(task.start()).await,
            Step::KillTerm => answer(task.kill(TERM)).await,
            Step::KillKill => answer(task.kill(KILL)).await,
            Step::Pause => answer(task.pause()).await,
            Step::Resume => answer(task.resume()).await,
            Step::Exec => match task.exec("e") {
                Ok(()) => answer(task.start_exec("e")).await,
                Err(e) => told_of(e),
            },
            Step::Delete => {
                let answer = answer(task.delete()).await;
                self.deleted |= answer == "ok";
                answer
            }
            Step::InitExits => {
                task.init_exits(42);
                String::new()
            }
            Step::ExecExits => {
                if let Ok(state) = task.container.state("e") {
                    task.fakes.end(state.pid.cast_signed(), 5 << 8);
                }
                String::new()
            }
            Step::HookSucceeds | Step::HookFails => {
                let succeeds = step == Step::HookSucceeds;
                let _ = task.hook_ends("post", succeeds) || task.hook_ends("pre", succeeds);
                String::new()
            }
            Step::TimePasses => {
                pass(120.0).await;
                String::new()
            }
        };
        self.told.push(answer);
        moment().await;
        self.check();
    }

    /// Whether a step could do anything: what it is about is there, and no table says no.
    fn may(&self, step: Step) -> bool {
        let (task, fakes) = (&self.task, &self.world.fakes);
        let status = task.status();
        match step {
            _ if self.deleted => false,
            Step::Start => !self.world.calls("c1").iter().any(|call| call == "start"),
            Step::Pause => status == Status::RUNNING,
            Step::Resume => status == Status::PAUSED,
            Step::Exec => {
                status != Status::STOPPED
                    && !self.world.events("c1").iter().any(|e| e == "exec-added/e")
            }
            Step::InitExits => fakes.is_alive(task.init()),
            Step::ExecExits => fakes.alive_in("c1").iter().any(|pid| *pid != task.init()),
            Step::HookSucceeds | Step::HookFails => {
                task.hook_is_running("post") || task.hook_is_running("pre")
            }
            Step::KillTerm | Step::KillKill | Step::Delete | Step::TimePasses => true,
        }
    }

    /// What can be seen of it.
    fn state(&self) -> String {
        let task = &self.task;
        let hooks = (task.hook_is_running("post"), task.hook_is_running("pre"));
        format!(
            "{:?} {:?} {} {:?} {hooks:?} {} {:?} {:?} {} {}",
            task.status(),
            self.world.events("c1"),
            task.phase(),
            task.results(),
            self.world.fakes.is_frozen("c1"),
            self.world.fakes.alive_in("c1"),
            self.start.as_ref().map(is_pending),
            self.deleted,
            // A signal that is remembered, or waits for the thaw.
            self.world.signals().len(),
        )
    }

    /// What must hold after every step.
    fn check(&self) {
        let events = self.world.events("c1");
        let context = format!("{events:?} {:?}", self.told);
        let count = |what: &str| {
            events
                .iter()
                .filter(|event| event.starts_with(what))
                .count()
        };
        let at = |what: &str| events.iter().position(|event| event.starts_with(what));
        assert_eq!(at("create"), Some(0), "{context}");
        for what in [
            "create",
            "start",
            "exit ",
            "delete",
            "exec-added",
            "exec-started",
            "exit/",
        ] {
            assert!(count(what) <= 1, "{what} twice: {context}");
        }
        let before = |first: &str, second: &str| {
            if let (Some(first), Some(second)) = (at(first), at(second)) {
                assert!(first < second, "{context}");
            }
        };
        before("start", "exit ");
        before("exec-added", "exec-started");
        before("exec-started", "exit/");
        before("exit/", "exit ");
        before("exit ", "delete");
        if let Some(deleted) = at("delete") {
            assert_eq!(
                deleted,
                events.len() - 1,
                "an event after delete: {context}"
            );
            assert!(self.deleted, "{context}");
        }
        assert!(count("exit/") <= count("exec-started"), "{context}");
        self.check_status(&events, &context);
    }

    /// State agrees with the last event about the container itself.
    fn check_status(&self, events: &[String], context: &str) {
        let of_init = |event: &&String| !event.contains('/') && !event.starts_with("oom");
        let last = events.iter().rev().find(of_init).map(String::as_str);
        let expected = match last.map(|last| last.split(' ').next().unwrap_or_default()) {
            Some("create") => Status::CREATED,
            Some("start" | "resumed") => Status::RUNNING,
            Some("paused") => Status::PAUSED,
            _ => Status::STOPPED,
        };
        let status = self.task.status();
        // Its exit waits for those of its execs.
        let ending = !self.world.fakes.is_alive(self.task.init()) && status != Status::STOPPED;
        assert!(status == expected || ending, "{status:?}: {context}");
        let exit = self.task.container.state("").unwrap().exit_status;
        if let Some(told) = events.iter().find_map(|event| event.strip_prefix("exit ")) {
            assert_eq!(told, exit.to_string(), "{context}");
        }
    }

    /// Nothing more is asked; then init ends, if it has not.
    async fn finish(mut self) {
        pass(300.0).await;
        self.check();
        let init = self.task.init();
        let ran = self.world.calls("c1").iter().any(|call| call == "start");
        self.world.fakes.set_frozen("c1", false);
        self.world.fakes.end(init, 42 << 8);
        pass(300.0).await;
        self.check();
        let events = self.world.events("c1");
        let count = |what: &str| {
            events
                .iter()
                .filter(|event| event.starts_with(what))
                .count()
        };
        assert_eq!(count("exit "), 1, "{events:?}");
        let failed = match self.start.take() {
            Some(start) => {
                assert!(start.is_finished(), "Start has no answer: {events:?}");
                start.await.unwrap().is_err()
            }
            None => false,
        };
        assert_eq!(count("start"), usize::from(ran && !failed), "{events:?}");
        let results = self.task.results();
        assert!(
            !results.iter().any(|result| result.ends_with('?')),
            "{results:?}"
        );
        if !self.deleted {
            assert_eq!(answer(self.task.delete()).await, "ok");
            self.deleted = true;
        }
        self.check();
        assert!(
            self.world
                .fakes
                .alive_in("c1")
                .iter()
                .all(|pid| *pid != init)
        );
    }
}

/// Lives this life, to its end where its last step has come to a new state; what may come next then.
async fn live(lifecycle: &str, steps: &[Step], seen: &mut HashSet<String>) -> Option<Vec<Step>> {
    let mut life = Life::new(lifecycle).await;
    for step in steps {
        life.step(*step).await;
    }
    if !seen.insert(life.state()) {
        return None;
    }
    let next = STEPS.into_iter().filter(|step| life.may(*step)).collect();
    life.finish().await;
    Some(next)
}

fn explore(lifecycle: &str) -> usize {
    let mut seen = HashSet::new();
    let mut first = None;
    story(async { first = live(lifecycle, &[], &mut seen).await });
    let mut lives = vec![(Vec::new(), first.unwrap_or_default())];
    let mut lived = 0;
    // By length, so that of two lives with the same state the shorter one goes on.
    for _ in 0..LENGTH {
        let mut longer = Vec::new();
        for (life, next) in &lives {
            for step in next {
                let steps: Vec<Step> = life.iter().chain([step]).copied().collect();
                let mut new = None;
                story(async { new = live(lifecycle, &steps, &mut seen).await });
                lived += 1;
                longer.extend(new.map(|next| (steps, next)));
            }
        }
        lives = longer;
    }
    println!("{lived} lives, {} states", seen.len());
    lived
}

#[test]
fn without_a_lifecycle_the_events_tell_the_truth_in_every_order() {
    assert!(explore("") > 100);
}

#[test]
fn with_a_post_start_they_do_so_too() {
    assert!(explore(POST) > 100);
}

#[test]
fn with_both_hooks_they_do_so_too() {
    assert!(explore(BOTH) > 100);
}
