//! What a container without a lifecycle does is the same under containerd-shim-runc-v2 and podhook:
//! these tests pass with both.

mod checkpoint;
mod crash;
mod cri;
mod ctr;
mod exec;
mod io;
mod restart;

use std::process::ExitCode;

fn main() -> ExitCode {
    podhook_integration::suite::run(
        [
            ctr::tests(),
            exec::tests(),
            io::tests(),
            checkpoint::tests(),
            crash::tests(),
            cri::tests(),
            restart::tests(),
        ]
        .concat(),
    )
}
