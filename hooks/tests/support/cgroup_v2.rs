//! A mount namespace in which cgroup v2 is the only hierarchy, for tests that run once more in it.

use std::process::Command;

const INSIDE: &str = "PODHOOK_TEST_CGROUP_V2";

/// True where the test shall run; else it has run, in the namespace.
pub fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$0\" \"$@\"";
    let ran = super::run(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "1"),
    );
    assert!(ran.exit.code() == Some(0), "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("1 passed"), "{}", ran.stdout);
    false
}
