//! How much a process may use, and when it runs.

use serde_json::json;

use crate::compare::Setup;
use crate::support::runtime::Runtime;
use crate::users::base;

pub fn rlimits(_: Runtime) -> Setup {
    base()
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024},
                   {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                   {"type": "RLIMIT_NPROC", "soft": 100, "hard": 200}]),
        )
        .into()
}

pub fn soft_nofile(_: Runtime) -> Setup {
    base()
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}]),
        )
        .into()
}

pub fn oom_score(_: Runtime) -> Setup {
    base().set("/process/oomScoreAdj", json!(321)).into()
}

pub fn scheduler(_: Runtime) -> Setup {
    base()
        .set(
            "/process/scheduler",
            json!({"policy": "SCHED_BATCH", "nice": 5}),
        )
        .into()
}

pub fn io_priority(_: Runtime) -> Setup {
    base()
        .set(
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 6}),
        )
        .into()
}

pub fn cpu_affinity(_: Runtime) -> Setup {
    base()
        .set(
            "/process/execCPUAffinity",
            json!({"initial": "0-1", "final": "1"}),
        )
        .into()
}

pub fn personality(_: Runtime) -> Setup {
    base()
        .set("/linux/personality", json!({"domain": "LINUX32"}))
        .into()
}

/// crun's cgroup v2 has none of the controllers on this machine.
pub fn resources(runtime: Runtime) -> Setup {
    let resources = match runtime.is_crun() {
        true => json!({}),
        false => {
            json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50}, "cpu": {"shares": 512}})
        }
    };
    base().set("/linux/resources", resources).into()
}
