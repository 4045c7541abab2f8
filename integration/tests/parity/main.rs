//! What a container without a lifecycle does is the same under containerd-shim-runc-v2 and podhook:
//! these tests pass with both.

mod checkpoint;
mod client;
mod crash;
mod cri;
mod ctr;
mod docker;
mod docker_calls;
mod endurance;
mod exec;
mod inherited;
mod io;
mod nerdctl;
mod pod_checkpoint;
mod pod_end;
mod pod_events;
mod pod_exec;
mod pod_log;
mod pod_namespaces;
mod pod_resources;
mod pod_security;
mod pod_start;
mod restart;
mod snapshotter;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    podhook_integration::suite::run(
        [
            ctr::tests(),
            exec::tests(),
            endurance::tests(),
            inherited::tests(),
            io::tests(),
            terminal::tests(),
            snapshotter::tests(),
            checkpoint::tests(),
            crash::tests(),
            client::tests(),
            cri::tests(),
            pod_start::tests(),
            pod_checkpoint::tests(),
            pod_end::tests(),
            pod_events::tests(),
            pod_exec::tests(),
            pod_log::tests(),
            pod_resources::tests(),
            pod_security::tests(),
            pod_namespaces::tests(),
            nerdctl::tests(),
            docker_calls::tests(),
            docker::tests(),
            restart::tests(),
        ]
        .concat(),
    )
}
