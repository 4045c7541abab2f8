//! What a container without a lifecycle does is the same under containerd-shim-runc-v2 and podhook:
//! these tests pass with both.

mod ctr;

use std::process::ExitCode;

fn main() -> ExitCode {
    podhook_integration::suite::run([ctr::tests()].concat())
}
