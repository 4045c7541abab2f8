//! The node's configuration, TOML.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podhook_hooks::config::Config;

fuzz_target!(|text: &str| {
    if let Ok(config) = Config::parse(text, "config.toml") {
        let _ = config.policy();
    }
});
