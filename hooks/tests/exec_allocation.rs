//! Between clone and execve nothing is allocated: another thread of the shim may hold the allocator's
//! lock at the fork, and the copy of that lock is never released.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use serde_json::json;

use support::Config;

struct Guarded;

static PARENT: AtomicI32 = AtomicI32::new(0);
static IN_PARENT: AtomicUsize = AtomicUsize::new(0);

fn check() {
    let parent = PARENT.load(Ordering::Relaxed);
    if parent == 0 {
        return;
    }
    // SAFETY: no pointers.
    if unsafe { libc::getpid() } == parent {
        IN_PARENT.fetch_add(1, Ordering::Relaxed);
    } else {
        // SAFETY: ends this child, and with it the exec.
        unsafe { libc::_exit(86) };
    }
}

// SAFETY: every call goes to the system's allocator.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: by the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: by the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;

#[tokio::test]
async fn neither_child_allocates() {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                         "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"]
        .map(|kind| json!({"type": kind}));
    for nnp in [false, true] {
        let container = Config::default()
            .set("/linux/namespaces", json!(namespaces))
            .set(
                "/linux/uidMappings",
                json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]),
            )
            .set(
                "/linux/gidMappings",
                json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]),
            )
            .set("/linux/seccomp", profile.clone())
            .set("/process/noNewPrivileges", json!(nnp))
            .set("/process/oomScoreAdj", json!(100))
            .set(
                "/process/user",
                json!({"uid": 1000, "gid": 1000, "additionalGids": [1, 2]}),
            )
            .start();
        // SAFETY: no pointers.
        PARENT.store(unsafe { libc::getpid() }, Ordering::Relaxed);
        let ran = container.engine_exec(&["sh", "-c", "echo $HOME"]).await;
        let failed = container.engine_exec(&["nosuch"]).await;
        PARENT.store(0, Ordering::Relaxed);
        let ran = ran.unwrap();
        assert_eq!(ran.exit.code(), Some(0), "{ran:?}");
        assert_eq!(ran.stdout, "/home/foo\n");
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .contains("executable file not found")
        );
    }
    assert!(
        IN_PARENT.load(Ordering::Relaxed) > 0,
        "the guard saw nothing"
    );
}
