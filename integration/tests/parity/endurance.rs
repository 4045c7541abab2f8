//! Thousands of execs by one client, hundreds at once, and the end of the container amid them.

use std::collections::BTreeMap;
use std::fs;

use podhook_integration::execs::Execs;
use podhook_integration::node::Container;
use podhook_integration::suite::{Test, each_once};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

type Error = Box<dyn std::error::Error + Send + Sync>;

pub fn tests() -> Vec<Test> {
    each_once(tests![endurance:
        execs_in_a_row_leave_nothing_in_the_shim,
        two_hundred_execs_at_once_have_each_its_own_status,
        the_end_of_init_ends_a_hundred_execs_each_once,
    ])
}

/// An exec of the container's own process with another command.
fn process(container: &Container, script: &str) -> Result<Vec<u8>, Error> {
    let config = fs::read_to_string(container.bundle().join("config.json"))?;
    let mut process = serde_json::from_str::<Value>(&config)?["process"].take();
    process["args"] = json!(["/bin/sh", "-c", script]);
    process["terminal"] = json!(false);
    Ok(process.to_string().into_bytes())
}

fn connect(node: &Node, container: &Container) -> Result<(Runtime, Execs), Error> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let address = node.containerd().address();
    let namespace = node.ctr().namespace().to_owned();
    let execs = runtime.block_on(Execs::connect(&address, &namespace, container.id()))?;
    Ok((runtime, execs))
}

/// What the container's shim holds.
#[derive(Debug)]
struct Held {
    /// What its descriptors are.
    files: Vec<String>,
    threads: usize,
    children: usize,
    /// KiB of memory that only the shim has.
    memory: u64,
}

impl Held {
    fn by(shim: u32) -> Result<Self, Error> {
        let links = fs::read_dir(format!("/proc/{shim}/fd"))?
            .flatten()
            .filter_map(|fd| Some(fs::read_link(fd.path()).ok()?.display().to_string()));
        let mut children = 0;
        for task in fs::read_dir(format!("/proc/{shim}/task"))?.flatten() {
            let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            children += list.split_whitespace().count();
        }
        let rollup = fs::read_to_string(format!("/proc/{shim}/smaps_rollup"))?;
        let dirty = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Private_Dirty:"));
        let memory = dirty.and_then(|text| text.split_whitespace().next()?.parse().ok());
        Ok(Self {
            files: links.collect(),
            threads: fs::read_dir(format!("/proc/{shim}/task"))?.count(),
            children,
            memory: memory.ok_or("no Private_Dirty")?,
        })
    }
}

fn shim_of(container: &Container) -> Result<u32, Error> {
    let pid = container.task()?.ok_or("no task")?.pid;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    Ok(parent.ok_or("no parent")?.trim().parse()?)
}

/// Cgroups below those of the container, and its processes.
fn in_cgroups(container: &Container) -> Result<(usize, usize), Error> {
    let pid = container.task()?.ok_or("no task")?.pid;
    let all = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let of = |mark: &str| all.lines().find_map(|line| Some(line.split_once(mark)?.1));
    let dir = match (of(":pids:"), of("0::")) {
        (Some(v1), _) => format!("/sys/fs/cgroup/pids{v1}"),
        (None, Some(v2)) => format!("/sys/fs/cgroup{v2}"),
        (None, None) => return Err("no cgroup".into()),
    };
    let below = fs::read_dir(&dir)?
        .flatten()
        .filter(|entry| entry.path().is_dir());
    let processes = fs::read_to_string(format!("{dir}/cgroup.procs"))?;
    Ok((below.count(), processes.lines().count()))
}

/// (process, topic) of every exec event of the container, counted.
fn exec_events(node: &Node, container: &Container) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for event in node.events().of(container.id()) {
        let process = event.process_id().to_owned();
        if process != container.id() && !process.is_empty() {
            *counts.entry((process, event.topic)).or_default() += 1;
        }
    }
    counts
}

fn execs_in_a_row_leave_nothing_in_the_shim(node: &Node) -> Outcome {
    // The original shim takes some thirty times as long for each.
    let count = if node.shim().is_podhook() { 2000 } else { 100 };
    let container = node.container("row").start(&["sleep", "6000"])?;
    let (runtime, execs) = connect(node, &container)?;
    let statuses: Vec<_> = (0..7)
        .map(|status| process(&container, &format!("exit {status}")))
        .collect::<Result<_, _>>()?;
    let run = |name: &str, n: usize| {
        let status = n % statuses.len();
        let ended = runtime.block_on(execs.run(&format!("{name}-{n}"), &statuses[status]))?;
        assert_eq!(ended as usize, status, "{name}-{n}");
        Ok::<_, Error>(())
    };
    // The first ones open and allocate what stays.
    (0..count / 4).try_for_each(|n| run("first", n))?;
    let shim = shim_of(&container)?;
    let holds = || {
        let mut held = Held::by(shim)?;
        if !node.shim().is_podhook() {
            // Go closes those of the OCI runtime's processes when it collects its garbage.
            held.files.retain(|file| file != "anon_inode:[pidfd]");
        }
        Ok::<_, Error>(held)
    };
    let before = holds()?;
    (0..count).try_for_each(|n| run("row", n))?;
    let idle = || {
        let held = holds()?;
        Ok::<_, Error>((
            held.files.len() <= before.files.len() && held.children == before.children,
            held,
        ))
    };
    let settled = wait::until_true("the shim is as before", SOON, || {
        idle().is_ok_and(|(same, _)| same)
    });
    let (_, after) = idle()?;
    settled.map_err(|error| format!("{error}: {before:?}, then {after:?}"))?;
    if node.shim().is_podhook() {
        assert!(
            after.threads <= before.threads,
            "{before:?}, then {after:?}"
        );
        assert!(
            after.memory <= before.memory + 128,
            "{before:?}, then {after:?}"
        );
    }
    assert_eq!(in_cgroups(&container)?, (0, 1));
    Ok(())
}

fn two_hundred_execs_at_once_have_each_its_own_status(node: &Node) -> Outcome {
    let count = if node.shim().is_podhook() { 200 } else { 20 };
    let container = node.container("once").start(&["sleep", "6000"])?;
    let (runtime, execs) = connect(node, &container)?;
    let running: Vec<_> = (0..count)
        .map(|n| {
            // All of them run together before the first one ends.
            let script = format!(
                ": > /tmp/{n}; while [ ! -e /tmp/go ]; do usleep 50000; done; exit {}",
                n % 100
            );
            let (execs, process) = (execs.clone(), process(&container, &script)?);
            Ok(runtime.spawn(async move { execs.run(&format!("many-{n}"), &process).await }))
        })
        .collect::<Result<_, Error>>()?;
    let script =
        format!("while [ $(ls /tmp | wc -l) -lt {count} ]; do usleep 50000; done; : > /tmp/go");
    let go = runtime.block_on(execs.run("go", &process(&container, &script)?))?;
    assert_eq!(go, 0);
    for (n, exec) in running.into_iter().enumerate() {
        assert_eq!(runtime.block_on(exec)?? as usize, n % 100, "many-{n}");
    }
    // Each one was added, started and ended, once.
    let topics = ["exec-added", "exec-started", "exit"];
    let all = |name: &str| -> BTreeMap<_, _> {
        let of = |topic| ((name.to_owned(), format!("/tasks/{topic}")), 1);
        topics.map(of).into_iter().collect()
    };
    let mut expected = all("go");
    (0..count).for_each(|n| expected.extend(all(&format!("many-{n}"))));
    let _ = wait::until_true("all events", SOON, || {
        exec_events(node, &container).len() >= expected.len()
    });
    let seen = exec_events(node, &container);
    let differ: Vec<_> = expected
        .keys()
        .chain(seen.keys())
        .filter(|key| expected.get(*key) != seen.get(*key))
        .map(|key| (key, seen.get(key)))
        .collect();
    assert!(differ.is_empty(), "{differ:?}");
    assert_eq!(in_cgroups(&container)?, (0, 1));
    Ok(())
}

fn the_end_of_init_ends_a_hundred_execs_each_once(node: &Node) -> Outcome {
    let count = if node.shim().is_podhook() { 100 } else { 20 };
    let container = node.container("middle").start(&["sleep", "6000"])?;
    let (runtime, execs) = connect(node, &container)?;
    let long = process(&container, "sleep 6000")?;
    for n in 0..count {
        runtime.block_on(execs.start(&format!("long-{n}"), &long))?;
    }
    let waiting: Vec<_> = (0..count)
        .map(|n| {
            let execs = execs.clone();
            runtime.spawn(async move { execs.wait(&format!("long-{n}")).await })
        })
        .collect();
    // Some more come while it dies: they run, or are refused, and none hangs.
    let (late, process) = (execs.clone(), long.clone());
    let late = runtime.spawn(async move {
        let mut started = Vec::new();
        for n in 0..1000 {
            let id = format!("late-{n}");
            match late.start(&id, &process).await {
                Ok(()) => started.push(id),
                Err(_) => break,
            }
        }
        started
    });
    container.kill("SIGKILL")?;
    for exec in waiting {
        assert_eq!(runtime.block_on(exec)??, 137);
    }
    let late = runtime.block_on(late)?;
    for id in &late {
        assert_eq!(runtime.block_on(execs.wait(id))?, 137, "{id}");
    }
    assert_eq!(container.wait_exit(SOON)?, 137);
    let exits: Vec<_> = node
        .events()
        .of(container.id())
        .into_iter()
        .filter(|event| event.topic == "/tasks/exit")
        .map(|event| event.process_id().to_owned())
        .collect();
    assert_eq!(
        exits.last().map(String::as_str),
        Some(container.id()),
        "init's exit is the last"
    );
    let mut once = exits.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), exits.len(), "an exit came twice: {exits:?}");
    assert_eq!(exits.len(), count + late.len() + 1);
    for n in 0..count {
        assert_eq!(runtime.block_on(execs.delete(&format!("long-{n}")))?, 137);
    }
    Ok(())
}
