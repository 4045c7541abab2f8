//! `start`: makes the shim of a container, or finds the one of its pod, and prints its address.
//!
//! containerd reads stdout and stderr together, so nothing but the address may be printed, and waits
//! for both to close, so the server must not inherit them.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{env, fs, io};

use containerd_shim::Flags;
use podhook_hooks::config_json::{self, ConfigJsonError};

use crate::containerd::bootstrap::Params;
use crate::containerd::options::Options;
use crate::containerd::socket;
use crate::containerd::socket::Bound;
use crate::error::{Error, Result};
use crate::host::own_binary::{MOUNT_FD, Program};
use crate::host::{descriptors, file, reaper, signal_mask};

/// The file descriptor that the server finds its listening socket at, as with the Go shim.
pub const SOCKET_FD: i32 = 3;

/// The annotations that put a container into another's shim, in this order.
const GROUP_ANNOTATIONS: [&str; 2] = [
    "io.containerd.runc.v2.group",
    "io.kubernetes.cri.sandbox-id",
];

/// Runs the verb in the bundle directory, and prints its answer.
pub fn start(flags: &Flags) -> Result<()> {
    let params = Params::read(flags)?;
    if params.ttrpc_address.is_empty() {
        return Err(Error::InvalidArgument(
            "TTRPC_ADDRESS is not set: only containerd can start a shim".to_owned(),
        ));
    }
    // The server would only tell its log.
    reaper::check()?;
    let options = Options::decode(params.options.as_ref())?;
    let group = group(&params)?.unwrap_or_else(|| flags.id.clone());
    let address = address(&params, &flags.namespace, &group);
    if let Bound::New(listener) = socket::bind(&address)? {
        let own = socket::Own::new(socket::path(&address));
        let mut child = spawn(flags, &params, &listener)?;
        let told = settle(&mut child, &options).and_then(|()| tell(&params, &address));
        if told.is_err() {
            // A start that failed leaves nothing behind: nobody would ever ask that shim for anything.
            let _ = child.kill();
            let _ = child.wait();
        } else {
            // The server removes it now.
            std::mem::forget(own);
        }
        return told;
    }
    tell(&params, &address)
}

/// Says where the shim is, in the file and in the answer.
fn tell(params: &Params, address: &str) -> Result<()> {
    // containerd 1.6 and 1.7 find the shim again through this file after a restart.
    file::write_private(Path::new("address"), address.as_bytes())?;
    let reply = params.reply(address)?;
    let mut stdout = io::stdout();
    let printed = stdout.write_all(&reply).and_then(|()| stdout.flush());
    printed.map_err(Error::io("write", "stdout"))
}

fn address(params: &Params, namespace: &str, group: &str) -> String {
    let address = containerd_shim::socket_address(&params.grpc_address, namespace, group);
    match &params.socket_dir {
        Some(dir) => {
            let name = address.rsplit('/').next().unwrap_or_default();
            format!("unix://{}/{name}", dir.trim_end_matches('/'))
        }
        None => address,
    }
}

/// The name of the shim that serves the container, where it is another container's.
fn group(params: &Params) -> Result<Option<String>> {
    // The start verb runs in the bundle. That of a sandbox without a pause container has no configuration; none but a
    // containerd that sends these parameters makes one.
    let mut annotations = match config_json::annotations(Path::new("")) {
        Err(ConfigJsonError::Read { source, .. })
            if params.bootstrap && source.kind() == io::ErrorKind::NotFound =>
        {
            return Ok(None);
        }
        read => read?,
    };
    let mut names = GROUP_ANNOTATIONS.iter();
    Ok(names.find_map(|name| annotations.remove(*name)))
}

/// Starts the server in its own process group, with the listening socket as fd 3.
fn spawn(flags: &Flags, params: &Params, listener: &UnixListener) -> Result<Child> {
    let program = Program::protected()?;
    let duplicate =
        |fd: BorrowedFd<'_>| descriptors::above(fd, FREE_FD).map_err(Error::sys("duplicate"));
    let socket = duplicate(listener.as_fd())?;
    let file = duplicate(program.file.as_fd())?;
    let mount = program.mount.as_ref().map(|mount| duplicate(mount.as_fd()));
    let mount = mount.transpose()?;
    let _taken = take_below(FREE_FD, socket.as_fd()).map_err(Error::sys("duplicate"))?;
    let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    command
        .arg0(&program.path)
        .args([
            "-namespace",
            &flags.namespace,
            "-id",
            &flags.id,
            "-address",
            &params.grpc_address,
        ])
        .args(params.debug.then_some("-debug"))
        .env("TTRPC_ADDRESS", &params.ttrpc_address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    signal_mask::pass_on(&mut command);
    let mut given = vec![(socket.as_raw_fd(), SOCKET_FD)];
    given.extend(mount.as_ref().map(|mount| (mount.as_raw_fd(), MOUNT_FD)));
    // SAFETY: runs between fork and exec; dup2 is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            for &(from, to) in &given {
                if libc::dup2(from, to) != to {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    enable_sched_core()?;
    command.spawn().map_err(Error::io("start", program.path))
}

/// Descriptors from here on are not given to the server.
const FREE_FD: i32 = MOUNT_FD + 1;

/// Occupies every free descriptor below `limit`: the pipe by which `Command` learns of a failed exec
/// must not be where the server's descriptors go.
fn take_below(limit: i32, any: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut taken = Vec::new();
    loop {
        let fd = descriptors::above(any, 0)?;
        if fd.as_raw_fd() >= limit {
            return Ok(taken);
        }
        taken.push(fd);
    }
}

/// A scheduling cookie of its own for this process, and so for the server and everything below it: containerd
/// asks for it with `SCHED_CORE` (Linux 5.14, CONFIG_SCHED_CORE, hyper-threads). As with the Go shim, a kernel that
/// cannot do it fails the start.
fn enable_sched_core() -> Result<()> {
    const PR_SCHED_CORE: libc::c_int = 62;
    const PR_SCHED_CORE_CREATE: libc::c_ulong = 1;
    const THREAD: libc::c_ulong = 0;
    if env::var_os("SCHED_CORE").is_none_or(|value| value.is_empty()) {
        return Ok(());
    }
    // SAFETY: prctl with integer arguments only.
    match unsafe { libc::prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, THREAD, 0) } {
        0 => Ok(()),
        _ => Err(Error::sys("enable sched core support")(
            io::Error::last_os_error(),
        )),
    }
}

/// Gives the server its place: the shim cgroup, where one is named, and an oom_score_adj of one more
/// than containerd's, so that the kernel takes a shim before containerd, but hardly ever.
fn settle(child: &mut Child, options: &Options) -> Result<()> {
    if !options.shim_cgroup.is_empty() {
        crate::host::cgroup_place::join(&options.shim_cgroup, child.id())?;
    }
    let own = "/proc/self/oom_score_adj";
    let score: i32 = fs::read_to_string(own)
        .map_err(Error::io("read", own))?
        .trim()
        .parse()
        .map_err(Error::failed(own))?;
    let path = format!("/proc/{}/oom_score_adj", child.id());
    let _ = fs::write(&path, score.saturating_add(1).min(1000).to_string());
    Ok(())
}
