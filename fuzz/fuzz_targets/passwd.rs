//! `/etc/passwd` of an image.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    for uid in [0, 7, 1000, u32::MAX] {
        podhook_hooks::fuzzing::passwd(text, uid);
    }
});
