//! The engine in a process that is as the shim: one thread, the runtime and the reaper on it.
//!
//! A process of its own, because what a fork costs depends on the memory of the one that forks.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use podhook_hooks::exec::{self, Children, Container, Exit, Stdio};
use podhook_hooks::handler;
use podhook_hooks::moment::Moment;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::Fallible;

/// `bench worker ID PID CONFIG`: serves lines `exec N` (the engine) and `hook N` (the exec handler).
///
/// # Errors
/// When the container cannot be opened or an exec does not end with status 0.
pub fn serve(id: &str, pid: &str, config: &str) -> Fallible<()> {
    // SAFETY: prctl with integer arguments only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let spec = serde_json::from_str(&fs::read_to_string(config)?)?;
    let container = Arc::new(Container::open(id, pid.parse()?, &spec)?);
    let children: Arc<dyn Children> = runtime.block_on(async { Reaper::start() })?;
    let command = vec!["/bin/true".to_owned()];
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (what, count) = line.split_once(' ').ok_or("want: exec N | hook N")?;
        let mut answer = String::new();
        for _ in 0..count.parse()? {
            let start = Instant::now();
            runtime.block_on(async {
                match what {
                    "hook" => hook(&container, &command, &children).await,
                    _ => plain(&container, &command, &children).await,
                }
            })?;
            answer += &format!("{} ", start.elapsed().as_nanos());
        }
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

async fn hook(
    container: &Arc<Container>,
    command: &[String],
    children: &Arc<dyn Children>,
) -> Fallible<()> {
    let never = std::future::pending();
    let result = handler::exec::run(container, command, children, never, None).await;
    if result.succeeded() {
        Ok(())
    } else {
        Err(format!("hook: {result:?}").into())
    }
}

async fn plain(
    container: &Arc<Container>,
    command: &[String],
    children: &Arc<dyn Children>,
) -> Fallible<()> {
    let null = || -> std::io::Result<OwnedFd> {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        Ok(file.into())
    };
    let stdio = Stdio {
        stdin: null()?,
        stdout: null()?,
        stderr: null()?,
    };
    let process = container.process().clone().args(command);
    let child = exec::spawn(container, &process, stdio, false, children).await?;
    let exit = child.exit.await?;
    if exit.code() == Some(0) {
        Ok(())
    } else {
        Err(format!("exec: {exit:?}").into())
    }
}

/// What the shim's reaper is for the engine, without adopted children.
#[derive(Default)]
struct Reaper(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: HashMap<libc::pid_t, oneshot::Sender<Exit>>,
    kept: HashMap<libc::pid_t, Exit>,
    holds: usize,
}

struct Hold(Arc<Mutex<State>>);

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reaper {
    fn start() -> Fallible<Arc<Self>> {
        let mut ended = signal(SignalKind::child())?;
        let this = Arc::new(Self::default());
        let state = Arc::clone(&this.0);
        tokio::spawn(async move {
            while ended.recv().await.is_some() {
                let mut state = lock(&state);
                while let Some((pid, exit)) = next_exit() {
                    if let Some(waiter) = state.waiting.remove(&pid) {
                        let _ = waiter.send(exit);
                    } else if state.holds > 0 {
                        state.kept.insert(pid, exit);
                    }
                }
            }
        });
        Ok(this)
    }
}

impl Children for Reaper {
    fn hold(&self) -> Box<dyn Send + Sync> {
        lock(&self.0).holds += 1;
        Box::new(Hold(Arc::clone(&self.0)))
    }

    fn wait(&self, pid: libc::pid_t) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.0);
        match state.kept.remove(&pid) {
            Some(exit) => drop(sender.send(exit)),
            None => drop(state.waiting.insert(pid, sender)),
        }
        receiver
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.holds -= 1;
        if state.holds == 0 {
            state.kept.clear();
        }
    }
}

fn next_exit() -> Option<(libc::pid_t, Exit)> {
    let mut raw_status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals that outlive the call.
    let pid = unsafe { libc::wait4(-1, &mut raw_status, libc::WNOHANG, &mut usage) };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs())
            + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    (pid > 0).then(|| {
        let exit = Exit {
            raw_status,
            at: Moment::now(),
            cpu_user: time(usage.ru_utime),
            cpu_system: time(usage.ru_stime),
            max_rss: usage.ru_maxrss.unsigned_abs() * 1024,
        };
        (pid, exit)
    })
}
