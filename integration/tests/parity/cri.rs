//! Pods through CRI, as the kubelet drives them.

use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use podhook_integration::cri::v1;
use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Image, Node, Outcome, tests};

pub fn tests() -> Vec<Test> {
    tests![cri:
        the_pods_shim_is_the_configured_one,
        a_pod_runs_several_containers,
        a_container_is_created_then_running_then_exited,
        a_container_that_fails_says_its_status,
        a_missing_program_is_a_start_error,
        exec_sync_gives_both_streams_and_the_status,
        exec_sync_ends_at_its_timeout,
        the_log_has_both_streams,
        stop_waits_for_the_process_to_end_itself,
        stop_kills_after_the_grace_period,
        stop_without_grace_kills_at_once,
        stop_uses_the_images_signal,
        stopping_the_pod_ends_all_containers,
        a_container_is_replaced_in_its_pod,
        stats_count_the_containers_own_use,
        limits_can_be_changed_while_it_runs,
        a_container_beyond_its_memory_limit_is_oom_killed,
    ]
}

/// Ends with status 3 on SIGTERM.
const GRACEFUL: [&str; 3] = [
    "sh",
    "-c",
    "trap 'echo bye; exit 3' TERM; echo ready; while :; do usleep 20000; done",
];
/// Does not end on SIGTERM.
const STUBBORN: [&str; 3] = [
    "sh",
    "-c",
    "trap '' TERM; echo ready; while :; do sleep 1; done",
];

/// Guards every other test here: a runtime handler that containerd resolves to another shim would pass
/// them all.
fn the_pods_shim_is_the_configured_one(node: &Node) -> Outcome {
    let pod = node.pod("shim").run()?;
    let mut shims = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(cmdline) = fs::read_to_string(entry.path().join("cmdline")) else {
            continue;
        };
        let id = cmdline.split('\0').skip_while(|word| *word != "-id").nth(1);
        if id == Some(pod.id())
            && let Ok(exe) = fs::read_link(entry.path().join("exe"))
        {
            shims.push(exe.file_name().unwrap_or_default().to_owned());
        }
    }
    let expected = match node.shim().is_podhook() {
        true => "containerd-shim-podhook-v1",
        false => "containerd-shim-runc-v2",
    };
    assert_eq!(shims, [expected]);
    Ok(())
}

fn a_pod_runs_several_containers(node: &Node) -> Outcome {
    let pod = node.pod("several").run()?;
    let one = pod.container("one").command(&["sleep", "600"]).start()?;
    let two = pod.container("two").command(&["sleep", "600"]).start()?;
    assert_eq!(
        (one.state()?, two.state()?),
        ("CONTAINER_RUNNING", "CONTAINER_RUNNING")
    );
    let net = ["readlink", "/proc/self/ns/net"];
    assert_eq!(one.exec(&net)?, two.exec(&net)?);
    let pid = ["readlink", "/proc/self/ns/pid"];
    assert_ne!(one.exec(&pid)?, two.exec(&pid)?);
    one.stop(0)?;
    assert_eq!(
        (one.state()?, two.state()?),
        ("CONTAINER_EXITED", "CONTAINER_RUNNING")
    );
    Ok(())
}

fn a_container_is_created_then_running_then_exited(node: &Node) -> Outcome {
    let pod = node.pod("states").run()?;
    let command = ["sh", "-c", "until [ -e /tmp/end ]; do usleep 20000; done"];
    let container = pod.container("short").command(&command).create()?;
    assert_eq!(container.state()?, "CONTAINER_CREATED");
    container.start()?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    // The exec may end with its container.
    drop(container.exec(&["touch", "/tmp/end"]));
    let status = container.wait_exit(SOON)?;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    assert!(
        status.created_at <= status.started_at && status.started_at < status.finished_at,
        "{status:?}"
    );
    let events = container.events();
    let of_init: Vec<_> = events
        .iter()
        .filter(|topic| !topic.starts_with("exec-"))
        .collect();
    assert_eq!(of_init[..2], ["create", "start"], "{events:?}");
    assert!(of_init[2..].contains(&&"exit".to_owned()), "{events:?}");
    Ok(())
}

fn a_container_that_fails_says_its_status(node: &Node) -> Outcome {
    let pod = node.pod("fails").run()?;
    let container = pod
        .container("seven")
        .command(&["sh", "-c", "exit 7"])
        .start()?;
    let status = container.wait_exit(SOON)?;
    assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"));
    Ok(())
}

fn a_missing_program_is_a_start_error(node: &Node) -> Outcome {
    let pod = node.pod("missing").run()?;
    let container = pod
        .container("missing")
        .command(&["/no/such/program"])
        .create()?;
    let error = container.start().err().ok_or("it started")?;
    assert!(
        error
            .message()
            .to_lowercase()
            .contains("no such file or directory"),
        "{error}"
    );
    let status = container.status()?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (128, "StartError")
    );
    Ok(())
}

fn exec_sync_gives_both_streams_and_the_status(node: &Node) -> Outcome {
    let pod = node.pod("exec").run()?;
    let container = pod
        .container("main")
        .env("COLOUR", "green")
        .command(&["sleep", "600"])
        .start()?;
    for status in [0, 5] {
        let script = format!("echo $COLOUR; echo err >&2; exit {status}");
        let answer = container.exec_within(60, &["sh", "-c", &script])?;
        assert_eq!(
            (answer.exit_code, &answer.stdout[..], &answer.stderr[..]),
            (status, &b"green\n"[..], &b"err\n"[..])
        );
    }
    Ok(())
}

fn exec_sync_ends_at_its_timeout(node: &Node) -> Outcome {
    let pod = node.pod("timeout").run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let error = container
        .exec_within(1, &["sleep", "7777"])
        .err()
        .ok_or("it ended")?;
    assert!(error.message().contains("timeout"), "{error}");
    let processes = container.exec(&["ps"])?;
    assert!(!processes.contains("sleep 7777"), "{processes}");
    Ok(())
}

fn the_log_has_both_streams(node: &Node) -> Outcome {
    let pod = node.pod("log").run()?;
    let script = "echo one; echo two >&2; echo three";
    let container = pod
        .container("main")
        .command(&["sh", "-c", script])
        .start()?;
    container.wait_exit(SOON)?;
    wait::until_true("three lines", SOON, || {
        container.log().is_ok_and(|lines| lines.len() == 3)
    })?;
    let log = container.log()?;
    let of = |stream: &str| {
        log.iter()
            .filter(|(s, _)| s == stream)
            .map(|(_, text)| text.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("stdout"), of("stderr")),
        (vec!["one", "three"], vec!["two"])
    );
    Ok(())
}

fn stop_waits_for_the_process_to_end_itself(node: &Node) -> Outcome {
    let pod = node.pod("graceful").run()?;
    let container = pod.container("main").command(&GRACEFUL).start()?;
    container.wait_log("ready", SOON)?;
    // Longer than the call may take.
    container.stop(600)?;
    assert_eq!(container.status()?.exit_code, 3);
    Ok(())
}

fn stop_kills_after_the_grace_period(node: &Node) -> Outcome {
    let pod = node.pod("stubborn").run()?;
    let container = pod.container("main").command(&STUBBORN).start()?;
    container.wait_log("ready", SOON)?;
    let start = Instant::now();
    container.stop(2)?;
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(container.status()?.exit_code, 137);
    Ok(())
}

fn stop_without_grace_kills_at_once(node: &Node) -> Outcome {
    let pod = node.pod("at-once").run()?;
    let container = pod.container("main").command(&GRACEFUL).start()?;
    container.wait_log("ready", SOON)?;
    container.stop(0)?;
    assert_eq!(container.status()?.exit_code, 137);
    Ok(())
}

fn stop_uses_the_images_signal(node: &Node) -> Outcome {
    let pod = node.pod("nginx").run()?;
    let container = pod.container("nginx").image(Image::Nginx).start()?;
    let mut server = wait::until_listening(&pod.ip()?, 80)?;
    server.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    assert!(answer.contains("Welcome to nginx!"), "{answer}");
    // SIGQUIT, by which nginx ends gracefully; SIGTERM would do too, but says "exiting" at once.
    container.stop(100)?;
    assert_eq!(container.status()?.exit_code, 0);
    container.wait_log("gracefully shutting down", SOON)?;
    Ok(())
}

fn stopping_the_pod_ends_all_containers(node: &Node) -> Outcome {
    let pod = node.pod("stopped").run()?;
    let containers = [
        pod.container("one").command(&["sleep", "600"]).start()?,
        pod.container("two").command(&["sleep", "600"]).start()?,
    ];
    pod.stop()?;
    for container in &containers {
        assert_eq!(container.wait_exit(SOON)?.exit_code, 137);
    }
    Ok(())
}

fn a_container_is_replaced_in_its_pod(node: &Node) -> Outcome {
    let pod = node.pod("replaced").run()?;
    for attempt in 0..3 {
        let container = pod
            .container("main")
            .config(|config| config.metadata.get_or_insert_default().attempt = attempt)
            .command(&["sh", "-c", "sleep 600"])
            .start()?;
        assert_eq!(container.state()?, "CONTAINER_RUNNING");
        container.stop(0)?;
        container.remove()?;
    }
    Ok(())
}

fn stats_count_the_containers_own_use(node: &Node) -> Outcome {
    let pod = node.pod("stats").run()?;
    let busy = pod
        .container("busy")
        .command(&["sh", "-c", "while :; do :; done"])
        .start()?;
    let idle = pod.container("idle").command(&["sleep", "600"]).start()?;
    let cpu = |stats: v1::ContainerStats| {
        stats
            .cpu
            .unwrap_or_default()
            .usage_core_nano_seconds
            .unwrap_or_default()
            .value
    };
    // What a container has used by now is the runtime's start, which may take long.
    let (idle_before, busy_before) = (cpu(idle.stats()?), cpu(busy.stats()?));
    let enough = u64::try_from(wait::scaled(Duration::from_millis(300)).as_nanos())?;
    wait::until_true("300 ms of CPU time", SOON, || {
        busy.stats()
            .map(cpu)
            .is_ok_and(|used| used > busy_before + enough)
    })?;
    let used = cpu(idle.stats()?) - idle_before;
    assert!(used < enough / 3, "{used} ns while it slept");
    let memory = idle
        .stats()?
        .memory
        .unwrap_or_default()
        .working_set_bytes
        .unwrap_or_default()
        .value;
    assert!(memory > 0);
    busy.stop(0)?;
    Ok(())
}

fn limits_can_be_changed_while_it_runs(node: &Node) -> Outcome {
    let pod = node.pod("update").run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let linux = v1::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        ..Default::default()
    };
    node.containerd()
        .cri()?
        .update_container_resources(v1::UpdateContainerResourcesRequest {
            container_id: container.id().to_owned(),
            linux: Some(linux),
            ..Default::default()
        })?;
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true";
    assert_eq!(
        container.exec(&["sh", "-c", script])?.trim(),
        (64 << 20).to_string()
    );
    Ok(())
}

fn a_container_beyond_its_memory_limit_is_oom_killed(node: &Node) -> Outcome {
    let pod = node.pod("oom").run()?;
    let limit = v1::LinuxContainerResources {
        memory_limit_in_bytes: 32 << 20,
        ..Default::default()
    };
    let container = pod
        .container("main")
        .config(|config| config.linux.get_or_insert_default().resources = Some(limit))
        // One process only, so that it is the container's first one that the kernel kills. Not before it has
        // started: the original does not look yet.
        .command(&[
            "sh",
            "-c",
            "until [ -e /tmp/go ]; do usleep 20000; done; exec tail -c 200000000 /dev/zero",
        ])
        .start()?;
    drop(container.exec(&["touch", "/tmp/go"]));
    let status = container.wait_exit(SOON)?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (137, "OOMKilled")
    );
    Ok(())
}
