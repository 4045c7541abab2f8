//! Against the kernel, in cgroups of the test's own. Without root or without the hierarchy a test
//! says that it is skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use containerd_shim_protos::cgroups::metrics::Metrics as V1;
use containerd_shim_protos::cgroups_v2::metrics::Metrics as V2;
use tokio::time::timeout;

use super::notify::Notifier;
use super::*;

const V1_CONTROLLERS: [&str; 7] = [
    "memory", "cpu", "cpuacct", "pids", "blkio", "freezer", "devices",
];

/// A cgroup in several hierarchies, removed in the end with the processes it started.
struct Live {
    name: String,
    dirs: Vec<PathBuf>,
    children: Vec<Child>,
}

impl Live {
    fn new(hierarchies: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("podhook-test-{}-{count}", std::process::id());
        let mut live = Self {
            name,
            dirs: Vec::new(),
            children: Vec::new(),
        };
        hierarchies
            .iter()
            .all(|hierarchy| live.add(hierarchy))
            .then_some(live)
    }

    fn v1() -> Option<Self> {
        let live = Self::new(&V1_CONTROLLERS);
        if live.is_none() {
            eprintln!("SKIPPED: needs root and cgroup v1 hierarchies");
        }
        live
    }

    fn v2() -> Option<Self> {
        let live = Self::new(&["unified"]).or_else(|| {
            let root = Path::new("/sys/fs/cgroup/cgroup.controllers");
            root.exists().then(|| Self::new(&["."])).flatten()
        });
        if live.is_none() {
            eprintln!("SKIPPED: needs root and a cgroup v2 hierarchy");
        }
        live
    }

    fn add(&mut self, hierarchy: &str) -> bool {
        let parent = Path::new("/sys/fs/cgroup").join(hierarchy);
        let dir = parent.join(&self.name);
        // A directory made in a plain tmpfs would not be a cgroup.
        if !parent.join("cgroup.procs").exists() || fs::create_dir(&dir).is_err() {
            return false;
        }
        self.dirs.push(dir);
        true
    }

    fn dir(&self, hierarchy: &str) -> &Path {
        let part = format!("/{hierarchy}/");
        let found = self
            .dirs
            .iter()
            .find(|dir| dir.to_string_lossy().contains(&part));
        found.expect("hierarchy")
    }

    fn write(&self, hierarchy: &str, file: &str, text: &str) {
        fs::write(self.dir(hierarchy).join(file), text).unwrap();
    }

    /// Starts a shell script inside; it is inside once this returns.
    fn run(&mut self, script: &str) -> i32 {
        let joins = self
            .dirs
            .iter()
            .map(|dir| format!("echo $$ > {}/cgroup.procs\n", dir.display()));
        let script = format!("{}echo in\n{script}", joins.collect::<String>());
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        self.children.push(child);
        pid
    }

    /// Lets the latest script go on, that reads a line.
    fn go(&mut self) {
        let child = self.children.last_mut().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"go\n").unwrap();
    }

    fn wait(&mut self) -> std::process::ExitStatus {
        self.children.pop().unwrap().wait().unwrap()
    }

    fn end_children(&mut self) {
        for mut child in self.children.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn end(&mut self) {
        self.end_children();
        for dir in &self.dirs {
            // What the children left behind; the cgroup is the test's own.
            let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            procs
                .lines()
                .filter_map(|pid| pid.parse().ok())
                .for_each(kill);
        }
        for dir in self.dirs.drain(..) {
            // The last process may be some time in leaving.
            for _ in 0..500 {
                if fs::remove_dir(&dir).is_ok() || !dir.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

/// Grows until it is killed: tail keeps a line that never ends.
const HOG: &str = "exec tail /dev/zero";

fn limit(live: &Live, bytes: u64) {
    live.write("memory", "memory.limit_in_bytes", &bytes.to_string());
    live.write("memory", "memory.memsw.limit_in_bytes", &bytes.to_string());
}

fn v1(cgroup: &Cgroup) -> V1 {
    let any = cgroup.stats().unwrap();
    assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
    V1::parse_from_bytes(&any.value).unwrap()
}

/// More than anything takes on a busy machine that does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

fn eventually(what: &str, check: impl Fn() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A pid is in the cgroup.
fn wait_in(dir: &Path, pid: i32) {
    eventually("the process joins", || {
        let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        procs.lines().any(|line| line == pid.to_string())
    });
}

async fn next(watch: &mut OomWatch) -> Option<()> {
    timeout(PATIENCE, watch.next()).await.expect("no event")
}

#[test]
fn v1_stats_survive_the_exit_of_init_and_end_with_the_cgroup() {
    let Some(mut live) = Live::v1() else { return };
    limit(&live, 64 << 20);
    live.write("pids", "pids.max", "50");
    let pid =
        live.run("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; read x < /dev/zero &\nwait");
    let cgroup = Cgroup::of_pid(pid).unwrap();
    assert!(matches!(cgroup.layout, Layout::V1(_)));
    eventually("some use", || {
        let now = v1(&cgroup);
        now.cpu.usage.total > 0 && now.memory.usage.usage > 0
    });
    let before = v1(&cgroup);
    assert_eq!(before.memory.usage.limit, 64 << 20);
    assert!(before.memory.usage.usage > 0 && before.memory.usage.usage <= 64 << 20);
    assert_eq!(before.memory.hierarchical_memory_limit, 64 << 20);
    assert_eq!((before.pids.limit, before.pids.current > 0), (50, true));
    assert!(before.cpu.usage.total > 0);
    assert!(before.memory_oom_control.is_some() && before.blkio.is_some());
    live.end_children();
    let after = v1(&cgroup);
    assert!(after.cpu.usage.total >= before.cpu.usage.total);
    live.end();
    assert!(matches!(cgroup.stats(), Err(Error::Gone { .. })));
    assert!(matches!(cgroup.pids(), Err(Error::Gone { .. })));
    assert!(matches!(cgroup.watch_oom(), Err(Error::Gone { .. })));
}

#[test]
fn v1_cpu_time_and_throttling_are_those_of_the_container() {
    let Some(mut live) = Live::v1() else { return };
    // A twentieth of the time: less than it gets on the busiest machine.
    live.write("cpu", "cpu.cfs_quota_us", "5000");
    let start = Instant::now();
    let pid = live.run("while :; do :; done");
    let cgroup = Cgroup::of_pid(pid).unwrap();
    eventually("it is throttled", || {
        let cpu = v1(&cgroup).cpu;
        let throttling = &cpu.throttling;
        throttling.throttled_periods > 10 && throttling.throttled_time > 0
    });
    let cpu = v1(&cgroup).cpu;
    let (used, elapsed) = (Duration::from_nanos(cpu.usage.total), start.elapsed());
    assert!(
        used > Duration::ZERO && used < elapsed / 2,
        "{used:?} of {elapsed:?}"
    );
    assert!(cpu.usage.per_cpu.iter().sum::<u64>() >= cpu.usage.total);
}

#[test]
fn v1_processes_of_nested_cgroups_are_listed() {
    let Some(mut live) = Live::v1() else { return };
    let pid = live.run("sleep 100 & wait");
    let nested = live.dir("devices").join("nested");
    fs::create_dir(&nested).unwrap();
    live.dirs.insert(0, nested.clone());
    let cgroup = Cgroup::of_pid(pid).unwrap();
    let mut pids = cgroup.pids().unwrap();
    while pids.len() < 2 {
        std::thread::sleep(Duration::from_millis(1));
        pids = cgroup.pids().unwrap();
    }
    assert_eq!((pids.len(), pids.contains(&pid)), (2, true));
    let other = *pids.iter().find(|other| **other != pid).unwrap();
    fs::write(nested.join("cgroup.procs"), other.to_string()).unwrap();
    assert_eq!(cgroup.pids().unwrap(), pids);
    kill(other);
}

#[test]
fn v1_pause_is_seen() {
    let Some(mut live) = Live::v1() else { return };
    let pid = live.run("exec sleep 100");
    let cgroup = Cgroup::of_pid(pid).unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    live.write("freezer", "freezer.state", "FROZEN");
    eventually("it is frozen", || cgroup.is_frozen().unwrap());
    live.write("freezer", "freezer.state", "THAWED");
    assert!(!cgroup.is_frozen().unwrap());
}

#[tokio::test]
async fn v1_a_kill_is_reported_and_the_removal_is_not_one() {
    let Some(mut live) = Live::v1() else { return };
    limit(&live, 8 << 20);
    let pid = live.run(&format!("read go; {HOG}"));
    let mut watch = Cgroup::of_pid(pid).unwrap().watch_oom().unwrap();
    live.go();
    assert_eq!(next(&mut watch).await, Some(()));
    let status = live.wait();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGKILL)
    );
    assert!(!watch.poll_now(), "reported twice");
    live.end();
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test]
async fn v1_the_final_look_finds_the_kill_of_init_before_the_task_has_run() {
    let Some(mut live) = Live::v1() else { return };
    limit(&live, 8 << 20);
    let pid = live.run(&format!("read go; {HOG}"));
    let cgroup = Cgroup::of_pid(pid).unwrap();
    let mut watch = cgroup.watch_oom().unwrap();
    live.go();
    live.wait();
    assert!(watch.poll_now());
    assert!(!watch.poll_now());
    assert_eq!(v1(&cgroup).memory_oom_control.oom_kill, 1);
}

#[tokio::test]
async fn v1_a_kill_is_not_lost_when_the_cgroup_goes_at_once() {
    let Some(mut live) = Live::v1() else { return };
    limit(&live, 8 << 20);
    let pid = live.run(&format!("read go; {HOG}"));
    let mut watch = Cgroup::of_pid(pid).unwrap().watch_oom().unwrap();
    live.go();
    live.wait();
    live.end();
    assert_eq!(next(&mut watch).await, Some(()));
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test]
async fn v1_a_cgroup_removed_without_an_oom_reports_none() {
    let Some(mut live) = Live::v1() else { return };
    let pid = live.run("exec sleep 100");
    let mut watch = Cgroup::of_pid(pid).unwrap().watch_oom().unwrap();
    assert!(
        timeout(Duration::from_millis(50), watch.next())
            .await
            .is_err()
    );
    live.end();
    assert!(!watch.poll_now());
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test]
async fn v1_a_pod_limit_that_kills_the_neighbour_is_not_reported_here() {
    let Some(mut live) = Live::v1() else { return };
    limit(&live, 8 << 20);
    let pod = live.dir("memory").to_owned();
    let join = |name: &str| {
        let dir = pod.join(name);
        fs::create_dir(&dir).unwrap();
        format!("echo $$ > {}/cgroup.procs;", dir.display())
    };
    let quiet = live.run(&format!("{} exec sleep 100", join("quiet")));
    let loud = live.run(&format!("{} read go; {HOG}", join("loud")));
    live.dirs
        .splice(0..0, [pod.join("quiet"), pod.join("loud")]);
    wait_in(&pod.join("quiet"), quiet);
    wait_in(&pod.join("loud"), loud);
    let watch = |pid| {
        let cgroup = Cgroup::of_pid(pid).unwrap();
        assert!(!cgroup.pids().unwrap().is_empty());
        cgroup.watch_oom().unwrap()
    };
    let (mut quiet, mut loud) = (watch(quiet), watch(loud));
    live.go();
    assert_eq!(next(&mut loud).await, Some(()));
    assert!(
        timeout(Duration::from_millis(1500), quiet.next())
            .await
            .is_err()
    );
    assert!(!quiet.poll_now());
}

#[test]
fn v2_what_the_kernel_offers_without_controllers_is_read() {
    let Some(mut live) = Live::v2() else { return };
    let pid = live.run("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 100");
    let dir = live.dirs[0].clone();
    let cgroup = Cgroup {
        layout: Layout::V2(dir.clone()),
        init: pid,
    };
    let cpu_used = || {
        let metrics = V2::parse_from_bytes(&cgroup.stats().unwrap().value).unwrap();
        metrics.cpu.usage_usec > 0
    };
    eventually("some use", cpu_used);
    let any = cgroup.stats().unwrap();
    assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
    let metrics = V2::parse_from_bytes(&any.value).unwrap();
    let cpu = metrics.cpu.unwrap();
    assert!(cpu.usage_usec > 0 && cpu.user_usec + cpu.system_usec <= cpu.usage_usec + 1);
    assert_eq!(cpu.psi.is_some(), dir.join("cpu.pressure").exists());
    assert_eq!(metrics.memory.is_some(), dir.join("memory.stat").exists());
    assert_eq!(cgroup.pids().unwrap(), [pid]);
    assert!(!cgroup.is_frozen().unwrap());
    fs::write(dir.join("cgroup.freeze"), "1").unwrap();
    assert!(cgroup.is_frozen().unwrap());
    fs::write(dir.join("cgroup.freeze"), "0").unwrap();
    live.end();
    assert!(matches!(cgroup.stats(), Err(Error::Gone { .. })));
    assert!(matches!(cgroup.pids(), Err(Error::Gone { .. })));
}

#[tokio::test]
async fn v2_a_file_that_changes_is_heard_without_inotify() {
    let Some(mut live) = Live::v2() else { return };
    let events = live.dirs[0].join("cgroup.events");
    live.run("sleep 1000");
    let notifier = Notifier::files([&events, &events]).unwrap();
    // To each descriptor that it is new to, the file has changed once.
    while timeout(Duration::from_millis(100), notifier.changed())
        .await
        .is_ok()
    {}
    for state in ["1", "0"] {
        fs::write(live.dirs[0].join("cgroup.freeze"), state).unwrap();
        timeout(Duration::from_secs(5), notifier.changed())
            .await
            .unwrap()
            .unwrap();
    }
    live.end();
}

/// In a machine that has nothing but v2 (with memory limits), else it is skipped.
#[tokio::test]
async fn v2_a_kill_is_reported_and_the_empty_cgroup_ends_the_watch() {
    let Some(mut live) = Live::v2() else { return };
    let dir = live.dirs[0].clone();
    if !dir.join("memory.max").exists() {
        eprintln!("SKIPPED: no memory controller in v2");
        return;
    }
    fs::write(dir.join("memory.max"), "8388608").unwrap();
    let pid = live.run(&format!("sleep 1; {HOG}"));
    let cgroup = Cgroup::of_pid(pid).unwrap();
    let mut watch = cgroup.watch_oom().unwrap();
    assert_eq!(next(&mut watch).await, Some(()));
    live.wait();
    assert!(!watch.poll_now());
    assert_eq!(next(&mut watch).await, None);
    let metrics = V2::parse_from_bytes(&cgroup.stats().unwrap().value).unwrap();
    assert_eq!(
        (metrics.memory_events.oom_kill, metrics.memory.usage_limit),
        (1, 8 << 20)
    );
    live.end();
    assert!(matches!(cgroup.watch_oom(), Err(Error::Gone { .. })));
}

fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}
