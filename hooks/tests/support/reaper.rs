//! The sole reaper of a test process: what the shim's is for the engine, in its smallest form.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use podhook_hooks::exec::{Children, Exit};
use podhook_hooks::moment::Moment;
use tokio::sync::oneshot;

#[derive(Default)]
pub struct Reaper {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    holds: usize,
    waiting: HashMap<libc::pid_t, oneshot::Sender<Exit>>,
    kept: HashMap<libc::pid_t, Exit>,
}

impl Reaper {
    /// Starts reaping, once per test process.
    pub fn global() -> Arc<Reaper> {
        static REAPER: OnceLock<Arc<Reaper>> = OnceLock::new();
        REAPER
            .get_or_init(|| {
                // Containers outlive the `runc create` that made them.
                // SAFETY: no pointers.
                let set = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
                assert_eq!(set, 0);
                let reaper = Arc::new(Reaper::default());
                let state = reaper.state.clone();
                std::thread::spawn(move || reap(&state));
                reaper
            })
            .clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Children for Reaper {
    fn hold(&self) -> Box<dyn Send + Sync> {
        self.state().holds += 1;
        Box::new(Hold(self.state.clone()))
    }

    fn wait(&self, pid: libc::pid_t) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        match state.kept.remove(&pid) {
            Some(exit) => drop(sender.send(exit)),
            None => drop(state.waiting.entry(pid).or_insert(sender)),
        }
        receiver
    }
}

struct Hold(Arc<Mutex<State>>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap();
        state.holds -= 1;
        if state.holds == 0 {
            state.kept.clear();
        }
    }
}

fn reap(state: &Mutex<State>) {
    loop {
        let mut raw_status = 0;
        // SAFETY: `rusage` is plain data, all zeroes is a valid value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `siginfo_t` is plain data, all zeroes is a valid value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // A look first: the stops of a process that a test traces show up here too, and are not ours.
        // SAFETY: a valid place to write to.
        let found =
            unsafe { libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOWAIT) };
        let ended = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED].contains(&info.si_code);
        if found != 0 || !ended {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        // SAFETY: valid places to write to; `info` is of a child that ended.
        let pid = unsafe { libc::wait4(info.si_pid(), &mut raw_status, 0, &mut usage) };
        let time =
            |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
        let exit = Exit {
            raw_status,
            at: Moment::now(),
            cpu_user: time(usage.ru_utime),
            cpu_system: time(usage.ru_stime),
            max_rss: usage.ru_maxrss as u64 * 1024,
        };
        let mut state = state.lock().unwrap();
        match state.waiting.remove(&pid) {
            Some(sender) => drop(sender.send(exit)),
            None if state.holds > 0 => drop(state.kept.insert(pid, exit)),
            None => {}
        }
    }
}
