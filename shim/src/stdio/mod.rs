//! A process's stdio: pipes or a terminal towards the process; fifos, a file or a logging binary
//! towards containerd.

#[allow(unsafe_code)]
mod console;
mod copy;
#[allow(unsafe_code)]
mod fifo;
mod file;
mod gate;
#[allow(unsafe_code)]
mod logger;
mod merge;
pub mod target;

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use containerd_shim::io::{IoTasks, Pty};
use nix::unistd::{Gid, Uid, fchown};
use podhook_hooks::handler::{LineQueue, Sink, line_queue};
use podhook_hooks::linux::watch;
use podhook_hooks::null_device;
use tokio::io::AsyncRead;
use tokio::net::unix::pipe;
use tokio::task::JoinSet;

use crate::containerd::options::Options;
use crate::error::{Error, Result};
use crate::runtime;
use gate::{Gate, Gated};
use logger::Logger;
use merge::Merged;
use target::Target;

pub use console::ConsoleSocket;
pub use containerd_shim::io::Stdio;

/// The shim's ends of a process's pipes, until the process runs.
#[derive(Default)]
pub struct ShimEnds {
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    /// Hooks print there too.
    hooks: bool,
    /// Nothing is copied before [`ProcessIo::release`].
    held: bool,
}

/// Whose stdio it is, for a logging binary.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    /// The container's id, or the exec's.
    pub id: &'a str,
    pub namespace: &'a str,
}

#[derive(Default)]
pub struct ProcessIo {
    tasks: IoTasks,
    /// The copies of its output; `tasks` has that of its input.
    copies: tokio::sync::Mutex<JoinSet<()>>,
    pty: Option<Pty>,
    logger: Option<Logger>,
    /// What holds the output back.
    gates: Vec<Gate>,
    /// Where hooks print, until no hook can any more.
    hooks: Mutex<Option<Sink>>,
}

/// Makes the pipes of a process without a terminal.
pub fn pipes(stdio: &Stdio, options: &Options) -> Result<(runtime::Stdio, ShimEnds)> {
    let mut child = runtime::Stdio::null()?;
    let mut ends = ShimEnds::default();
    let owner = |fd: &dyn AsFd| own(fd, options);
    if !stdio.stdin.is_empty() {
        let (reader, writer) = io::pipe().map_err(Error::sys("make a pipe"))?;
        owner(&reader)?;
        (child.stdin, ends.stdin) = (reader.into(), Some(writer));
    }
    if !stdio.stdout.is_empty() {
        let (reader, writer) = io::pipe().map_err(Error::sys("make a pipe"))?;
        owner(&writer)?;
        (child.stdout, ends.stdout) = (writer.into(), Some(reader));
    }
    child.stderr = Some(if stdio.stderr.is_empty() {
        null_device::open(false, true).map_err(Error::sys("make a null device"))?
    } else {
        let (reader, writer) = io::pipe().map_err(Error::sys("make a pipe"))?;
        owner(&writer)?;
        ends.stderr = Some(reader);
        writer.into()
    });
    Ok((child, ends))
}

/// A process that reopens /dev/stdout needs to own the pipe (`IoUid`, `IoGid`).
fn own(fd: &dyn AsFd, options: &Options) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(options.io_uid), Gid::from_raw(options.io_gid));
    fchown(fd.as_fd(), Some(uid), Some(gid)).map_err(Error::sys("give a pipe to its owner"))
}

impl ShimEnds {
    /// Hooks will print there too: see [`ProcessIo::hook_sink`].
    #[must_use]
    pub fn shared_with_hooks(mut self, hooks: bool) -> Self {
        self.hooks = hooks;
        self
    }

    /// Nothing is copied before [`ProcessIo::release`]: the OCI runtime prints its own errors there. (A logging
    /// program has the pipe itself.)
    #[must_use]
    pub fn held(mut self) -> Self {
        self.held = true;
        self
    }

    /// Connects the ends to where containerd wants them.
    pub async fn connect(mut self, stdio: &Stdio, owner: Owner<'_>) -> Result<ProcessIo> {
        let mut io = ProcessIo::default();
        let mut queues = Queues::default();
        match Target::parse(&stdio.stdout)? {
            Target::Binary {
                path,
                args,
                byte_required,
            } => {
                if self.hooks {
                    self.stdout = between(io.copies.get_mut(), self.stdout, &mut queues.stdout)?;
                    self.stderr = between(io.copies.get_mut(), self.stderr, &mut queues.stderr)?;
                }
                let logger =
                    Logger::start(&path, &args, owner, self.stdout, self.stderr, byte_required)
                        .await?;
                io.logger = Some(logger);
            }
            stdout => {
                let stderr = Target::parse(&stdio.stderr)?;
                let streams = [
                    (self.stdout, &stdout, &mut queues.stdout),
                    (self.stderr, &stderr, &mut queues.stderr),
                ];
                for (reader, target, queue) in streams {
                    let Some(reader) = reader else { continue };
                    let from = io.gated(receiver(reader)?, self.held);
                    if self.hooks {
                        io.copy_out(queue.merged(from, false), target)?;
                    } else {
                        io.copy_out(from, target)?;
                    }
                }
            }
        }
        if self.hooks {
            io.hooks = Mutex::new(Some(Sink::Apart {
                stdout: queues.stdout.0,
                stderr: queues.stderr.0,
            }));
        }
        if let Some(writer) = self.stdin {
            let sender = watch::sender(writer.into()).map_err(Error::sys("watch a pipe"))?;
            io.tasks
                .copy_from_fifo(&stdio.stdin, sender)
                .map_err(shim_error)?;
        }
        Ok(io)
    }
}

/// The queues that hooks print into.
#[derive(Default)]
struct Queues {
    stdout: Queue,
    stderr: Queue,
}

#[derive(Default)]
struct Queue(Option<LineQueue>);

impl Queue {
    /// The output with what comes through the queue.
    fn merged<R: AsyncRead + Unpin>(&mut self, from: R, terminal: bool) -> Merged<R> {
        let (queue, lines) = line_queue();
        self.0 = Some(queue);
        Merged::new(from, lines, terminal)
    }
}

/// A pipe for a logging binary, which else reads the process's own.
fn between(
    copies: &mut JoinSet<()>,
    from: Option<PipeReader>,
    queue: &mut Queue,
) -> Result<Option<PipeReader>> {
    let Some(from) = from else { return Ok(None) };
    let (reader, writer) = io::pipe().map_err(Error::sys("make a pipe"))?;
    let sender = watch::sender(writer.into()).map_err(Error::sys("watch a pipe"))?;
    file::copy_to_pipe(copies, queue.merged(receiver(from)?, false), sender);
    Ok(Some(reader))
}

fn receiver(reader: PipeReader) -> Result<pipe::Receiver> {
    watch::receiver(reader.into()).map_err(Error::sys("watch a pipe"))
}

impl ProcessIo {
    /// Connects a terminal's master, where hooks print too if `hooks` is set: see [`Self::hook_sink`].
    pub async fn terminal(
        master: File,
        stdio: &Stdio,
        owner: Owner<'_>,
        hooks: bool,
    ) -> Result<Self> {
        let mut io = Self::default();
        let mut queue = Queue::default();
        match Target::parse(&stdio.stdout)? {
            Target::Binary {
                path,
                args,
                byte_required,
            } => {
                let (reader, writer) = io::pipe().map_err(Error::sys("make a pipe"))?;
                let logger =
                    Logger::start(&path, &args, owner, Some(reader), None, byte_required).await?;
                io.logger = Some(logger);
                let pty = Pty::new(master).map_err(shim_error)?;
                let sender = watch::sender(writer.into()).map_err(Error::sys("watch a pipe"))?;
                let copies = io.copies.get_mut();
                if hooks {
                    file::copy_to_pipe(copies, queue.merged(pty.clone(), true), sender);
                } else {
                    file::copy_to_pipe(copies, pty.clone(), sender);
                }
                io.pty = Some(pty);
            }
            stdout => {
                let pty = Pty::new(master).map_err(shim_error)?;
                if hooks {
                    io.copy_out(queue.merged(pty.clone(), true), &stdout)?;
                } else {
                    io.copy_out(pty.clone(), &stdout)?;
                }
                io.pty = Some(pty);
            }
        }
        io.hooks = Mutex::new(queue.0.map(Sink::Joined));
        if let (false, Some(pty)) = (stdio.stdin.is_empty(), &io.pty) {
            io.tasks
                .copy_from_fifo(&stdio.stdin, pty.clone())
                .map_err(shim_error)?;
        }
        Ok(io)
    }

    fn gated<R>(&mut self, from: R, held: bool) -> Gated<R> {
        if !held {
            return Gated::open(from);
        }
        let (gated, gate) = Gated::closed(from);
        self.gates.push(gate);
        gated
    }

    /// The process exists: its output may pass.
    pub fn release(&mut self) {
        self.gates = Vec::new();
    }

    fn copy_out<R>(&mut self, from: R, to: &Target) -> Result<()>
    where
        R: AsyncRead + Send + Unpin + 'static,
    {
        let copies = self.copies.get_mut();
        match to {
            Target::None => {
                file::discard(copies, from);
                Ok(())
            }
            // A path alone may name a file too.
            Target::Fifo(path) if file::is_file(Path::new(path)) => {
                file::append(copies, from, Path::new(path))
            }
            Target::Fifo(path) => fifo::copy(copies, from, Path::new(path)),
            // To open it as a file would wait for its reader.
            Target::File(path) if file::is_fifo(path) => fifo::copy(copies, from, path),
            Target::File(path) => file::append(copies, from, path),
            Target::Binary { .. } => Err(Error::InvalidArgument(
                "a logging binary takes stdout and stderr".to_owned(),
            )),
        }
    }

    /// Lets go of stdin: the process sees its end once containerd's writer is gone too.
    pub fn close_stdin(&self) {
        self.tasks.close_input();
    }

    /// Sets the terminal's size. Without a terminal nothing is to be done.
    pub fn resize(&self, width: u32, height: u32) -> Result<()> {
        let Some(pty) = &self.pty else { return Ok(()) };
        let size = libc::winsize {
            ws_row: u16::try_from(height).unwrap_or(u16::MAX),
            ws_col: u16::try_from(width).unwrap_or(u16::MAX),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        console::set_size(pty.as_fd(), size)
    }

    /// The sink for a hook with `output: container`; `None` without one.
    pub fn hook_sink(&self) -> Option<Sink> {
        self.hooks().clone()
    }

    /// No hook starts any more: the output ends with the process's own and that of the hooks that run.
    pub fn end_hook_output(&self) {
        self.hooks().take();
    }

    fn hooks(&self) -> std::sync::MutexGuard<'_, Option<Sink>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers what is still buffered, within a limit, and closes everything.
    pub async fn shutdown(&self) {
        self.end_hook_output();
        self.tasks.shutdown().await;
        let mut copies = self.copies.lock().await;
        while copies.join_next().await.is_some() {}
        drop(copies);
        if let Some(logger) = &self.logger {
            logger.stop().await;
        }
    }

    /// Closes everything at once.
    pub async fn abort(&self) {
        self.end_hook_output();
        self.tasks.abort().await;
        self.copies.lock().await.shutdown().await;
        if let Some(logger) = &self.logger {
            logger.stop().await;
        }
    }
}

fn shim_error(error: containerd_shim::Error) -> Error {
    Error::lower(error)
}
