//! Limits that the daemon has, and what becomes of them; what a client may have outstanding.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Output;
use std::time::Duration;

use containerd_shim_protos::api::{
    CreateTaskRequest, CreateTaskResponse, Empty, ExecProcessRequest, StateRequest, WaitRequest,
};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::oci::Options;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Outcome};

use crate::Test;
use crate::client::{Client, create_request, exec_request};
use crate::podhook_only;
use crate::scarce::{Descriptors, Processes, limit, only_stdio};
use crate::stage::{Failure, Kind, Stage, any};
use crate::start::output;
use crate::stdio::{Stdio, fifo, reader, run};
use crate::tests;
use crate::unless;

pub fn tests() -> Vec<Test> {
    let given_back = tests![limits:
        the_soft_limit_of_descriptors_is_that_of_what_is_started_and_not_the_shims,
    ];
    let mut all = unless(given_back, |kind| {
        (kind == Kind::Go(Generation::V1_6))
            .then_some("Go 1.19 keeps the limit raised for what it starts")
    });
    all.extend(tests![limits:
        the_usual_soft_limit_of_descriptors_is_no_limit_of_execs,
        a_log_at_the_daemons_limit_of_a_files_size_does_not_end_the_shim,
        whoever_starts_a_shim_may_ignore_sigchld,
    ]);
    all.extend(podhook_only(tests![limits:
        a_hundred_execs_with_fifos_fit_into_a_thousand_descriptors,
        start_with_too_few_descriptors_leaves_nothing,
        start_with_too_few_processes_leaves_nothing,
        start_that_may_write_no_file_says_so_and_leaves_nothing,
        a_client_that_never_reads_costs_little,
        a_client_that_only_waits_costs_little_and_can_still_do_more,
    ]));
    all
}

/// `start` as a daemon with other limits calls it.
fn start(
    stage: &Stage,
    id: &str,
    change: impl FnOnce(&mut std::process::Command) -> Outcome,
) -> Result<Output, Failure> {
    let mut command = stage.command(id)?;
    command.args(["-debug", "start"]);
    change(&mut command)?;
    output(&mut command, &stage.start_input(id, b"")?)
}

fn the_soft_limit_of_descriptors_is_that_of_what_is_started_and_not_the_shims(
    stage: &Stage,
) -> Outcome {
    let (_, hard) = Descriptors::of(std::process::id() as i32)?.given();
    let (soft, hard) = (hard.min(300), hard.min(4000));
    let note = format!(
        "echo $(ulimit -Sn) $(ulimit -Hn) >> {}/limits",
        stage.dir().display()
    );
    let (program, _) = stage.recording_runtime(&note)?;
    let options = any(&Options {
        binary_name: program,
        ..Default::default()
    });
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let mut command = stage.command("c1")?;
    limit(&mut command, libc::RLIMIT_NOFILE, soft, hard);
    let started = output(
        command.args(["-debug", "start"]),
        &stage.start_input("c1", &options.write_to_bytes()?)?,
    )?;
    let client = stage.connect(&started)?;
    let logger = stage.dir().join("logger");
    fs::write(
        &logger,
        format!("#!/bin/sh\n{note}\nexec 5>&-\ncat <&3 >/dev/null\n"),
    )?;
    fs::set_permissions(&logger, fs::Permissions::from_mode(0o755))?;
    let uri = format!("binary://{}", logger.display());
    let request = CreateTaskRequest {
        options: Some(options).into(),
        stdout: uri.clone(),
        stderr: uri,
        ..create_request(stage, "c1")
    };
    let _: CreateTaskResponse = client.call("Create", &request)?;
    client.start("c1", "")?;
    let shim = stage.shim_pid("c1").ok_or("no shim")?;
    // Go marks what it has raised by one less.
    let (raised, _) = Descriptors::of(shim)?.given();
    assert!(raised >= hard - 1, "{raised}");
    client.end("c1")?;
    let noted = fs::read_to_string(stage.dir().join("limits"))?;
    // The logger's, and those of create, start and delete.
    assert!(noted.lines().count() >= 4, "{noted}");
    let right = format!("{soft} {hard}");
    assert!(noted.lines().all(|line| line == right), "{noted}");
    Ok(())
}

/// The original opens as many as its hard limit allows.
fn the_usual_soft_limit_of_descriptors_is_no_limit_of_execs(stage: &Stage) -> Outcome {
    let (_, hard) = Descriptors::of(std::process::id() as i32)?.given();
    execs_with_fifos(stage, 110, hard)
}

fn a_hundred_execs_with_fifos_fit_into_a_thousand_descriptors(stage: &Stage) -> Outcome {
    execs_with_fifos(stage, 100, 1024)
}

/// Runs so many at once, where the soft limit of descriptors is the usual one.
fn execs_with_fifos(stage: &Stage, count: usize, hard: u64) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let started = start(stage, "c1", |command| {
        limit(command, libc::RLIMIT_NOFILE, 1024, hard);
        Ok(())
    })?;
    let client = stage.connect(&started)?;
    client.run(stage, "c1")?;
    let mut ends = Vec::new();
    for n in 0..count {
        let [stdin, stdout, stderr] = [
            fifo(stage, &format!("{n}.in"))?,
            fifo(stage, &format!("{n}.out"))?,
            fifo(stage, &format!("{n}.err"))?,
        ];
        // containerd's ends, which the original waits for.
        ends.extend([reader(&stdout)?, reader(&stderr)?]);
        ends.push(fs::File::options().read(true).write(true).open(&stdin)?);
        let request = ExecProcessRequest {
            stdin,
            stdout,
            stderr,
            ..exec_request("c1", &n.to_string(), &["sleep", "600"])
        };
        let _: Empty = client.call("Exec", &request)?;
        let started = client.start("c1", &n.to_string());
        started.map_err(|e| format!("after {n} execs: {e}"))?;
    }
    Ok(client.end("c1")?)
}

fn a_log_at_the_daemons_limit_of_a_files_size_does_not_end_the_shim(stage: &Stage) -> Outcome {
    const LIMIT: u64 = 100_000;
    let log = stage.dir().join("log");
    let uri = format!("file://{}", log.display());
    let script = "ulimit -f; head -c 300000 /dev/zero; sleep 600";
    stage.make_bundle("c1", &stage.spec("c1", &["sh", "-c", script]))?;
    let started = start(stage, "c1", |command| {
        limit(command, libc::RLIMIT_FSIZE, LIMIT, LIMIT);
        Ok(())
    })?;
    let client = stage.connect(&started)?;
    let stdio = Stdio {
        stdin: "",
        stdout: &uri,
        stderr: "",
    };
    run(stage, &client, "c1", &stdio)?;
    wait::until_true("a file as large as it may be", SOON, || {
        fs::metadata(&log).is_ok_and(|file| file.len() == LIMIT)
    })?;
    if stage.kind == Kind::Podhook {
        wait::until_true("a word in the log", SOON, || {
            stage.log("c1").contains("File too large")
        })?;
    }
    // What the shim does about the signal is its own affair: an exec dies of it.
    let exceed = "head -c 300000 /dev/zero > /tmp/large";
    client.exec("c1", "e", &["sh", "-c", exceed])?;
    client.start("c1", "e")?;
    assert_eq!(
        client.wait("c1", "e")?.exit_status,
        128 + libc::SIGXFSZ as u32
    );
    client.delete("c1", "e")?;
    Ok(client.end("c1")?)
}

/// What is ignored stays ignored in what is executed, and the kernel then keeps no child's status.
fn whoever_starts_a_shim_may_ignore_sigchld(stage: &Stage) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["sh", "-c", "sleep 0.1; exit 3"]))?;
    let started = start(stage, "c1", |command| {
        ignore(command, libc::SIGCHLD);
        Ok(())
    })?;
    assert!(started.status.success(), "{started:?}");
    let client = stage.connect(&started)?;
    client.run(stage, "c1")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 3);
    client.delete("c1", "")?;
    client.shutdown("c1");
    stage.wait_gone("c1")?;
    let mut verb = stage.command("c1")?;
    verb.args(["-bundle", &stage.bundle("c1").to_string_lossy(), "delete"]);
    ignore(&mut verb, libc::SIGCHLD);
    let deleted = output(&mut verb, b"")?;
    assert!(deleted.status.success(), "{deleted:?}");
    Ok(())
}

fn ignore(command: &mut std::process::Command, signal: libc::c_int) {
    // SAFETY: runs between fork and exec; signal is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            libc::signal(signal, libc::SIG_IGN);
            Ok(())
        });
    }
}

fn start_that_may_write_no_file_says_so_and_leaves_nothing(stage: &Stage) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let started = start(stage, "c1", |command| {
        limit(command, libc::RLIMIT_FSIZE, 0, 0);
        Ok(())
    })?;
    let shown = String::from_utf8_lossy(&started.stdout).into_owned();
    assert_eq!(started.status.code(), Some(1), "{started:?}");
    assert!(shown.contains("File too large"), "{shown}");
    stage.wait_gone("c1")
}

/// Starts with more and more allowed, until a server is there and can make a container; none of the others has ended by
/// a signal of its own or has left anything.
fn start_at_each_point(
    stage: &Stage,
    change: impl Fn(&mut std::process::Command, u64) -> Outcome,
) -> Outcome {
    for allowed in 0..64 {
        let id = format!("c{allowed}");
        stage.make_bundle(&id, &stage.spec(&id, &["sleep", "600"]))?;
        let started = start(stage, &id, |command| change(command, allowed));
        let Ok(started) = started else {
            // Not even a process.
            continue;
        };
        let shown = String::from_utf8_lossy(&started.stdout).into_owned();
        assert_eq!(started.status.signal(), None, "{allowed} allowed: {shown}");
        if started.status.success() {
            let made = stage.connect(&started).and_then(|client| {
                client.create(stage, &id)?;
                Ok(client)
            });
            if let Ok(client) = made {
                client.remove(&id)?;
                client.shutdown(&id);
                return stage.wait_gone(&id);
            }
            let log = stage.log(&id);
            assert!(!log.contains("panicked"), "{allowed} allowed: {log}");
            // It serves, and has refused the container; or it ends, which takes a moment.
            wait::until_true("an end or an answer", SOON, || {
                let Some(pid) = stage.shim_pid(&id) else {
                    return true;
                };
                let answer = stage.connect(&started).and_then(|client| {
                    let answer = client.connect_rpc(&id)?;
                    client.shutdown(&id);
                    Ok(answer.shim_pid)
                });
                answer.is_ok_and(|said| said == pid as u32)
            })?;
            stage.wait_gone(&id)?;
        } else {
            // The loader's words are on stderr.
            let words = [shown.as_bytes(), &started.stderr].concat();
            assert!(!words.is_empty(), "{allowed} allowed: no word");
        }
        stage.delete_verb(&id)?;
        assert_eq!(stage.shim_pid(&id), None, "{allowed} allowed");
    }
    Err("no limit was enough".into())
}

fn start_with_too_few_descriptors_leaves_nothing(stage: &Stage) -> Outcome {
    start_at_each_point(stage, |command, allowed| {
        only_stdio(command);
        limit(command, libc::RLIMIT_NOFILE, 3 + allowed, 3 + allowed);
        Ok(())
    })
}

fn start_with_too_few_processes_leaves_nothing(stage: &Stage) -> Outcome {
    let processes = Processes::new(stage)?;
    start_at_each_point(stage, |command, allowed| {
        processes.allow(1 + allowed)?;
        processes.enclose(command)
    })
}

/// The memory that is a process's own, in kB.
fn private(pid: i32) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.ok_or("no Private_Dirty")?.parse()?)
}

/// Sends `count` requests and reads no answer, until the shim `pid` takes no more; how many it has taken.
fn flood(
    client: &Client,
    pid: i32,
    count: u32,
    method: &str,
    request: &impl Message,
) -> Result<(UnixStream, u32), Failure> {
    let path = client.address().trim_start_matches("unix://");
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(Duration::from_millis(500)))?;
    let request = ttrpc::Request {
        service: "containerd.task.v2.Task".to_owned(),
        method: method.to_owned(),
        payload: request.write_to_bytes()?,
        ..Default::default()
    };
    let body = request.write_to_bytes()?;
    for n in 0..count {
        let mut frame = u32::try_from(body.len())?.to_be_bytes().to_vec();
        frame.extend((2 * n + 1).to_be_bytes());
        frame.extend([1, 0]);
        frame.extend(&body);
        let mut rest = frame.as_slice();
        let mut asleep = 0;
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(written) => (rest, asleep) = (&rest[written..], 0),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    // A shim that still works at it runs, or waits for a processor.
                    asleep += u32::from(sleeps(pid)?);
                    if asleep == 3 {
                        return Ok((stream, n));
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok((stream, count))
}

fn sleeps(pid: i32) -> Result<bool, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(stat
        .rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('S')))
}

/// As much as a connection may cost.
const COST: u64 = 40_000;
const MANY: u32 = 200_000;

fn flooded(
    stage: &Stage,
    method: &str,
    request: &impl Message,
    meanwhile: impl FnOnce(&Client) -> Outcome,
) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let shim = stage.shim_pid("c1").ok_or("no shim")?;
    let before = private(shim)?;
    let (stream, taken) = flood(&client, shim, MANY, method, request)?;
    let during = private(shim)?;
    assert!(
        during < before + COST,
        "{before} kB, {during} kB, {taken} requests"
    );
    meanwhile(&client)?;
    drop(stream);
    // The allocator keeps pages that others are on.
    let mut now = during;
    let given_back = wait::until_true("the memory to be given back", 3 * SOON, || {
        now = private(shim).unwrap_or(now);
        now < before + 2_000
    });
    given_back.map_err(|e| format!("{e}: {before} kB, {during} kB, {now} kB"))?;
    Ok(client.end("c1")?)
}

fn a_client_that_never_reads_costs_little(stage: &Stage) -> Outcome {
    let request = StateRequest {
        id: "c1".into(),
        ..Default::default()
    };
    flooded(stage, "State", &request, |client| {
        Ok(client.state("c1", "").map(drop)?)
    })
}

fn a_client_that_only_waits_costs_little_and_can_still_do_more(stage: &Stage) -> Outcome {
    let request = WaitRequest {
        id: "c1".into(),
        ..Default::default()
    };
    flooded(stage, "Wait", &request, |client| {
        let refused = client.wait("c1", "").expect_err("one Wait more");
        assert!(refused.message.contains("resource exhausted"), "{refused}");
        // On the connection that has them all, too: it is answered where somebody reads.
        Ok(client.state("c1", "").map(drop)?)
    })
}
