//! Limits of the kernel that a pod's start comes upon, and that sound like something else: "No space left on device" of a
//! namespace is no disk's. They are set in a user namespace of the test's own.

use std::fs;
use std::process::{Child, Command, Stdio};

use podhook_integration::Outcome;
use podhook_integration::wait::{self, SOON};
use serde_json::Value;
use ttrpc::Code;

use super::{ID, Network, Pod, READY, config, in_network, own_users};
use crate::client::Refused;
use crate::scarce::limit;
use crate::stage::{Failure, Stage};
use crate::{Test, tests};

pub fn tests() -> Vec<Test> {
    tests![sandbox:
        a_limit_of_namespaces_is_named,
        a_limit_of_user_namespaces_is_named,
        a_limit_of_mounts_is_named,
        a_limit_of_a_users_processes_is_named,
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
    pod.leave(stage)?;
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

/// Namespaces of the test's own that a shim can be started in, while this lives.
struct Inside {
    holder: Child,
    kinds: &'static [&'static str],
}

impl Inside {
    fn of(kinds: &'static [&'static str]) -> Result<Self, Failure> {
        let holder = Command::new("unshare")
            .args(kinds)
            .args(["--propagation", "private", "sleep", "600"])
            .stdin(Stdio::null())
            .spawn()?;
        let inside = Self { holder, kinds };
        let comm = format!("/proc/{}/comm", inside.pid());
        wait::until_true("namespaces", SOON, || {
            fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n")
        })?;
        Ok(inside)
    }

    /// In which every user is who it is outside.
    fn users() -> Result<Self, Failure> {
        let inside = Self::of(&["--user", "--mount"])?;
        for map in ["uid_map", "gid_map"] {
            let map = format!("/proc/{}/{map}", inside.pid());
            fs::write(map, "0 0 4294967295")?;
        }
        Ok(inside)
    }

    fn mounts() -> Result<Self, Failure> {
        Self::of(&["--mount"])
    }

    fn pid(&self) -> u32 {
        self.holder.id()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(self.kinds)
            .args(["--target", &self.pid().to_string(), program]);
        command
    }

    /// [`Pod::of`] of a shim within.
    fn pod(&self, stage: &Stage) -> Result<Pod, Failure> {
        Pod::started(stage, |start| {
            let mut inside = self.command("sh");
            inside
                .args(["-c", "cd \"$1\"; shift; exec \"$@\"", "sh"])
                .args(start.get_current_dir())
                .arg(start.get_program())
                .args(start.get_args());
            for (name, value) in start.get_envs() {
                inside.env(name, value.unwrap_or_default());
            }
            inside
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn a_limit_of_user_namespaces_is_named(stage: &Stage) -> Outcome {
    let users = Inside::users()?;
    let mut config = config();
    own_users(&mut config);
    for count in [0, 100] {
        let pod = users.pod(stage)?;
        pod.create(stage, &config, "")?;
        allow(users.pid(), "user", count)?;
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

/// As many mounts as a namespace can have: what there is is doubled, and then halves of it are added. But not those of other
/// tests, which would go when these remove their folders.
const FILL: &str = "cut -d' ' -f 5 /proc/self/mountinfo | grep /phit- | tac | \
    while read -r of_others; do umount -l \"$of_others\"; done; mount -t tmpfs fill /mnt && cd /mnt && mkdir d e && \
    for i in $(seq 0 60); do mkdir d/$i e/$i; done && i=0 && \
    while mount --rbind /mnt /mnt/d/$i; do i=$((i + 1)); done; \
    while [ $i -gt 0 ]; do i=$((i - 1)); mount --rbind /mnt/d/$i /mnt/e/$i; done; true";
/// One mount less.
const FREE: &str = "umount \"$(tail -n 1 /proc/self/mountinfo | cut -d' ' -f 5)\"";

fn a_limit_of_mounts_is_named(stage: &Stage) -> Outcome {
    let mounts = Inside::mounts()?;
    let run = |script: &str| -> Outcome {
        let output = mounts.command("sh").args(["-c", script]).output()?;
        assert!(output.status.success(), "{output:?}");
        Ok(())
    };
    run(FILL)?;
    let mut refused = Vec::new();
    // Two are the pod's: its files' and, in a copy of all, its holder's root.
    for _ in 0..3 {
        let pod = mounts.pod(stage)?;
        let created = pod.create(stage, &config(), "");
        let done = created.and_then(|_| pod.start()).map(|_| ());
        let named = |e: &Refused| e.message.contains("fs.mount-max");
        assert!(done.as_ref().err().is_none_or(named), "{done:?}");
        refused.push(done.is_err());
        pod.leave(stage)?;
        assert_eq!(stage.left_of(ID), Vec::<String>::new());
        fs::remove_dir_all(stage.bundle(ID))?;
        run(FREE)?;
    }
    assert_eq!(refused, [true, true, false]);
    Ok(())
}

/// Root of the pod's own users is a user like any other one, whose processes are counted.
fn a_limit_of_a_users_processes_is_named(stage: &Stage) -> Outcome {
    let mut config = config();
    own_users(&mut config);
    let mut refused = Vec::new();
    for count in [0, 1, 64] {
        let pod = Pod::started(stage, |mut start| {
            limit(&mut start, libc::RLIMIT_NPROC, count, count);
            start
        })?;
        pod.create(stage, &config, "")?;
        match pod.start() {
            Ok(_) => pod.stop().map(drop)?,
            Err(e) => {
                let named = format!("RLIMIT_NPROC, which is {count}");
                assert!(e.message.contains(&named), "{e}");
                refused.push(count);
            }
        }
        assert_eq!(stage.left_of(ID), Vec::<String>::new());
        pod.leave(stage)?;
        fs::remove_dir_all(stage.bundle(ID))?;
    }
    assert_eq!(refused, [0, 1]);
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
        pod.leave(stage)?;
        fs::remove_dir_all(stage.bundle(ID))?;
    }
    Ok(())
}
