//! CPU time by cgroup: nothing that a shim starts, and leaves, is missed or counted twice.

use std::ops::{Add, Sub};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io, process, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A cgroup whose CPU time can be read.
#[derive(Debug, Clone)]
pub struct Account {
    dir: PathBuf,
}

impl Account {
    /// The cgroup called `name` as containers are: `/NAMESPACE`, the parent of all in that namespace.
    ///
    /// # Errors
    /// When no hierarchy of the machine accounts CPU time.
    pub fn named(name: &str) -> io::Result<Self> {
        let (root, _) = hierarchy()?;
        Ok(Self {
            dir: root.join(name.trim_start_matches('/')),
        })
    }

    /// The one that this process is in.
    fn own() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let (_, controller) = hierarchy()?;
        let path = text.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let found = controllers.split(',').any(|name| name == controller);
            found.then_some(path)
        });
        Self::named(path.ok_or_else(|| io::Error::other("a process without CPU accounting"))?)
    }

    /// User and system time of all that is or was in it.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn used(&self) -> io::Result<Duration> {
        let bad = || io::Error::other(format!("{}: no CPU time", self.dir.display()));
        if let Ok(text) = fs::read_to_string(self.dir.join("cpuacct.usage")) {
            return Ok(Duration::from_nanos(
                text.trim().parse().map_err(|_| bad())?,
            ));
        }
        let text = fs::read_to_string(self.dir.join("cpu.stat"))?;
        let micros = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
        Ok(Duration::from_micros(micros.ok_or_else(bad)?))
    }
}

/// CPU time by who had it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// This program, and what it runs itself.
    pub client: Duration,
    pub containerd: Duration,
    /// The shims and the OCI runtime.
    pub shim: Duration,
    /// The processes of the containers.
    pub container: Duration,
}

impl Used {
    /// Of everything on the node.
    #[must_use]
    pub fn all(self) -> Duration {
        self.client + self.containerd + self.shim + self.container
    }
}

impl Add for Used {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            client: self.client + other.client,
            containerd: self.containerd + other.containerd,
            shim: self.shim + other.shim,
            container: self.container + other.container,
        }
    }
}

impl Sub for Used {
    type Output = Self;

    /// Nothing where there is less than before.
    fn sub(self, before: Self) -> Self {
        Self {
            client: self.client.saturating_sub(before.client),
            containerd: self.containerd.saturating_sub(before.containerd),
            shim: self.shim.saturating_sub(before.shim),
            container: self.container.saturating_sub(before.container),
        }
    }
}

/// CPU time of a process, of its threads that there are.
///
/// # Errors
/// When it has ended.
pub fn of_process(pid: u32) -> io::Result<Duration> {
    let mut all = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let nanos = text.split(' ').next().and_then(|word| word.parse().ok());
        all += Duration::from_nanos(nanos.unwrap_or(0));
    }
    Ok(all)
}

/// Accounts of this program's own: one for itself, one for containerd and the shims.
#[derive(Debug)]
pub struct Accounts {
    /// This process and what it runs directly.
    pub bench: Account,
    /// containerd, shims, the OCI runtime.
    pub node: Account,
    before: PathBuf,
}

impl Accounts {
    /// Makes them and moves this process into that of the node: a containerd that is started now stays there.
    ///
    /// # Errors
    /// Where cgroups cannot be made.
    pub fn open() -> io::Result<Self> {
        Self::called("")
    }

    /// The same beside those that this program has already.
    ///
    /// # Errors
    /// Where cgroups cannot be made.
    pub fn called(more: &str) -> io::Result<Self> {
        let (root, _) = hierarchy()?;
        let before = Account::own()?.dir;
        let make = |name: &str| {
            let dir = root.join(format!("podhook-bench-{}-{more}{name}", process::id()));
            fs::create_dir(&dir).map(|()| Account { dir })
        };
        let this = Self {
            bench: make("bench")?,
            node: make("node")?,
            before,
        };
        enter(&this.node.dir)?;
        Ok(this)
    }

    /// Moves this process into its own account; what it starts from now on is counted there.
    ///
    /// # Errors
    /// Where it cannot be moved.
    pub fn leave_node(&self) -> io::Result<()> {
        enter(&self.bench.dir)
    }

    /// Removes them; what still runs there, after an interrupt, is ended first.
    pub fn close(&self) {
        let _ = enter(&self.before);
        for dir in [&self.bench.dir, &self.node.dir] {
            for _ in 0..100 {
                let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                for pid in procs.lines().filter_map(|line| line.parse().ok()) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                if fs::remove_dir(dir).is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn enter(dir: &Path) -> io::Result<()> {
    fs::write(dir.join("cgroup.procs"), process::id().to_string())
}

/// The hierarchy that accounts CPU time, and the controller's name in /proc/PID/cgroup; cgroup v2 has
/// `cpu.stat` in every cgroup.
fn hierarchy() -> io::Result<(PathBuf, &'static str)> {
    let v1 = ["cpuacct", "cpu,cpuacct", "cpuacct,cpu"];
    let root = Path::new("/sys/fs/cgroup");
    for name in v1 {
        if root.join(name).join("cpuacct.usage").exists() {
            return Ok((root.join(name), "cpuacct"));
        }
    }
    if root.join("cgroup.procs").exists() {
        return Ok((root.to_path_buf(), ""));
    }
    Err(io::Error::other("no cgroup hierarchy accounts CPU time"))
}
