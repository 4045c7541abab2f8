//! A process of the engine cannot be told from one of the runtime's own exec.
//!
//! Every row is a container and a process in it; one probe program prints all that the process can see of
//! itself, once under the runtime's exec and once under the engine. What differs is listed in `accepted`,
//! with its reason, and a difference that is listed must be there. `docs/exec-equality.md` is the table.

mod accepted;
mod compare;
mod document;
mod inherited;
mod limits;
mod namespaces;
mod restrictions;
mod special;
#[path = "../support/mod.rs"]
mod support;
mod users;

use compare::Setup;
use support::runtime::Runtime;

/// One configuration.
struct Row {
    name: &'static str,
    /// For readers.
    title: &'static str,
    setup: fn(Runtime) -> Setup,
}

/// The table, and a test for each row with each runtime.
macro_rules! rows {
    ($($module:ident::$name:ident: $title:literal,)*) => {
        const ROWS: &[Row] = &[$(Row { name: stringify!($name), title: $title, setup: $module::$name }),*];
        rows!(@tests runc Runc $($name)*);
        rows!(@tests new_runc NewRunc $($name)*);
        rows!(@tests runc_1_4 Runc1_4 $($name)*);
        rows!(@tests runc_1_5 Runc1_5 $($name)*);
        rows!(@tests crun Crun $($name)*);
        rows!(@tests new_crun NewCrun $($name)*);
    };
    (@tests $module:ident $runtime:ident $($name:ident)*) => {
        mod $module {
            use super::{Runtime, compare};
            $(
                #[tokio::test]
                async fn $name() {
                    let test = concat!(stringify!($module), "::", stringify!($name));
                    compare::row(stringify!($name), Runtime::$runtime, test).await;
                }
            )*
        }
    };
}

rows! {
    users::root: "root with containerd's default capabilities",
    users::user_with_groups: "a user with additional groups (one twice) and no capabilities",
    users::user_without_passwd_entry: "a user without an entry in /etc/passwd",
    users::home_from_passwd: "HOME from /etc/passwd; an empty HOME in the environment",
    users::environment: "an environment with names that come twice",
    users::umask: "a umask of the container",
    users::another_user: "a process with user, groups, environment, cwd, capabilities and limits of its own",
    users::capabilities_dropped: "all capabilities dropped, root",
    users::capabilities_added: "capabilities added (SYS_ADMIN, NET_ADMIN, SYS_PTRACE)",
    users::capabilities_ambient: "ambient capabilities of a user",
    users::capabilities_inheritable: "inheritable capabilities without ambient ones",
    users::privileged: "all capabilities, nothing masked",
    restrictions::no_new_privileges: "no_new_privs",
    restrictions::seccomp_1_6: "the seccomp profile of containerd 1.6",
    restrictions::seccomp_2_1: "the seccomp profile of containerd 2.1",
    restrictions::seccomp_2_1_and_no_new_privileges: "the same with no_new_privs, a user",
    restrictions::seccomp_errno_and_kill: "seccomp: errno and kill rules, argument filters",
    restrictions::seccomp_log_and_trace: "seccomp: log and trace rules",
    restrictions::seccomp_flags: "seccomp: the flags LOG and SPEC_ALLOW",
    restrictions::seccomp_x86_and_x32: "seccomp: architectures x86-64, x86 and x32, everything else refused",
    restrictions::apparmor: "an AppArmor profile",
    restrictions::selinux: "an SELinux label",
    restrictions::read_only_root: "a read-only root file system",
    restrictions::masked_and_read_only_paths: "masked and read-only paths",
    limits::rlimits: "rlimits",
    limits::soft_nofile: "a soft limit of open files below the hard one",
    limits::oom_score: "oom_score_adj",
    limits::scheduler: "a scheduling policy (batch, nice 5)",
    limits::io_priority: "an I/O priority",
    limits::cpu_affinity: "a CPU affinity for execs",
    limits::personality: "the personality LINUX32",
    limits::resources: "limits of memory, processes and CPU",
    namespaces::user_namespace: "a user namespace",
    namespaces::host_network: "the host's network",
    namespaces::host_pid: "the host's pid namespace",
    namespaces::host_ipc: "the host's ipc and uts namespaces",
    namespaces::shared_pid: "namespaces of another container, pid among them",
    namespaces::private_cgroup: "a private cgroup namespace",
    namespaces::host_everything: "the host's namespaces but for mounts",
    namespaces::time: "a time namespace",
    special::cwd: "a working directory",
    special::cwd_of_root_only: "a working directory that only root may enter, a user",
    special::cwd_missing: "a working directory that is missing",
    special::cwd_not_permitted: "a working directory that root itself may not enter",
    special::terminal: "a terminal",
    special::terminal_of_a_user: "a terminal, a user",
    special::terminal_size: "a terminal of a given size",
    special::pipes: "pipes as stdio, a user",
    special::cwd_relative: "a relative working directory",
    special::cwd_empty: "no working directory",
    special::more_files_than_the_limit: "a limit of 64 open files, where the caller has 100 open; a terminal",
    special::few_files: "a limit of 24 open files, a user whose HOME is in /etc/passwd",
    users::large_ids: "a user, a group and additional groups of 2^31 and more",
    users::id_minus_one: "the user 4294967295",
    restrictions::seccomp_without_signal_calls: "seccomp: a profile that forbids rt_sigprocmask and prlimit64",
    limits::some_of_its_own: "a process with limits of its own, which are not all of the container's",
    inherited::everything: "all that the caller passes on off its default",
    inherited::user: "the same, ambient capabilities of a user",
    inherited::profile: "the same, the seccomp profile of containerd 2.1",
    inherited::on_a_terminal: "the same, a terminal",
    inherited::set_by_the_container: "the same, and what the container's configuration says against it",
    inherited::other_limits: "the same, and a process with limits of its own",
    special::program_missing: "a program that is not there",
    special::program_is_a_directory: "a directory as the program",
    special::program_not_executable: "a program that nobody may execute",
    users::capabilities_not_said: "nothing said of capabilities, root",
    users::capabilities_not_said_of_a_user: "nothing said of capabilities, a user",
    users::environment_empty: "no environment at all",
}
