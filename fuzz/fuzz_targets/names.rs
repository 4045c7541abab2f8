//! `/etc/hosts`, `/etc/resolv.conf` and the answers of name servers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == 0xff);
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default()).unwrap_or_default();
    let (name, files) = (text(), text());
    podhook_hooks::fuzzing::names(name, files, parts.next().unwrap_or_default());
});
