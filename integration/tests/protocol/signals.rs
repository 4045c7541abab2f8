//! Kill and Wait.

use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use containerd_shim_protos::api::{CreateTaskResponse, Status, WaitResponse};
use nix::sys::ptrace;
use nix::unistd::Pid;
use podhook_integration::Outcome;
use podhook_integration::wait::{self, SOON};
use ttrpc::Code;

use crate::Test;
use crate::client::{create_request, wait_request};
use crate::podhook_only;
use crate::runtime;
use crate::stage::{Failure, Kind, Stage};
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![signals:
        signal_0_does_nothing,
        a_real_time_signal_ends_init_and_exec,
        a_signal_that_does_not_exist_is_refused,
        all_reaches_what_has_left_its_parent,
        many_wait_for_one_exit,
        what_is_left_of_a_shared_pid_namespace_dies_with_init,
    ];
    all.extend(podhook_only(tests![signals:
        waiters_that_go_away_leave_nothing,
        all_with_an_exec_reaches_its_session,
        a_tracer_that_never_waits_hides_no_end,
    ]));
    all
}

fn signal_0_does_nothing(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    client.exec("c1", "e", &["sleep", "600"])?;
    client.start("c1", "e")?;
    client.kill("c1", "e", 0, false)?;
    client.kill("c1", "", 0, false)?;
    assert_eq!(client.pids("c1")?.processes.len(), 2);
    Ok(client.end("c1")?)
}

fn a_real_time_signal_ends_init_and_exec(stage: &Stage) -> Outcome {
    // The init of a pid namespace gets only the signals it has a handler for.
    let trap = "trap 'exit 9' 37; echo ready > /tmp/ready; while :; do usleep 20000; done";
    let client = stage.shim("c1", &["sh", "-c", trap])?;
    client.run(stage, "c1")?;
    client.exec(
        "c1",
        "e",
        &[
            "sh",
            "-c",
            "until [ -e /tmp/ready ]; do usleep 10000; done; exec sleep 600",
        ],
    )?;
    let exec = client.start("c1", "e")?.pid;
    wait::until_true("the exec to sleep", SOON, || {
        fs::read_to_string(format!("/proc/{exec}/cmdline"))
            .is_ok_and(|line| line.starts_with("sleep"))
    })?;
    client.kill("c1", "e", 37, false)?;
    assert_eq!(client.wait("c1", "e")?.exit_status, 128 + 37);
    client.kill("c1", "", 37, false)?;
    assert_eq!(client.wait("c1", "")?.exit_status, 9);
    Ok(client.end("c1")?)
}

fn a_signal_that_does_not_exist_is_refused(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    client.exec("c1", "e", &["sleep", "600"])?;
    client.start("c1", "e")?;
    for signal in [65, 1000, u32::MAX] {
        for exec in ["", "e"] {
            let error = client
                .kill("c1", exec, signal, false)
                .err()
                .ok_or(format!("{signal} to {exec:?}"))?;
            if stage.kind == Kind::Podhook {
                assert_eq!(
                    (error.code, error.message),
                    (
                        Code::INVALID_ARGUMENT,
                        format!("invalid signal {signal}: invalid argument")
                    )
                );
            }
        }
    }
    // The shim and the container live.
    assert_eq!(client.pids("c1")?.processes.len(), 2);
    Ok(client.end("c1")?)
}

fn all_with_an_exec_reaches_its_session(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let running = || client.pids("c1").map_or(0, |pids| pids.processes.len());
    // Twice: one is killed alone and leaves its children, the other with them.
    for (exec, all, left) in [("alone", false, 3), ("whole", true, 3)] {
        client.exec("c1", exec, &["sh", "-c", "sleep 601 & (sleep 602 &); wait"])?;
        client.start("c1", exec)?;
        wait::until_true("all of it to run", SOON, || {
            running() == if all { 6 } else { 4 }
        })?;
        client.kill("c1", exec, 9, all)?;
        assert_eq!(client.wait("c1", exec)?.exit_status, 137);
        wait::until_true("what is left", SOON, || running() == left)?;
    }
    let error = client
        .kill("c1", "whole", 9, true)
        .err()
        .ok_or("it has ended")?;
    assert_eq!(error.code, Code::NOT_FOUND);
    Ok(client.end("c1")?)
}

fn all_reaches_what_has_left_its_parent(stage: &Stage) -> Outcome {
    let client = stage.shim(
        "c1",
        &[
            "sh",
            "-c",
            "(sleep 601 &) ; trap '' TERM; while :; do usleep 20000; done",
        ],
    )?;
    client.run(stage, "c1")?;
    let sleeps = || {
        client.pids("c1").map_or(0, |pids| {
            pids.processes
                .iter()
                .filter(|p| {
                    fs::read_to_string(format!("/proc/{}/cmdline", p.pid))
                        .is_ok_and(|line| line.starts_with("sleep"))
                })
                .count()
        })
    };
    wait::until_true("the daemon", SOON, || sleeps() == 1)?;
    client.kill("c1", "", 15, false)?;
    assert_eq!(sleeps(), 1);
    client.kill("c1", "", 15, true)?;
    wait::until_true("the daemon to end", SOON, || sleeps() == 0)?;
    Ok(client.end("c1")?)
}

fn many_wait_for_one_exit(stage: &Stage) -> Outcome {
    let client = stage.shim(
        "c1",
        &[
            "sh",
            "-c",
            "trap 'exit 4' USR1; while :; do usleep 20000; done",
        ],
    )?;
    client.create(stage, "c1")?;
    // Each with a connection of its own: requests that overtake each other on one are refused by Go's ttrpc.
    let waits = (0..50)
        .map(|_| {
            let client = client.again()?;
            Ok(runtime().spawn(async move {
                let limit = 2 * SOON;
                client
                    .call_within::<WaitResponse>("Wait", &wait_request("c1", ""), limit)
                    .await
            }))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    client.start("c1", "")?;
    let during = client.again()?;
    let late = runtime().spawn(async move {
        let limit = 2 * SOON;
        during
            .call_within::<WaitResponse>("Wait", &wait_request("c1", ""), limit)
            .await
    });
    // Until it has its handler, init gets no SIGUSR1.
    wait::until_true("the exit", SOON, || {
        let _ = client.kill("c1", "", 10, false);
        client
            .state("c1", "")
            .is_ok_and(|state| state.exit_status == 4)
    })?;
    let first = client.wait("c1", "")?;
    assert_eq!(first.exit_status, 4);
    for wait in waits.into_iter().chain([late]) {
        let answer = runtime().block_on(wait)??;
        assert_eq!(
            (answer.exit_status, answer.exited_at.clone()),
            (4, first.exited_at.clone())
        );
    }
    Ok(client.end("c1")?)
}

fn waiters_that_go_away_leave_nothing(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let shim = stage.shim_pid("c1").ok_or("no shim")?;
    let descriptors = || fs::read_dir(format!("/proc/{shim}/fd")).map_or(0, Iterator::count);
    let heap = || -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{shim}/status")).ok()?;
        let line = text.lines().find(|line| line.starts_with("RssAnon:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let round = || -> Outcome {
        let limit = Duration::from_millis(1);
        for _ in 0..20 {
            let gone = client.again()?;
            for _ in 0..20 {
                let _ = runtime().block_on(gone.call_within::<WaitResponse>(
                    "Wait",
                    &wait_request("c1", ""),
                    limit,
                ));
            }
        }
        Ok(())
    };
    round()?;
    client.state("c1", "")?;
    wait::until_true("the connections to close", SOON, || descriptors() < 40)?;
    let before = (descriptors(), heap().ok_or("no RssAnon")?);
    for _ in 0..5 {
        round()?;
    }
    client.state("c1", "")?;
    wait::until_true("the connections to close", SOON, || {
        descriptors() <= before.0
    })?;
    // 2,000 waits more: each that stayed would be some hundred bytes at least. What else work took goes a second later.
    let what = format!("no more than 200 kB above {} kB", before.1);
    wait::until_true(&what, SOON, || {
        heap().is_some_and(|after| after <= before.1 + 200)
    })
    .map_err(|e| format!("{e}: {:?} kB", heap()))?;
    Ok(client.end("c1")?)
}

fn what_is_left_of_a_shared_pid_namespace_dies_with_init(stage: &Stage) -> Outcome {
    let mut spec = stage.spec(
        "c1",
        &[
            "sh",
            "-c",
            "sleep 602 & until [ -e /tmp/end ]; do usleep 10000; done",
        ],
    );
    // The host's: no entry at all.
    let namespaces = spec.0["linux"]["namespaces"]
        .as_array_mut()
        .ok_or("no namespaces")?;
    namespaces.retain(|namespace| namespace["type"] != "pid");
    let client = stage.shim_of("c1", &spec)?;
    let _: CreateTaskResponse = client.call("Create", &create_request(stage, "c1"))?;
    client.start("c1", "")?;
    // It is the shell's copy until it has executed sleep.
    let sleeper = wait::until("the sleeper", SOON, || {
        let pids = client.pids("c1").ok()?;
        pids.processes.iter().map(|p| p.pid).find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with("sleep"))
        })
    })?;
    client.exec("c1", "end", &["touch", "/tmp/end"])?;
    client.start("c1", "end")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 0);
    // Killed before the exit was told; how long it takes to die is the kernel's business.
    wait::until_true("the other process to end", SOON, || {
        let state = fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    })?;
    client.delete("c1", "end")?;
    client.delete("c1", "")?;
    client.shutdown("c1");
    Ok(())
}

/// Traces `pid` until this is dropped, and never waits for it: as a process may that shares its pid namespace.
struct Tracer {
    _stop: mpsc::Sender<()>,
}

impl Tracer {
    fn of(pid: u32) -> Result<Self, Failure> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        // A tracer is a thread.
        thread::spawn(move || {
            let _ = tell.send(ptrace::seize(
                Pid::from_raw(pid.cast_signed()),
                ptrace::Options::empty(),
            ));
            let _ = stopped.recv();
        });
        told.recv()??;
        Ok(Self { _stop: stop })
    }
}

fn a_tracer_that_never_waits_hides_no_end(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let tracer = Tracer::of(client.run(stage, "c1")?)?;
    client.kill("c1", "", 9, false)?;
    assert_eq!(client.wait("c1", "")?.exit_status, 128 + 9);
    let state = client.state("c1", "")?;
    assert_eq!(state.status.enum_value_or_default(), Status::STOPPED);
    assert_eq!(client.delete("c1", "")?.exit_status, 128 + 9);
    drop(tracer);
    client.shutdown("c1");
    stage.wait_gone("c1")
}
