//! A container whose /proc is not what it seems (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use podhook_hooks::exec::{Error, Process, Stdio, Step, spawn};
use serde_json::json;

use crate::support::bundle::TestContainer;
use crate::support::{Config, children, dev_null, run, strings};

const FILES: [&str; 8] = [
    "self/attr/exec",
    "self/attr/apparmor/exec",
    "self/attr/keycreate",
    "self/oom_score_adj",
    "thread-self/attr/exec",
    "thread-self/attr/apparmor/exec",
    "thread-self/attr/keycreate",
    "self/cgroup",
];

/// A container with a tmpfs over its /proc that has files where the kernel's would be. A privileged
/// container can do that to itself; here it is done to it.
struct Faked {
    container: TestContainer,
    proc: PathBuf,
}

impl Faked {
    fn new(config: Config) -> Self {
        let container = config.start();
        let pid = container.pid.to_string();
        let mount = ["-m", "mount", "-t", "tmpfs", "fake", "/proc"];
        run(Command::new("nsenter").args(["-t", &pid]).args(mount)).ok();
        let proc = PathBuf::from(format!("/proc/{pid}/root/proc"));
        for file in FILES {
            let path = proc.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "fake").unwrap();
        }
        Self { container, proc }
    }

    fn untouched(&self) {
        for file in FILES {
            let text = fs::read_to_string(self.proc.join(file)).unwrap();
            assert_eq!(text, "fake", "{file}");
        }
    }
}

#[tokio::test]
async fn settings_go_to_the_kernel_and_not_into_a_faked_proc() {
    let faked = Faked::new(Config::default().set("/process/oomScoreAdj", json!(321)));
    let container = &faked.container;
    let process = Process::of_container(&container.spec).args(&strings(&["sleep", "1000"]));
    let stdio = Stdio {
        stdin: dev_null(),
        stdout: dev_null(),
        stderr: dev_null(),
    };
    let child = spawn(&container.container, &process, stdio, false, &children())
        .await
        .unwrap();
    let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.pid)).unwrap();
    assert_eq!(read("oom_score_adj"), "321\n");
    let init = fs::read_to_string(format!("/proc/{}/cgroup", container.pid)).unwrap();
    assert_eq!(read("cgroup"), init);
    faked.untouched();
    child.signal(libc::SIGKILL).unwrap();
    child.exit.await.unwrap();
}

#[tokio::test]
async fn a_label_is_never_written_into_a_faked_proc() {
    let faked = Faked::new(Config::default());
    for (field, steps) in [
        ("apparmorProfile", [Step::AppArmor; 2]),
        ("selinuxLabel", [Step::KeyLabel, Step::ExecLabel]),
    ] {
        let mut process = faked.container.bundle_process();
        process[field] = json!("no_such_label");
        let ran = faked.container.engine_exec_with(&process, &["true"]).await;
        // Whatever the kernel's security modules are: none has this label.
        let error = ran.unwrap_err();
        assert!(
            matches!(error, Error::Start { step, .. } if steps.contains(&step)),
            "{field}: {error}"
        );
        faked.untouched();
    }
}

#[tokio::test]
async fn a_program_below_a_faked_proc_is_only_a_program() {
    let faked = Faked::new(Config::default());
    let program = faked.proc.join("self/exe");
    fs::copy(faked.container.rootfs().join("bin/busybox"), &program).unwrap();
    let ran = faked
        .container
        .engine_exec(&["/proc/self/exe", "echo", "busybox"])
        .await;
    // busybox goes by its name.
    let ran = ran.unwrap();
    assert!(ran.stderr.contains("applet not found"), "{ran:?}");
    faked.untouched();
}
