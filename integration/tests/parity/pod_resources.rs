//! Limits, their change and what is counted.

use std::fs;
use std::path::Path;

use podhook_integration::cri::v1;
use podhook_integration::node::PodContainer;
use podhook_integration::suite::{Test, unless};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, Outcome, hierarchy, tests};
use serde_json::Value;

pub fn tests() -> Vec<Test> {
    let mut all = tests![pod_resources:
        limits_are_those_of_the_container,
        cpu_shares_and_quota_can_be_changed,
        the_cpus_can_be_changed,
        a_memory_limit_can_be_raised_and_used,
        an_update_of_what_has_ended_changes_nothing,
        a_created_container_can_be_updated,
        stats_name_the_container,
        stats_are_listed_per_pod,
        the_pods_stats_have_those_of_its_containers,
        the_stats_of_all_pods_are_listed,
        an_exec_is_counted_with_its_container,
        oom_score_adj_is_that_of_the_container,
        an_oom_kill_of_a_child_is_reported,
    ];
    all.extend(unless(
        tests![pod_resources: execs_have_the_containers_oom_score_adj],
        |place| {
            (place.runtime.is_crun() && !place.shim.is_podhook())
                .then_some("crun's exec leaves the score as its caller, the shim, has it")
        },
    ));
    all.extend(unless(
        tests![pod_resources: the_pods_resources_can_be_changed],
        |place| {
            (place.generation < Generation::V2_3)
                .then_some("containerd before 2.3 has no UpdatePodSandboxResources")
        },
    ));
    all
}

const SLEEP: [&str; 2] = ["sleep", "600"];

/// A file of the container's own cgroup, on v1 or v2.
fn cgroup(
    container: &PodContainer<'_>,
    v1: &str,
    v2: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let script = format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}");
    Ok(container.exec(&["sh", "-c", &script])?.trim().to_owned())
}

fn with(resources: v1::LinuxContainerResources) -> impl FnOnce(&mut v1::ContainerConfig) {
    move |config| config.linux.get_or_insert_default().resources = Some(resources)
}

fn limits_are_those_of_the_container(node: &Node) -> Outcome {
    let pod = node.pod("limits").run()?;
    let container = pod
        .container("main")
        .config(with(v1::LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 50_000,
            cpu_shares: 512,
            memory_limit_in_bytes: 48 << 20,
            ..Default::default()
        }))
        .command(&SLEEP)
        .start()?;
    assert_eq!(
        cgroup(&container, "memory/memory.limit_in_bytes", "memory.max")?,
        (48 << 20).to_string()
    );
    let quota = cgroup(&container, "cpu/cpu.cfs_quota_us", "cpu.max")?;
    assert!(["50000", "50000 100000"].contains(&&*quota), "{quota}");
    let shares = cgroup(&container, "cpu/cpu.shares", "cpu.weight")?;
    assert!(["512", "20", "59"].contains(&&*shares), "{shares}");
    Ok(())
}

fn cpu_shares_and_quota_can_be_changed(node: &Node) -> Outcome {
    let pod = node.pod("cpu").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    container.update(v1::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 30_000,
        cpu_shares: 256,
        ..Default::default()
    })?;
    let quota = cgroup(&container, "cpu/cpu.cfs_quota_us", "cpu.max")?;
    assert!(["30000", "30000 100000"].contains(&&*quota), "{quota}");
    assert_ne!(cgroup(&container, "cpu/cpu.shares", "cpu.weight")?, "1024");
    Ok(())
}

fn the_cpus_can_be_changed(node: &Node) -> Outcome {
    let pod = node.pod("cpus").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    container.update(v1::LinuxContainerResources {
        cpuset_cpus: "0".to_owned(),
        ..Default::default()
    })?;
    let allowed = container.exec(&["grep", "Cpus_allowed_list", "/proc/1/status"])?;
    assert_eq!(allowed.split_whitespace().last(), Some("0"));
    let of_exec = container.exec(&["grep", "Cpus_allowed_list", "/proc/self/status"])?;
    assert_eq!(of_exec, allowed);
    Ok(())
}

fn a_memory_limit_can_be_raised_and_used(node: &Node) -> Outcome {
    let limit = |bytes| v1::LinuxContainerResources {
        memory_limit_in_bytes: bytes,
        ..Default::default()
    };
    let pod = node.pod("raise").run()?;
    let container = pod
        .container("main")
        .config(with(limit(24 << 20)))
        .command(&SLEEP)
        .start()?;
    // tail holds all of it in memory, for lack of an end of line.
    let use_it = [
        "sh",
        "-c",
        "head -c 40000000 /dev/zero | tail -c 40000000 | wc -c",
    ];
    container.update(limit(256 << 20))?;
    assert_eq!(container.exec(&use_it)?, "40000000\n");
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    Ok(())
}

fn an_update_of_what_has_ended_changes_nothing(node: &Node) -> Outcome {
    let pod = node.pod("ended").run()?;
    let container = pod.container("main").command(&["true"]).start()?;
    container.wait_exit(SOON)?;
    let update = v1::LinuxContainerResources {
        cpu_shares: 256,
        ..Default::default()
    };
    container.update(update)?;
    assert_eq!(container.status()?.exit_code, 0);
    Ok(())
}

fn a_created_container_can_be_updated(node: &Node) -> Outcome {
    let pod = node.pod("created").run()?;
    let container = pod.container("main").command(&SLEEP).create()?;
    container.update(v1::LinuxContainerResources {
        memory_limit_in_bytes: 40 << 20,
        ..Default::default()
    })?;
    container.start()?;
    assert_eq!(
        cgroup(&container, "memory/memory.limit_in_bytes", "memory.max")?,
        (40 << 20).to_string()
    );
    Ok(())
}

/// The kubelet writes the pod's cgroup, and tells containerd then: nothing takes back what it has written.
fn the_pods_resources_can_be_changed(node: &Node) -> Outcome {
    let pod = node.pod("resize").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    let controller = if hierarchy::is_v2() { "" } else { "memory" };
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    let path = cgroups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers
            .split(',')
            .any(|one| one == controller)
            .then_some(path)
    });
    let own = Path::new(path.ok_or("no such hierarchy")?.trim_start_matches('/'));
    let pods = own.parent().ok_or("the container is in no pod's cgroup")?;
    let file = match hierarchy::is_v2() {
        true => "memory.max",
        false => "memory.limit_in_bytes",
    };
    let file = hierarchy::of("memory").join(pods).join(file);
    let cri = node.containerd().cri()?;
    for limit in [8_i64 << 30, 12 << 30] {
        fs::write(&file, limit.to_string())?;
        let resources = v1::LinuxContainerResources {
            memory_limit_in_bytes: limit,
            ..Default::default()
        };
        cri.update_pod_sandbox_resources(pod.id(), resources)?;
        assert_eq!(fs::read_to_string(&file)?.trim(), limit.to_string());
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: pod.id().to_owned(),
            verbose: true,
        };
        let info: Value = serde_json::from_str(&cri.pod_sandbox_status(request)?.info["info"])?;
        let told = &info["resources"]["linux"]["memory_limit_in_bytes"];
        assert_eq!(told, &limit, "{info}");
    }
    assert_eq!(container.exec(&["echo", "on"])?, "on\n");
    pod.stop()?;
    // Of one that is gone nothing can be changed.
    pod.remove()?;
    let gone = cri.update_pod_sandbox_resources(pod.id(), Default::default());
    let error = gone.err().ok_or("changed")?;
    assert!(
        error.message().contains("failed to find sandbox"),
        "{error}"
    );
    Ok(())
}

fn stats_name_the_container(node: &Node) -> Outcome {
    let pod = node.pod("named").run()?;
    let container = pod
        .container("main")
        .config(|config| {
            config.labels.insert("app".to_owned(), "shop".to_owned());
        })
        .command(&SLEEP)
        .start()?;
    let attributes = container.stats()?.attributes.unwrap_or_default();
    assert_eq!(attributes.id, container.id());
    assert_eq!(attributes.metadata.unwrap_or_default().name, "main");
    assert_eq!(attributes.labels["app"], "shop");
    Ok(())
}

fn stats_are_listed_per_pod(node: &Node) -> Outcome {
    let pods = [node.pod("list-a").run()?, node.pod("list-b").run()?];
    let in_first = [
        pods[0].container("one").command(&SLEEP).start()?,
        pods[0].container("two").command(&SLEEP).start()?,
    ];
    pods[1].container("other").command(&SLEEP).start()?;
    let request = v1::ListContainerStatsRequest {
        filter: Some(v1::ContainerStatsFilter {
            pod_sandbox_id: pods[0].id().to_owned(),
            ..Default::default()
        }),
    };
    let list = node
        .containerd()
        .cri()?
        .list_container_stats(request)?
        .stats;
    let mut ids: Vec<_> = list
        .into_iter()
        .map(|stats| stats.attributes.unwrap_or_default().id)
        .collect();
    let mut wanted: Vec<_> = in_first
        .iter()
        .map(|container| container.id().to_owned())
        .collect();
    ids.sort();
    wanted.sort();
    assert_eq!(ids, wanted);
    Ok(())
}

fn the_pods_stats_have_those_of_its_containers(node: &Node) -> Outcome {
    let pod = node.pod("pod-stats").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    let request = v1::PodSandboxStatsRequest {
        pod_sandbox_id: pod.id().to_owned(),
    };
    let stats = node
        .containerd()
        .cri()?
        .pod_sandbox_stats(request)?
        .stats
        .unwrap_or_default();
    let linux = stats.linux.unwrap_or_default();
    let ids: Vec<_> = linux
        .containers
        .iter()
        .map(|stats| stats.attributes.clone().unwrap_or_default().id)
        .collect();
    assert_eq!(ids, [container.id()]);
    assert!(linux.memory.is_some() && linux.cpu.is_some(), "{linux:?}");
    Ok(())
}

fn the_stats_of_all_pods_are_listed(node: &Node) -> Outcome {
    let pod = node.pod("all-stats").run()?;
    let request = v1::ListPodSandboxStatsRequest {
        filter: Some(v1::PodSandboxStatsFilter {
            id: pod.id().to_owned(),
            ..Default::default()
        }),
    };
    let list = node
        .containerd()
        .cri()?
        .list_pod_sandbox_stats(request)?
        .stats;
    let ids: Vec<_> = list
        .into_iter()
        .map(|stats| stats.attributes.unwrap_or_default().id)
        .collect();
    assert_eq!(ids, [pod.id()]);
    Ok(())
}

fn an_exec_is_counted_with_its_container(node: &Node) -> Outcome {
    let pod = node.pod("counted").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    let used = || -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        let cpu = container.stats()?.cpu.unwrap_or_default();
        Ok(cpu.usage_core_nano_seconds.unwrap_or_default().value)
    };
    let before = used()?;
    container.exec(&[
        "sh",
        "-c",
        "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done",
    ])?;
    // Some generations answer from a sample that is a second old.
    wait::until_true("the exec's CPU time", SOON, || {
        used().is_ok_and(|now| now > before + 50_000_000)
    })?;
    Ok(())
}

fn oom_score_adj_is_that_of_the_container(node: &Node) -> Outcome {
    let pod = node.pod("score").run()?;
    let container = pod
        .container("main")
        .config(with(v1::LinuxContainerResources {
            oom_score_adj: 777,
            ..Default::default()
        }))
        .command(&SLEEP)
        .start()?;
    assert_eq!(container.exec(&["cat", "/proc/1/oom_score_adj"])?, "777\n");
    Ok(())
}

fn execs_have_the_containers_oom_score_adj(node: &Node) -> Outcome {
    let pod = node.pod("exec-score").run()?;
    let container = pod
        .container("main")
        .config(with(v1::LinuxContainerResources {
            oom_score_adj: 777,
            ..Default::default()
        }))
        .command(&SLEEP)
        .start()?;
    assert_eq!(
        container.exec(&["cat", "/proc/self/oom_score_adj"])?,
        "777\n"
    );
    Ok(())
}

fn an_oom_kill_of_a_child_is_reported(node: &Node) -> Outcome {
    let pod = node.pod("oom-child").run()?;
    let container = pod
        .container("main")
        .config(with(v1::LinuxContainerResources {
            memory_limit_in_bytes: 32 << 20,
            ..Default::default()
        }))
        .command(&SLEEP)
        .start()?;
    let answer = container.exec_within(60, &["tail", "-c", "200000000", "/dev/zero"])?;
    assert_eq!(answer.exit_code, 137);
    node.events().wait(container.id(), "oom", SOON)?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    Ok(())
}
