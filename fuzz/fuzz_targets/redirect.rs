//! A handler's path and a `Location`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (path, location) = input.split_once('\n').unwrap_or(("/a/b?c=d", input));
    podhook_hooks::fuzzing::redirect(path, location);
});
