//! critest with one shim, in namespaces of its own.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::containerd::Features;
use podhook_integration::generation::upstream;
use podhook_integration::{Containerd, Place, ShimKind, command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::Error;
use crate::registry;

/// For a whole run, three times what it takes on two busy cores.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// The cases mostly wait.
const PROCESSES: usize = 4;

/// Where libcni keeps results, by names of networks that are free in this namespace and taken outside of it.
const CNI: &str = "/var/lib/cni";

/// The containerd, for the clean-up after a signal.
static CONTAINERD: OnceLock<Arc<Containerd>> = OnceLock::new();

/// Runs all cases and leaves critest's report. SIGTERM, which the kernel sends when the parent ends, and Ctrl-C end it,
/// cleanly.
pub fn run(place: Place, report: &Path) -> Result<(), Error> {
    let report = report.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (done, ended) = oneshot::channel();
        thread::spawn(move || done.send(play(place, &report)));
        tokio::select! {
            outcome = ended => outcome.unwrap_or_else(|_| Err("it panicked".into())),
            _ = terminate.recv() => Err("terminated".into()),
            _ = interrupt.recv() => Err("interrupted".into()),
        }
    });
    end_critest();
    if let Some(containerd) = CONTAINERD.get() {
        if outcome.is_err() {
            eprintln!("{}", containerd.log_end());
        }
        containerd.destroy();
    }
    outcome
}

fn play(place: Place, report: &Path) -> Result<(), Error> {
    fs::create_dir_all(CNI)?;
    mount(
        Some("tmpfs"),
        CNI,
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )?;
    command::stdout_of("ip", &["link", "set", "lo", "up"])?;
    let features = Features {
        nri: true,
        host_ports: true,
        registry: true,
        ..Features::default()
    };
    let containerd = Containerd::start_featuring(place, place.shim, features)?;
    let containerd = CONTAINERD.get_or_init(|| Arc::new(containerd));
    let _registry = registry::serve(containerd)?;
    critest(containerd, place.shim, report)
}

fn critest(containerd: &Containerd, shim: ShimKind, report: &Path) -> Result<(), Error> {
    let socket = format!("unix://{}", containerd.address().display());
    let nri = containerd.dir().join("nri.sock");
    let mut critest = Command::new(upstream("cri-tools", "critest")?);
    let path = env::var("PATH").unwrap_or_default();
    let ginkgo = upstream("cri-tools", "ginkgo")?;
    let ginkgo = ginkgo.parent().unwrap_or(Path::new("/")).display();
    critest
        .env("PATH", format!("{ginkgo}:{path}"))
        // By ginkgo's processes: those that cannot run beside others say so.
        .arg(format!("--parallel={PROCESSES}"))
        .arg("--config=/dev/null")
        .arg(format!("--runtime-endpoint={socket}"))
        .arg(format!("--image-endpoint={socket}"))
        .arg(format!("--runtime-handler={}", shim.handler()))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        // Some wait for what a busy machine brings late.
        .arg("--ginkgo.flake-attempts=2")
        .arg("--ginkgo.no-color")
        .env("TMPDIR", containerd.dir().join("tmp"))
        .current_dir(containerd.dir());
    if nri.exists() {
        critest.arg(format!("--nri-socket={}", nri.display()));
    }
    // Its status is about the cases, which are in the report.
    let ended = command::run(&mut critest, None, LIMIT)?;
    if report.exists() {
        return Ok(());
    }
    Err(format!("critest left no report\n{}{}", ended.stdout, ended.stderr).into())
}

/// Kills what is left of critest after a signal: it starts ginkgo, which starts critest several times. All are in this
/// network namespace, in which nobody else is.
fn end_critest() {
    let network = |process: &Path| fs::read_link(process.join("ns/net")).ok();
    let own = network(Path::new("/proc/self"));
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        let arguments = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if arguments.contains("critest") && own.is_some() && network(&entry.path()) == own {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
