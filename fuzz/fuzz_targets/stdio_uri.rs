//! The URI of a process's output.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|uri: &str| containerd_shim_podhook_v1::fuzzing::stdio_uri(uri));
