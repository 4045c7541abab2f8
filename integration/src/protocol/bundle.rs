//! A container's bundle, as containerd makes it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::Outcome;

/// What a container is to be.
#[derive(Debug, Clone)]
pub struct Spec(pub Value);

impl Spec {
    /// A container of namespace `namespace` that runs `args` on busybox.
    #[must_use]
    pub fn new(namespace: &str, id: &str, args: &[&str]) -> Self {
        let capabilities = ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"];
        let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
        Self(json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": args,
                "env": ["PATH=/bin"],
                "cwd": "/",
                "noNewPrivileges": true,
                "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            },
            "root": {"path": "rootfs"},
            "mounts": [
                mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
                mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
                mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
                mount("/tmp", "tmpfs", &["nosuid", "nodev"]),
            ],
            "linux": {
                "cgroupsPath": format!("/{namespace}/{id}"),
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            },
        }))
    }

    /// The same with an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["annotations"][key] = json!(value);
        self
    }
}

/// Makes the bundle with all that containerd puts there, the log's fifo too.
///
/// # Errors
/// Where a file of it cannot be made.
pub fn make(bundle: &Path, work: &Path, spec: &Spec) -> Outcome {
    fs::create_dir_all(bundle.join("rootfs"))?;
    fs::create_dir_all(work)?;
    symlink(work, bundle.join("work"))?;
    fs::write(bundle.join("config.json"), serde_json::to_vec(&spec.0)?)?;
    mkfifo(&bundle.join("log"), Mode::S_IRWXU)?;
    Ok(())
}

/// A root filesystem with busybox, to be mounted from.
///
/// # Errors
/// Where a file of it cannot be made.
pub fn rootfs(dir: &Path) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
    let rootfs = dir.join("busybox");
    for folder in ["bin", "proc", "dev", "tmp", "sys", "etc"] {
        fs::create_dir_all(rootfs.join(folder))?;
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox"))?;
    for applet in [
        "sh", "sleep", "usleep", "echo", "cat", "head", "kill", "stat", "id", "tty", "stty",
        "touch", "true",
    ] {
        symlink("busybox", rootfs.join("bin").join(applet))?;
    }
    Ok(rootfs)
}
