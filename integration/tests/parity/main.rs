//! What a container without a lifecycle does is the same under containerd-shim-runc-v2 and podhook:
//! these tests pass with both.

mod crash;
mod cri;
mod ctr;
mod endurance;
mod exec;
mod io;
mod restart;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    podhook_integration::suite::run(
        [
            ctr::tests(),
            exec::tests(),
            endurance::tests(),
            io::tests(),
            terminal::tests(),
            crash::tests(),
            cri::tests(),
            restart::tests(),
        ]
        .concat(),
    )
}
