//! SELinux: what is put into a container has the label of the container's own process, as with runc. AppArmor is in
//! `tests/v2/labels.rs`; no client of containerd 1.6 asks for a label of SELinux.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use containerd_shim_protos::api::{Empty, ExecProcessRequest};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Outcome, command};
use serde_json::{Value, json};

use crate::Test;
use crate::client::exec_request;
use crate::stage::{Kind, Stage};
use crate::stdio::{Stdio, run};
use crate::{tests, unless};

pub fn tests() -> Vec<Test> {
    unless(
        tests![labels: execs_and_hooks_have_the_selinux_label_of_the_container],
        |kind| {
            if !Path::new(KERNEL).exists() {
                return Some("SELinux is off");
            }
            kind.program().is_err().then_some("no such containerd here")
        },
    )
}

pub const KERNEL: &str = "/sys/fs/selinux/load";
pub const LABEL: &str = "system_u:system_r:container_t:s0:c0,c1";

/// Loads the policy, if there is none yet.
pub fn load(stage: &Stage) -> Outcome {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if fs::read_to_string("/proc/self/attr/current")?.contains("kernel_t") {
        return Ok(());
    }
    let (source, policy) = (stage.dir().join("policy.cil"), stage.dir().join("policy"));
    fs::write(&source, include_str!("policy.cil"))?;
    let version = fs::read_to_string("/sys/fs/selinux/policyvers")?;
    let mut compiler = Command::new("secilc");
    compiler
        .args([
            "--policyvers",
            version.trim(),
            "--filecontext",
            "/dev/null",
            "--output",
        ])
        .arg(&policy)
        .arg(&source);
    command::run(&mut compiler, None, Duration::from_secs(60))?.success()?;
    // In one write.
    Ok(fs::write(KERNEL, fs::read(&policy)?)?)
}

fn execs_and_hooks_have_the_selinux_label_of_the_container(stage: &Stage) -> Outcome {
    load(stage)?;
    let look = ["cat", "/proc/self/attr/current"];
    let hook = json!({"postStart": {"exec": {"command": look}}});
    let script = "cat /proc/self/attr/current; exec sleep 600";
    let mut spec = stage
        .spec("c1", &["sh", "-c", script])
        .annotation("podhook.dev/lifecycle", &hook.to_string());
    spec.0["process"]["selinuxLabel"] = json!(LABEL);
    let client = stage.shim_of("c1", &spec)?;
    let log = |name: &str| stage.dir().join(name);
    let seen = |name: &str| {
        let log = log(name);
        wait::until_true(&format!("the label of {name}"), SOON, || {
            fs::read_to_string(&log).is_ok_and(|text| !text.is_empty())
        })?;
        let text = fs::read_to_string(&log)?;
        assert_eq!(text.trim_end_matches(['\0', '\n']), LABEL, "{name}");
        Ok::<_, crate::stage::Failure>(())
    };
    let uri = |name: &str| format!("file://{}", log(name).display());
    let stdio = Stdio {
        stdin: "",
        stdout: &uri("init"),
        stderr: "",
    };
    run(stage, &client, "c1", &stdio)?;
    seen("init")?;
    let request = ExecProcessRequest {
        stdout: uri("exec"),
        stderr: uri("exec"),
        ..exec_request("c1", "e1", &look)
    };
    let _: Empty = client.call("Exec", &request)?;
    client.start("c1", "e1")?;
    client.wait("c1", "e1")?;
    seen("exec")?;
    client.delete("c1", "e1")?;
    if stage.kind == Kind::Podhook {
        let record = fs::read(stage.bundle("c1").join("podhook.json"))?;
        let record: Value = serde_json::from_slice(&record)?;
        let output = record["hooks"][0]["output"].as_str().unwrap_or_default();
        assert_eq!(output.trim_end_matches(['\0', '\n']), LABEL, "{record}");
    }
    Ok(client.end("c1")?)
}
