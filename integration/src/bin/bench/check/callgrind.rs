//! The shim in callgrind: its verb `start`, and its server with all that a client asks it for.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use containerd_shim_protos::api::ConnectRequest;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::generation::cache;
use podhook_integration::wait::{self, SOON};

use crate::Fallible;
use crate::client::Direct;
use crate::shims::Shim;
use crate::verbs::{Bare, ended};

/// Where the server finds its listening socket.
const SOCKET_FD: i32 = 3;

/// What `integration/valgrind` has unpacked.
fn callgrind() -> Command {
    Command::new(cache().join("valgrind/callgrind"))
}

pub struct Callgrind<'a> {
    bare: &'a Bare,
    /// On a mount that cannot be written to: else the server refuses to run.
    program: PathBuf,
}

impl<'a> Callgrind<'a> {
    /// This process has a mount namespace of its own.
    ///
    /// # Errors
    /// Where there is no callgrind.
    pub fn new(bare: &'a Bare, shim: &Path) -> Fallible<Self> {
        let version = callgrind().arg("--version").output();
        version.map_err(|error| format!("valgrind: {error}: run integration/valgrind"))?;
        let dir = bare.dir().join("read-only");
        fs::create_dir(&dir)?;
        let program = dir.join("containerd-shim-podhook-v1");
        fs::copy(shim, &program)?;
        let none = None::<&str>;
        mount(Some(&dir), &dir, none, MsFlags::MS_BIND, none)?;
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, &dir, none, read_only, none)?;
        Ok(Self { bare, program })
    }

    fn command(&self, id: &str) -> Fallible<Command> {
        let mut command = callgrind();
        command
            // Whoever calls this has more or less of it, and a program counts it all when it starts another.
            .env_clear()
            .arg("-q")
            .arg(format!(
                "--callgrind-out-file={}.%p",
                self.out(id).display()
            ))
            .arg(format!(
                "--log-file={}",
                self.out(id).with_extension("log").display()
            ))
            .arg(&self.program);
        self.bare.as_containerd(command, id)
    }

    fn out(&self, id: &str) -> PathBuf {
        self.bare.dir().join(id)
    }

    /// What the process `pid` has executed.
    fn counted(&self, id: &str, pid: u32) -> Fallible<f64> {
        let path = format!("{}.{pid}", self.out(id).display());
        let text = fs::read_to_string(&path).map_err(|error| {
            let log = fs::read_to_string(self.out(id).with_extension("log"));
            format!(
                "{path}: {error}; valgrind: {}",
                log.unwrap_or_default().trim()
            )
        })?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        Ok(total
            .ok_or_else(|| format!("{path}: no totals"))?
            .trim()
            .parse()?)
    }

    /// The verb `start`. What it starts is not the shim: in callgrind `/proc/self/exe` is callgrind, which ends at once.
    ///
    /// # Errors
    /// What it prints.
    pub fn start_verb(&self, id: &str) -> Fallible<f64> {
        let _log = self.bare.make_bundle(id, id)?;
        let mut command = self.command(id)?;
        command.arg("start");
        ended(&mut command, &self.bare.input(id)?)?;
        self.bare.delete(Shim::Podhook, id)?;
        self.the_only(id)
    }

    /// Of a verb, whose process is not known: those it has forked have executed another program.
    fn the_only(&self, id: &str) -> Fallible<f64> {
        let prefix = format!("{id}.");
        let mut pids = fs::read_dir(self.bare.dir())?
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                name.to_str()?.strip_prefix(&prefix)?.parse().ok()
            });
        match (pids.next(), pids.next()) {
            (Some(pid), None) => self.counted(id, pid),
            _ => Err(format!("{id}: not one count").into()),
        }
    }

    /// A server, from its start to SIGTERM, and what `asked` has asked it for.
    ///
    /// # Errors
    /// What it answers.
    pub fn server(&self, id: &str, asked: impl FnOnce(&Direct) -> Fallible<()>) -> Fallible<f64> {
        let _log = self.bare.make_bundle(id, id)?;
        let path = self.bare.dir().join(format!("{id}.sock"));
        let listener = UnixListener::bind(&path)?;
        let mut server = self.serve(id, &listener)?;
        drop(listener);
        let asked = Direct::connect(&format!("unix://{}", path.display()), 3).and_then(|client| {
            // Its answer, which is an error, says that the server is up: a signal before that ends valgrind.
            let _ = client.call("Connect", &ConnectRequest::default());
            asked(&client)
        });
        let pid = server.id();
        let over = end(&mut server, &path);
        self.bare.delete(Shim::Podhook, id)?;
        asked.and(over)?;
        self.counted(id, pid)
    }

    fn serve(&self, id: &str, listener: &UnixListener) -> Fallible<Child> {
        let mut command = self.command(id)?;
        let socket = listener.as_raw_fd();
        let give = move || {
            // SAFETY: integers only.
            match unsafe { libc::dup2(socket, SOCKET_FD) } {
                SOCKET_FD => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: dup2(2) is async-signal-safe, and the listener is open here.
        unsafe { command.pre_exec(give) };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(command.spawn()?)
    }
}

fn end(server: &mut Child, socket: &Path) -> Fallible<()> {
    let pid = Pid::from_raw(server.id().cast_signed());
    kill(pid, Signal::SIGTERM)?;
    let over = wait::until_true("the end of the server", SOON, || {
        server.try_wait().is_ok_and(|status| status.is_some())
    });
    if over.is_err() {
        server.kill()?;
        server.wait()?;
    }
    over?;
    match UnixStream::connect(socket) {
        Ok(_) => Err("somebody still serves".into()),
        Err(_) => Ok(()),
    }
}
