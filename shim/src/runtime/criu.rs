//! `checkpoint` and `restore`: CRIU through the OCI runtime. The flags are go-runc's, in its order.

use std::path::Path;
use std::process::Command;

use containerd_shim_protos::shim::oci::CheckpointOptions;

/// What `checkpoint` needs to know.
pub struct CheckpointArgs<'a> {
    /// Where the images go.
    pub image: &'a Path,
    /// Where those are that these build on.
    pub parent: Option<&'a str>,
    /// Where CRIU works and logs.
    pub work: &'a Path,
    /// Whether the container goes on.
    pub leave_running: bool,
    /// What the client wants.
    pub options: &'a CheckpointOptions,
}

/// What `restore` needs to know.
pub struct RestoreArgs<'a> {
    /// Where the images are.
    pub image: &'a Path,
    /// Where those are that these build on.
    pub parent: Option<&'a Path>,
    /// Where CRIU works and logs.
    pub work: &'a Path,
    pub bundle: &'a Path,
    pub no_pivot: bool,
    /// Where the terminal's master goes, with a terminal.
    pub console: Option<&'a Path>,
}

pub fn checkpoint(mut command: Command, args: CheckpointArgs<'_>) -> Command {
    let CheckpointArgs { options, .. } = args;
    command.arg("--image-path").arg(args.image);
    command.arg("--work-path").arg(args.work);
    if let Some(parent) = args.parent {
        command.arg("--parent-path").arg(parent);
    }
    let flags = [
        (options.open_tcp, "--tcp-established"),
        (options.external_unix_sockets, "--ext-unix-sk"),
        (options.terminal, "--shell-job"),
        (options.file_locks, "--file-locks"),
    ];
    command.args(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag));
    if !options.cgroups_mode.is_empty() {
        command.args(["--manage-cgroups-mode", &options.cgroups_mode]);
    }
    for namespace in &options.empty_namespaces {
        command.args(["--empty-ns", namespace]);
    }
    if args.leave_running {
        command.arg("--leave-running");
    }
    command
}

pub fn restore(mut command: Command, args: RestoreArgs<'_>) -> Command {
    command.arg("--image-path").arg(args.image);
    command.arg("--work-path").arg(args.work);
    if let Some(parent) = args.parent {
        command.arg("--parent-path").arg(parent);
    }
    command.arg("--detach");
    command
        .arg("--pid-file")
        .arg(args.bundle.join(crate::host::bundle::INIT_PID));
    if let Some(console) = args.console {
        command.arg("--console-socket").arg(console);
    }
    if args.no_pivot {
        command.arg("--no-pivot");
    }
    command.arg("--no-subreaper");
    command.arg("--bundle").arg(args.bundle);
    command
}
