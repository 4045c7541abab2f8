//! A process's stdio: pipes or a terminal towards the process; fifos, a file or a logging binary
//! towards containerd.

mod console;
mod file;
mod logger;
mod target;

use std::{
    fs::File,
    io::{self, PipeReader, PipeWriter},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

pub use containerd_shim::io::Stdio;
use containerd_shim::io::{IoTasks, Pty};
use nix::unistd::{Gid, Uid, fchown};
use tokio::{net::unix::pipe, sync::Mutex, task::JoinSet};

pub use console::ConsoleSocket;
use logger::Logger;
use target::Target;

use crate::{
    error::{Error, Result},
    options::Options,
    runtime,
};

/// The shim's ends of a process's pipes, until the process runs.
#[derive(Default)]
pub struct Ends {
    stdin: Option<PipeWriter>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
}

/// Whose stdio it is, for a logging binary.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    /// The container.
    pub id: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

/// A running process's stdio.
#[derive(Default)]
pub struct ProcessIo {
    tasks: IoTasks,
    /// The copies that `tasks` does not know.
    copies: Mutex<JoinSet<()>>,
    pty: Option<Pty>,
    logger: Option<Logger>,
}

/// Makes the pipes of a process without a terminal.
pub fn pipes(stdio: &Stdio, options: &Options) -> Result<(runtime::Stdio, Ends)> {
    let mut child = runtime::Stdio::null()?;
    let mut ends = Ends::default();
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
        let null = File::options()
            .write(true)
            .open("/dev/null")
            .map_err(Error::io("open", "/dev/null"))?;
        OwnedFd::from(null)
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

impl Ends {
    /// Connects the ends to where containerd wants them.
    pub async fn connect(self, stdio: &Stdio, owner: Owner<'_>) -> Result<ProcessIo> {
        let mut io = ProcessIo::default();
        match Target::parse(&stdio.stdout)? {
            Target::Binary {
                path,
                args,
                byte_required,
            } => {
                let logger =
                    Logger::start(&path, &args, owner, self.stdout, self.stderr, byte_required)
                        .await?;
                io.logger = Some(logger);
            }
            stdout => {
                let stderr = Target::parse(&stdio.stderr)?;
                if let Some(reader) = self.stdout {
                    io.copy_out(receiver(reader)?, &stdout)?;
                }
                if let Some(reader) = self.stderr {
                    io.copy_out(receiver(reader)?, &stderr)?;
                }
            }
        }
        if let Some(writer) = self.stdin {
            let sender =
                pipe::Sender::from_owned_fd(writer.into()).map_err(Error::sys("watch a pipe"))?;
            io.tasks
                .copy_from_fifo(&stdio.stdin, sender)
                .map_err(shim_error)?;
        }
        Ok(io)
    }
}

fn receiver(reader: PipeReader) -> Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(reader.into()).map_err(Error::sys("watch a pipe"))
}

impl ProcessIo {
    /// Connects a terminal's master.
    pub async fn terminal(master: File, stdio: &Stdio, owner: Owner<'_>) -> Result<Self> {
        let mut io = Self::default();
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
                let sender = pipe::Sender::from_owned_fd(writer.into())
                    .map_err(Error::sys("watch a pipe"))?;
                file::copy_to_pipe(io.copies.get_mut(), pty.clone(), sender);
                io.pty = Some(pty);
            }
            stdout => {
                let pty = Pty::new(master).map_err(shim_error)?;
                io.copy_out(pty.clone(), &stdout)?;
                io.pty = Some(pty);
            }
        }
        if let (false, Some(pty)) = (stdio.stdin.is_empty(), &io.pty) {
            io.tasks
                .copy_from_fifo(&stdio.stdin, pty.clone())
                .map_err(shim_error)?;
        }
        Ok(io)
    }

    fn copy_out<R>(&mut self, from: R, to: &Target) -> Result<()>
    where
        R: tokio::io::AsyncRead + Send + Unpin + 'static,
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
            Target::Fifo(path) => self.tasks.copy_to_fifo(from, path).map_err(shim_error),
            // To open it as a file would wait for its reader.
            Target::File(path) if file::is_fifo(path) => {
                let path = path.display().to_string();
                self.tasks.copy_to_fifo(from, &path).map_err(shim_error)
            }
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

    /// Delivers what is still buffered, within a limit, and closes everything.
    pub async fn shutdown(&self) {
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
        self.tasks.abort().await;
        self.copies.lock().await.shutdown().await;
        if let Some(logger) = &self.logger {
            logger.stop().await;
        }
    }
}

fn shim_error(error: containerd_shim::Error) -> Error {
    Error::Unknown(error.to_string())
}
