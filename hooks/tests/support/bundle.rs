//! A bundle, its container, and `runc exec` to compare with.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use podhook_hooks::config_json;
use podhook_hooks::exec::spec::Spec;
use podhook_hooks::exec::{Children, Container};
use serde_json::{Value, json};

use super::readable;
use super::reaper::Reaper;
use super::run;
use super::runtime::Runtime;
use super::scaled;
use super::streams::Streams;
use super::terminal;
use super::wait_for;
use super::{PATIENCE, Ran};

const APPLETS: [&str; 24] = [
    "sh", "cat", "ls", "sleep", "true", "false", "id", "env", "ps", "kill", "yes", "dd", "pwd",
    "grep", "setsid", "mount", "touch", "echo", "ionice", "chrt", "stat", "awk", "tr", "mkdir",
];

/// An OCI configuration to change before the container is made.
pub struct Config {
    pub json: Value,
    pub passwd: String,
    pub runtime: Runtime,
    /// Programs to copy into /bin.
    pub programs: Vec<(&'static str, PathBuf)>,
}

impl Default for Config {
    /// Root with containerd's default capabilities, private namespaces, sleeping.
    fn default() -> Self {
        let caps: Vec<_> = [
            "CHOWN",
            "DAC_OVERRIDE",
            "FSETID",
            "FOWNER",
            "MKNOD",
            "NET_RAW",
            "SETGID",
            "SETUID",
            "SETFCAP",
            "SETPCAP",
            "NET_BIND_SERVICE",
            "SYS_CHROOT",
            "KILL",
            "AUDIT_WRITE",
        ]
        .map(|name| format!("CAP_{name}"))
        .into();
        let json = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/bin/sleep", "100000"],
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "FLAVOUR=plain"],
                "cwd": "/",
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            },
            "root": {"path": "rootfs"},
            "hostname": "test",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "ro"]},
            ],
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                               {"type": "mount"}],
                "resources": {},
            },
        });
        Self {
            json,
            passwd: "root:x:0:0:root:/root:/bin/sh\nfoo:x:1000:1000:foo:/home/foo:/bin/sh\n".into(),
            runtime: Runtime::Runc,
            programs: Vec::new(),
        }
    }
}

impl Config {
    /// Sets what a JSON pointer names; the last part may be new.
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.json
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("no {parent} in the configuration"))
            .as_object_mut()
            .unwrap()
            .insert(key.to_string(), value);
        self
    }

    pub fn args(self, args: &[&str]) -> Self {
        self.set("/process/args", json!(args))
    }

    pub fn passwd(mut self, text: &str) -> Self {
        self.passwd = text.into();
        self
    }

    /// With this program in /bin.
    pub fn program(mut self, name: &'static str, program: PathBuf) -> Self {
        self.programs.push((name, program));
        self
    }

    /// Made by this runtime instead of the system's runc.
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// Makes and starts the container.
    pub fn start(self) -> TestContainer {
        let container = self.create();
        container.start();
        container
    }

    /// Makes the container, opens it as the shim does, and does not start it.
    pub fn create(self) -> TestContainer {
        TestContainer::create(self)
    }
}

/// A container of this test.
pub struct TestContainer {
    pub id: String,
    pub pid: libc::pid_t,
    pub container: Arc<Container>,
    pub spec: Spec,
    runtime: Runtime,
    bundle: tempfile::TempDir,
}

impl TestContainer {
    fn create(config: Config) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("podhook-test-{}-{number}", std::process::id());
        let bundle = tempfile::Builder::new().prefix(&id).tempdir().unwrap();
        // mkdtemp makes it 0700: users of the container could not enter their root.
        fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let rootfs = bundle.path().join("rootfs");
        readable(|| {
            make_rootfs(&rootfs, &config.passwd);
            for (name, program) in &config.programs {
                fs::copy(program, rootfs.join("bin").join(name)).unwrap();
            }
        });
        let config = config.set("/linux/cgroupsPath", json!(format!("/{id}")));
        let text = config.json.to_string();
        fs::write(bundle.path().join("config.json"), &text).unwrap();
        let pid_file = bundle.path().join("pid");
        let runtime = config.runtime;
        let cleanup = Cleanup(runtime, &id);
        let created = run(runtime
            .command()
            .args(["create", "--bundle"])
            .arg(bundle.path())
            .arg("--pid-file")
            .arg(&pid_file)
            .arg(&id));
        assert_eq!(
            created.exit.code(),
            Some(0),
            "{runtime:?} create: {created:?}"
        );
        let pid = fs::read_to_string(&pid_file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let spec: Spec = serde_json::from_str(&text).unwrap();
        let container = Arc::new(Container::open(&id, pid, &spec).unwrap());
        std::mem::forget(cleanup);
        Self {
            id,
            pid,
            container,
            spec,
            runtime,
            bundle,
        }
    }

    /// Starts it, and waits until its first process is the container's own program: the runtime returns earlier.
    pub fn start(&self) {
        let program = || fs::read_link(format!("/proc/{}/exe", self.pid)).ok();
        let before = program();
        run(self.runtime.command().args(["start", &self.id])).ok();
        let end = Instant::now() + scaled(PATIENCE);
        while program().is_some_and(|now| Some(now) == before) {
            assert!(Instant::now() < end, "{} is still the runtime", self.id);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.bundle.path().join("rootfs")
    }

    /// The container's directory in a v1 hierarchy of the host; in cgroup v2's with an empty name.
    pub fn cgroup(&self, hierarchy: &str) -> PathBuf {
        Path::new("/sys/fs/cgroup").join(hierarchy).join(&self.id)
    }

    /// A file of a controller in its v1 hierarchy, or what stands for it in v2.
    pub fn controller(&self, hierarchy: &str, v1: &str, v2: &str) -> PathBuf {
        let path = self.cgroup(hierarchy).join(v1);
        if path.exists() {
            path
        } else {
            self.cgroup("").join(v2)
        }
    }

    /// Freezes the container, or thaws it.
    pub fn freeze(&self, frozen: bool) {
        let path = self.controller("freezer", "freezer.state", "cgroup.freeze");
        let is_v1 = path.ends_with("freezer.state");
        let text = match (is_v1, frozen) {
            (true, true) => "FROZEN",
            (true, false) => "THAWED",
            (false, true) => "1",
            (false, false) => "0",
        };
        fs::write(path, text).unwrap();
    }

    /// The CPU time that the container has used.
    pub fn cpu_time(&self) -> Duration {
        let path = self.controller("cpuacct", "cpuacct.usage", "cpu.stat");
        let text = fs::read_to_string(path).unwrap();
        match text.trim().strip_prefix("usage_usec ") {
            Some(rest) => Duration::from_micros(rest.lines().next().unwrap().parse().unwrap()),
            None => Duration::from_nanos(text.trim().parse().unwrap()),
        }
    }

    /// All leaf cgroups of the engine that the container has now.
    pub fn leaves(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
        hierarchies
            .map(|hierarchy| hierarchy.path())
            .chain([PathBuf::from("/sys/fs/cgroup")])
            .filter_map(|hierarchy| fs::read_dir(hierarchy.join(&self.id)).ok())
            .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
            .filter(|path| path.is_dir())
            .collect()
    }

    /// Names of the processes in the container's own cgroup.
    pub fn processes(&self) -> Vec<String> {
        let v1 = self.cgroup("pids").join("cgroup.procs");
        let v2 = self.cgroup("").join("cgroup.procs");
        fs::read_to_string(v1)
            .or_else(|_| fs::read_to_string(v2))
            .unwrap_or_default()
            .lines()
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok())
            .map(|name| name.trim().to_string())
            .collect()
    }

    /// `runc exec` of the command as the container's own process would run it, detached as containerd's
    /// shim does it: the process gets exactly these files.
    pub fn runc_exec(&self, command: &[&str]) -> Ran {
        self.runc_exec_with(&self.bundle_process(), command)
    }

    pub fn bundle_process(&self) -> Value {
        config_json::process(self.bundle.path()).unwrap()
    }

    pub fn runc_exec_with(&self, process: &Value, command: &[&str]) -> Ran {
        self.runtime_exec(process, command, &mut Streams::files())
    }

    /// The same by the container's own runtime, with these files.
    pub fn runtime_exec(&self, process: &Value, command: &[&str], streams: &mut Streams) -> Ran {
        self.runtime_exec_as(process, command, streams, &[])
    }

    /// The same with more flags.
    pub fn runtime_exec_as(
        &self,
        process: &Value,
        command: &[&str],
        streams: &mut Streams,
        flags: &[&str],
    ) -> Ran {
        let mut process = process.clone();
        process["args"] = json!(command);
        let file = self.bundle.path().join("process.json");
        let pid_file = self.bundle.path().join("exec-pid");
        fs::write(&file, process.to_string()).unwrap();
        let (reaper, _hold) = (Reaper::global(), Reaper::global().hold());
        let stdio = streams.hand_out();
        let runtime = self
            .runtime
            .command()
            .args(["exec", "--detach", "--pid-file"])
            .arg(&pid_file)
            .arg("--process")
            .arg(&file)
            .args(flags)
            .arg(&self.id)
            .stdin(stdio.stdin)
            .stdout(stdio.stdout)
            .stderr(stdio.stderr)
            .spawn()
            .unwrap();
        let exit = wait_for(reaper.wait(runtime.id() as libc::pid_t));
        let exit = match exit.code() {
            Some(0) => {
                let pid = fs::read_to_string(&pid_file)
                    .unwrap()
                    .trim()
                    .parse()
                    .unwrap();
                wait_for(reaper.wait(pid))
            }
            _ => exit,
        };
        streams.ran(exit)
    }

    /// By the runtime, on a terminal that it makes.
    pub fn runtime_exec_on_terminal(&self, process: &Value, command: &[&str]) -> Ran {
        let socket = self.bundle.path().join("console");
        let printed = terminal::listen(&socket);
        let flags = ["--console-socket", socket.to_str().unwrap()];
        let ran = self.runtime_exec_as(process, command, &mut Streams::only_files(), &flags);
        let ran = ran.ok();
        Ran {
            stdout: printed.join().unwrap(),
            ..ran
        }
    }

    /// By the engine, on a terminal.
    pub async fn engine_exec_on_terminal(
        &self,
        process: &Value,
        command: &[&str],
    ) -> Result<Ran, podhook_hooks::exec::Error> {
        let process = podhook_hooks::exec::Process::from_json(process.to_string().as_bytes())?
            .args(&super::strings(command));
        let (child, master) =
            podhook_hooks::exec::spawn_on_terminal(&self.container, &process, &super::children())
                .await?;
        let printed = terminal::read(master);
        let exit = child.exit.await.unwrap();
        Ok(Ran {
            exit,
            stdout: printed.join().unwrap(),
            stderr: String::new(),
        })
    }

    /// The engine, with the same files.
    pub async fn engine_exec(&self, command: &[&str]) -> Result<Ran, podhook_hooks::exec::Error> {
        self.engine_exec_with(&self.bundle_process(), command).await
    }

    pub async fn engine_exec_with(
        &self,
        process: &Value,
        command: &[&str],
    ) -> Result<Ran, podhook_hooks::exec::Error> {
        self.engine_exec_to(process, command, &mut Streams::files())
            .await
    }

    pub async fn engine_exec_to(
        &self,
        process: &Value,
        command: &[&str],
        streams: &mut Streams,
    ) -> Result<Ran, podhook_hooks::exec::Error> {
        let process = podhook_hooks::exec::Process::from_json(process.to_string().as_bytes())?
            .args(&super::strings(command));
        let stdio = streams.hand_out();
        let child =
            podhook_hooks::exec::spawn(&self.container, &process, stdio, false, &super::children())
                .await?;
        let exit = child.exit.await.unwrap();
        Ok(streams.ran(exit))
    }
}

impl Drop for TestContainer {
    fn drop(&mut self) {
        drop(Cleanup(self.runtime, &self.id));
    }
}

struct Cleanup<'a>(Runtime, &'a str);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let deleted = run(self.0.command().args(["delete", "--force", self.1]));
        if !std::thread::panicking() {
            assert_eq!(
                deleted.exit.code(),
                Some(0),
                "{:?} delete: {deleted:?}",
                self.0
            );
        }
    }
}

fn make_rootfs(rootfs: &Path, passwd: &str) {
    for dir in [
        "bin", "proc", "dev", "sys", "tmp", "etc", "root", "home/foo", "private",
    ] {
        fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(rootfs.join("private"), fs::Permissions::from_mode(0o700)).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.exists())
        .expect("these tests need a static busybox: apt-get install busybox-static");
    fs::copy(busybox, rootfs.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), passwd).unwrap();
    fs::write(rootfs.join("etc/not-executable"), "").unwrap();
}
