//! System calls that a filter around the shim refuses: that of containerd's unit, or of a container that the node is in.
//! The shim does without, or says which call it was; and it leaves nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use libc::c_long;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::{Outcome, hierarchy};
use serde_json::json;

use super::{ID, NOT_READY, Pod, READY, config, is_gone, own_users};
use crate::client::{Answer, Client};
use crate::scarce::without;
use crate::stage::Stage;
use crate::start::output;
use crate::{Test, tests, unless};

pub fn tests() -> Vec<Test> {
    let frozen = unless(
        tests![sandbox: a_pod_with_a_frozen_holder_is_ended_when_it_is_thawed],
        |_| hierarchy::is_v2().then_some("with cgroup v2 what is frozen can be killed"),
    );
    let mut all = tests![sandbox:
        a_call_that_is_not_there_is_done_without_or_named,
        a_call_that_is_refused_is_done_without_or_named,
        a_holder_that_may_not_be_killed_is_an_error,
    ];
    all.extend(frozen);
    all
}

/// What becomes of a call that is refused.
#[derive(PartialEq)]
enum Then {
    /// All is as ever.
    Without,
    /// The error has its name.
    Named,
}
use Then::{Named, Without};

macro_rules! calls {
    ($($name:ident $number:ident $then:ident),* $(,)?) => {
        [$((stringify!($name), libc::$number, $then)),*]
    };
}

/// Those that are newer than what old filters know, and those that old filters refuse.
const CALLS: [(&str, c_long, Then); 22] = calls![
    clone3 SYS_clone3 Without,
    close_range SYS_close_range Without,
    faccessat2 SYS_faccessat2 Without,
    fsconfig SYS_fsconfig Without,
    fsmount SYS_fsmount Without,
    fsopen SYS_fsopen Without,
    fspick SYS_fspick Without,
    mount_setattr SYS_mount_setattr Without,
    move_mount SYS_move_mount Without,
    open_tree SYS_open_tree Without,
    openat2 SYS_openat2 Without,
    pidfd_send_signal SYS_pidfd_send_signal Without,
    sched_setattr SYS_sched_setattr Without,
    statx SYS_statx Without,
    execveat SYS_execveat Named,
    memfd_create SYS_memfd_create Named,
    pidfd_open SYS_pidfd_open Named,
    pivot_root SYS_pivot_root Named,
    seccomp SYS_seccomp Named,
    setns SYS_setns Named,
    unshare SYS_unshare Named,
    waitid SYS_waitid Named,
];

/// As newer filters do.
fn a_call_that_is_not_there_is_done_without_or_named(stage: &Stage) -> Outcome {
    each_refused(stage, libc::ENOSYS)
}

/// As systemd's do, and old ones of docker.
fn a_call_that_is_refused_is_done_without_or_named(stage: &Stage) -> Outcome {
    each_refused(stage, libc::EPERM)
}

fn each_refused(stage: &Stage, errno: i32) -> Outcome {
    let lives: [Life; 3] = [
        |stage, call, errno| pod_life(stage, call, errno, false),
        |stage, call, errno| pod_life(stage, call, errno, true),
        container_life,
    ];
    for (name, call, then) in CALLS {
        let mut refused = 0;
        for life in lives {
            if let Err(e) = life(stage, call, errno) {
                let error = e.to_string();
                let named = error.contains(name) && error.contains("a filter of system calls");
                // It may need the same call.
                let runtimes = error.contains("OCI runtime create failed");
                let told = then == Named && (named || runtimes);
                assert!(told, "{name}: {e}");
                refused += 1;
            }
            for id in ["c1", ID] {
                let left = stage.left_of(id);
                assert!(left.is_empty(), "{name}: {left:?}");
                if stage.bundle(id).exists() {
                    fs::remove_dir_all(stage.bundle(id))?;
                }
            }
        }
        assert!(then == Without || refused > 0, "{name} is not needed");
    }
    Ok(())
}

/// Of a shim from its start to its end, to which a call is refused with this errno.
type Life = fn(&Stage, c_long, i32) -> Outcome;

fn hooks() -> String {
    let hooks = json!({
        "postStart": {"exec": {"command": ["touch", "/tmp/hooked"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "sleep 600 & sleep 600"]}, "timeoutSeconds": 1},
        "terminationGracePeriodSeconds": 1,
    });
    hooks.to_string()
}

/// A C library takes no other answer than ENOSYS for a word that there is an older call: the OCI runtime gets no thread
/// then, and crashes.
fn no_runtime(call: c_long, errno: i32) -> bool {
    (call, errno) == (libc::SYS_clone3, libc::EPERM)
}

/// A container without a pod.
fn container_life(stage: &Stage, call: c_long, errno: i32) -> Outcome {
    if no_runtime(call, errno) {
        return Ok(());
    }
    let spec = stage
        .spec("c1", &["sleep", "600"])
        .annotation("podhook.dev/lifecycle", &hooks());
    stage.make_bundle("c1", &spec)?;
    let mut start = stage.command("c1")?;
    start.args(["-debug", "start"]);
    without(&mut start, &[call], errno);
    let started = output(&mut start, &stage.start_input("c1", b"")?)?;
    let client = stage.connect(&started)?;
    let lived = lives(stage, &client);
    client.shutdown("c1");
    drop(client);
    stage.wait_gone("c1")?;
    lived
}

/// A pod, and a container in it; the first that is refused.
fn pod_life(stage: &Stage, call: c_long, errno: i32, users: bool) -> Outcome {
    let pod = Pod::started(stage, |mut start| {
        without(&mut start, &[call], errno);
        start
    })?;
    let mut config = config();
    if users {
        own_users(&mut config);
    }
    let annotation = "lifecycle.podhook.dev/web".to_owned();
    config.annotations.insert(annotation, hooks());
    // With users of the pod's own the root filesystem would belong to others.
    let alone = users || no_runtime(call, errno);
    let lived = || -> Outcome {
        pod.create(stage, &config, "")?;
        let lived = || -> Outcome {
            pod.start()?;
            match alone {
                true => Ok(()),
                false => contained(stage, &pod),
            }
        }();
        pod.stop()?;
        assert_eq!(pod.state()?, NOT_READY);
        lived
    }();
    pod.leave(stage)?;
    lived
}

fn contained(stage: &Stage, pod: &Pod) -> Outcome {
    let spec = stage
        .spec("c1", &["sleep", "600"])
        .annotation("io.kubernetes.cri.container-type", "container")
        .annotation("io.kubernetes.cri.container-name", "web");
    stage.make_bundle("c1", &spec)?;
    fs::write(stage.bundle("c1").join("sandbox"), ID)?;
    lives(stage, &pod.tasks)
}

/// A container with hooks, an exec in it, and the end of both; the first that is refused.
fn lives(stage: &Stage, tasks: &Client) -> Outcome {
    tasks.create(stage, "c1")?;
    let lived = || -> Answer<()> {
        tasks.start("c1", "")?;
        tasks.exec("c1", "e", &["sleep", "600"])?;
        let stdin = format!("/proc/{}/fd/0", tasks.start("c1", "e")?.pid);
        // The node's own is nothing for a container.
        let [stdin, nodes] = [stdin.as_str(), "/dev/null"].map(|path| fs::metadata(path).unwrap());
        assert_ne!((stdin.dev(), stdin.ino()), (nodes.dev(), nodes.ino()));
        tasks.kill("c1", "e", libc::SIGKILL as u32, false)?;
        assert_eq!(tasks.wait("c1", "e")?.exit_status, 137);
        tasks.delete("c1", "e")?;
        tasks.kill("c1", "", libc::SIGTERM as u32, false)?;
        tasks.wait("c1", "").map(drop)
    }();
    if lived.is_err() {
        let _ = tasks.kill("c1", "", libc::SIGKILL as u32, false);
        tasks.wait("c1", "")?;
    }
    tasks.delete("c1", "")?;
    Ok(lived?)
}

/// The calls of systemd's `@signal`: they are refused together.
fn a_holder_that_may_not_be_killed_is_an_error(stage: &Stage) -> Outcome {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let pod = Pod::started(stage, |mut start| {
            let calls = [libc::SYS_pidfd_send_signal, libc::SYS_kill];
            without(&mut start, &calls, errno);
            start
        })?;
        pod.create(stage, &config(), "")?;
        let holder = i32::try_from(pod.start()?.pid)?;
        for refused in [pod.stop().err(), pod.shutdown().err()] {
            let error = refused.ok_or("ended")?;
            assert!(
                error.message.contains("kill the pod's holder")
                    && error.message.contains("pidfd_send_signal"),
                "{error}"
            );
        }
        assert_eq!(pod.state()?, READY);
        kill(Pid::from_raw(holder), Signal::SIGKILL)?;
        assert_eq!(pod.wait()?.exit_status, 137);
        pod.stop()?;
        assert!(is_gone(holder));
        assert_eq!(stage.left_of(ID), Vec::<String>::new());
        pod.leave(stage)?;
        fs::remove_dir_all(stage.bundle(ID))?;
    }
    Ok(())
}

fn a_pod_with_a_frozen_holder_is_ended_when_it_is_thawed(stage: &Stage) -> Outcome {
    let (pod, _) = Pod::run(stage, &config(), "")?;
    let freezer = hierarchy::of("freezer").join(stage.namespace()).join(ID);
    fs::write(freezer.join("freezer.state"), "FROZEN")?;
    let refused = pod.stop();
    fs::write(freezer.join("freezer.state"), "THAWED")?;
    let error = refused.err().ok_or("ended")?;
    assert!(error.message.contains("is frozen"), "{error}");
    pod.wait()?;
    pod.end(stage)
}
