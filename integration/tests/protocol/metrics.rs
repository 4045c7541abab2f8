//! What `Stats` tells on cgroup v1: the message of the original, whole.

use std::collections::BTreeSet;

use containerd_shim_protos::cgroups::metrics::Metrics;
use containerd_shim_protos::protobuf::reflect::{ReflectValueRef, RuntimeFieldType};
use containerd_shim_protos::protobuf::{Message, MessageDyn};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Outcome};

use crate::Test;
use crate::podhook_only;
use crate::stage::{Failure, Kind, Stage};
use crate::tests;

pub fn tests() -> Vec<Test> {
    podhook_only(tests![metrics: every_field_of_the_originals_is_there])
}

/// Uses memory and the disk, and then the processor without end.
const WORK: &str = "head -c 3000000 /dev/urandom > /file; sync; cat /file > /dev/null; : > /worked; \
    while :; do i=$((i+1)); done";

/// The paths of the fields that are set: of numbers, those that are not zero.
fn fields(path: &str, message: &dyn MessageDyn, all: &mut BTreeSet<String>) {
    for field in message.descriptor_dyn().fields() {
        let name = format!("{path}{}", field.name());
        let mut value = |value: ReflectValueRef<'_>| match value {
            ReflectValueRef::Message(message) => fields(&format!("{name}."), &*message, all),
            _ => {
                all.insert(name.clone());
            }
        };
        match field.runtime_field_type() {
            RuntimeFieldType::Singular(_) => {
                field.get_singular(message).into_iter().for_each(&mut value)
            }
            RuntimeFieldType::Repeated(_) => {
                field.get_repeated(message).into_iter().for_each(&mut value);
            }
            RuntimeFieldType::Map(..) => {}
        }
    }
}

/// What was told of a container at work, until it was all of `wanted`, or for as long as that may take.
fn measured(stage: &Stage, wanted: &BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
    let client = stage.shim("c1", &["sh", "-c", WORK])?;
    client.run(stage, "c1")?;
    let root = format!("/proc/{}/root/worked", client.state("c1", "")?.pid);
    wait::until_true("the work to be done", SOON, || {
        std::path::Path::new(&root).exists()
    })?;
    let mut all = BTreeSet::new();
    // Time in user mode is counted by samples, and memory by processors, which add it up now and then.
    let _ = wait::until_true("all of it", SOON, || {
        let stats = client
            .stats("c1")
            .map(|answer| answer.stats.unwrap_or_default());
        let stats = stats.unwrap_or_default();
        assert_eq!(stats.type_url, "io.containerd.cgroups.v1.Metrics");
        let metrics = Metrics::parse_from_bytes(&stats.value).unwrap_or_default();
        fields("", &metrics, &mut all);
        all.contains("cpu.usage.user") && wanted.is_subset(&all)
    });
    client.end("c1")?;
    Ok(all)
}

fn every_field_of_the_originals_is_there(stage: &Stage) -> Outcome {
    let original = Stage::new(Kind::Go(Generation::V2_4))?;
    let mut theirs = measured(&original, &BTreeSet::new())?;
    original.finish()?;
    assert!(theirs.len() > 20, "{theirs:?}");
    // What happens to one container need not happen to the other.
    let by_chance = |name: &String| {
        [
            ".active_anon",
            "total_active_anon",
            "major_page",
            "pgmaj",
            "throttled",
            "per_cpu",
            "writeback",
            "dirty",
            "kernel",
        ]
        .iter()
        .any(|part| name.contains(part))
    };
    theirs.retain(|name| !by_chance(name));
    let ours = measured(stage, &theirs)?;
    let missing: Vec<_> = theirs.difference(&ours).collect();
    assert!(missing.is_empty(), "{missing:?} of {theirs:?}");
    Ok(())
}
