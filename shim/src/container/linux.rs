//! The real system.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Instant;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::mount::Mount;
use podhook_hooks::config_json::ContainerConfig;
use podhook_hooks::exec::spec::Spec;
use podhook_hooks::exec::{self as engine, Children};
use podhook_hooks::handler::HookRun;
use podhook_hooks::lifecycle::Hook;
use podhook_hooks::task;
use tokio::sync::{mpsc, oneshot};

use super::Container;
use super::deps::{Cgroup, Held, Joined, Made, OomListener, OomLooks, System};
use crate::cgroup::{self, Leftover, OomWatch};
use crate::containerd::stop_signal;
use crate::error::Result;
use crate::host::{apart, descriptors, ending, pidfd};
use crate::mount;

/// Linux, and containerd at this address.
pub struct Linux {
    /// Where containerd's clients connect.
    pub containerd: String,
}

#[async_trait]
impl System for Linux {
    fn hold(&self, pid: libc::pid_t) -> Result<Option<Arc<dyn Held>>> {
        let pidfd = pidfd::of_child(pid)?;
        Ok(pidfd.map(|pidfd| Arc::new(pidfd) as Arc<dyn Held>))
    }

    fn signal_session(&self, pid: libc::pid_t, signal: i32) {
        if let Err(e) = engine::signal_session(engine::session_of(pid), signal) {
            log::warn!(pid = pid; "signal all processes of a session: {e}");
        }
    }

    fn cgroup(&self, pid: i32) -> Result<Box<dyn Cgroup>, cgroup::Error> {
        Ok(Box::new(cgroup::Cgroup::of_pid(pid)?))
    }

    fn open(
        &self,
        id: &str,
        pid: libc::pid_t,
        spec: &Spec,
        keyring: bool,
    ) -> Result<Arc<dyn Joined>, engine::Error> {
        let opened = engine::Container::open(id, pid, spec)?;
        let opened = match keyring {
            true => opened,
            false => opened.without_keyring(),
        };
        Ok(Arc::new(match descriptors::given_limit() {
            Some((soft, hard)) => opened.with_files_given(soft, hard),
            None => opened,
        }))
    }

    async fn run_hook(
        &self,
        container: &Arc<Container>,
        hook: &Hook,
        aborted: oneshot::Receiver<()>,
    ) -> HookRun {
        container.execute(hook, aborted).await
    }

    fn quick_moves(&self) -> Option<cgroup::QuickMoves> {
        Some(cgroup::QuickMoves::start())
    }

    async fn mount_rootfs(
        &self,
        mounts: &[Mount],
        rootfs: &Path,
        children: &dyn Children,
    ) -> Result<()> {
        mount::mount_rootfs(mounts, rootfs, children).await
    }

    async fn unmount_rootfs(&self, rootfs: &Path) -> Result<()> {
        mount::unmount_rootfs(rootfs).await
    }

    async fn remove_cgroups(&self, path: String, systemd: bool) -> bool {
        let removed = apart::start(move || {
            let left = Leftover::of(&path, systemd);
            left.remove(Instant::now()).is_ok() && !left.exists()
        });
        removed.await.unwrap_or(false)
    }

    async fn stop_signal(
        &self,
        config: &ContainerConfig,
        id: &str,
        namespace: &str,
    ) -> Option<i32> {
        stop_signal::find(config, id, namespace, &self.containerd).await
    }
}

impl Held for OwnedFd {
    fn signal(&self, signal: i32) -> io::Result<()> {
        pidfd::send_signal(self.as_fd(), signal)
    }

    fn is_ending(&self, pid: u32) -> bool {
        // One that has not ended was not reaped: the pid is its own.
        pidfd::has_ended(self) || ending::is_ending(pid)
    }

    fn pidfd(&self) -> Option<OwnedFd> {
        self.try_clone().ok()
    }
}

impl Cgroup for cgroup::Cgroup {
    fn is_frozen(&self) -> bool {
        self.is_frozen().unwrap_or(false)
    }

    fn pids(&self) -> Result<Vec<i32>, cgroup::Error> {
        self.pids()
    }

    fn stats(&self) -> Result<Any, cgroup::Error> {
        self.stats()
    }

    fn watch_oom(&self, listener: Weak<dyn OomListener>) -> Result<OomLooks, cgroup::Error> {
        let watch = self.watch_oom()?;
        let (looks, asked) = mpsc::unbounded_channel();
        task::spawn(tell(watch, asked, listener));
        Ok(looks)
    }
}

/// Reports OOM kills as they happen, and when asked.
async fn tell(
    mut watch: OomWatch,
    mut asked: mpsc::UnboundedReceiver<oneshot::Sender<bool>>,
    listener: Weak<dyn OomListener>,
) {
    loop {
        let killed = tokio::select! {
            killed = watch.next() => killed.is_some(),
            answer = asked.recv() => {
                let Some(answer) = answer else { return };
                let killed = watch.poll_now();
                match answer.send(killed) {
                    Ok(()) => continue,
                    // Nobody waits any more.
                    Err(killed) => killed,
                }
            }
        };
        match listener.upgrade() {
            Some(listener) if killed => listener.oom_killed(),
            _ => return,
        }
    }
}

#[async_trait]
impl Joined for engine::Container {
    async fn spawn(
        &self,
        process: &engine::Process,
        stdio: engine::Stdio,
        children: &Arc<dyn Children>,
    ) -> Result<Made, engine::Error> {
        let child = engine::spawn(self, process, stdio, false, children).await?;
        Ok(made(child))
    }

    async fn spawn_on_terminal(
        &self,
        process: &engine::Process,
        children: &Arc<dyn Children>,
    ) -> Result<(Made, OwnedFd), engine::Error> {
        let (child, master) = engine::spawn_on_terminal(self, process, children).await?;
        Ok((made(child), master))
    }

    fn engine(self: Arc<Self>) -> Option<Arc<engine::Container>> {
        Some(self)
    }
}

fn made(child: engine::Child) -> Made {
    Made {
        pid: child.pid,
        held: child.pidfd.map(|pidfd| Arc::new(pidfd) as Arc<dyn Held>),
        exit: child.exit,
    }
}
