//! A node that is drained, a pod that is evicted, a runtime that is killed.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::containerd::remains;
use podhook_integration::kubernetes::suite::{Test, alone, on_every_side};
use podhook_integration::kubernetes::{LONG, Namespace, Side};
use podhook_integration::{Outcome, kubernetes_tests, wait};
use serde_json::{Value, json};

use crate::steps::{
    Error, MAIN, both_hooks, ended_by_deletion, held, left, one, polite, trace, with,
};

pub fn tests() -> Vec<Test> {
    let beside = on_every_side(kubernetes_tests![nodes:
        an_eviction_runs_pre_stop,
    ]);
    let alone = alone(on_every_side(kubernetes_tests![nodes:
        a_drain_waits_for_pre_stop,
        an_eviction_for_memory_waits_for_pre_stop,
        a_runtime_that_is_killed_at_a_pods_start_is_no_pods_end,
    ]));
    [beside, alone].concat()
}

/// For more than its volume may hold. The kubelet gives it one second.
fn an_eviction_runs_pre_stop(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let mut spec = one(&trace, &polite());
    let volumes = spec["volumes"].as_array_mut().ok_or("no volumes")?;
    volumes.push(json!({"name": "cache", "emptyDir": {"sizeLimit": "1Mi"}}));
    let mounts = &mut spec["containers"][0]["volumeMounts"];
    let mounts = mounts.as_array_mut().ok_or("no mounts")?;
    mounts.push(json!({"name": "cache", "mountPath": "/cache"}));
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    let fill = ["dd", "if=/dev/zero", "of=/cache/file", "bs=1M", "count=4"];
    kube.ok(&[&["exec", "web", "--"], &fill[..]].concat())?;
    let pod = kube.wait("web", "evicted", |pod| pod["status"]["phase"] == "Failed")?;
    assert_eq!(pod["status"]["reason"], "Evicted", "{pod}");
    kube.wait_event(
        "web",
        "Usage of EmptyDir volume \"cache\" exceeds the limit",
    )?;
    left(&trace, "got-TERM")?;
    assert_eq!(trace.marks()[2..], ["pre", "got-TERM"]);
    Ok(())
}

/// The node takes pods again afterwards, whatever came of the test.
struct Cordoned<'a>(&'a Namespace<'a>);

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        let _ = self.0.ok(&["uncordon", self.0.cluster().node()]);
    }
}

fn a_drain_waits_for_pre_stop(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"preStop": held(&trace, "pre")?});
    let spec = with(
        one(&trace, &polite()),
        json!({"terminationGracePeriodSeconds": 600}),
    );
    kube.pod("web", &[(MAIN, &hooks)], spec.clone())?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    let node = kube.cluster().node();
    let drain = [
        "drain",
        node,
        "--force",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=150s",
    ];
    let cordoned = Cordoned(kube);
    thread::scope(|scope| -> Outcome {
        let draining = scope.spawn(|| kube.ok(&drain));
        left(&trace, "pre-begin")?;
        let nodes = kube.ok(&["get", "nodes"])?;
        assert!(nodes.contains("SchedulingDisabled"), "{nodes}");
        assert!(!draining.is_finished());
        trace.release("pre")?;
        let said = draining.join().map_err(|_| "kubectl panicked")??;
        assert!(said.contains("drained"), "{said}");
        Ok(())
    })?;
    kube.gone("web")?;
    assert_eq!(trace.marks()[1..], ["pre-begin", "pre-end", "got-TERM"]);
    kube.pod("next", &[], spec)?;
    kube.wait_event("next", "unschedulable")?;
    drop(cordoned);
    kube.ready("next")?;
    kube.ok(&["delete", "pod", "next", "--grace-period=1"])?;
    Ok(())
}

/// The node has memory again afterwards, whatever came of the test.
struct ShortOfMemory<'a>(&'a Namespace<'a>);

impl ShortOfMemory<'_> {
    fn has_pressure(&self) -> Result<bool, Error> {
        let node = self.0.json(&["get", "node", self.0.cluster().node()])?;
        let conditions = node["status"]["conditions"].as_array();
        let pressure = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "MemoryPressure");
        let taints = node["spec"]["taints"].as_array().map_or(0, Vec::len);
        Ok(taints > 0 || pressure.is_none_or(|condition| condition["status"] != "False"))
    }
}

impl Drop for ShortOfMemory<'_> {
    fn drop(&mut self) {
        let _ = self.0.cluster().restart_kubelet();
        let _ = wait::until_true("the node to have memory", LONG, || {
            self.has_pressure().is_ok_and(|pressure| !pressure)
        });
    }
}

fn an_eviction_for_memory_waits_for_pre_stop(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"preStop": held(&trace, "pre")?});
    let mut spec = with(
        one(&trace, &polite()),
        json!({"terminationGracePeriodSeconds": 600}),
    );
    // A pod that asks for none is refused by a kubelet that starts on such a node.
    spec["containers"][0]["resources"] = json!({"requests": {"memory": "16Mi"}});
    kube.pod("web", &[(MAIN, &hooks)], spec)?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    let short = ShortOfMemory(kube);
    kube.cluster().restart_kubelet_short_of_memory()?;
    left(&trace, "pre-begin")?;
    assert!(short.has_pressure()?);
    kube.wait_event("web", "The node was low on resource: memory")?;
    trace.release("pre")?;
    let pod = kube.wait("web", "evicted", |pod| pod["status"]["phase"] == "Failed")?;
    assert_eq!(pod["status"]["reason"], "Evicted", "{pod}");
    left(&trace, "got-TERM")?;
    assert_eq!(trace.marks()[1..], ["pre-begin", "pre-end", "got-TERM"]);
    drop(short);
    kube.pod("next", &[], one(&trace, &polite()))?;
    kube.ready("next")?;
    kube.ok(&["delete", "pod", "next", "--grace-period=1"])?;
    Ok(())
}

/// The first `runc create` of the pod's sandbox is killed, and the first of its container.
fn a_runtime_that_is_killed_at_a_pods_start_is_no_pods_end(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let over = AtomicBool::new(false);
    let has_pause = kube.side() != Side::Pauseless;
    let dir = kube.cluster().containerd().dir();
    let killed = thread::scope(|scope| {
        let killer = scope.spawn(|| {
            // No OCI runtime makes a pod without a pause container.
            let (mut sandboxes, mut containers) = (u32::from(!has_pause), 0);
            while sandboxes * containers == 0 && !over.load(Ordering::Relaxed) {
                for (pid, is_sandbox) in creating(dir) {
                    let count = if is_sandbox {
                        &mut sandboxes
                    } else {
                        &mut containers
                    };
                    if *count == 0 && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
                        *count += 1;
                    }
                }
            }
            (sandboxes, containers)
        });
        let start = || -> Outcome {
            kube.pod("web", &[(MAIN, &both_hooks())], one(&trace, &polite()))?;
            kube.ready("web")?;
            left(&trace, "ready")
        };
        let outcome = start();
        over.store(true, Ordering::Relaxed);
        let killed = killer.join().map_err(|_| "the killer panicked")?;
        outcome.map(|()| killed)
    })?;
    let events = kube.events("web")?;
    assert_eq!(killed, (1, 1), "{events:#?}");
    let failed = |reason: &str| {
        let of = |event: &&String| {
            event.starts_with(reason) && event.contains("did not terminate successfully")
        };
        events.iter().filter(of).count()
    };
    assert_eq!(
        failed("FailedCreatePodSandBox:") > 0,
        has_pause,
        "{events:#?}"
    );
    assert!(failed("Failed:") > 0, "{events:#?}");
    ended_by_deletion(kube, &trace)
}

/// The processes that make a container of a containerd in this folder, and whether it is a sandbox.
fn creating(dir: &Path) -> Vec<(i32, bool)> {
    let flag = "create\0--bundle\0";
    let found = remains::processes_with(&format!("{flag}{}", dir.display()));
    let kind = |pid: i32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let bundle = line.split_once(flag)?.1.split('\0').next()?;
        let config = fs::read_to_string(Path::new(bundle).join("config.json")).ok()?;
        let config: Value = serde_json::from_str(&config).ok()?;
        let kind = &config["annotations"]["io.kubernetes.cri.container-type"];
        Some((pid, kind == "sandbox"))
    };
    found.into_iter().filter_map(kind).collect()
}
