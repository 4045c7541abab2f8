//! What is left when a shim was killed: nothing. (The original leaves its socket.)

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::containerd::remains;
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, driver, tests};
use serde_json::json;

use crate::cgroup;
use crate::script::{Error, held, polite, words};

pub fn tests() -> Vec<Test> {
    tests![crash:
        the_container_of_a_killed_shim_goes_with_its_cgroup_and_hook,
        what_the_oci_runtime_cannot_delete_is_killed_in_its_cgroup,
        nothing_is_left_of_a_container_whose_shim_is_killed_in_create,
    ]
}

/// Kills the shim that was started for a container or a sandbox.
pub fn kill_shim(node: &Node, id: &str) -> Result<(), Error> {
    let shims = remains::shims(&node.containerd().address());
    let shim = shims.iter().find(|shim| shim.id == id).ok_or("no shim")?;
    Ok(kill(Pid::from_raw(shim.pid), Signal::SIGKILL)?)
}

fn the_container_of_a_killed_shim_goes_with_its_cgroup_and_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let container = node
        .container("orphan")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    let own = cgroup::of_container(&container)?;
    container.kill("SIGTERM")?;
    trace.wait("hook-begin")?;
    assert_eq!(cgroup::leaves(&own).len(), 1);
    kill_shim(node, container.id())?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    wait::until_true("the end of the cgroup", SOON, || !own.exists())?;
    Ok(())
}

/// An OCI runtime that does everything but delete.
pub fn runtime_without_delete(node: &Node) -> Result<PathBuf, Error> {
    let path = node.containerd().dir().join("no-delete");
    let runtime = driver::oci_runtime().unwrap_or_else(|| "runc".to_owned());
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' delete '*) echo 'cannot delete' >&2; exit 1;; esac\nexec {runtime} \"$@\"\n"
    );
    fs::write(&path, script)?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

fn what_the_oci_runtime_cannot_delete_is_killed_in_its_cgroup(node: &Node) -> Outcome {
    let text = format!(
        "runtime = \"{}\"\nsystemd_cgroup = {}\n",
        runtime_without_delete(node)?.display(),
        driver::is_systemd()
    );
    fs::write(node.containerd().dir().join("podhook.toml"), text)?;
    let pod = node.pod("left").configured().run()?;
    let script = "trap '' TERM; setsid sleep 5591 & while :; do sleep 1; done";
    let container = pod
        .container("main")
        .command(&["sh", "-c", script])
        .start()?;
    let pid = cgroup::pid(node, &container)?;
    let own = cgroup::of(pid)?;
    let daemon = cgroup::wait_process(&own, "sleep 5591")?;
    // Frozen: only cgroup.kill ends what is in it.
    fs::write(own.join("cgroup.freeze"), "1")?;
    wait::until("frozen", SOON, || {
        let events = cgroup::read(&own, "cgroup.events").ok()?;
        events.contains("frozen 1").then_some(())
    })?;
    kill_shim(node, pod.id())?;
    for (what, path) in [
        ("the container", format!("/proc/{pid}")),
        ("its daemon", format!("/proc/{daemon}")),
        ("its cgroup", own.display().to_string()),
    ] {
        wait::until_true(&format!("the end of {what}"), SOON, || {
            !Path::new(&path).exists()
        })?;
    }
    // What only the runtime itself knows of.
    for id in [pod.id(), container.id()] {
        let state = remains::runc_state(&("k8s.io".to_owned(), id.to_owned()));
        wait::until_true("the end of the bundle", SOON, || {
            !node.containerd().bundle("k8s.io", id).exists()
        })?;
        fs::remove_dir_all(state)?;
    }
    Ok(())
}

/// Whether the OCI runtime is at work to make a container.
fn is_being_made(id: &str) -> bool {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|line| {
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            words.contains(&b"create".as_slice()) && words.contains(&id.as_bytes())
        })
}

fn nothing_is_left_of_a_container_whose_shim_is_killed_in_create(node: &Node) -> Outcome {
    for round in 0..10 {
        let name = format!("born{round}");
        let (container, starting) = node.container(&name).start_behind(&["sleep", "600"])?;
        // A busy machine may look too late: then the shim is killed after Create.
        wait::until_true("the OCI runtime", SOON, || {
            is_being_made(container.id()) || starting.is_finished()
        })?;
        thread::sleep(wait::scaled(Duration::from_millis(2 * round)));
        kill_shim(node, container.id())?;
        // ctr's error; what is left the suite looks for in a moment, and here.
        let _ = starting.join();
        wait::until_true("the end of the OCI runtime", SOON, || {
            !is_being_made(container.id())
        })?;
        let id = container.id().to_owned();
        drop(container);
        wait::until_true("the end of its cgroup", SOON, || {
            node.containerd().cgroups(&id).is_empty()
        })?;
    }
    Ok(())
}
