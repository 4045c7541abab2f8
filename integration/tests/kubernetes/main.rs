//! podhook under a real kubelet, as a user with kubectl sees it; what is no work of podhook's on the original shim, too.

mod post_start;
mod pre_stop;
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
        workloads::tests(),
        spec_fields::tests(),
        resize::tests(),
        // Each of them is alone.
        restart::tests(),
    ];
    suite::run(&tests.concat())
}
