//! What containerd says on stdin: options, or the messages of 2.3; and `-info`.

use std::fs;
use std::process::Command;

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse};
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult, Extension};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, UnknownValueRef};
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use podhook_integration::wait::SOON;
use podhook_integration::{Generation, Outcome};
use ttrpc::Code;

use crate::Test;
use crate::client::create_request;
use crate::podhook_only;
use crate::stage::{Failure, Kind, Stage, any};
use crate::start::output;
use crate::tests;
use crate::unless;

pub fn tests() -> Vec<Test> {
    let mut all = unless(
        tests![bootstrap:
            info_tells_the_features_of_the_runtime,
            info_of_a_missing_runtime_fails_and_of_an_old_one_has_no_features,
        ],
        |kind| (kind == Kind::Go(Generation::V1_6)).then_some("the original of 1.6 has no -info"),
    );
    all.extend(tests![bootstrap: options_for_containerd_itself_are_passed_over]);
    all.extend(podhook_only(tests![bootstrap:
        bootstrap_params_get_a_bootstrap_result,
        bootstrap_params_of_another_container_are_refused,
        options_of_another_type_are_refused,
    ]));
    all
}

fn info(stage: &Stage, options: Option<&Any>) -> Result<RuntimeInfo, Failure> {
    let mut command = Command::new(stage.kind.program()?);
    let input = options
        .map(Message::write_to_bytes)
        .transpose()?
        .unwrap_or_default();
    let output = output(command.arg("-info"), &input)?;
    if !output.status.success() {
        return Err(format!("-info: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(RuntimeInfo::parse_from_bytes(&output.stdout)?)
}

fn info_tells_the_features_of_the_runtime(stage: &Stage) -> Outcome {
    // Empty stdin: containerd 2.3 asks so.
    let plain = info(stage, None)?;
    let features = plain.features.clone().unwrap_or_default();
    assert_eq!(
        features.type_url,
        "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
    );
    let features: serde_json::Value = serde_json::from_slice(&features.value)?;
    assert!(
        features["linux"]["namespaces"]
            .as_array()
            .is_some_and(|list| !list.is_empty()),
        "{features}"
    );
    assert_eq!(
        features["annotations"]["org.opencontainers.runc.checkpoint.enabled"],
        "true"
    );
    let options = any(&Options {
        binary_name: "/usr/sbin/runc".into(),
        ..Default::default()
    });
    let with_options = info(stage, Some(&options))?;
    let echoed = with_options.options.clone().unwrap_or_default();
    assert_eq!(
        (echoed.type_url, echoed.value),
        (options.type_url, options.value)
    );
    assert!(with_options.features.is_some());
    Ok(())
}

fn bootstrap_params_get_a_bootstrap_result(stage: &Stage) -> Outcome {
    let (runtime, calls) = stage.recording_runtime("")?;
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let options = any(&Options {
        binary_name: runtime,
        ..Default::default()
    });
    let extension = |any: Any| Extension {
        value: Some(any).into(),
        ..Default::default()
    };
    let another = Any {
        type_url: "containerd.another.v1.Extension".into(),
        value: vec![10, 1, b'x'],
        ..Default::default()
    };
    let message = BootstrapParams {
        extensions: vec![extension(another), extension(options.clone())],
        ..stage.params("c1")
    };
    // As 2.3 does: the same arguments, nothing in the environment.
    let mut command = stage.command("c1")?;
    command
        .env_remove("TTRPC_ADDRESS")
        .env_remove("GRPC_ADDRESS")
        .env_remove("MAX_SHIM_VERSION")
        .arg("start");
    let started = output(&mut command, &message.write_to_bytes()?)?;
    let reply = BootstrapResult::parse_from_bytes(&started.stdout)?;
    assert_eq!((reply.version, reply.protocol.as_str()), (3, "ttrpc"));
    // It does no mounts that containerd's mount manager has: 2.4 asks no -info about that.
    let unknown = reply.special_fields.unknown_fields();
    let Some(UnknownValueRef::LengthDelimited(capabilities)) = unknown.get(6) else {
        return Err(format!("no extension: {reply:?}").into());
    };
    let capabilities = Extension::parse_from_bytes(capabilities)?.value;
    assert_eq!(
        (capabilities.type_url.as_str(), capabilities.value.len()),
        ("type.googleapis.com/containerd.types.MountCapabilities", 0)
    );
    assert!(
        reply
            .address
            .starts_with(&format!("unix://{}/s/", stage.dir().display())),
        "{reply:?}"
    );
    let client = stage.connect(&started)?;
    let request = CreateTaskRequest {
        options: Some(options).into(),
        ..create_request(stage, "c1")
    };
    let created: CreateTaskResponse = client.call("Create", &request)?;
    assert!(created.pid > 0);
    assert!(fs::read_to_string(calls)?.contains(" create "));
    // Events go to the address in the message, the log level is the message's.
    stage.daemon().wait("create", SOON)?;
    assert!(stage.log("c1").contains("level=debug"));
    Ok(client.end("c1")?)
}

/// `task_api_address` and `task_api_version` of 2.x name the shim that containerd is to ask.
fn options_for_containerd_itself_are_passed_over(stage: &Stage) -> Outcome {
    let mut options = Options {
        binary_name: "runc".into(),
        ..Default::default()
    };
    let fields = options.special_fields.mut_unknown_fields();
    fields.add_length_delimited(12, b"/no/such/socket".to_vec());
    fields.add_varint(13, 3);
    let client = stage.shim("c1", &["sleep", "600"])?;
    let request = CreateTaskRequest {
        options: Some(any(&options)).into(),
        ..create_request(stage, "c1")
    };
    let created: CreateTaskResponse = client.call("Create", &request)?;
    assert!(created.pid > 0);
    Ok(client.end("c1")?)
}

fn bootstrap_params_of_another_container_are_refused(stage: &Stage) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let output = stage.try_start("c1", &stage.params("c2").write_to_bytes()?)?;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("/c2"), "{text}");
    Ok(())
}

fn options_of_another_type_are_refused(stage: &Stage) -> Outcome {
    // Bytes that would be a ShimCgroup, were they taken for runc's options.
    let wrong = Any {
        type_url: "windows.hcs.v1.Options".into(),
        value: vec![26, 2, b'/', b'x'],
        ..Default::default()
    };
    let client = stage.shim("c1", &["sleep", "600"])?;
    let answer = client.create_with(stage, "c1", &wrong);
    let error = answer.err().ok_or("it was created")?;
    assert_eq!(error.code, Code::INVALID_ARGUMENT);
    assert!(error.message.contains("windows.hcs.v1.Options"), "{error}");
    client.shutdown("c1");
    stage.make_bundle("c2", &stage.spec("c2", &["sleep", "600"]))?;
    let output = stage.try_start("c2", &wrong.write_to_bytes()?)?;
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("windows.hcs.v1.Options"),
        "{output:?}"
    );
    assert!(info(stage, Some(&wrong)).is_err());
    Ok(())
}

fn info_of_a_missing_runtime_fails_and_of_an_old_one_has_no_features(stage: &Stage) -> Outcome {
    let with = |binary_name: &str| {
        let options = Options {
            binary_name: binary_name.into(),
            ..Default::default()
        };
        info(stage, Some(&any(&options)))
    };
    for missing in ["/no/such/runtime", "no-such-runtime"] {
        let error = with(missing).err().ok_or("it is there")?.to_string();
        assert!(error.contains(missing), "{error}");
    }
    // It knows no such command.
    assert!(with("/bin/false")?.features.is_none());
    Ok(())
}
