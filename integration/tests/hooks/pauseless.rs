//! Pods without a pause container on a node: over an upgrade of the shim, beside pods with one, and over a change of the
//! node's default.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::containerd::remains;
use podhook_integration::node::Pod;
use podhook_integration::shim::podhook_shim;
use podhook_integration::suite::{Test, own_containerd, unless};
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, ShimKind, tests};
use serde_json::json;

use crate::recorded::Recorded;
use crate::script::{Error, marks, polite, words};

pub fn tests() -> Vec<Test> {
    let tests = own_containerd(tests![pauseless:
        an_upgraded_shim_is_that_of_new_pods_and_the_old_one_goes_on,
        pods_of_both_kinds_live_side_by_side_and_a_new_default_leaves_them_alone,
    ]);
    only_there(tests)
}

/// Where the place's pods have no pause container.
pub fn only_there(tests: Vec<Test>) -> Vec<Test> {
    unless(tests, |place| {
        (place.shim != ShimKind::Pauseless).then_some("it makes no such pod")
    })
}

const WITH: &str = "podhook";
const WITHOUT: &str = "podhook-pauseless";

/// Puts another file with the same program in the place of the shim's, as a package does; its number.
fn install(node: &Node) -> Result<u64, Error> {
    let program = node
        .containerd()
        .dir()
        .join("bin/containerd-shim-podhook-v1");
    let new = program.with_extension("new");
    fs::copy(podhook_shim()?, &new)?;
    fs::rename(&new, &program)?;
    Ok(fs::metadata(program)?.ino())
}

fn shim_of(node: &Node, pod: &Pod<'_>) -> Result<remains::Shim, Error> {
    let shims = remains::shims(&node.containerd().address());
    let its = shims.into_iter().find(|shim| shim.id == pod.id());
    Ok(its.ok_or("it has no shim")?)
}

/// The number of the file that a pod's shim runs.
fn file_of(node: &Node, pod: &Pod<'_>) -> Result<u64, Error> {
    let exe = format!("/proc/{}/exe", shim_of(node, pod)?.pid);
    Ok(fs::metadata(exe)?.ino())
}

fn is_over(pod: &Pod<'_>) -> Outcome {
    Ok(wait::until_true("the pod to be over", SOON, || {
        pod.state().is_ok_and(|state| state == "SANDBOX_NOTREADY")
    })?)
}

fn an_upgraded_shim_is_that_of_new_pods_and_the_old_one_goes_on(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": marks("hooked"), "preStop": marks("stopping")}).to_string();
    let before = install(node)?;
    let old = node
        .pod("old")
        .handler(WITHOUT)
        .lifecycle("main", &lifecycle)
        .run()?;
    let main = old
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    let killed = node.pod("killed").handler(WITHOUT).run()?;
    let holder = killed.pid()?;

    let after = install(node)?;
    assert_ne!(after, before);
    node.containerd().crash()?;
    assert_eq!(main.exec(&["echo", "alive"])?, "alive\n");
    let second = old.container("second").command(&["sleep", "600"]).start()?;
    assert_eq!(second.exec(&["cat", "/etc/hostname"])?, "pod\n");
    assert_eq!(file_of(node, &old)?, before);
    let new = node
        .pod("new")
        .handler(WITHOUT)
        .lifecycle("main", &lifecycle)
        .run()?;
    assert_eq!(file_of(node, &new)?, after);
    let next = new
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    assert_eq!(next.recorded()?.result("postStart"), "Succeeded");

    // What the old shim has left, the new program's `delete` cleans up.
    let shim = shim_of(node, &killed)?;
    node.containerd().kill_shim(&shim, node.shim())?;
    wait::until_true("the end of the holder", SOON, || {
        !Path::new(&format!("/proc/{holder}/cwd")).exists()
    })?;
    is_over(&killed)?;
    killed.remove()?;

    main.stop(20)?;
    assert_eq!(main.status()?.exit_code, 7);
    assert_eq!(trace.count("stopping"), 1);
    old.remove()?;
    wait::until_true("the end of the old shim", SOON, || {
        shim_of(node, &old).is_err()
    })?;
    assert_eq!(next.exec(&["echo", "alive"])?, "alive\n");
    assert_eq!(new.state()?, "SANDBOX_READY");
    Ok(())
}

/// Pods that name no handler get this one from now on.
fn set_default(node: &Node, handler: &str) -> Outcome {
    let path = node.containerd().dir().join("config.toml");
    let text = fs::read_to_string(&path)?;
    let key = "default_runtime_name = ";
    let line = text.lines().find(|line| line.starts_with(key));
    let line = line.ok_or("no default")?;
    fs::write(&path, text.replace(line, &format!("{key}\"{handler}\"")))?;
    Ok(node.containerd().crash()?)
}

/// What holds the pod's namespaces.
fn kind(pod: &Pod<'_>) -> Result<String, Error> {
    let name = fs::read_to_string(format!("/proc/{}/comm", pod.pid()?))?;
    Ok(name.trim().to_owned())
}

fn pods_of_both_kinds_live_side_by_side_and_a_new_default_leaves_them_alone(
    node: &Node,
) -> Outcome {
    let with = node.pod("with").handler(WITH).run()?;
    let without = node.pod("without").handler(WITHOUT).run()?;
    let pods = [(&with, "pause"), (&without, "podhook-pause")];
    let mut containers = Vec::new();
    for (pod, holder) in pods {
        assert_eq!(kind(pod)?, holder);
        containers.push(pod.container("main").command(&["sleep", "600"]).start()?);
    }
    // A pause container is a task; a holder is none.
    let told = |pod: &Pod<'_>| node.events().topics(pod.id());
    wait::until_true("the events of the pause container", SOON, || {
        told(&with) == ["create", "start"]
    })?;
    assert_eq!(told(&without), Vec::<String>::new());
    let holders = [with.pid()?, without.pid()?];
    let mut unnamed = Vec::new();
    for (attempt, (default, holder)) in [(WITHOUT, "podhook-pause"), (WITH, "pause")]
        .into_iter()
        .enumerate()
    {
        set_default(node, default)?;
        for ((pod, _), container) in pods.iter().zip(&containers) {
            assert_eq!(pod.state()?, "SANDBOX_READY");
            assert_eq!(container.state()?, "CONTAINER_RUNNING");
            assert_eq!(container.exec(&["echo", "alive"])?, "alive\n");
            let more = pod.container(&format!("more-{attempt}"));
            let more = more.command(&["sleep", "600"]).start()?;
            let network = ["readlink", "/proc/self/ns/net"];
            assert_eq!(more.exec(&network)?, container.exec(&network)?);
        }
        assert_eq!([with.pid()?, without.pid()?], holders);
        let pod = node.pod("unnamed").handler("").run()?;
        assert_eq!(kind(&pod)?, holder);
        unnamed.push(pod);
    }
    // The end of one is nothing to the other.
    kill(Pid::from_raw(holders[1]), Signal::SIGKILL)?;
    is_over(&without)?;
    assert_eq!(with.state()?, "SANDBOX_READY");
    assert_eq!(containers[0].exec(&["echo", "alive"])?, "alive\n");
    Ok(())
}
