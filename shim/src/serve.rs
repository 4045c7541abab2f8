//! The server: what `start` leaves running.

use std::{
    env,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use containerd_shim::Flags;
use containerd_shim_protos::ttrpc::r#async::Server;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    clients::Clients,
    end,
    error::{Error, Result},
    events::Publisher,
    memory, own_binary,
    reaper::Reaper,
    service,
    shim::Shim,
    socket,
    start::SOCKET_FD,
};

/// How long the last events may take when the shim ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Serves until containerd says `Shutdown`, or a signal ends the shim.
pub fn serve(flags: &Flags) -> Result<()> {
    let mount = own_binary::inherited_mount();
    sanitize()?;
    let listener = inherited_listener()?;
    let address = listener.local_addr().ok();
    let path = address.as_ref().and_then(|address| address.as_pathname());
    let own = path.map(socket::Own::new);
    if let Some(path) = path {
        socket::set_own(path);
    }
    if let Err(e) = crate::log::init(Path::new("log"), &flags.namespace, &flags.id, flags.debug) {
        // Tried by hand, outside of a bundle: there is no log, and no reason to stop.
        eprintln!("containerd-shim-podhook-v1: no log: {e}");
    }
    own_binary::settle(mount.as_ref()).inspect_err(|e| log::error!("shim failed: {e}"))?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        // Only mounts need a thread, and an idle shim none.
        .thread_keep_alive(Duration::from_millis(100))
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
    // The kernel takes milliseconds for the end of a mount: as a container is created meanwhile.
    let let_go = tokio::task::spawn_blocking(move || drop(mount));
    let reaper = Reaper::start()?;
    let ttrpc_address = env::var("TTRPC_ADDRESS").unwrap_or_default();
    let publisher = Publisher::start(&ttrpc_address, &flags.namespace);
    let (namespace, containerd) = (flags.namespace.clone(), flags.address.clone());
    let shim = Shim::new(namespace, containerd, publisher.clone(), reaper, let_go);
    let clients = Clients::default();
    let mut server = Server::new()
        .add_listener(socket::same_user_listener(listener, clients.clone())?)
        .register_service(service::services(&shim));
    server
        .start()
        .await
        .map_err(|e| Error::Unknown(format!("serve: {e}")))?;
    dump_on_sigusr1(&shim, &clients)?;
    tokio::spawn(memory::give_back());
    log::debug!(version = env!("CARGO_PKG_VERSION"); "shim serves");
    end::wait(&shim, &clients).await?;
    // Before anything is closed: from now on the address is free for the next shim of this name, and
    // what that one puts there is not ours to remove.
    drop(own);
    // The reply to Shutdown is on its way; events go before the process.
    let _ = tokio::time::timeout(Duration::from_secs(1), server.shutdown()).await;
    shim.counters.hand_over().await;
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
                std::io::Error::last_os_error(),
            ));
        }
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    Ok(())
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

fn dump_on_sigusr1(shim: &Arc<Shim>, clients: &Clients) -> Result<()> {
    let mut user1 =
        signal(SignalKind::user_defined1()).map_err(Error::sys("listen for SIGUSR1"))?;
    let (shim, clients) = (Arc::downgrade(shim), clients.clone());
    tokio::spawn(async move {
        while user1.recv().await.is_some() {
            let Some(shim) = shim.upgrade() else { return };
            let containers = shim.containers();
            log::info!(
                "state: containers={} clients={} events={}",
                containers.len(),
                clients.count(),
                shim.publisher.pending()
            );
            for container in containers {
                log::info!(id = container.id.as_str(); "state: {}", container.describe());
            }
        }
    });
    Ok(())
}
