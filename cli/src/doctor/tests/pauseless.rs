//! What is said of the handlers whose pods have no pause container.

use std::os::unix::fs::symlink;

use super::*;

const SECTION: &str = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podhook-pauseless]\n\
    runtime_type = 'io.containerd.podhook.v1'\nsandboxer = 'shim'\ndisable_pause_image_pull = true\n\
    container_annotations = ['podhook.dev/*', 'io.kubernetes.*']\n";
const STATE: &str = r#"{"version": 1, "podhook": "0.1.0", "runtime": "podhook", "pauseless": "podhook-pauseless",
    "shim": "/usr/local/bin/containerd-shim-podhook-v1", "places": [], "files": [], "folders": []}"#;

/// What a node of that containerd with that section says of it.
fn said(version: &str, section: &str) -> Vec<Check> {
    said_of(&node(), version, section)
}

fn said_of(node: &tempfile::TempDir, version: &str, section: &str) -> Vec<Check> {
    let root = node.path();
    program(
        root,
        "usr/bin/containerd",
        &format!("containerd x {version} abc"),
    );
    write(root, CONFIG, &format!("{GOOD}{section}"));
    let checks = look(node).into_iter();
    let mut checks: Vec<_> = checks
        .filter(|check| check.status != Status::Ok || check.name == "containerd pauseless")
        .collect();
    checks.retain(|check| check.name != "install");
    checks
}

#[test]
fn one_that_is_right_is_ok() {
    let checks = said("v2.4.2", SECTION);
    assert_eq!(checks.len(), 1, "{checks:?}");
    assert_eq!(checks[0].status, Status::Ok, "{checks:?}");
    assert!(
        checks[0].message.contains("podhook-pauseless"),
        "{checks:?}"
    );
    // 2.3 knows no disable_pause_image_pull.
    let checks = said(
        "v2.3.7",
        &SECTION.replace("disable_pause_image_pull = true\n", ""),
    );
    assert_eq!(checks[0].status, Status::Ok, "{checks:?}");
    // The program's own path, and a program beside containerd.
    let path = SECTION.replace(
        "io.containerd.podhook.v1",
        "/usr/local/bin/containerd-shim-podhook-v1",
    );
    assert_eq!(said("v2.4.2", &path)[0].status, Status::Ok);
    let node = node();
    let at = |path: &str| node.path().join(path);
    let shim = "containerd-shim-podhook-v1";
    fs::create_dir(at("opt")).unwrap();
    fs::rename(at("usr/local/bin").join(shim), at("opt").join(shim)).unwrap();
    fs::remove_file(at("usr/bin/containerd")).unwrap();
    symlink("../../opt/containerd", at("usr/bin/containerd")).unwrap();
    let checks = said_of(&node, "v2.4.2", SECTION);
    let of_it = checks
        .iter()
        .find(|check| check.name == "containerd pauseless")
        .unwrap();
    assert_eq!(of_it.status, Status::Ok, "{checks:?}");
    assert!(said("v2.4.2", "").is_empty(), "nobody has asked for it");
}

#[test]
fn what_is_wrong_with_one_is_found() {
    let version = "v2.4.2";
    let kind = "runtime_type = 'io.containerd.podhook.v1'";
    let path = "runtime_path = '/usr/local/bin/containerd-shim-podhook-v1'";
    let cases = [
        (
            "v2.1.9",
            SECTION.to_owned(),
            Status::Fail,
            "containerd 2.1.9 cannot run",
        ),
        (
            version,
            SECTION.replace("sandboxer = 'shim'\n", ""),
            Status::Warn,
            "no sandboxer",
        ),
        (
            version,
            SECTION.replace("disable_pause_image_pull = true\n", ""),
            Status::Warn,
            "a pause image is pulled",
        ),
        (
            version,
            SECTION.replace(
                kind,
                &format!("runtime_type = 'io.containerd.runc.v2'\n{path}"),
            ),
            Status::Fail,
            "its pods do not start",
        ),
        (
            version,
            SECTION.replace(kind, &format!("{kind}\n{path}")),
            Status::Warn,
            "not used for its sandboxes",
        ),
        (
            version,
            SECTION.replace(
                "io.containerd.podhook.v1",
                "/opt/containerd-shim-podhook-v1",
            ),
            Status::Fail,
            "/opt/containerd-shim-podhook-v1, which is not there",
        ),
        (
            version,
            SECTION.replace(
                kind,
                &format!("options = {{SystemdCgroup = true, Root = ''}}\n{kind}"),
            ),
            Status::Warn,
            "has options (SystemdCgroup)",
        ),
        (
            version,
            SECTION.replace("container_annotations", "x"),
            Status::Fail,
            "container_annotations io.kubernetes.*",
        ),
        (
            version,
            SECTION.replace("podhook.v1", "kata.v2"),
            Status::Fail,
            "not podhook's",
        ),
    ];
    for (version, section, status, message) in cases {
        let checks = said(version, &section);
        assert_eq!(checks.len(), 1, "{message}: {checks:?}");
        assert_eq!(checks[0].status, status, "{checks:?}");
        assert!(checks[0].message.contains(message), "{message}: {checks:?}");
        assert!(checks[0].mend.is_some(), "{checks:?}");
    }
}

#[test]
fn one_that_was_installed_is_missed() {
    let node = node();
    write(node.path(), "var/lib/podhook/install/state.json", STATE);
    let checks = said_of(&node, "v2.4.2", "");
    assert_eq!(checks.len(), 1, "{checks:?}");
    assert!(
        checks[0].message.contains("no runtime podhook-pauseless"),
        "{checks:?}"
    );
    let mend = checks[0].mend.as_deref().unwrap();
    assert_eq!(mend, "podhook install --for containerd --pauseless");
}

#[test]
fn a_shim_that_no_path_leads_to_is_not_found_by_its_type() {
    let node = node();
    let shim = "usr/local/bin/containerd-shim-podhook-v1";
    let to = node.path().join("opt/containerd-shim-podhook-v1");
    fs::create_dir_all(node.path().join("opt")).unwrap();
    fs::rename(node.path().join(shim), to).unwrap();
    let section = SECTION.to_owned();
    let checks = said_of(&node, "v2.4.2", &section);
    let of_it = checks
        .iter()
        .find(|check| check.name == "containerd pauseless")
        .unwrap();
    assert_eq!(of_it.status, Status::Fail, "{of_it:?}");
    assert!(of_it.message.contains("in containerd's PATH"), "{of_it:?}");
}

/// One handler alone, with --runtime.
#[test]
fn the_pods_annotations_need_no_pattern() {
    let node = node();
    program(node.path(), "usr/bin/containerd", "containerd x v2.4.2 abc");
    let options = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podhook-pauseless.options]\nSystemdCgroup = true\n";
    write(
        node.path(),
        CONFIG,
        &format!("version = 3\n{SECTION}{options}"),
    );
    let root = Root::open(node.path()).unwrap();
    let path = node.path().to_str().unwrap();
    let words = [
        "podhook",
        "doctor",
        "--root",
        path,
        "--runtime",
        "podhook-pauseless",
    ];
    let Command::Doctor(args) = Cli::try_parse_from(words).unwrap().command else {
        panic!("another command");
    };
    let checks = checks(&root, &args, "podhook-pauseless");
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    write(
        node.path(),
        CONFIG,
        &format!("version = 3\n{}", SECTION.replace("sandboxer", "x")),
    );
    let checks = super::checks(&root, &args, "podhook-pauseless");
    let mends = checks.iter().filter_map(|check| check.mend.as_deref());
    let mut mends = mends.filter(|mend| mend.starts_with("podhook install --for"));
    assert!(
        mends.all(|mend| mend == "podhook install --for containerd --pauseless"),
        "{checks:?}"
    );
}
