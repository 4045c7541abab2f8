//! The server: what `start` leaves running.

use std::env;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use containerd_shim::Flags;
use containerd_shim_protos::ttrpc::r#async::Server;
use nix::sys::signal::Signal;
use podhook_hooks::task;
use tokio::runtime;

use super::start::SOCKET_FD;
use crate::container::deps::{Deps, TakenIds};
use crate::container::linux::Linux;
use crate::containerd::clients::Clients;
use crate::containerd::events::Publisher;
use crate::containerd::socket;
use crate::counters::Counting;
use crate::error::{Error, Result};
use crate::host::members::Members;
use crate::host::reaper::Reaper;
use crate::host::signals::Signals;
use crate::host::{apart, descriptors, memory, own_binary, signal_mask};
use crate::runtime::Programs;
use crate::server::shim::Shim;
use crate::server::{end, service};

/// How long containerd may take to hang up after it has ended a pod without a pause container.
const HANG_UP_LIMIT: Duration = Duration::from_secs(2);
/// How long the last events may take when the shim ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Serves until containerd says `Shutdown`, or a signal ends the shim.
pub fn serve(flags: &Flags) -> Result<()> {
    memory::share_arena();
    let mount = own_binary::inherited_mount();
    sanitize()?;
    let listener = inherited_listener()?;
    let address = listener.local_addr().ok();
    let path = address.as_ref().and_then(|address| address.as_pathname());
    let own = path.map(socket::Own::new);
    if let Some(path) = path {
        socket::set_own(path);
    }
    if let Err(e) =
        crate::containerd::log::init(Path::new("log"), &flags.namespace, &flags.id, flags.debug)
    {
        // Without a bundle (tried by hand) there is no log; the shim serves all the same.
        let _ = writeln!(io::stderr(), "containerd-shim-podhook-v1: no log: {e}");
    }
    own_binary::settle(mount.as_ref()).inspect_err(|e| log::error!("shim failed: {e}"))?;
    let runtime = runtime::Builder::new_current_thread()
        // Not its signals and no thread of its own: both panic where the kernel refuses what they need.
        .enable_io()
        .enable_time()
        .build()
        .map_err(Error::sys("start the runtime"))?;
    let served = runtime.block_on(run(flags, listener, own, mount));
    if let Err(e) = &served {
        log::error!("shim failed: {e}");
    }
    // Nothing that still runs in the background may hold the process.
    runtime.shutdown_background();
    served
}

async fn run(
    flags: &Flags,
    listener: UnixListener,
    own: Option<socket::Own>,
    mount: Option<OwnedFd>,
) -> Result<()> {
    let reaper = Reaper::start()?;
    let asked = Signals::new(&[Signal::SIGUSR1]).map_err(Error::sys("listen for SIGUSR1"))?;
    let told = end::Told::new()?;
    // Begun when all signals are blocked, so that the new thread blocks them too. The kernel takes milliseconds to
    // end a mount; the shim creates its container during that time.
    let let_go = apart::start(move || drop(mount));
    // The server runs in its bundle.
    let own_bundle = env::current_dir().map_err(Error::sys("find the working directory"))?;
    let ttrpc_address = env::var("TTRPC_ADDRESS").unwrap_or_default();
    let publisher = Publisher::start(&ttrpc_address, &flags.namespace);
    let deps = Deps {
        namespace: flags.namespace.clone(),
        runtimes: Box::new(Programs(Arc::clone(&reaper))),
        events: Arc::new(publisher.clone()),
        children: reaper,
        counters: Counting::new(),
        journal: Arc::default(),
        system: Box::new(Linux {
            containerd: flags.address.clone(),
        }),
        members: Members::of(&own_bundle),
        taken: TakenIds::default(),
    };
    let shim = Shim::new(deps, let_go);
    let clients = Clients::default();
    let mut server = Server::new()
        .add_listener(socket::same_user_listener(listener, clients.clone())?)
        .register_service(service::services(&shim));
    server.start().await.map_err(Error::failed("serve"))?;
    dump_on_sigusr1(&shim, &clients, &publisher, asked);
    task::spawn(memory::give_back());
    log::debug!(version = env!("CARGO_PKG_VERSION"); "shim serves");
    end::wait(&shim, &clients, told).await;
    if shim.was_pod() {
        // Who asks for the pod's status meanwhile gets an answer: containerd hangs up when it has forgotten the pod.
        let _ = tokio::time::timeout(HANG_UP_LIMIT, clients.none()).await;
    }
    // Before anything is closed: from now on the address is free for the next shim of this name, and
    // what that one puts there is not ours to remove.
    drop(own);
    // The reply to Shutdown is on its way; events go before the process.
    let _ = tokio::time::timeout(Duration::from_secs(1), server.shutdown()).await;
    shim.deps.journal.flush(FLUSH_LIMIT).await;
    shim.deps.counters.hand_over().await;
    publisher.flush(FLUSH_LIMIT).await;
    Ok(())
}

/// What the process must be before it does anything.
fn sanitize() -> Result<()> {
    // SAFETY: prctl and signal with integer arguments only.
    unsafe {
        // A container's process must not read or trace one that joins it: set before any join, and
        // inherited by every fork (CVE-2016-9962).
        if libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 {
            return Err(Error::sys("make the shim non-dumpable")(
                io::Error::last_os_error(),
            ));
        }
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    descriptors::raise_limit();
    signal_mask::unblock_own()
}

fn inherited_listener() -> Result<UnixListener> {
    // SAFETY: fcntl on any number is harmless.
    if unsafe { libc::fcntl(SOCKET_FD, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(Error::InvalidArgument(format!(
            "no socket at file descriptor {SOCKET_FD}: the server is started by `start`, which containerd calls"
        )));
    }
    // SAFETY: `start` puts the listening socket there for this process, and nothing else uses it.
    let listener = UnixListener::from(unsafe { OwnedFd::from_raw_fd(SOCKET_FD) });
    listener
        .local_addr()
        .map_err(Error::sys("use the inherited socket"))?;
    Ok(listener)
}

fn dump_on_sigusr1(shim: &Arc<Shim>, clients: &Clients, events: &Publisher, asked: Signals) {
    let (shim, clients, events) = (Arc::downgrade(shim), clients.clone(), events.clone());
    task::spawn(async move {
        while asked.next().await.is_ok() {
            let Some(shim) = shim.upgrade() else { return };
            let containers = shim.containers();
            log::info!(
                "state: containers={} clients={} events={}",
                containers.len(),
                clients.count(),
                events.pending()
            );
            for container in containers {
                log::info!(id = container.id.as_str(); "state: {}", container.describe());
            }
        }
    });
}
