//! A private containerd: own root, state, socket, network and shims' PATH, gone when dropped.

mod config;
mod docker;
mod error;
mod leaks;
mod network;
mod process;
pub mod remains;
pub mod scrub;

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::unistd::Uid;

use crate::command::stdout_of;
use crate::cri::Cri;
use crate::criu;
use crate::ctr::Ctr;
use crate::events::Events;
use crate::generation::{Generation, OciRuntime};
use crate::image::Image;
use crate::place::Place;
use crate::shim::{self, ShimKind};

pub(crate) use config::{CONFIGURED, PLACED};
pub use docker::Docker;
pub use error::Error;
pub(crate) use error::io_error;

/// What the tests of behaviour have no need of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Plugins of the Node Resource Interface at `DIR/nri.sock`, where the generation has it.
    pub nri: bool,
    /// Pods reach out and have ports of the host: only in a network namespace of one's own, for whose whole network
    /// forwarding is switched on.
    pub host_ports: bool,
    /// Its state is on a tmpfs, as everybody's is in `/run`.
    pub state_in_memory: bool,
    /// Images come from the registries that [`Containerd::registry_hosts`] names.
    pub registry: bool,
    /// It logs warnings only, and says its events to nobody: where its processor time is measured.
    pub quiet: bool,
}

/// A running private containerd.
#[derive(Debug)]
pub struct Containerd {
    place: Place,
    version: String,
    dir: PathBuf,
    /// The node's address in the pod network, which no other instance has.
    node_address: String,
    _lock: File,
    /// Its mount namespace, where it has one of its own; the processes it is started with again join it.
    mounts: OnceLock<File>,
    process: Mutex<Option<Child>>,
    events: Events,
    imported: Mutex<HashSet<(String, Image)>>,
    cri: OnceLock<Cri>,
    docker: Mutex<Option<Docker>>,
}

impl Containerd {
    /// Starts one with the handlers of every [`crate::ShimKind`] (podhook's only if its shim is built),
    /// for tests of `shim` with the system's runc of that generation.
    ///
    /// # Errors
    /// As [`Self::start_at`].
    pub fn start(generation: Generation, shim: ShimKind) -> Result<Self, Error> {
        Self::start_at(Place {
            generation,
            shim,
            runtime: OciRuntime::Runc,
        })
    }

    /// The same with the OCI runtime too: the shims find it as `runc` in their PATH.
    ///
    /// containerd 1.6 reads `runtime_path` and makes no use of it: there podhook stands in for
    /// containerd-shim-runc-v2 in PATH where it is tested as the shim of `io.containerd.runc.v2`.
    ///
    /// # Errors
    /// When the machine lacks something (the message says what to run) or containerd does not come up.
    pub fn start_at(place: Place) -> Result<Self, Error> {
        Self::start_with(place, ShimKind::Runc)
    }

    /// The same with the shim of pods that name no handler.
    ///
    /// # Errors
    /// As [`Self::start_at`].
    pub fn start_with(place: Place, default: ShimKind) -> Result<Self, Error> {
        Self::start_featuring(place, default, Features::default())
    }

    /// The same with more than the tests of behaviour need.
    ///
    /// # Errors
    /// As [`Self::start_at`].
    pub fn start_featuring(
        place: Place,
        default: ShimKind,
        features: Features,
    ) -> Result<Self, Error> {
        static STALE: Once = Once::new();
        check_machine()?;
        STALE.call_once(scrub::stale);
        let version = place.generation.version()?;
        let (dir, lock) =
            scrub::new_folder().map_err(io_error("make a folder in", &std::env::temp_dir()))?;
        let mut this = Self {
            place,
            version,
            dir,
            node_address: String::new(),
            _lock: lock,
            mounts: OnceLock::new(),
            process: Mutex::default(),
            events: Events::default(),
            imported: Mutex::default(),
            cri: OnceLock::new(),
            docker: Mutex::default(),
        };
        this.node_address = network::create(&this.dir, features.host_ports)?;
        this.link_programs()?;
        this.make_scratch()?;
        if features.state_in_memory {
            in_memory(&this.dir.join("state"))?;
        }
        let config = this.dir.join("config.toml");
        fs::write(&config, config::render(place, &this.dir, default, features))
            .map_err(io_error("write", &config))?;
        this.up()?;
        if features.quiet {
            this.events.stop();
        }
        this.import("k8s.io", Image::Pause)?;
        Ok(this)
    }

    fn make_scratch(&self) -> Result<(), Error> {
        if !config::has_blockfile(self.place.generation) {
            return Ok(());
        }
        let scratch = self.dir.join(config::SCRATCH);
        stdout_of(
            "/usr/sbin/mkfs.ext4",
            &["-q", "-F", &scratch.to_string_lossy(), "16M"],
        )?;
        Ok(())
    }

    /// The folder of PATH in which containerd looks for shims first.
    fn link_programs(&self) -> Result<(), Error> {
        let Place {
            generation,
            runtime,
            ..
        } = self.place;
        let stands_in = self.place.stands_in();
        let bin = self.dir.join("bin");
        let link = |target: &Path, name: &str| {
            let path = bin.join(name);
            symlink(target, &path).map_err(io_error("link", &path))
        };
        let original = "containerd-shim-runc-v2";
        if !stands_in {
            link(&generation.program(original)?, original)?;
        }
        if criu::program().exists() {
            link(&criu::program(), "criu")?;
        }
        if let Ok(podhook) = shim::podhook_shim() {
            if stands_in {
                link(&podhook, original)?;
            }
            link(&podhook, "containerd-shim-podhook-v1")?;
        }
        link(&generation.oci_runtime(runtime)?, "runc")
    }

    /// The generation it is of.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.place.generation
    }

    /// The generation, shim and OCI runtime it was started for.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
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

    /// The node's address in the pod network: a bridge's, which no other instance has.
    #[must_use]
    pub fn node_address(&self) -> &str {
        &self.node_address
    }

    /// Where it reads which registry has the images of a host ([`Features::registry`]).
    #[must_use]
    pub fn registry_hosts(&self) -> PathBuf {
        self.dir.join(config::REGISTRY_HOSTS)
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

    /// The bundle of a pod whose sandbox is the shim's own.
    #[must_use]
    pub fn sandbox_bundle(&self, namespace: &str, id: &str) -> PathBuf {
        self.dir
            .join("state/io.containerd.sandbox.controller.v1.shim")
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

    /// The last lines of its log that say what went wrong.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = self.log();
        let wanted = |line: &&str| !line.contains("level=debug") && !line.contains("plugin");
        let lines: Vec<_> = log.lines().filter(wanted).collect();
        let end = &lines[lines.len().saturating_sub(15)..];
        end.iter()
            .map(|line| format!("{}\n", line.chars().take(300).collect::<String>()))
            .collect()
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
            self.place.generation.bin().join("ctr"),
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
}

impl Containerd {
    /// Ends it with everything it runs and removes every trace, now. Dropping does the same.
    pub fn destroy(&self) {
        self.stop_docker();
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

/// Mounts a tmpfs there; it goes with the folder.
fn in_memory(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(io_error("make", dir))?;
    let (kind, flags) = (Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
    let mounted = mount(kind, dir, kind, flags, Some("mode=755"));
    mounted.map_err(|errno| io_error("mount a tmpfs at", dir)(errno.into()))
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
