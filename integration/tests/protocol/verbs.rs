//! `start`, `delete`, `-info` and `-v`: arguments, stdin, stdout, and what they leave.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse, Empty};
use containerd_shim_protos::shim::oci::Options;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Outcome};
use ttrpc::Code;

use crate::Test;
use crate::bundle::Spec;
use crate::client::{Client, create_request};
use crate::options::overlay_with_mapped_ids;
use crate::podhook_only;
use crate::stage::{Failure, Kind, Stage, any};
use crate::start::output;
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![verbs:
        start_prints_an_address_that_serves,
        start_makes_a_private_socket,
        a_socket_that_a_killed_shim_left_is_replaced,
        the_shim_is_killed_before_containerd_for_memory,
        sched_core_is_as_the_kernel_has_it,
        the_shim_moves_to_its_cgroup,
        start_without_a_bundle_fails_and_leaves_no_shim,
        containers_of_one_group_have_one_shim,
        a_method_that_the_sandbox_service_does_not_have_is_unimplemented,
    ];
    all.extend(podhook_only(tests![verbs:
        version_is_printed,
        the_server_needs_start,
        both_versions_of_the_task_service_are_on_one_socket,
        many_starts_of_a_pod_beside_a_stale_socket_make_one_shim,
        a_shim_that_ends_leaves_the_socket_of_another,
        names_in_tmp_that_somebody_has_taken_hold_up_nobody,
        delete_removes_what_a_killed_shim_had_beside_its_socket,
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
    if !matches!(stage.kind, Kind::Go(generation) if generation >= Generation::V2) {
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

/// Kills a shim, and waits for its end: one that still dies has its socket open, but no command line any more.
pub fn kill9(pid: Option<i32>) -> Outcome {
    let pid = pid.ok_or("no shim")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    Ok(wait::until_true("the shim to be dead", SOON, || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Its first thread may end before the others.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        threads == 0 || (threads == 1 && stat.contains(") Z "))
    })?)
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
    let thread = thread::spawn(|| {
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
    let started = output(&mut command, &stage.start_input("c1", b"")?)?;
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
        Err(_) => {
            let text = started.stdout.iter().chain(&started.stderr).copied();
            let text = String::from_utf8_lossy(&text.collect::<Vec<_>>()).into_owned();
            assert!(!started.status.success(), "{text}");
            assert!(text.contains("enable sched core support: "), "{text}");
        }
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

fn containers_of_one_group_have_one_shim(stage: &Stage) -> Outcome {
    let group = "io.containerd.runc.v2.group";
    for (n, (label, value, joins)) in [
        (group, "g", true),
        ("io.kubernetes.cri.sandbox-id", "s", true),
        ("some.other/label", "s", false),
    ]
    .into_iter()
    .enumerate()
    {
        let ids = [format!("a{n}"), format!("b{n}")];
        let spec = |id| {
            stage
                .spec(id, &["sleep", "600"])
                .annotation(label, &format!("{value}{n}"))
        };
        let client = stage.shim_of(&ids[0], &spec(&ids[0]))?;
        client.run(stage, &ids[0])?;
        if joins {
            stage.join(&client, &ids[1], &spec(&ids[1]))?;
        } else {
            let other = stage.shim_of(&ids[1], &spec(&ids[1]))?;
            assert_ne!(other.address(), client.address());
            other.shutdown(&ids[1]);
        }
        client.end(&ids[0])?;
        stage.wait_gone(&ids[0])?;
    }
    Ok(())
}

fn a_method_that_the_sandbox_service_does_not_have_is_unimplemented(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let sandbox = Client::of("containerd.runtime.sandbox.v1.Sandbox", client.address())?;
    let answer = sandbox.call::<Empty>("NoSuchMethod", &Empty::new());
    assert_eq!(answer.err().ok_or("answered")?.code, Code::UNIMPLEMENTED);
    client.shutdown("c1");
    stage.wait_gone("c1")
}

fn both_versions_of_the_task_service_are_on_one_socket(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let pid = client.run(stage, "c1")?;
    for version in [2, 3] {
        let client = Client::connect(client.address(), version)?;
        assert_eq!(client.state("c1", "")?.pid, pid, "version {version}");
    }
    Ok(client.end("c1")?)
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

/// A container of the pod `pod`.
fn of_pod(stage: &Stage, id: &str) -> Spec {
    stage
        .spec(id, &["sleep", "600"])
        .annotation("io.kubernetes.cri.sandbox-id", "pod")
}

fn many_starts_of_a_pod_beside_a_stale_socket_make_one_shim(stage: &Stage) -> Outcome {
    let ids = ["pod", "c1", "c2", "c3"];
    for id in ids {
        stage.make_bundle(id, &of_pod(stage, id))?;
    }
    for round in 0..20 {
        let stale = stage.start("pod", None)?;
        kill9(stage.shim_pid("pod"))?;
        stage.wait_gone("pod")?;
        drop(stale);
        let outputs = thread::scope(|scope| {
            let start = |id| move || stage.try_start(id, b"");
            let starts = ids.map(|id| scope.spawn(start(id)));
            starts.map(|start| start.join().expect("a start panicked"))
        });
        for output in outputs {
            stage.connect(&output?)?;
        }
        let shims: Vec<_> = ids.iter().filter_map(|id| stage.shim_pid(id)).collect();
        assert_eq!(shims.len(), 1, "round {round}");
        kill9(Some(shims[0]))?;
        for id in ids {
            stage.wait_gone(id)?;
        }
    }
    stage.delete_verb("pod")?;
    Ok(())
}

fn a_shim_that_ends_leaves_the_socket_of_another(stage: &Stage) -> Outcome {
    let first = stage.shim_of("pod", &of_pod(stage, "pod"))?;
    let socket = Path::new(first.address().trim_start_matches("unix://")).to_owned();
    fs::remove_file(&socket)?;
    let second = stage.shim_of("c1", &of_pod(stage, "c1"))?;
    assert_eq!(second.address(), first.address());
    first.shutdown("pod");
    stage.wait_gone("pod")?;
    assert!(socket.exists());
    second.again()?.run(stage, "c1")?;
    Ok(second.end("c1")?)
}

/// Folders that an attacker made for every name of the shim that he could guess.
struct Squatter(Vec<PathBuf>);

impl Squatter {
    fn of(pid: i32) -> Result<Self, Failure> {
        let mut made = Self(Vec::new());
        for kind in ["pty", "layers"] {
            for number in 0..8 {
                let name = format!("podhook-{kind}-{pid}-{number}");
                let path = std::env::temp_dir().join(name);
                fs::create_dir(&path)?;
                made.0.push(path);
            }
        }
        Ok(made)
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_dir(path);
        }
    }
}

fn names_in_tmp_that_somebody_has_taken_hold_up_nobody(stage: &Stage) -> Outcome {
    let mut spec = stage.spec("c1", &["sh", "-c", "tty > /tmp/tty; exec sleep 600"]);
    spec.0["process"]["terminal"] = true.into();
    let client = stage.shim_of("c1", &spec)?;
    let _squatter = Squatter::of(stage.shim_pid("c1").ok_or("no shim")?)?;
    let overlay = overlay_with_mapped_ids(stage)?;
    let request = CreateTaskRequest {
        terminal: true,
        rootfs: vec![overlay],
        ..create_request(stage, "c1")
    };
    let created: CreateTaskResponse = client.call("Create", &request)?;
    client.start("c1", "")?;
    let tty = format!("/proc/{}/root/tmp/tty", created.pid);
    wait::until_true("its terminal", SOON, || {
        fs::read_to_string(&tty).is_ok_and(|tty| tty.starts_with("/dev/"))
    })?;
    Ok(client.end("c1")?)
}

fn delete_removes_what_a_killed_shim_had_beside_its_socket(stage: &Stage) -> Outcome {
    // A runtime that never ends: the socket for the terminal is there.
    stage.recording_runtime("[ \"$7\" = create ] && exec sleep 600")?;
    let mut spec = stage.spec("c1", &["sleep", "600"]);
    spec.0["process"]["terminal"] = true.into();
    let client = stage.shim_of("c1", &spec)?;
    let socket = Path::new(client.address().trim_start_matches("unix://")).to_owned();
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    let prefix = name[..16].to_owned();
    let beside = || -> Vec<PathBuf> {
        let dir = socket.parent().unwrap_or(Path::new("/"));
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let named =
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        let paths = named.map(|entry| entry.path());
        paths.filter(|path| *path != socket).collect()
    };
    let options = any(&Options {
        binary_name: stage.dir().join("recording-runc").display().to_string(),
        ..Default::default()
    });
    let request = CreateTaskRequest {
        terminal: true,
        options: Some(options).into(),
        ..create_request(stage, "c1")
    };
    let other = client.again()?;
    let creating = thread::spawn(move || {
        let _ = other.call::<CreateTaskResponse>("Create", &request);
    });
    wait::until_true("the terminal's socket", SOON, || beside().len() == 1)?;
    assert!(beside()[0].metadata()?.file_type().is_socket());
    kill9(stage.shim_pid("c1"))?;
    creating.join().map_err(|_| "Create panicked")?;
    stage.wait_gone("c1")?;
    assert_eq!(beside().len(), 1, "nobody could remove it");
    stage.delete_verb("c1")?;
    assert_eq!(beside(), Vec::<PathBuf>::new());
    Ok(())
}
