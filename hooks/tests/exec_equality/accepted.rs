//! What may differ, and why.

use crate::support::runtime::Runtime;

/// Keys of the probe that differ between any two processes, and the reason.
pub const VOLATILE: &[(&[&str], &str)] = &[
    (
        &[
            "status/VmPeak",
            "status/VmSize",
            "status/VmHWM",
            "status/VmRSS",
            "status/RssAnon",
            "status/RssFile",
            "status/RssShmem",
            "status/VmData",
            "status/VmStk",
            "status/VmPTE",
        ],
        "memory in use at that moment",
    ),
    (
        &[
            "status/voluntary_ctxt_switches",
            "status/nonvoluntary_ctxt_switches",
        ],
        "context switches until now",
    ),
    (
        &["status/SigQ"],
        "signals queued for the user by all its processes",
    ),
    (
        &["status/FDSize"],
        "the room in the table of open files (not what is in it): the kernel copies it from whoever forks, \
         64 or the next power of two above the number of files the shim has open",
    ),
    (
        &["autogroup/0"],
        "the number of the session's scheduling group",
    ),
];

/// A difference that is accepted.
pub struct Accepted {
    /// Keys of the probe, or their beginnings.
    pub keys: &'static [&'static str],
    pub runtimes: &'static [Runtime],
    /// The rows where it is seen.
    pub rows: Rows,
    /// At times it is not seen.
    pub by_chance: bool,
    pub why: &'static str,
}

/// Some rows of the table.
pub enum Rows {
    Only(&'static [&'static str]),
    But(&'static [&'static str]),
}

impl Accepted {
    pub fn covers(&self, key: &str) -> bool {
        self.keys.iter().any(|accepted| key.starts_with(accepted))
    }

    fn applies(&self, row: &str, runtime: Runtime) -> bool {
        self.runtimes.contains(&runtime)
            && match self.rows {
                Rows::Only(rows) => rows.contains(&row),
                Rows::But(rows) => !rows.contains(&row),
            }
    }
}

/// Of one row with one runtime: numbers as in the document, and what they stand for.
pub fn of(row: &str, runtime: Runtime) -> Vec<(usize, &'static Accepted)> {
    (1..)
        .zip(ACCEPTED)
        .filter(|(_, accepted)| accepted.applies(row, runtime))
        .collect()
}

/// Rows with a terminal.
const TERMINALS: &[&str] = &[
    "terminal",
    "terminal_of_a_user",
    "terminal_size",
    "more_files_than_the_limit",
    "on_a_terminal",
];

/// Rows with all that is inherited off its default.
const INHERITED: &[&str] = &[
    "everything",
    "user",
    "profile",
    "on_a_terminal",
    "set_by_the_container",
    "other_limits",
];

use Runtime::{Crun, NewCrun, NewRunc, Runc, Runc1_4, Runc1_5};

pub const ACCEPTED: &[Accepted] = &[
    Accepted {
        keys: &["keyring/session"],
        runtimes: &[Crun, NewCrun],
        rows: Rows::But(&[
            "seccomp_1_6",
            "seccomp_2_1",
            "seccomp_2_1_and_no_new_privileges",
            "seccomp_errno_and_kill",
            "seccomp_x86_and_x32",
            "profile",
        ]),
        by_chance: false,
        why: "crun's exec joins no session keyring: the process has the one of whoever called crun, on a node \
              the user's session keyring of the host. The engine gives it one of the container's own, \
              `_ses.ID`, as runc does: keys of the host do not belong into a container. (Where the profile \
              forbids keyctl, nothing of it is seen.)",
    },
    Accepted {
        keys: &["keyring/session"],
        runtimes: &[Runc, NewRunc, Runc1_4, Runc1_5],
        rows: Rows::Only(&["user_namespace"]),
        by_chance: false,
        why: "The serial number alone: in a user namespace each `runc exec` makes a new keyring of that name, \
              and so does the engine.",
    },
    Accepted {
        keys: &[
            "pgid",
            "sid",
            "stat/5",
            "stat/6",
            "status/NSpgid",
            "status/NSsid",
        ],
        runtimes: &[Crun],
        rows: Rows::But(TERMINALS),
        by_chance: false,
        why: "crun 1.8 leaves a process without a terminal in its caller's session and process group, which \
              the container sees as 0. The engine makes a session of its own, as runc and newer crun do.",
    },
    Accepted {
        keys: &["fd/0/stat", "fd/1/stat", "fd/2/stat"],
        runtimes: &[Crun, NewCrun],
        rows: Rows::Only(&[
            "user_with_groups",
            "user_without_passwd_entry",
            "home_from_passwd",
            "another_user",
            "capabilities_ambient",
            "capabilities_not_said_of_a_user",
            "seccomp_2_1_and_no_new_privileges",
            "cwd_of_root_only",
            "pipes",
            "user",
            "large_ids",
            "few_files",
        ]),
        by_chance: false,
        why: "crun gives stdio to the process's group as well as to its user. The engine changes the user \
              alone, as runc does; that is enough to open it again.",
    },
    Accepted {
        keys: &["env/"],
        runtimes: &[Crun, NewCrun],
        rows: Rows::Only(&["home_from_passwd", "few_files"]),
        by_chance: false,
        why: "crun leaves an empty HOME as it is. The engine fills it in, as runc does.",
    },
    Accepted {
        keys: &["env/"],
        runtimes: &[Crun],
        rows: Rows::Only(&["user_without_passwd_entry", "large_ids"]),
        by_chance: false,
        why: "crun 1.8 sets no HOME for a user without an entry in /etc/passwd. The engine sets `/`, as runc \
              and newer crun do.",
    },
    Accepted {
        keys: &["groups", "status/Groups"],
        runtimes: &[Runc],
        rows: Rows::Only(&["user_with_groups"]),
        by_chance: false,
        why: "runc 1.1 drops a group that is listed twice. The engine keeps it, as runc 1.3 and crun do.",
    },
    Accepted {
        keys: &["oom_score_adj/", "oom_adj/"],
        runtimes: &[Crun, NewCrun],
        rows: Rows::Only(&["oom_score", "set_by_the_container"]),
        by_chance: false,
        why: "crun's exec leaves the score as its caller has it. The engine applies the container's, as runc \
              does: without it a process in the container would be spared where the container itself is not.",
    },
    Accepted {
        keys: &["umask", "status/Umask"],
        runtimes: &[Runc],
        rows: Rows::Only(&["umask", "set_by_the_container"]),
        by_chance: false,
        why: "runc 1.1 forgets the umask at exec. The engine applies it, as runc 1.3 and crun do.",
    },
    Accepted {
        keys: &["sched/", "stat/18", "stat/19", "stat/41", "nice"],
        runtimes: &[Runc, Crun],
        rows: Rows::Only(&["scheduler"]),
        by_chance: false,
        why: "Older than `process.scheduler`. The engine applies it, as runc 1.3 does.",
    },
    Accepted {
        keys: &["ioprio"],
        runtimes: &[Runc, Crun],
        rows: Rows::Only(&["io_priority", "set_by_the_container"]),
        by_chance: false,
        why: "Older than `process.ioPriority`. The engine applies it, as runc 1.3 and newer crun do.",
    },
    Accepted {
        keys: &["sched/affinity", "status/Cpus_allowed"],
        runtimes: &[Runc, Crun],
        rows: Rows::Only(&["cpu_affinity", "set_by_the_container"]),
        by_chance: false,
        why: "Older than `process.execCPUAffinity`. The engine applies it, as runc 1.3 and newer crun do.",
    },
    Accepted {
        keys: &["personality", "uname"],
        runtimes: &[Runc],
        rows: Rows::Only(&["personality", "set_by_the_container"]),
        by_chance: false,
        why: "runc 1.1 does not know `linux.personality`. The engine applies it, as runc 1.3 and crun do.",
    },
    Accepted {
        keys: &[
            "fd/0/flags",
            "fd/1/flags",
            "fd/2/flags",
            "fdinfo/0/flags",
            "fdinfo/1/flags",
            "fdinfo/2/flags",
        ],
        runtimes: &[Runc, Crun, NewCrun],
        rows: Rows::Only(TERMINALS),
        by_chance: false,
        why: "What F_GETFL shows: the engine gets the terminal by the ioctl TIOCGPTPEER, as runc 1.3 does, and \
              that leaves a mark of close-on-exec there (the descriptor is not). The others open it by its name \
              in the container, which can be another file.",
    },
    Accepted {
        keys: &["fd/0/stat", "fd/1/stat", "fd/2/stat"],
        runtimes: &[Crun],
        rows: Rows::Only(&["terminal_of_a_user"]),
        by_chance: false,
        why: "crun 1.8 leaves the terminal to root. The engine gives it to the user, as runc and newer crun do.",
    },
    Accepted {
        keys: &["limits/8", "rlimit/7"],
        runtimes: &[Runc],
        rows: Rows::Only(INHERITED),
        by_chance: true,
        why: "Where its caller has a soft limit of open files below the hard one, runc 1.1 gives an exec the one or \
              the other, by chance. The engine gives what the container's own process got.",
    },
    Accepted {
        keys: &[
            "signals/1",
            "signals/2",
            "signals/18",
            "signals/20",
            "signals/21",
            "signals/22",
            "status/SigIgn",
            "stat/33",
        ],
        runtimes: &[NewRunc, Runc1_4, Runc1_5],
        rows: Rows::Only(INHERITED),
        by_chance: true,
        why: "Where its caller ignores SIGHUP, SIGINT, SIGCONT, SIGTSTP, SIGTTIN or SIGTTOU, runc 1.3 and later \
              have them ignored in an exec, or not, by chance: it depends on which of their threads is first. The engine \
              never has, as runc 1.1 and crun.",
    },
];
