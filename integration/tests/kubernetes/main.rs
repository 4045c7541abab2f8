//! podhook under a real kubelet, as a user with kubectl sees it; what is no work of podhook's on the original shim, too.

mod agent;
mod deploy;
mod failures;
mod jobs;
mod nodes;
mod post_start;
mod pre_stop;
mod probes;
mod resize;
mod restart;
mod spec_fields;
mod steps;
mod tutorial;
mod workloads;

use std::process::ExitCode;

use podhook_integration::kubernetes::suite;

fn main() -> ExitCode {
    let tests = [
        tutorial::tests(),
        post_start::tests(),
        pre_stop::tests(),
        failures::tests(),
        probes::tests(),
        workloads::tests(),
        agent::tests(),
        jobs::tests(),
        spec_fields::tests(),
        resize::tests(),
        nodes::tests(),
        // Each of them is alone.
        restart::tests(),
        deploy::tests(),
    ];
    suite::run(&tests.concat())
}
