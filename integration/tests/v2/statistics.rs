//! The metrics of a task.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use podhook_integration::suite::Test;
use podhook_integration::wait::SOON;
use podhook_integration::{Image, Node, Outcome, ShimKind, driver, tests};
use serde_json::Value;

use crate::cgroup;
use crate::script::Error;

pub fn tests() -> Vec<Test> {
    let mut tests = tests![statistics: metrics_are_what_the_kernel_says];
    // The original's container beside it is always of runc and cgroupfs, and the others have other controllers.
    if !driver::is_systemd() && driver::oci_runtime().is_none() {
        tests.extend(tests![statistics: metrics_have_every_field_of_the_originals]);
    }
    tests
}

/// Uses the processor, memory, files and the disk, then stands still.
const WORK: &str = "head -c 3000000 /dev/urandom > /file; sync; i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; \
    cat /file > /dev/null; echo worked; exec sleep 600";

/// `ctr task metrics` as JSON: its fields by path, `memory.usage`, with their numbers.
fn metrics(node: &Node, id: &str) -> Result<BTreeMap<String, Value>, Error> {
    let text = node
        .ctr()
        .run(&["task", "metrics", "--format", "json", id])?;
    let mut fields = BTreeMap::new();
    flatten("", &serde_json::from_str(&text)?, &mut fields);
    Ok(fields)
}

fn flatten(path: &str, value: &Value, fields: &mut BTreeMap<String, Value>) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(object) => object
            .iter()
            .for_each(|(name, value)| flatten(&below(name), value, fields)),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(n, value)| flatten(&below(&n.to_string()), value, fields)),
        value => drop(fields.insert(path.to_owned(), value.clone())),
    }
}

fn metrics_have_every_field_of_the_originals(node: &Node) -> Outcome {
    // The original in the same containerd: its shim by its path.
    let original = node
        .containerd()
        .generation()
        .program("containerd-shim-runc-v2")?;
    let (ctr, id) = (
        node.ctr(),
        format!("original-{}", node.containerd().known_containers().len()),
    );
    let ours = node
        .container("ours")
        .flag(["--memory-limit", "134217728"])
        .start(&["sh", "-c", WORK])?;
    ours.wait_output("worked", SOON)?;
    let log = node.containerd().dir().join("logs").join(&id);
    let (path, uri) = (
        original.display().to_string(),
        format!("file://{}", log.display()),
    );
    let fifos = ctr.fifos().display().to_string();
    let flags = [
        "run",
        "-d",
        "--runtime",
        &path,
        "--fifo-dir",
        &fifos,
        "--log-uri",
        &uri,
    ];
    let limit = [
        "--memory-limit",
        "134217728",
        Image::Busybox.reference(),
        &id,
        "sh",
        "-c",
        WORK,
    ];
    ctr.run(&[&flags[..], &limit[..]].concat())?;
    let theirs = podhook_integration::wait::until_true("the original's container", SOON, || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("worked"))
    })
    .map_err(Error::from)
    .and_then(|()| metrics(node, &id));
    ctr.try_run(&["task", "delete", "--force", &id])?;
    ctr.try_run(&["container", "delete", &id])?;
    compare(&metrics(node, ours.id())?, &theirs?);
    Ok(())
}

/// Fields that are there when something has happened: two containers need not have had the same.
const MAY_MISS: [&str; 8] = [
    "pressure",
    "psi",
    "workingset_",
    "pg",
    "rbytes",
    "rios",
    "thp",
    "kernel_stack",
];

fn compare(ours: &BTreeMap<String, Value>, theirs: &BTreeMap<String, Value>) {
    let nonzero = |fields: &BTreeMap<String, Value>| -> BTreeSet<String> {
        let happened = |name: &str| MAY_MISS.iter().any(|part| name.contains(part));
        let kept = fields
            .iter()
            .filter(|(name, value)| !happened(name) && value.as_f64() != Some(0.0));
        kept.map(|(name, _)| name.clone()).collect()
    };
    let (ours_set, theirs_set) = (nonzero(ours), nonzero(theirs));
    assert!(theirs_set.len() > 15, "{theirs_set:?}");
    let missing: Vec<_> = theirs_set.difference(&ours_set).collect();
    assert!(
        missing.is_empty(),
        "only the original has {missing:?}\nours: {ours:#?}\ntheirs: {theirs:#?}"
    );
    // Where the kernel has no choice the numbers are the same, else of the same size.
    for name in [
        "memory.usage_limit",
        "memory.swap_limit",
        "pids.current",
        "pids.limit",
    ] {
        assert_eq!(ours.get(name), theirs.get(name), "{name}");
    }
    for name in ["memory.usage", "memory.file", "cpu.usage_usec"] {
        let number = |fields: &BTreeMap<String, Value>| {
            fields.get(name).and_then(Value::as_f64).unwrap_or(0.0)
        };
        let (ours, theirs) = (number(ours), number(theirs));
        assert!(
            ours > theirs / 5.0 && ours < theirs * 5.0,
            "{name}: {ours}, the original {theirs}"
        );
    }
}

/// A field of the metrics and the file and key it comes from.
const SOURCES: [(&str, &str, &str); 32] = [
    ("pids.current", "pids.current", ""),
    ("cpu.usage_usec", "cpu.stat", "usage_usec"),
    ("cpu.user_usec", "cpu.stat", "user_usec"),
    ("cpu.system_usec", "cpu.stat", "system_usec"),
    ("cpu.nr_periods", "cpu.stat", "nr_periods"),
    ("cpu.nr_throttled", "cpu.stat", "nr_throttled"),
    ("cpu.throttled_usec", "cpu.stat", "throttled_usec"),
    ("memory.usage", "memory.current", ""),
    ("memory.usage_limit", "memory.max", ""),
    ("memory.swap_usage", "memory.swap.current", ""),
    ("memory.anon", "memory.stat", "anon"),
    ("memory.file", "memory.stat", "file"),
    ("memory.kernel_stack", "memory.stat", "kernel_stack"),
    ("memory.slab", "memory.stat", "slab"),
    ("memory.sock", "memory.stat", "sock"),
    ("memory.shmem", "memory.stat", "shmem"),
    ("memory.file_mapped", "memory.stat", "file_mapped"),
    ("memory.file_dirty", "memory.stat", "file_dirty"),
    ("memory.file_writeback", "memory.stat", "file_writeback"),
    ("memory.anon_thp", "memory.stat", "anon_thp"),
    ("memory.inactive_anon", "memory.stat", "inactive_anon"),
    ("memory.active_anon", "memory.stat", "active_anon"),
    ("memory.inactive_file", "memory.stat", "inactive_file"),
    ("memory.active_file", "memory.stat", "active_file"),
    ("memory.slab_reclaimable", "memory.stat", "slab_reclaimable"),
    (
        "memory.slab_unreclaimable",
        "memory.stat",
        "slab_unreclaimable",
    ),
    ("memory.pgfault", "memory.stat", "pgfault"),
    ("memory.pgmajfault", "memory.stat", "pgmajfault"),
    ("memory_events.max", "memory.events", "max"),
    ("memory_events.oom", "memory.events", "oom"),
    ("memory_events.oom_kill", "memory.events", "oom_kill"),
    ("io.usage.0.wbytes", "io.stat", "wbytes"),
];

/// What the kernel says: a file's number, or that of a key in it.
fn kernel(cgroup: &Path, file: &str, key: &str) -> Result<u64, Error> {
    // systemd and crun hand down fewer controllers than runc.
    if file == "io.stat" && !cgroup.join(file).exists() {
        return Ok(0);
    }
    let text = cgroup::read(cgroup, file)?;
    let number = match key {
        "" if text == "max" => return Ok(u64::MAX),
        "" => Some(text.as_str()),
        key if file == "io.stat" => text.lines().next().and_then(|line| {
            line.split(' ')
                .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        }),
        key => text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')),
    };
    Ok(number.map_or(Ok(0), str::parse)?)
}

fn metrics_are_what_the_kernel_says(node: &Node) -> Outcome {
    assert!(node.shim() != ShimKind::Runc);
    let container = node
        .container("exact")
        .flag(["--memory-limit", "134217728"])
        .start(&["sh", "-c", WORK])?;
    container.wait_output("worked", SOON)?;
    let own = cgroup::of_container(&container)?;
    // Nothing moves while it is frozen, but for what the kernel writes back: a few tries.
    node.ctr().pause(container.id())?;
    let mut different = Vec::new();
    for _ in 0..5 {
        let ours = metrics(node, container.id())?;
        different.clear();
        for (field, file, key) in SOURCES {
            let is = ours.get(field).and_then(Value::as_u64).unwrap_or(0);
            let wanted = kernel(&own, file, key)?;
            if is != wanted {
                different.push(format!("{field} is {is}, {file} {key} {wanted}"));
            }
        }
        assert!(ours.len() > 12, "{ours:?}");
        if different.is_empty() {
            return Ok(());
        }
    }
    Err(different.join("\n").into())
}
