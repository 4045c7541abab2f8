//! When the shim ends: on `Shutdown`, without a client and a container for some time, or after SIGTERM.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use podhook_hooks::deadline;
use tokio::time::Instant;

use super::shim::Shim;
use crate::containerd::clients::Clients;
use crate::error::{Error, Result};
use crate::host::signals::Signals;

/// How long a shim without containers waits for a client. containerd connects at once after `start`;
/// one that died in between finds its bundle when it is back, and cleans up with `delete`.
const DESERTED: Duration = Duration::from_secs(60);
/// `podhook metrics` connects for a moment; containerd stays.
const GLANCE: Duration = Duration::from_secs(5);
/// How often a shim that is to end looks whether it can.
const LOOK: Duration = Duration::from_millis(500);

/// The signals that tell the shim to end.
pub struct Told(Signals);

impl Told {
    /// Listens from now on.
    pub fn new() -> Result<Self> {
        let signals = Signals::new(&[Signal::SIGTERM, Signal::SIGINT]);
        signals
            .map(Self)
            .map_err(Error::sys("listen for SIGTERM and SIGINT"))
    }
}

pub async fn wait(shim: &Arc<Shim>, clients: &Clients, told: Told) {
    let terminated = async {
        if told.0.next().await.is_err() {
            std::future::pending::<()>().await;
        }
        log::info!("told to end: as soon as no container runs and containerd is gone");
        unneeded(shim, clients).await;
    };
    tokio::select! {
        () = shim.wait() => {}
        () = deserted(shim, clients) => log::warn!("no container and no client: the shim ends"),
        () = terminated => log::info!("nothing runs: the shim ends"),
    }
}

/// There is no connection, and no container that a client could come back for.
async fn deserted(shim: &Arc<Shim>, clients: &Clients) {
    loop {
        clients.none().await;
        if shim.is_empty() {
            let deadline = deadline::after(Instant::now().into_std(), DESERTED).into();
            while tokio::time::timeout_at(deadline, clients.some())
                .await
                .is_ok()
            {
                // A connection that only reads the counters does not keep the shim.
                let glance = tokio::time::timeout(GLANCE, clients.none()).await;
                if glance.is_err() || !shim.is_empty() {
                    break;
                }
            }
            if clients.count() == 0 && shim.is_empty() {
                return;
            }
            continue;
        }
        // Only a client removes containers, but for one whose Create fails after its client has gone; or a pod, but for one
        // that containerd has forgotten.
        tokio::select! {
            () = clients.some() => {}
            () = shim.create_failed() => {}
            () = forgotten(shim) => {
                if !shim.is_empty() {
                    shim.forget_pod().await;
                }
            }
        }
    }
}

/// containerd has removed the pod's bundle, whose client has given up its start: nobody will ask for its end. That comes soon
/// after it has hung up; who looks for ever would wake a node whose containerd is away.
async fn forgotten(shim: &Arc<Shim>) {
    let mut pause = LOOK;
    while pause < DESERTED {
        tokio::time::sleep(pause).await;
        if shim.is_empty() || shim.has_forgotten_pod() {
            return;
        }
        pause = pause.saturating_mul(2);
    }
    std::future::pending().await
}

/// At the end of the node systemd sends SIGTERM to everything and waits: the shim goes with its
/// containers. While containerd is there, that ends the shim with `Shutdown`, when it has the exits.
async fn unneeded(shim: &Arc<Shim>, clients: &Clients) {
    while clients.count() > 0 || shim.runs_anything() {
        tokio::time::sleep(LOOK).await;
    }
}
