//! `make cluster`: a node of Kubernetes with podhook, to try things by hand, until Ctrl-C.
//!
//! usage: cluster [1.36|1.37] [SHIM]     (SHIM: that of pods which name no RuntimeClass: podhook, podhook-v1, runc)

use std::process::ExitCode;
use std::time::Instant;
use std::{env, thread};

use podhook_integration::ShimKind;
use podhook_integration::kubernetes::{Cluster, Error, Version};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (mut version, mut shim) = (Version::V1_37, ShimKind::Podhook);
    for word in env::args().skip(1) {
        match (Version::named(&word), ShimKind::named(&word)) {
            (Some(named), _) => version = named,
            (_, Some(named)) => shim = named,
            _ => {
                eprintln!("usage: cluster [1.36|1.37] [podhook|podhook-v1|runc]");
                return ExitCode::from(2);
            }
        }
    }
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        eprintln!("cluster: cannot handle signals");
        return ExitCode::FAILURE;
    };
    let (up, started) = oneshot::channel();
    thread::spawn(move || {
        // Whoever interrupts the start has no ear for its end: the cluster is dropped, and so removed, here.
        let _ = up.send(start(version, shim));
    });
    let mut started = started;
    let mut interrupted = false;
    let outcome = loop {
        tokio::select! {
            outcome = &mut started => break outcome,
            _ = interrupt.recv() => interrupted = true,
            _ = terminate.recv() => interrupted = true,
        }
        eprintln!("ends as soon as it has started");
    };
    let cluster = match outcome {
        Ok(Ok(cluster)) => cluster,
        Ok(Err(error)) => {
            eprintln!("cluster: {error}");
            return ExitCode::FAILURE;
        }
        Err(_) => return ExitCode::FAILURE,
    };
    if !interrupted {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    cluster.destroy();
    println!(
        "\nEverything is cleaned up: no process, mount, cgroup, bridge or file of the cluster is left."
    );
    ExitCode::SUCCESS
}

fn start(version: Version, shim: ShimKind) -> Result<Cluster, Error> {
    let begun = Instant::now();
    println!("Kubernetes {version} is starting, with {shim} for pods without a RuntimeClass");
    let cluster = Cluster::start(version, shim)?;
    println!(
        "It runs, after {:.1} s, with containerd {} in {}.\n\
         Images, by any registry's name: nginx, busybox. RuntimeClasses: runc, podhook, podhook-pauseless, podhook-v1.\n\
         In another terminal:\n\n\
         export KUBECONFIG={} PATH={}:$PATH; kubectl get nodes\n\
         export CONTAINERD_ADDRESS={}; target/debug/podhook ps\n\
         kubectl apply -f examples/lifecycle-demo-poststart.yaml\n\n\
         Ctrl-C ends it and removes everything.",
        begun.elapsed().as_secs_f32(),
        cluster.containerd().version(),
        cluster.containerd().dir().display(),
        cluster.kubeconfig().display(),
        version
            .program("kubectl")?
            .parent()
            .unwrap_or(std::path::Path::new("/"))
            .display(),
        cluster.containerd().address().display(),
    );
    Ok(cluster)
}
