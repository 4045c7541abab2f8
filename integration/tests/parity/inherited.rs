//! What a containerd was started with (`CPUAffinity=`, `UMask=`, `Nice=`, `Limit…=` of its unit, `nohup`) is what
//! the container's own process, its execs and hooks get, as far as the OCI runtime passes it on.

use std::collections::BTreeMap;

use podhook_integration::suite::{Test, own_containerd};
use podhook_integration::{Node, Outcome, ShimKind, tests};

pub fn tests() -> Vec<Test> {
    own_containerd(tests![inherited:
        a_daemon_with_everything_off_its_default_passes_on_what_the_runtime_does,
        a_daemon_on_one_processor_leaves_the_others_to_containers_if_the_runtime_does,
    ])
}

/// As a unit with `UMask=`, `Nice=`, `IOSchedulingClass=`, `CPUSchedulingPolicy=`, `OOMScoreAdjust=`, limits,
/// `Personality=` and `NotifyAccess=`, started by a `nohup` that blocks signals, too.
const OFF_DEFAULT: [&str; 3] = [
    "sh",
    "-c",
    r#"umask 0037
    echo 123456 > /proc/self/timerslack_ns
    export NOTIFY_SOCKET=/run/no-such-socket
    exec choom -n 120 -- prlimit --core=1000:2000 --memlock=100000:200000 \
        nice -n 5 ionice -c 2 -n 6 setarch -R \
        env --ignore-signal --block-signal=USR2,WINCH "$0" "$@""#,
];

/// What a process of the container can read of itself.
const PROBE: &str = r#"grep -E '^(Cpus_allowed|SigBlk|SigIgn|CapAmb):' /proc/self/status
    grep -E '^Max (core|locked|open)' /proc/self/limits | tr -s ' ' | sed 's/\(Max [a-z]*\) /\1: /'
    echo "nice: $(cut -d' ' -f19 /proc/self/stat)"
    echo "policy: $(cut -d' ' -f41 /proc/self/stat)"
    echo "oom_score_adj: $(cat /proc/self/oom_score_adj)"
    echo "timer slack: $(cat /proc/self/timerslack_ns)"
    echo "personality: $(cat /proc/self/personality)"
    echo "io: $(ionice -p $$)"
    echo "umask: $(umask)"
    echo "notify: $NOTIFY_SOCKET"
"#;

/// Runs `PROBE`.
fn script(rest: &str) -> String {
    format!("{PROBE}{rest}")
}

fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect()
}

/// The same of the container's own process, of an exec, and with podhook of a hook.
fn processes(node: &Node) -> Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>> {
    let init = script("echo end; exec sleep 600");
    let mut builder = node.container("inherits");
    if node.shim() != ShimKind::Runc {
        let hook = format!("({}) > /hook 2>&1", script(""));
        let lifecycle = serde_json::json!({"postStart": {"exec": {"command": ["sh", "-c", hook]}}});
        builder = builder.lifecycle(&lifecycle.to_string());
    }
    let container = builder.start(&["sh", "-c", &init])?;
    container.wait_output("end", podhook_integration::wait::SOON)?;
    let exec = script("usleep 100000");
    let mut seen = vec![
        container.output(),
        container.exec(&["sh", "-c", &exec])?.stdout,
    ];
    if node.shim() != ShimKind::Runc {
        seen.push(
            container
                .exec(&["sh", "-c", "cat /hook; usleep 100000"])?
                .stdout,
        );
    }
    Ok(seen)
}

fn a_daemon_with_everything_off_its_default_passes_on_what_the_runtime_does(
    node: &Node,
) -> Outcome {
    node.containerd().stop()?;
    node.containerd().up_through(&OFF_DEFAULT)?;
    let seen = processes(node)?;
    let crun = node.place().runtime.is_crun();
    for (number, text) in seen.iter().enumerate() {
        let mut fields = fields(text);
        let mut is = |key: &str, value: &str| {
            let found = fields.remove(key);
            assert_eq!(found, Some(value), "{key} of process {number}:\n{text}");
        };
        is("nice", "5");
        is("policy", "0");
        is("timer slack", "123456");
        is("personality", "00040000");
        is("Max core", "file size 1000 2000 bytes");
        is("Max locked", "memory 100000 200000 bytes");
        is("io", "best-effort: prio 6");
        is("notify", "");
        is("CapAmb", "0000000000000000");
        // containerd gives its shims one more than its own.
        is("oom_score_adj", "121");
        // USR2 and WINCH: Go passes them on, crun does not.
        is(
            "SigBlk",
            match crun {
                true => "0000000000000000",
                false => "0000000008000800",
            },
        );
        // The container's own process has no umask of its own, and an exec of runc has its caller's.
        is(
            "umask",
            match (crun, number) {
                (true, _) | (false, 0) => "0022",
                (false, _) => "0037",
            },
        );
        // runc 1.3 leaves SIGHUP ignored in what it makes itself, by chance. The last ones are the kernel's from 32 on.
        if number > 0 && node.shim() != ShimKind::Runc {
            let ignored = u64::from_str_radix(fields.remove("SigIgn").unwrap_or_default(), 16)?;
            assert_eq!(ignored & 0x7fff_ffff, 0, "process {number}:\n{text}");
        }
    }
    Ok(())
}

fn a_daemon_on_one_processor_leaves_the_others_to_containers_if_the_runtime_does(
    node: &Node,
) -> Outcome {
    node.containerd().stop()?;
    node.containerd().up_through(&["taskset", "1"])?;
    let seen = processes(node)?;
    let cpus: Vec<_> = seen
        .iter()
        .map(|text| fields(text).get("Cpus_allowed").copied())
        .collect();
    assert!(cpus[0].is_some(), "{seen:#?}");
    assert!(cpus.iter().all(|mask| *mask == cpus[0]), "{cpus:?}");
    Ok(())
}
