//! What containerd's own client tests ask of a shim (`integration/client`), told anew.

use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::containerd::remains;
use podhook_integration::suite::{Test, own_containerd, podhook_only};
use podhook_integration::tasks::Stdio;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, stream, tests};

pub fn tests() -> Vec<Test> {
    let mut all = tests![client:
        the_oci_runtime_is_the_configured_one,
        the_shim_leaks_no_pipes_over_execs,
        the_shim_leaks_no_sockets_over_terminals,
        the_shim_ends_with_its_last_container,
        init_killed_by_its_host_pid_is_seen,
        every_process_ends_once_in_the_events,
        waits_from_before_and_after_the_end_agree,
        a_task_that_ends_during_start_is_started_and_ended,
        the_shims_oom_score_is_one_above_containerds,
    ];
    all.extend(podhook_only(tests![client:
        the_shim_leaks_no_pipes_over_terminals,
    ]));
    all.extend(own_containerd(tests![client:
        output_goes_on_after_a_restart_of_containerd,
        an_exec_outlives_a_restart_of_containerd,
        a_pod_is_stopped_after_two_restarts_of_containerd,
    ]));
    all
}

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The shim of a container that ctr has started.
fn shim_of(node: &Node, id: &str) -> Fallible<i32> {
    let shims = remains::shims(&node.containerd().address());
    let shim = shims.iter().find(|shim| shim.id == id);
    Ok(shim.ok_or("no shim")?.pid)
}

/// A process's file descriptors of a kind.
fn descriptors(pid: i32, of_kind: fn(FileType) -> bool) -> Vec<String> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    fds.filter_map(|fd| {
        let kind = fs::metadata(fd.path()).ok()?.file_type();
        let link = fs::read_link(fd.path()).ok()?.display().to_string();
        of_kind(kind).then_some(link)
    })
    .collect()
}

fn pipes(kind: FileType) -> bool {
    kind.is_fifo()
}

fn sockets(kind: FileType) -> bool {
    kind.is_socket()
}

/// Does something several times: there must be no more descriptors of the kind after it than after the first time.
/// The original may have some until Go collects its garbage, but not as many as it was done times.
fn leaves_none(
    node: &Node,
    pid: i32,
    of_kind: fn(FileType) -> bool,
    mut act: impl FnMut() -> Outcome,
) -> Outcome {
    act()?;
    let before = descriptors(pid, of_kind);
    for _ in 0..10 {
        act()?;
    }
    let mut now = Vec::new();
    let fewer = wait::until_true("as many descriptors as before", SOON, || {
        now = descriptors(pid, of_kind);
        now.len() <= before.len() + if node.shim().is_podhook() { 0 } else { 3 }
    });
    now.retain(|fd| !before.contains(fd));
    fewer.map_err(|error| format!("{error}; since then: {now:?}").into())
}

/// Guards the matrix: with another OCI runtime in the shim's PATH every other test might pass as well.
fn the_oci_runtime_is_the_configured_one(node: &Node) -> Outcome {
    let container = node.container("oci").start(&["sleep", "600"])?;
    let state =
        remains::runc_state(&(node.ctr().namespace().to_owned(), container.id().to_owned()));
    let file = if node.place().runtime.is_crun() {
        "status"
    } else {
        "state.json"
    };
    assert!(state.join(file).exists(), "{}", state.display());
    Ok(())
}

fn the_shim_leaks_no_pipes_over_execs(node: &Node) -> Outcome {
    let container = node.container("pipes").start(&["sleep", "600"])?;
    let shim = shim_of(node, container.id())?;
    leaves_none(node, shim, pipes, || {
        container.exec(&["true"])?;
        Ok(())
    })
}

fn over_terminals(node: &Node, of_kind: fn(FileType) -> bool) -> Outcome {
    let pod = node.pod("terminals").run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let shims = remains::shims(&node.containerd().address());
    let shim = shims
        .iter()
        .find(|shim| shim.id == pod.id())
        .ok_or("no shim")?
        .pid;
    leaves_none(node, shim, of_kind, || {
        let mut stream = container.exec_stream(&["sh", "-c", "tty; exit 3"], true)?;
        // On a busy machine containerd now and then ends a stream before it has told the status.
        match stream.exit_status(SOON) {
            Ok(3) => Ok(()),
            Err(stream::Error::Broken { reason, .. }) if reason.is_empty() => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    })
}

fn the_shim_leaks_no_sockets_over_terminals(node: &Node) -> Outcome {
    over_terminals(node, sockets)
}

/// The original keeps the input of terminals that have ended open, until its garbage is collected.
fn the_shim_leaks_no_pipes_over_terminals(node: &Node) -> Outcome {
    over_terminals(node, pipes)
}

fn the_shim_ends_with_its_last_container(node: &Node) -> Outcome {
    let container = node.container("last").start(&["true"])?;
    let id = container.id().to_owned();
    container.wait_exit(SOON)?;
    container.delete()?;
    wait::until_true("the shim to end", SOON, || shim_of(node, &id).is_err())?;
    Ok(())
}

fn init_killed_by_its_host_pid_is_seen(node: &Node) -> Outcome {
    let container = node.container("host-pid").start(&["sleep", "600"])?;
    let pid = container.task()?.ok_or("no task")?.pid;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    assert_eq!(container.delete()?, 137);
    Ok(())
}

/// containerd#4769: an exit was published twice.
fn every_process_ends_once_in_the_events(node: &Node) -> Outcome {
    let container = node.container("once").start(&["sleep", "600"])?;
    let tasks = node.tasks()?;
    for exec in ["a", "b", "c", "d"] {
        tasks.exec(
            container.id(),
            exec,
            &["sh", "-c", "exit 2"],
            &Stdio::default(),
        )?;
        tasks.start(container.id(), exec)?;
    }
    for exec in ["a", "b", "c", "d"] {
        assert_eq!(tasks.wait(container.id(), exec)?, 2);
    }
    container.kill("SIGKILL")?;
    container.wait_exit(SOON)?;
    let mut ended: Vec<_> = node
        .events()
        .of(container.id())
        .iter()
        .filter(|event| event.topic == "/tasks/exit")
        .map(|event| event.process_id().to_owned())
        .collect();
    ended.sort();
    assert_eq!(ended, ["a", "b", "c", "d", container.id()]);
    Ok(())
}

/// containerd#6429: the exit status differed by who asked when.
fn waits_from_before_and_after_the_end_agree(node: &Node) -> Outcome {
    let container = node
        .container("waits")
        .start(&["sh", "-c", "sleep 1; exit 12"])?;
    let tasks = node.tasks()?;
    let id = container.id();
    std::thread::scope(|scope| {
        let waits = [0, 1, 2].map(|_| scope.spawn(|| tasks.wait(id, "")));
        for wait in waits {
            assert_eq!(wait.join().map_err(|_| "wait panicked")??, 12);
        }
        assert_eq!(tasks.wait(id, "")?, 12);
        assert_eq!(container.wait_exit(SOON)?, 12);
        assert_eq!(tasks.state(id, "")?.exit_status, 12);
        Ok(())
    })
}

fn a_task_that_ends_during_start_is_started_and_ended(node: &Node) -> Outcome {
    for n in 0..5 {
        let container = node
            .container("quick")
            .start(&["sh", "-c", &format!("exit {n}")])?;
        assert_eq!(container.wait_exit(SOON)?, n);
        container.has_events(["create", "start", "exit"]);
        assert_eq!(container.delete()?, n);
    }
    Ok(())
}

fn the_shims_oom_score_is_one_above_containerds(node: &Node) -> Outcome {
    let container = node.container("score").start(&["sleep", "600"])?;
    let score = |pid: &str| -> Fallible<i32> {
        Ok(fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?
            .trim()
            .parse()?)
    };
    let containerd = fs::read_to_string(node.containerd().dir().join("pid"))?;
    let shim = shim_of(node, container.id())?.to_string();
    assert_eq!(score(&shim)?, (score(containerd.trim())? + 1).min(1000));
    Ok(())
}

fn output_goes_on_after_a_restart_of_containerd(node: &Node) -> Outcome {
    let pod = node.pod("output").run()?;
    let script = "n=0; while :; do n=$((n+1)); echo line $n; usleep 50000; done";
    let container = pod
        .container("main")
        .command(&["sh", "-c", script])
        .start()?;
    container.wait_log("line 3", SOON)?;
    node.containerd().crash()?;
    let before = container.log()?.len();
    wait::until_true("more lines", SOON, || {
        container.log().is_ok_and(|log| log.len() > before + 5)
    })?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    Ok(())
}

fn an_exec_outlives_a_restart_of_containerd(node: &Node) -> Outcome {
    let container = node.container("exec").start(&["sleep", "600"])?;
    let tasks = node.tasks()?;
    let script = "while [ ! -e /tmp/end ]; do usleep 20000; done; exit 6";
    tasks.exec(
        container.id(),
        "long",
        &["sh", "-c", script],
        &Stdio::default(),
    )?;
    let pid = tasks.start(container.id(), "long")?;
    node.containerd().crash()?;
    let tasks = node.tasks()?;
    let state = tasks.state(container.id(), "long")?;
    assert_eq!((state.status, state.pid), ("RUNNING", pid));
    container.exec(&["touch", "/tmp/end"])?;
    assert_eq!(tasks.wait(container.id(), "long")?, 6);
    assert_eq!(tasks.delete(container.id(), "long")?, 6);
    Ok(())
}

fn a_pod_is_stopped_after_two_restarts_of_containerd(node: &Node) -> Outcome {
    let pod = node.pod("restarts").run()?;
    let script = "trap 'exit 3' TERM; echo ready; while :; do usleep 20000; done";
    let container = pod
        .container("main")
        .command(&["sh", "-c", script])
        .start()?;
    container.wait_log("ready", SOON)?;
    node.containerd().crash()?;
    assert_eq!(container.exec(&["echo", "once"])?, "once\n");
    node.containerd().crash()?;
    assert_eq!(container.exec(&["echo", "twice"])?, "twice\n");
    container.stop(60)?;
    assert_eq!(container.status()?.exit_code, 3);
    let other = pod.container("other").command(&["sleep", "600"]).start()?;
    pod.stop()?;
    assert_eq!(other.wait_exit(SOON)?.exit_code, 137);
    Ok(())
}
