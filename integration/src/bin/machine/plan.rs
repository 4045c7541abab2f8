//! What runs in the machine.

use podhook_integration::generation::repository;

use crate::Error;
use crate::programs::Programs;

/// One program with its environment.
pub struct Run {
    /// The first word of its tests' names.
    pub name: &'static str,
    /// The target that cargo built.
    pub program: &'static str,
    arguments: &'static str,
    environment: &'static str,
    /// The node's configuration file of podhook, if it has one.
    configuration: Option<&'static str>,
}

const fn run(name: &'static str, program: &'static str, arguments: &'static str) -> Run {
    Run {
        name,
        program,
        arguments,
        environment: "",
        configuration: None,
    }
}

const fn suite(name: &'static str, environment: &'static str, arguments: &'static str) -> Run {
    Run {
        environment,
        ..run(name, "v2", arguments)
    }
}

/// All runs, in their order.
pub fn runs() -> Vec<Run> {
    vec![
        // What most nodes have first, and everything with it.
        suite(
            "systemd/runc",
            "PODHOOK_CGROUP_DRIVER=systemd PODHOOK_MATRIX='1.6/podhook 1.6/runc'",
            "",
        ),
        suite(
            "cgroupfs/runc",
            "PODHOOK_MATRIX='1.6/podhook 1.6/runc'",
            "--skip tutorial:: --skip exec:: --skip ctr::run_rm --skip cris --skip cri::st",
        ),
        suite(
            "systemd/crun",
            "PODHOOK_CGROUP_DRIVER=systemd PODHOOK_OCI_RUNTIME=crun PODHOOK_MATRIX=1.6/podhook",
            "--skip tutorial:: --skip exec::exec_gives --skip ctr::a_missing --skip ctr::run_rm --skip cris",
        ),
        suite(
            "cgroupfs/crun",
            "PODHOOK_OCI_RUNTIME=crun PODHOOK_MATRIX=1.6/podhook",
            "--skip tutorial:: --skip ctr:: --skip cri:: --skip cri --skip exec:: --skip cpu",
        ),
        Run {
            configuration: Some("exec = \"runtime\"\n"),
            ..suite(
                "runtime-exec",
                "PODHOOK_CGROUP_DRIVER=systemd PODHOOK_MATRIX=1.6/podhook",
                "exec::",
            )
        },
        run("shim", "containerd-shim-podhook-v1", "cgroup:: --skip v1_"),
        run(
            "hooks",
            "podhook_hooks",
            "exec::leaf exec::tree exec::cgroup --skip v1_",
        ),
        Run {
            // Each test would make a mount namespace with cgroup v2 only: it is in one.
            environment: "PODHOOK_TEST_CGROUP_V2=1",
            ..run("hooks", "exec_cgroup_v2", "")
        },
        // The others write to the files of cgroup v1.
        run(
            "hooks",
            "exec_handler",
            "--skip frozen --skip storm --skip cpu_time --skip eats_the_memory",
        ),
    ]
}

/// What of `runs` a filter means, and what of their tests: `oom::` of all, or a test as it is printed, with
/// its run: `systemd/runc/1.6.20/podhook/oom::`.
pub fn choose(runs: Vec<Run>, filter: &str) -> (Vec<Run>, String) {
    let of_run = |run: &Run| {
        filter
            .strip_prefix(run.name)?
            .strip_prefix('/')
            .map(str::to_owned)
    };
    match runs.iter().find_map(of_run) {
        Some(rest) => {
            let chosen = runs.into_iter().filter(|run| of_run(run).is_some());
            (chosen.collect(), rest)
        }
        None => (runs, filter.to_owned()),
    }
}

/// The shell script that the machine starts.
pub fn program(runs: &[Run], programs: &Programs, filter: Option<&str>) -> Result<String, Error> {
    let repository = repository();
    let repository = repository.display();
    let mut script = format!(
        "#!/bin/sh\nmkdir -p {repository}\nmount --bind /mnt/disk/tree{repository} {repository}\ncd {repository}\n\
         export PODHOOK_TIME_SCALE=10\n\
         mkdir -p /etc/podhook\n"
    );
    for run in runs {
        let path = programs.tests.get(run.program);
        let path = path.ok_or_else(|| format!("cargo built no {}", run.program))?;
        let arguments = filter
            .filter(|filter| !filter.is_empty())
            .unwrap_or(run.arguments);
        let configuration = run.configuration.unwrap_or_default();
        script += &format!(
            "echo '#begin {name}'\nprintf '%s' '{configuration}' > /etc/podhook/config.toml\n\
             env {environment} {path} --color=never --test-threads=3 {arguments}\necho \"#end {name} $?\"\n",
            name = run.name,
            environment = run.environment,
            path = path.display(),
        );
    }
    script += "echo '#over'\n";
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::{choose, runs};

    #[test]
    fn a_tests_printed_name_is_a_filter() {
        let (chosen, filter) = choose(runs(), "cgroupfs/crun/1.6.20/podhook/oom::");
        assert_eq!(
            chosen.iter().map(|run| run.name).collect::<Vec<_>>(),
            ["cgroupfs/crun"]
        );
        assert_eq!(filter, "1.6.20/podhook/oom::");
        let (chosen, filter) = choose(runs(), "oom::");
        assert_eq!((chosen.len(), filter.as_str()), (runs().len(), "oom::"));
    }
}
