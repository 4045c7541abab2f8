//! Bytes on the shim's socket.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| containerd_shim_podhook_v1::fuzzing::socket(input));
