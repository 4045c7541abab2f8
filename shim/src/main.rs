//! `containerd-shim-podhook-v1`, the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    containerd_shim_podhook_v1::main()
}
