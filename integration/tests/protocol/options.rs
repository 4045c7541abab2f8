//! Runtime options, and what becomes of them on the OCI runtime's command line; user namespaces.

use std::fs;

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse, Mount};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Outcome};
use serde_json::json;

use crate::Test;
use crate::client::{Client, create_request};
use crate::podhook_only;
use crate::stage::{Failure, Kind, Stage, any};
use crate::tests;
use crate::unless;

pub fn tests() -> Vec<Test> {
    let mut all = tests![options:
        every_option_reaches_the_runtime,
        update_goes_through_the_runtime,
        update_changes_the_limits,
        a_user_namespace_and_its_execs,
    ];
    all.extend(unless(
        tests![options: a_bind_mount_with_mapped_ids, an_overlay_with_mapped_ids],
        |kind| {
            (kind == Kind::Go(Generation::V1_6)).then_some("mapped mounts came with containerd 2.0")
        },
    ));
    all.extend(podhook_only(tests![options:
        toml_in_the_generic_options_is_the_same,
        the_path_in_the_generic_options_is_our_own_configuration,
        toml_with_an_unknown_key_is_refused,
    ]));
    all
}

/// Create with these options by a runtime that only notes its arguments; those after `--log …`.
fn create_arguments(stage: &Stage, options: &Any) -> Result<(String, String), Failure> {
    stage.recording_runtime("exit 1")?;
    let client = stage.shim("c1", &["true"])?;
    let answer = client.create_with(stage, "c1", options);
    let Err(error) = answer else {
        return Err("it was created".into());
    };
    client.shutdown("c1");
    let calls =
        fs::read_to_string(stage.dir().join("calls")).map_err(|e| format!("{error}: {e}"))?;
    let call = calls.lines().next().ok_or("no call")?;
    let (before, after) = call.split_once(" --log ").ok_or("no log")?;
    let (_, after) = after.split_once("log.json ").ok_or("no log")?;
    Ok((before.to_owned(), after.to_owned()))
}

fn expect_all(stage: &Stage, options: &Any) -> Outcome {
    let (root, rest) = create_arguments(stage, options)?;
    assert_eq!(root, format!("--root /run/other/{}", stage.namespace()));
    let bundle = stage.bundle("c1").display().to_string();
    assert_eq!(
        rest,
        format!(
            "--log-format json --systemd-cgroup create --bundle {bundle} --pid-file {bundle}/init.pid --no-pivot \
             --no-new-keyring c1"
        )
    );
    Ok(())
}

fn runtime(stage: &Stage) -> String {
    stage.dir().join("recording-runc").display().to_string()
}

fn every_option_reaches_the_runtime(stage: &Stage) -> Outcome {
    let options = Options {
        no_pivot_root: true,
        no_new_keyring: true,
        binary_name: runtime(stage),
        root: "/run/other".into(),
        systemd_cgroup: true,
        ..Default::default()
    };
    expect_all(stage, &any(&options))
}

/// `runtimeoptions.v1.Options`: 1 type_url, 2 config_path, 3 config_body.
pub fn generic(path: &str, body: &str) -> Any {
    let mut value = Vec::new();
    for (tag, text) in [(18, path), (26, body)] {
        if !text.is_empty() {
            value.push(tag);
            let mut length = text.len();
            while length >= 0x80 {
                value.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            value.push(length as u8);
            value.extend(text.bytes());
        }
    }
    Any {
        type_url: "runtimeoptions.v1.Options".into(),
        value,
        ..Any::default()
    }
}

fn toml_in_the_generic_options_is_the_same(stage: &Stage) -> Outcome {
    let body = format!(
        "BinaryName = \"{}\"\nRoot = \"/run/other\"\nSystemdCgroup = true\nNoPivotRoot = true\nNoNewKeyring = true\n",
        runtime(stage)
    );
    expect_all(stage, &generic("", &body))
}

fn the_path_in_the_generic_options_is_our_own_configuration(stage: &Stage) -> Outcome {
    let path = stage.dir().join("podhook.toml");
    fs::write(
        &path,
        format!("runtime = \"{}\"\nroot = \"/run/other\"\n", runtime(stage)),
    )?;
    let (root, rest) = create_arguments(stage, &generic(&path.display().to_string(), ""))?;
    assert_eq!(root, format!("--root /run/other/{}", stage.namespace()));
    assert!(rest.starts_with("--log-format json create "), "{rest}");
    Ok(())
}

fn toml_with_an_unknown_key_is_refused(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["true"])?;
    let options = generic("", "Nonsense = 1\n");
    let answer = client.create_with(stage, "c1", &options);
    let error = answer.err().ok_or("it was created")?;
    assert!(error.message.contains("Nonsense"), "{error}");
    assert_eq!(error.code, ttrpc::Code::INVALID_ARGUMENT);
    client.shutdown("c1");
    Ok(())
}

fn update_goes_through_the_runtime(stage: &Stage) -> Outcome {
    let input = stage.dir().join("resources");
    let body = format!(
        "case \" $* \" in *' update '*) cat > {}; exit 0;; esac",
        input.display()
    );
    let (binary_name, calls) = stage.recording_runtime(&body)?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    let options = any(&Options {
        binary_name,
        ..Default::default()
    });
    let request = CreateTaskRequest {
        options: Some(options).into(),
        ..create_request(stage, "c1")
    };
    let _: CreateTaskResponse = client.call("Create", &request)?;
    client.start("c1", "")?;
    client.update(
        "c1",
        &json!({"memory": {"limit": 67108864}, "unified": {"memory.high": "1"}}),
    )?;
    let calls = fs::read_to_string(calls)?;
    assert!(
        calls.lines().any(|line| line
            .replace("--resources=-", "--resources -")
            .ends_with(" update --resources - c1")),
        "{calls}"
    );
    let resources: serde_json::Value = serde_json::from_slice(&fs::read(input)?)?;
    assert_eq!(resources["memory"]["limit"], 67108864);
    assert_eq!(resources["unified"]["memory.high"], "1");
    Ok(client.end("c1")?)
}

fn update_changes_the_limits(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let pid = client.run(stage, "c1")?;
    client.update("c1", &json!({"pids": {"limit": 77}}))?;
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let pids = cgroups
        .lines()
        .find_map(|line| line.split_once(":pids:"))
        .map(|(_, path)| path);
    let limit = match pids {
        Some(path) => format!("/sys/fs/cgroup/pids{path}/pids.max"),
        None => format!("/sys/fs/cgroup/{}/c1/pids.max", stage.namespace()),
    };
    assert_eq!(fs::read_to_string(limit)?.trim(), "77");
    let error = client
        .update("c1", &json!({"memory": {"limit": -5}}))
        .err()
        .ok_or("it was updated")?;
    assert!(!error.message.is_empty());
    Ok(client.end("c1")?)
}

/// Runs a container in a user namespace on this root filesystem; what it says of its files and its user.
fn in_user_namespace(stage: &Stage, rootfs: Mount) -> Result<(Client, String), Failure> {
    let script = "stat -c %u:%g /bin/busybox; id -u; cat /proc/self/uid_map; exec sleep 600";
    let mut spec = stage.spec("c1", &["sh", "-c", script]);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    spec.0["linux"]["uidMappings"] = map.clone();
    spec.0["linux"]["gidMappings"] = map;
    spec.0["linux"]["namespaces"]
        .as_array_mut()
        .ok_or("no namespaces")?
        .push(json!({"type": "user"}));
    let client = stage.shim_of("c1", &spec)?;
    let log = stage.dir().join("log");
    let uri = format!("file://{}", log.display());
    let request = CreateTaskRequest {
        rootfs: vec![rootfs],
        stdout: uri.clone(),
        stderr: uri,
        ..create_request(stage, "c1")
    };
    let _: CreateTaskResponse = client.call("Create", &request)?;
    client.start("c1", "")?;
    let text = wait::until("the container's words", SOON, || {
        fs::read_to_string(&log)
            .ok()
            .filter(|text| text.lines().count() == 3)
    })?;
    Ok((client, text))
}

fn mapped(options: &[&str]) -> Vec<String> {
    let maps = ["uidmap=0:100000:65536", "gidmap=0:100000:65536"];
    options
        .iter()
        .chain(&maps)
        .map(|option| (*option).to_owned())
        .collect()
}

fn expect_mapped(stage: &Stage, rootfs: Mount) -> Outcome {
    let (client, text) = in_user_namespace(stage, rootfs)?;
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(lines, ["0:0", "0", "0 100000 65536"]);
    client.end("c1")?;
    Ok(())
}

fn a_bind_mount_with_mapped_ids(stage: &Stage) -> Outcome {
    let rootfs = Mount {
        type_: "bind".into(),
        source: stage.rootfs().display().to_string(),
        options: mapped(&["rbind", "rw"]),
        ..Default::default()
    };
    expect_mapped(stage, rootfs)
}

fn an_overlay_with_mapped_ids(stage: &Stage) -> Outcome {
    expect_mapped(stage, overlay_with_mapped_ids(stage)?)
}

/// An overlay whose files belong to the users of a user namespace.
pub fn overlay_with_mapped_ids(stage: &Stage) -> Result<Mount, Failure> {
    let dir = |name: &str| -> Result<String, Failure> {
        let path = stage.dir().join(name);
        fs::create_dir(&path)?;
        std::os::unix::fs::chown(&path, Some(100_000), Some(100_000))?;
        Ok(path.display().to_string())
    };
    // Two layers: each is mapped.
    let (top, upper, work) = (dir("top")?, dir("upper")?, dir("overlay-work")?);
    let lower = format!("lowerdir={top}:{}", stage.rootfs().display());
    Ok(Mount {
        type_: "overlay".into(),
        source: "overlay".into(),
        options: mapped(&[
            "index=off",
            &format!("workdir={work}"),
            &format!("upperdir={upper}"),
            &lower,
        ]),
        ..Default::default()
    })
}

fn a_user_namespace_and_its_execs(stage: &Stage) -> Outcome {
    let rootfs = create_request(stage, "c1").rootfs.remove(0);
    let (client, text) = in_user_namespace(stage, rootfs)?;
    // Without a map the files belong to nobody there.
    assert!(text.starts_with("65534:65534\n0\n"), "{text}");
    client.exec(
        "c1",
        "e",
        &["sh", "-c", "touch /bin/new 2>/dev/null && exit 7; id -u > /tmp/id; read id < /tmp/id; exit $((id + 6))"],
    )?;
    client.start("c1", "e")?;
    assert_eq!(client.wait("c1", "e")?.exit_status, 6);
    client.delete("c1", "e")?;
    Ok(client.end("c1")?)
}
