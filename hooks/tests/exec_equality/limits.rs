//! How much a process may use, and when it runs.

use serde_json::json;

use crate::compare::{Expected, Setup};
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

pub fn soft_nofile(runtime: Runtime) -> Setup {
    let setup = Setup::from(base().set(
        "/process/rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}]),
    ));
    match runtime {
        // Go 1.19 raises the soft limit as it starts, and the parent sets it at about the same time.
        Runtime::Runc => Setup {
            expected: Expected::NotHere("this runc gives the soft or the hard limit, by chance"),
            ..setup
        },
        _ => setup,
    }
}

pub fn oom_score(_: Runtime) -> Setup {
    base().set("/process/oomScoreAdj", json!(321)).into()
}

pub fn scheduler(runtime: Runtime) -> Setup {
    let setup = Setup::from(base().set(
        "/process/scheduler",
        json!({"policy": "SCHED_BATCH", "nice": 5}),
    ));
    match runtime {
        Runtime::NewCrun => Setup {
            expected: Expected::NotHere("this crun applies it when the process may run already"),
            ..setup
        },
        _ => setup,
    }
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

pub fn some_of_its_own(_: Runtime) -> Setup {
    Setup {
        process: json!({"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]}),
        ..base()
            .set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_MEMLOCK", "soft": 4096, "hard": 8192}]),
            )
            .into()
    }
}
