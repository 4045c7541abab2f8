//! A process on a terminal of its container, beside what `runc exec` makes of it.

mod support;

use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use podhook_hooks::exec::{Child, Error, Process, Step, spawn_on_terminal};
use serde_json::{Value, json};

use support::bundle::TestContainer;
use support::{Config, children, in_time};

/// A container that has what asks terminals.
fn start(config: Config) -> TestContainer {
    let container = config.start();
    for applet in ["tty", "stty", "readlink", "head"] {
        symlink("busybox", container.rootfs().join("bin").join(applet)).unwrap();
    }
    container
}

async fn spawn(
    container: &TestContainer,
    mut process: Value,
    script: &str,
) -> Result<(Child, File), Error> {
    process["args"] = json!(["sh", "-c", script]);
    process["terminal"] = json!(true);
    let process = Process::from_json(process.to_string().as_bytes()).unwrap();
    let (child, master) = spawn_on_terminal(&container.container, &process, &children()).await?;
    Ok((child, master.into()))
}

/// All that comes until the last process has let the terminal go.
fn read_all(mut master: &File) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    // EIO is a terminal's end.
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        text.extend(&buffer[..length]);
    }
    String::from_utf8(text).unwrap().replace("\r\n", "\n")
}

async fn output(container: &TestContainer, process: Value, script: &str) -> String {
    let (child, master) = spawn(container, process, script).await.unwrap();
    let text = tokio::task::spawn_blocking(move || read_all(&master));
    assert_eq!(child.exit.await.unwrap().code(), Some(0));
    text.await.unwrap()
}

/// The same by runc, as containerd's shim asks for it.
async fn by_runc(container: &TestContainer, mut process: Value, script: &str) -> String {
    process["args"] = json!(["sh", "-c", script]);
    process["terminal"] = json!(true);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("process"), process.to_string()).unwrap();
    let listener = UnixListener::bind(path("socket")).unwrap();
    let reaper = children();
    let _hold = reaper.hold();
    let mut runc = Command::new("runc");
    runc.args(["exec", "--detach", "--pid-file"])
        .arg(path("pid"))
        .arg("--console-socket")
        .arg(path("socket"))
        .arg("--process")
        .arg(path("process"))
        .arg(&container.id);
    support::run(&mut runc).ok();
    let (stream, _) = listener.accept().unwrap();
    let mut name = [0; 4096];
    let mut parts = [IoSliceMut::new(&mut name)];
    let mut space = nix::cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
    let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().unwrap().next() else {
        panic!("no terminal");
    };
    // SAFETY: the kernel has just made this descriptor for us.
    let master = unsafe { File::from_raw_fd(fds[0]) };
    let text = tokio::task::spawn_blocking(move || read_all(&master));
    let pid = fs::read_to_string(path("pid")).unwrap();
    let exit = reaper.wait(pid.trim().parse().unwrap()).await.unwrap();
    assert_eq!(exit.code(), Some(0));
    text.await.unwrap()
}

/// What a process on a terminal can see of it.
const LOOK: &str = "for n in 0 1 2; do test -t $n && readlink /proc/self/fd/$n; done; tty; \
    stat -c '%u:%g %a %F' $(tty); ls /proc/$$/fd; test -c /dev/tty && echo here > /dev/tty; \
    awk '{print ($6 == $1), ($8 == $1), $7}' /proc/$$/stat";

#[tokio::test]
async fn a_terminal_is_what_runc_makes() {
    for user in [0, 1000] {
        let container = start(Config::default());
        let mut process = container.bundle_process();
        process["user"] = json!({"uid": user, "gid": user});
        let ours = output(&container, process.clone(), LOOK).await;
        let runc = by_runc(&container, process, LOOK).await;
        assert_eq!(ours, runc);
        assert!(
            ours.starts_with("/dev/pts/0\n/dev/pts/0\n/dev/pts/0\n/dev/pts/0\n"),
            "{ours}"
        );
        assert!(ours.contains(&format!("\n{user}:")), "{ours}");
        // It leads its session and the foreground, on the first terminal.
        assert!(ours.ends_with("here\n1 1 34816\n"), "{ours}");
    }
}

#[tokio::test]
async fn a_terminal_in_a_user_namespace_is_its_users() {
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "user"].map(|kind| json!({"type": kind}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let container = start(
        Config::default()
            .set("/linux/namespaces", json!(namespaces))
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map),
    );
    let mut process = container.bundle_process();
    process["user"] = json!({"uid": 1000, "gid": 1000});
    let ours = output(&container, process.clone(), LOOK).await;
    assert_eq!(ours, by_runc(&container, process, LOOK).await);
    assert!(ours.contains("\n1000:"), "{ours}");
}

#[tokio::test]
async fn the_size_asked_for_is_there_from_the_start() {
    let container = start(Config::default());
    let mut process = container.bundle_process();
    process["consoleSize"] = json!({"height": 41, "width": 132});
    let stty = "stty -a | head -n 1";
    let large = output(&container, process.clone(), stty).await;
    assert!(large.contains("rows 41; columns 132"), "{large}");
    assert_eq!(large, by_runc(&container, process.clone(), stty).await);
    for none in [json!({"height": 41, "width": 0}), json!(null)] {
        process["consoleSize"] = none;
        let size = output(&container, process.clone(), stty).await;
        assert!(!size.contains("rows"), "{size}");
    }
}

#[tokio::test]
async fn an_interrupt_that_is_typed_reaches_the_command() {
    let container = start(Config::default());
    let script = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.1; done";
    let process = container.bundle_process();
    let (child, mut master) = spawn(&container, process, script).await.unwrap();
    let mut ready = [0; 7];
    master.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\r\n");
    master.write_all(&[3]).unwrap();
    let exit = in_time("the command's end", child.exit).await;
    assert_eq!(exit.unwrap().code(), Some(3));
    assert!(read_all(&master).ends_with("interrupted\n"));
}

#[tokio::test]
async fn a_hang_up_reaches_the_command() {
    let container = start(Config::default());
    let process = container.bundle_process();
    let script = "trap 'exit 4' HUP; echo ready; while :; do sleep 0.1; done";
    let (child, mut master) = spawn(&container, process, script).await.unwrap();
    master.read_exact(&mut [0; 7]).unwrap();
    drop(master);
    let exit = in_time("the command's end", child.exit).await;
    assert_eq!(exit.unwrap().code(), Some(4));
}

#[tokio::test]
async fn no_descriptor_is_left_by_a_terminal_or_one_that_failed() {
    let container = start(Config::default());
    let files = || fs::read_dir("/proc/self/fd").unwrap().count();
    output(&container, container.bundle_process(), "true").await;
    let before = files();
    for _ in 0..20 {
        output(&container, container.bundle_process(), "true").await;
        let mut process = container.bundle_process();
        process["cwd"] = json!("/nowhere");
        spawn(&container, process, "true").await.unwrap_err();
    }
    support::eventually("no file is left open", || files() <= before).await;
}

/// A container without a devpts, whose `/dev` can be filled.
fn without_devpts() -> TestContainer {
    let mounts: Vec<_> = Config::default().json["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| mount["destination"] != "/dev/pts")
        .cloned()
        .collect();
    start(Config::default().set("/mounts", json!(mounts)))
}

async fn refused(container: &TestContainer) -> (i32, String) {
    let spawned = spawn(container, container.bundle_process(), "true");
    let error = in_time("the refusal", spawned).await;
    match error.unwrap_err() {
        Error::Start {
            step: Step::Terminal,
            errno,
            message,
        } => (errno, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_devpts_there_is_no_terminal_and_runcs_words() {
    let (errno, message) = refused(&without_devpts()).await;
    assert_eq!(errno, libc::ENOENT);
    assert_eq!(message, "open /dev/ptmx: no such file or directory");
}

/// The kernel calls that a full disk.
#[tokio::test]
async fn a_devpts_with_all_its_terminals_in_use_says_which_limit_that_is() {
    let mut mounts = Config::default().json["mounts"].clone();
    let devpts = mounts.as_array_mut().unwrap().iter_mut();
    for mount in devpts.filter(|mount| mount["destination"] == "/dev/pts") {
        let options = mount["options"].as_array_mut().unwrap();
        options.push(json!("max=1"));
    }
    let container = start(Config::default().set("/mounts", mounts));
    let pts = format!("/proc/{}/root/dev/pts/ptmx", container.pid);
    let _taken = File::options().read(true).write(true).open(pts).unwrap();
    let (errno, message) = refused(&container).await;
    assert_eq!(errno, libc::ENOSPC);
    assert_eq!(
        message,
        "open /dev/ptmx: no space left on device (not a full disk: the limit is the sysctl kernel.pty.max, or max= of the \
         container's devpts)"
    );
}

/// What a container can put where its multiplexer should be (CVE-2025-52565 and its kind): nothing of it is
/// opened.
#[tokio::test]
async fn what_is_no_multiplexer_of_a_devpts_is_refused() {
    let container = without_devpts();
    let dev = format!("/proc/{}/root/dev", container.pid);
    let ptmx = format!("{dev}/pts/ptmx");
    fs::create_dir(format!("{dev}/pts")).unwrap();

    fs::write(&ptmx, "").unwrap();
    assert_eq!(refused(&container).await.0, libc::ENOTTY, "a file");
    fs::remove_file(&ptmx).unwrap();

    support::run(Command::new("mkfifo").arg(&ptmx)).ok();
    assert_eq!(refused(&container).await.0, libc::ENOTTY, "a fifo");
    fs::remove_file(&ptmx).unwrap();

    // The right device on the wrong file system: the kernel would look for a devpts beside it.
    support::run(Command::new("mknod").args([&ptmx, "c", "5", "2"])).ok();
    fs::set_permissions(&ptmx, fs::Permissions::from_mode(0o666)).unwrap();
    let (errno, message) = refused(&container).await;
    assert_eq!(errno, libc::ENOTTY, "a node");
    assert_eq!(
        message,
        "open /dev/pts/ptmx: it is not the ptmx of a devpts"
    );
    fs::remove_file(&ptmx).unwrap();

    symlink("/dev/null", &ptmx).unwrap();
    assert_eq!(refused(&container).await.0, libc::ELOOP, "a link");
}

/// The host's terminals through the host's pid namespace: root's links lead there.
#[tokio::test]
async fn a_link_to_the_hosts_devpts_is_not_followed() {
    let mounts: Vec<_> = Config::default().json["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| mount["destination"] != "/dev/pts" && mount["destination"] != "/proc")
        .chain([&json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]})])
        .cloned()
        .collect();
    let namespaces = ["network", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
    let container = start(
        Config::default()
            .set("/mounts", json!(mounts))
            .set("/linux/namespaces", json!(namespaces)),
    );
    let dev = format!("/proc/{}/root/dev", container.pid);
    let host = format!("/proc/{}/root/dev/pts", std::process::id());
    symlink(&host, format!("{dev}/pts")).unwrap();
    assert_eq!(refused(&container).await.0, libc::ELOOP);
}
