//! The trace context of a request. The distributions' original is built without it: `shim_tracing`.

use std::fs;
use std::path::Path;

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse};
use containerd_shim_protos::shim::oci::Options;
use podhook_integration::Outcome;
use serde_json::json;

use crate::Test;
use crate::client::create_request;
use crate::podhook_only;
use crate::stage::{Failure, Stage, any};
use crate::tests;

pub fn tests() -> Vec<Test> {
    podhook_only(tests![traced:
        the_runtime_and_the_hooks_get_the_requests_context,
        without_one_the_environment_is_the_shims,
    ])
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const STATE: &str = "vendor=value";
const BAGGAGE: &str = "pod.name=nginx";

/// Create by a runtime that adds its environment to the file of its verb.
fn create(stage: &Stage) -> Result<CreateTaskRequest, Failure> {
    let dir = stage.dir().display();
    let (binary_name, _) = stage.recording_runtime(&format!("env > {dir}/env-$7"))?;
    let options = Options {
        binary_name,
        ..Default::default()
    };
    Ok(CreateTaskRequest {
        options: Some(any(&options)).into(),
        ..create_request(stage, "c1")
    })
}

/// The trace's lines of a file with an environment.
fn noted(file: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let names = ["TRACEPARENT=", "TRACESTATE=", "BAGGAGE="];
    let lines = text.lines();
    let mut lines: Vec<_> = lines
        .filter(|line| names.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect();
    lines.sort();
    Ok(lines)
}

fn the_runtime_and_the_hooks_get_the_requests_context(stage: &Stage) -> Outcome {
    let note = |file: &str| json!({"exec": {"command": ["sh", "-c", format!("env > /{file}")]}});
    let lifecycle = json!({"postStart": note("post"), "preStop": note("pre")});
    let ends = "trap 'exit 0' TERM; sleep 600 & wait";
    let spec = stage
        .spec("c1", &["sh", "-c", ends])
        .annotation("podhook.dev/lifecycle", &lifecycle.to_string());
    let client = stage.shim_of("c1", &spec)?;
    let request = create(stage)?;
    let lines = |parent: &str| {
        vec![
            format!("BAGGAGE={BAGGAGE}"),
            format!("TRACEPARENT={parent}"),
            format!("TRACESTATE={STATE}"),
        ]
    };
    // Each request has its own.
    let span = |number: u32| PARENT.replace("b7ad6b7169203331", &format!("{number:016x}"));
    let [made, start, kill] = [1, 2, 3].map(span);
    let traced = |parent: &str| {
        client.traced(&[
            ("traceparent", parent),
            ("tracestate", STATE),
            ("baggage", BAGGAGE),
        ])
    };
    let _: CreateTaskResponse = traced(&made).call("Create", &request)?;
    traced(&start).start("c1", "")?;
    traced(&kill).kill("c1", "", 15, false)?;
    client.wait("c1", "")?;
    let inside = |name: &str| stage.rootfs().join(name);
    assert_eq!(noted(&stage.dir().join("env-create"))?, lines(&made));
    assert_eq!(noted(&stage.dir().join("env-start"))?, lines(&start));
    assert_eq!(noted(&inside("post"))?, lines(&start));
    assert_eq!(noted(&inside("pre"))?, lines(&kill));
    Ok(client.end("c1")?)
}

fn without_one_the_environment_is_the_shims(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let request = create(stage)?;
    let bad = client.traced(&[("traceparent", "x\0y")]);
    let _: CreateTaskResponse = bad.call("Create", &request)?;
    assert!(noted(&stage.dir().join("env-create"))?.is_empty());
    Ok(client.end("c1")?)
}
