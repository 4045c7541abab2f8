//! `podhook logs`: what containers have printed.

use std::io::{BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use k8s_cri::v1::ContainerState;

use super::error::Error as CommandError;
use crate::args;
use crate::pods;
use crate::pods::context::Context;
use crate::pods::log::{CopyError, Printer, tail_start};
use crate::store::regular;

const POLL: Duration = Duration::from_millis(100);

/// A log that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Nobody takes the output.
    #[error("cannot write the log: {0}")]
    Write(std::io::Error),
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Runs the command.
///
/// # Errors
/// When there is no such container, or its log cannot be read.
pub async fn run(context: &Context, args: &args::Logs) -> Result<(), CommandError> {
    let name = pods::pod_name(&args.pod)?;
    let pod = pods::get(&context.client, &context.store, context.namespace(), &name).await?;
    let wanted = args.container.as_deref().or(args.container_name.as_deref());
    let container = pod.choose_container(wanted)?;
    let Some(status) = pod.container(&container) else {
        return Err(waiting(&container, &name));
    };
    if args.previous {
        return Err(CommandError::Server {
            code: "BadRequest",
            message: format!(
                "previous terminated container {container:?} in pod {name:?} not found"
            ),
        });
    }
    let mut printer = Printer::new(args.timestamps);
    let path = PathBuf::from(&status.log_path);
    let failed = |source| Error::Read {
        path: path.clone(),
        source,
    };
    let file = match regular::open_log(&path) {
        Ok(file) => file,
        // containerd creates the file when it starts the container.
        Err(_) if status.state() == ContainerState::ContainerCreated => {
            return Err(waiting(&container, &name));
        }
        Err(e) => return Err(failed(e).into()),
    };
    let mut reader = BufReader::new(file);
    if let Ok(lines) = usize::try_from(args.tail) {
        let start = tail_start(&mut reader, lines).map_err(failed)?;
        reader.seek(SeekFrom::Start(start)).map_err(failed)?;
    }
    let id = status.id.clone();
    loop {
        // Asked before reading: what was written until the end is printed.
        let ended = !args.follow || has_ended(context, &id).await?;
        let rest = match printer.print(&mut reader, &mut std::io::stdout().lock()) {
            Ok(rest) => rest,
            // `podhook logs … | head`
            Err(CopyError::Write(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(CopyError::Write(e)) => return Err(Error::Write(e).into()),
            Err(CopyError::Read(e)) => return Err(failed(e).into()),
        };
        if ended && rest == 0 {
            return Ok(());
        }
        if args.follow && !ended {
            tokio::time::sleep(POLL).await;
        }
    }
}

fn waiting(container: &str, pod: &str) -> CommandError {
    CommandError::Server {
        code: "BadRequest",
        message: format!(
            "container {container:?} in pod {pod:?} is waiting to start: ContainerCreating"
        ),
    }
}

async fn has_ended(context: &Context, id: &str) -> Result<bool, CommandError> {
    let status = pods::container_status(&context.client, id).await?;
    Ok(status.is_none_or(|s| s.state() == ContainerState::ContainerExited))
}
