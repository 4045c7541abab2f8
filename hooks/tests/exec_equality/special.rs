//! Working directories, stdio, and what cannot be started.

use serde_json::json;

use crate::compare::{Expected, Setup};
use crate::support::runtime::Runtime;
use crate::users::base;

pub fn cwd(_: Runtime) -> Setup {
    base().set("/process/cwd", json!("/home/foo")).into()
}

pub fn cwd_of_root_only(_: Runtime) -> Setup {
    Setup {
        process: json!({"cwd": "/private", "user": {"uid": 1000, "gid": 1000}, "capabilities": {}}),
        ..base().into()
    }
}

pub fn cwd_missing(_: Runtime) -> Setup {
    Setup {
        process: json!({"cwd": "/no/such"}),
        expected: Expected::Refused,
        ..base().into()
    }
}

pub fn cwd_not_permitted(runtime: Runtime) -> Setup {
    // Root of a user namespace, and the directory belongs to a user it does not map. crun enters it with the
    // rights of the host's root.
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "user"].map(|kind| json!({"type": kind}));
    Setup {
        process: json!({"cwd": "/private"}),
        expected: match runtime.is_crun() {
            true => Expected::RefusedAsByRunc,
            false => Expected::Refused,
        },
        ..base()
            .set("/linux/namespaces", json!(namespaces))
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map)
            .into()
    }
}

pub fn terminal(_: Runtime) -> Setup {
    Setup {
        terminal: true,
        ..base().into()
    }
}

pub fn terminal_of_a_user(_: Runtime) -> Setup {
    Setup {
        terminal: true,
        process: json!({"user": {"uid": 1000, "gid": 1000}, "capabilities": {}}),
        ..base().into()
    }
}

pub fn terminal_size(runtime: Runtime) -> Setup {
    Setup {
        terminal: true,
        process: json!({"consoleSize": {"height": 33, "width": 99}}),
        expected: match runtime.is_crun() {
            true => Expected::NotHere("crun sets it, if at all, when the process may run already"),
            false => Expected::Equal,
        },
        ..base().into()
    }
}

pub fn pipes(_: Runtime) -> Setup {
    Setup {
        pipes: true,
        ..base()
            .set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .into()
    }
}

pub fn program_missing(_: Runtime) -> Setup {
    Setup {
        program: "nosuch",
        expected: Expected::Refused,
        ..base().into()
    }
}

pub fn program_is_a_directory(runtime: Runtime) -> Setup {
    Setup {
        program: "/tmp",
        expected: match runtime {
            Runtime::Runc => Expected::RefusedInOtherWords(
                "permission denied, because Debian 12 built it with an old Go; the engine says what later ones say",
            ),
            _ => Expected::Refused,
        },
        ..base().into()
    }
}

pub fn program_not_executable(_: Runtime) -> Setup {
    Setup {
        program: "/etc/passwd",
        expected: Expected::Refused,
        ..base().into()
    }
}

pub fn cwd_relative(runtime: Runtime) -> Setup {
    Setup {
        process: json!({"cwd": "tmp"}),
        expected: match runtime.is_crun() {
            true => Expected::Equal,
            false => Expected::Refused,
        },
        ..base().into()
    }
}

pub fn cwd_empty(_: Runtime) -> Setup {
    Setup {
        process: json!({"cwd": ""}),
        expected: Expected::Refused,
        ..base().into()
    }
}

pub fn more_files_than_the_limit(_: Runtime) -> Setup {
    Setup {
        terminal: true,
        open_files: 100,
        ..base()
            .set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]),
            )
            .into()
    }
}

pub fn few_files(runtime: Runtime) -> Setup {
    Setup {
        process: json!({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 24, "hard": 24}]}),
        ..crate::users::home_from_passwd(runtime)
    }
}
