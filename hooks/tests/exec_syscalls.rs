//! The engine's own system calls exist on every architecture that podhook runs on, under the numbers that it uses.
//!
//! x86-64 has old calls that arm64 never had (open, fork, dup2, poll), and their numbers have nothing to do with each other. The
//! judge is libseccomp's table, which is made from the kernel's and not from libc's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use libseccomp::{ScmpArch, ScmpSyscall};

/// Where raw calls are made.
const FOLDERS: [&str; 3] = ["src/exec", "src/linux", "src/null_device.rs"];

macro_rules! calls {
    ($($name:ident)*) => {
        [$((stringify!($name), libc::$name)),*]
    };
}

/// All of them, with the numbers of the architecture that this is built for.
const CALLS: &[(&str, libc::c_long)] = &calls! {
    SYS_capset SYS_chdir SYS_clone SYS_clone3 SYS_close SYS_close_range SYS_dup3 SYS_execve SYS_exit_group SYS_fchown
    SYS_fcntl SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_fstat SYS_fstatfs SYS_getcwd SYS_ioctl SYS_ioprio_set
    SYS_keyctl SYS_madvise SYS_mount_setattr SYS_munmap SYS_newfstatat SYS_openat SYS_openat2 SYS_personality
    SYS_pidfd_send_signal SYS_prctl SYS_prlimit64 SYS_read SYS_rt_sigaction SYS_rt_sigprocmask SYS_sched_getaffinity
    SYS_sched_setaffinity SYS_sched_setattr SYS_seccomp SYS_sendmsg SYS_setgid SYS_setgroups SYS_setns SYS_setsid
    SYS_setuid SYS_umask SYS_unshare SYS_write
};

fn sources(path: &Path, into: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), into);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        into.push(path.to_owned());
    }
}

/// What a text says after each `start`, as far as it is a name.
fn names<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(start).map(move |(at, _)| {
        let rest = &text[at + start.len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn the_table_holds_every_call_of_the_source_and_no_number_stands_there() {
    let mut files = Vec::new();
    for folder in FOLDERS {
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut files,
        );
    }
    let mut used = BTreeSet::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        used.extend(names(&text, "libc::SYS_").map(|name| format!("SYS_{name}")));
        for start in ["libc::syscall(", "call!("] {
            for (at, _) in text.match_indices(start) {
                let argument = text[at + start.len()..].trim_start();
                assert!(
                    argument.starts_with("libc::SYS_") || argument.starts_with("$number"),
                    "{}: a call by something else than libc's number: {}",
                    file.display(),
                    argument.lines().next().unwrap_or_default()
                );
            }
        }
    }
    let table: BTreeSet<String> = CALLS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(used, table);
}

#[test]
fn every_call_exists_on_every_architecture() {
    for (name, number) in CALLS {
        let name = name.trim_start_matches("SYS_");
        for architecture in [ScmpArch::X8664, ScmpArch::Aarch64] {
            let there = ScmpSyscall::from_name_by_arch(name, architecture);
            let there = there.unwrap_or_else(|e| panic!("{name} on {architecture:?}: {e}"));
            // Below zero are those that an architecture does not have.
            assert!(i32::from(there) >= 0, "{architecture:?} has no {name}");
        }
        let own = ScmpSyscall::from_name(name).unwrap();
        assert_eq!(libc::c_long::from(i32::from(own)), *number, "{name}");
    }
}

#[test]
fn the_judge_knows_what_arm64_does_not_have() {
    let old = ScmpSyscall::from_name_by_arch("open", ScmpArch::Aarch64);
    assert!(old.is_ok_and(|number| i32::from(number) < 0));
}

/// Assembly is for one architecture: each block stands under its own condition, and every function that has one has all.
#[test]
fn assembly_is_there_for_both() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exec/plan/sys.rs"))
            .unwrap();
    let count = |word: &str| text.matches(word).count();
    let conditions = [r#"target_arch = "x86_64""#, r#"target_arch = "aarch64""#].map(count);
    assert_eq!(conditions[0], conditions[1]);
    assert_eq!(count("asm!("), conditions[0] + conditions[1]);
    assert_eq!(count("\"syscall\""), count("\"svc #0\""));
}
