//! A bundle's `config.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| podhook_hooks::fuzzing::spec_json(json));
