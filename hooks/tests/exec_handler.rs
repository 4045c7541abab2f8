//! The exec handler on real containers: outcomes, output, process trees, accounting, limits.

mod support;

use std::fs;
use std::future::pending;
use std::time::Duration;

use podhook_hooks::handler::{HookRun, Outcome, Sink, exec, line_queue};
use serde_json::json;

use support::bundle::TestContainer;
use support::runtime::Runtime;
use support::{Config, children, eventually, in_time, scaled, strings};

async fn hook(container: &TestContainer, command: &[&str]) -> HookRun {
    exec::run(
        &container.container,
        &strings(command),
        &children(),
        pending(),
        None,
    )
    .await
}

/// Runs a command that does not end by itself, and aborts it as soon as `begun` holds.
async fn aborted_when(
    container: &TestContainer,
    command: &[&str],
    begun: impl Fn() -> bool + Send,
) -> HookRun {
    let (command, children) = (strings(command), children());
    let abort = eventually("what the abort waits for", begun);
    let hook = exec::run(&container.container, &command, &children, abort, None);
    in_time("an aborted hook", hook).await
}

fn failed(message: &str) -> Outcome {
    Outcome::Failed(message.to_string())
}

#[tokio::test]
async fn success_and_failure_carry_code_signal_and_output() {
    let container = Config::default().start();
    let ok = hook(
        &container,
        &["/bin/sh", "-c", "echo out; echo err >&2; echo $FLAVOUR"],
    )
    .await;
    assert_eq!(ok.outcome, Outcome::Succeeded);
    assert_eq!(ok.exit_code, Some(0));
    assert_eq!(ok.output, b"out\nerr\nplain\n");
    assert!(ok.memory_peak.unwrap() > 100_000);
    assert!(ok.finished_at() >= ok.started_at());

    let code = hook(&container, &["sh", "-c", "exit 3"]).await;
    assert_eq!(
        (code.outcome, code.exit_code),
        (failed("exited with status 3"), Some(3))
    );

    let signal = hook(&container, &["sh", "-c", "kill -USR1 $$; sleep 10"]).await;
    assert_eq!(signal.outcome, failed("killed by SIGUSR1"));
    assert_eq!(signal.signal, Some(libc::SIGUSR1));
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let container = Config::default().start();
    for (command, message) in [
        (
            "nosuch",
            r#"exec: "nosuch": executable file not found in $PATH"#,
        ),
        (
            "/no/such",
            r#"exec: "/no/such": stat /no/such: no such file or directory"#,
        ),
        (
            "/etc/not-executable",
            r#"exec: "/etc/not-executable": permission denied"#,
        ),
        ("/etc", r#"exec: "/etc": is a directory"#),
        ("", r#"exec: "": executable file not found in $PATH"#),
    ] {
        let result = hook(&container, &[command]).await;
        assert_eq!(result.outcome, failed(message), "{command}");
        assert_eq!(result.exit_code, None);
    }
    fs::write(container.rootfs().join("bin/garbage"), "\x7fELFgarbage").unwrap();
    fs::write(container.rootfs().join("bin/bashism"), "#!/bin/bash\n").unwrap();
    for file in ["bin/garbage", "bin/bashism"] {
        let chmod = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(container.rootfs().join(file), chmod).unwrap();
    }
    for (command, message) in [
        ("garbage", "exec garbage: exec format error"),
        (
            "bashism",
            "exec bashism: no such file or directory (the file is there: its interpreter or loader is not)",
        ),
    ] {
        let result = hook(&container, &[command]).await;
        assert_eq!(result.outcome, failed(message));
    }
    assert_eq!(
        hook(&container, &[]).await.outcome,
        failed("process args cannot be empty")
    );
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
}

#[tokio::test]
async fn errors_are_worded_as_by_runc() {
    for runtime in [Runtime::Runc, Runtime::Runc1_5] {
        worded_as_by(runtime).await;
    }
}

async fn worded_as_by(runtime: Runtime) {
    let container = Config::default().runtime(runtime).start();
    for command in ["nosuch", "/no/such", "/etc/not-executable", "./x"] {
        same_error(&container, container.bundle_process(), command).await;
    }
    let mut process = container.bundle_process();
    match runtime {
        Runtime::Runc => {
            process["capabilities"] = json!({"effective": ["CAP_KILL"]});
            // Later ones say one thing more.
            same_error(&container, process, "sh").await;
        }
        // Debian 12's, built with an old Go, has permission denied.
        _ => same_error(&container, process, "/etc").await,
    }
    for (field, value) in [
        ("cwd", json!("/no/such")),
        ("cwd", json!("/etc/passwd")),
        ("env", json!(["PATH=bin"])),
        ("env", json!(["PATH"])),
        ("env", json!(["=1"])),
        ("env", json!([])),
    ] {
        let mut process = container.bundle_process();
        process[field] = value;
        same_error(&container, process, "sh").await;
    }
    let mut process = container.bundle_process();
    process["user"] = json!({"uid": 1000, "gid": 1000});
    process["capabilities"] = json!({});
    // Root enters it for the user, as in runc.
    process["cwd"] = json!("/private");
    assert_eq!(
        container.runc_exec_with(&process, &["pwd"]).ok().stdout,
        "/private\n"
    );
    let ours = container
        .engine_exec_with(&process, &["pwd"])
        .await
        .unwrap();
    assert_eq!(ours.ok().stdout, "/private\n");
}

async fn same_error(container: &TestContainer, process: serde_json::Value, command: &str) {
    let runc = container.runc_exec_with(&process, &[command]);
    assert_ne!(runc.exit.code(), Some(0), "{command}");
    let error = container
        .engine_exec_with(&process, &[command])
        .await
        .unwrap_err();
    let error = format!("unable to start container process: {error}");
    assert!(
        runc.stderr.replace("\\\"", "\"").contains(&error),
        "{command}: {error}\n{}",
        runc.stderr
    );
}

/// runc says that there is a process before it executes the program: an exec probe fails by its status, and is not an error.
#[tokio::test]
async fn an_exec_of_what_cannot_be_executed_ends_as_by_runc() {
    for runtime in [Runtime::Runc, Runtime::Runc1_4, Runtime::Runc1_5] {
        let container = Config::default().runtime(runtime).start();
        let files = [
            ("garbage", "\x7fELFgarbage"),
            ("bashism", "#!/bin/bash\n"),
            ("plain", "echo hello\n"),
            ("empty", ""),
        ];
        for (name, text) in files {
            let path = container.rootfs().join("bin").join(name);
            fs::write(&path, text).unwrap();
            let chmod = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&path, chmod).unwrap();
        }
        let process = container.bundle_process();
        for command in ["garbage", "/bin/bashism", "plain", "empty"] {
            let runc = container.runc_exec_with(&process, &[command]);
            let engine = container
                .engine_exec_with(&process, &[command])
                .await
                .unwrap();
            assert_eq!(
                engine.exit.code(),
                runc.exit.code(),
                "{runtime:?} {command}: {runc:?}"
            );
            assert_ne!(engine.exit.code(), Some(0));
            assert_eq!(
                engine.stderr.trim_end(),
                runc.stderr.trim_end(),
                "{command}"
            );
            assert_eq!(engine.stdout, "");
        }
    }
}

#[tokio::test]
async fn a_missing_cwd_fails_the_hook() {
    let container = Config::default()
        .set("/process/cwd", json!("/gone"))
        .create();
    // runc makes a missing cwd at create; the container can remove it.
    container.start();
    fs::remove_dir(container.rootfs().join("gone")).unwrap();
    let result = hook(&container, &["true"]).await;
    assert_eq!(
        result.outcome,
        failed(r#"chdir to cwd ("/gone") set in config.json failed: no such file or directory"#)
    );
}

#[tokio::test]
async fn endless_output_costs_4_kib_and_is_cut_at_the_abort() {
    let container = Config::default().start();
    let before = resident();
    // By then the engine has read what no pipe holds.
    let script = "yes endless | head -c 300000; : > /tmp/begun; exec yes endless";
    let begun = container.rootfs().join("tmp/begun");
    let result = aborted_when(&container, &["sh", "-c", script], || begun.exists()).await;
    assert_eq!(result.outcome, Outcome::Aborted);
    assert_eq!(result.signal, Some(libc::SIGKILL));
    assert_eq!(result.output.len(), 4096);
    assert!(
        result.output.ends_with(b"endless\n")
            || result.output.windows(8).any(|w| w == b"endless\n")
    );
    assert!(resident() < before + 8 * 1024, "grew to {} KiB", resident());
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
}

/// KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Leaves its session and its parent, as a daemon does, before the next command runs.
const DAEMON: &str = "setsid sh -c 'sleep 5555 & sleep 5556 & : > /tmp/daemon' & \
                      until [ -e /tmp/daemon ]; do sleep 0.01; done;";

#[tokio::test]
async fn an_abort_kills_double_forked_daemons_too() {
    let container = Config::default().start();
    let script = format!("{DAEMON} exec sleep 1000");
    let daemon = container.rootfs().join("tmp/daemon");
    let result = aborted_when(&container, &["sh", "-c", &script], || daemon.exists()).await;
    assert_eq!(result.outcome, Outcome::Aborted);
    eventually("only the container's own is left", || {
        container.processes() == ["sleep"]
    })
    .await;
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
}

#[tokio::test]
async fn a_fork_storm_is_killed_to_the_last_process() {
    // An emulated machine is too slow for a large one.
    let limit = 200 / scaled(Duration::from_secs(1)).as_secs();
    let container = Config::default()
        .set("/linux/resources", json!({"pids": {"limit": limit}}))
        .start();
    let storm = "(while :; do (while :; do setsid sleep 0.01 & done) & done) & exec sleep 1000";
    let events = container.controller("pids", "pids.events", "pids.events");
    let at_the_limit = || {
        let events = fs::read_to_string(&events).unwrap();
        events.starts_with("max ") && events != "max 0\n"
    };
    let result = aborted_when(&container, &["sh", "-c", storm], at_the_limit).await;
    assert_eq!(result.outcome, Outcome::Aborted);
    eventually("the storm is over", || container.processes() == ["sleep"]).await;
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
}

#[tokio::test]
async fn a_daemon_left_by_a_successful_hook_stays_in_the_container() {
    let container = Config::default().start();
    let result = hook(&container, &["sh", "-c", &format!("{DAEMON} exit 0")]).await;
    assert_eq!(result.outcome, Outcome::Succeeded);
    eventually("both run", || container.processes() == ["sleep"; 3]).await;
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
    assert_eq!(container.processes().len(), 3);
}

#[tokio::test]
async fn a_background_child_that_holds_the_pipe_does_not_delay_the_end() {
    let container = Config::default().start();
    let command = ["sh", "-c", "sleep 1000 & yes & echo done"];
    let result = in_time("the hook's end", hook(&container, &command)).await;
    assert_eq!(result.outcome, Outcome::Succeeded);
    assert!(result.output.len() <= 4096);
}

/// A script that leaves a process behind which prints to both streams and counts its lines in /tmp/count.
const TALKER: &str = "(i=0; while :; do i=$((i+1)); echo line $i; echo error $i >&2; echo $i >/tmp/count; usleep 10000; done) & \
    echo begun";

fn count(container: &TestContainer) -> u64 {
    let text = fs::read_to_string(container.rootfs().join("tmp/count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[tokio::test]
async fn what_a_hook_leaves_running_prints_and_lives_on() {
    let container = Config::default().start();
    let result = hook(&container, &["sh", "-c", TALKER]).await;
    assert_eq!(result.outcome, Outcome::Succeeded);
    let before = count(&container);
    eventually("more lines", || count(&container) > before + 20).await;
}

#[tokio::test]
async fn what_a_hook_leaves_running_goes_on_in_the_containers_log() {
    let container = Config::default().start();
    let ((to_out, mut out), (to_err, mut err)) = (line_queue(), line_queue());
    let sink = Sink::Apart {
        stdout: Some(to_out),
        stderr: Some(to_err),
    };
    let command = strings(&["sh", "-c", TALKER]);
    let children = children();
    let hook = exec::run(
        &container.container,
        &command,
        &children,
        pending(),
        Some(sink),
    );
    let limit = scaled(Duration::from_secs(60));
    let result = tokio::time::timeout(limit, hook).await.unwrap();
    assert_eq!(result.outcome, Outcome::Succeeded);
    let before = count(&container);
    for (queue, word) in [(&mut out, "line"), (&mut err, "error")] {
        let last = format!("{word} {}\n", before + 20);
        let mut text = String::new();
        while !text.contains(&last) {
            let lines = tokio::time::timeout(limit, queue.recv()).await.unwrap();
            text.push_str(&String::from_utf8(lines.expect("the queue has no end")).unwrap());
        }
    }
    // Nobody reads any more: it lives on all the same.
    drop((out, err));
    let before = count(&container);
    eventually("more lines", || count(&container) > before + 20).await;
}

#[tokio::test]
async fn a_reader_of_what_is_left_ends_with_its_writers_and_costs_little() {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let container = Config::default().start();
    // The first makes what stays.
    hook(&container, &["true"]).await;
    let (fds, memory) = (descriptors(), resident());
    for _ in 0..100 {
        let result = hook(&container, &["sh", "-c", "exec sleep 1234 &"]).await;
        assert_eq!(result.outcome, Outcome::Succeeded);
    }
    eventually("hooks have let go of all but the readers", || {
        descriptors() <= fds + 100
    })
    .await;
    assert!(resident() < memory + 4096, "grew to {} KiB", resident());
    let result = hook(&container, &["sh", "-c", "killall sleep; exit 0"]).await;
    assert_eq!(result.outcome, Outcome::Succeeded);
    eventually("the readers are gone", || descriptors() <= fds).await;
}

#[tokio::test]
async fn both_streams_are_recorded_as_they_were_written() {
    let container = Config::default().start();
    let script = "i=0; while [ $i -lt 400 ]; do echo $i out; echo $i err >&2; i=$((i+1)); done; \
        printf 'the ' >&2; printf 'end ' ; printf 'is '; echo near >&2";
    let mut expected: String = (0..400).map(|i| format!("{i} out\n{i} err\n")).collect();
    expected.push_str("the end is near\n");
    let expected = &expected[expected.len() - 4096..];
    let (drained_out, mut out) = line_queue();
    let (drained_err, mut err) = line_queue();
    tokio::spawn(async move { while out.recv().await.is_some() {} });
    tokio::spawn(async move { while err.recv().await.is_some() {} });
    let apart = Sink::Apart {
        stdout: Some(drained_out),
        stderr: Some(drained_err),
    };
    let nowhere = Sink::Apart {
        stdout: None,
        stderr: None,
    };
    for sink in [None, Some(apart), Some(nowhere)] {
        let how = format!("{sink:?}");
        let (command, children) = (strings(&["sh", "-c", script]), children());
        let hook = exec::run(&container.container, &command, &children, pending(), sink);
        let result = hook.await;
        assert_eq!(result.outcome, Outcome::Succeeded);
        let output = String::from_utf8(result.output).unwrap();
        assert!(output == expected, "{how}: {output}");
    }
}

#[tokio::test]
async fn cpu_time_of_a_hook_is_the_containers_and_is_recorded() {
    let container = Config::default().start();
    let before = container.cpu_time();
    let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let result = hook(&container, &["sh", "-c", burn]).await;
    assert_eq!(result.outcome, Outcome::Succeeded);
    let recorded = result.cpu_user + result.cpu_system;
    let charged = container.cpu_time() - before;
    assert!(recorded > Duration::from_millis(20), "{recorded:?}");
    assert!(
        charged >= recorded.mul_f64(0.8),
        "{charged:?} < {recorded:?}"
    );
}

#[tokio::test]
async fn a_hook_that_eats_the_memory_dies_within_the_containers_limit() {
    let container = Config::default()
        .set(
            "/linux/resources",
            json!({"memory": {"limit": 32 << 20, "swap": 32 << 20}}),
        )
        .start();
    let eat = "x=$(dd if=/dev/zero bs=1M count=200 2>/dev/null | tr '\\0' a); echo survived";
    let result = hook(&container, &["sh", "-c", eat]).await;
    let memory = container.controller("memory", "memory.oom_control", "memory.events");
    let memory = fs::read_to_string(memory).unwrap();
    assert!(
        memory.contains("oom_kill ") && !memory.contains("oom_kill 0\n"),
        "{memory}"
    );
    assert_ne!(result.outcome, Outcome::Succeeded);
    assert!(!result.output.ends_with(b"survived\n"));
    if result.signal == Some(libc::SIGKILL) {
        assert_eq!(result.outcome, failed("killed by SIGKILL (out of memory)"));
    }
}

#[tokio::test]
async fn output_goes_to_the_container_as_well_where_that_is_wanted() {
    let container = Config::default().start();
    let (to_out, mut out) = line_queue();
    let (to_err, mut err) = line_queue();
    let sink = Sink::Apart {
        stdout: Some(to_out),
        stderr: Some(to_err),
    };
    let command = strings(&[
        "sh",
        "-c",
        "i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done; printf bad >&2",
    ]);
    // More than the queue holds: the reader is slow, nothing is lost.
    let reader = async {
        let (mut text, mut errors) = (Vec::new(), Vec::new());
        while out.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        while let Some(lines) = out.recv().await {
            assert!(lines.ends_with(b"\n"), "whole lines");
            text.extend(lines);
        }
        while let Some(lines) = err.recv().await {
            errors.extend(lines);
        }
        (
            String::from_utf8(text).unwrap(),
            String::from_utf8(errors).unwrap(),
        )
    };
    let children = children();
    let hook = exec::run(
        &container.container,
        &command,
        &children,
        pending(),
        Some(sink),
    );
    let (result, (text, errors)) = tokio::join!(hook, reader);
    assert_eq!(result.outcome, Outcome::Succeeded);
    assert_eq!(text.lines().count(), 30000);
    assert!(text.ends_with("line 29999\n"));
    assert_eq!(errors, "bad\n", "the last line gets its end");
    assert_eq!(result.dropped, 0);
    let kept = String::from_utf8(result.output).unwrap();
    assert!(kept.contains("line 29999\n"), "{kept}");
}

#[tokio::test]
async fn a_reader_that_has_stopped_holds_up_a_hook_for_a_moment_only() {
    let container = Config::default().start();
    let (queue, lines) = line_queue();
    let command = strings(&["sh", "-c", "yes | head -c 20000000; echo last"]);
    let children = children();
    let hook = exec::run(
        &container.container,
        &command,
        &children,
        pending(),
        Some(Sink::Joined(queue)),
    );
    let result = in_time("the hook's end", hook).await;
    assert_eq!(result.outcome, Outcome::Succeeded);
    assert!(result.dropped > 15_000_000, "{}", result.dropped);
    assert!(result.output.ends_with(b"y\nlast\n"));
    drop(lines);
}

#[tokio::test]
async fn a_hook_that_is_cut_keeps_its_last_line() {
    let container = Config::default().start();
    let (queue, mut lines) = line_queue();
    let script = "echo begun; printf 'step 2'; : > /tmp/said; exec sleep 1000";
    let command = strings(&["sh", "-c", script]);
    let children = children();
    let said = container.rootfs().join("tmp/said");
    let abort = eventually("its words", || said.exists());
    let sink = Some(Sink::Joined(queue));
    let result = exec::run(&container.container, &command, &children, abort, sink).await;
    assert_eq!(result.outcome, Outcome::Aborted);
    let mut text = Vec::new();
    while let Some(more) = lines.recv().await {
        text.extend(more);
    }
    assert_eq!(text, b"begun\nstep 2\n");
    assert_eq!(result.output, b"begun\nstep 2");
}

#[tokio::test]
async fn a_container_that_has_ended_takes_no_hook() {
    let container = Config::default().args(&["/bin/true"]).start();
    eventually("the container ended", || {
        container.container.send_signal(0).is_err()
    })
    .await;
    let result = hook(&container, &["true"]).await;
    assert_eq!(
        result.outcome,
        failed(&format!("container {} is not running", container.id))
    );
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
}

#[tokio::test]
async fn init_that_ends_takes_the_hook_along() {
    let init = "until [ -e /tmp/end ]; do sleep 0.01; done";
    let container = Config::default().args(&["/bin/sh", "-c", init]).start();
    let command = ["sh", "-c", ": > /tmp/end; exec sleep 1000"];
    let result = in_time("the hook's end", hook(&container, &command)).await;
    // The pid namespace dies with its init.
    assert_eq!(result.outcome, failed("killed by SIGKILL"));
}

#[tokio::test]
async fn a_frozen_container_delays_its_hook_and_nothing_else() {
    let frozen = Config::default().start();
    let other = Config::default().start();
    frozen.freeze(true);
    let command = strings(&["sh", "-c", "echo thawed"]);
    let children = children();
    let mut hanging = Box::pin(exec::run(
        &frozen.container,
        &command,
        &children,
        pending(),
        None,
    ));
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut hanging).await;
    assert!(waited.is_err(), "a frozen container ran a hook: {waited:?}");
    // The same thread serves another container meanwhile.
    let served = in_time("the other's hook", hook(&other, &["true"])).await;
    assert_eq!(served.outcome, Outcome::Succeeded);
    frozen.freeze(false);
    let result = in_time("the hook after the thaw", hanging).await;
    assert_eq!(result.outcome, Outcome::Succeeded);
    assert_eq!(result.output, b"thawed\n");
}

#[tokio::test]
async fn an_abort_while_frozen_returns_and_nothing_runs_after_the_thaw() {
    let container = Config::default().start();
    container.freeze(true);
    let (command, children) = (strings(&["touch", "/tmp/ran"]), children());
    let abort = tokio::time::sleep(Duration::from_millis(200));
    let hook = exec::run(&container.container, &command, &children, abort, None);
    let result = in_time("an aborted hook", hook).await;
    assert_eq!(result.outcome, Outcome::Aborted);
    // The engine kills in a task of its own. In the shim that has had its turn before a thaw, which is a call of
    // the OCI runtime's.
    tokio::task::yield_now().await;
    container.freeze(false);
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
    eventually("only the container's own is left", || {
        container.processes() == ["sleep"]
    })
    .await;
    assert!(!container.rootfs().join("tmp/ran").exists());
}
