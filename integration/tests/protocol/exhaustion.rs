//! A node that has no more processes, or a shim that has no more descriptors: what a neighbour can bring about.
//! Each thing is refused at each point where it is asked for: no shim ends, hangs or loses anything, and with room
//! again all goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use containerd_shim_protos::api::{
    CreateTaskRequest, CreateTaskResponse, Empty, ExecProcessRequest,
};
use containerd_shim_protos::shim::oci::Options;
use podhook_integration::Outcome;
use podhook_integration::wait::{self, SOON};

use crate::Test;
use crate::client::{Answer, Client, create_request, exec_request};
use crate::podhook_only;
use crate::scarce::{Descriptors, Processes, wait_alone};
use crate::stage::{Failure, Stage, any};
use crate::stdio::{Stdio, reader, request};
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![exhaustion:
        a_client_is_let_in_when_there_are_descriptors_again,
    ];
    all.extend(podhook_only(tests![exhaustion:
        // Mostly so of the original; but Go's runtime aborts where it wants one more thread.
        a_neighbour_that_takes_every_process_ends_no_shim,
        create_with_too_few_processes,
        create_with_too_few_descriptors,
        an_init_that_cannot_be_held_is_no_container_that_cannot_be_killed,
        start_with_a_hook_and_too_few_processes,
        start_with_a_hook_and_too_few_descriptors,
        an_exec_with_too_few_processes,
        an_exec_with_too_few_descriptors,
        delete_with_too_few_processes,
        delete_without_the_runtime_takes_no_process,
        delete_with_too_few_descriptors,
        kill_takes_neither_a_process_nor_a_descriptor,
        output_goes_to_its_file_without_a_thread,
    ]));
    all
}

/// More than any operation needs.
const ENOUGH: u64 = 64;

/// What a shim has less and less of.
trait Scarce {
    /// Allows `count` more than are in use, or, of what the shim gives back at any time, than it may have then.
    fn leave(&self, count: u64) -> Outcome;
    fn lift(&self) -> Outcome;
    /// What an error says of it.
    fn words(&self) -> &[&str];
}

impl Scarce for Processes {
    fn leave(&self, count: u64) -> Outcome {
        self.allow(self.used()? + count)
    }

    fn lift(&self) -> Outcome {
        Processes::lift(self)
    }

    fn words(&self) -> &[&str] {
        // Of the OCI runtime: that of its runtime in Go, and its own.
        &[
            "temporarily unavailable",
            "did not terminate successfully",
            "init",
        ]
    }
}

impl Scarce for Descriptors {
    fn leave(&self, count: u64) -> Outcome {
        /// As many as a container has that has ended and is not deleted.
        const CLOSING: u64 = 8;
        self.allow(self.used()?.saturating_sub(CLOSING) + count)
    }

    fn lift(&self) -> Outcome {
        Descriptors::lift(self)
    }

    fn words(&self) -> &[&str] {
        &["oo many open files"]
    }
}

fn processes(stage: &Stage, shim: i32) -> Result<Box<dyn Scarce>, Failure> {
    Ok(Box::new(Processes::around(stage, shim)?))
}

fn descriptors(_: &Stage, shim: i32) -> Result<Box<dyn Scarce>, Failure> {
    Ok(Box::new(Descriptors::of(shim)?))
}

type Of = fn(&Stage, i32) -> Result<Box<dyn Scarce>, Failure>;

/// Does something with less and less refused, until it succeeds: `prepare`, then `act` with so much left, then `tidy`
/// with enough again, which is told whether it has succeeded. It is refused at least once.
fn at_each_point(
    stage: &Stage,
    of: Of,
    prepare: impl Fn(&Client, &str) -> Outcome,
    act: impl Fn(&Client, &str) -> Answer<()>,
    tidy: impl Fn(&Client, &str, bool) -> Outcome,
) -> Outcome {
    let refused = times_refused(stage, of, prepare, act, tidy)?;
    assert!(refused > 0, "nothing was refused");
    Ok(())
}

/// The same, and how often it was refused.
fn times_refused(
    stage: &Stage,
    of: Of,
    prepare: impl Fn(&Client, &str) -> Outcome,
    act: impl Fn(&Client, &str) -> Answer<()>,
    tidy: impl Fn(&Client, &str, bool) -> Outcome,
) -> Result<u64, Failure> {
    let client = stage.shim("c", &["sleep", "600"])?;
    client.run(stage, "c")?;
    let shim = stage.shim_pid("c").ok_or("no shim")?;
    let open = Descriptors::of(shim)?;
    let before = open.used()?;
    let scarce = of(stage, shim)?;
    let mut refused = 0;
    for left in 0..ENOUGH {
        let id = format!("c{left}");
        stage.make_bundle(&id, &hooked(stage, &id))?;
        prepare(&client, &id)?;
        wait_alone(shim)?;
        scarce.leave(left)?;
        let done = act(&client, &id);
        let alive = client.connect_rpc("c");
        scarce.lift()?;
        let pid = alive.map_err(|e| format!("{left} left: the shim does not answer: {e}"))?;
        assert_eq!(pid.shim_pid, shim as u32);
        if let Err(e) = &done {
            refused += 1;
            let said = scarce.words().iter().any(|words| e.message.contains(words));
            assert!(said, "{left} left: {e}");
        }
        tidy(&client, &id, done.is_ok()).map_err(|e| format!("{left} left: {e}"))?;
        if done.is_ok() {
            break;
        }
    }
    assert!(refused < ENOUGH, "refused {refused} times");
    wait::until_true("what was opened to be closed", SOON, || {
        open.used().is_ok_and(|used| used <= before)
    })?;
    client.end("c")?;
    Ok(refused)
}

/// A container whose hooks run in it.
fn hooked(stage: &Stage, id: &str) -> crate::bundle::Spec {
    let lifecycle = r#"{"postStart": {"exec": {"command": ["touch", "/tmp/hooked"]}}}"#;
    let sleeper = ["sh", "-c", "trap 'exit 7' TERM; sleep 600 & wait"];
    stage
        .spec(id, &sleeper)
        .annotation("podhook.dev/lifecycle", lifecycle)
}

/// The container is there, or it is not at all.
fn gone(stage: &Stage, client: &Client, id: &str) -> Outcome {
    assert!(client.state(id, "").is_err(), "{id} is still known");
    let left = stage.left_of(id);
    assert!(left.is_empty(), "left of {id}: {left:?}");
    Ok(())
}

/// What a failed Create has left goes as soon as that can be.
fn remains_go(stage: &Stage, id: &str) -> Outcome {
    let went = wait::until_true("the remains to go", 3 * SOON, || {
        stage.left_of(id).is_empty()
    });
    Ok(went.map_err(|e| format!("{e}: {:?}", stage.left_of(id)))?)
}

fn create(stage: &Stage, of: Of) -> Outcome {
    let nothing = |_: &Client, _: &str| Ok(());
    let create = |client: &Client, id: &str| {
        let out = stage.dir().join(format!("{id}.out"));
        let out = out.display().to_string();
        let stdio = Stdio {
            stdin: &format!("{out}.in"),
            stdout: &out,
            stderr: &format!("{out}.err"),
        };
        for path in [stdio.stdin, stdio.stdout, stdio.stderr] {
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
        }
        let _: CreateTaskResponse = client.call("Create", &request(stage, id, &stdio))?;
        Ok(())
    };
    let tidy = |client: &Client, id: &str, created: bool| {
        if created {
            // Nothing that it needs later has been refused.
            client.start(id, "")?;
            assert_eq!(exec(stage, client, id, "e", "cat /proc/1/comm"), Ok(0));
            client.remove(id)?;
        } else {
            // The OCI runtime may have died.
            remains_go(stage, id)?;
        }
        gone(stage, client, id)
    };
    at_each_point(stage, of, nothing, create, tidy)
}

fn create_with_too_few_processes(stage: &Stage) -> Outcome {
    create(stage, processes)
}

fn create_with_too_few_descriptors(stage: &Stage) -> Outcome {
    create(stage, descriptors)
}

/// Descriptors are taken when the OCI runtime has made the container.
fn an_init_that_cannot_be_held_is_no_container_that_cannot_be_killed(stage: &Stage) -> Outcome {
    let program = stage.dir().join("slow-runc");
    let (made, go) = (stage.dir().join("made"), stage.dir().join("go"));
    let script = format!(
        "#!/bin/sh\nrunc \"$@\"\nstatus=$?\ncase \"$*\" in *' create '*) echo > {}; \
         until [ -e {} ]; do sleep 0.02; done;; esac\nexit $status\n",
        made.display(),
        go.display()
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let options = Options {
        binary_name: program.display().to_string(),
        ..Default::default()
    };
    let client = stage.shim("c", &["sleep", "600"])?;
    client.run(stage, "c")?;
    let descriptors = Descriptors::of(stage.shim_pid("c").ok_or("no shim")?)?;
    for count in 0..ENOUGH {
        let id = format!("c{count}");
        stage.make_bundle(&id, &stage.spec(&id, &["sleep", "600"]))?;
        let request = CreateTaskRequest {
            options: Some(any(&options)).into(),
            ..create_request(stage, &id)
        };
        let creating = {
            let client = client.clone();
            std::thread::spawn(move || client.call::<CreateTaskResponse>("Create", &request))
        };
        wait::until_true("the container's init", SOON, || made.exists())?;
        descriptors.leave(count)?;
        fs::write(&go, "")?;
        let created = creating.join().map_err(|_| "the client panicked")?;
        descriptors.lift()?;
        fs::remove_file(&made)?;
        let done = created.is_ok();
        match created {
            Ok(_) => drop(client.remove(&id).map_err(|e| format!("{count}: {e}"))?),
            Err(e) => assert!(e.message.contains("oo many open files"), "{count}: {e}"),
        }
        remains_go(stage, &id)?;
        fs::remove_file(&go)?;
        if done && count > 0 {
            return Ok(client.end("c")?);
        }
        assert!(!done, "nothing was refused");
    }
    Err("no limit was enough".into())
}

fn start(stage: &Stage, of: Of) -> Outcome {
    at_each_point(
        stage,
        of,
        |client, id| Ok(client.create(stage, id).map(drop)?),
        |client, id| client.start(id, "").map(drop),
        |client, id, _| {
            client.remove(id)?;
            gone(stage, client, id)
        },
    )
}

fn start_with_a_hook_and_too_few_processes(stage: &Stage) -> Outcome {
    start(stage, processes)
}

fn start_with_a_hook_and_too_few_descriptors(stage: &Stage) -> Outcome {
    start(stage, descriptors)
}

/// An exec with fifos; its exit status.
fn exec(stage: &Stage, client: &Client, id: &str, exec_id: &str, script: &str) -> Answer<u32> {
    let fifo = |name: &str| {
        let path = stage.dir().join(format!("{id}-{exec_id}-{name}"));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
        path.display().to_string()
    };
    let (stdin, stdout, stderr) = (fifo("in"), fifo("out"), fifo("err"));
    let readers = [&stdout, &stderr].map(|path| reader(path));
    let request = ExecProcessRequest {
        stdin,
        stdout,
        stderr,
        ..exec_request(id, exec_id, &["sh", "-c", script])
    };
    let _: Empty = client.call("Exec", &request)?;
    let started = client.start(id, exec_id);
    let exit = client.wait(id, exec_id)?.exit_status;
    client.delete(id, exec_id)?;
    drop(readers);
    started?;
    Ok(exit)
}

fn execs(stage: &Stage, of: Of) -> Outcome {
    let ran = |id: &str| stage.dir().join("busybox").join(format!("ran-{id}"));
    at_each_point(
        stage,
        of,
        |_, _| Ok(()),
        |client, id| {
            let script = format!("echo > /ran-{id}");
            assert_eq!(exec(stage, client, "c", id, &script)?, 0);
            Ok(())
        },
        |client, id, done| {
            // What is refused has not run.
            assert_eq!(ran(id).exists(), done);
            let pids = client.pids("c")?.processes.len();
            assert_eq!(pids, 1, "an exec is left");
            assert_eq!(exec(stage, client, "c", &format!("{id}-again"), "true")?, 0);
            Ok(())
        },
    )
}

fn an_exec_with_too_few_processes(stage: &Stage) -> Outcome {
    execs(stage, processes)
}

fn an_exec_with_too_few_descriptors(stage: &Stage) -> Outcome {
    execs(stage, descriptors)
}

fn delete(stage: &Stage, of: Of, runtime: &str) -> Result<u64, Failure> {
    let options = any(&Options {
        binary_name: runtime.to_owned(),
        ..Default::default()
    });
    times_refused(
        stage,
        of,
        |client, id| {
            client.create_with(stage, id, &options)?;
            client.start(id, "")?;
            client.kill(id, "", 9, false)?;
            Ok(client.wait(id, "").map(drop)?)
        },
        |client, id| client.delete(id, "").map(drop),
        |client, id, deleted| {
            if !deleted {
                client.delete(id, "")?;
            }
            gone(stage, client, id)
        },
    )
}

fn delete_with_too_few_processes(stage: &Stage) -> Outcome {
    // A script, so that it is asked.
    let (runtime, _) = stage.recording_runtime("")?;
    assert!(delete(stage, processes, &runtime)? > 0);
    Ok(())
}

fn delete_without_the_runtime_takes_no_process(stage: &Stage) -> Outcome {
    assert_eq!(delete(stage, processes, "runc")?, 0);
    Ok(())
}

fn delete_with_too_few_descriptors(stage: &Stage) -> Outcome {
    assert!(delete(stage, descriptors, "runc")? > 0);
    Ok(())
}

fn kill_takes_neither_a_process_nor_a_descriptor(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let shim = stage.shim_pid("c1").ok_or("no shim")?;
    client.exec("c1", "e", &["sleep", "600"])?;
    client.start("c1", "e")?;
    let (processes, descriptors) = (Processes::around(stage, shim)?, Descriptors::of(shim)?);
    processes.allow(0)?;
    descriptors.allow(3)?;
    client.kill("c1", "e", 15, false)?;
    assert_eq!(client.wait("c1", "e")?.exit_status, 128 + 15);
    client.kill("c1", "", 9, false)?;
    assert_eq!(client.wait("c1", "")?.exit_status, 128 + 9);
    // What that needs is for another time.
    assert!(client.delete("c1", "").is_err());
    descriptors.lift()?;
    processes.lift()?;
    client.delete("c1", "")?;
    client.shutdown("c1");
    Ok(())
}

fn output_goes_to_its_file_without_a_thread(stage: &Stage) -> Outcome {
    let log = stage.dir().join("log");
    let script = "until [ -e /tmp/go ]; do usleep 10000; done; echo said; sleep 600";
    let client = stage.shim("c1", &["sh", "-c", script])?;
    let uri = format!("file://{}", log.display());
    let stdio = Stdio {
        stdin: "",
        stdout: &uri,
        stderr: "",
    };
    crate::stdio::run(stage, &client, "c1", &stdio)?;
    let shim = stage.shim_pid("c1").ok_or("no shim")?;
    let processes = Processes::around(stage, shim)?;
    client.exec("c1", "e", &["touch", "/tmp/go"])?;
    client.start("c1", "e")?;
    processes.allow(0)?;
    wait::until_true("what was said in the file", SOON, || {
        fs::read_to_string(&log).is_ok_and(|text| text == "said\n")
    })?;
    client.connect_rpc("c1")?;
    processes.lift()?;
    Ok(client.end("c1")?)
}

fn a_neighbour_that_takes_every_process_ends_no_shim(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let shim = stage.shim_pid("c1").ok_or("no shim")?;
    let processes = Processes::around(stage, shim)?;
    stage.make_bundle("c2", &stage.spec("c2", &["sleep", "600"]))?;
    client.exec("c1", "e", &["true"])?;
    processes.allow(0)?;
    let refused: Answer<_> = client.create(stage, "c2");
    assert!(refused.is_err());
    assert!(client.start("c1", "e").is_err());
    assert_eq!(client.connect_rpc("c1")?.shim_pid, shim as u32);
    processes.lift()?;
    client.delete("c1", "e")?;
    client.exec("c1", "e2", &["true"])?;
    client.start("c1", "e2")?;
    assert_eq!(client.wait("c1", "e2")?.exit_status, 0);
    client.delete("c1", "e2")?;
    client.run(stage, "c2")?;
    client.remove("c2")?;
    Ok(client.end("c1")?)
}

fn a_client_is_let_in_when_there_are_descriptors_again(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let shim = stage.shim_pid("c1").ok_or("no shim")?;
    let descriptors = Descriptors::of(shim)?;
    descriptors.allow(3)?;
    // The kernel takes the connection; the shim cannot yet.
    let second = client.again()?;
    client.state("c1", "")?;
    descriptors.lift()?;
    second.state("c1", "")?;
    Ok(client.end("c1")?)
}
