//! `exit.json`, and the log of the OCI runtime.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    containerd_shim_podhook_v1::fuzzing::exit_json(input);
    containerd_shim_podhook_v1::fuzzing::runtime_log(&String::from_utf8_lossy(input));
});
