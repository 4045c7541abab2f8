//! `/proc/PID/cgroup`, `/proc/PID/stat` and `/proc/self/mountinfo`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| containerd_shim_podhook_v1::fuzzing::memberships(input));
