//! `make bench-exec`: `/bin/true` in a running container, by every way there is.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use podhook_integration::containerd::remains;
use podhook_integration::generation::{OciRuntime, repository};
use podhook_integration::{Containerd, Node, Place, ShimKind};
use serde_json::{Value, json};

use crate::Fallible;
use crate::peer::Peer;
use crate::rounds::{self, Method, samples};
use crate::samples::{Samples, ratio};
use crate::stage::Stage;
use crate::table::{self, Budget, ms};
use crate::tasks::Tasks;

const HOOK: &str = "exec hook (engine, own cgroup, output read)";
const ENGINE: &str = "exec (engine)";
const BARE: &str = "bare C: fork, cgroups, setns, fork, exec";
const RUNC: &str = "runc exec";
const CLIENT: &str = "the client itself: 4 calls that reach no shim";
const CLIENT_PODHOOK: &str = "client: Exec, Start, Wait, Delete, podhook";
const CLIENT_RUNC: &str = "client: Exec, Start, Wait, Delete, runc-v2";

/// A sleeping container to run things in.
struct Target<'a> {
    container: podhook_integration::node::Container<'a>,
    pid: i32,
}

impl<'a> Target<'a> {
    fn start(node: &'a Node, name: &str) -> Fallible<Self> {
        Self::of(node.container(name).start(&["sleep", "1000000"])?)
    }

    fn of(container: podhook_integration::node::Container<'a>) -> Fallible<Self> {
        let pid = container.task()?.ok_or("no task")?.pid;
        Ok(Self { container, pid })
    }

    fn config(&self) -> PathBuf {
        self.container.bundle().join("config.json")
    }

    /// The container's own process with `/bin/true` as the command.
    fn process(&self) -> Fallible<Vec<u8>> {
        let config: Value = serde_json::from_slice(&fs::read(self.config())?)?;
        let mut process = config["process"].clone();
        process["args"] = json!(["/bin/true"]);
        process["terminal"] = json!(false);
        Ok(serde_json::to_vec(&process)?)
    }
}

/// Measures and prints.
///
/// # Errors
/// When something cannot be measured; not when a budget is missed.
pub fn run(stage: &Stage, rounds: usize) -> Fallible<()> {
    let containerd = stage.containerd();
    let (runc_node, podhook_node) = (stage.node(ShimKind::Runc), stage.node(ShimKind::Podhook));
    let by_runc = Target::start(&runc_node, "runc")?;
    let by_podhook = Target::start(&podhook_node, "podhook")?;
    // A containerd of its own: crun refuses the cgroup hierarchies of most machines that are not v2 only.
    let place = Place {
        generation: containerd.generation(),
        shim: ShimKind::Runc,
        runtime: OciRuntime::Crun,
    };
    let with_crun = Arc::new(Containerd::start_at(place)?);
    let crun_node = Node::new(Arc::clone(&with_crun), ShimKind::Runc);
    let by_crun = Target::start(&crun_node, "crun");
    let (pod_runc, pod_podhook) = (
        runc_node.pod("runc").run()?,
        podhook_node.pod("podhook").run()?,
    );
    let asleep = ["sleep", "1000000"];
    let cri_runc = pod_runc.container("c").command(&asleep).start()?;
    let cri_podhook = pod_podhook.container("c").command(&asleep).start()?;

    let (direct, everything) = (stage.direct()?, stage.everything()?);
    let mut worker = Peer::start(
        Command::new(std::env::current_exe()?)
            .args(["worker", by_runc.container.id(), &by_runc.pid.to_string()])
            .arg(by_runc.config()),
    )?;
    let mut hooks = Peer::start(
        Command::new(std::env::current_exe()?)
            .args(["worker", by_runc.container.id(), &by_runc.pid.to_string()])
            .arg(by_runc.config()),
    )?;
    let mut bare = Peer::start(
        Command::new(bare_program(containerd.dir())?)
            .arg(by_runc.pid.to_string())
            .args(cgroup_procs(by_runc.pid)?),
    )?;
    let namespace = containerd.id().to_owned();
    let state = remains::runc_state(&(namespace.clone(), String::new()));
    let mut tasks = Tasks::connect(&containerd.address(), &namespace)?;
    let mut tasks_runc = Tasks::connect(&containerd.address(), &namespace)?;
    let idle = Tasks::connect(&containerd.address(), &namespace)?;
    let (podhook_process, runc_process) = (by_podhook.process()?, by_runc.process()?);
    let nsenter_pid = by_runc.pid.to_string();

    let mut methods = vec![
        Method::new(HOOK, 20, &direct, |n| hooks.run("hook", n)),
        Method::new(ENGINE, 20, &direct, |n| worker.run("exec", n)),
        Method::new(BARE, 20, &direct, |n| bare.run("bare", n)),
        Method::each("nsenter, no cgroups", 5, &direct, || {
            timed(Command::new("nsenter").args(["-t", &nsenter_pid, "-a", "/bin/true"]))
        }),
        Method::each(RUNC, 4, &direct, || {
            timed(&mut runtime_exec(
                "runc".as_ref(),
                &state,
                by_runc.container.id(),
            ))
        }),
        Method::each(CLIENT, 10, &everything, || idle.nothing()),
        Method::each(CLIENT_PODHOOK, 8, &everything, || {
            tasks.exec(by_podhook.container.id(), &podhook_process)
        }),
        Method::each(CLIENT_RUNC, 4, &everything, || {
            tasks_runc.exec(by_runc.container.id(), &runc_process)
        }),
        Method::each("CRI ExecSync, podhook", 4, &everything, || {
            let start = Instant::now();
            cri_podhook.exec(&["/bin/true"])?;
            Ok(start.elapsed())
        }),
        Method::each("CRI ExecSync, runc-v2", 4, &everything, || {
            let start = Instant::now();
            cri_runc.exec(&["/bin/true"])?;
            Ok(start.elapsed())
        }),
    ];
    let no_crun = match &by_crun {
        Ok(crun) => {
            let id = crun.container.id();
            let state = remains::runc_state(&(with_crun.id().to_owned(), String::new()));
            let program = place.generation.oci_runtime(place.runtime)?;
            let mounts = with_crun
                .mount_namespace()
                .map(|mounts| mounts.try_clone_to_owned().map(Arc::new))
                .transpose()?;
            methods.push(Method::each("crun exec", 4, &direct, move || {
                let mut command = runtime_exec(&program, &state, id);
                if let Some(mounts) = mounts.clone() {
                    // SAFETY: setns(2) is async-signal-safe, and the descriptor is open here.
                    unsafe {
                        command.pre_exec(move || {
                            Ok(nix::sched::setns(
                                &*mounts,
                                nix::sched::CloneFlags::CLONE_NEWNS,
                            )?)
                        });
                    }
                }
                timed(&mut command)
            }));
            None
        }
        Err(error) => error.to_string().lines().last().map(str::to_owned),
    };
    rounds::interleave(&mut methods, rounds)?;
    print(&methods);
    if let Some(reason) = no_crun {
        println!("\n  crun exec: not measured, crun makes no container here: {reason}");
    }
    Ok(())
}

fn print(methods: &[Method<'_>]) {
    let none = Samples::default();
    let of = |name| samples(methods, name).unwrap_or(&none);
    let (bare, runc) = (of(BARE).median(), of(RUNC).median());
    let rows: Vec<_> = methods
        .iter()
        .map(|Method { name, samples, .. }| {
            vec![
                (*name).to_owned(),
                samples.wall.len().to_string(),
                ms(samples.median()),
                ms(samples.p99()),
                ms(samples.cpu_each()),
                format!("{:.2}", ratio(samples.median(), bare)),
                format!("1/{:.1}", ratio(runc, samples.median())),
            ]
        })
        .collect();
    let heads = [
        "",
        "n",
        "median",
        "p99",
        "CPU each",
        "x bare C",
        "of runc exec",
    ];
    table::print("/bin/true in a running container", &heads, &rows);

    let client = of(CLIENT).median();
    let less = |name| of(name).median().saturating_sub(client);
    table::print_budgets(&[
        Budget {
            what: "exec hook / bare C",
            measured: ratio(of(HOOK).median(), bare),
            limit: 1.5,
            unit: "",
        },
        Budget {
            what: "exec hook / runc exec",
            measured: ratio(of(HOOK).median(), runc),
            limit: 1.0 / 15.0,
            unit: "",
        },
        Budget {
            what: "client's Exec, podhook / runc-v2, less the client's own cost",
            measured: ratio(less(CLIENT_PODHOOK), less(CLIENT_RUNC)),
            limit: 0.2,
            unit: "",
        },
    ]);
    let cpu = |a, b| ratio(of(a).cpu_each(), of(b).cpu_each());
    println!(
        "\n  Of CPU time: hook / bare C {:.2}, hook / runc exec {:.3}, client's Exec podhook / runc-v2 {:.3},\n  \
         CRI ExecSync podhook / runc-v2 {:.3} (median {:.3}).",
        cpu(HOOK, BARE),
        cpu(HOOK, RUNC),
        cpu(CLIENT_PODHOOK, CLIENT_RUNC),
        cpu("CRI ExecSync, podhook", "CRI ExecSync, runc-v2"),
        ratio(
            of("CRI ExecSync, podhook").median(),
            of("CRI ExecSync, runc-v2").median()
        ),
    );
}

/// The time from before the fork until the command is reaped.
fn timed(command: &mut Command) -> Fallible<Duration> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = start.elapsed();
    if status.success() {
        Ok(elapsed)
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

fn runtime_exec(program: &Path, root: &Path, id: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--root")
        .arg(root)
        .args(["exec", id, "/bin/true"]);
    command
}

/// Compiles `bench/bare.c`.
fn bare_program(dir: &Path) -> Fallible<PathBuf> {
    let program = dir.join("bare");
    let source = repository().join("integration/bench/bare.c");
    let status = Command::new("cc")
        .arg("-O2")
        .arg("-o")
        .arg(&program)
        .arg(source)
        .status()?;
    if status.success() {
        Ok(program)
    } else {
        Err(format!("cc: {status}").into())
    }
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
