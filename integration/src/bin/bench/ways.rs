//! `/bin/true` in a running container by every way there is: one a second, as real ones come, and in a tight loop.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use podhook_integration::containerd::remains;
use podhook_integration::generation::repository;
use serde_json::{Value, json};

use crate::Fallible;
use crate::arguments::Sizes;
use crate::client::Tasks;
use crate::ctr_run::timed;
use crate::direct::compiled;
use crate::measuring::Measuring;
use crate::pods::{Pods, Sandbox};
use crate::rounds::{self, Method};
use crate::row::{Label, NO_SHIM};
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;

pub const HOOK: &str = "exec hook: engine, own cgroup, output read";
pub const ENGINE: &str = "exec: engine alone";
pub const BARE: &str = "bare C: fork, cgroups, setns, fork, exec";
pub const RUNTIME: &str = "the OCI runtime's exec";
pub const CLIENT: &str = "Exec, Start, Wait, Delete";
pub const NOTHING: &str = "the client itself: 4 calls that reach no shim";
pub const EXEC_SYNC: &str = "ExecSync";

/// Between two of a kind when they come alone.
const PERIOD: Duration = Duration::from_secs(1);

/// The pod of one shim, whose container sleeps.
struct Target<'a> {
    shim: Shim,
    _pod: Sandbox<'a>,
    id: String,
    bundle: PathBuf,
}

impl<'a> Target<'a> {
    fn start(stage: &'a Stage, pods: &Pods<'a>, shim: Shim) -> Fallible<Self> {
        let (pod, id) = pods.asleep(shim)?;
        Ok(Self {
            shim,
            _pod: pod,
            bundle: stage.containerd().bundle("k8s.io", &id),
            id,
        })
    }

    fn config(&self) -> PathBuf {
        self.bundle.join("config.json")
    }

    fn pid(&self) -> Fallible<i32> {
        Ok(fs::read_to_string(self.bundle.join("init.pid"))?
            .trim()
            .parse()?)
    }
}

/// The container's own process with `/bin/true` as the command.
///
/// # Errors
/// When its bundle is not there.
pub fn process(bundle: &Path, args: &[&str]) -> Fallible<Vec<u8>> {
    let config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
    let mut process = config["process"].clone();
    process["args"] = json!(args);
    process["terminal"] = json!(false);
    Ok(serde_json::to_vec(&process)?)
}

/// Measures one a second.
///
/// # Errors
/// When something cannot be measured.
pub fn alone(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let rounds = sizes.or_long(30, 300);
    with_methods(stage, sheet, |methods| {
        rounds::alone(stage, methods, rounds, PERIOD)
    })
}

/// Measures in a tight loop.
///
/// # Errors
/// When something cannot be measured.
pub fn in_a_loop(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    with_methods(stage, sheet, |methods| {
        rounds::interleave(stage, methods, sizes.rounds)
    })
}

fn with_methods(
    stage: &Stage,
    sheet: &mut Sheet,
    measure: impl FnOnce(&mut [Method<'_>]) -> Fallible<()>,
) -> Fallible<()> {
    let pods = stage.pods()?;
    let targets: Vec<_> = stage
        .shims()
        .iter()
        .map(|shim| Target::start(stage, &pods, *shim))
        .collect::<Fallible<_>>()?;
    let of = |shim| targets.iter().find(|target| target.shim == shim);
    let original = of(Shim::Original).ok_or("no original")?;
    let mut methods = without_shim(stage, original)?;
    let address = stage.containerd().address();
    let idle = Tasks::connect(&address, "k8s.io")?;
    let nothing = Label::new(NOTHING, NO_SHIM);
    methods.push(Method::each(nothing, 8, move || idle.nothing()));
    for target in &targets {
        // The slower ones less often, so that a round is not theirs alone.
        let batch = if target.shim == Shim::Podhook { 8 } else { 4 };
        let mut tasks = Tasks::connect(&address, "k8s.io")?;
        let process = process(&target.bundle, &["/bin/true"])?;
        let label = Label::new(CLIENT, target.shim.name());
        methods.push(Method::each(label, batch, move || {
            tasks.exec(&target.id, &process)
        }));
        let label = Label::new(EXEC_SYNC, target.shim.name());
        methods.push(Method::each(label, 4, || {
            let sync = || pods.exec_sync(&target.id, &["/bin/true"]);
            match rounds::timed(sync)? {
                (0, elapsed) => Ok(elapsed),
                (status, _) => Err(format!("exit status {status}").into()),
            }
        }));
    }
    measure(&mut methods)?;
    rounds::report(sheet, &methods);
    Ok(())
}

/// What needs no shim: podhook's engine in a process as the shim is, the least that there is in C, and the OCI runtime.
fn without_shim<'a>(stage: &'a Stage, target: &'a Target<'_>) -> Fallible<Vec<Method<'a>>> {
    let pid = target.pid()?;
    let worker = || {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["worker", &target.id, &pid.to_string()]);
        Measuring::start(command.arg(target.config()))
    };
    let (mut hooks, mut engine) = (worker()?, worker()?);
    let program = stage.containerd().dir().join("bare");
    compiled(&repository().join("integration/bench/bare.c"), &program)?;
    let mut bare = Measuring::start(
        Command::new(program)
            .arg(pid.to_string())
            .args(cgroup_procs(pid)?),
    )?;
    let runtime = stage.spot.generation.oci_runtime(stage.spot.runtime)?;
    let state = remains::runc_state(&("k8s.io".to_owned(), String::new()));
    let mounts = stage.containerd().mount_namespace();
    let mounts = mounts.map(|fd| fd.try_clone_to_owned()).transpose()?;
    let mounts = mounts.map(Arc::new);
    let none = |what| Label::new(what, NO_SHIM);
    Ok(vec![
        Method::new(none(HOOK), 20, move |count| hooks.run("hook", count)),
        Method::new(none(ENGINE), 20, move |count| engine.run("exec", count)),
        Method::new(none(BARE), 20, move |count| bare.run("bare", count)),
        Method::each(none(RUNTIME), 4, move || {
            let mut command = Command::new(&runtime);
            command.arg("--root").arg(&state);
            command.args(["exec", &target.id, "/bin/true"]);
            timed(joining(&mut command, mounts.clone()))
        }),
    ])
}

/// In the mount namespace of a containerd that has one of its own.
fn joining(command: &mut Command, mounts: Option<Arc<OwnedFd>>) -> &mut Command {
    if let Some(mounts) = mounts {
        let join = move || Ok(setns(&*mounts, CloneFlags::CLONE_NEWNS)?);
        // SAFETY: setns(2) is async-signal-safe, and the descriptor is open here.
        unsafe { command.pre_exec(join) };
    }
    command
}

/// The files through which a process joins every cgroup of `pid`.
fn cgroup_procs(pid: i32) -> Fallible<Vec<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mounted = match controllers {
            "" if root.join("unified").exists() => root.join("unified"),
            "" => root.to_path_buf(),
            name => root.join(name.trim_start_matches("name=")),
        };
        let procs = mounted
            .join(path.trim_start_matches('/'))
            .join("cgroup.procs");
        if procs.exists() {
            found.push(procs);
        }
    }
    Ok(found)
}
