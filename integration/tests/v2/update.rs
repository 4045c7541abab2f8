//! Resources that are changed while a container runs.

use std::fs;
use std::path::PathBuf;

use podhook_integration::command::stdout_of;
use podhook_integration::cri::v1;
use podhook_integration::suite::Test;
use podhook_integration::{Node, Outcome, driver, tests};

use crate::cgroup;
use crate::script::Error;

pub fn tests() -> Vec<Test> {
    tests![update:
        every_limit_changes_and_stays_after_a_reload_of_systemd,
    ]
}

fn limits() -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        cpuset_cpus: "0".to_owned(),
        memory_limit_in_bytes: 64 << 20,
        ..Default::default()
    }
}

/// The nearest of a cgroup and those above that has this value in a file; crun's limits are on either of two.
fn has(cgroup: &PathBuf, file: &str, value: &str) -> Result<bool, Error> {
    let parent = cgroup.parent().map(PathBuf::from).unwrap_or_default();
    Ok([cgroup, &parent]
        .iter()
        .any(|cgroup| cgroup::read(cgroup, file).is_ok_and(|text| text == value)))
}

fn every_limit_changes_and_stays_after_a_reload_of_systemd(node: &Node) -> Outcome {
    let pod = node.pod("update").run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let own = cgroup::of(cgroup::pid(node, &container)?)?;
    assert_eq!(cgroup::read(&own, "memory.max")?, "max");
    let request = v1::UpdateContainerResourcesRequest {
        container_id: container.id().to_owned(),
        linux: Some(limits()),
        ..Default::default()
    };
    node.containerd()
        .cri()?
        .update_container_resources(request)?;
    let weight = 1 + ((512 - 2) * 9999) / 262_142;
    let wanted = [
        ("memory.max", (64 << 20).to_string()),
        ("cpu.max", "50000 100000".to_owned()),
        ("cpu.weight", weight.to_string()),
        ("cpuset.cpus", "0".to_owned()),
    ];
    let check = |when: &str| -> Outcome {
        for (file, value) in &wanted {
            let is = fs::read_to_string(own.join(file)).unwrap_or_default();
            assert!(
                has(&own, file, value)?,
                "{when}: {file} is {is}, not {value}"
            );
        }
        Ok(())
    };
    check("after the update")?;
    if driver::is_systemd() {
        // It writes what it knows of its units again.
        stdout_of("systemctl", &["daemon-reload"])?;
        check("after a reload of systemd")?;
    }
    assert_eq!(container.exec(&["cat", "/proc/self/cgroup"])?, "0::/\n");
    Ok(())
}
