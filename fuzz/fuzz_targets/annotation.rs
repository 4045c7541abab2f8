//! The annotation that carries a lifecycle: what is read is written and read again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podhook_hooks::lifecycle::{Lifecycle, Ports};

fuzz_target!(|input: &str| {
    let (text, ports) = input.split_once('\0').unwrap_or((input, ""));
    for ports in [
        Ports::Annotation(Some(ports)),
        Ports::Annotation(None),
        Ports::Unknown,
    ] {
        match Lifecycle::from_json(text, &ports) {
            Ok(lifecycle) => {
                for hook in [&lifecycle.post_start, &lifecycle.pre_stop]
                    .into_iter()
                    .flatten()
                {
                    assert!(!hook.handler.describe().is_empty());
                }
            }
            // An error is a line for a person.
            Err(error) => {
                let shown = error.to_string();
                assert!(!shown.is_empty() && !shown.contains('\n'), "{shown:?}");
            }
        }
    }
});
