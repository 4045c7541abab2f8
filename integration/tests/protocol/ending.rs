//! How a shim ends, and what a dead one leaves to `delete`.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse, DeleteResponse};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::oci::Options;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Outcome};

use crate::Test;
use crate::client::create_request;
use crate::podhook_only;
use crate::stage::{Failure, Kind, Stage, any};
use crate::tests;
use crate::unless;
use crate::verbs::kill9;

pub fn tests() -> Vec<Test> {
    let mut all = tests![ending:
        shutdown_ends_a_shim_without_containers,
        delete_removes_what_a_killed_shim_left,
        delete_removes_a_paused_container,
    ];
    all.extend(unless(tests![ending: delete_of_nothing_succeeds], |kind| {
        (kind == Kind::Go(Generation::V1_6))
            .then_some("the original of 1.6 misses the file `runtime`")
    }));
    all.extend(podhook_only(tests![ending:
        a_full_log_holds_nothing_up,
        either_delete_reads_the_others_bundle,
        delete_kills_what_the_runtime_cannot,
        delete_of_what_the_shim_has_deleted_needs_no_runtime,
        a_bundle_that_is_used_again_is_deleted_by_the_runtime,
        sigterm_ends_the_shim_with_its_containers,
        sigterm_ends_an_idle_shim_that_nobody_is_connected_to,
        a_shim_that_nobody_wants_ends,
        sigusr1_writes_the_state_to_the_log,
    ]));
    all
}

fn shutdown_ends_a_shim_without_containers(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}

/// A container with an exec, a detached process in it, and its shim killed.
fn orphan(stage: &Stage, id: &str) -> Result<u32, Failure> {
    let client = stage.shim(id, &["sh", "-c", "(sleep 603 &); exec sleep 603"])?;
    let pid = client.run(stage, id)?;
    client.exec(id, "e", &["sleep", "603"])?;
    client.start(id, "e")?;
    wait::until_true("three processes", SOON, || {
        client.pids(id).is_ok_and(|pids| pids.processes.len() == 3)
    })?;
    kill9(stage.shim_pid(id))?;
    stage.wait_gone(id)?;
    Ok(pid)
}

/// Nothing is left, and the answer is what containerd takes for a killed task.
fn expect_deleted(stage: &Stage, id: &str, pid: u32, output: &std::process::Output) -> Outcome {
    assert!(output.status.success(), "{output:?}");
    let answer = DeleteResponse::parse_from_bytes(&output.stdout)?;
    assert_eq!((answer.pid, answer.exit_status), (pid, 137));
    assert!(answer.exited_at.is_some());
    wait::until_true("everything to be gone", SOON, || {
        stage.left_of(id).is_empty()
    })?;
    Ok(wait::until_true("the end of the process", SOON, || {
        !Path::new(&format!("/proc/{pid}/cwd")).exists()
    })?)
}

fn delete_removes_what_a_killed_shim_left(stage: &Stage) -> Outcome {
    let pid = orphan(stage, "c1")?;
    assert!(!stage.left_of("c1").is_empty());
    expect_deleted(stage, "c1", pid, &stage.delete_verb("c1")?)
}

fn delete_removes_a_paused_container(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let pid = client.run(stage, "c1")?;
    client.pause("c1")?;
    kill9(stage.shim_pid("c1"))?;
    stage.wait_gone("c1")?;
    expect_deleted(stage, "c1", pid, &stage.delete_verb("c1")?)
}

fn delete_of_nothing_succeeds(stage: &Stage) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["true"]))?;
    let output = stage.delete_verb("c1")?;
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

fn either_delete_reads_the_others_bundle(stage: &Stage) -> Outcome {
    let root = stage.dir().join("runc-root");
    let options = any(&Options {
        root: root.display().to_string(),
        no_new_keyring: true,
        ..Default::default()
    });
    let go = Kind::Go(Generation::V2_4);
    for (id, maker, deleter) in [("c1", Kind::Podhook, go), ("c2", go, Kind::Podhook)] {
        let maker = Stage::new(maker)?;
        maker.make_bundle(id, &maker.spec(id, &["sleep", "600"]))?;
        let client = maker.start(id, Some(&options))?;
        let request = CreateTaskRequest {
            options: Some(options.clone()).into(),
            ..create_request(&maker, id)
        };
        let created: CreateTaskResponse = client.call("Create", &request)?;
        let state = root.join(maker.namespace()).join(id);
        assert!(state.exists(), "{}", state.display());
        kill9(maker.shim_pid(id))?;
        maker.wait_gone(id)?;
        expect_deleted(&maker, id, created.pid, &maker.delete_verb_of(deleter, id)?)?;
        // Only who reads the Root in options.json finds the state.
        assert!(!state.exists(), "{}", state.display());
    }
    Ok(())
}

fn delete_kills_what_the_runtime_cannot(stage: &Stage) -> Outcome {
    let pid = orphan(stage, "c1")?;
    // A runtime that is gone from the node, say.
    fs::write(stage.bundle("c1").join("runtime"), "/no/such/runtime")?;
    let output = stage.delete_verb("c1")?;
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("/no/such/runtime"),
        "{output:?}"
    );
    assert!(output.status.success());
    wait::until_true("the end of the process", SOON, || {
        !Path::new(&format!("/proc/{pid}/cwd")).exists()
    })?;
    let key = (stage.namespace().to_owned(), "c1".to_owned());
    let state = podhook_integration::containerd::remains::runc_state(&key);
    assert_eq!(
        stage.left_of("c1"),
        [state.display().to_string()],
        "only the runtime's own state"
    );
    fs::remove_dir_all(state)?;
    Ok(())
}

fn delete_of_what_the_shim_has_deleted_needs_no_runtime(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["true"])?;
    client.run(stage, "c1")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 0);
    client.delete("c1", "")?;
    fs::write(stage.bundle("c1").join("runtime"), "/no/such/runtime")?;
    let output = stage.delete_verb("c1")?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    client.shutdown("c1");
    stage.wait_gone("c1")
}

fn a_bundle_that_is_used_again_is_deleted_by_the_runtime(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    client.remove("c1")?;
    let pid = client.run(stage, "c1")?;
    kill9(stage.shim_pid("c1"))?;
    stage.wait_gone("c1")?;
    expect_deleted(stage, "c1", pid, &stage.delete_verb("c1")?)
}

fn send(stage: &Stage, id: &str, signal: Signal) -> Outcome {
    kill(Pid::from_raw(stage.shim_pid(id).ok_or("no shim")?), signal)?;
    Ok(())
}

fn sigterm_ends_the_shim_with_its_containers(stage: &Stage) -> Outcome {
    let client = stage.shim(
        "c1",
        &["sh", "-c", "until [ -e /tmp/end ]; do usleep 10000; done"],
    )?;
    client.run(stage, "c1")?;
    send(stage, "c1", Signal::SIGTERM)?;
    wait::until_true("the signal to be logged", SOON, || {
        stage.log("c1").contains("told to end")
    })?;
    // containerd is there: all goes on, and its Shutdown ends the shim.
    client.exec("c1", "e", &["touch", "/tmp/end"])?;
    client.start("c1", "e")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 0);
    thread::sleep(Duration::from_secs(1));
    assert!(
        stage.shim_pid("c1").is_some(),
        "its exit status is still to be fetched"
    );
    client.delete("c1", "e")?;
    client.delete("c1", "")?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}

fn sigterm_ends_an_idle_shim_that_nobody_is_connected_to(stage: &Stage) -> Outcome {
    let client = stage.shim(
        "c1",
        &[
            "sh",
            "-c",
            "trap 'exit 0' TERM; while :; do usleep 20000; done",
        ],
    )?;
    let pid = client.run(stage, "c1")?;
    drop(client);
    send(stage, "c1", Signal::SIGTERM)?;
    thread::sleep(Duration::from_secs(1));
    assert!(stage.shim_pid("c1").is_some(), "its container runs");
    // As at the end of the node, where everybody gets SIGTERM.
    wait::until_true("the end of all", SOON, || {
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
        stage.shim_pid("c1").is_none()
    })?;
    stage.delete_verb("c1")?;
    Ok(())
}

fn a_shim_that_nobody_wants_ends(stage: &Stage) -> Outcome {
    // containerd died between `start` and Create.
    let client = stage.shim("c1", &["true"])?;
    drop(client);
    let address = fs::read_to_string(stage.bundle("c1").join("address"))?;
    let socket = address.trim_start_matches("unix://").to_owned();
    let mut looked = Instant::now();
    wait::until_true("the end of the shim", Duration::from_secs(120), || {
        // `podhook metrics` looks now and then, and is not who it waits for.
        if looked.elapsed() > Duration::from_secs(10) {
            looked = Instant::now();
            drop(UnixStream::connect(&socket));
        }
        stage.shim_pid("c1").is_none()
    })?;
    assert!(
        stage.log("c1").contains("no container and no client"),
        "{}",
        stage.log("c1")
    );
    Ok(())
}

/// The original waits for its log's reader when the pipe is full.
fn a_full_log_holds_nothing_up(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let mut fifo = fs::File::options()
        .append(true)
        .open(stage.bundle("c1").join("log"))?;
    set_nonblocking(&fifo)?;
    while fifo.write(&[b'x'; 4096]).is_ok() {}
    while fifo.write(b"x").is_ok() {}
    for n in 0..20 {
        let exec = format!("e{n}");
        client.exec("c1", &exec, &["true"])?;
        client.start("c1", &exec)?;
        assert_eq!(client.wait("c1", &exec)?.exit_status, 0);
        client.delete("c1", &exec)?;
    }
    Ok(client.end("c1")?)
}

fn set_nonblocking(file: &fs::File) -> Outcome {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_APPEND))?;
    Ok(())
}

fn sigusr1_writes_the_state_to_the_log(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let pid = client.run(stage, "c1")?;
    client.exec("c1", "waiting", &["true"])?;
    send(stage, "c1", Signal::SIGUSR1)?;
    wait::until_true("the state", SOON, || {
        let log = stage.log("c1");
        log.contains("state: containers=1 clients=1")
            && log.contains(&format!("pid={pid} phase=Running"))
            && log.contains("waiting")
    })?;
    Ok(client.end("c1")?)
}
