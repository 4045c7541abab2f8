//! A node that is made up, and looked at.

mod kind;
mod pauseless;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::args::{Cli, Command};

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn program(root: &Path, path: &str, says: &str) {
    write(root, path, &format!("#!/bin/sh\necho '{says}'\n"));
    fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755)).unwrap();
}

const CONFIG: &str = "etc/containerd/config.toml";
const GOOD: &str = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podhook]\n\
    runtime_type = 'io.containerd.runc.v2'\nruntime_path = '/usr/local/bin/containerd-shim-podhook-v1'\n\
    pod_annotations = ['podhook.dev/*', 'lifecycle.podhook.dev/*']\n\
    container_annotations = ['podhook.dev/*', 'io.kubernetes.*']\n\
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podhook.options]\nSystemdCgroup = true\n";

/// A node on which everything is right.
fn node() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let version = env!("CARGO_PKG_VERSION");
    program(root, "usr/bin/containerd", "containerd x v2.1.9 abc");
    program(root, "usr/sbin/runc", "runc version 1.3.6");
    program(
        root,
        "usr/local/bin/containerd-shim-podhook-v1",
        &format!("podhook {version}"),
    );
    write(root, "proc/sys/kernel/osrelease", "6.1.0-38-amd64\n");
    write(
        root,
        "proc/sys/kernel/seccomp/actions_avail",
        "kill allow\n",
    );
    write(root, "sys/kernel/security/lsm", "lockdown,apparmor\n");
    write(
        root,
        "sys/fs/cgroup/cgroup.controllers",
        "cpu memory pids\n",
    );
    write(root, CONFIG, GOOD);
    let unit = "[Service]\nKillMode=process\nDelegate=yes\nTasksMax=infinity\n";
    write(root, "usr/lib/systemd/system/containerd.service", unit);
    let kubelet = "runtimeRequestTimeout: 2m0s\ncgroupDriver: systemd\n";
    write(root, "var/lib/kubelet/config.yaml", kubelet);
    folder
}

fn look(node: &tempfile::TempDir) -> Vec<Check> {
    look_with(node, &[])
}

fn look_with(node: &tempfile::TempDir, more: &[&str]) -> Vec<Check> {
    let path = node.path().to_str().unwrap();
    let words = ["podhook", "doctor", "--root", path];
    let cli = Cli::try_parse_from(words.iter().chain(more)).unwrap();
    let Command::Doctor(args) = cli.command else {
        panic!("another command");
    };
    let root = Root::open(node.path()).unwrap();
    checks(&root, &args, &runtime(&root, args.runtime.as_deref()))
}

#[test]
fn a_good_node_is_ok_in_every_respect() {
    let checks = look(&node());
    let not_ok: Vec<_> = checks
        .iter()
        .filter(|check| check.status != Status::Ok)
        .collect();
    assert!(not_ok.is_empty(), "{not_ok:#?}");
    let names: Vec<_> = checks.iter().map(|check| &*check.name).collect();
    for name in [
        "kernel",
        "cgroups",
        "security",
        "containerd",
        "unit containerd",
        "OCI runtime",
        "kubelet",
        "cgroup driver",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let text = table(&checks, Paint::NONE);
    assert!(text.starts_with("CHECK "), "{text}");
    assert!(!text.contains("What mends it"), "{text}");
    let document: serde_json::Value = serde_json::from_str(&json(&checks, false)).unwrap();
    assert_eq!(document["ok"], true);
    assert_eq!(document["checks"][0]["status"], "ok");
}

#[test]
fn what_is_wrong_is_found_and_what_mends_it_is_said() {
    let runc_only = GOOD.replace("runtimes.podhook", "runtimes.runc");
    let no_annotations = GOOD.replace("pod_annotations", "x_annotations");
    let no_driver = GOOD.replace("SystemdCgroup = true", "SystemdCgroup = false");
    let cases: &[(&str, &str, &str, Status, &str)] = &[
        (
            "proc/sys/kernel/osrelease",
            "4.19.0\n",
            "kernel",
            Status::Fail,
            "older than 5.10",
        ),
        (
            "sys/fs/cgroup/cgroup.controllers",
            "cpu pids\n",
            "cgroups",
            Status::Fail,
            "without memory",
        ),
        (
            CONFIG,
            &runc_only,
            "containerd configuration",
            Status::Fail,
            "no runtime podhook",
        ),
        (
            CONFIG,
            &no_annotations,
            "containerd configuration",
            Status::Fail,
            "do not reach the shim",
        ),
        (
            CONFIG,
            "version = ",
            "containerd configuration",
            Status::Fail,
            "not TOML",
        ),
        (CONFIG, &no_driver, "cgroup driver", Status::Fail, "systemd"),
        (
            "etc/systemd/system/containerd.service.d/a.conf",
            "[Service]\nKillMode=mixed\n",
            "unit containerd",
            Status::Fail,
            "ends every container",
        ),
        (
            "etc/systemd/system/containerd.service.d/a.conf",
            "[Service]\nTasksMax=512\n",
            "unit containerd",
            Status::Warn,
            "TasksMax=512",
        ),
        (
            "etc/systemd/system/containerd.service.d/a.conf",
            "[Service]\nLimitNOFILE=1024:524288\n",
            "unit containerd",
            Status::Warn,
            "LimitNOFILE=1024",
        ),
        (
            "var/lib/kubelet/kubeadm-flags.env",
            "X=\"--runtime-request-timeout=60s\"\n",
            "kubelet",
            Status::Warn,
            "cut after 58 s",
        ),
        (
            "etc/podhook/config.toml",
            "grace = 1\n",
            "podhook configuration",
            Status::Fail,
            "grace",
        ),
        (
            "etc/docker/daemon.json",
            "{}",
            "docker configuration",
            Status::Warn,
            "no runtime podhook",
        ),
    ];
    for (path, text, name, status, message) in cases {
        let node = node();
        write(node.path(), path, text);
        let checks = look(&node);
        let check = checks.iter().find(|check| check.name == *name).expect(name);
        assert_eq!(check.status, *status, "{check:?}");
        assert!(check.message.contains(message), "{check:?}");
        assert!(check.mend.is_some(), "{check:?}");
        assert!(table(&checks, Paint::NONE).contains(&format!("  {name}: ")));
    }
}

#[test]
fn a_second_podhook_is_a_warning_that_says_which_one_counts() {
    let node = node();
    program(
        node.path(),
        "usr/bin/containerd-shim-podhook-v1",
        "podhook 0.0.1",
    );
    let checks = look(&node);
    let check = checks
        .iter()
        .find(|check| check.name == "programs")
        .unwrap();
    assert_eq!(check.status, Status::Warn);
    let counts =
        "usr/local/bin/containerd-shim-podhook-v1 counts, since the configuration names it";
    assert!(check.message.contains(counts), "{check:?}");
}

#[test]
fn a_node_that_was_never_installed_is_not_called_configured_and_needs_one_command() {
    let node = node();
    write(node.path(), CONFIG, "version = 3\n");
    write(node.path(), "etc/docker/daemon.json", "{}");
    fs::remove_file(node.path().join("usr/local/bin/containerd-shim-podhook-v1")).unwrap();
    let checks = look(&node);
    let install = checks.iter().find(|check| check.name == "install").unwrap();
    assert_eq!(install.status, Status::Warn, "{install:?}");
    assert!(!install.message.contains("by hand"), "{install:?}");
    let text = table(&checks, Paint::NONE);
    let (_, mends) = text.split_once("What mends it:\n").unwrap();
    assert_eq!(mends.matches("podhook install").count(), 1, "{mends}");
    // By hand it is where a configuration has it.
    write(node.path(), CONFIG, GOOD);
    let checks = look(&node);
    let install = checks.iter().find(|check| check.name == "install").unwrap();
    assert!(install.message.contains("by hand"), "{install:?}");
}

#[test]
fn what_is_half_taken_off_is_said() {
    let node = node();
    let state = r#"{"version": 1, "podhook": "0.1.0", "runtime": "podhook", "shim": "/x", "places": [], "files": [], "folders": [], "half": true}"#;
    write(node.path(), "var/lib/podhook/install/state.json", state);
    let checks = look(&node);
    let install = checks.iter().find(|check| check.name == "install").unwrap();
    assert_eq!(install.status, Status::Warn);
    assert!(install.message.contains("half taken off"), "{install:?}");
    assert!(install.mend.as_ref().unwrap().contains("uninstall again"));
}

#[test]
fn a_handler_beside_the_first_one_is_looked_at_too() {
    let node = node();
    let second = GOOD
        .replace("version = 3\n", "")
        .replace("runtimes.podhook", "runtimes.hooks")
        .replace(
            "pod_annotations = ['podhook.dev/*', 'lifecycle.podhook.dev/*']",
            "pod_annotations = []",
        );
    write(node.path(), CONFIG, &format!("{GOOD}{second}"));
    let checks = look(&node);
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .collect();
    let [check] = &*failed else {
        panic!("{checks:#?}");
    };
    assert!(
        check
            .message
            .starts_with("the runtime hooks: annotations do not reach"),
        "{check:?}"
    );
    assert!(
        check.mend.as_ref().unwrap().contains("--runtime hooks"),
        "{check:?}"
    );
}

#[test]
fn the_version_that_is_said_of_containerd_is_not_dockers() {
    let said = Some(Version(1, 6, 20));
    let docker = |version| {
        let node = node();
        let says = format!("Docker version {version}, build abc");
        program(node.path(), "usr/bin/dockerd", &says);
        let root = Root::open(node.path()).unwrap();
        let place = Place::find(&root, args::NodeKind::Docker).unwrap();
        programs::containerd(&place, said).status
    };
    assert_eq!(docker("28.5.2"), Status::Ok);
    // `docker run --annotation` is of 24.0, runtimes by type are of 23.0.
    assert_eq!(docker("23.0.6"), Status::Warn);
    assert_eq!(docker("20.10.24"), Status::Fail);
}

#[test]
fn the_runtime_is_called_as_it_was_installed() {
    let node = node();
    let config = GOOD.replace("runtimes.podhook", "runtimes.hooked");
    write(node.path(), CONFIG, &config);
    let state = r#"{"version": 1, "podhook": "0.1.0", "runtime": "hooked", "shim": "/x", "places": [], "files": [], "folders": []}"#;
    write(node.path(), "var/lib/podhook/install/state.json", state);
    let checks = look(&node);
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn programs_that_are_missing_or_old_are_named() {
    let says = |path: &str, text: &str, name: &str| {
        let node = node();
        if text.is_empty() {
            fs::remove_file(node.path().join(path)).unwrap();
        } else {
            program(node.path(), path, text);
        }
        let checks = look(&node);
        checks
            .into_iter()
            .find(|check| check.name == name)
            .expect(name)
    };
    let shim = "usr/local/bin/containerd-shim-podhook-v1";
    assert_eq!(says(shim, "", "shim").status, Status::Fail);
    assert_eq!(says(shim, "podhook 0.0.1", "shim").status, Status::Warn);
    assert_eq!(
        says("usr/sbin/runc", "", "OCI runtime").status,
        Status::Fail
    );
    assert_eq!(
        says("usr/sbin/runc", "runc version 1.0.3", "OCI runtime").status,
        Status::Fail
    );
    assert_eq!(
        says("usr/bin/containerd", "containerd x 1.5.9 y", "containerd").status,
        Status::Fail
    );
}

#[test]
fn containerd_1_6_is_not_given_a_path_that_it_ignores() {
    let node = node();
    program(
        node.path(),
        "usr/bin/containerd",
        "containerd x 1.6.20~ds1 y",
    );
    let v2 = GOOD
        .replace("version = 3", "version = 2")
        .replace("cri.v1.runtime", "grpc.v1.cri");
    write(node.path(), CONFIG, &v2);
    let configuration = || {
        let checks = look(&node).into_iter();
        let mut checks = checks.filter(|check| check.name == "containerd configuration");
        checks.next().unwrap()
    };
    // 1.x has a runtime of its own only where no other is written.
    assert!(configuration().message.contains("CRI does not start"));
    let runc = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n";
    write(node.path(), CONFIG, &format!("{v2}{runc}"));
    let check = configuration();
    assert!(
        check.message.contains("makes no use of runtime_path"),
        "{check:?}"
    );
}

#[test]
fn shims_of_an_older_program_are_counted() {
    let node = node();
    let program = "/usr/local/bin/containerd-shim-podhook-v1 (deleted)";
    setup::shims::tests::process(
        node.path(),
        7,
        program,
        &["-namespace", "k8s.io", "-id", "a"],
    );
    let checks = look(&node);
    let check = checks
        .iter()
        .find(|check| check.name == "running shims")
        .unwrap();
    assert_eq!(check.status, Status::Warn);
    assert!(check.message.starts_with("1 of 1"), "{check:?}");
}
