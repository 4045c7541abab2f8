//! What whoever calls the runtime, and the engine, was started with.

use serde_json::json;

use crate::compare::Setup;
use crate::restrictions;
use crate::support::Config;
use crate::support::runtime::Runtime;
use crate::support::within::Inherited;
use crate::users::{self, base};

fn off_default(setup: impl Into<Setup>) -> Setup {
    Setup {
        inherited: Inherited::OffDefault,
        ..setup.into()
    }
}

pub fn everything(_: Runtime) -> Setup {
    off_default(base())
}

pub fn user(runtime: Runtime) -> Setup {
    off_default(users::capabilities_ambient(runtime))
}

pub fn profile(runtime: Runtime) -> Setup {
    off_default(restrictions::seccomp_2_1(runtime))
}

pub fn on_a_terminal(_: Runtime) -> Setup {
    Setup {
        terminal: true,
        ..off_default(base())
    }
}

/// All that an OCI configuration can say of it.
fn specified() -> Config {
    base()
        .set("/process/user", json!({"uid": 0, "gid": 0, "umask": 0o27}))
        .set("/process/oomScoreAdj", json!(321))
        .set(
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 3}),
        )
        .set("/process/execCPUAffinity", json!({"final": "1"}))
        .set("/linux/personality", json!({"domain": "LINUX32"}))
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512},
                   {"type": "RLIMIT_NPROC", "soft": 100, "hard": 200}]),
        )
}

pub fn set_by_the_container(_: Runtime) -> Setup {
    off_default(specified())
}

pub fn other_limits(_: Runtime) -> Setup {
    Setup {
        process: json!({"rlimits": [{"type": "RLIMIT_CORE", "soft": 7, "hard": 9}]}),
        ..off_default(base().set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 2},
                   {"type": "RLIMIT_MEMLOCK", "soft": 4096, "hard": 8192}]),
        ))
    }
}
