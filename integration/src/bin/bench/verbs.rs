//! A shim's binary without containerd: its bundles, its verbs, and somebody who takes its events.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::bootstrap_api::BootstrapParams;
use containerd_shim_protos::protobuf::Message;
use nix::sched::{CloneFlags, setns};
use podhook_integration::Generation;
use podhook_integration::command::as_a_service;
use podhook_integration::containerd::scrub;
use podhook_integration::protocol::bundle::{self, Spec};
use podhook_integration::protocol::daemon::Daemon;
use podhook_integration::protocol::reply;

use crate::Fallible;
use crate::client::Direct;
use crate::rounds::timed;
use crate::shims::Shim;
use crate::spot::Spot;

/// What the shims are started in, as containerd of a generation does.
pub struct Bare {
    dir: PathBuf,
    state: PathBuf,
    _lock: File,
    generation: Generation,
    mounts: Option<Arc<OwnedFd>>,
    rootfs: PathBuf,
    pub daemon: Daemon,
    ids: std::cell::RefCell<std::collections::BTreeSet<(String, String)>>,
}

impl Bare {
    /// A folder with all of it, but for the bundles: they are in `state`, a folder on a tmpfs. The mount namespace is that of a
    /// containerd whose OCI runtime wants one.
    ///
    /// # Errors
    /// Where a file cannot be made.
    pub fn open(spot: Spot, state: PathBuf, mounts: Option<OwnedFd>) -> Fallible<Self> {
        let (dir, lock) = scrub::new_folder()?;
        symlink(
            spot.generation.oci_runtime(spot.runtime)?,
            dir.join("bin/runc"),
        )?;
        Ok(Self {
            daemon: Daemon::start(&dir.join("containerd.sock.ttrpc"))?,
            rootfs: bundle::rootfs(&dir)?,
            dir,
            state,
            _lock: lock,
            generation: spot.generation,
            mounts: mounts.map(Arc::new),
            ids: Default::default(),
        })
    }

    fn namespace(&self) -> &str {
        let name = self.dir.file_name().and_then(|name| name.to_str());
        name.unwrap_or("phit")
    }

    /// Where the bundle of a container is.
    #[must_use]
    pub fn bundle(&self, id: &str) -> PathBuf {
        let tasks = self.state.join("io.containerd.runtime.v2.task");
        tasks.join(self.namespace()).join(id)
    }

    /// The folder of it all.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The busybox that containers are made of.
    #[must_use]
    pub fn rootfs(&self) -> &Path {
        &self.rootfs
    }

    /// Makes the bundle of a container of a pod, which sleeps. Its log is read by nobody, and open as containerd has it.
    ///
    /// # Errors
    /// Where a file cannot be made.
    pub fn make_bundle(&self, id: &str, pod: &str) -> Fallible<File> {
        let key = (self.namespace().to_owned(), id.to_owned());
        self.ids.borrow_mut().insert(key);
        let mut spec = Spec::new(self.namespace(), id, &["sleep", "1000000"]);
        for (key, value) in [
            ("io.kubernetes.cri.sandbox-id", pod),
            (
                "io.kubernetes.cri.container-type",
                if id == pod { "sandbox" } else { "container" },
            ),
        ] {
            spec = spec.annotation(key, value);
        }
        bundle::make(&self.bundle(id), &self.dir.join("work").join(id), &spec)?;
        let mut log = File::options();
        log.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        Ok(log.open(self.bundle(id).join("log"))?)
    }

    fn command(&self, shim: Shim, id: &str) -> Fallible<Command> {
        self.as_containerd(Command::new(shim.program(self.generation)?), id)
    }

    /// A shim's program, with what containerd starts one with.
    ///
    /// # Errors
    /// A path that no program can be given.
    pub fn as_containerd(&self, mut command: Command, id: &str) -> Fallible<Command> {
        let bin = self.dir.join("bin");
        command
            .args(["-namespace", self.namespace(), "-address"])
            .arg(self.dir.join("containerd.sock"))
            .args(["-publish-binary", "/bin/false", "-id", id])
            .env("TTRPC_ADDRESS", self.daemon.path())
            .env("GRPC_ADDRESS", self.dir.join("containerd.sock"))
            .env(
                "PATH",
                format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()),
            )
            .current_dir(self.bundle(id))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.generation >= Generation::V1_7 {
            command.env("MAX_SHIM_VERSION", "3");
        }
        as_a_service(&mut command);
        if let Some(mounts) = self.mounts.clone() {
            let bundle = CString::new(self.bundle(id).into_os_string().into_vec())?;
            // A mount namespace is joined at its root.
            let join = move || {
                setns(&*mounts, CloneFlags::CLONE_NEWNS)?;
                Ok(nix::unistd::chdir(bundle.as_c_str())?)
            };
            // SAFETY: setns(2) and chdir(2) are async-signal-safe; the descriptor is open here, and the path made before.
            unsafe { command.pre_exec(join) };
        }
        Ok(command)
    }

    /// What containerd writes to the stdin of `start`.
    ///
    /// # Errors
    /// Where containerd does not say its version.
    pub fn input(&self, id: &str) -> Fallible<Vec<u8>> {
        if self.generation < Generation::V2_3 {
            return Ok(Vec::new());
        }
        let params = BootstrapParams {
            instance_id: id.into(),
            namespace: self.namespace().into(),
            containerd_version: format!("v{}", self.generation.version()?),
            containerd_ttrpc_address: self.daemon.path().display().to_string(),
            containerd_grpc_address: self.dir.join("containerd.sock").display().to_string(),
            containerd_binary: "/bin/false".into(),
            socket_dir: Some("/run/containerd/s".into()),
            ..Default::default()
        };
        Ok(params.write_to_bytes()?)
    }

    /// The time of any program that is started as `start` is.
    ///
    /// # Errors
    /// What it prints.
    pub fn run(&self, command: Command, id: &str) -> Fallible<Duration> {
        let mut command = self.as_containerd(command, id)?;
        let input = self.input(id)?;
        let (_, elapsed) = timed(|| ended(&mut command, &input))?;
        Ok(elapsed)
    }

    /// The verb `start`: the time from before the fork until it has ended, and the shim that it has started or found.
    ///
    /// # Errors
    /// What it prints.
    pub fn start(&self, shim: Shim, id: &str) -> Fallible<(Duration, Direct)> {
        let mut command = self.command(shim, id)?;
        command.arg("start");
        let input = self.input(id)?;
        let (output, elapsed) = timed(|| ended(&mut command, &input))?;
        let (version, address) = reply::parse(&output);
        Ok((elapsed, Direct::connect(&address, version)?))
    }

    /// The verb `delete`.
    ///
    /// # Errors
    /// What it prints.
    pub fn delete(&self, shim: Shim, id: &str) -> Fallible<Duration> {
        let mut command = self.command(shim, id)?;
        command.arg("-bundle").arg(self.bundle(id)).arg("delete");
        let (_, elapsed) = timed(|| ended(&mut command, b""))?;
        Ok(elapsed)
    }

    /// The process of the shim that was started for `id`.
    ///
    /// # Errors
    /// When there is none.
    pub fn pid(&self, id: &str) -> Fallible<u32> {
        let address = self.dir.join("containerd.sock");
        let shims = podhook_integration::containerd::remains::shims(&address);
        let found = shims.iter().find(|shim| shim.id == id);
        Ok(u32::try_from(found.ok_or("no process of the shim")?.pid)?)
    }
}

/// Runs a command to its end with something on its stdin; gives its output.
///
/// # Errors
/// Its status, where that is not 0.
pub fn ended(command: &mut Command, input: &[u8]) -> Fallible<Vec<u8>> {
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input is no error.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = [&*output.stdout, &*output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let verb = command.get_args().last().unwrap_or_default();
        return Err(format!("{}: {}, {}", verb.display(), said.trim(), output.status).into());
    }
    Ok(output.stdout)
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.daemon.down();
        scrub::remove(&self.dir, &self.ids.borrow());
    }
}
