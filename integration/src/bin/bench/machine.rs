//! What the numbers were taken on.

use std::path::Path;
use std::{fs, thread};

/// The machine, line by line.
#[must_use]
pub fn lines() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "))
        .map_or("CPU", |(_, model)| model);
    let cgroups = match Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
        true => "v2".to_owned(),
        false => format!(
            "v1, {} hierarchies",
            read("/proc/self/cgroup").lines().count()
        ),
    };
    let mut lines = vec![format!(
        "{} × {model}, Linux {}, cgroup {cgroups}",
        thread::available_parallelism().map_or(0, usize::from),
        read("/proc/sys/kernel/osrelease").trim(),
    )];
    if cfg!(debug_assertions) {
        lines.push(
            "A debug build: compare nothing with it. `make bench` builds an optimised one."
                .to_owned(),
        );
    }
    lines
}

/// How busy the machine is: other work shows in every time.
#[must_use]
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<_> = text.split(' ').take(3).collect();
    load.join(" ")
}
