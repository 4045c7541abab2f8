//! Output to files and to logging programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::{CreateTaskResponse, Empty, ExecProcessRequest};
use podhook_integration::Outcome;
use podhook_integration::wait::{self, SOON};

use crate::Test;
use crate::client::{Client, Refused, exec_request};
use crate::podhook_only;
use crate::stage::{Failure, Stage};
use crate::stdio::{Stdio, fifo, reader, request, run, wait_text};
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![logging:
        a_plain_path_to_a_file_is_appended_to,
        both_outputs_may_go_to_one_file,
        the_last_output_is_in_the_file_when_delete_returns,
        a_logging_program_knows_its_container,
        a_logging_program_of_an_exec_knows_the_exec,
        a_logging_program_has_no_environment_of_the_shims,
        a_logging_program_that_never_ends_is_killed,
    ];
    all.extend(podhook_only(tests![logging:
        the_end_of_one_output_loses_nothing_of_the_other_in_the_same_file,
        a_logging_program_of_version_2_must_say_that_it_is_ready,
        an_unknown_scheme_is_refused_by_name,
        a_file_that_is_a_fifo_does_not_hang_create,
    ]));
    all
}

fn a_plain_path_to_a_file_is_appended_to(stage: &Stage) -> Outcome {
    let log = stage.dir().join("plain.log");
    fs::write(&log, "before\n")?;
    let client = stage.shim("c1", &["echo", "after"])?;
    run(
        stage,
        &client,
        "c1",
        &Stdio {
            stdin: "",
            stdout: &log.display().to_string(),
            stderr: "",
        },
    )?;
    client.wait("c1", "")?;
    client.end("c1")?;
    assert_eq!(fs::read_to_string(log)?, "before\nafter\n");
    Ok(())
}

/// The original opens it as a file first, and hangs without a reader.
fn a_file_that_is_a_fifo_does_not_hang_create(stage: &Stage) -> Outcome {
    let out = fifo(stage, "out")?;
    let client = stage.shim("c1", &["echo", "through a fifo"])?;
    run(
        stage,
        &client,
        "c1",
        &Stdio {
            stdin: "",
            stdout: &format!("file://{out}"),
            stderr: "",
        },
    )?;
    wait_text(&mut reader(&out)?, "through a fifo\n")?;
    client.wait("c1", "")?;
    Ok(client.end("c1")?)
}

/// The container keeps both open until they are there: the original closes the file with the first that ends, and
/// on a busy machine what is left of the other is lost.
fn both_outputs_may_go_to_one_file(stage: &Stage) -> Outcome {
    let log = stage.dir().join("deep/er/both.log");
    let uri = format!("file://{}", log.display());
    let script = "echo out; echo err >&2; exec sleep 600";
    let client = stage.shim("c1", &["sh", "-c", script])?;
    let stdio = Stdio {
        stdin: "",
        stdout: &uri,
        stderr: &uri,
    };
    run(stage, &client, "c1", &stdio)?;
    log_contains(&log, "out\n")?;
    log_contains(&log, "err\n")?;
    Ok(client.end("c1")?)
}

fn the_end_of_one_output_loses_nothing_of_the_other_in_the_same_file(stage: &Stage) -> Outcome {
    let log = stage.dir().join("both.log");
    let uri = format!("file://{}", log.display());
    let script = "exec >&-; head -c 1000000 /dev/zero | tr '\\0' e >&2; echo end >&2";
    let client = stage.shim("c1", &["sh", "-c", script])?;
    let stdio = Stdio {
        stdin: "",
        stdout: &uri,
        stderr: &uri,
    };
    run(stage, &client, "c1", &stdio)?;
    client.wait("c1", "")?;
    client.end("c1")?;
    let text = fs::read_to_string(log)?;
    assert_eq!(text.len(), 1_000_004);
    assert!(text.ends_with("end\n"));
    Ok(())
}

fn the_last_output_is_in_the_file_when_delete_returns(stage: &Stage) -> Outcome {
    let log = stage.dir().join("much.log");
    let uri = format!("file://{}", log.display());
    let client = stage.shim("c1", &["head", "-c", "4000000", "/dev/zero"])?;
    run(
        stage,
        &client,
        "c1",
        &Stdio {
            stdin: "",
            stdout: &uri,
            stderr: &uri,
        },
    )?;
    client.wait("c1", "")?;
    client.delete("c1", "")?;
    assert_eq!(fs::metadata(log)?.len(), 4_000_000);
    client.shutdown("c1");
    Ok(())
}

fn logger(stage: &Stage, script: &str) -> Result<(String, PathBuf), Failure> {
    let (program, log) = (stage.dir().join("logger"), stage.dir().join("logger.log"));
    fs::write(
        &program,
        format!("#!/bin/sh\nlog={}\n{script}\n", log.display()),
    )?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok((program.display().to_string(), log))
}

fn log_contains(log: &Path, text: &str) -> Outcome {
    Ok(wait::until_true(
        &format!("{text:?} in the log"),
        SOON,
        || fs::read_to_string(log).is_ok_and(|log| log.contains(text)),
    )?)
}

fn a_logging_program_knows_its_container(stage: &Stage) -> Outcome {
    let script = "echo \"$CONTAINER_NAMESPACE/$CONTAINER_ID $*\" >> $log\nexec 5>&-\ncat <&3 >> $log & cat <&4 >> $log\nwait";
    let (program, log) = logger(stage, script)?;
    let client = stage.shim("c1", &["sh", "-c", "echo to stdout; echo to stderr >&2"])?;
    let uri = format!("binary://{program}?tag=a%20b");
    run(
        stage,
        &client,
        "c1",
        &Stdio {
            stdin: "",
            stdout: &uri,
            stderr: &uri,
        },
    )?;
    client.wait("c1", "")?;
    log_contains(&log, &format!("{}/c1 tag a b\n", stage.namespace()))?;
    log_contains(&log, "to stdout\n")?;
    log_contains(&log, "to stderr\n")?;
    Ok(client.end("c1")?)
}

fn a_logging_program_has_no_environment_of_the_shims(stage: &Stage) -> Outcome {
    let script = "tr '\\0' '\\n' < /proc/$$/environ >> $log\necho over >> $log\nexec 5>&-\nexec cat <&3 > /dev/null";
    let (program, log) = logger(stage, script)?;
    let client = stage.shim("c1", &["true"])?;
    let uri = format!("binary://{program}");
    let stdio = Stdio {
        stdin: "",
        stdout: &uri,
        stderr: &uri,
    };
    run(stage, &client, "c1", &stdio)?;
    client.wait("c1", "")?;
    log_contains(&log, "over\n")?;
    let text = fs::read_to_string(&log)?;
    let mut names: Vec<_> = text
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["CONTAINER_ID", "CONTAINER_NAMESPACE"]);
    Ok(client.end("c1")?)
}

fn a_logging_program_of_an_exec_knows_the_exec(stage: &Stage) -> Outcome {
    let script =
        "echo \"$CONTAINER_NAMESPACE/$CONTAINER_ID\" >> $log\nexec 5>&-\nexec cat <&3 >> $log";
    let (program, log) = logger(stage, script)?;
    let uri = format!("binary://{program}");
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    for terminal in [false, true] {
        let id = format!("e-{terminal}");
        let request = ExecProcessRequest {
            stdout: uri.clone(),
            stderr: if terminal { String::new() } else { uri.clone() },
            terminal,
            ..exec_request("c1", &id, &["echo", "said by", &id])
        };
        let _: Empty = client.call("Exec", &request)?;
        client.start("c1", &id)?;
        client.wait("c1", &id)?;
        log_contains(&log, &format!("{}/{id}\n", stage.namespace()))?;
        log_contains(&log, &format!("said by {id}"))?;
        client.delete("c1", &id)?;
    }
    Ok(client.end("c1")?)
}

fn a_logging_program_that_never_ends_is_killed(stage: &Stage) -> Outcome {
    let script = "trap 'echo got TERM >> $log' TERM\necho pid $$ >> $log\nexec 5>&-\nwhile :; do sleep 0.1; done";
    let (program, log) = logger(stage, script)?;
    let client = stage.shim("c1", &["true"])?;
    let uri = format!("binary://{program}");
    run(
        stage,
        &client,
        "c1",
        &Stdio {
            stdin: "",
            stdout: &uri,
            stderr: &uri,
        },
    )?;
    client.wait("c1", "")?;
    client.delete("c1", "")?;
    log_contains(&log, "got TERM\n")?;
    let text = fs::read_to_string(&log)?;
    let pid = text
        .lines()
        .find_map(|line| line.strip_prefix("pid "))
        .ok_or("no pid")?;
    wait::until_true("the program to be killed", SOON, || {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    })?;
    client.shutdown("c1");
    Ok(())
}

fn a_logging_program_of_version_2_must_say_that_it_is_ready(stage: &Stage) -> Outcome {
    let create = |id: &str,
                  script: &str|
     -> Result<(Client, Result<CreateTaskResponse, Refused>), Failure> {
        let (program, _) = logger(stage, script)?;
        let uri = format!("binary-v2://{program}");
        let client = stage.shim(id, &["true"])?;
        let answer = client.call(
            "Create",
            &request(
                stage,
                id,
                &Stdio {
                    stdin: "",
                    stdout: &uri,
                    stderr: &uri,
                },
            ),
        );
        Ok((client, answer))
    };
    // One that crashes closes the pipe, too.
    let (client, crashed) = create("c1", "exit 1")?;
    let error = crashed.err().ok_or("it was created")?;
    assert!(error.message.contains("did not get ready"), "{error}");
    assert_eq!(stage.left_of("c1"), [""; 0]);
    client.shutdown("c1");
    let (client, ready) = create("c2", "echo >&5; exec 5>&-; exec cat <&3 > /dev/null")?;
    ready?;
    client.start("c2", "")?;
    client.wait("c2", "")?;
    Ok(client.end("c2")?)
}

fn an_unknown_scheme_is_refused_by_name(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["true"])?;
    let stdio = Stdio {
        stdin: "",
        stdout: "http://somewhere",
        stderr: "",
    };
    let answer = client.call::<CreateTaskResponse>("Create", &request(stage, "c1", &stdio));
    let error = answer.err().ok_or("it was created")?;
    assert!(error.message.contains("\"http\""), "{error}");
    assert_eq!(stage.left_of("c1"), [""; 0]);
    client.shutdown("c1");
    Ok(())
}
