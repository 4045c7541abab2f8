//! The cgroups of a container: statistics, OOM kills, processes, frozen or not.
//!
//! Everything is read from the cgroup files themselves; nothing is cached but where they are.

mod blkio;
mod error;
mod file;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hugetlb;
#[allow(unsafe_code)]
mod kernel_log;
mod leftover;
mod locate;
mod moves;
mod noted;
#[allow(unsafe_code)]
mod notify;
mod oom;
mod processes;
mod rdma;
pub mod scope;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::path::{Path, PathBuf};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{self, Message};

use locate::Layout;

pub use error::Error;
pub use leftover::Leftover;
pub use moves::QuickMoves;
pub use noted::Noted;
pub use oom::OomWatch;

const V1_METRICS: &str = "io.containerd.cgroups.v1.Metrics";
const V2_METRICS: &str = "io.containerd.cgroups.v2.Metrics";

/// The cgroups of a container: v1 (per hierarchy), hybrid or v2.
#[derive(Debug)]
pub struct Cgroup {
    layout: Layout,
    /// The process it was found by.
    init: i32,
}

/// Where the machine-wide files are; tests have their own.
#[derive(Clone, Copy, Debug)]
struct HostFiles<'a> {
    proc: &'a Path,
    sys: &'a Path,
}

impl HostFiles<'static> {
    fn real() -> Self {
        Self {
            proc: Path::new("/proc"),
            sys: Path::new("/sys"),
        }
    }
}

impl Cgroup {
    /// Finds the cgroups a live process is in and keeps them, so that the other calls work after
    /// the process has exited. Called between the runtime's create and start, the process is the
    /// runtime's init, and nothing in the container has had a chance to move it.
    ///
    /// Fails with [`Error::Exited`] for a process that is exiting: the kernel would answer with
    /// the root of every v1 hierarchy.
    pub fn of_pid(pid: i32) -> Result<Self, Error> {
        let layout = locate::of_pid(HostFiles::real().proc, pid)?;
        Ok(Self { layout, init: pid })
    }

    /// The one above it: a pod's, of one of its containers'.
    #[must_use]
    pub fn parent(self) -> Self {
        let above = |dir: PathBuf| dir.parent().map_or_else(|| dir.clone(), Path::to_path_buf);
        let layout = match self.layout {
            Layout::V1(cgroup) => Layout::V1(cgroup.map(above)),
            Layout::V2(dir) => Layout::V2(above(dir)),
        };
        Self { layout, ..self }
    }

    /// The message of the `Stats` RPC: v1 metrics if any controller is in a v1 hierarchy (hybrid
    /// too, as containerd), else v2 metrics. [`Error::Gone`] once the cgroup has been removed.
    ///
    /// Controllers and files that do not exist leave their fields out; what cannot be parsed is an
    /// error that names the file.
    pub fn stats(&self) -> Result<Any, Error> {
        self.stats_with(HostFiles::real())
    }

    fn stats_with(&self, host: HostFiles<'_>) -> Result<Any, Error> {
        let any = match &self.layout {
            Layout::V1(cgroup) => any(V1_METRICS, &v1::metrics(cgroup, host)?),
            Layout::V2(dir) => any(V2_METRICS, &v2::metrics(dir, host)?),
        };
        // Last, because a cgroup removed half-way through has left only some of its fields out.
        self.check_exists()?;
        any.map_err(|source| Error::Io {
            operation: "encode the metrics of",
            path: self.directory().to_owned(),
            source: source.into(),
        })
    }

    /// Starts to watch for OOM kills. Those that happened before the call are not reported, so
    /// call it before the container starts. Needs a tokio runtime with I/O.
    ///
    /// [`Error::NoMemoryController`] where there is nothing to watch.
    pub fn watch_oom(&self) -> Result<OomWatch, Error> {
        let unified = match &self.layout {
            Layout::V1(cgroup) => match cgroup.dir("memory") {
                Some(dir) => return OomWatch::v1(dir),
                None => cgroup.unified.as_deref(),
            },
            Layout::V2(dir) => Some(dir.as_path()),
        };
        let path = || self.directory().to_owned();
        unified.map_or_else(
            || Err(Error::NoMemoryController { path: path() }),
            |dir| OomWatch::v2(dir, self.init),
        )
    }

    /// All processes in the cgroup and in cgroups below it, in ascending order: what `runc ps`
    /// lists. [`Error::Gone`] once the cgroup has been removed.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        processes::list(self.directory())
    }

    /// Whether the container is paused (or being paused, or below a cgroup that is).
    pub fn is_frozen(&self) -> Result<bool, Error> {
        match &self.layout {
            Layout::V1(cgroup) => cgroup.dir("freezer").map_or(Ok(false), noted::is_frozen_v1),
            Layout::V2(dir) => noted::is_frozen(dir),
        }
    }

    /// The directory that stands for the cgroup: its processes, its existence. Every runtime puts
    /// containers into devices and freezer, while in a controller it does not know (misc) they
    /// stay in the cgroup of containerd, which outlives them.
    fn directory(&self) -> &Path {
        match &self.layout {
            Layout::V1(cgroup) => ["devices", "freezer", "pids", "memory", "cpu"]
                .into_iter()
                .find_map(|controller| cgroup.dir(controller))
                .or_else(|| cgroup.v1.first().map(|(_, dir)| dir.as_path()))
                .unwrap_or(Path::new("/")),
            Layout::V2(dir) => dir,
        }
    }

    fn check_exists(&self) -> Result<(), Error> {
        let path = self.directory();
        if path.exists() {
            Ok(())
        } else {
            Err(Error::Gone {
                path: path.to_owned(),
            })
        }
    }
}

fn any(type_url: &str, metrics: &impl Message) -> protobuf::Result<Any> {
    let value = metrics.write_to_bytes()?;
    Ok(Any {
        type_url: type_url.to_owned(),
        value,
        ..Default::default()
    })
}
