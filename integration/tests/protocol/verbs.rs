//! `start`, `delete`, `-info` and `-v`: arguments, stdin, stdout, and what they leave.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use containerd_shim_protos::bootstrap_api::{
    BootstrapParams, BootstrapResult, Extension, LogLevel,
};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Outcome};
use ttrpc::Code;

use crate::client::create_request;
use crate::stage::{Failure, Kind, Stage, any, output};
use crate::{Test, podhook_only, tests};

pub fn tests() -> Vec<Test> {
    let mut all = tests![verbs:
        start_prints_an_address_that_serves,
        start_makes_a_private_socket,
        a_socket_that_a_killed_shim_left_is_replaced,
        the_shim_is_killed_before_containerd_for_memory,
        sched_core_is_as_the_kernel_has_it,
        the_shim_moves_to_its_cgroup,
        start_without_a_bundle_fails_and_leaves_no_shim,
        info_tells_the_features_of_the_runtime,
    ];
    all.extend(podhook_only(tests![verbs:
        bootstrap_params_get_a_bootstrap_result,
        bootstrap_params_of_another_container_are_refused,
        options_of_another_type_are_refused,
        info_of_a_missing_runtime_has_no_features,
        version_is_printed,
        the_server_needs_start,
    ]));
    all
}

fn start_prints_an_address_that_serves(stage: &Stage) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let output = stage.try_start("c1", b"")?;
    assert!(output.status.success(), "{output:?}");
    // containerd takes both together for the address.
    assert_eq!(output.stderr, b"");
    let client = stage.connect(&output)?;
    assert!(
        client.address().starts_with("unix:///run/containerd/s/"),
        "{}",
        client.address()
    );
    // containerd 1.6 and 1.7 find the shim by this file after a restart.
    let address = fs::read_to_string(stage.bundle("c1").join("address")).unwrap_or_default();
    if stage.kind != Kind::Go(Generation::V2) {
        assert_eq!(address, client.address());
    }
    client.run(stage, "c1")?;
    Ok(client.end("c1")?)
}

fn start_makes_a_private_socket(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let socket = Path::new(client.address().trim_start_matches("unix://")).to_owned();
    assert_eq!(fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600);
    client.shutdown("c1");
    stage.wait_gone("c1")?;
    wait::until_true("the socket to be gone", SOON, || !socket.exists())?;
    Ok(())
}

fn a_socket_that_a_killed_shim_left_is_replaced(stage: &Stage) -> Outcome {
    let first = stage.shim("c1", &["sleep", "600"])?;
    kill9(stage.shim_pid("c1"))?;
    stage.wait_gone("c1")?;
    assert!(Path::new(first.address().trim_start_matches("unix://")).exists());
    let second = stage.start("c1", None)?;
    assert_eq!(second.address(), first.address());
    second.run(stage, "c1")?;
    Ok(second.end("c1")?)
}

/// Kills a shim.
pub fn kill9(pid: Option<i32>) -> Outcome {
    use nix::sys::signal::{Signal, kill};
    kill(
        nix::unistd::Pid::from_raw(pid.ok_or("no shim")?),
        Signal::SIGKILL,
    )?;
    Ok(())
}

fn the_shim_is_killed_before_containerd_for_memory(stage: &Stage) -> Outcome {
    let score = |pid: &str| -> Result<i32, Failure> {
        Ok(fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?
            .trim()
            .parse()?)
    };
    let client = stage.shim("c1", &["sleep", "600"])?;
    let pid = stage.shim_pid("c1").ok_or("no shim")?.to_string();
    assert_eq!(score(&pid)?, (score("self")? + 1).min(1000));
    client.shutdown("c1");
    stage.wait_gone("c1")
}

/// `prctl(PR_SCHED_CORE, …)`: makes a cookie for this thread, or says why not.
fn sched_core() -> std::io::Result<()> {
    let thread = std::thread::spawn(|| {
        // SAFETY: integer arguments only; the cookie goes with this thread.
        match unsafe { libc::prctl(62, 1, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    });
    thread
        .join()
        .unwrap_or_else(|_| Err(std::io::Error::other("panicked")))
}

fn sched_core_is_as_the_kernel_has_it(stage: &Stage) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let mut command = stage.command("c1")?;
    command.env("SCHED_CORE", "1").arg("start");
    let started = output(&mut command, b"")?;
    match sched_core() {
        Ok(()) => {
            let client = stage.connect(&started)?;
            let pid = stage.shim_pid("c1").ok_or("no shim")?;
            let mut cookie = 0_u64;
            // SAFETY: PR_SCHED_CORE_GET writes the cookie of a process to a valid place.
            let ret = unsafe { libc::prctl(62, 0, pid, 0, &raw mut cookie) };
            assert_eq!((ret, cookie != 0), (0, true));
            client.shutdown("c1");
        }
        // Without hyper-threads, or not in the kernel: whoever asks for it is told.
        Err(_) => assert!(!started.status.success(), "{started:?}"),
    }
    Ok(())
}

fn the_shim_moves_to_its_cgroup(stage: &Stage) -> Outcome {
    let name = format!("{}/shims", stage.namespace());
    let made: Vec<_> = fs::read_dir("/sys/fs/cgroup")?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path().join(&name))
        .filter(|dir| fs::create_dir_all(dir).is_ok() && dir.join("cgroup.procs").exists())
        .collect();
    if made
        .iter()
        .any(|dir| dir.starts_with("/sys/fs/cgroup/cpuset"))
    {
        for parent in [
            format!("/sys/fs/cgroup/cpuset/{}", stage.namespace()),
            format!("/sys/fs/cgroup/cpuset/{name}"),
        ] {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(
                    Path::new(&parent).join(file),
                    fs::read_to_string(Path::new("/sys/fs/cgroup/cpuset").join(file))?,
                )?;
            }
        }
    }
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let options = Options {
        shim_cgroup: format!("/{name}"),
        ..Default::default()
    };
    let client = stage.start("c1", Some(&any(&options)))?;
    let pid = stage.shim_pid("c1").ok_or("no shim")?;
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    for controller in ["memory", "pids", "cpu"] {
        let own = cgroups
            .lines()
            .find(|line| line.split([':', ',']).any(|word| word == controller));
        assert!(
            own.is_some_and(|line| line.ends_with(&format!(":/{name}"))),
            "{controller} in\n{cgroups}"
        );
    }
    client.shutdown("c1");
    stage.wait_gone("c1")?;
    for dir in made {
        // The kernel may still be busy with the process that was there.
        wait::until_true("the cgroup to be removed", SOON, || {
            fs::remove_dir(&dir).is_ok()
        })?;
        let _ = dir.parent().map(fs::remove_dir);
    }
    Ok(())
}

fn start_without_a_bundle_fails_and_leaves_no_shim(stage: &Stage) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    fs::remove_file(stage.bundle("c1").join("config.json"))?;
    let output = stage.try_start("c1", b"")?;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("config.json"), "{text}");
    assert_eq!(stage.shim_pid("c1"), None);
    Ok(())
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
    if stage.kind == Kind::Go(Generation::V1_6) {
        // It has no -info.
        return Ok(());
    }
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

fn params(stage: &Stage, id: &str) -> BootstrapParams {
    BootstrapParams {
        instance_id: id.into(),
        namespace: stage.namespace().into(),
        log_level: LogLevel::LOG_LEVEL_DEBUG.into(),
        containerd_version: "v2.3.4".into(),
        containerd_ttrpc_address: stage.daemon().path().display().to_string(),
        containerd_grpc_address: stage.address().display().to_string(),
        containerd_binary: "/usr/bin/containerd".into(),
        socket_dir: Some(stage.dir().join("s").display().to_string()),
        ..Default::default()
    }
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
        ..params(stage, "c1")
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
    assert_eq!((reply.version, reply.protocol.as_str()), (2, "ttrpc"));
    assert!(
        reply
            .address
            .starts_with(&format!("unix://{}/s/", stage.dir().display())),
        "{reply:?}"
    );
    let client = stage.connect(&started)?;
    let request = containerd_shim_protos::api::CreateTaskRequest {
        options: Some(options).into(),
        ..create_request(stage, "c1")
    };
    let created: containerd_shim_protos::api::CreateTaskResponse =
        client.call("Create", &request)?;
    assert!(created.pid > 0);
    assert!(fs::read_to_string(calls)?.contains(" create "));
    // Events go to the address in the message, the log level is the message's.
    stage.daemon().wait("create", SOON)?;
    assert!(stage.log("c1").contains("level=debug"));
    Ok(client.end("c1")?)
}

fn bootstrap_params_of_another_container_are_refused(stage: &Stage) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let output = stage.try_start("c1", &params(stage, "c2").write_to_bytes()?)?;
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
    let request = containerd_shim_protos::api::CreateTaskRequest {
        options: Some(wrong.clone()).into(),
        ..create_request(stage, "c1")
    };
    let answer = client.call::<containerd_shim_protos::api::CreateTaskResponse>("Create", &request);
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

fn info_of_a_missing_runtime_has_no_features(stage: &Stage) -> Outcome {
    let info = info(
        stage,
        Some(&any(&Options {
            binary_name: "/no/such/runtime".into(),
            ..Default::default()
        })),
    )?;
    assert!(info.features.is_none());
    assert_eq!(info.name, "io.containerd.podhook.v1");
    Ok(())
}

fn version_is_printed(stage: &Stage) -> Outcome {
    let output = output(Command::new(stage.kind.program()?).arg("-v"), b"")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains(env!("CARGO_PKG_VERSION")),
        "{text}"
    );
    Ok(())
}

fn the_server_needs_start(stage: &Stage) -> Outcome {
    let output = output(
        Command::new(stage.kind.program()?).args(["-namespace", "n", "-id", "c1"]),
        b"",
    )?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("started by `start`"),
        "{text}"
    );
    Ok(())
}
