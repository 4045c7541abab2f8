//! What the numbers were taken on.

use std::path::Path;
use std::{fs, thread};

use podhook_integration::Containerd;
use podhook_integration::command::stdout_of;

/// Prints the machine, the programs, and how busy it is.
pub fn print(containerd: &Containerd) {
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
    let version = |program| {
        let text = stdout_of(program, &["--version"]).unwrap_or_default();
        let first = text.lines().next().unwrap_or("not installed");
        first.replace(" version", "")
    };
    println!(
        "{} x {model}, Linux {}, cgroup {cgroups}",
        thread::available_parallelism().map_or(0, usize::from),
        read("/proc/sys/kernel/osrelease").trim(),
    );
    println!(
        "containerd {}, {}, {}",
        containerd.version(),
        version("runc"),
        version("crun"),
    );
    print_load("before");
    if cfg!(debug_assertions) {
        println!("A debug build: compare nothing with it. `make bench` builds an optimised one.");
    }
}

/// Prints how busy the machine is: other work shows in every time below.
pub fn print_load(when: &str) {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<_> = text.split(' ').take(3).collect();
    println!("load average {when}: {}", load.join(" "));
}
