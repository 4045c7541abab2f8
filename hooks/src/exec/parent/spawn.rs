//! Running a process in a container, from the parent's side.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::build::Build;
use super::children::{Children, Exit};
use super::container::Container;
use super::launch::{self, Launched, News};
use super::process::Process;
use super::stdio::{self, Files, Stdio};
use super::{message, traced};
use crate::exec::Error;
use crate::exec::plan::report::{Failure, Step};
use crate::exec::settings::namespaces;
use crate::exec::tree::Tree;
use crate::exec::tree::session::session_of;
use crate::linux::pidfd;
use crate::task;

/// A process of the container that has been made.
#[derive(Debug)]
pub struct Child {
    /// Its pid, in this process's pid namespace.
    pub pid: libc::pid_t,
    /// Its pidfd; `None` where it has ended and been reaped already.
    pub pidfd: Option<OwnedFd>,
    pub exit: oneshot::Receiver<Exit>,
    /// The handle to all it starts, where one was asked for.
    pub tree: Option<Tree>,
}

impl Child {
    /// Child `pid` that another process has made and left to this one, in a session of its own or of its maker.
    /// The caller holds (see [`Children`]) since before it was made.
    pub fn adopted(pid: libc::pid_t, children: &dyn Children) -> Self {
        let pidfd = own_pidfd(pid).ok().flatten();
        Self {
            pid,
            // Without one it cannot be signalled, but its session can.
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
            Some(pidfd) => pidfd::send_signal(pidfd.as_fd(), signal),
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
/// [`Step::Terminal`]: crate::exec::Step::Terminal
pub async fn spawn_on_terminal(
    container: &Container,
    process: &Process,
    children: &Arc<dyn Children>,
) -> Result<(Child, OwnedFd), Error> {
    let (ours, theirs) = stdio::sockets()?;
    let files = Files::Terminal(theirs);
    let child = make(container, process, files, false, children).await?;
    // It was sent before the process was made.
    match stdio::receive(&ours) {
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
    let mut build = Build::new(container, process, files, tree)?;
    loop {
        let refused = match attempt(&mut build, children).await {
            Ended::Made(child) => return Ok(child),
            Ended::Failed(Error::Killed { signal, .. }) => {
                return Err(Error::Killed {
                    signal,
                    oom: container.has_new_oom_kills(),
                });
            }
            Ended::Failed(error) => return Err(message::with_limit(error, &build)),
            Ended::Refused(error, tree) => {
                build.tree = tree;
                error
            }
        };
        if !build.give_way()? {
            if let Some(tree) = build.tree.take() {
                tree.kill().await;
            }
            return Err(message::with_limit(refused, &build));
        }
    }
}

/// How one attempt to make a process ended.
enum Ended {
    Made(Child),
    Failed(Error),
    /// The kernel refused a fork, and nothing of it is left: the tree is empty and may be used again.
    Refused(Error, Option<Tree>),
}

async fn attempt(build: &mut Build<'_>, children: &Arc<dyn Children>) -> Ended {
    let (answer, outcome) = oneshot::channel();
    {
        let hold = children.hold();
        let launched = match launch::launch(build, children.as_ref()) {
            Ok(launched) => launched,
            Err(Error::System { operation, source })
                if operation == launch::CLONE && source.raw_os_error() == Some(libc::EAGAIN) =>
            {
                return Ended::Refused(Error::System { operation, source }, build.tree.take());
            }
            Err(error) => return Ended::Failed(error),
        };
        let mut spawning = Spawning {
            launched,
            tree: build.tree.take(),
            pid_namespace: build.container.pid_namespace,
            children: children.clone(),
            context: message::Context::new(build),
        };
        // Detached: whoever gives up waiting does not leave an unknown process behind.
        task::spawn(async move {
            let _hold = hold;
            spawning.finish(answer).await;
        });
    }
    outcome.await.unwrap_or_else(|_| {
        Ended::Failed(Error::System {
            operation: "runtime shut down while joining the container",
            source: std::io::Error::from_raw_os_error(libc::ECANCELED),
        })
    })
}

/// Between the fork and execve.
struct Spawning {
    launched: Launched,
    tree: Option<Tree>,
    /// The container's, where it has one of its own.
    pid_namespace: Option<(u64, u64)>,
    children: Arc<dyn Children>,
    context: message::Context,
}

impl Spawning {
    async fn finish(&mut self, mut answer: oneshot::Sender<Ended>) {
        let ended = tokio::select! {
            ended = self.result() => ended,
            () = answer.closed() => {
                self.abandon().await;
                return;
            }
        };
        if let Err(Ended::Made(child)) = answer.send(ended) {
            kill(child).await;
        }
    }

    /// Follows the joiner and the command until the program runs, or both are over.
    async fn result(&mut self) -> Ended {
        let mut failure = None;
        loop {
            match self.launched.news().await {
                News::Over => break,
                News::Failed(new) => failure = failure.or(Some(new)),
                News::Made(pid) => {
                    if let Err(failed) = self.move_in(pid) {
                        let error = self.context.error(failed);
                        self.abandon().await;
                        return Ended::Failed(error);
                    }
                }
            }
        }
        let Some(pid) = self.launched.command() else {
            // Without a command the joiner is all there was.
            let joiner = (&mut self.launched.exit).await.ok();
            let error = match failure {
                Some(failure) => self.context.error(failure),
                None => Error::Killed {
                    signal: joiner.and_then(|exit| exit.signal()).unwrap_or(0),
                    oom: false,
                },
            };
            if matches!(
                failure,
                Some(Failure {
                    step: Step::ForkInside,
                    errno: libc::EAGAIN,
                    ..
                })
            ) {
                return Ended::Refused(error, self.tree.take());
            }
            self.discard_tree().await;
            return Ended::Failed(error);
        };
        if let Err(error) = self.check_inside(pid) {
            self.discard_tree().await;
            return Ended::Failed(error);
        }
        let tree = self.settled_tree(pid);
        self.launched.close();
        let pidfd = match own_pidfd(pid) {
            Ok(pidfd) => pidfd,
            Err(source) => {
                // Nobody could signal it.
                kill_by_pid(pid);
                if let Some(tree) = tree {
                    tree.kill().await;
                }
                let _ = self.children.wait(pid).await;
                let operation = "pidfd_open";
                return Ended::Failed(Error::System { operation, source });
            }
        };
        let exit = traced::exit_of(pid, pidfd.as_ref(), self.children.as_ref());
        if let Some(failure) = failure {
            let _ = exit.await;
            if let Some(tree) = tree {
                tree.kill().await;
            }
            return Ended::Failed(self.context.error(failure));
        }
        Ended::Made(Child {
            pid,
            exit,
            pidfd,
            tree,
        })
    }

    /// Moves the command to where only it counts, and lets it go on.
    fn move_in(&mut self, pid: libc::pid_t) -> Result<(), Failure> {
        let Some((go, moves)) = self.launched.go.take() else {
            return Ok(());
        };
        // Ours, and not reaped as long as nothing is awaited here: the number is its own.
        if !is_own_child(pid) {
            return Ok(());
        }
        if self.check_inside(pid).is_err() {
            return Err(Failure {
                step: Step::JoinCgroup,
                errno: libc::EPERM,
                which: 0,
            });
        }
        for place in moves {
            let taken = place.take_in(pid)?;
            self.launched.leaf_refused |= place.leaf_first && taken != 0;
        }
        // A pipe without a reader: the process has ended.
        let _ = File::from(go).write_all(b".");
        Ok(())
    }

    /// The caller has gone. The joiner is killed first: once it is reaped, there either is a command or
    /// never will be.
    async fn abandon(&mut self) {
        self.launched.kill();
        let _ = (&mut self.launched.exit).await;
        self.launched.close();
        if let Some(pid) = self.launched.command()
            && self.check_inside(pid).is_ok()
        {
            let exit = self.children.wait(pid);
            let tree = self.settled_tree(pid);
            kill_by_pid(pid);
            kill(Child {
                pid,
                pidfd: None,
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
    fn check_inside(&self, pid: libc::pid_t) -> Result<(), Error> {
        let Some(container) = self.pid_namespace else {
            return Ok(());
        };
        // EACCES is also what proc_ns_get_link says of a process reaped since it was looked up.
        let found = namespaces::pid_namespace(pid)
            .or_else(|error| namespaces::pid_namespace(pid).map_err(|_| error))?;
        match found {
            Some(found) if found != container => Err(Error::System {
                operation: "the pid of the new process was tampered with",
                source: std::io::Error::from_raw_os_error(libc::EPERM),
            }),
            // Reaped already: nothing is done with it but to ask for its exit.
            _ => Ok(()),
        }
    }

    /// Where the leaf took no process the command is in the container's own cgroup.
    fn settled_tree(&mut self, pid: libc::pid_t) -> Option<Tree> {
        let in_leaf = !self.launched.is_beside_leaf();
        self.tree.take().map(|tree| tree.settled(pid, in_leaf))
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
/// who is not our child.
///
/// # Errors
/// Where the kernel has none to give.
fn own_pidfd(pid: libc::pid_t) -> std::io::Result<Option<OwnedFd>> {
    let pidfd = match pidfd::open(pid) {
        Ok(pidfd) => pidfd,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(error) => return Err(error),
    };
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
    Ok((ret == 0).then_some(pidfd))
}

/// Kills our child `pid`, unless it was reaped. Whoever reaps does so on this thread: the number is the child's own
/// until this has returned.
fn kill_by_pid(pid: libc::pid_t) {
    if is_own_child(pid) {
        // SAFETY: no pointers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// Whether `pid` is our child, not reaped.
fn is_own_child(pid: libc::pid_t) -> bool {
    // SAFETY: `siginfo_t` is plain data, all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: a valid place to write to; WNOWAIT leaves a zombie to the one who reaps.
    unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) == 0 }
}
