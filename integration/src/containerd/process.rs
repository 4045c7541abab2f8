//! The process of a containerd: up, down, killed, up again.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::io_error;
use super::lock;
use super::remains;
use super::{Containerd, Error};
use crate::command::{as_a_service, without_v2_beside_v1};
use crate::cri::{self, Cri};
use crate::wait::{self, SOON, TimedOut};

impl Containerd {
    /// Starts the process (again) and waits until it serves and its events arrive.
    ///
    /// # Errors
    /// When it cannot be started or does not answer in time.
    pub fn up(&self) -> Result<(), Error> {
        self.up_through(&[])
    }

    /// The same with a program before it, which changes what it inherits and then executes it: `nice -n 5`.
    ///
    /// # Errors
    /// As [`Self::up`].
    pub fn up_through(&self, before: &[&str]) -> Result<(), Error> {
        let log = self.log_path();
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(io_error("open", &log))?;
        let err = out.try_clone().map_err(io_error("open", &log))?;
        let program = self.place.generation.program("containerd")?;
        // containerd leaves what it unpacks for a restore.
        let temporary = self.dir.join("tmp");
        fs::create_dir_all(&temporary).map_err(io_error("create", &temporary))?;
        let mut command = through(before, self.command(&program));
        command
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .env_clear()
            .env("PATH", self.path())
            .env("TMPDIR", temporary)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        let child = as_a_service(&mut command)
            .spawn()
            .map_err(io_error("start", &program))?;
        let pid = self.dir.join("pid");
        fs::write(&pid, child.id().to_string()).map_err(io_error("write", &pid))?;
        let namespace = PathBuf::from(format!("/proc/{}/ns/mnt", child.id()));
        *lock(&self.process) = Some(child);
        // As early as can be: the shims send again what happened meanwhile.
        wait::until_true("containerd to listen", SOON, || {
            UnixStream::connect(self.address()).is_ok()
        })
        .map_err(|what| self.too_slow(what))?;
        if self.place.runtime.is_crun() && self.mounts.get().is_none() {
            let file = File::open(&namespace).map_err(io_error("open", &namespace))?;
            let _ = self.mounts.set(file);
        }
        let ctr = self.ctr_in(self.id());
        self.events
            .subscribe(ctr.command())
            .map_err(io_error("start ctr events of", &self.dir))?;
        // ctr does not say when it is subscribed: make events until one arrives.
        let seen = self.events.all().len();
        let namespace = self.id().to_owned();
        let mut last = Instant::now();
        let _ = ctr.run(&["namespaces", "create", &namespace]);
        wait::until_true("events to arrive", SOON, || {
            if last.elapsed() > Duration::from_millis(50) {
                last = Instant::now();
                let _ = ctr.run(&["namespaces", "label", &namespace, "up=true"]);
            }
            self.events.all().len() > seen
        })
        .map_err(|what| self.too_slow(what))?;
        self.cri.get().map_or(Ok(()), |cri| self.wait_ready(cri))
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        lock(&self.process).as_ref().map(Child::id)
    }

    /// The PATH of its daemons and shims.
    pub(super) fn path(&self) -> String {
        format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.dir.join("bin").display()
        )
    }

    /// The command that runs `program` in the instance's mount namespace.
    pub(super) fn command(&self, program: &Path) -> Command {
        if !self.place.runtime.is_crun() {
            return Command::new(program);
        }
        if let Some(mounts) = self.mounts.get() {
            let mut command = Command::new("/usr/bin/nsenter");
            let file = format!("/proc/{}/fd/{}", std::process::id(), mounts.as_raw_fd());
            command.arg(format!("--mount={file}")).arg(program);
            return command;
        }
        without_v2_beside_v1(program)
    }

    /// Its mount namespace, where it has one of its own: crun's.
    #[must_use]
    pub fn mount_namespace(&self) -> Option<BorrowedFd<'_>> {
        self.mounts.get().map(AsFd::as_fd)
    }

    /// The mounts at or below `dir`, as its containerd sees them.
    pub(super) fn mounts_below(&self, dir: &Path) -> Vec<PathBuf> {
        let Some(child) = lock(&self.process).as_ref().map(Child::id) else {
            return remains::mounts(dir);
        };
        remains::mounts_seen_by(child, dir)
    }

    /// Its CRI services, connected at the first use.
    ///
    /// # Errors
    /// When they do not get ready.
    pub fn cri(&self) -> Result<&Cri, Error> {
        if let Some(cri) = self.cri.get() {
            return Ok(cri);
        }
        let cri = Cri::connect(&self.address())?;
        self.wait_ready(&cri)?;
        Ok(self.cri.get_or_init(|| cri))
    }

    /// Waits until CRI says that runtime and pod network are ready.
    pub(super) fn wait_ready(&self, cri: &Cri) -> Result<(), Error> {
        wait::until_true("CRI to be ready", SOON, || {
            let status = cri
                .status(cri::v1::StatusRequest { verbose: false })
                .ok()
                .and_then(|answer| answer.status);
            // A third, of later containerds, says that something in use is deprecated, as cgroup v1 is.
            let counts = |kind: &str| ["RuntimeReady", "NetworkReady"].contains(&kind);
            status.is_some_and(|status| {
                let mut conditions = status.conditions.iter();
                conditions.all(|condition| condition.status || !counts(&condition.r#type))
            })
        })
        .map_err(|what| self.too_slow(what))
    }

    /// Stops the process with SIGTERM; containers and shims run on.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&self) -> Result<(), Error> {
        self.end(Signal::SIGTERM)
    }

    /// Kills the process; containers and shims run on.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill9(&self) -> Result<(), Error> {
        self.end(Signal::SIGKILL)
    }

    /// Kills the process and starts it again.
    ///
    /// # Errors
    /// As [`Self::kill9`] and [`Self::up`].
    pub fn crash(&self) -> Result<(), Error> {
        self.kill9()?;
        self.up()
    }

    pub(super) fn end(&self, signal: Signal) -> Result<(), Error> {
        self.events.stop();
        let Some(mut child) = lock(&self.process).take() else {
            return Ok(());
        };
        if let Ok(pid) = i32::try_from(child.id()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
        wait::until_true("containerd to end", SOON, || {
            !matches!(child.try_wait(), Ok(None))
        })
        .map_err(|what| {
            let _ = child.kill();
            let _ = child.wait();
            self.too_slow(what)
        })
    }

    pub(super) fn too_slow(&self, what: TimedOut) -> Error {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        Error::TooSlow {
            what,
            log: lines[lines.len().saturating_sub(20)..].join("\n"),
        }
    }
}

/// `command` as the last arguments of `before`.
fn through(before: &[&str], command: Command) -> Command {
    let Some((program, arguments)) = before.split_first() else {
        return command;
    };
    let mut through = Command::new(program);
    through
        .args(arguments)
        .arg(command.get_program())
        .args(command.get_args());
    through
}
