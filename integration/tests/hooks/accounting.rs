//! A hook's work is the container's: charged to its cgroup, held by its limits, seen in its metrics.

use std::time::Duration;

use podhook_integration::cri::v1;
use podhook_integration::node::Container;
use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::{Record, Recorded};
use crate::script::{Error, exec, with};

pub fn tests() -> Vec<Test> {
    tests![accounting:
        a_hooks_cpu_time_is_in_the_tasks_metrics,
        a_hooks_cpu_time_is_in_cris_statistics,
        a_hook_beyond_the_memory_limit_is_oom_killed_in_the_container,
        a_cri_hook_beyond_the_memory_limit_is_oom_killed_in_the_container,
        a_hooks_memory_is_measured,
    ]
}

/// Works for some tenths of a second, half of it in a child of its own session.
fn busy() -> Value {
    let turns = 250_000 / wait::scaled(Duration::from_secs(1)).as_secs();
    let work = format!("i=0; while [ $i -lt {turns} ]; do i=$((i+1)); done");
    exec(&format!(
        "work='{work}'; setsid sh -c \"$work\"; eval \"$work\""
    ))
}

/// The microseconds of CPU time a hook has used.
fn cpu(record: &Record) -> Result<i64, Error> {
    let hook = record.hook("postStart")?;
    assert_eq!(hook.text("/result"), "Succeeded");
    let user = hook.number("/cpuUserUsec").ok_or("no user time")?;
    Ok(user + hook.number("/cpuSystemUsec").ok_or("no system time")?)
}

/// A number of `ctr task metrics`.
fn metric(node: &Node, container: &Container<'_>, names: &[&str]) -> Result<u64, Error> {
    let table = node.ctr().run(&["task", "metrics", container.id()])?;
    let row = table
        .lines()
        .find(|line| names.contains(&line.split_whitespace().next().unwrap_or_default()));
    let value = row.and_then(|row| row.split_whitespace().last()?.parse().ok());
    Ok(value.ok_or(format!("no {names:?} in\n{table}"))?)
}

fn a_hooks_cpu_time_is_in_the_tasks_metrics(node: &Node) -> Outcome {
    let lifecycle = json!({"postStart": busy()}).to_string();
    let container = node
        .container("busy")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let hook = cpu(&container.recorded()?)?;
    assert!(hook > 50_000, "{hook} µs");
    // cgroup v1 counts nanoseconds, v2 microseconds.
    let (v1, v2) = ("cpuacct.usage", "cpu.usage_usec");
    let task = metric(node, &container, &[v1]).map_or_else(
        |_| metric(node, &container, &[v2]),
        |nanoseconds| Ok(nanoseconds / 1000),
    )?;
    let hook = u64::try_from(hook)?;
    assert!(task >= hook * 9 / 10, "{task} of {hook} µs");
    // The runtime's own start is the container's too.
    let start = u64::try_from(wait::scaled(Duration::from_secs(1)).as_micros())?;
    assert!(task < hook * 3 + start, "{task} of {hook} µs");
    Ok(())
}

fn a_hooks_cpu_time_is_in_cris_statistics(node: &Node) -> Outcome {
    let pod = node
        .pod("busy")
        .lifecycle("main", &json!({"postStart": busy()}).to_string())
        .run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let hook = u64::try_from(cpu(&container.recorded()?)?)?;
    let stats = container.stats()?.cpu.unwrap_or_default();
    let used = stats.usage_core_nano_seconds.unwrap_or_default().value / 1000;
    assert!(
        hook > 50_000 && used >= hook * 9 / 10,
        "{used} of {hook} µs"
    );
    Ok(())
}

/// Takes 200 MB in one process.
fn greedy() -> Value {
    let hook = with(
        exec("exec tail -c 200000000 /dev/zero"),
        json!({"onFailure": "Ignore"}),
    );
    json!({"postStart": hook})
}

/// How such a hook ends.
fn check_killed(record: &Record) -> Outcome {
    let hook = record.hook("postStart")?;
    assert_eq!(
        (hook.text("/result"), hook.text("/signal")),
        ("Failed", "SIGKILL"),
        "{hook:?}"
    );
    if let Some(peak) = hook.number("/memoryPeakBytes") {
        assert!((8 << 20..64 << 20).contains(&peak), "{peak}");
    }
    Ok(())
}

fn a_hook_beyond_the_memory_limit_is_oom_killed_in_the_container(node: &Node) -> Outcome {
    let container = node
        .container("greedy")
        .flag(["--memory-limit", "33554432"])
        .lifecycle(&greedy().to_string())
        .start(&["sleep", "600"])?;
    check_killed(&container.recorded()?)?;
    node.events().wait(container.id(), "oom", SOON)?;
    assert_eq!(container.status()?, "RUNNING");
    Ok(())
}

fn a_cri_hook_beyond_the_memory_limit_is_oom_killed_in_the_container(node: &Node) -> Outcome {
    let limit = v1::LinuxContainerResources {
        memory_limit_in_bytes: 32 << 20,
        ..Default::default()
    };
    let pod = node
        .pod("greedy")
        .lifecycle("main", &greedy().to_string())
        .run()?;
    let container = pod
        .container("main")
        .config(|config| config.linux.get_or_insert_default().resources = Some(limit))
        .command(&["sleep", "600"])
        .start()?;
    check_killed(&container.recorded()?)?;
    node.events().wait(container.id(), "oom", SOON)?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    Ok(())
}

fn a_hooks_memory_is_measured(node: &Node) -> Outcome {
    // tail holds what it may have to print.
    let lifecycle =
        json!({"postStart": exec("head -c 20000000 /dev/zero | tail -c 15000000 > /dev/null")});
    let container = node
        .container("memory")
        .lifecycle(&lifecycle.to_string())
        .start(&["sleep", "600"])?;
    let hook = container.recorded()?.hook("postStart")?;
    let peak = hook
        .number("/memoryPeakBytes")
        .ok_or(format!("no peak in {hook:?}"))?;
    assert!((14_000_000..64 << 20).contains(&peak), "{peak}");
    Ok(())
}
