//! Requests of the task service, and what happens between them, to the end of a container on fakes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| containerd_shim_podhook_v1::fuzzing::requests(input));
