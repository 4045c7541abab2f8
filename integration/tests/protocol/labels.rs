//! SELinux: what is put into a container has the label of the container's own process, as with runc. AppArmor is in
//! `tests/v2/labels.rs`; no client of containerd 1.6 asks for a label of SELinux.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use containerd_shim_protos::api::{Empty, ExecProcessRequest};
use podhook_integration::cri::v1;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Outcome, command};
use serde_json::{Value, json};

use crate::client::exec_request;
use crate::sandbox::{Pod, config};
use crate::stage::{Kind, Stage};
use crate::stdio::{Stdio, run};
use crate::{Test, podhook_only, tests, unless};

pub fn tests() -> Vec<Test> {
    let mut all = tests![labels: execs_and_hooks_have_the_selinux_label_of_the_container];
    all.extend(podhook_only(
        tests![labels: the_holder_and_the_files_of_a_pod_have_its_selinux_label],
    ));
    unless(all, |kind| {
        if !Path::new(KERNEL).exists() {
            return Some("SELinux is off");
        }
        if Path::new(POLICY).exists() && !is_own() {
            return Some("this machine has a policy of its own");
        }
        kind.program().is_err().then_some("no such containerd here")
    })
}

const KERNEL: &str = "/sys/fs/selinux/load";
const LABEL: &str = "system_u:system_r:container_t:s0:c0,c1";
/// What is read of a policy's files: its name, and by that the labels of containers.
const POLICY: &str = "/etc/selinux/config";
const NAMED: &str = "SELINUXTYPE=podhook-test\n";
const CONTEXTS: &str = "process = \"system_u:system_r:container_t:s0\"\nfile = \"system_u:object_r:container_file_t:s0\"\n";
/// The label of the files that a container may write.
const FILES: &str = "system_u:object_r:container_file_t:s0:c0,c1";

/// Whether the policy's files are those of these tests.
fn is_own() -> bool {
    fs::read_to_string(POLICY).is_ok_and(|text| text == NAMED)
}

/// Loads the policy, if there is none yet.
fn load(stage: &Stage) -> Outcome {
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

fn label_of_process(pid: i32) -> Result<String, crate::stage::Failure> {
    let label = fs::read_to_string(format!("/proc/{pid}/attr/current"))?;
    Ok(label.trim_end_matches(['\0', '\n']).to_owned())
}

fn label_of_file(path: &Path) -> Result<String, crate::stage::Failure> {
    let stat = command::stdout_of("stat", &["--format=%C", &path.display().to_string()])?;
    Ok(stat.trim().to_owned())
}

/// containerd words the pod's and the container's labels; the machine's has no Sandbox service to ask for the pod's.
fn the_holder_and_the_files_of_a_pod_have_its_selinux_label(stage: &Stage) -> Outcome {
    load(stage)?;
    let contexts = "/etc/selinux/podhook-test/contexts";
    fs::create_dir_all(contexts)?;
    fs::write(format!("{contexts}/lxc_contexts"), CONTEXTS)?;
    fs::write(POLICY, NAMED)?;
    for (level, label) in [
        ("", "system_u:system_r:container_t:s0"),
        ("s0:c0,c1", LABEL),
    ] {
        let mut config = config();
        let linux = config.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        security.selinux_options = Some(v1::SeLinuxOption {
            level: level.to_owned(),
            ..Default::default()
        });
        let (pod, holder) = Pod::run(stage, &config, "")?;
        assert_eq!(label_of_process(holder)?, label);
        let mut spec = stage.spec("c1", &["sleep", "600"]);
        spec.0["process"]["selinuxLabel"] = json!(LABEL);
        spec.0["linux"]["mountLabel"] = json!(FILES);
        let container = pod.container(stage, "c1", &spec)?;
        assert_eq!(label_of_process(container)?, LABEL);
        for file in ["etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/shm"] {
            let path = format!("/proc/{container}/root/{file}");
            assert_eq!(label_of_file(Path::new(&path))?, FILES, "{file}");
        }
        pod.tasks.end("c1")?;
        pod.end(stage)?;
        for id in ["c1", "p1"] {
            fs::remove_dir_all(stage.bundle(id))?;
        }
    }
    Ok(())
}
