//! The world outside of the containers: processes, the OCI runtime, events, hooks. It records in one list what is asked
//! of it, in order, and does what a test has told it to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use podhook_hooks::exec::Exit;
use podhook_hooks::handler::HookRun;
use podhook_hooks::moment::Moment;
use tokio::sync::oneshot;

use crate::container::deps::OomListener;

/// Beyond what the kernel gives: `/proc` has nothing there.
const FIRST_PID: i32 = 5_000_000;

/// What one call of the runtime, or one exec of the engine, does.
#[derive(Debug, Clone, Copy)]
pub enum Does {
    Well,
    /// Its work, after this time.
    Takes(Duration),
    /// Nothing; it says this.
    Fails(&'static str),
    /// A part of its work; it is killed then.
    Dies,
    /// Nothing; it says that it has.
    Lies,
    /// Nothing; it names a process that is no child of the shim.
    NamesAStranger,
    /// It never comes back.
    Hangs,
    /// Its work; init ends before it comes back, with this wait status.
    LosesInit(i32),
    /// The engine alone: it leaves it to the runtime.
    Unsupported,
}

/// Shared by all fakes of a test.
#[derive(Clone, Default)]
pub struct Fakes(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    /// All that happened: see [`Fakes::trace`].
    pub trace: Vec<String>,
    processes: BTreeMap<i32, Process>,
    /// What the next calls do, by their verb; after them all is well.
    plans: HashMap<&'static str, VecDeque<Does>>,
    /// Hooks that run, by container and hook.
    hooks: HashMap<String, oneshot::Sender<HookRun>>,
    /// How long an aborted hook takes to die; for ever where there is none.
    pub hooks_die_after: Option<Duration>,
    /// How long the result of a hook takes that has ended.
    pub results_take: Option<Duration>,
    /// What an aborted hook has printed.
    pub hook_output: &'static str,
    /// Containers of the runtime.
    containers: HashMap<String, Container>,
    /// Who is told of OOM kills.
    pub oom: Option<Weak<dyn OomListener>>,
    /// There was an OOM kill that nobody was told of.
    pub oom_killed: bool,
    /// Execs live on when init ends, as where a process cannot die yet, or in a pid namespace that is shared.
    pub execs_outlive_init: bool,
    /// Mounts fail.
    pub mounts_fail: bool,
    /// As many tries to remove a cgroup fail.
    pub cgroups_stay: usize,
}

#[derive(Default)]
struct Container {
    init: i32,
    frozen: bool,
}

struct Process {
    /// `c1`, or `c1/e` for an exec.
    name: String,
    waiter: Option<oneshot::Sender<Exit>>,
    exit: Option<Exit>,
    /// It is on its way out, which cannot be seen yet otherwise.
    ending: bool,
    ignores: Vec<i32>,
    /// Signals that came while it was frozen.
    pending: Vec<i32>,
}

impl Fakes {
    pub fn new() -> Self {
        let fakes = Self::default();
        fakes.lock().hooks_die_after = Some(Duration::ZERO);
        fakes
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, what: impl Into<String>) {
        self.lock().trace.push(what.into());
    }

    /// What happened, as far as it begins with one of these words: `call`, `event`, `signal`, `hook`, `engine`.
    pub fn trace(&self, words: &[&str]) -> Vec<String> {
        let wanted = |line: &&String| words.iter().any(|word| line.starts_with(word));
        self.lock().trace.iter().filter(wanted).cloned().collect()
    }

    /// What the next call of this verb does.
    pub fn plan(&self, verb: &'static str, does: Does) {
        self.lock().plans.entry(verb).or_default().push_back(does);
    }

    pub fn next_plan(&self, verb: &'static str) -> Does {
        let mut state = self.lock();
        let planned = state.plans.get_mut(verb).and_then(VecDeque::pop_front);
        planned.unwrap_or(Does::Well)
    }

    pub fn make(&self, name: &str) -> i32 {
        let mut state = self.lock();
        let last = state.processes.last_key_value().map(|(pid, _)| *pid);
        let pid = last.unwrap_or(FIRST_PID) + 1;
        let process = Process {
            name: name.to_owned(),
            waiter: None,
            exit: None,
            ending: false,
            ignores: Vec::new(),
            pending: Vec::new(),
        };
        state.processes.insert(pid, process);
        pid
    }

    pub fn set_init(&self, id: &str, pid: i32) {
        let container = Container {
            init: pid,
            frozen: false,
        };
        self.lock().containers.insert(id.to_owned(), container);
    }

    pub fn init(&self, id: &str) -> Option<i32> {
        self.lock().containers.get(id).map(|known| known.init)
    }

    /// Whether the runtime knows the container.
    pub fn is_known(&self, id: &str) -> bool {
        self.lock().containers.contains_key(id)
    }

    pub fn forget(&self, id: &str) {
        self.lock().containers.remove(id);
    }

    pub fn is_there(&self, pid: i32) -> bool {
        self.lock().processes.contains_key(&pid)
    }

    pub fn is_alive(&self, pid: i32) -> bool {
        let state = self.lock();
        let process = state.processes.get(&pid);
        process.is_some_and(|process| process.exit.is_none())
    }

    pub fn is_ending(&self, pid: i32) -> bool {
        let state = self.lock();
        let process = state.processes.get(&pid);
        process.is_none_or(|process| process.exit.is_some() || process.ending)
    }

    /// The process goes on its way out.
    pub fn begin_end(&self, pid: i32) {
        if let Some(process) = self.lock().processes.get_mut(&pid) {
            process.ending = true;
        }
    }

    /// The process ignores these signals.
    pub fn ignore(&self, pid: i32, signals: &[i32]) {
        if let Some(process) = self.lock().processes.get_mut(&pid) {
            process.ignores.extend(signals);
        }
    }

    /// Every process that is alive.
    #[cfg(feature = "fuzzing")]
    pub fn alive(&self) -> Vec<i32> {
        let state = self.lock();
        let alive = state
            .processes
            .iter()
            .filter(|(_, process)| process.exit.is_none());
        alive.map(|(pid, _)| *pid).collect()
    }

    /// The container, or the container and the exec, that a process is of.
    pub fn name(&self, pid: i32) -> String {
        let state = self.lock();
        state
            .processes
            .get(&pid)
            .map_or_else(String::new, |process| process.name.clone())
    }

    /// The pids of a container's processes that are alive.
    pub fn alive_in(&self, id: &str) -> Vec<i32> {
        let state = self.lock();
        let below = format!("{id}/");
        let of_it = |process: &Process| process.name == id || process.name.starts_with(&below);
        let alive = state
            .processes
            .iter()
            .filter(|(_, process)| process.exit.is_none() && of_it(process));
        alive.map(|(pid, _)| *pid).collect()
    }

    /// The process ends, with this wait status.
    pub fn end(&self, pid: i32, raw_status: i32) {
        let mut state = self.lock();
        let Some(process) = state.processes.get_mut(&pid) else {
            return;
        };
        if process.exit.is_some() {
            return;
        }
        let exit = Exit {
            raw_status,
            at: Moment::now(),
            cpu_user: Duration::ZERO,
            cpu_system: Duration::ZERO,
            max_rss: 0,
        };
        process.exit = Some(exit);
        if let Some(waiter) = process.waiter.take() {
            let _ = waiter.send(exit);
        }
        let name = process.name.clone();
        state.trace.push(format!("end {name}"));
        let outlived = state.execs_outlive_init || name.contains('/');
        drop(state);
        if !outlived {
            for exec in self.alive_in(&name) {
                self.end(exec, libc::SIGKILL);
            }
        }
    }

    pub fn wait(&self, pid: i32) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        if let Some(process) = self.lock().processes.get_mut(&pid) {
            match process.exit {
                Some(exit) => drop(sender.send(exit)),
                None => process.waiter = Some(sender),
            }
        }
        receiver
    }

    /// A signal by pidfd.
    pub fn signal(&self, pid: i32, signal: i32) -> std::io::Result<()> {
        let errno = std::io::Error::from_raw_os_error;
        if !(0..=64).contains(&signal) {
            return Err(errno(libc::EINVAL));
        }
        let mut state = self.lock();
        let frozen = |name: &str| {
            let id = name.split('/').next().unwrap_or_default();
            state.containers.get(id).is_some_and(|known| known.frozen)
        };
        let (name, is_frozen) = match state.processes.get(&pid) {
            Some(process) if process.exit.is_none() => {
                (process.name.clone(), frozen(&process.name))
            }
            _ => return Err(errno(libc::ESRCH)),
        };
        state.trace.push(format!("signal {signal} {name}"));
        drop(state);
        self.deliver(pid, signal, is_frozen);
        Ok(())
    }

    /// The kernel's part of a signal.
    pub fn deliver(&self, pid: i32, signal: i32, frozen: bool) {
        const HARMLESS: [i32; 4] = [0, libc::SIGWINCH, libc::SIGCHLD, libc::SIGCONT];
        let ends = match self.lock().processes.get_mut(&pid) {
            Some(process) if frozen => {
                process.pending.push(signal);
                false
            }
            Some(process) => !process.ignores.contains(&signal) && !HARMLESS.contains(&signal),
            None => false,
        };
        if ends {
            self.end(pid, signal);
        }
    }

    pub fn is_frozen(&self, id: &str) -> bool {
        let state = self.lock();
        state.containers.get(id).is_some_and(|known| known.frozen)
    }

    pub fn set_frozen(&self, id: &str, frozen: bool) {
        let thawed = {
            let mut state = self.lock();
            if let Some(known) = state.containers.get_mut(id) {
                known.frozen = frozen;
            }
            !frozen
        };
        if thawed {
            for pid in self.alive_in(id) {
                let pending = match self.lock().processes.get_mut(&pid) {
                    Some(process) => std::mem::take(&mut process.pending),
                    None => Vec::new(),
                };
                for signal in pending {
                    self.deliver(pid, signal, false);
                }
            }
        }
    }

    /// A hook begins; its end, as a test decides it.
    pub fn hook_runs(&self, name: &str) -> oneshot::Receiver<HookRun> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.trace.push(format!("hook {name} runs"));
        state.hooks.insert(name.to_owned(), sender);
        receiver
    }

    /// Lets a hook end.
    pub fn end_hook(&self, name: &str, result: HookRun) -> bool {
        let hook = self.lock().hooks.remove(name);
        hook.is_some_and(|hook| hook.send(result).is_ok())
    }

    /// Whether a hook runs.
    pub fn hook_is_running(&self, name: &str) -> bool {
        let state = self.lock();
        state.hooks.get(name).is_some_and(|hook| !hook.is_closed())
    }
}

/// A folder that is a container's bundle.
pub fn pid_file(bundle: &std::path::Path) -> PathBuf {
    bundle.join("init.pid")
}
