//! Real containers for the engine's tests: made by runc in bundles of their own, gone at the end of the
//! test whatever happens.

#![allow(dead_code)]
// The reaper waits for every child.
#![allow(clippy::zombie_processes)]

pub mod bpf;
pub mod bundle;
pub mod cgroup_v2;
pub mod program;
pub mod reaper;
pub mod runtime;
pub mod streams;
pub mod terminal;
pub mod within;

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use podhook_hooks::exec::{Children, Exit};

use reaper::Reaper;

pub use bundle::Config;

/// The one reaper of this test process.
pub fn children() -> Arc<dyn Children> {
    Reaper::global()
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn ok(self) -> Self {
        assert_eq!(self.exit.code(), Some(0), "{self:?}");
        self
    }
}

/// Runs a command of the host; the reaper waits for it, as in the shim.
pub fn run(command: &mut Command) -> Ran {
    let mut stdout = temporary_file();
    let mut stderr = temporary_file();
    let reaper = Reaper::global();
    let _hold = reaper.hold();
    let child = command
        // Not /dev/null: crun changes the owner of its stdin, the host's device.
        .stdin(temporary_file())
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let exit = wait_for(reaper.wait(child.id() as libc::pid_t));
    Ran {
        exit,
        stdout: contents(&mut stdout),
        stderr: contents(&mut stderr),
    }
}

/// Waits without a runtime.
pub fn wait_for(mut exit: tokio::sync::oneshot::Receiver<Exit>) -> Exit {
    let end = Instant::now() + scaled(2 * PATIENCE);
    while Instant::now() < end {
        match exit.try_recv() {
            Ok(exit) => return exit,
            Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the process did not end");
}

/// An open file that has no name any more.
pub fn temporary_file() -> File {
    tempfile::tempfile().unwrap()
}

/// All that was written to the file, whoever wrote it.
pub fn contents(file: &mut File) -> String {
    let mut text = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// The host's /dev/null.
pub fn dev_null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

/// A pipe: reading end, writing end.
pub fn pipe() -> (File, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    (File::from(OwnedFd::from(read)), write.into())
}

/// A time on this machine: `PODHOOK_TIME_SCALE` times as long (default 1), as for the integration tests.
pub fn scaled(time: Duration) -> Duration {
    let scale = std::env::var("PODHOOK_TIME_SCALE").ok();
    time * scale.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Makes files that every user may read, whatever umask this test is about.
pub fn readable(make: impl FnOnce()) {
    use nix::sys::stat::{Mode, umask};
    let before = umask(Mode::from_bits_truncate(0o022));
    make();
    umask(before);
}

/// More than anything takes on a busy machine that does not hang. What a test must not wait for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Checks until it holds.
pub async fn eventually(what: &str, check: impl Fn() -> bool) {
    let end = Instant::now() + scaled(PATIENCE);
    while !check() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What comes of something that must not hang.
pub async fn in_time<T>(what: &str, ended: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(scaled(PATIENCE), ended).await;
    ended.unwrap_or_else(|_| panic!("it hangs: {what}"))
}

/// Arguments as the engine takes them.
pub fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| text.to_string()).collect()
}
