//! The files of a cgroup that statistics come from.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| containerd_shim_podhook_v1::fuzzing::cgroup_files(input));
