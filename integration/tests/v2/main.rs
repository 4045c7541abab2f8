//! What counts where cgroup v2 is the only hierarchy: the machine of `make test-v2` runs these with both cgroup
//! drivers and both OCI runtimes (`PODHOOK_CGROUP_DRIVER`, `PODHOOK_OCI_RUNTIME`).

#[path = "../hooks/accounting.rs"]
mod accounting;
mod cgroup;
mod chaos;
mod clock;
mod crash;
#[path = "../parity/cri.rs"]
mod cri;
#[path = "../parity/ctr.rs"]
mod ctr;
mod delegated;
#[path = "../hooks/delete.rs"]
mod delete;
#[path = "../parity/exec.rs"]
mod exec;
mod exhaustion;
mod freezer;
#[path = "../hooks/hostile.rs"]
mod hostile;
#[path = "../hooks/kill.rs"]
mod kill;
mod labels;
mod leaf;
mod oom;
mod options;
#[path = "../hooks/process.rs"]
mod process;
#[path = "../hooks/recorded.rs"]
mod recorded;
mod reload;
#[path = "../hooks/script.rs"]
#[allow(dead_code)]
mod script;
mod statistics;
#[path = "../hooks/tree.rs"]
mod tree;
#[path = "../hooks/tutorial.rs"]
mod tutorial;
mod update;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use podhook_integration::suite::{Test, podhook_only, run_with_threads};

/// All of this suite's own, and of the other suites what cgroups have a part in.
const CHOSEN: &[&str] = &[
    "chaos::",
    "clock::",
    "crash::",
    "delete::",
    "delegated::",
    "exhaustion::",
    "freezer::",
    "hostile::a_program_that_leads_to_the_shim",
    "labels::",
    "leaf::",
    "oom::",
    "options::",
    "reload::",
    "statistics::",
    "update::",
    "accounting::",
    "tree::",
    "process::a_hook_is_as_the_containers_own_process",
    "process::a_cri_hook_is_as_the_containers_own_process",
    "kill::sigkill_ends_hook_and_container_at_once",
    "kill::a_paused_container_gets_the_signal_without_the_hook",
    "tutorial::nginx",
    "ctr::kill_all_ends_execs_too",
    "ctr::a_paused_task_stands_still",
    "ctr::metrics_count_the_tasks_memory",
    "ctr::ps_lists_the_tasks_processes",
    "exec::exec_is_inside_the_container",
    "exec::a_missing_program_fails_the_exec_only",
    "exec::the_end_of_init_ends_execs",
    "cri::stats_count_the_containers_own_use",
    "cri::limits_can_be_changed_while_it_runs",
    "cri::a_container_beyond_its_memory_limit_is_oom_killed",
    "cri::stopping_the_pod_ends_all_containers",
];

/// Fewer of them: the beginnings of names.
const ONLY: &str = "PODHOOK_ONLY";

/// More than cores: they wait for each other's containers.
const THREADS: usize = 3;

fn main() -> ExitCode {
    if !Path::new("/sys/fs/cgroup/memory.stat").exists() {
        eprintln!("error: cgroup v2 is not the only hierarchy here: run `make test-v2`");
        return ExitCode::from(2);
    }
    if env::var_os("PODHOOK_MATRIX").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { env::set_var("PODHOOK_MATRIX", "1.6/podhook 1.6/runc") };
    }
    let hooks = [
        tutorial::tests(),
        chaos::tests(),
        clock::tests(),
        crash::tests(),
        delete::tests(),
        delegated::tests(),
        exhaustion::tests(),
        hostile::tests(),
        leaf::tests(),
        options::tests(),
        reload::tests(),
        statistics::tests(),
        accounting::tests(),
        tree::tests(),
        kill::tests(),
        labels::hooks(),
        process::tests(),
    ];
    let parity = [
        freezer::tests(),
        labels::parity(),
        oom::tests(),
        update::tests(),
        cri::tests(),
        ctr::tests(),
        exec::tests(),
    ];
    let mut tests = podhook_only(hooks.concat());
    tests.extend(parity.concat());
    tests.retain(|test| begins(test, CHOSEN.iter().copied()));
    if let Ok(only) = env::var(ONLY)
        && !only.is_empty()
    {
        tests.retain(|test| begins(test, only.split(' ')));
    }
    run_with_threads(tests, THREADS)
}

fn begins<'a>(test: &Test, with: impl IntoIterator<Item = &'a str>) -> bool {
    with.into_iter().any(|start| test.name.starts_with(start))
}
