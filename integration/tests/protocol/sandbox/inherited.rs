//! What the shim of a pod was started with, and what becomes of it: the pod starts, and its holder is as any other one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use podhook_integration::Outcome;

use super::{ID, Pod, READY, config};
use crate::scarce::without;
use crate::stage::Stage;
use crate::{Test, tests};

pub fn tests() -> Vec<Test> {
    tests![sandbox:
        a_pod_starts_whatever_its_shim_was_started_with,
    ]
}

fn before(command: &mut Command, call: impl Fn() -> libc::c_long + Send + Sync + 'static) {
    // SAFETY: between fork and exec; what is called is a system call.
    unsafe {
        command.pre_exec(move || match call() {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

fn a_pod_starts_whatever_its_shim_was_started_with(stage: &Stage) -> Outcome {
    let changes: [fn(&mut Command); 5] = [
        // SAFETY: an integer alone.
        |command| before(command, || unsafe { libc::umask(0o777) }.into()),
        |command| {
            // SAFETY: a set of signals may be all zeroes, and is filled.
            before(command, || unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&mut all);
                libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut()).into()
            });
        },
        |command| {
            // SAFETY: integers alone.
            before(command, || unsafe {
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                0
            });
        },
        |command| without(command, &[libc::SYS_clone3], libc::ENOSYS),
        |command| without(command, &[libc::SYS_close_range], libc::ENOSYS),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let pod = Pod::started(stage, |mut start| {
            change(&mut start);
            start
        })?;
        pod.create(stage, &config(), "")?;
        pod.start().map_err(|e| format!("{number}: {e}"))?;
        for (name, mode) in [("shm", 0o1777), ("resolv.conf", 0o644), ("hosts", 0o644)] {
            let file = fs::metadata(stage.bundle(ID).join("pod").join(name))?;
            assert_eq!(file.mode() & 0o7777, mode, "{number}: {name}");
        }
        assert_eq!(pod.state()?, READY);
        pod.stop()?;
        assert_eq!(stage.left_of(ID), Vec::<String>::new(), "{number}");
        pod.leave(stage)?;
        fs::remove_dir_all(stage.bundle(ID))?;
    }
    Ok(())
}
