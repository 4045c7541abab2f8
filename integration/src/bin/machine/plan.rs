//! What runs in the machine.

use std::env;

use podhook_integration::again::AGAIN;
use podhook_integration::generation::repository;
use podhook_integration::shim::built;
use podhook_integration::suite::AT_ONCE;

use crate::Error;
use crate::programs::Programs;
use crate::qemu::NUMBER;

/// More than processors: tests wait for their containers.
const THREADS: usize = 2;

/// One program with its environment.
pub struct Run {
    /// The first word of its tests' names.
    pub name: &'static str,
    /// The target that cargo built.
    pub program: &'static str,
    arguments: &'static str,
    environment: &'static str,
    /// The beginnings of the suite's tests that run, where not all do.
    only: &'static [&'static str],
    /// The node's configuration file of podhook, if it has one.
    configuration: Option<&'static str>,
    /// Tests at a time.
    pub threads: usize,
}

/// A program without an environment of its own.
pub const fn run(name: &'static str, program: &'static str, arguments: &'static str) -> Run {
    Run {
        name,
        program,
        arguments,
        environment: "",
        only: &[],
        configuration: None,
        threads: THREADS,
    }
}

const fn suite(
    name: &'static str,
    environment: &'static str,
    only: &'static [&'static str],
) -> Run {
    Run {
        environment,
        only,
        ..run(name, "v2", "")
    }
}

/// What the original does, too: a test that it fails would be one of this suite. It loses an OOM kill where systemd
/// removes the counter first (`cri::a_container_beyond_its_memory_limit_is_oom_killed`).
const ORIGINAL: &[&str] = &[
    "freezer::",
    "oom::",
    "update::",
    "cri::l",
    "cri::st",
    "ctr::kill_all",
    "ctr::metrics",
    "exec::exec_is",
];

/// What the cgroup driver has a part in.
const DRIVER: &[&str] = &[
    "accounting::a_hook",
    "chaos::",
    "crash::",
    "delegated::",
    "freezer::",
    "leaf::",
    "oom::",
    "options::",
    "statistics::",
    "update::",
    "cri::a_container_beyond",
    "tree::an_aborted",
];

/// What the OCI runtime has a part in: where it puts the container, and with which limits. Not what is left of a
/// shim that was killed: crun under systemd needs too much of the 5 s that containerd gives here.
const RUNTIME: &[&str] = &[
    "accounting::a_hooks_cpu_time_is_in_the",
    "freezer::pause",
    "leaf::a_hook_is",
    "oom::an_oom_kill_is",
    "statistics::",
    "update::",
];

/// What a pod without a pause container has a part in: where its cgroups are, who counts in them, what is left. Not what is left
/// of a shim that was killed: beside another machine `delete` needs too much of the 5 s that containerd gives.
const PAUSELESS: &[&str] = &[
    "cri::a_container_beyond",
    "chaos::a_pod_leaves_nothing_whose_holder",
    "chaos::a_pod_leaves_nothing_whose_containerd",
    "chaos::a_pod_leaves_nothing_whose_client",
    "hostile::",
    "leaf::a_hook_finds_the_limits",
    "leaf::what_a_pods_hook",
];

/// The same with the other cgroup driver.
const PAUSELESS_DRIVER: &[&str] = &["cri::a_container_beyond", "cri::stopping"];

/// The machines with a security module, by their number: it is chosen when the kernel starts, and changes what every
/// container is.
const APPARMOR: usize = 2;
const SELINUX: usize = 3;
/// The machine whose clock is set in the end.
const CLOCK: usize = 4;
/// The machine with the crates' own tests.
const PARTS: usize = 5;

/// The parameters of a machine's kernel that choose its security module, and the version of its cgroups: the second, but in the
/// machine with SELinux, whose labels do not depend on it. SELinux is permissive: the labels count.
pub fn security(number: usize) -> &'static str {
    match number {
        APPARMOR => "apparmor=1 selinux=0 security=apparmor cgroup_no_v1=all",
        SELINUX => {
            "apparmor=0 selinux=1 security=selinux enforcing=0 systemd.unified_cgroup_hierarchy=0"
        }
        _ => "apparmor=0 selinux=0 cgroup_no_v1=all",
    }
}

/// The tests of those machines.
const LABELS: &str = "labels::";

/// The machines by their number, in the order of their start, the longest first: each with its runs in their order.
pub fn machines() -> Vec<(usize, Vec<Run>)> {
    vec![
        (
            0,
            // What most nodes have, and everything with it.
            vec![suite(
                "systemd/runc",
                "PODHOOK_CGROUP_DRIVER=systemd PODHOOK_MATRIX=1.6/podhook",
                &[],
            )],
        ),
        (
            1,
            vec![
                suite(
                    "systemd/runc",
                    "PODHOOK_CGROUP_DRIVER=systemd PODHOOK_MATRIX=1.6/runc",
                    ORIGINAL,
                ),
                suite("cgroupfs/runc", "PODHOOK_MATRIX=1.6/podhook", DRIVER),
            ],
        ),
        (
            PARTS,
            vec![
                suite(
                    "systemd/crun",
                    "PODHOOK_CGROUP_DRIVER=systemd PODHOOK_OCI_RUNTIME=crun PODHOOK_MATRIX=1.6/podhook",
                    RUNTIME,
                ),
                run("shim", "containerd_shim_podhook_v1", "cgroup:: --skip v1_"),
                run(
                    "hooks",
                    "podhook_hooks",
                    "exec::tree linux::cgroup --skip v1_",
                ),
                run("hooks", "exec_cgroup_v2", ""),
                // The others are about cgroup v1 beside v2.
                run("hooks", "exec_leaf", "--skip v1 --skip threaded_child"),
                run("hooks", "exec_handler", ""),
                run("hooks", "exec_full", ""),
                run("protocol", "protocol", "podhook/given_up::"),
                run("protocol", "protocol", "podhook/stdio::stdio_that_nobody"),
                // What a filter refuses has nothing to do with cgroups, and takes long.
                run(
                    "protocol",
                    "protocol",
                    "podhook/sandbox:: --skip refused::a_call",
                ),
                run(
                    "protocol",
                    "protocol",
                    "podhook/direct:: --skip of_any_tested_version",
                ),
                run(
                    "protocol",
                    "protocol",
                    "podhook/crun:: --skip of_any_tested_version",
                ),
            ],
        ),
        (
            CLOCK,
            vec![
                suite(
                    "systemd/pauseless",
                    "PODHOOK_CGROUP_DRIVER=systemd PODHOOK_MATRIX=2.4/podhook-pauseless",
                    PAUSELESS,
                ),
                suite(
                    "cgroupfs/pauseless",
                    "PODHOOK_MATRIX=2.4/podhook-pauseless",
                    PAUSELESS_DRIVER,
                ),
                suite(
                    "cgroupfs/crun",
                    "PODHOOK_OCI_RUNTIME=crun PODHOOK_MATRIX=1.6/podhook",
                    RUNTIME,
                ),
                Run {
                    configuration: Some("exec = \"runtime\"\n"),
                    ..suite(
                        "runtime-exec",
                        "PODHOOK_CGROUP_DRIVER=systemd PODHOOK_MATRIX=1.6/podhook",
                        &["exec::"],
                    )
                },
                // By itself: the wall clock jumps.
                suite(
                    "clock",
                    "PODHOOK_SETS_CLOCK=1 PODHOOK_CGROUP_DRIVER=systemd PODHOOK_MATRIX=1.6/podhook",
                    &["clock::"],
                ),
            ],
        ),
        (
            APPARMOR,
            vec![
                suite(
                    "apparmor",
                    "PODHOOK_CGROUP_DRIVER=systemd PODHOOK_MATRIX='1.6/podhook 1.6/runc'",
                    &[LABELS],
                ),
                run("protocol", "protocol", LABELS),
            ],
        ),
        (
            SELINUX,
            vec![
                run("selinux", "protocol", LABELS),
                // systemd with the hierarchies of version 1.
                run("hybrid", "protocol", "podhook/sandbox::a_pod"),
            ],
        ),
    ]
}

/// What of the machines' runs a filter means, and what of their tests: `oom::` of all, or a test as it is printed,
/// with its run: `systemd/runc/1.6.20/podhook/oom::`.
pub fn choose(machines: Vec<(usize, Vec<Run>)>, filter: &str) -> (Vec<(usize, Vec<Run>)>, String) {
    let of_run = |run: &Run| {
        filter
            .strip_prefix(run.name)?
            .strip_prefix('/')
            .map(str::to_owned)
    };
    let mut runs = machines.iter().flat_map(|(_, runs)| runs);
    let Some(rest) = runs.find_map(of_run) else {
        // The machines with a security module have no other tests, and these are nowhere else.
        let labels = filter.starts_with(LABELS);
        let has = |number| matches!(number, APPARMOR | SELINUX);
        let chosen = machines.into_iter();
        let chosen = chosen.filter(|(number, _)| has(*number) == labels);
        return (chosen.collect(), filter.to_owned());
    };
    let chosen = machines.into_iter().filter_map(|(number, runs)| {
        let runs: Vec<_> = runs
            .into_iter()
            .filter(|run| of_run(run).is_some())
            .collect();
        (!runs.is_empty()).then_some((number, runs))
    });
    (chosen.collect(), rest)
}

/// The script that every machine starts: that of its number.
pub fn dispatcher() -> String {
    format!(
        "#!/bin/sh\nnumber=$(sed 's/.*{NUMBER}=//; s/ .*//' /proc/cmdline)\nexec /mnt/disk/program-$number\n"
    )
}

/// The script of one machine.
pub fn program(runs: &[Run], programs: &Programs, filter: Option<&str>) -> Result<String, Error> {
    let repository = repository();
    // Elsewhere with CARGO_TARGET_DIR.
    let target = Some(built("")).filter(|target| !target.starts_with(&repository));
    let mut script = "#!/bin/sh\n".to_owned();
    for folder in [&repository].into_iter().chain(&target) {
        let folder = folder.display();
        script += &format!("mkdir -p {folder}\nmount --bind /mnt/disk/tree{folder} {folder}\n");
    }
    script += &format!(
        "cd {}\nexport PODHOOK_TIME_SCALE=10 {AT_ONCE}=1 {AGAIN}={again}\nmkdir -p /etc/podhook\n",
        repository.display(),
        again = env::var(AGAIN).unwrap_or_default()
    );
    for run in runs {
        let path = programs.tests.get(run.program);
        let path = path.ok_or_else(|| format!("cargo built no {}", run.program))?;
        let filter = filter.filter(|filter| !filter.is_empty());
        let arguments = filter.unwrap_or(run.arguments);
        // Who names tests means all that have the name.
        let only = if filter.is_none() { run.only } else { &[] };
        let configuration = run.configuration.unwrap_or_default();
        script += &format!(
            "echo '#begin {name}'\nprintf '%s' '{configuration}' > /etc/podhook/config.toml\n\
             env {environment} PODHOOK_ONLY='{only}' {path} --color=never --test-threads={threads} {arguments}\n\
             echo \"#end {name} $?\"\n",
            name = run.name,
            environment = run.environment,
            only = only.join(" "),
            threads = run.threads,
            path = path.display(),
        );
    }
    script += "echo '#over'\n";
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::{CLOCK, choose, machines};

    #[test]
    fn a_tests_printed_name_is_a_filter() {
        let (chosen, filter) = choose(machines(), "cgroupfs/crun/1.6.20/podhook/oom::");
        let names: Vec<_> = chosen
            .iter()
            .flat_map(|(number, runs)| runs.iter().map(move |run| (*number, run.name)))
            .collect();
        assert_eq!(names, [(CLOCK, "cgroupfs/crun")]);
        assert_eq!(filter, "1.6.20/podhook/oom::");
        let (chosen, filter) = choose(machines(), "oom::");
        assert_eq!((chosen.len(), filter.as_str()), (4, "oom::"));
        let (chosen, _) = choose(machines(), "labels::");
        let names = chosen.iter().flat_map(|(_, runs)| runs);
        assert_eq!(
            names.map(|run| run.name).collect::<Vec<_>>(),
            ["apparmor", "protocol", "selinux", "hybrid"]
        );
    }
}
