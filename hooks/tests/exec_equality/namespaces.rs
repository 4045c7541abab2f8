//! Namespaces of one's own, of the host, of another container.

use serde_json::{Value, json};

use crate::compare::{Expected, Setup};
use crate::support::Config;
use crate::support::bundle::TestContainer;
use crate::support::runtime::Runtime;
use crate::users::base;

fn with(kinds: &[&str]) -> Config {
    let list: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    let mut config = base().set("/linux/namespaces", json!(list));
    if !kinds.contains(&"uts") {
        config.json.as_object_mut().unwrap().remove("hostname");
    }
    config
}

pub fn user_namespace(_: Runtime) -> Setup {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    with(&["pid", "network", "ipc", "uts", "mount", "user"])
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set(
            "/process/user",
            json!({"uid": 1000, "gid": 1000, "additionalGids": [7]}),
        )
        .into()
}

pub fn host_network(_: Runtime) -> Setup {
    with(&["pid", "ipc", "uts", "mount"]).into()
}

pub fn host_pid(_: Runtime) -> Setup {
    with(&["network", "ipc", "uts", "mount"]).into()
}

pub fn host_ipc(_: Runtime) -> Setup {
    with(&["pid", "network", "mount"]).into()
}

pub fn shared_pid(_: Runtime) -> Setup {
    Setup {
        shares: true,
        ..base().into()
    }
}

/// `config` in the namespaces of `pause`, as a container of its pod.
pub fn shared_with(pause: &TestContainer, config: Config) -> Config {
    let path = |name: &str| format!("/proc/{}/ns/{name}", pause.pid);
    let mut config = config.set(
        "/linux/namespaces",
        json!([{"type": "pid", "path": path("pid")}, {"type": "network", "path": path("net")},
               {"type": "ipc", "path": path("ipc")}, {"type": "uts", "path": path("uts")}, {"type": "mount"}]),
    );
    config.json.as_object_mut().unwrap().remove("hostname");
    config
}

pub fn private_cgroup(_: Runtime) -> Setup {
    with(&["pid", "network", "ipc", "uts", "mount", "cgroup"]).into()
}

pub fn host_everything(_: Runtime) -> Setup {
    // /proc of the host's own pid namespace: bind it, as privileged pods do.
    with(&["mount"])
        .set(
            "/mounts",
            json!([{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}]),
        )
        .into()
}

pub fn time(runtime: Runtime) -> Setup {
    let kinds = ["pid", "network", "ipc", "uts", "mount", "time"];
    Setup {
        expected: match runtime {
            Runtime::Runc => Expected::NotHere("this runc knows no time namespaces"),
            Runtime::Crun => Expected::NotHere("this crun fails to make such a container"),
            _ => Expected::FallsBack,
        },
        ..with(&kinds)
            .set(
                "/linux/timeOffsets",
                json!({"monotonic": {"secs": 1000, "nanosecs": 0}}),
            )
            .into()
    }
}
