//! podhook under a real kubelet, as a user with kubectl sees it; what is no work of podhook's on the original shim, too.

mod steps;
mod tutorial;

use std::process::ExitCode;

use podhook_integration::kubernetes::suite;

fn main() -> ExitCode {
    let tests = [tutorial::tests()];
    suite::run(&tests.concat())
}
