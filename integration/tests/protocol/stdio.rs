//! Stdio over fifos whose other end comes and goes; terminals; owners.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::Duration;

use containerd_shim_protos::api::{
    CreateTaskRequest, CreateTaskResponse, Empty, ExecProcessRequest,
};
use containerd_shim_protos::shim::oci::Options;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use podhook_integration::Outcome;
use podhook_integration::wait::{self, SOON};

use crate::Test;
use crate::client::{Client, create_request, exec_request};
use crate::options::generic;
use crate::podhook_only;
use crate::stage::{Failure, Stage, any};
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![stdio:
        output_waits_for_a_reader_that_comes_back,
        a_reader_that_stops_holds_up_nobody_else,
        stdin_without_a_writer_hangs_nothing,
        close_io_ends_the_input,
        close_io_before_the_writer_is_gone_loses_nothing,
        what_the_oci_runtime_prints_is_no_output_of_the_container,
        the_pipes_belong_to_the_owner_in_the_options,
        an_exec_that_leaves_a_child_with_its_output_is_deleted_in_time,
        an_address_that_only_a_sandboxs_shim_serves_is_refused,
    ];
    all.extend(podhook_only(tests![stdio:
        a_missing_fifo_fails_create_and_leaves_nothing,
        the_last_output_of_a_terminal_is_not_lost,
        execs_leave_no_descriptors,
        stdio_that_nobody_asked_for_is_not_the_nodes_dev_null,
    ]));
    all
}

pub fn fifo(stage: &Stage, name: &str) -> Result<String, Failure> {
    let path = stage.dir().join(name);
    mkfifo(&path, Mode::S_IRWXU)?;
    Ok(path.display().to_string())
}

/// containerd's end of an output.
pub fn reader(path: &str) -> Result<File, Failure> {
    Ok(File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?)
}

/// Everything that is there now.
pub fn read(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = file.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn wait_text(file: &mut File, text: &str) -> Outcome {
    let mut all = String::new();
    Ok(wait::until_true(
        &format!("{text:?} on the fifo"),
        SOON,
        || {
            all += &read(file);
            all.contains(text)
        },
    )?)
}

pub struct Stdio<'a> {
    pub stdin: &'a str,
    pub stdout: &'a str,
    pub stderr: &'a str,
}

pub fn request(stage: &Stage, id: &str, stdio: &Stdio<'_>) -> CreateTaskRequest {
    CreateTaskRequest {
        stdin: stdio.stdin.into(),
        stdout: stdio.stdout.into(),
        // The original takes both or neither.
        stderr: if stdio.stderr.is_empty() {
            stdio.stdout
        } else {
            stdio.stderr
        }
        .into(),
        ..create_request(stage, id)
    }
}

pub fn run(stage: &Stage, client: &Client, id: &str, stdio: &Stdio<'_>) -> Outcome {
    let _: CreateTaskResponse = client.call("Create", &request(stage, id, stdio))?;
    client.start(id, "")?;
    Ok(())
}

fn output_waits_for_a_reader_that_comes_back(stage: &Stage) -> Outcome {
    let out = fifo(stage, "out")?;
    let mut first = reader(&out)?;
    let script = "echo one; until [ -e /tmp/go ]; do usleep 10000; done; echo two; until [ -e /tmp/end ]; do usleep 10000; done; echo three";
    let client = stage.shim("c1", &["sh", "-c", script])?;
    run(
        stage,
        &client,
        "c1",
        &Stdio {
            stdin: "",
            stdout: &out,
            stderr: "",
        },
    )?;
    wait_text(&mut first, "one\n")?;
    // containerd dies: nobody reads, and the container gets no EPIPE.
    drop(first);
    let touch = |exec: &str, file: &str| -> Outcome {
        client.exec("c1", exec, &["touch", file])?;
        client.start("c1", exec)?;
        client.wait("c1", exec)?;
        client.delete("c1", exec)?;
        Ok(())
    };
    touch("e1", "/tmp/go")?;
    let mut second = reader(&out)?;
    wait_text(&mut second, "two\n")?;
    touch("e2", "/tmp/end")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 0);
    wait_text(&mut second, "three\n")?;
    Ok(client.end("c1")?)
}

fn a_reader_that_stops_holds_up_nobody_else(stage: &Stage) -> Outcome {
    let out = fifo(stage, "out")?;
    let stopped = reader(&out)?;
    let flood = [
        "sh",
        "-c",
        "while :; do echo a line that nobody reads; done",
    ];
    let group = |id, args: &[&str]| {
        stage
            .spec(id, args)
            .annotation("io.kubernetes.cri.sandbox-id", "c0")
    };
    let client = stage.shim_of("c0", &group("c0", &flood))?;
    run(
        stage,
        &client,
        "c0",
        &Stdio {
            stdin: "",
            stdout: &out,
            stderr: "",
        },
    )?;
    std::thread::sleep(Duration::from_millis(300));
    stage.join(&client, "c1", &group("c1", &["sleep", "600"]))?;
    client.run(stage, "c1")?;
    client.exec("c1", "e", &["true"])?;
    client.start("c1", "e")?;
    assert_eq!(client.wait("c1", "e")?.exit_status, 0);
    client.delete("c1", "e")?;
    client.remove("c1")?;
    // It dies at once, and Delete does not wait for its output for long.
    client.remove("c0")?;
    drop(stopped);
    client.shutdown("c0");
    Ok(())
}

fn stdin_without_a_writer_hangs_nothing(stage: &Stage) -> Outcome {
    let (stdin, out) = (fifo(stage, "in")?, fifo(stage, "out")?);
    let mut output = reader(&out)?;
    let client = stage.shim("c1", &["cat"])?;
    run(
        stage,
        &client,
        "c1",
        &Stdio {
            stdin: &stdin,
            stdout: &out,
            stderr: "",
        },
    )?;
    // Writers come and go.
    for word in ["first", "second"] {
        let mut writer = File::options().write(true).open(&stdin)?;
        writeln!(writer, "{word}")?;
        drop(writer);
        wait_text(&mut output, &format!("{word}\n"))?;
    }
    Ok(client.end("c1")?)
}

fn close_io_ends_the_input(stage: &Stage) -> Outcome {
    let (stdin, out) = (fifo(stage, "in")?, fifo(stage, "out")?);
    let _output = reader(&out)?;
    let client = stage.shim("c1", &["sh", "-c", "cat > /dev/null; exit 5"])?;
    run(
        stage,
        &client,
        "c1",
        &Stdio {
            stdin: &stdin,
            stdout: &out,
            stderr: "",
        },
    )?;
    // Something must have been written for a fifo to end, with the original.
    let mut writer = File::options().write(true).open(&stdin)?;
    writeln!(writer, "text")?;
    drop(writer);
    client.close_stdin("c1", "")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 5);
    Ok(client.end("c1")?)
}

fn close_io_before_the_writer_is_gone_loses_nothing(stage: &Stage) -> Outcome {
    let (stdin, out) = (fifo(stage, "in")?, fifo(stage, "out")?);
    let mut output = reader(&out)?;
    let client = stage.shim("c1", &["cat"])?;
    run(
        stage,
        &client,
        "c1",
        &Stdio {
            stdin: &stdin,
            stdout: &out,
            stderr: "",
        },
    )?;
    let mut writer = File::options().write(true).open(&stdin)?;
    client.close_stdin("c1", "")?;
    writeln!(writer, "after CloseIO")?;
    drop(writer);
    wait_text(&mut output, "after CloseIO\n")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 0);
    Ok(client.end("c1")?)
}

/// containerd's streaming service is for shims of virtual machines.
fn an_address_that_only_a_sandboxs_shim_serves_is_refused(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["true"])?;
    let request = CreateTaskRequest {
        stdout: "streaming://127.0.0.1:1/stream?streaming_id=c1-stdout".into(),
        ..create_request(stage, "c1")
    };
    let answer = client.call::<CreateTaskResponse>("Create", &request);
    let error = answer.err().ok_or("it was created")?;
    assert!(error.message.contains("streaming"), "{error}");
    client.shutdown("c1");
    Ok(())
}

/// The original leaves the container that runc has made by then.
fn a_missing_fifo_fails_create_and_leaves_nothing(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let missing = stage.dir().join("missing").display().to_string();
    let stdio = Stdio {
        stdin: "",
        stdout: &missing,
        stderr: "",
    };
    let answer = client.call::<CreateTaskResponse>("Create", &request(stage, "c1", &stdio));
    let error = answer.err().ok_or("it was created")?;
    assert!(error.message.contains("missing"), "{error}");
    assert_eq!(stage.left_of("c1"), [""; 0]);
    client.shutdown("c1");
    Ok(())
}

/// The OCI runtime has the process's stderr, and prints its error there too.
fn what_the_oci_runtime_prints_is_no_output_of_the_container(stage: &Stage) -> Outcome {
    let out = fifo(stage, "out")?;
    let mut output = reader(&out)?;
    let stdio = Stdio {
        stdin: "",
        stdout: &out,
        stderr: "",
    };
    let client = stage.shim("c1", &["/no/such/program"])?;
    let answer = client.call::<CreateTaskResponse>("Create", &request(stage, "c1", &stdio));
    let error = answer.err().ok_or("it was created")?;
    assert!(error.message.contains("/no/such/program"), "{error}");
    client.shutdown("c1");
    stage.wait_gone("c1")?;
    assert_eq!(read(&mut output), "");
    Ok(())
}

fn the_pipes_belong_to_the_owner_in_the_options(stage: &Stage) -> Outcome {
    let out = fifo(stage, "out")?;
    let mut output = reader(&out)?;
    let mut spec = stage.spec(
        "c1",
        &[
            "sh",
            "-c",
            "stat -L -c %u:%g /proc/self/fd/1; echo reopened > /proc/self/fd/1",
        ],
    );
    spec.0["process"]["user"] = serde_json::json!({"uid": 1000, "gid": 1001});
    let client = stage.shim_of("c1", &spec)?;
    let options = Options {
        io_uid: 1000,
        io_gid: 1001,
        ..Default::default()
    };
    let stdio = Stdio {
        stdin: "",
        stdout: &out,
        stderr: "",
    };
    let request = CreateTaskRequest {
        options: Some(any(&options)).into(),
        ..request(stage, "c1", &stdio)
    };
    let _: CreateTaskResponse = client.call("Create", &request)?;
    client.start("c1", "")?;
    let mut text = String::new();
    wait::until_true("the owner", SOON, || {
        text += &read(&mut output);
        text.contains("reopened\n")
    })?;
    assert!(text.starts_with("1000:1001\n"), "{text}");
    client.wait("c1", "")?;
    Ok(client.end("c1")?)
}

fn an_exec_that_leaves_a_child_with_its_output_is_deleted_in_time(stage: &Stage) -> Outcome {
    let out = fifo(stage, "out")?;
    let mut output = reader(&out)?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let exec = ExecProcessRequest {
        stdout: out.clone(),
        stderr: out.clone(),
        ..exec_request("c1", "e", &["sh", "-c", "echo said; sleep 604 &"])
    };
    let _: Empty = client.call("Exec", &exec)?;
    client.start("c1", "e")?;
    assert_eq!(client.wait("c1", "e")?.exit_status, 0);
    wait_text(&mut output, "said\n")?;
    // The child holds the pipe; the shim stops waiting for it (2 s; the original of 2.x 10 s).
    client.delete("c1", "e")?;
    Ok(client.end("c1")?)
}

fn the_last_output_of_a_terminal_is_not_lost(stage: &Stage) -> Outcome {
    let out = fifo(stage, "out")?;
    let mut output = reader(&out)?;
    let mut spec = stage.spec("c1", &["sh", "-c", "tty; echo last"]);
    spec.0["process"]["terminal"] = true.into();
    let client = stage.shim_of("c1", &spec)?;
    let stdio = Stdio {
        stdin: "",
        stdout: &out,
        stderr: "",
    };
    let request = CreateTaskRequest {
        terminal: true,
        ..request(stage, "c1", &stdio)
    };
    let _: CreateTaskResponse = client.call("Create", &request)?;
    client.resize("c1", "", 100, 30)?;
    client.start("c1", "")?;
    client.wait("c1", "")?;
    client.delete("c1", "")?;
    let text = read(&mut output);
    assert!(
        text.contains("/dev/") && text.ends_with("last\r\n"),
        "{text:?}"
    );
    client.shutdown("c1");
    Ok(())
}

fn execs_leave_no_descriptors(stage: &Stage) -> Outcome {
    let (stdin, out) = (fifo(stage, "in")?, fifo(stage, "out")?);
    let mut output = reader(&out)?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let shim = stage.shim_pid("c1").ok_or("no shim")?;
    let descriptors = || fs::read_dir(format!("/proc/{shim}/fd")).map_or(0, Iterator::count);
    let mut exec = |id: &str| -> Outcome {
        let request = ExecProcessRequest {
            stdin: stdin.clone(),
            stdout: out.clone(),
            stderr: out.clone(),
            ..exec_request("c1", id, &["sh", "-c", "echo said"])
        };
        let _: Empty = client.call("Exec", &request)?;
        client.start("c1", id)?;
        client.wait("c1", id)?;
        client.delete("c1", id)?;
        read(&mut output);
        Ok(())
    };
    exec("first")?;
    let before = descriptors();
    for n in 0..100 {
        exec(&format!("e{n}"))?;
    }
    wait::until_true("the descriptors to be closed", SOON, || {
        descriptors() <= before
    })?;
    Ok(client.end("c1")?)
}

/// The node's device, put back at the end.
struct NodesNull(fs::Metadata);

impl NodesNull {
    fn now() -> Result<(u32, u32, i64), Failure> {
        let now = fs::metadata("/dev/null")?;
        Ok((now.mode(), now.gid(), now.ctime()))
    }
}

impl Drop for NodesNull {
    fn drop(&mut self) {
        let _ = fs::set_permissions("/dev/null", self.0.permissions());
        let _ = std::os::unix::fs::chown("/dev/null", Some(self.0.uid()), Some(self.0.gid()));
    }
}

/// By `exec = "runtime"` too: the OCI runtime hands on what it has.
fn stdio_that_nobody_asked_for_is_not_the_nodes_dev_null(stage: &Stage) -> Outcome {
    let _node = NodesNull(fs::metadata("/dev/null")?);
    let before = NodesNull::now()?;
    let config = stage.dir().join("podhook.toml");
    fs::write(&config, "exec = \"runtime\"\n")?;
    let change = "for n in 0 1 2; do for c in 'chmod 0667' 'chown 0:7'; do busybox $c /proc/self/fd/$n && exit 7; \
        done; [ $(busybox readlink /proc/$$/fd/$n) = /dev/null ] || exit 8; done; exit 0";
    // Init has no device of the node either: a runtime that does not give it the container's gives it ours.
    let init = format!("({change}); echo $? > /tmp/init; sleep 600");
    let mut client: Option<Client> = None;
    for (id, options) in [
        ("c1", None),
        ("c2", Some(generic(&config.display().to_string(), ""))),
    ] {
        let spec = stage
            .spec(id, &["sh", "-c", &init])
            .annotation("io.kubernetes.cri.sandbox-id", "c1");
        match &client {
            Some(client) => stage.join(client, id, &spec)?,
            None => client = Some(stage.shim_of(id, &spec)?),
        }
        let client = client.as_ref().ok_or("no shim")?;
        let mut request = create_request(stage, id);
        request.options = options.into();
        client.call::<CreateTaskResponse>("Create", &request)?;
        client.start(id, "")?;
        client.exec(id, "e", &["sh", "-c", change])?;
        client.start(id, "e")?;
        assert_eq!(client.wait(id, "e")?.exit_status, 0, "{id}");
        client.delete(id, "e")?;
        client.exec(
            id,
            "look",
            &["sh", "-c", "until [ -s /tmp/init ]; do usleep 20000; done"],
        )?;
        client.start(id, "look")?;
        client.wait(id, "look")?;
        client.delete(id, "look")?;
        assert_eq!(NodesNull::now()?, before, "{id}");
    }
    let client = client.ok_or("no shim")?;
    client.remove("c2")?;
    Ok(client.end("c1")?)
}
