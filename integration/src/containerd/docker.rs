//! A dockerd that runs its containers on a private containerd. It makes no network.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::error::io_error;
use super::lock;
use super::{Containerd, Error};
use crate::command::{self, Output};
use crate::generation;
use crate::image::Image;
use crate::shim::podhook_shim;
use crate::wait::{self, SOON};

/// docker's client with its own daemon.
#[derive(Debug)]
pub struct Docker {
    client: PathBuf,
    dir: PathBuf,
    daemon: Option<Child>,
}

impl Containerd {
    /// `docker` of this containerd; its daemon is started at the first use, with the busybox image.
    ///
    /// The runtimes are called as the CRI handlers.
    ///
    /// # Errors
    /// When docker is not installed or does not come up.
    pub fn docker(&self) -> Result<Docker, Error> {
        let mut running = lock(&self.docker);
        if running.is_none() {
            *running = Some(self.start_docker()?);
        }
        let client = generation::docker("docker")?;
        Ok(Docker {
            client,
            dir: self.dir.join("docker"),
            daemon: None,
        })
    }

    fn start_docker(&self) -> Result<Docker, Error> {
        let dir = self.dir.join("docker");
        fs::create_dir_all(&dir).map_err(io_error("make", &dir))?;
        let podhook = podhook_shim().unwrap_or_default();
        let config = json!({"runtimes": {
            "podhook": {"runtimeType": podhook},
            "podhook-v1": {"runtimeType": "io.containerd.podhook.v1"},
        }});
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(io_error("write", &path))
        };
        write("daemon.json", &config.to_string())?;
        let log = dir.join("log");
        let log = fs::File::create(&log).map_err(io_error("create", &log))?;
        let program = generation::docker("dockerd")?;
        let mut daemon = self.command(&program);
        daemon
            .arg(format!("--config-file={}/daemon.json", dir.display()))
            .arg(format!("--data-root={}/data", dir.display()))
            .arg(format!("--exec-root={}/exec", dir.display()))
            .arg(format!("--pidfile={}/pid", dir.display()))
            .arg(format!("--host=unix://{}/socket", dir.display()))
            .arg(format!("--containerd={}", self.address().display()))
            .arg(format!("--containerd-namespace={}", self.id()))
            .arg(format!(
                "--containerd-plugins-namespace={}-plugins",
                self.id()
            ))
            .arg(format!("--cgroup-parent=/{}", self.id()))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--userland-proxy=false", "--storage-driver=vfs"])
            .env_clear()
            .env("PATH", self.path())
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io_error("open", &dir))?)
            .stderr(log);
        let daemon = command::as_a_service(&mut daemon)
            .spawn()
            .map_err(io_error("start", &program))?;
        let mut docker = Docker {
            client: generation::docker("docker")?,
            dir,
            daemon: Some(daemon),
        };
        let mut ended = false;
        let answers = wait::until_true("dockerd to answer", SOON, || {
            ended = docker.has_ended();
            ended
                || docker
                    .try_run(&["version"])
                    .is_ok_and(|output| output.status == 0)
        });
        if ended {
            return Err(Error::DockerEnded { log: docker.log() });
        }
        answers.map_err(|what| Error::TooSlow {
            what,
            log: docker.log(),
        })?;
        let archive = Image::Busybox.archive()?;
        docker.run(&["load", "--input", &archive.display().to_string()])?;
        Ok(docker)
    }

    /// Ends dockerd, which ends its containers; containerd still runs.
    pub(super) fn stop_docker(&self) {
        *lock(&self.docker) = None;
    }
}

impl Docker {
    /// The command without arguments of its own.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.client);
        command
            .arg(format!("--config={}/client", self.dir.display()))
            .arg(format!("--host=unix://{}/socket", self.dir.display()));
        command
    }

    /// Runs it; it must succeed. Gives its standard output.
    ///
    /// # Errors
    /// As [`command::run`], and for any exit status but 0.
    pub fn run(&self, args: &[&str]) -> Result<String, command::Error> {
        Ok(self.try_run(args)?.success()?.stdout)
    }

    /// Runs it whatever its exit status.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn try_run(&self, args: &[&str]) -> Result<Output, command::Error> {
        command::run(self.command().args(args), None, Duration::from_secs(90))
    }

    /// Runs it with something on its standard input.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Result<Output, command::Error> {
        command::run(
            self.command().args(args),
            Some(input),
            Duration::from_secs(90),
        )
    }

    fn has_ended(&mut self) -> bool {
        let daemon = self.daemon.as_mut();
        daemon.is_some_and(|daemon| !matches!(daemon.try_wait(), Ok(None)))
    }

    /// The daemon's log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let pid = fs::read_to_string(self.dir.join("pid")).ok();
        let pid = pid.and_then(|text| text.trim().parse().ok());
        // nsenter and unshare become dockerd: the pid is the child's own.
        let pid = pid.unwrap_or(i32::try_from(daemon.id()).unwrap_or_default());
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let ended = wait::until_true("dockerd to end", SOON, || {
            !matches!(daemon.try_wait(), Ok(None))
        });
        if ended.is_err() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
