//! What a failed step means to the user: the words of `runc exec`.

use std::borrow::Cow;
use std::path::PathBuf;

use super::build::Build;
use super::{launch, room};
use crate::exec::Error;
use crate::exec::error::NOT_FOUND;
use crate::exec::plan::report::{Failure, Step};
use crate::exec::settings::rlimit;
use crate::linux::errno;
use crate::linux::limit::Asked;

/// What a message names, which is gone when the report comes.
#[derive(Debug)]
pub(crate) struct Context {
    id: String,
    command: String,
    cwd: String,
    cgroups: Vec<PathBuf>,
}

impl Context {
    pub fn new(build: &Build<'_>) -> Self {
        Self {
            id: build.container.id.clone(),
            command: build.command.clone(),
            cwd: build.cwd.clone(),
            cgroups: build
                .container
                .cgroups
                .hierarchies
                .iter()
                .map(|hierarchy| hierarchy.dir.clone())
                .collect(),
        }
    }

    pub fn error(&self, failure: Failure) -> Error {
        let Failure { step, errno, which } = failure;
        let why = errno::name(errno);
        let command = &self.command;
        let message = match step {
            // The init was reaped, or its namespaces are gone.
            Step::JoinNamespaces | Step::JoinUserNamespace if errno == libc::ESRCH => {
                return Error::NotRunning(self.id.clone());
            }
            Step::Chdir => format!(
                "chdir to cwd ({:?}) set in config.json failed: {why}",
                self.cwd
            ),
            Step::NotFound => format!("exec: {command:?}: {NOT_FOUND}"),
            Step::Relative => {
                format!(
                    "exec: {command:?}: cannot run executable found relative to current directory"
                )
            }
            Step::Stat if matches!(errno, libc::EACCES | libc::EISDIR) => {
                format!("exec: {command:?}: {why}")
            }
            Step::Stat => format!("exec: {command:?}: stat {command}: {why}"),
            Step::Exec => format!("exec {command}: {why}"),
            Step::WorkingDirectory => "current working directory is outside of container mount \
                namespace root -- possible container breakout detected"
                .to_string(),
            Step::Terminal if errno == libc::ENOTTY => {
                "open /dev/pts/ptmx: it is not the ptmx of a devpts".to_string()
            }
            Step::Terminal => format!("open /dev/ptmx: {why}"),
            Step::JoinCgroup => {
                let dir = self
                    .cgroups
                    .get(which as usize)
                    .cloned()
                    .unwrap_or_default();
                format!("joining cgroup {}: {why}", dir.display())
            }
            Step::Rlimit => {
                format!("setting rlimit {}: {why}", rlimit::name(which))
            }
            step => format!("{}: {why}", step.describe()),
        };
        Error::Start {
            step,
            errno,
            message,
        }
    }
}

/// The same error with the limit that it comes from, where that can be told.
pub(crate) fn with_limit(error: Error, build: &Build<'_>) -> Error {
    let of_user = build.processes_of_user();
    let cgroups = &build.container.cgroups;
    let limit = match &error {
        Error::Start {
            step: Step::ForkInside,
            errno: libc::EAGAIN,
            ..
        } => room::culprit(cgroups, of_user),
        // What setuid(2) finds execve(2) tells.
        Error::Start {
            step: Step::Exec,
            errno: libc::EAGAIN,
            ..
        } => room::processes(of_user),
        Error::System { operation, source }
            if *operation == launch::CLONE && source.raw_os_error() == Some(libc::EAGAIN) =>
        {
            room::culprit(cgroups, of_user)
        }
        Error::Start { step, errno, .. } => {
            let asked = match step {
                Step::JoinCgroup => Some(Asked::CgroupMove),
                Step::Keyring => Some(Asked::Key),
                Step::Terminal => Some(Asked::Terminal),
                Step::JoinNamespaces | Step::JoinUserNamespace => Some(Asked::Call("setns")),
                _ => None,
            };
            asked
                .and_then(|asked| asked.limit(*errno))
                .map(Cow::into_owned)
        }
        _ => None,
    };
    let Some(limit) = limit else { return error };
    let (step, errno) = match &error {
        Error::Start { step, errno, .. } => (*step, *errno),
        _ => (Step::ForkInside, libc::EAGAIN),
    };
    Error::Start {
        step,
        errno,
        message: format!("{error} ({limit})"),
    }
}
