//! A container that traces: with CAP_SYS_PTRACE in the host's user namespace it may look into every process
//! of its pid namespace, those included that only come to join it.
//!
//! The tests look through the container's procfs with the host's rights: what they find, such a container
//! can find.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use podhook_hooks::exec::{Process, Stdio, spawn};
use serde_json::{Value, json};

use support::bundle::TestContainer;
use support::{Config, children, dev_null, scaled, strings};

/// What was seen of processes that were joining.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Seen {
    /// How often one was caught before it was the command.
    times: usize,
    /// What its descriptors led to.
    files: BTreeSet<String>,
    /// Its user and effective capabilities.
    rights: BTreeSet<String>,
}

/// Looks at every new process of the container until told to stop.
fn watch(proc: &Path, stop: &AtomicBool, caught: &AtomicUsize) -> Seen {
    let own = fs::canonicalize("/proc/self/exe").unwrap();
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let pids = fs::read_dir(proc).unwrap().flatten();
        let newest = pids
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .max()
            .unwrap();
        let process = proc.join(newest.to_string());
        while let Ok(exe) = fs::read_link(process.join("exe")) {
            if exe != own {
                break;
            }
            let files = fs::read_dir(process.join("fd")).into_iter().flatten();
            let links: Vec<_> = files
                .flatten()
                .filter_map(|file| fs::read_link(file.path()).ok())
                .map(|link| link.to_string_lossy().into_owned())
                .collect();
            let status = fs::read_to_string(process.join("status")).unwrap_or_default();
            // All of it was a joining process's only if it still is one.
            if fs::read_link(process.join("exe")).is_ok_and(|exe| exe == own) {
                seen.times += 1;
                seen.files.extend(links);
                let lines = status.lines().filter(|line| {
                    [
                        "Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:", "CapBnd:", "CapInh:",
                    ]
                    .iter()
                    .any(|name| line.starts_with(name))
                });
                seen.rights
                    .extend(lines.map(|line| line.trim().to_string()));
            }
        }
        caught.store(seen.times, Ordering::Relaxed);
    }
    seen
}

/// A process whose way to its command is long, to be looked at on it.
fn slow(container: &TestContainer) -> Value {
    let mut process = container.bundle_process();
    let dirs: Vec<_> = (0..2000).map(|n| format!("/nowhere/{n}")).collect();
    process["env"] = json!([format!("PATH={}:/bin", dirs.join(":"))]);
    process
}

/// Whether there were enough catches: on a busy machine the watcher looks seldom, and a few must do.
fn enough(catches: usize, wanted: usize, since: Instant) -> bool {
    let minute = scaled(Duration::from_secs(60));
    catches >= wanted || since.elapsed() > if catches == 0 { 5 * minute } else { minute }
}

/// Runs `process` until it has been caught a few times on its way.
async fn catch(container: &TestContainer, process: &Value) -> Seen {
    let proc = PathBuf::from(format!("/proc/{}/root/proc", container.pid));
    let state = Arc::new((AtomicBool::new(false), AtomicUsize::new(0)));
    let shared = state.clone();
    let watcher = std::thread::spawn(move || watch(&proc, &shared.0, &shared.1));
    let start = Instant::now();
    while !enough(state.1.load(Ordering::Relaxed), 20, start) {
        let ran = container.engine_exec_with(process, &["true"]).await;
        ran.unwrap().ok();
    }
    state.0.store(true, Ordering::Relaxed);
    watcher.join().unwrap()
}

fn assert_nothing_of_the_host(seen: &Seen) {
    assert!(seen.times > 0, "never caught one");
    for file in &seen.files {
        // /dev/null, the test's own files that are its stdout and stderr, the report.
        let harmless =
            file == "/dev/null" || file.starts_with("pipe:[") || file.ends_with("(deleted)");
        assert!(harmless, "{seen:#?}");
    }
    let pipes = seen.files.iter().filter(|file| file.starts_with("pipe:["));
    assert!(pipes.count() > 0, "the report pipe was not seen: {seen:#?}");
}

/// A command's own rights, in the words of its status.
async fn rights(container: &TestContainer, process: &Value) -> BTreeSet<String> {
    let command = [
        "grep",
        "-E",
        "^(Uid|Gid|Groups|CapPrm|CapEff|CapBnd|CapInh):",
        "/proc/self/status",
    ];
    let ran = container.engine_exec_with(process, &command).await;
    ran.unwrap()
        .ok()
        .stdout
        .lines()
        .map(|line| line.trim().to_string())
        .collect()
}

#[tokio::test]
async fn a_joining_process_has_no_descriptor_of_the_host_and_no_right_of_its_own() {
    let container = Config::default().start();
    let process = slow(&container);
    let seen = catch(&container, &process).await;
    assert_nothing_of_the_host(&seen);
    assert_eq!(seen.rights, rights(&container, &process).await);
}

#[tokio::test]
async fn a_joining_process_is_the_commands_user_already() {
    let container = Config::default().start();
    let mut process = slow(&container);
    process["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [10]});
    let seen = catch(&container, &process).await;
    let after = rights(&container, &process).await;
    // execve takes a user's permitted and effective capabilities away.
    let lost = ["CapPrm", "CapEff"];
    let kept = |line: &&String| !lost.iter().any(|name| line.starts_with(name));
    assert!(seen.times > 0);
    assert!(
        seen.rights
            .iter()
            .filter(kept)
            .eq(after.iter().filter(kept)),
        "{seen:#?}"
    );
    let bounding = after
        .iter()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .unwrap();
    for line in seen.rights.iter().filter(|line| !kept(line)) {
        assert!(line.ends_with(bounding), "{line}");
    }
}

/// The profile hides clone3 and forbids nothing else that the engine needs: Kubernetes' default.
#[tokio::test]
async fn nor_where_there_is_a_seccomp_profile() {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
    let container = Config::default().set("/linux/seccomp", profile).start();
    let process = slow(&container);
    let seen = catch(&container, &process).await;
    assert_nothing_of_the_host(&seen);
    assert_eq!(seen.rights, rights(&container, &process).await);
}

/// A profile that forbids clone: the process takes it on when it need not fork any more.
#[tokio::test]
async fn no_descriptor_of_the_host_either_where_the_profile_forbids_to_fork() {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["clone", "fork", "vfork", "clone3"], "action": "SCMP_ACT_ERRNO"}]});
    let container = Config::default().set("/linux/seccomp", profile).start();
    let seen = catch(&container, &slow(&container)).await;
    assert_nothing_of_the_host(&seen);
    let ran = container
        .engine_exec(&["sh", "-c", "(true) && echo forked"])
        .await;
    assert_eq!(ran.unwrap().stdout, "", "the profile applies");
}

/// Where few processes are free it waits until the caller has moved it to the container's cgroups.
#[tokio::test]
async fn nor_where_the_containers_limit_of_processes_is_reached() {
    let limit = json!({"pids": {"limit": 1}});
    let container = Config::default().set("/linux/resources", limit).start();
    let process = slow(&container);
    let seen = catch(&container, &process).await;
    assert_nothing_of_the_host(&seen);
    assert_eq!(seen.rights, rights(&container, &process).await);
}

#[tokio::test]
async fn nor_in_a_user_namespace() {
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "user"].map(|kind| json!({"type": kind}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let container = Config::default()
        .set("/linux/namespaces", json!(namespaces))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .start();
    let seen = catch(&container, &slow(&container)).await;
    assert_nothing_of_the_host(&seen);
}

/// Something that only this process's memory holds.
fn secret() -> Vec<u8> {
    format!(
        "{:?}-secret-of-the-host-{}",
        Instant::now(),
        std::process::id()
    )
    .into_bytes()
}

/// Whether the writable memory of `process`, a directory of a procfs, holds `secret`, and how much of it there
/// is; `None` where it cannot be read any more.
fn holds(process: &Path, secret: &[u8]) -> Option<(bool, usize)> {
    let maps = fs::read_to_string(process.join("maps")).ok()?;
    let memory = fs::File::open(process.join("mem")).ok()?;
    let mut size = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let mut bytes = vec![0; (u64::from_str_radix(end, 16).ok()? - start) as usize];
        size += bytes.len();
        // What is not there (a guard page) is no secret.
        if memory.read_exact_at(&mut bytes, start).is_ok() && contains(&bytes, secret) {
            return Some((true, size));
        }
    }
    Some((false, size))
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == text[0]) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Reads the memory of joining processes; how often, and whether `secret` was in it.
async fn read_memory(container: &TestContainer, secret: Vec<u8>) -> (usize, usize) {
    let proc = PathBuf::from(format!("/proc/{}/root/proc", container.pid));
    let own = fs::canonicalize("/proc/self/exe").unwrap();
    let state = Arc::new((
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicBool::new(false),
    ));
    let shared = state.clone();
    let watcher = std::thread::spawn(move || {
        while !shared.2.load(Ordering::Relaxed) {
            let pids = fs::read_dir(&proc).unwrap().flatten();
            let newest = pids
                .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
                .max()
                .unwrap();
            let process = proc.join(newest.to_string());
            let joining = || fs::read_link(process.join("exe")).is_ok_and(|exe| exe == own);
            if joining()
                && let Some((found, size)) = holds(&process, &secret)
                && size > 0
                && (found || joining())
            {
                shared.0.fetch_add(1, Ordering::Relaxed);
                shared.1.fetch_add(usize::from(found), Ordering::Relaxed);
            }
        }
    });
    let process = slow(container);
    let start = Instant::now();
    while !enough(state.0.load(Ordering::Relaxed), 10, start) {
        let ran = container.engine_exec_with(&process, &["true"]).await;
        ran.unwrap().ok();
    }
    state.2.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    (
        state.0.load(Ordering::Relaxed),
        state.1.load(Ordering::Relaxed),
    )
}

#[tokio::test]
async fn a_joining_process_has_nothing_of_the_shims_memory() {
    let container = Config::default().start();
    let secret = secret();
    let itself = holds(Path::new("/proc/self"), &secret).unwrap();
    assert!(itself.0, "the secret is in the memory of this process");
    let (times, found) = read_memory(&container, secret.clone()).await;
    assert!(times > 0, "never caught one");
    assert_eq!(found, 0, "of {times}");
    drop(secret);
}

/// Forks a process that traces `pid` and never looks at it again. Until the returned pid is killed.
fn tracer(pid: libc::pid_t) -> libc::pid_t {
    let mut ready = [-1; 2];
    // SAFETY: `ready` has room for two descriptors.
    let made = unsafe { libc::pipe2(ready.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(made, 0);
    // SAFETY: the child makes system calls only.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe {
            // Among the copies is one that would keep the tracee's stdin open.
            libc::dup2(ready[1], 3);
            libc::syscall(libc::SYS_close_range, 4, u32::MAX, 0);
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            let none = std::ptr::null_mut::<libc::c_void>();
            let seized = libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) == 0;
            libc::write(3, [u8::from(seized)].as_ptr().cast(), 1);
            loop {
                libc::pause();
            }
        }
    }
    let mut seized = [0u8];
    // SAFETY: a valid place to write to; the descriptors are this function's.
    unsafe {
        assert_eq!(libc::read(ready[0], seized.as_mut_ptr().cast(), 1), 1);
        libc::close(ready[0]);
        libc::close(ready[1]);
    }
    assert_eq!(seized, [1], "the tracer could not seize");
    child
}

#[tokio::test]
async fn a_tracer_that_never_waits_does_not_hold_the_exit_back() {
    let container = Config::default().start();
    let process = Process::from_json(container.bundle_process().to_string().as_bytes())
        .unwrap()
        .args(&strings(&["sh", "-c", "read line; exit 7"]));
    let (reader, writer) = std::io::pipe().unwrap();
    let stdio = Stdio {
        stdin: reader.into(),
        stdout: dev_null(),
        stderr: dev_null(),
    };
    let reaper = children();
    let child = spawn(&container.container, &process, stdio, false, &reaper);
    let child = child.await.unwrap();
    let _hold = reaper.hold();
    let tracer = tracer(child.pid);
    let tracer_exit = reaper.wait(tracer);
    drop(writer);
    let exit = tokio::time::timeout(scaled(Duration::from_secs(60)), child.exit).await;
    let traced = fs::read_to_string(format!("/proc/{}/status", child.pid));
    // SAFETY: no pointers; the tracer is our child and not reaped before `tracer_exit`.
    unsafe { libc::kill(tracer, libc::SIGKILL) };
    assert_eq!(tracer_exit.await.unwrap().signal(), Some(libc::SIGKILL));
    let exit = exit.expect("the exit did not come").unwrap();
    assert_eq!(exit.code(), Some(7));
    assert!(traced.unwrap().contains("zombie"), "nothing held it back");
}
