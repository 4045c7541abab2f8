//! Programs of the node that the serving shim runs.

use std::process::{Command, Stdio};

use podhook_hooks::exec::{Children, Exit};

use super::{capture, descriptors, signal_mask};
use crate::error::{Error, Result};

/// The most of what a program prints that is kept for an error message.
const OUTPUT_LIMIT: u64 = 4 << 10;

/// Runs a program to its end; one that fails is an error with what it has printed.
pub async fn run(program: &str, mut command: Command, children: &dyn Children) -> Result<()> {
    let printed = capture::file()?;
    let duplicate = || {
        printed
            .try_clone()
            .map_err(Error::sys("duplicate a file descriptor"))
    };
    command
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(duplicate()?)
        .stderr(duplicate()?);
    signal_mask::pass_on(&mut command);
    descriptors::pass_on_limit(&mut command);
    let hold = children.hold();
    let child = command.spawn().map_err(Error::io("start", program))?;
    let exit = children.wait(child.id().cast_signed());
    drop(hold);
    let exit: Exit = exit
        .await
        .map_err(|_| Error::Missing("the exit of a program was lost"))?;
    if exit.code() == Some(0) {
        return Ok(());
    }
    let printed = capture::read_back(printed, OUTPUT_LIMIT);
    Err(Error::Lower(Box::new(Failed {
        program: program.to_owned(),
        status: exit.status(),
        printed: String::from_utf8_lossy(&printed).trim().to_owned(),
    })))
}

/// It has not done it.
#[derive(Debug, thiserror::Error)]
#[error("{program}: exit status {status}: {printed}")]
struct Failed {
    program: String,
    status: u32,
    printed: String,
}
