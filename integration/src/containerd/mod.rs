//! A private containerd: own root, state, socket, network and shims' PATH, gone when dropped.

mod config;
mod network;
pub mod remains;
mod scrub;

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::command;
use crate::cri::{self, Cri};
use crate::ctr::Ctr;
use crate::events::Events;
use crate::generation::{self, Generation};
use crate::image::{Image, NoImage};
use crate::shim;
use crate::wait::{self, SOON, TimedOut};

/// Why a containerd is not as a test needs it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the machine must have is missing.
    #[error("{missing}: {remedy}")]
    Prerequisite {
        /// What is missing.
        missing: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The generation is not installed.
    #[error(transparent)]
    Generation(#[from] generation::Error),
    /// The test image is not built.
    #[error(transparent)]
    Image(#[from] NoImage),
    /// The pod network could not be made.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A command failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// There is no connection to its CRI.
    #[error(transparent)]
    Cri(#[from] cri::Error),
    /// It did not come up or go down in time; with the end of its log.
    #[error("{what}\n{log}")]
    TooSlow {
        /// What was waited for.
        what: TimedOut,
        /// The last lines of containerd's log.
        log: String,
    },
    /// A file or process of the instance failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Something of a container was left behind.
    #[error("left behind:\n  {}", .0.join("\n  "))]
    Leak(Vec<String>),
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io {
        operation,
        path,
        source,
    }
}

/// A running private containerd.
#[derive(Debug)]
pub struct Containerd {
    generation: Generation,
    version: String,
    dir: PathBuf,
    _lock: File,
    process: Mutex<Option<Child>>,
    events: Events,
    imported: Mutex<HashSet<(String, Image)>>,
    cri: OnceLock<Cri>,
}

impl Containerd {
    /// Starts one with the handlers of every [`crate::ShimKind`] (podhook's only if its shim is built).
    ///
    /// # Errors
    /// When the machine lacks something (the message says what to run) or containerd does not come up.
    pub fn start(generation: Generation) -> Result<Self, Error> {
        static STALE: Once = Once::new();
        check_machine()?;
        STALE.call_once(scrub::stale);
        let version = generation.version()?;
        let (dir, lock) =
            scrub::new_folder().map_err(io_error("make a folder in", &std::env::temp_dir()))?;
        let this = Self {
            generation,
            version,
            dir,
            _lock: lock,
            process: Mutex::default(),
            events: Events::default(),
            imported: Mutex::default(),
            cri: OnceLock::new(),
        };
        network::create(&this.dir)?;
        this.link_programs()?;
        let config = this.dir.join("config.toml");
        fs::write(&config, config::render(generation, &this.dir))
            .map_err(io_error("write", &config))?;
        this.up()?;
        this.import("k8s.io", Image::Pause)?;
        Ok(this)
    }

    /// The folder of PATH in which containerd looks for shims first.
    fn link_programs(&self) -> Result<(), Error> {
        let bin = self.dir.join("bin");
        let link = |target: &Path, name: &str| {
            let path = bin.join(name);
            symlink(target, &path).map_err(io_error("link", &path))
        };
        let original = "containerd-shim-runc-v2";
        link(&self.generation.program(original)?, original)?;
        if let Ok(podhook) = shim::podhook_shim() {
            link(&podhook, "containerd-shim-podhook-v1")?;
        }
        Ok(())
    }

    /// Starts the process (again) and waits until it serves and its events arrive.
    ///
    /// # Errors
    /// When it cannot be started or does not answer in time.
    pub fn up(&self) -> Result<(), Error> {
        let log = self.log_path();
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(io_error("open", &log))?;
        let err = out.try_clone().map_err(io_error("open", &log))?;
        let program = self.generation.program("containerd")?;
        let child = Command::new(&program)
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .env_clear()
            .env(
                "PATH",
                format!(
                    "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    self.dir.join("bin").display()
                ),
            )
            .current_dir(&self.dir)
            // Not in the terminal's group: an interrupt would end it under the feet of the clean-up.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(io_error("start", &program))?;
        let pid = self.dir.join("pid");
        fs::write(&pid, child.id().to_string()).map_err(io_error("write", &pid))?;
        *lock(&self.process) = Some(child);
        let ctr = self.ctr_in(self.id());
        wait::until_true("containerd to answer", Duration::from_secs(30), || {
            ctr.run(&["version"]).is_ok()
        })
        .map_err(|what| self.too_slow(what))?;
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
                let _ = ctr.run(&[
                    "namespaces",
                    "label",
                    &namespace,
                    &format!("at={}", last.elapsed().as_nanos()),
                ]);
            }
            self.events.all().len() > seen
        })
        .map_err(|what| self.too_slow(what))?;
        self.cri.get().map_or(Ok(()), |cri| self.wait_ready(cri))
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
    fn wait_ready(&self, cri: &Cri) -> Result<(), Error> {
        wait::until_true("CRI to be ready", Duration::from_secs(30), || {
            let status = cri
                .status(cri::v1::StatusRequest { verbose: false })
                .ok()
                .and_then(|answer| answer.status);
            status.is_some_and(|status| status.conditions.iter().all(|condition| condition.status))
        })
        .map_err(|what| self.too_slow(what))
    }

    /// Stops the process with SIGTERM; containers and shims run on.
    ///
    /// # Errors
    /// When it does not end within ten seconds.
    pub fn stop(&self) -> Result<(), Error> {
        self.end(Signal::SIGTERM)
    }

    /// Kills the process; containers and shims run on.
    ///
    /// # Errors
    /// When it does not end within ten seconds.
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

    fn end(&self, signal: Signal) -> Result<(), Error> {
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

    fn too_slow(&self, what: TimedOut) -> Error {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        Error::TooSlow {
            what,
            log: lines[lines.len().saturating_sub(20)..].join("\n"),
        }
    }

    /// The generation it is of.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Its version, as `1.6.20`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its folder; the name of that folder is the instance's id.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A name no other instance has: its namespace for ctr and the parent cgroup for pods.
    #[must_use]
    pub fn id(&self) -> &str {
        self.dir
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("phit")
    }

    /// Its gRPC socket.
    #[must_use]
    pub fn address(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// The bundle of a container.
    #[must_use]
    pub fn bundle(&self, namespace: &str, id: &str) -> PathBuf {
        self.dir
            .join("state/io.containerd.runtime.v2.task")
            .join(namespace)
            .join(id)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }

    /// Its log so far, the shims' included.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Its events since it was started.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// ctr in the instance's own namespace.
    #[must_use]
    pub fn ctr(&self) -> Ctr {
        self.ctr_in(self.id())
    }

    /// ctr in `namespace`.
    #[must_use]
    pub fn ctr_in(&self, namespace: &str) -> Ctr {
        Ctr::new(
            self.generation.bin().join("ctr"),
            &self.address(),
            namespace,
            self.dir.join("fifo"),
        )
    }

    /// Imports `image` into `namespace`, once.
    ///
    /// # Errors
    /// When the image is not built or containerd refuses it.
    pub fn import(&self, namespace: &str, image: Image) -> Result<(), Error> {
        let mut imported = lock(&self.imported);
        if imported.contains(&(namespace.to_owned(), image)) {
            return Ok(());
        }
        let archive = image.archive()?;
        self.ctr_in(namespace)
            .run_for(
                &["images", "import", &archive.to_string_lossy()],
                Duration::from_secs(60),
            )?
            .success()?;
        imported.insert((namespace.to_owned(), image));
        Ok(())
    }

    /// Every container that ever had a task here.
    #[must_use]
    pub fn known_containers(&self) -> BTreeSet<remains::Key> {
        let created = self
            .events
            .all()
            .into_iter()
            .filter(|event| event.topic == "/tasks/create");
        created
            .map(|event| (event.namespace.clone(), event.container_id().to_owned()))
            .collect()
    }

    /// Waits until nothing of `containers` is left: bundle, shim, socket, cgroup, runc state.
    ///
    /// # Errors
    /// [`Error::Leak`] with what is still there after ten seconds.
    pub fn expect_gone(&self, containers: &BTreeSet<remains::Key>) -> Result<(), Error> {
        let mut left = Vec::new();
        let gone = wait::until_true("clean-up", SOON, || {
            left = self.left_of(containers);
            left.is_empty()
        });
        gone.map_err(|_| Error::Leak(left))
    }

    fn left_of(&self, containers: &BTreeSet<remains::Key>) -> Vec<String> {
        let mut left = Vec::new();
        let shims = remains::shims(&self.address());
        for key in containers {
            let (namespace, id) = key;
            let bundle = self.bundle(namespace, id);
            left.extend(
                remains::mounts(&bundle)
                    .iter()
                    .map(|mount| format!("mount {}", mount.display())),
            );
            for path in [
                bundle,
                remains::runc_state(key),
                remains::socket(&self.address(), key),
            ] {
                if path.symlink_metadata().is_ok() {
                    left.push(path.display().to_string());
                }
            }
            let mut cgroups = remains::cgroups(&format!("{namespace}/{id}"));
            cgroups.extend(remains::cgroups(&format!("{}/{id}", self.id())));
            cgroups.sort();
            cgroups.dedup();
            left.extend(
                cgroups
                    .iter()
                    .map(|path| format!("cgroup {}", path.display())),
            );
            left.extend(
                shims
                    .iter()
                    .filter(|shim| shim.namespace == *namespace && shim.id == *id)
                    .map(|shim| format!("process {} {}", shim.pid, shim.command)),
            );
        }
        left
    }

    /// Checks that nothing is left of any container it ever had, and stops it.
    ///
    /// # Errors
    /// [`Error::Leak`] when something is left.
    pub fn close(&self) -> Result<(), Error> {
        self.expect_gone(&self.known_containers())?;
        let mut left: Vec<_> = remains::shims(&self.address())
            .iter()
            .map(|s| format!("process {} {}", s.pid, s.command))
            .collect();
        let state = self.dir.join("state");
        left.extend(
            remains::mounts(&state)
                .iter()
                .map(|mount| format!("mount {}", mount.display())),
        );
        if left.is_empty() {
            self.stop()
        } else {
            Err(Error::Leak(left))
        }
    }
}

impl Containerd {
    /// Ends it with everything it runs and removes every trace, now. Dropping does the same.
    pub fn destroy(&self) {
        let known = self.known_containers();
        let _ = self.end(Signal::SIGKILL);
        scrub::remove(&self.dir, &known);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.destroy();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What every containerd test needs from the machine.
fn check_machine() -> Result<(), Error> {
    let missing = |missing: &str, remedy| {
        Err(Error::Prerequisite {
            missing: missing.to_owned(),
            remedy,
        })
    };
    if !Uid::effective().is_root() {
        return missing("containers need root", "run `sudo make test`");
    }
    for program in [
        "/usr/bin/containerd",
        "/usr/sbin/runc",
        "/usr/lib/cni/bridge",
        "/usr/lib/cni/host-local",
    ] {
        if !Path::new(program).exists() {
            return missing(&format!("no {program}"), "run `make deps`");
        }
    }
    if !Path::new("/sys/fs/cgroup/cgroup.procs").exists() && remains::cgroups("").is_empty() {
        return missing(
            "no cgroup hierarchy in /sys/fs/cgroup",
            "mount one (systemd does)",
        );
    }
    Ok(())
}
