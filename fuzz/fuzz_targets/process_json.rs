//! The process of an exec request.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| podhook_hooks::fuzzing::process_json(json));
