//! What the containers need of the world outside: real in the server, recording fakes in the unit tests of this layer.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::mount::Mount;
use podhook_hooks::config_json::ContainerConfig;
use podhook_hooks::exec::spec::Spec;
use podhook_hooks::exec::{self as engine, Children, Exit};
use podhook_hooks::handler::HookRun;
use podhook_hooks::lifecycle::Hook;
use tokio::sync::{mpsc, oneshot};

use super::Container;
use crate::cgroup;
use crate::containerd::events::Events;
use crate::counters::Counting;
use crate::error::Result;
use crate::host::members::Members;
use crate::journal::Journaling;
use crate::runtime::RuntimeFactory;

/// What all containers of a shim share.
pub struct Deps {
    /// containerd's namespace.
    pub namespace: String,
    /// Makes a container's OCI runtime.
    pub runtimes: Box<dyn RuntimeFactory>,
    pub events: Arc<dyn Events>,
    pub children: Arc<dyn Children>,
    pub counters: Arc<Counting>,
    pub journal: Arc<Journaling>,
    /// The kernel, and containerd's own metadata.
    pub system: Box<dyn System>,
    /// The containers that `delete` must find without their bundles.
    pub members: Members,
    /// The ids of containers that are still to be cleared away.
    pub taken: TakenIds,
}

/// The kernel as the container layer uses it, and what else it asks for outside of the shim.
#[async_trait]
pub trait System: Send + Sync {
    /// Holds a child, so that it can be signalled; none where it has ended and was reaped.
    ///
    /// # Errors
    /// Where the kernel has no descriptor for it.
    fn hold(&self, pid: libc::pid_t) -> Result<Option<Arc<dyn Held>>>;

    /// Signals every process of the session that `pid` is in.
    fn signal_session(&self, pid: libc::pid_t, signal: i32);

    /// The cgroups of a live process.
    ///
    /// # Errors
    /// Where it has ended, or they cannot be found.
    fn cgroup(&self, pid: i32) -> Result<Box<dyn Cgroup>, cgroup::Error>;

    /// Opens a container, whose init is held between the runtime's `create` and `start`, for processes to join it.
    ///
    /// # Errors
    /// Where init is gone, or the kernel does not let it be looked at.
    fn open(
        &self,
        id: &str,
        pid: libc::pid_t,
        spec: &Spec,
        keyring: bool,
    ) -> Result<Arc<dyn Joined>, engine::Error>;

    /// Runs a hook's handler in the container to its end, or until it is aborted.
    async fn run_hook(
        &self,
        container: &Arc<Container>,
        hook: &Hook,
        aborted: oneshot::Receiver<()>,
    ) -> HookRun;

    /// Until what it gives is dropped, processes change their cgroup without the kernel's long wait.
    fn quick_moves(&self) -> Option<cgroup::QuickMoves>;

    /// Mounts the root filesystem; `children` are those of this process, where a program does it.
    async fn mount_rootfs(
        &self,
        mounts: &[Mount],
        rootfs: &Path,
        children: &dyn Children,
    ) -> Result<()>;

    async fn unmount_rootfs(&self, rootfs: &Path) -> Result<()>;

    /// Removes the cgroups that an OCI runtime has left at `path`; whether there is none any more.
    async fn remove_cgroups(&self, path: String, systemd: bool) -> bool;

    /// The signal that the container's client stops it with, where that is known.
    async fn stop_signal(&self, config: &ContainerConfig, id: &str, namespace: &str)
    -> Option<i32>;
}

/// A process that is held: what is done to it is never done to a later process with its pid.
pub trait Held: Send + Sync {
    /// Signals it.
    ///
    /// # Errors
    /// ESRCH where it has been reaped.
    fn signal(&self, signal: i32) -> io::Result<()>;

    /// Whether it has ended, reaped or not, or is on its way out. It is process `pid`.
    fn is_ending(&self, pid: u32) -> bool;

    /// A pidfd for who watches it, which epoll takes once per descriptor.
    fn pidfd(&self) -> Option<OwnedFd>;
}

pub trait Cgroup: Send + Sync {
    /// Whether the container is paused, by whomever.
    fn is_frozen(&self) -> bool;

    /// The processes in it.
    ///
    /// # Errors
    /// Where it is gone, or cannot be read.
    fn pids(&self) -> Result<Vec<i32>, cgroup::Error>;

    /// The message of the Stats RPC.
    ///
    /// # Errors
    /// Where it is gone, or cannot be read.
    fn stats(&self) -> Result<Any, cgroup::Error>;

    /// Tells `listener` of OOM kills from now on, for as long as that and the result live.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    fn watch_oom(&self, listener: Weak<dyn OomListener>) -> Result<OomLooks, cgroup::Error>;
}

/// Asks who watches for OOM kills to look now: whether there is one that was not told yet.
pub type OomLooks = mpsc::UnboundedSender<oneshot::Sender<bool>>;

/// Is told of OOM kills.
pub trait OomListener: Send + Sync {
    /// The kernel has killed something in the container.
    fn oom_killed(&self);
}

pub struct Made {
    pub pid: libc::pid_t,
    /// None where it has ended and was reaped already.
    pub held: Option<Arc<dyn Held>>,
    pub exit: oneshot::Receiver<Exit>,
}

/// A container that processes can join.
#[async_trait]
pub trait Joined: Send + Sync {
    /// Runs `process` in it; see [`engine::spawn`].
    ///
    /// # Errors
    /// As that.
    async fn spawn(
        &self,
        process: &engine::Process,
        stdio: engine::Stdio,
        children: &Arc<dyn Children>,
    ) -> Result<Made, engine::Error>;

    /// The same on a terminal, whose master it returns too; see [`engine::spawn_on_terminal`].
    ///
    /// # Errors
    /// As that.
    async fn spawn_on_terminal(
        &self,
        process: &engine::Process,
        children: &Arc<dyn Children>,
    ) -> Result<(Made, OwnedFd), engine::Error>;

    /// The container as the handlers of hooks take it.
    fn engine(self: Arc<Self>) -> Option<Arc<engine::Container>>;
}

/// The ids of containers that are still to be cleared away: none can be created with them.
#[derive(Clone, Default)]
pub struct TakenIds(Arc<Mutex<HashSet<String>>>);

/// An id that is taken, for as long as this lives.
pub struct Taken(TakenIds, String);

impl TakenIds {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(&self, id: &str) -> Taken {
        self.lock().insert(id.to_owned());
        Taken(self.clone(), id.to_owned())
    }

    pub fn contains(&self, id: &str) -> bool {
        self.lock().contains(id)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}
