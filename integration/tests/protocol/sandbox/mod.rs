//! The Sandbox service: a pod without a pause container, its holder, its files, its end. No other shim for runc has it.

mod apparmor;
mod given_up;
mod hostile;
mod inherited;
mod limits;
mod pinned;
mod refused;
mod scarce;
mod selinux;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
    PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse, StartSandboxRequest,
    StartSandboxResponse, StopSandboxRequest, StopSandboxResponse, UpdateSandboxRequest,
    UpdateSandboxResponse, WaitSandboxRequest, WaitSandboxResponse,
};
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;
use podhook_integration::Outcome;
use podhook_integration::cri::v1;
use podhook_integration::wait::{self, SOON};
use prost::Message as _;
use serde_json::{Value, json};
use ttrpc::Code;

use crate::bundle::Spec;
use crate::client::{Answer, Client};
use crate::stage::{Failure, Stage};
use crate::start::output;
use crate::verbs::kill9;
use crate::{Test, podhook_only, tests, unless};

const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";
const ID: &str = "p1";
const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

pub fn tests() -> Vec<Test> {
    let no_systemd =
        |_| (!Path::new("/run/systemd/system").exists()).then_some("no systemd on this machine");
    let mut all = unless(tests![sandbox: a_pod_below_a_slice_has_a_scope], no_systemd);
    all.extend(tests![sandbox:
        a_pod_lives_and_leaves_nothing,
        every_order_of_calls_has_its_answer,
        a_configuration_that_is_none_is_refused,
        what_cannot_be_started_leaves_nothing,
        a_sysctl_that_is_not_the_pods_is_refused,
        a_shim_whose_pod_was_refused_can_be_ended,
        a_pod_whose_holder_is_killed_is_not_ready,
        a_pod_whose_shim_is_killed_is_ended_by_delete,
        a_shim_with_a_pod_outlives_its_containers,
        a_container_gets_the_pods_files,
        a_container_gets_the_pods_hooks,
        the_holder_has_no_right_to_anything,
        a_container_of_its_pid_namespace_learns_nothing_from_the_holder,
        the_holder_reaps_for_its_pid_namespace,
        hostname_and_sysctls_are_the_pods,
        a_pod_has_users_of_its_own,
        metrics_are_those_of_the_pods_cgroup,
    ]);
    all.extend(pinned::tests());
    all.extend(apparmor::tests());
    all.extend(selinux::tests());
    all.extend(hostile::tests());
    all.extend(scarce::tests());
    all.extend(limits::tests());
    all.extend(inherited::tests());
    all.extend(refused::tests());
    all.extend(given_up::tests());
    podhook_only(all)
}

/// A pod, and the connections to its shim.
struct Pod {
    sandbox: Client,
    tasks: Client,
}

impl Pod {
    /// A shim that was started as containerd does for a sandbox: without a configuration in the bundle.
    fn of(stage: &Stage) -> Result<Self, Failure> {
        Self::started(stage, |start| start)
    }

    /// The same by what becomes of the command.
    fn started(stage: &Stage, change: impl FnOnce(Command) -> Command) -> Result<Self, Failure> {
        stage.make_bundle(ID, &stage.spec(ID, &["true"]))?;
        fs::remove_file(stage.bundle(ID).join("config.json"))?;
        let mut start = stage.command(ID)?;
        start.args(["-debug", "start"]);
        let input = stage.params(ID).write_to_bytes()?;
        Self::by(stage.connect(&output(&mut change(start), &input)?)?)
    }

    /// The one whose shim this is a connection to.
    fn by(tasks: Client) -> Result<Self, Failure> {
        let sandbox = Client::of(SERVICE, tasks.address())?;
        Ok(Self { sandbox, tasks })
    }

    /// One that is ready; its holder's pid.
    fn run(
        stage: &Stage,
        config: &v1::PodSandboxConfig,
        network: &str,
    ) -> Result<(Self, i32), Failure> {
        let pod = Self::of(stage)?;
        pod.create(stage, config, network)?;
        let pid = pod.start()?.pid;
        Ok((pod, i32::try_from(pid)?))
    }

    fn create(
        &self,
        stage: &Stage,
        config: &v1::PodSandboxConfig,
        network: &str,
    ) -> Answer<CreateSandboxResponse> {
        self.create_with(stage, Some(any(config)), network)
    }

    fn create_with(
        &self,
        stage: &Stage,
        options: Option<Any>,
        network: &str,
    ) -> Answer<CreateSandboxResponse> {
        let request = CreateSandboxRequest {
            sandbox_id: ID.to_owned(),
            bundle_path: stage.bundle(ID).display().to_string(),
            netns_path: network.to_owned(),
            options: options.into(),
            ..Default::default()
        };
        self.sandbox.call("CreateSandbox", &request)
    }

    fn start(&self) -> Answer<StartSandboxResponse> {
        let request = StartSandboxRequest {
            sandbox_id: ID.to_owned(),
            ..Default::default()
        };
        self.sandbox.call("StartSandbox", &request)
    }

    fn stop(&self) -> Answer<StopSandboxResponse> {
        let request = StopSandboxRequest {
            sandbox_id: ID.to_owned(),
            ..Default::default()
        };
        self.sandbox.call("StopSandbox", &request)
    }

    fn wait(&self) -> Answer<WaitSandboxResponse> {
        let request = WaitSandboxRequest {
            sandbox_id: ID.to_owned(),
            ..Default::default()
        };
        self.sandbox.call("WaitSandbox", &request)
    }

    fn status(&self) -> Answer<SandboxStatusResponse> {
        let request = SandboxStatusRequest {
            sandbox_id: ID.to_owned(),
            verbose: true,
            ..Default::default()
        };
        self.sandbox.call("SandboxStatus", &request)
    }

    fn state(&self) -> Result<String, Failure> {
        Ok(self.status()?.state)
    }

    fn shutdown(&self) -> Answer<ShutdownSandboxResponse> {
        let request = ShutdownSandboxRequest {
            sandbox_id: ID.to_owned(),
            ..Default::default()
        };
        self.sandbox.call("ShutdownSandbox", &request)
    }

    /// Stop and Shutdown, and nothing is left.
    fn end(&self, stage: &Stage) -> Outcome {
        self.stop()?;
        self.shutdown()?;
        stage.wait_gone(ID)?;
        assert_eq!(stage.left_of(ID), Vec::<String>::new());
        Ok(())
    }

    /// Shutdown, and the shim is gone: it waits for its clients to hang up.
    fn leave(self, stage: &Stage) -> Outcome {
        self.shutdown()?;
        drop(self);
        stage.wait_gone(ID)
    }

    /// A container of the pod.
    fn container(&self, stage: &Stage, id: &str, spec: &Spec) -> Result<i32, Failure> {
        stage.make_bundle(id, spec)?;
        fs::write(stage.bundle(id).join("sandbox"), ID)?;
        Ok(i32::try_from(self.tasks.run(stage, id)?)?)
    }
}

fn any(config: &v1::PodSandboxConfig) -> Any {
    Any {
        type_url: "runtime.v1.PodSandboxConfig".to_owned(),
        value: config.encode_to_vec(),
        ..Any::default()
    }
}

/// A pod in the host's network, as the kubelet words it.
fn config() -> v1::PodSandboxConfig {
    let options = v1::NamespaceOption {
        network: v1::NamespaceMode::Node as i32,
        pid: v1::NamespaceMode::Container as i32,
        ..Default::default()
    };
    let mut config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: "web".to_owned(),
            uid: "u".to_owned(),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: "web-0".to_owned(),
        ..Default::default()
    };
    *namespaces(&mut config) = options;
    config
}

/// The same in a network of the pod's own.
fn in_network() -> v1::PodSandboxConfig {
    let mut config = config();
    namespaces(&mut config).network = v1::NamespaceMode::Pod as i32;
    config
}

fn namespaces(config: &mut v1::PodSandboxConfig) -> &mut v1::NamespaceOption {
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default()
}

/// A network namespace, while this lives.
struct Network(Child);

impl Network {
    fn new(users: bool) -> Result<Self, Failure> {
        let mut command = Command::new("unshare");
        if users {
            command.arg("--user");
        }
        let child = command
            .args(["--net", "sleep", "600"])
            .stdin(Stdio::null())
            .spawn()?;
        let network = Self(child);
        let pid = network.0.id();
        wait::until_true("a network namespace", SOON, || {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
        })?;
        if users {
            for map in ["uid_map", "gid_map"] {
                fs::write(format!("/proc/{pid}/{map}"), "0 100000 65536")?;
            }
        }
        Ok(network)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn refused<T>(answer: Answer<T>) -> Result<Code, Failure> {
    Ok(answer.err().ok_or("not refused")?.code)
}

fn namespace(pid: i32, name: &str) -> Result<PathBuf, Failure> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/{name}"))?)
}

fn is_gone(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_err()
}

fn status_of(pid: i32, field: &str) -> Result<String, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")));
    Ok(line.ok_or("no such field")?.trim().to_owned())
}

fn a_pod_lives_and_leaves_nothing(stage: &Stage) -> Outcome {
    let pod = Pod::of(stage)?;
    pod.create(stage, &config(), "")?;
    let status = pod.status()?;
    assert_eq!((status.state.as_str(), status.pid), (NOT_READY, 0));
    let started = pod.start()?;
    let pid = i32::try_from(started.pid)?;
    assert!(started.created_at.seconds > 0);
    let spec = started.spec.into_option().ok_or("no specification")?;
    assert_eq!(
        spec.type_url,
        "types.containerd.io/opencontainers/runtime-spec/1/Spec"
    );
    let spec: Value = serde_json::from_slice(&spec.value)?;
    assert_eq!(spec["annotations"]["io.kubernetes.cri.sandbox-name"], "web");
    let status = pod.status()?;
    assert_eq!((status.state.as_str(), status.pid), (READY, started.pid));
    let info: Value = serde_json::from_str(&status.info["info"])?;
    assert_eq!(
        (
            &info["pid"],
            &info["processStatus"],
            &info["config"]["hostname"]
        ),
        (&json!(pid), &json!("running"), &json!("web-0"))
    );
    let named = PlatformRequest {
        sandbox_id: ID.to_owned(),
        ..Default::default()
    };
    let platform: PlatformResponse = pod.sandbox.call("Platform", &named)?;
    assert_eq!(platform.platform.os, "linux");
    let ping = PingRequest {
        sandbox_id: ID.to_owned(),
        ..Default::default()
    };
    pod.sandbox.call::<PingResponse>("PingSandbox", &ping)?;
    let update = UpdateSandboxRequest {
        sandbox_id: ID.to_owned(),
        ..Default::default()
    };
    pod.sandbox
        .call::<UpdateSandboxResponse>("UpdateSandbox", &update)?;
    pod.stop()?;
    assert!(is_gone(pid));
    let status = pod.status()?;
    assert_eq!((status.state.as_str(), status.pid), (NOT_READY, 0));
    assert!(status.exited_at.seconds > 0);
    assert_eq!(pod.wait()?.exit_status, 137);
    // containerd removes the pod's network now, and the rest later.
    assert_eq!(stage.left_of(ID), Vec::<String>::new());
    pod.shutdown()?;
    stage.wait_gone(ID)?;
    let output = stage.delete_verb(ID)?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    Ok(())
}

fn every_order_of_calls_has_its_answer(stage: &Stage) -> Outcome {
    let pod = Pod::of(stage)?;
    assert_eq!(refused(pod.start())?, Code::NOT_FOUND);
    assert_eq!(refused(pod.status())?, Code::NOT_FOUND);
    assert_eq!(refused(pod.stop())?, Code::NOT_FOUND);
    pod.create(stage, &config(), "")?;
    assert_eq!(
        refused(pod.create(stage, &config(), ""))?,
        Code::ALREADY_EXISTS
    );
    let other = StartSandboxRequest {
        sandbox_id: "p2".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        refused(
            pod.sandbox
                .call::<StartSandboxResponse>("StartSandbox", &other)
        )?,
        Code::NOT_FOUND
    );
    pod.start()?;
    assert_eq!(refused(pod.start())?, Code::ALREADY_EXISTS);
    let waits: Vec<_> = (0..3)
        .map(|_| {
            let client = pod.sandbox.clone();
            let request = WaitSandboxRequest {
                sandbox_id: ID.to_owned(),
                ..Default::default()
            };
            thread::spawn(move || client.call::<WaitSandboxResponse>("WaitSandbox", &request))
        })
        .collect();
    pod.stop()?;
    pod.stop()?;
    for wait in waits {
        let answer = wait.join().map_err(|_| "a Wait panicked")??;
        assert_eq!(answer.exit_status, 137);
    }
    assert_eq!(refused(pod.start())?, Code::FAILED_PRECONDITION);
    pod.shutdown()?;
    stage.wait_gone(ID)
}

fn a_configuration_that_is_none_is_refused(stage: &Stage) -> Outcome {
    let pod = Pod::of(stage)?;
    let other = Any {
        type_url: "runtime.v1.ContainerConfig".to_owned(),
        ..Any::default()
    };
    for wrong in [None, Some(other)] {
        assert_eq!(
            refused(pod.create_with(stage, wrong, ""))?,
            Code::INVALID_ARGUMENT
        );
    }
    // The shim is there for another try.
    pod.create(stage, &config(), "")?;
    pod.end(stage)
}

fn what_cannot_be_started_leaves_nothing(stage: &Stage) -> Outcome {
    let pod = Pod::of(stage)?;
    let network = Network::new(false)?;
    let mut wrong = config();
    namespaces(&mut wrong).network = v1::NamespaceMode::Pod as i32;
    sysctls(&mut wrong).insert("net.core.no_such_sysctl".to_owned(), "1".to_owned());
    pod.create(stage, &wrong, &network.path())?;
    let error = pod.start().err().ok_or("started")?;
    let said = "write a sysctl: \"1\" to /proc/sys/net/core/no_such_sysctl: No such file";
    assert!(error.message.contains(said), "{error}");
    assert_eq!(pod.state()?, NOT_READY);
    assert_eq!(stage.left_of(ID), Vec::<String>::new());
    pod.shutdown()?;
    stage.wait_gone(ID)
}

fn sysctls(config: &mut v1::PodSandboxConfig) -> &mut HashMap<String, String> {
    &mut config.linux.get_or_insert_default().sysctls
}

/// containerd's next call is Shutdown, whatever the answer was.
fn a_shim_whose_pod_was_refused_can_be_ended(stage: &Stage) -> Outcome {
    let pod = Pod::of(stage)?;
    let mut wrong = config();
    sysctls(&mut wrong).insert("vm.no_such_sysctl".to_owned(), "1".to_owned());
    assert_eq!(
        refused(pod.create(stage, &wrong, ""))?,
        Code::INVALID_ARGUMENT
    );
    pod.shutdown()?;
    stage.wait_gone(ID)?;
    assert_eq!(stage.left_of(ID), Vec::<String>::new());
    let output = stage.delete_verb(ID)?;
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

/// As by runc, for a pause container. The values are the node's own: nothing happens to it where one is written.
fn a_sysctl_that_is_not_the_pods_is_refused(stage: &Stage) -> Outcome {
    let pod = Pod::of(stage)?;
    let core = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    let host = "not allowed in host network namespace";
    let elsewhere = "is not in a separate kernel namespace";
    for (name, reason) in [
        ("kernel.core_pattern", elsewhere),
        ("kernel/core_pattern", elsewhere),
        ("net/../kernel/core_pattern", "is not the name of one"),
        ("net.ipv4.ip_forward", host),
        ("kernel.hostname", elsewhere),
    ] {
        let mut wrong = config();
        sysctls(&mut wrong).insert(name.to_owned(), core.trim().to_owned());
        let error = pod
            .create(stage, &wrong, "")
            .err()
            .ok_or_else(|| format!("{name}: not refused"))?;
        assert_eq!(error.code, Code::INVALID_ARGUMENT);
        let said = format!("sysctl {name:?} {reason}");
        assert!(error.message.contains(&said), "{error}");
    }
    pod.create(stage, &config(), "")?;
    pod.end(stage)
}

fn a_pod_whose_holder_is_killed_is_not_ready(stage: &Stage) -> Outcome {
    let (pod, pid) = Pod::run(stage, &config(), "")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    assert_eq!(pod.wait()?.exit_status, 137);
    assert_eq!(pod.state()?, NOT_READY);
    pod.end(stage)
}

fn a_pod_whose_shim_is_killed_is_ended_by_delete(stage: &Stage) -> Outcome {
    let (_pod, pid) = Pod::run(stage, &config(), "")?;
    kill9(stage.shim_pid(ID))?;
    stage.wait_gone(ID)?;
    assert!(!is_gone(pid) && !stage.left_of(ID).is_empty());
    let output = stage.delete_verb(ID)?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    wait::until_true("the end of the holder", SOON, || is_gone(pid))?;
    assert_eq!(stage.left_of(ID), Vec::<String>::new());
    Ok(())
}

fn a_shim_with_a_pod_outlives_its_containers(stage: &Stage) -> Outcome {
    let (pod, _) = Pod::run(stage, &config(), "")?;
    pod.container(stage, "c1", &stage.spec("c1", &["sleep", "600"]))?;
    let error = pod.shutdown().err().ok_or("ended")?;
    assert_eq!(error.code, Code::FAILED_PRECONDITION);
    // As containerd does for each container.
    pod.tasks.end("c1")?;
    assert_eq!(pod.state()?, READY);
    pod.container(stage, "c2", &stage.spec("c2", &["sleep", "600"]))?;
    pod.tasks.end("c2")?;
    pod.end(stage)
}

fn a_container_gets_the_pods_files(stage: &Stage) -> Outcome {
    let mut config = config();
    config.dns_config = Some(v1::DnsConfig {
        servers: vec!["10.0.0.10".to_owned()],
        searches: vec!["svc.local".to_owned()],
        options: Vec::new(),
    });
    let (pod, _) = Pod::run(stage, &config, "")?;
    let first = pod.container(stage, "c1", &stage.spec("c1", &["sleep", "600"]))?;
    let mut read_only = stage.spec("c2", &["sleep", "600"]);
    read_only.0["root"]["readonly"] = json!(true);
    let second = pod.container(stage, "c2", &read_only)?;
    let read = |pid: i32, path: &str| fs::read_to_string(format!("/proc/{pid}/root{path}"));
    for pid in [first, second] {
        assert_eq!(read(pid, "/etc/hostname")?, "web-0\n");
        assert_eq!(
            read(pid, "/etc/resolv.conf")?,
            "search svc.local\nnameserver 10.0.0.10\n"
        );
        assert_eq!(read(pid, "/etc/hosts")?, fs::read_to_string("/etc/hosts")?);
    }
    fs::write(format!("/proc/{first}/root/dev/shm/shared"), "x")?;
    assert_eq!(read(second, "/dev/shm/shared")?, "x");
    let options = |pid: i32, place: &str| -> Result<String, Failure> {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
        let line = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(place));
        Ok(line
            .and_then(|line| line.split(' ').nth(3))
            .ok_or("no such mount")?
            .to_owned())
    };
    assert!(options(first, "/etc/hosts")?.starts_with("rw"));
    assert!(options(second, "/etc/hosts")?.starts_with("ro"));
    let shm = options(first, "/dev/shm")?;
    for option in ["nosuid", "nodev", "noexec", "size=65536k"] {
        assert!(shm.contains(option), "{shm}");
    }
    // Whoever fills one fills nothing of the node's.
    let file = statvfs(format!("/proc/{first}/root/etc/resolv.conf").as_str())?;
    assert_eq!(file.blocks() * file.fragment_size(), 64 << 20);
    let bundle = fs::metadata(stage.bundle(ID))?.dev();
    let device = fs::metadata(format!("/proc/{first}/root/etc/hostname"))?.dev();
    assert_ne!(device, bundle);
    for id in ["c1", "c2"] {
        pod.tasks.end(id)?;
    }
    pod.end(stage)
}

/// The annotation comes with the pod alone: containerd's configuration passes none on.
fn a_container_gets_the_pods_hooks(stage: &Stage) -> Outcome {
    let mut config = config();
    let hook = json!({"postStart": {"exec": {"command": ["touch", "/tmp/hooked"]}}}).to_string();
    config
        .annotations
        .insert("lifecycle.podhook.dev/web".to_owned(), hook);
    config
        .annotations
        .insert("example.com/other".to_owned(), "x".to_owned());
    let (pod, _) = Pod::run(stage, &config, "")?;
    let spec = stage
        .spec("c1", &["sleep", "600"])
        .annotation("io.kubernetes.cri.container-type", "container")
        .annotation("io.kubernetes.cri.container-name", "web");
    let pid = pod.container(stage, "c1", &spec)?;
    assert!(Path::new(&format!("/proc/{pid}/root/tmp/hooked")).exists());
    let config: Value = serde_json::from_slice(&fs::read(stage.bundle("c1").join("config.json"))?)?;
    assert_eq!(config["annotations"].get("example.com/other"), None);
    pod.tasks.end("c1")?;
    pod.end(stage)
}

fn the_holder_has_no_right_to_anything(stage: &Stage) -> Outcome {
    let (pod, pid) = Pod::run(stage, &config(), "")?;
    let expected = [
        ("Uid", "65535\t65535\t65535\t65535"),
        ("Gid", "65535\t65535\t65535\t65535"),
        ("Groups", ""),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Threads", "1"),
    ];
    for (field, value) in expected {
        assert_eq!(status_of(pid, field)?, value, "{field}");
    }
    let process = PathBuf::from(format!("/proc/{pid}"));
    let names = |folder: &str| fs::read_dir(process.join(folder)).map(Iterator::count);
    // It is told ready by the end of a pipe, which the kernel closes with the others as it executes the program.
    wait::until_true("no descriptor", SOON, || {
        names("fd").is_ok_and(|count| count == 0)
    })?;
    assert_eq!(names("root")?, 0);
    let mounts = fs::read_to_string(process.join("mounts"))?;
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains(" / tmpfs ro,"), "{mounts}");
    assert_eq!(fs::read(process.join("environ"))?, b"");
    assert!(fs::write(process.join("root/x"), "").is_err());
    // Its memory: what is its own alone.
    let memory = fs::read_to_string(process.join("smaps_rollup"))?;
    let private: u64 = memory
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    assert!(private <= 60, "{memory}");
    // Not readable by a process of its own user.
    let read = Command::new("setpriv")
        .args([
            "--reuid=65535",
            "--regid=65535",
            "--clear-groups",
            "readlink",
        ])
        .arg(process.join("exe"))
        .output()?;
    assert!(!read.status.success(), "{read:?}");
    // Signals that a pod's process may send do nothing.
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
    ] {
        kill(Pid::from_raw(pid), signal)?;
    }
    assert_eq!(pod.state()?, READY);
    pod.end(stage)
}

/// What a container has written to `/tmp/said`, once it ends so.
fn said(pid: i32, end: &str) -> Result<String, Failure> {
    let path = format!("/proc/{pid}/root/tmp/said");
    wait::until_true("the script's end", SOON, || {
        fs::read_to_string(&path).is_ok_and(|text| text.ends_with(end))
    })?;
    Ok(fs::read_to_string(&path)?)
}

/// A container in the holder's namespaces, as CRI makes it.
fn in_namespaces(mut spec: Spec, holder: i32, names: &[(&str, &str)]) -> Spec {
    let list = spec.0["linux"]["namespaces"]
        .as_array_mut()
        .expect("a list");
    list.retain(|one| !names.iter().any(|(kind, _)| one["type"] == *kind));
    for (kind, name) in names {
        list.push(json!({"type": kind, "path": format!("/proc/{holder}/ns/{name}")}));
    }
    spec
}

fn a_container_of_its_pid_namespace_learns_nothing_from_the_holder(stage: &Stage) -> Outcome {
    let mut config = config();
    namespaces(&mut config).pid = v1::NamespaceMode::Pod as i32;
    let (pod, holder) = Pod::run(stage, &config, "")?;
    for field in ["NSpid", "NSsid"] {
        assert!(status_of(holder, field)?.ends_with("\t1"), "{field}");
    }
    let script = "for f in exe root cwd fd mem environ maps auxv ns/net; do \
        if cat /proc/1/$f >/dev/null 2>&1 || stat -L /proc/1/$f >/dev/null 2>&1 && [ $f != mem ] && [ $f != environ ] \
        && [ $f != maps ] && [ $f != auxv ] && [ $f != fd ]; then echo readable $f; fi; done; \
        echo x 2>/dev/null > /proc/1/oom_score_adj && echo changed; \
        kill -TERM 1; kill -KILL 1; kill -HUP 1; sleep 1; stat /proc/1 >/dev/null || echo gone; \
        cat /proc/1/comm; sleep 600";
    let mut spec = in_namespaces(
        stage.spec("c1", &["sh", "-c", script]),
        holder,
        &[("pid", "pid")],
    );
    spec.0["process"]["args"] = json!(["sh", "-c", format!("({script}) > /tmp/said 2>/dev/null")]);
    let pid = pod.container(stage, "c1", &spec)?;
    assert_eq!(said(pid, "podhook-pause\n")?, "podhook-pause\n");
    assert_eq!(pod.state()?, READY);
    pod.tasks.end("c1")?;
    pod.end(stage)
}

fn the_holder_reaps_for_its_pid_namespace(stage: &Stage) -> Outcome {
    let mut config = config();
    namespaces(&mut config).pid = v1::NamespaceMode::Pod as i32;
    let (pod, holder) = Pod::run(stage, &config, "")?;
    let script = "for i in 1 2 3 4 5; do (usleep 100000 &) ; done; touch /tmp/made; sleep 600";
    let spec = in_namespaces(
        stage.spec("c1", &["sh", "-c", script]),
        holder,
        &[("pid", "pid")],
    );
    let pid = pod.container(stage, "c1", &spec)?;
    let made = PathBuf::from(format!("/proc/{pid}/root/tmp/made"));
    wait::until_true("the orphans", SOON, || made.exists())?;
    let children = PathBuf::from(format!("/proc/{holder}/task/{holder}/children"));
    wait::until_true("the orphans to be reaped", SOON, || {
        fs::read_to_string(&children).is_ok_and(|list| list.trim().is_empty())
    })?;
    // The end of the pod's first process ends all others.
    pod.stop()?;
    pod.tasks.wait("c1", "")?;
    pod.tasks.delete("c1", "")?;
    pod.end(stage)
}

fn hostname_and_sysctls_are_the_pods(stage: &Stage) -> Outcome {
    let network = Network::new(false)?;
    let mut config = config();
    namespaces(&mut config).network = v1::NamespaceMode::Pod as i32;
    for name in ["kernel.shm_rmid_forced", "net.ipv4.conf.lo.forwarding"] {
        sysctls(&mut config).insert(name.to_owned(), "1".to_owned());
    }
    let (pod, holder) = Pod::run(stage, &config, &network.path())?;
    for name in ["ipc", "uts", "mnt"] {
        assert_ne!(
            namespace(holder, name)?,
            fs::read_link(format!("/proc/self/ns/{name}"))?
        );
    }
    assert_eq!(namespace(holder, "net")?, fs::read_link(network.path())?);
    let inside = |words: &[&str]| -> Result<String, Failure> {
        let output = Command::new("nsenter")
            .args(["--net", "--ipc", "--uts", "--target", &holder.to_string()])
            .args(words)
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert_eq!(inside(&["hostname"])?, "web-0");
    for (name, value) in [
        ("kernel/shm_rmid_forced", "1"),
        ("net/ipv4/conf/lo/forwarding", "1"),
        ("net/ipv4/ip_unprivileged_port_start", "0"),
        ("net/ipv4/ping_group_range", "0\t2147483647"),
    ] {
        assert_eq!(
            inside(&["cat", &format!("/proc/sys/{name}")])?,
            value,
            "{name}"
        );
    }
    pod.end(stage)
}

/// Gives a pod a PID namespace and users of its own: those of [`Network::new`].
fn own_users(config: &mut v1::PodSandboxConfig) {
    let map = || v1::IdMapping {
        container_id: 0,
        host_id: 100_000,
        length: 65536,
    };
    let options = namespaces(config);
    options.pid = v1::NamespaceMode::Pod as i32;
    options.userns_options = Some(v1::UserNamespace {
        mode: v1::NamespaceMode::Pod as i32,
        uids: vec![map()],
        gids: vec![map()],
    });
}

fn a_pod_has_users_of_its_own(stage: &Stage) -> Outcome {
    for own_network in [true, false] {
        let network = Network::new(true)?;
        let mut config = config();
        own_users(&mut config);
        let path = network.path();
        if own_network {
            namespaces(&mut config).network = v1::NamespaceMode::Pod as i32;
        }
        let (pod, holder) = Pod::run(stage, &config, if own_network { &path } else { "" })?;
        assert_eq!(status_of(holder, "Uid")?.split('\t').next(), Some("165535"));
        assert!(status_of(holder, "NSpid")?.ends_with("\t1"));
        let users = namespace(holder, "user")?;
        assert_ne!(users, fs::read_link("/proc/self/ns/user")?);
        if own_network {
            let owner = format!("/proc/{}/ns/user", network.0.id());
            assert_eq!(users, fs::read_link(owner)?);
        }
        let maps = fs::read_to_string(format!("/proc/{holder}/uid_map"))?;
        let words: Vec<_> = maps.split_whitespace().collect();
        assert_eq!(words, ["0", "100000", "65536"]);
        // Its files are its root's, without id-mapped mounts: Linux before 6.3 has none of a tmpfs.
        for name in ["hosts", "hostname", "resolv.conf"] {
            let file = fs::metadata(stage.bundle(ID).join("pod").join(name))?;
            assert_eq!((file.uid(), file.gid()), (100_000, 100_000), "{name}");
        }
        pod.end(stage)?;
        fs::remove_dir_all(stage.bundle(ID))?;
    }
    Ok(())
}

fn metrics_are_those_of_the_pods_cgroup(stage: &Stage) -> Outcome {
    let mut config = config();
    let parent = format!("/{}/pod", stage.namespace());
    config.linux.get_or_insert_default().cgroup_parent = parent.clone();
    let (pod, holder) = Pod::run(stage, &config, "")?;
    let own = fs::read_to_string(format!("/proc/{holder}/cgroup"))?;
    assert!(own.contains(&format!(":{parent}/{ID}")), "{own}");
    let request = SandboxMetricsRequest {
        sandbox_id: ID.to_owned(),
        ..Default::default()
    };
    let answer: SandboxMetricsResponse = pod.sandbox.call("SandboxMetrics", &request)?;
    assert_eq!(answer.metrics.id, ID);
    assert!(answer.metrics.timestamp.seconds > 0);
    let data = answer
        .metrics
        .data
        .clone()
        .into_option()
        .ok_or("no metrics")?;
    assert!(data.type_url.ends_with(".Metrics"), "{}", data.type_url);
    assert!(!data.value.is_empty());
    pod.end(stage)?;
    let request = SandboxMetricsRequest {
        sandbox_id: ID.to_owned(),
        ..Default::default()
    };
    assert!(
        pod.sandbox
            .call::<SandboxMetricsResponse>("SandboxMetrics", &request)
            .is_err()
    );
    for root in podhook_integration::containerd::remains::cgroups(parent.trim_start_matches('/')) {
        fs::remove_dir(root)?;
    }
    Ok(())
}

fn a_pod_below_a_slice_has_a_scope(stage: &Stage) -> Outcome {
    let mut config = config();
    let slice = format!("{}.slice", stage.namespace().replace('-', "_"));
    config.linux.get_or_insert_default().cgroup_parent = format!("/{slice}");
    let (pod, holder) = Pod::run(stage, &config, "")?;
    let scope = format!("{slice}/cri-containerd-{ID}.scope");
    let own = fs::read_to_string(format!("/proc/{holder}/cgroup"))?;
    assert!(
        own.lines()
            .all(|line| line.ends_with(&scope) || line.ends_with(":/")),
        "{own}"
    );
    let request = SandboxMetricsRequest {
        sandbox_id: ID.to_owned(),
        ..Default::default()
    };
    let answer: SandboxMetricsResponse = pod.sandbox.call("SandboxMetrics", &request)?;
    assert_eq!(answer.metrics.id, ID);
    // A container's options need not say so.
    let mut spec = stage.spec("c1", &["sleep", "600"]);
    spec.0["linux"]["cgroupsPath"] = json!(format!("{slice}:cri-containerd:c1"));
    let pid = pod.container(stage, "c1", &spec)?;
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let scope = format!("{slice}/cri-containerd-c1.scope");
    assert!(own.lines().any(|line| line.ends_with(&scope)), "{own}");
    pod.tasks.end("c1")?;
    kill9(stage.shim_pid(ID))?;
    stage.wait_gone(ID)?;
    let output = stage.delete_verb(ID)?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    wait::until_true("the scope to be gone", SOON, || {
        let active = Command::new("systemctl")
            .args([
                "is-active",
                "--quiet",
                &format!("cri-containerd-{ID}.scope"),
            ])
            .status();
        active.is_ok_and(|status| !status.success())
    })?;
    let _ = Command::new("systemctl").args(["stop", &slice]).status();
    Ok(())
}
