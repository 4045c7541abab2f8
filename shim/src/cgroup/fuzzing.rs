//! The files of cgroups and of `/proc` that are read here, for `fuzz/`.

use std::fs;
use std::path::Path;

use containerd_shim_protos::protobuf::Message;

use super::locate::{self, Hierarchies};
use super::{HostFiles, processes, v1, v2};

const FILES: [&str; 20] = [
    "cpu.stat",
    "cpu.pressure",
    "memory.stat",
    "memory.current",
    "memory.max",
    "memory.events",
    "io.stat",
    "io.pressure",
    "pids.current",
    "pids.max",
    "rdma.current",
    "rdma.max",
    "hugetlb.2MB.current",
    "cgroup.procs",
    "cpuacct.usage_percpu",
    "cpuacct.stat",
    "memory.oom_control",
    "memory.usage_in_bytes",
    "blkio.throttle.io_service_bytes_recursive",
    "partitions",
];

/// Files, one after the other, each ended by a byte that is never in text.
fn files(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|byte| *byte == 0xff)
}

/// The statistics of a cgroup with these files, in both hierarchies.
pub fn cgroup_files(input: &[u8]) {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let dir = folder.path();
    for (name, content) in FILES.iter().zip(files(input)) {
        fs::write(dir.join(name), content).expect("a file");
    }
    fs::create_dir_all(dir.join("kernel/mm/hugepages/hugepages-2048kB")).expect("a folder");
    let host = || HostFiles {
        proc: dir,
        sys: dir,
    };
    if let Ok(metrics) = v2::metrics(dir, host()) {
        metrics.write_to_bytes().expect("a message");
    }
    let names = [
        "cpu", "cpuacct", "memory", "pids", "blkio", "rdma", "hugetlb",
    ];
    let hierarchies = Hierarchies {
        v1: vec![(names.map(Box::from).into(), dir.to_owned())],
        unified: None,
    };
    if let Ok(metrics) = v1::metrics(&hierarchies, host()) {
        metrics.write_to_bytes().expect("a message");
    }
    let _ = processes::list_all(dir);
}

/// Where the cgroups of a process are: its `cgroup` and `stat`, and this process's `mountinfo`.
pub fn memberships(input: &[u8]) {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let dir = folder.path();
    for name in ["1", "self"] {
        fs::create_dir(dir.join(name)).expect("a folder");
    }
    let names = ["1/cgroup", "1/stat", "self/mountinfo"];
    for (name, content) in names.iter().zip(files(input)) {
        fs::write(dir.join(name), content).expect("a file");
    }
    if let Ok(layout) = locate::of_pid(dir, 1) {
        let inside = |dir: &Path| assert!(dir.is_absolute() || dir.as_os_str().is_empty());
        match layout {
            locate::Layout::V1(found) => found.v1.iter().for_each(|(_, dir)| inside(dir)),
            locate::Layout::V2(dir) => inside(&dir),
        }
    }
}
