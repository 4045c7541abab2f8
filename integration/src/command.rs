//! Running a command to its end with its output, exit status and a time limit.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::wait::{SOON, scaled};

/// Why a command gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("start {command}: {source}")]
    Start { command: String, source: io::Error },
    /// Its files could not be written or read.
    #[error("output of {command}: {source}")]
    Output { command: String, source: io::Error },
    /// It ran longer than it may; it was killed.
    #[error("{command}: still running after {limit:?}\n{output}")]
    TooLong {
        command: String,
        limit: Duration,
        /// What it had written.
        output: String,
    },
    /// It ended with a status other than 0, where success was asked for.
    #[error("{command}: exit status {status}\n{output}")]
    Failed {
        command: String,
        /// Its exit status.
        status: i32,
        /// Standard output and error.
        output: String,
    },
}

/// Has a command start as a service manager starts a daemon, and not as this program was started: no signal is ignored, as
/// SIGHUP is below `nohup` and would be in every container, and an interrupt of the terminal does not end it under the feet of
/// the clean-up.
pub fn as_a_service(command: &mut Command) -> &mut Command {
    let defaults = || {
        for signal in 1..=libc::SIGRTMAX() {
            // SAFETY: signal(2) is async-signal-safe. It refuses some numbers, which nobody ignores then.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: it calls nothing else.
    unsafe { command.pre_exec(defaults) };
    command.process_group(0)
}

/// A command that runs `program` in a mount namespace of its own without cgroup v2, where that is mounted beside v1. crun
/// calls that legacy, and accepts it.
#[must_use]
pub fn without_v2_beside_v1(program: &Path) -> Command {
    let script = "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec \"$@\"";
    let mut command = Command::new("/usr/bin/unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "/bin/sh",
        "-c",
        script,
        "sh",
    ]);
    command.arg(program);
    command
}

/// What a command left.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit status; 128 + n after signal n.
    pub status: i32,
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Wall time from start to exit.
    pub elapsed: Duration,
}

impl Output {
    /// This output when the exit status is 0.
    ///
    /// # Errors
    /// [`Error::Failed`] for any other status.
    pub fn success(self) -> Result<Self, Error> {
        if self.status == 0 {
            return Ok(self);
        }
        Err(Error::Failed {
            command: self.command,
            status: self.status,
            output: format!("{}{}", self.stdout, self.stderr),
        })
    }
}

/// Runs `command` with `stdin` (none: /dev/null) for at most `limit`, [`scaled`].
///
/// The output goes through files, so a background child that keeps it open delays nothing.
///
/// # Errors
/// When it cannot be started or does not end in time; a status other than 0 is no error here.
pub fn run(command: &mut Command, stdin: Option<&[u8]>, limit: Duration) -> Result<Output, Error> {
    run_shown(command, stdin, limit, &[], || {})
}

/// The same, and calls `then` as soon as the output, both streams of it together, has each of these texts.
///
/// # Errors
/// As [`run`].
pub fn run_shown(
    command: &mut Command,
    stdin: Option<&[u8]>,
    limit: Duration,
    shown: &[&str],
    then: impl FnOnce(),
) -> Result<Output, Error> {
    let mut then = Some(then).filter(|_| !shown.is_empty());
    let (line, limit) = (command_line(command), scaled(limit));
    let output_error = |source| Error::Output {
        command: line.clone(),
        source,
    };
    let mut stdout = tempfile::tempfile().map_err(output_error)?;
    let mut stderr = tempfile::tempfile().map_err(output_error)?;
    command
        .stdin(if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(stdout.try_clone().map_err(output_error)?)
        .stderr(stderr.try_clone().map_err(output_error)?);
    let start = Instant::now();
    let mut child = command.spawn().map_err(|source| Error::Start {
        command: line.clone(),
        source,
    })?;
    if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), stdin) {
        let bytes = bytes.to_vec();
        // A command that does not read its input is no error of ours.
        thread::spawn(move || drop(pipe.write_all(&bytes)));
    }
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(output_error)? {
            break status;
        }
        if then.is_some() {
            let so_far = written(&stdout) + &written(&stderr);
            if shown.iter().all(|text| so_far.contains(text))
                && let Some(then) = then.take()
            {
                then();
            }
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            let output = format!(
                "{}{}",
                text(&mut stdout).unwrap_or_default(),
                text(&mut stderr).unwrap_or_default()
            );
            return Err(Error::TooLong {
                command: line,
                limit,
                output,
            });
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    let elapsed = start.elapsed();
    Ok(Output {
        stdout: text(&mut stdout).map_err(output_error)?,
        stderr: text(&mut stderr).map_err(output_error)?,
        status: status
            .code()
            .or(status.signal().map(|n| 128 + n))
            .unwrap_or(255),
        command: line,
        elapsed,
    })
}

/// Runs a command that must succeed, and soon, and gives its standard output.
///
/// # Errors
/// As [`run`], and for any exit status but 0.
pub fn stdout_of(program: &str, args: &[&str]) -> Result<String, Error> {
    let output = run(Command::new(program).args(args), None, SOON)?;
    Ok(output.success()?.stdout)
}

/// What is in the file by now. The place where the command writes on stays as it is.
fn written(file: &File) -> String {
    let mut bytes = vec![0; file.metadata().map_or(0, |file| file.len()) as usize];
    let read = file.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn command_line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}
