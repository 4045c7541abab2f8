//! The labels of the holder and of the pod's files, on a kernel with SELinux.

use std::fs;
use std::path::Path;

use podhook_integration::cri::v1;
use podhook_integration::{Outcome, command};
use serde_json::json;

use super::{ID, Pod, config};
use crate::labels::{KERNEL, LABEL, load};
use crate::stage::{Failure, Stage};
use crate::{Test, tests, unless};

/// What a policy's files say: its name, and by that the labels of containers.
const NAMED: &str = "/etc/selinux/config";
const NAME: &str = "SELINUXTYPE=podhook-test\n";
const FOLDER: &str = "/etc/selinux/podhook-test/contexts";
const CONTEXTS: &str = "process = \"system_u:system_r:container_t:s0\"\n";
/// The label of the files that the container may write.
const FILES: &str = "system_u:object_r:container_file_t:s0:c0,c1";

pub fn tests() -> Vec<Test> {
    unless(
        tests![labels: the_holder_and_the_pods_files_have_the_selinux_labels_of_the_pod],
        |_| {
            if !Path::new(KERNEL).exists() {
                return Some("SELinux is off");
            }
            let other = fs::read_to_string(NAMED).is_ok_and(|text| text != NAME);
            other.then_some("this machine has a policy of its own")
        },
    )
}

fn label_of(pid: i32) -> Result<String, Failure> {
    let label = fs::read_to_string(format!("/proc/{pid}/attr/current"))?;
    Ok(label.trim_end_matches(['\0', '\n']).to_owned())
}

fn the_holder_and_the_pods_files_have_the_selinux_labels_of_the_pod(stage: &Stage) -> Outcome {
    load(stage)?;
    fs::create_dir_all(FOLDER)?;
    fs::write(Path::new(FOLDER).join("lxc_contexts"), CONTEXTS)?;
    fs::write(NAMED, NAME)?;
    for (level, label) in [
        ("", "system_u:system_r:container_t:s0"),
        ("s0:c0,c1", LABEL),
    ] {
        let mut config = config();
        let linux = config.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        security.selinux_options = Some(v1::SeLinuxOption {
            level: level.to_owned(),
            ..Default::default()
        });
        let (pod, holder) = Pod::run(stage, &config, "")?;
        assert_eq!(label_of(holder)?, label);
        // The container's are in its specification: CRI words them.
        let mut spec = stage.spec("c1", &["sleep", "600"]);
        spec.0["process"]["selinuxLabel"] = json!(LABEL);
        spec.0["linux"]["mountLabel"] = json!(FILES);
        let container = pod.container(stage, "c1", &spec)?;
        assert_eq!(label_of(container)?, LABEL);
        for file in ["etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/shm"] {
            let path = format!("/proc/{container}/root/{file}");
            let seen = command::stdout_of("stat", &["--format=%C", &path])?;
            assert_eq!(seen.trim(), FILES, "{file}");
        }
        pod.tasks.end("c1")?;
        pod.end(stage)?;
        for id in ["c1", ID] {
            fs::remove_dir_all(stage.bundle(id))?;
        }
    }
    Ok(())
}
