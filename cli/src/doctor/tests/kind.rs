//! What is said must fit the kind of node, and its mend must mend it.

use super::*;

fn of(checks: &[Check], name: &str) -> Vec<Check> {
    let checks = checks.iter().filter(|check| check.name == name);
    checks.cloned().collect()
}

#[test]
fn a_configuration_below_tmp_is_looked_at() {
    let node = node();
    let path = node.path();
    write(
        path,
        "tmp/x/config.toml",
        &GOOD.replace("/usr/local/bin", "/none"),
    );
    fs::set_permissions(path.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let checks = look_with(&node, &["--config", "/tmp/x/config.toml"]);
    let [wrong, unwritten] = &*of(&checks, "containerd configuration") else {
        panic!("{checks:?}");
    };
    assert!(wrong.message.contains("which is not there"), "{wrong:?}");
    assert_eq!(unwritten.status, Status::Warn);
    assert!(
        unwritten.message.contains("everybody may write"),
        "{unwritten:?}"
    );
    assert!(
        unwritten.message.contains("podhook install"),
        "{unwritten:?}"
    );
    let mend = unwritten.mend.as_deref().unwrap();
    assert!(!mend.contains("chmod"), "{mend}");
    assert!(mend.contains("root's alone"), "{mend}");
    // Nor is a link written over.
    let real = path.join("etc/containerd/real.toml");
    fs::rename(path.join(CONFIG), real).unwrap();
    std::os::unix::fs::symlink("real.toml", path.join(CONFIG)).unwrap();
    let checks = look(&node);
    let [ok, unwritten] = &*of(&checks, "containerd configuration") else {
        panic!("{checks:?}");
    };
    assert_eq!((ok.status, unwritten.status), (Status::Ok, Status::Warn));
}

#[test]
fn without_the_kernels_own_files_nothing_is_said_to_be_missing() {
    let node = node();
    for folder in ["proc", "sys"] {
        fs::remove_dir_all(node.path().join(folder)).unwrap();
        fs::create_dir(node.path().join(folder)).unwrap();
    }
    let checks = look(&node);
    let mends = ["kernel", "cgroups", "security"].map(|name| {
        let [check] = &*of(&checks, name) else {
            panic!("{name}: {checks:?}");
        };
        assert_eq!(check.status, Status::Warn);
        assert!(check.message.contains("below the root"), "{check:?}");
        check.mend.clone()
    });
    assert!(mends.iter().all(|mend| *mend == mends[0]), "{mends:?}");
    // One that has /proc alone says what that says.
    write(node.path(), "proc/sys/kernel/osrelease", "6.1.0\n");
    write(
        node.path(),
        "proc/sys/kernel/seccomp/actions_avail",
        "kill\n",
    );
    let check = of(&look(&node), "security").remove(0);
    assert_eq!(check.status, Status::Ok);
    assert!(check.message.contains("not known: no /sys"), "{check:?}");
    fs::remove_dir_all(node.path().join("proc/sys/kernel/seccomp")).unwrap();
    let check = of(&look(&node), "security").remove(0);
    assert!(check.message.contains("has no seccomp"), "{check:?}");
}

#[test]
fn what_install_would_refuse_is_not_the_mend() {
    let node = node();
    program(node.path(), "usr/bin/containerd", "containerd x 1.7.24 y");
    write(
        node.path(),
        CONFIG,
        "[plugins.cri]\nsandbox_image = \"x\"\n",
    );
    let check = of(&look(&node), "containerd configuration").remove(0);
    assert_eq!(check.status, Status::Fail);
    assert!(check.message.contains("version 1"), "{check:?}");
    let mend = check.mend.unwrap();
    assert!(mend.contains("version 2 first"), "{mend}");
}

#[test]
fn the_oci_runtime_that_is_missing_is_named_whoever_names_it() {
    let driver = "SystemdCgroup = true";
    for (options, node_config, message, mend) in [
        (
            "BinaryName = '/usr/bin/crun'\n",
            "",
            "/usr/bin/crun",
            "install crun (apt-get install crun)",
        ),
        (
            "BinaryName = 'crun'\n",
            "",
            "there is no crun in PATH",
            "install crun (apt",
        ),
        (
            "",
            "runtime = 'youki'\n",
            "there is no youki in PATH",
            "install youki,",
        ),
    ] {
        let node = node();
        write(
            node.path(),
            CONFIG,
            &GOOD.replace(driver, &format!("{options}{driver}")),
        );
        if !node_config.is_empty() {
            write(node.path(), "etc/podhook/config.toml", node_config);
        }
        let [check] = &*of(&look(&node), "OCI runtime") else {
            panic!("{message}");
        };
        assert_eq!(check.status, Status::Fail, "{check:?}");
        assert!(check.message.contains(message), "{check:?}");
        let said = check.mend.as_deref().unwrap();
        assert!(said.starts_with(mend), "{said}");
        assert!(!said.contains("runc"), "{said}");
    }
}
