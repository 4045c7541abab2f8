//! What a test runs on: a folder, a shim binary, and somebody who takes the events.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use containerd_shim_protos::protobuf::MessageFull;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use podhook_integration::containerd::{remains, scrub};
use podhook_integration::shim::podhook_shim;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Outcome};

use crate::bundle::{self, Spec};
use crate::daemon::Daemon;

/// Any error of a test.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A shim under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Podhook,
    /// containerd-shim-runc-v2 of a generation: the yardstick.
    Go(Generation),
}

impl Kind {
    pub fn program(self) -> Result<PathBuf, Failure> {
        Ok(match self {
            Self::Podhook => podhook_shim()?,
            Self::Go(generation) => generation.program("containerd-shim-runc-v2")?,
        })
    }

    /// The original of 2.4 writes an exit to a file after it has answered Wait and before it sends the event, so that
    /// the event of Delete may come first.
    pub fn tells_exits_late(self) -> bool {
        matches!(self, Self::Go(generation) if generation >= Generation::V2_4)
    }
}

/// The stage of one test; everything on it is gone when it is dropped.
pub struct Stage {
    pub kind: Kind,
    dir: PathBuf,
    _lock: File,
    daemon: Option<Daemon>,
    for_crun: AtomicBool,
    rootfs: PathBuf,
    ids: Mutex<BTreeSet<remains::Key>>,
    logs: Mutex<HashMap<String, Log>>,
}

/// The fifo that a shim logs to, as containerd holds it open, and what was read of it.
struct Log {
    fifo: File,
    text: String,
}

/// `message` as containerd's typeurl packs it.
pub fn any<M: MessageFull>(message: &M) -> Any {
    Any {
        type_url: M::descriptor().full_name().to_owned(),
        value: message
            .write_to_bytes()
            .expect("a message that can be encoded"),
        ..Any::default()
    }
}

impl Stage {
    pub fn new(kind: Kind) -> Result<Self, Failure> {
        let (dir, lock) = scrub::new_folder()?;
        let daemon = Daemon::start(&dir.join("containerd.sock.ttrpc"))?;
        Ok(Self {
            kind,
            rootfs: bundle::rootfs(&dir)?,
            dir,
            _lock: lock,
            daemon: Some(daemon),
            for_crun: AtomicBool::new(false),
            ids: Mutex::default(),
            logs: Mutex::default(),
        })
    }

    /// The shims that are started from now on are where crun works.
    pub fn be_for_crun(&self) {
        self.for_crun.store(true, Ordering::Relaxed);
    }

    pub fn is_for_crun(&self) -> bool {
        self.for_crun.load(Ordering::Relaxed)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("taken in drop only")
    }

    /// The busybox that containers are made of.
    pub fn rootfs(&self) -> &Path {
        &self.rootfs
    }

    /// The namespace: nobody else has it.
    pub fn namespace(&self) -> &str {
        self.dir
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("phit")
    }

    /// containerd's main address, which names the shims' sockets.
    pub fn address(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    pub fn bundle(&self, id: &str) -> PathBuf {
        self.dir
            .join("state/io.containerd.runtime.v2.task")
            .join(self.namespace())
            .join(id)
    }

    /// A specification for container `id`.
    pub fn spec(&self, id: &str, args: &[&str]) -> Spec {
        Spec::new(self.namespace(), id, args)
    }

    /// Makes a bundle.
    pub fn make_bundle(&self, id: &str, spec: &Spec) -> Outcome {
        let key = (self.namespace().to_owned(), id.to_owned());
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
        bundle::make(&self.bundle(id), &self.dir.join("work").join(id), spec)?;
        let fifo = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(self.bundle(id).join("log"))?;
        let log = Log {
            fifo,
            text: String::new(),
        };
        self.logs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), log);
        Ok(())
    }

    /// The ends of all shims' logs, for the message of a failure.
    pub fn logs(&self) -> String {
        const LINES: usize = 30;
        let ids: Vec<_> = self
            .logs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect();
        let logs: Vec<_> = ids.iter().map(|id| self.log(id)).collect();
        let lines: Vec<_> = logs.iter().flat_map(|log| log.lines()).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// What the shim of `id` has logged so far.
    pub fn log(&self, id: &str) -> String {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = logs.get_mut(id) else {
            return String::new();
        };
        let mut bytes = Vec::new();
        // Ends with WouldBlock; what was read until then counts.
        let _ = log.fifo.read_to_end(&mut bytes);
        log.text += &String::from_utf8_lossy(&bytes);
        log.text.clone()
    }

    /// The pid of the shim that was started for `id`.
    pub fn shim_pid(&self, id: &str) -> Option<i32> {
        let shims = remains::shims(&self.address());
        shims.iter().find(|shim| shim.id == id).map(|shim| shim.pid)
    }

    /// Waits until that shim is gone.
    pub fn wait_gone(&self, id: &str) -> Outcome {
        Ok(wait::until_true(
            &format!("the end of the shim of {id}"),
            SOON,
            || self.shim_pid(id).is_none(),
        )?)
    }

    /// A program in PATH that notes its arguments in a file and then runs `runc`.
    pub fn recording_runtime(&self, body: &str) -> Result<(String, PathBuf), Failure> {
        let log = self.dir.join("calls");
        let program = self.dir.join("recording-runc");
        fs::write(
            &program,
            format!(
                "#!/bin/sh\necho \"$*\" >> {}\n{body}\nexec runc \"$@\"\n",
                log.display()
            ),
        )?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok((program.display().to_string(), log))
    }

    /// What is left of a container, as the kernel sees it.
    pub fn left_of(&self, id: &str) -> Vec<String> {
        let key = (self.namespace().to_owned(), id.to_owned());
        let mut left: Vec<_> = remains::cgroups(&format!("{}/{id}", key.0))
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        left.extend(
            remains::mounts(&self.bundle(id))
                .iter()
                .map(|path| path.display().to_string()),
        );
        let state = remains::runc_state(&key);
        if state.exists() {
            left.push(state.display().to_string());
        }
        left
    }

    /// Checks that nothing is left: what a test must see to pass.
    pub fn finish(&self) -> Outcome {
        let ids = self
            .ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut left = Vec::new();
        let gone = wait::until_true("clean-up", SOON, || {
            left = ids.iter().flat_map(|(_, id)| self.left_of(id)).collect();
            left.extend(
                remains::shims(&self.address())
                    .into_iter()
                    .map(|shim| shim.command),
            );
            left.extend(
                ids.iter()
                    .map(|key| remains::socket(&self.address(), key))
                    .filter(|socket| self.kind == Kind::Podhook && socket.exists())
                    .map(|socket| socket.display().to_string()),
            );
            left.is_empty()
        });
        gone.map_err(|_| format!("left behind: {left:?}").into())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.daemon = None;
        let ids = self
            .ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        scrub::remove(&self.dir, &ids);
    }
}
