//! Running a process in a container, from the caller's side.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::container::{Container, pidfd_open, send_signal};
use super::launch::{self, Launched};
use super::plan::{Files, Plan, Stdio};
use super::process::Process;
use super::session::session_of;
use super::tree::Tree;
use super::{Children, Error, Exit, message, namespaces, terminal, traced};

/// A process of the container that has been made.
#[derive(Debug)]
pub struct Child {
    /// Its pid, in this process's pid namespace.
    pub pid: libc::pid_t,
    /// Its pidfd; `None` where it has ended and been reaped already.
    pub pidfd: Option<OwnedFd>,
    /// Its end.
    pub exit: oneshot::Receiver<Exit>,
    /// The handle to all it starts, where one was asked for.
    pub tree: Option<Tree>,
}

impl Child {
    /// Child `pid` that somebody else has made, in a session of its own or of that somebody, and left to this process.
    /// The caller holds (see [`Children`]) since before it was made.
    pub fn adopted(pid: libc::pid_t, children: &dyn Children) -> Self {
        let pidfd = own_pidfd(pid);
        Self {
            pid,
            exit: traced::exit_of(pid, pidfd.as_ref(), children),
            pidfd,
            tree: Some(Tree::session(session_of(pid))),
        }
    }

    /// Signals the process, not what it has started.
    ///
    /// # Errors
    /// ESRCH where it has ended.
    pub fn signal(&self, signal: i32) -> std::io::Result<()> {
        match &self.pidfd {
            Some(pidfd) => send_signal(pidfd.as_fd(), signal),
            None => Err(std::io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

/// Runs `process` in `container` and returns once it is the command, not a copy of this program.
///
/// With `tree` its descendants can be found and killed as one, see [`Tree`].
///
/// The future may be dropped: what was made is then killed and reaped in the background. It takes as
/// long as the container lets it: a frozen one holds it up (and only it) until it is thawed.
///
/// # Errors
/// See [`Error`]; no process is left then. [`Error::Unsupported`] before anything was made.
pub async fn spawn(
    container: &Container,
    process: &Process,
    stdio: Stdio,
    tree: bool,
    children: &Arc<dyn Children>,
) -> Result<Child, Error> {
    make(container, process, Files::Given(stdio), tree, children).await
}

/// The same on a terminal of the container, which becomes stdin, stdout, stderr and the controlling
/// terminal. Returns its master, too. Whether `process` asks for a terminal is not looked at; the size it
/// asks for is set.
///
/// # Errors
/// As [`spawn`]; where the container has no devpts at `/dev/pts`, at [`Step::Terminal`].
///
/// [`Step::Terminal`]: super::Step::Terminal
pub async fn spawn_on_terminal(
    container: &Container,
    process: &Process,
    children: &Arc<dyn Children>,
) -> Result<(Child, OwnedFd), Error> {
    let (ours, theirs) = terminal::sockets()?;
    let files = Files::Terminal(theirs);
    let child = make(container, process, files, false, children).await?;
    // It was sent before the process was made.
    match terminal::receive(&ours) {
        Ok(master) => Ok((child, master)),
        Err(error) => {
            kill(child).await;
            Err(error)
        }
    }
}

async fn make(
    container: &Container,
    process: &Process,
    files: Files,
    tree: bool,
    children: &Arc<dyn Children>,
) -> Result<Child, Error> {
    let (answer, outcome) = oneshot::channel();
    {
        let mut plan = Plan::new(container, process, files, tree)?;
        let hold = children.hold();
        let launched = launch::launch(&mut plan, children.as_ref())?;
        let mut spawning = Spawning {
            launched,
            tree: plan.tree.take(),
            leaf_first: !plan.into.is_empty(),
            pid_namespace: container.pid_namespace,
            children: children.clone(),
            context: message::Context::new(&plan, container),
        };
        // Detached: whoever gives up waiting does not leave an unknown process behind.
        tokio::spawn(async move {
            let _hold = hold;
            spawning.finish(answer).await;
        });
    }
    match outcome.await {
        Ok(Err(Error::Killed { signal, .. })) => Err(Error::Killed {
            signal,
            oom: container.has_new_oom_kills(),
        }),
        Ok(other) => other,
        Err(_) => Err(Error::System {
            operation: "runtime shut down while joining the container",
            source: std::io::Error::from_raw_os_error(libc::ECANCELED),
        }),
    }
}

/// Between the fork and execve.
struct Spawning {
    launched: Launched,
    tree: Option<Tree>,
    /// The tree's leaf, if there is one, is the first of several places for clone3.
    leaf_first: bool,
    /// The container's, where it has one of its own.
    pid_namespace: Option<(u64, u64)>,
    children: Arc<dyn Children>,
    context: message::Context,
}

impl Spawning {
    async fn finish(&mut self, mut answer: oneshot::Sender<Result<Child, Error>>) {
        let report = tokio::select! {
            report = self.launched.report() => report,
            () = answer.closed() => {
                self.abandon().await;
                return;
            }
        };
        let Some(pid) = self.launched.child() else {
            // Without a child the intermediate is all there was.
            let intermediate = (&mut self.launched.exit).await.ok();
            self.discard_tree().await;
            let error = match report {
                Some(failure) => self.context.error(failure),
                None => Error::Killed {
                    signal: intermediate.and_then(|exit| exit.signal()).unwrap_or(0),
                    oom: false,
                },
            };
            let _ = answer.send(Err(error));
            return;
        };
        if !self.is_inside(pid) {
            self.discard_tree().await;
            let _ = answer.send(Err(Error::System {
                operation: "the pid of the new process was tampered with",
                source: std::io::Error::from_raw_os_error(libc::EPERM),
            }));
            return;
        }
        let pidfd = own_pidfd(pid);
        let exit = traced::exit_of(pid, pidfd.as_ref(), self.children.as_ref());
        if let Some(failure) = report {
            let _ = exit.await;
            self.discard_tree().await;
            let _ = answer.send(Err(self.context.error(failure)));
            return;
        }
        let tree = match self.tree.take() {
            // The leaf took no process: the child is in the container's own cgroup.
            Some(tree) if self.leaf_first && tree.leaf().is_some() && self.launched.place != 0 => {
                tree.release().await;
                Some(Tree::session(pid))
            }
            Some(tree) if tree.leaf().is_none() => Some(Tree::session(pid)),
            other => other,
        };
        let child = Child {
            pid,
            exit,
            pidfd,
            tree,
        };
        if let Err(Ok(child)) = answer.send(Ok(child)) {
            kill(child).await;
        }
    }

    /// The caller has gone. The intermediate is killed first: once it is reaped, there either is a child
    /// or never will be.
    async fn abandon(&mut self) {
        let _ = send_signal(self.launched.pidfd.as_fd(), libc::SIGKILL);
        let _ = (&mut self.launched.exit).await;
        if let Some(pid) = self.launched.child()
            && self.is_inside(pid)
        {
            let pidfd = own_pidfd(pid);
            let exit = traced::exit_of(pid, pidfd.as_ref(), self.children.as_ref());
            let tree = self.tree.take();
            kill(Child {
                pid,
                pidfd,
                exit,
                tree,
            })
            .await;
        }
        self.discard_tree().await;
    }

    /// A process of the container with CAP_SYS_PTRACE can write to the memory of the new one, and so to the
    /// page that tells its pid: a lie must at least not name a process outside the container. (Which of
    /// its own processes it names is the container's affair; [`Children`] gives none away twice.)
    fn is_inside(&self, pid: libc::pid_t) -> bool {
        match (self.pid_namespace, namespaces::pid_namespace(pid)) {
            (Some(container), Ok(Some(found))) => container == found,
            // Reaped already: nothing is done with it but to ask for its exit.
            (Some(_), Ok(None)) | (None, _) => true,
            // EACCES is also what proc_ns_get_link says of a process reaped since it was looked up.
            (Some(_), Err(_)) => matches!(namespaces::pid_namespace(pid), Ok(None)),
        }
    }

    async fn discard_tree(&mut self) {
        if let Some(tree) = self.tree.take() {
            tree.kill().await;
        }
    }
}

async fn kill(child: Child) {
    let _ = child.signal(libc::SIGKILL);
    if let Some(tree) = child.tree {
        tree.kill().await;
    }
    let _ = child.exit.await;
}

/// A pidfd of our child `pid`; `None` where it has been reaped. The number may belong to a stranger then,
/// who is no child of ours.
fn own_pidfd(pid: libc::pid_t) -> Option<OwnedFd> {
    let pidfd = pidfd_open(pid).ok()?;
    // SAFETY: `siginfo_t` is plain data, all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: a valid place to write to; WNOWAIT leaves a zombie to the one who reaps.
    let ret = unsafe {
        libc::waitid(
            libc::P_PIDFD,
            pidfd.as_raw_fd() as libc::id_t,
            &mut info,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
        )
    };
    (ret == 0).then_some(pidfd)
}
