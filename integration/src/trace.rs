//! What a container's processes did, in its order: a folder of the node inside of the container,
//! where scripts leave marks and wait to be released.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::containerd::Containerd;
use crate::node::Node;
use crate::wait::{self, SOON, TimedOut};

/// Where the folder is in the container.
pub const INSIDE: &str = "/trace";

#[derive(Debug)]
pub struct Trace {
    dir: PathBuf,
}

/// A shell command that leaves the mark `name`. It holds no quotes.
#[must_use]
pub fn mark(name: &str) -> String {
    format!("echo {name} >> {INSIDE}/log; : > {INSIDE}/{name}")
}

impl Trace {
    /// An empty folder that every user may write to. It goes with the node's containerd.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(node: &Node) -> io::Result<Self> {
        Self::of(node.containerd())
    }

    /// The same for a containerd.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(containerd: &Containerd) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = containerd.dir().join("traces").join(n.to_string());
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o777))?;
        // Made here, so that whoever comes first may be another user than who comes second.
        File::create(dir.join("log"))?.set_permissions(Permissions::from_mode(0o666))?;
        Ok(Self { dir })
    }

    /// The folder on the node.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The value of ctr's `--mount`.
    #[must_use]
    pub fn mount(&self) -> String {
        format!(
            "type=bind,src={},dst={INSIDE},options=rbind:rw",
            self.dir.display()
        )
    }

    /// A shell command that leaves the mark `NAME-begin`, waits for [`Self::release`] and leaves
    /// `NAME-end`. It holds no quotes.
    ///
    /// # Errors
    /// When the fifo it waits on cannot be made.
    pub fn hold(&self, name: &str) -> io::Result<String> {
        let fifo = self.fifo(name);
        mkfifo(&fifo, Mode::from_bits_truncate(0o666))?;
        fs::set_permissions(&fifo, Permissions::from_mode(0o666))?;
        Ok(format!(
            "{}; read _ < {INSIDE}/{name}.fifo; {}",
            mark(&format!("{name}-begin")),
            mark(&format!("{name}-end"))
        ))
    }

    /// Lets the script go on that is held by that name.
    ///
    /// # Errors
    /// When none waits there.
    pub fn release(&self, name: &str) -> io::Result<()> {
        let fifo = self.fifo(name);
        let open = || {
            let mut options = OpenOptions::new();
            options.write(true);
            // Without O_NONBLOCK it would wait for a reader for ever, with it ENXIO says there is none.
            options.custom_flags(OFlag::O_NONBLOCK.bits()).open(&fifo)
        };
        let mut file = wait::until(
            &format!("a reader of {}", fifo.display()),
            SOON,
            || match open() {
                Err(e) if e.raw_os_error() == Some(Errno::ENXIO as i32) => None,
                other => Some(other),
            },
        )
        .map_err(io::Error::other)??;
        file.write_all(b"\n")
    }

    fn fifo(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.fifo"))
    }

    /// The marks so far, in the order they were left.
    #[must_use]
    pub fn marks(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the mark was left.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.marks().iter().any(|mark| mark == name)
    }

    /// How often the mark was left.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.marks().iter().filter(|mark| *mark == name).count()
    }

    /// Waits for a mark.
    ///
    /// # Errors
    /// When it is not left soon.
    pub fn wait(&self, name: &str) -> Result<(), TimedOut> {
        let what = format!("mark {name:?} in {}", self.dir.display());
        wait::until_true(&what, SOON, || self.has(name))
    }

    /// When a mark was left (last), on the node's clock less at most one tick of it.
    ///
    /// # Errors
    /// When it was not left.
    pub fn time(&self, name: &str) -> io::Result<SystemTime> {
        let file = self.dir.join(name);
        // The line in the log comes first.
        let _ = wait::until_true("the mark's file", SOON, || file.exists());
        fs::metadata(file)?.modified()
    }

    /// What a script wrote into a file of the folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.dir.join(name))
    }
}
