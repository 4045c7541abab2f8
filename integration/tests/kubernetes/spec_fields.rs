//! Fields of a pod's spec that change what its hooks run in, or how its containers end: the stop signal, a user namespace,
//! the pod's own resources, containers for debugging.

use std::fs;
use std::os::unix::fs::MetadataExt;

use podhook_integration::containerd::remains;
use podhook_integration::kubernetes::Namespace;
use podhook_integration::kubernetes::suite::{Test, on_every_side};
use podhook_integration::trace::{Trace, mark};
use podhook_integration::{Outcome, kubernetes_tests};
use serde_json::{Value, json};

use crate::steps::{
    Error, MAIN, both_hooks, ended_by_deletion, exec, exit_code, left, one, polite, status, trace,
    with,
};

pub fn tests() -> Vec<Test> {
    let all = on_every_side(kubernetes_tests![spec_fields:
        a_stop_signal_comes_after_pre_stop,
        a_pod_with_a_user_namespace_has_its_hooks_in_it,
        a_pod_with_resources_of_its_own_has_its_hooks_within_them,
        a_debug_container_sees_the_pod_and_gets_no_hooks,
    ]);
    let own = kubernetes_tests![spec_fields:
        a_stop_signal_of_the_spec_comes_after_an_annotations_pre_stop,
    ];
    [all, own].concat()
}

/// A server that ends with status 8 on SIGUSR1, and with 7 on SIGTERM.
fn choosy() -> String {
    format!("trap '{}; exit 8' USR1; {}", mark("got-USR1"), polite())
}

fn linux(spec: Value) -> Value {
    with(spec, json!({"os": {"name": "linux"}}))
}

fn a_stop_signal_comes_after_pre_stop(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"preStop": exec(&mark("pre")), "stopSignal": "SIGUSR1"});
    kube.pod("web", &[(MAIN, &hooks)], linux(one(&trace, &choosy())))?;
    let pod = kube.ready("web")?;
    if !kube.side().is_podhook() {
        assert_eq!(status(&pod, MAIN)["stopSignal"], "SIGUSR1", "{pod}");
    }
    ends_by_its_own_signal(kube, &trace)
}

fn ends_by_its_own_signal(kube: &Namespace<'_>, trace: &Trace) -> Outcome {
    left(trace, "ready")?;
    let watch = kube.watch("web")?;
    kube.ok(&["delete", "pod", "web"])?;
    assert_eq!(trace.marks(), ["ready", "pre", "got-USR1"]);
    assert_eq!(exit_code(&watch)?, 8);
    Ok(())
}

/// The kubelet has one part of the lifecycle, podhook the other.
fn a_stop_signal_of_the_spec_comes_after_an_annotations_pre_stop(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"preStop": exec(&mark("pre"))});
    let spec = linux(one(&trace, &choosy()));
    let mut pod = kube.side().pod("web", &[(MAIN, &hooks)], spec);
    pod["spec"]["containers"][0]["lifecycle"] = json!({"stopSignal": "SIGUSR1"});
    kube.apply(&pod.to_string())?;
    kube.ready("web")?;
    ends_by_its_own_signal(kube, &trace)
}

/// What a hook writes, also into folders of the node, is root's there, because the volumes have the pod's mapping.
fn a_pod_with_a_user_namespace_has_its_hooks_in_it(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let mut spec = one(&trace, &polite());
    spec["hostUsers"] = json!(false);
    let volumes = spec["volumes"].as_array_mut().ok_or("no volumes")?;
    volumes.push(json!({"name": "scratch", "emptyDir": {}}));
    let container = &mut spec["containers"][0];
    let mounts = container["volumeMounts"]
        .as_array_mut()
        .ok_or("no mounts")?;
    mounts.push(json!({"name": "scratch", "mountPath": "/scratch"}));
    let post = format!(
        "id -u > /scratch/post; cat /proc/self/uid_map > /trace/map; {}",
        mark("post")
    );
    let pre = format!(
        "cat /scratch/post > /trace/user; stat -c %u /scratch/post >> /trace/user; {}",
        mark("pre")
    );
    let hooks = json!({"postStart": exec(&post), "preStop": exec(&pre)});
    kube.pod("web", &[(MAIN, &hooks)], spec)?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    ended_by_deletion(kube, &trace)?;
    let map = trace.read("map")?;
    let map: Vec<_> = map.split_whitespace().collect();
    assert_eq!((map[0], map[2]), ("0", "65536"), "{map:?}");
    assert_ne!(map[1], "0", "{map:?}");
    assert_eq!(trace.read("user")?, "0\n0\n");
    for file in ["map", "user"] {
        let owner = fs::metadata(trace.dir().join(file))?.uid();
        assert_eq!(owner, 0, "{file}");
    }
    Ok(())
}

fn a_pod_with_resources_of_its_own_has_its_hooks_within_them(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let resources = json!({
        "limits": {"memory": "96Mi", "cpu": "700m"},
        "requests": {"memory": "8Mi", "cpu": "10m"},
    });
    let spec = with(one(&trace, &polite()), json!({"resources": resources}));
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    let pod = kube.ready("web")?;
    left(&trace, "ready")?;
    let memory = ["memory.limit_in_bytes", "memory.max"];
    assert_eq!(pod_cgroup(kube, &pod, &memory)?, (96 << 20).to_string());
    let processor = ["cpu.cfs_quota_us", "cpu.max"];
    let quota = pod_cgroup(kube, &pod, &processor)?;
    assert_eq!(quota.split(' ').next(), Some("70000"), "{quota}");
    ended_by_deletion(kube, &trace)
}

/// What a file of a pod's cgroup says, by its name in cgroup v1 or v2.
fn pod_cgroup(kube: &Namespace<'_>, pod: &Value, names: &[&str]) -> Result<String, Error> {
    let uid = pod["metadata"]["uid"].as_str().ok_or("no uid")?;
    let name = format!("pod{uid}");
    let roots = remains::cgroups(kube.cluster().node());
    let all = roots.iter().flat_map(|root| remains::tree(root));
    let mut own = all.filter(|path| path.ends_with(&name));
    let text = own.find_map(|path| {
        let mut files = names.iter().map(|name| path.join(name));
        files.find_map(|file| fs::read_to_string(file).ok())
    });
    Ok(text
        .ok_or(format!("no {names:?} of {name}"))?
        .trim()
        .to_owned())
}

/// A container that is added to a running pod may have no hooks, and takes nothing of those of the others.
fn a_debug_container_sees_the_pod_and_gets_no_hooks(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    kube.pod("web", &[(MAIN, &both_hooks())], one(&trace, &polite()))?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    kube.ok(&[
        "debug",
        "web",
        "--image=busybox",
        "--image-pull-policy=Never",
        "--profile=general",
        "--target=main",
        "--container=debugger",
        "--",
        "sleep",
        "600",
    ])?;
    kube.wait("web", "debugged", |pod| {
        !status(pod, "debugger")["state"]["running"].is_null()
    })?;
    let debugger = ["exec", "web", "--container=debugger", "--"];
    let seen = kube.ok(&[&debugger[..], &["cat", "/proc/1/root/trace/log"]].concat())?;
    let mut seen: Vec<_> = seen.lines().collect();
    seen.sort_unstable();
    assert_eq!(seen, ["post", "ready"]);
    ended_by_deletion(kube, &trace)
}
