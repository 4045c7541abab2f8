//! docker itself, on the node's containerd.

use podhook_integration::suite::{Test, podhook_only, unless};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, OciRuntime, Outcome, Place, tests};

use crate::terminal::on_terminal;

pub fn tests() -> Vec<Test> {
    let mut all = tests![docker:
        run_prints_and_gives_the_exit_status,
        run_passes_input,
        run_on_a_terminal_is_on_a_terminal,
        run_says_that_a_program_is_missing,
        run_says_that_something_is_no_program,
        logs_have_both_streams,
        stop_lets_it_end_by_itself,
        stop_kills_after_its_time,
        kill_sends_any_signal,
        exec_gives_output_and_exit_status,
        exec_has_its_user_folder_and_environment,
        exec_on_a_terminal_is_on_a_terminal,
        restart_runs_it_again,
        what_fails_is_restarted_if_asked_for,
        update_changes_the_memory_limit,
        stats_count_its_processes_and_memory,
        top_lists_its_processes,
        pause_and_unpause_stop_and_resume_it,
        wait_gives_the_exit_status,
        a_health_check_runs_in_it,
        an_oom_kill_is_told,
        rm_by_force_ends_it,
        user_and_capabilities_are_those_asked_for,
    ];
    all.extend(podhook_only(tests![docker:
        a_post_start_hook_has_run_when_run_returns,
        a_failed_post_start_hook_fails_run,
        a_pre_stop_hook_runs_before_the_signal,
        a_pre_stop_hook_runs_before_the_images_own_stop_signal,
    ]));
    let mut all = unless(all, |place| {
        too_old_a_crun(place).then_some(
            "docker 28.5 asks for version 1.2 of the OCI specification, crun 1.8 knows 1.0 only; \
             see `docker::the_oci_runtimes_refusal_is_told`",
        )
    });
    all.extend(unless(
        tests![docker: the_oci_runtimes_refusal_is_told],
        |place| (!too_old_a_crun(place)).then_some("the OCI runtime takes what docker writes"),
    ));
    all
}

fn too_old_a_crun(place: Place) -> bool {
    (place.generation, place.runtime) == (Generation::V1_6, OciRuntime::Crun)
}

const SLEEP: [&str; 2] = ["sleep", "600"];
const GRACEFUL: [&str; 3] = [
    "sh",
    "-c",
    "trap 'echo bye; exit 3' TERM; echo ready; while :; do usleep 20000; done",
];

fn run_prints_and_gives_the_exit_status(node: &Node) -> Outcome {
    for status in [0, 7] {
        let script = format!("echo out; echo err >&2; exit {status}");
        let output = node.docker_run(&["--rm"], &["sh", "-c", &script])?;
        assert_eq!(
            (
                output.stdout.as_str(),
                output.stderr.as_str(),
                output.status
            ),
            ("out\n", "err\n", status)
        );
    }
    Ok(())
}

fn run_passes_input(node: &Node) -> Outcome {
    let output = node.docker_run_with_input(&["--rm", "-i"], &["wc", "-l"], b"one\ntwo\n")?;
    assert_eq!(
        (output.stdout.trim(), output.status),
        ("2", 0),
        "{output:?}"
    );
    Ok(())
}

fn run_on_a_terminal_is_on_a_terminal(node: &Node) -> Outcome {
    let mut run = node.containerd().docker()?.command();
    run.args(node.docker_words(&["--rm", "-it"], &["sh", "-c", "tty; exit 6"]));
    let output = on_terminal(&run, None)?;
    assert_eq!(output.status, 6, "{output:?}");
    assert!(output.stdout.contains("/dev/pts/0"), "{output:?}");
    Ok(())
}

/// docker's client looks for runc's words; with others the status is that of any error of the daemon.
fn start_error_status(node: &Node, with_runc: i32) -> i32 {
    if node.place().runtime.is_crun() {
        125
    } else {
        with_runc
    }
}

fn run_says_that_a_program_is_missing(node: &Node) -> Outcome {
    for program in ["/no/such/program", "no-such-program"] {
        let output = node.docker_run(&["--rm"], &[program])?;
        assert_eq!(output.status, start_error_status(node, 127), "{output:?}");
        let text = &output.stderr;
        assert!(
            text.contains(program) && text.contains("not found") || text.contains("no such file"),
            "{output:?}"
        );
        // What the OCI runtime prints besides is no output of the container.
        assert!(
            text.starts_with("docker: Error response from daemon: "),
            "{output:?}"
        );
    }
    Ok(())
}

fn run_says_that_something_is_no_program(node: &Node) -> Outcome {
    let output = node.docker_run(&["--rm"], &["/etc/passwd"])?;
    assert_eq!(output.status, start_error_status(node, 126), "{output:?}");
    let text = &output.stderr;
    assert!(
        text.contains("permission denied") || text.contains("not executable"),
        "{output:?}"
    );
    Ok(())
}

fn the_oci_runtimes_refusal_is_told(node: &Node) -> Outcome {
    let output = node.docker_run(&["--rm"], &["true"])?;
    assert_eq!(output.status, 125, "{output:?}");
    let words = "OCI runtime create failed: unknown version specified";
    assert!(output.stderr.contains(words), "{output:?}");
    Ok(())
}

fn logs_have_both_streams(node: &Node) -> Outcome {
    let container = node.docker(&[], &["sh", "-c", "echo out; echo err >&2"])?;
    container.run(&["wait"])?;
    container.wait_logs("err", SOON)?;
    let logs = container.docker().try_run(&["logs", container.id()])?;
    assert_eq!(
        (logs.stdout.as_str(), logs.stderr.as_str()),
        ("out\n", "err\n")
    );
    Ok(())
}

fn stop_lets_it_end_by_itself(node: &Node) -> Outcome {
    let container = node.docker(&[], &GRACEFUL)?;
    container.wait_logs("ready", SOON)?;
    container.run(&["stop", "--time", "60"])?;
    assert_eq!(container.inspect(".State.Status")?, "exited");
    assert_eq!(container.inspect(".State.ExitCode")?, "3");
    Ok(())
}

fn stop_kills_after_its_time(node: &Node) -> Outcome {
    let container = node.docker(
        &[],
        &[
            "sh",
            "-c",
            "trap '' TERM; echo ready; while :; do sleep 1; done",
        ],
    )?;
    container.wait_logs("ready", SOON)?;
    container.run(&["stop", "--time", "1"])?;
    assert_eq!(container.inspect(".State.ExitCode")?, "137");
    Ok(())
}

fn kill_sends_any_signal(node: &Node) -> Outcome {
    let script = "trap 'echo usr1' USR1; echo ready; while :; do usleep 20000; done";
    let container = node.docker(&[], &["sh", "-c", script])?;
    container.wait_logs("ready", SOON)?;
    container.run(&["kill", "--signal", "USR1"])?;
    container.wait_logs("usr1", SOON)?;
    container.run(&["kill"])?;
    container.wait_field(".State.ExitCode", "137", SOON)?;
    Ok(())
}

fn exec_gives_output_and_exit_status(node: &Node) -> Outcome {
    let container = node.docker(&[], &SLEEP)?;
    for status in [0, 4] {
        let script = format!("echo out; echo err >&2; exit {status}");
        let output = container.exec(&[], &["sh", "-c", &script])?;
        assert_eq!(
            (
                output.stdout.as_str(),
                output.stderr.as_str(),
                output.status
            ),
            ("out\n", "err\n", status)
        );
    }
    let missing = container.exec(&[], &["no-such-program"])?;
    assert_eq!(missing.status, 127, "{missing:?}");
    Ok(())
}

fn exec_has_its_user_folder_and_environment(node: &Node) -> Outcome {
    let container = node.docker(&[], &SLEEP)?;
    let flags = [
        "--user",
        "www-data",
        "--workdir",
        "/tmp",
        "--env",
        "COLOUR=green",
    ];
    let output = container.exec(&flags, &["sh", "-c", "echo $(id -un) $PWD $COLOUR"])?;
    assert_eq!(output.stdout, "www-data /tmp green\n");
    Ok(())
}

fn exec_on_a_terminal_is_on_a_terminal(node: &Node) -> Outcome {
    let container = node.docker(&[], &SLEEP)?;
    let mut exec = container.docker().command();
    exec.args(["exec", "-it", container.id(), "sh", "-c", "tty; exit 6"]);
    let output = on_terminal(&exec, None)?;
    assert_eq!(output.status, 6, "{output:?}");
    assert!(output.stdout.contains("/dev/pts/"), "{output:?}");
    Ok(())
}

fn restart_runs_it_again(node: &Node) -> Outcome {
    let container = node.docker(&[], &GRACEFUL)?;
    container.wait_logs("ready", SOON)?;
    let (pid, started) = (
        container.inspect(".State.Pid")?,
        container.inspect(".State.StartedAt")?,
    );
    container.run(&["restart", "--time", "60"])?;
    assert_eq!(container.inspect(".State.Status")?, "running");
    assert_ne!(container.inspect(".State.Pid")?, pid);
    assert_ne!(container.inspect(".State.StartedAt")?, started);
    container.wait_logs("bye\nready", SOON)?;
    Ok(())
}

fn what_fails_is_restarted_if_asked_for(node: &Node) -> Outcome {
    let container = node.docker(
        &["--restart", "on-failure:2"],
        &["sh", "-c", "echo run; exit 5"],
    )?;
    container.wait_field(".RestartCount", "2", 3 * SOON)?;
    container.wait_field(".State.Status", "exited", 3 * SOON)?;
    container.wait_logs("run\nrun\nrun\n", SOON)?;
    assert_eq!(container.inspect(".State.ExitCode")?, "5");
    Ok(())
}

fn update_changes_the_memory_limit(node: &Node) -> Outcome {
    let container = node.docker(&["--memory", "64m"], &SLEEP)?;
    container.run(&["update", "--memory", "48m", "--memory-swap", "-1"])?;
    assert_eq!(
        container.inspect(".HostConfig.Memory")?,
        (48 << 20).to_string()
    );
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    let limit = container.exec(&[], &["sh", "-c", script])?;
    assert_eq!(limit.stdout.trim(), (48 << 20).to_string(), "{limit:?}");
    Ok(())
}

fn stats_count_its_processes_and_memory(node: &Node) -> Outcome {
    let container = node.docker(&["--memory", "64m"], &SLEEP)?;
    let stats = container.run(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.PIDs}} {{.MemUsage}}",
    ])?;
    assert!(stats.starts_with("1 "), "{stats}");
    assert!(stats.contains("/ 64MiB"), "{stats}");
    assert!(!stats.contains(" 0B /"), "{stats}");
    Ok(())
}

fn top_lists_its_processes(node: &Node) -> Outcome {
    let container = node.docker(&[], &["sh", "-c", "sleep 601 & echo ready; wait"])?;
    container.wait_logs("ready", SOON)?;
    wait::until_true("both processes", SOON, || {
        container
            .run(&["top"])
            .is_ok_and(|top| top.lines().count() == 3 && top.contains("sleep 601"))
    })?;
    Ok(())
}

fn pause_and_unpause_stop_and_resume_it(node: &Node) -> Outcome {
    let container = node.docker(&[], &GRACEFUL)?;
    container.wait_logs("ready", SOON)?;
    container.pause()?;
    assert_eq!(container.inspect(".State.Status")?, "paused");
    container.run(&["unpause"])?;
    assert_eq!(container.inspect(".State.Status")?, "running");
    container.run(&["stop", "--time", "60"])?;
    assert_eq!(container.inspect(".State.ExitCode")?, "3");
    Ok(())
}

fn wait_gives_the_exit_status(node: &Node) -> Outcome {
    let container = node.docker(&[], &["sh", "-c", "sleep 1; exit 9"])?;
    assert_eq!(container.run(&["wait"])?, "9\n");
    Ok(())
}

fn a_health_check_runs_in_it(node: &Node) -> Outcome {
    let flags = [
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "500ms",
        "--health-retries",
        "1",
    ];
    let container = node.docker(&flags, &SLEEP)?;
    container.wait_field(".State.Health.Status", "unhealthy", 3 * SOON)?;
    container.exec(&[], &["touch", "/tmp/well"])?;
    container.wait_field(".State.Health.Status", "healthy", 3 * SOON)?;
    Ok(())
}

fn an_oom_kill_is_told(node: &Node) -> Outcome {
    let script = "until [ -e /tmp/go ]; do usleep 20000; done; exec tail -c 200000000 /dev/zero";
    let container = node.docker(&["--memory", "32m"], &["sh", "-c", script])?;
    // Not before it has started: the original does not look yet. The exec may end with its container.
    drop(container.exec(&[], &["touch", "/tmp/go"]));
    assert_eq!(container.run(&["wait"])?, "137\n");
    container.wait_field(".State.OOMKilled", "true", SOON)?;
    Ok(())
}

fn rm_by_force_ends_it(node: &Node) -> Outcome {
    let container = node.docker(
        &[],
        &["sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
    )?;
    container.run(&["rm", "--force"])?;
    let inspect = container.docker().try_run(&["inspect", container.id()])?;
    assert_ne!(inspect.status, 0);
    Ok(())
}

fn user_and_capabilities_are_those_asked_for(node: &Node) -> Outcome {
    let flags = [
        "--user",
        "33:1000",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
    ];
    let container = node.docker(&flags, &SLEEP)?;
    let script = "id -u; id -g; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status";
    let output = container.exec(&[], &["sh", "-c", script])?;
    let words: Vec<_> = output.stdout.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "33",
            "1000",
            "CapBnd:",
            "0000000000000000",
            "NoNewPrivs:",
            "1",
            "Seccomp:",
            "2"
        ],
        "{output:?}"
    );
    Ok(())
}

fn lifecycle(json: &str) -> String {
    format!("podhook.dev/lifecycle={json}")
}

fn a_post_start_hook_has_run_when_run_returns(node: &Node) -> Outcome {
    let hook = lifecycle(
        r#"{"postStart": {"exec": {"command": ["sh", "-c", "sleep 1; echo done > /tmp/hook"]}}}"#,
    );
    let container = node.docker(&["--annotation", &hook], &SLEEP)?;
    assert_eq!(container.exec(&[], &["cat", "/tmp/hook"])?.stdout, "done\n");
    Ok(())
}

fn a_failed_post_start_hook_fails_run(node: &Node) -> Outcome {
    let hook =
        lifecycle(r#"{"postStart": {"exec": {"command": ["sh", "-c", "echo no luck; exit 3"]}}}"#);
    let output = node.docker_run(&["--rm", "--annotation", &hook], &SLEEP)?;
    // Neither 126 nor 127, by which docker would say that the program is missing.
    assert_eq!(output.status, 125, "{output:?}");
    assert!(output.stderr.contains("FailedPostStartHook"), "{output:?}");
    assert!(
        output.stderr.contains("exited with status 3: no luck"),
        "{output:?}"
    );
    Ok(())
}

fn a_pre_stop_hook_runs_before_the_signal(node: &Node) -> Outcome {
    let hook = lifecycle(
        r#"{"preStop": {"exec": {"command": ["sh", "-c", "echo drained > /proc/1/fd/1"]}}}"#,
    );
    let container = node.docker(&["--annotation", &hook], &GRACEFUL)?;
    container.wait_logs("ready", SOON)?;
    container.run(&["stop", "--time", "60"])?;
    assert_eq!(container.inspect(".State.ExitCode")?, "3");
    container.wait_logs("drained\nbye\n", SOON)?;
    Ok(())
}

/// httpd's is WINCH, haproxy's USR1.
fn a_pre_stop_hook_runs_before_the_images_own_stop_signal(node: &Node) -> Outcome {
    let hook = lifecycle(
        r#"{"preStop": {"exec": {"command": ["sh", "-c", "echo drained > /proc/1/fd/1"]}}}"#,
    );
    let script = "trap 'echo bye; exit 3' USR1; echo ready; while :; do usleep 20000; done";
    let flags = ["--stop-signal", "SIGUSR1", "--annotation", &hook];
    let container = node.docker(&flags, &["sh", "-c", script])?;
    container.wait_logs("ready", SOON)?;
    container.run(&["stop", "--time", "60"])?;
    assert_eq!(container.inspect(".State.ExitCode")?, "3");
    container.wait_logs("drained\nbye\n", SOON)?;
    Ok(())
}
