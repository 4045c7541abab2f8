//! Limits of the kernel that a pod's start comes upon, and that sound like something else: "No space left on device" of a
//! namespace is no disk's. They are set in a user namespace of the test's own.

use std::fs;
use std::process::{Child, Command, Stdio};

use containerd_shim_protos::protobuf::Message as _;
use podhook_integration::Outcome;
use podhook_integration::wait::{self, SOON};
use serde_json::Value;
use ttrpc::Code;

use super::{ID, Network, Pod, READY, config, in_network, own_users};
use crate::stage::{Failure, Stage};
use crate::start::output;
use crate::{Test, tests};

pub fn tests() -> Vec<Test> {
    tests![sandbox:
        a_limit_of_namespaces_is_named,
        a_limit_of_user_namespaces_is_named,
        a_pod_has_as_large_annotations_as_its_answers_can_have,
    ]
}

/// Sets the limit of a kind of namespaces in the user namespace of a process.
fn allow(pid: u32, kind: &str, count: u32) -> Outcome {
    let write = format!("echo {count} > /proc/sys/user/max_{kind}_namespaces");
    let status = Command::new("nsenter")
        .args(["--user", "--target", &pid.to_string(), "sh", "-c", &write])
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{write}: {status}").into()),
    }
}

/// The start of a pod is refused, leaves nothing, and says this sysctl and no other one.
fn refused(stage: &Stage, pod: Pod, kind: &str) -> Outcome {
    let error = pod.start().err().ok_or("started")?;
    let named = error.message.matches("user.max_").count();
    assert!(
        named == 1
            && error
                .message
                .contains(&format!("user.max_{kind}_namespaces")),
        "{error}"
    );
    assert_eq!(stage.left_of(ID), Vec::<String>::new());
    pod.shutdown()?;
    // The shim waits for its clients to hang up.
    drop(pod);
    stage.wait_gone(ID)?;
    Ok(fs::remove_dir_all(stage.bundle(ID))?)
}

fn a_limit_of_namespaces_is_named(stage: &Stage) -> Outcome {
    let network = Network::new(true)?;
    let mut config = in_network();
    own_users(&mut config);
    for kind in ["ipc", "uts", "mnt", "pid"] {
        let pod = Pod::of(stage)?;
        pod.create(stage, &config, &network.path())?;
        allow(network.0.id(), kind, 0)?;
        refused(stage, pod, kind)?;
        allow(network.0.id(), kind, 100)?;
    }
    let (pod, _) = Pod::run(stage, &config, &network.path())?;
    assert_eq!(pod.state()?, READY);
    pod.end(stage)
}

/// A user namespace in which every user is who it is outside, while this lives; and a mount namespace.
struct Users(Child);

impl Users {
    fn new() -> Result<Self, Failure> {
        let child = Command::new("unshare")
            .args([
                "--user",
                "--mount",
                "--propagation",
                "unchanged",
                "sleep",
                "600",
            ])
            .stdin(Stdio::null())
            .spawn()?;
        let users = Self(child);
        let pid = users.0.id();
        wait::until_true("a user namespace", SOON, || {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
        })?;
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{map}"), "0 0 4294967295")?;
        }
        Ok(users)
    }

    /// The same command within.
    fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .args(["--user", "--mount", "--target", &self.0.id().to_string()])
            .args(["sh", "-c", "cd \"$1\"; shift; exec \"$@\"", "sh"])
            .args(command.get_current_dir())
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                inside.env(name, value);
            }
        }
        inside
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_limit_of_user_namespaces_is_named(stage: &Stage) -> Outcome {
    let users = Users::new()?;
    let mut config = config();
    own_users(&mut config);
    for count in [0, 100] {
        stage.make_bundle(ID, &stage.spec(ID, &["true"]))?;
        fs::remove_file(stage.bundle(ID).join("config.json"))?;
        let mut command = users.enter(stage.command(ID)?.args(["-debug", "start"]));
        let input = stage.params(ID).write_to_bytes()?;
        let pod = Pod::by(stage.connect(&output(&mut command, &input)?)?)?;
        pod.create(stage, &config, "")?;
        allow(users.0.id(), "user", count)?;
        match count {
            0 => refused(stage, pod, "user")?,
            _ => {
                pod.start()?;
                assert_eq!(pod.state()?, READY);
                pod.end(stage)?;
            }
        }
    }
    Ok(())
}

/// Of 4 MiB: those of requests and answers.
fn a_pod_has_as_large_annotations_as_its_answers_can_have(stage: &Stage) -> Outcome {
    let with = |text: &str, count| {
        let mut config = config();
        config
            .annotations
            .insert("a".to_owned(), text.repeat(count));
        config
    };
    for (config, shown) in [
        (with("x", 2_000_000), ["config", "runtimeSpec"].as_slice()),
        (with("x", 4_000_000), &["config"]),
    ] {
        let (pod, _) = Pod::run(stage, &config, "")?;
        let status = pod.status()?;
        assert_eq!(status.state, READY);
        let info: Value = serde_json::from_str(&status.info["info"])?;
        for part in ["config", "runtimeSpec"] {
            assert_eq!(!info[part].is_null(), shown.contains(&part), "{part}");
        }
        pod.end(stage)?;
        fs::remove_dir_all(stage.bundle(ID))?;
    }
    // The second fits into its request, and six times as large, as JSON has it, into no answer.
    for config in [with("x", 4_190_000), with("\u{1}", 800_000)] {
        let pod = Pod::of(stage)?;
        let error = pod.create(stage, &config, "").err().ok_or("created")?;
        assert_eq!(error.code, Code::INVALID_ARGUMENT);
        assert!(
            error.message.contains("with its annotations, has"),
            "{error}"
        );
        assert_eq!(stage.left_of(ID), Vec::<String>::new());
        pod.shutdown()?;
        drop(pod);
        stage.wait_gone(ID)?;
        fs::remove_dir_all(stage.bundle(ID))?;
    }
    Ok(())
}
