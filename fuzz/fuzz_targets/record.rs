//! `podhook.json` as the command reads it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podhook_hooks::record::Record;

fuzz_target!(|text: &[u8]| {
    let Ok(json) = serde_json::from_slice(text) else {
        return;
    };
    let Ok(record) = Record::from_json(&json) else {
        return;
    };
    let _ = (record.namespace(), record.pod_name(), record.container());
    for hook in &record.hooks {
        let _ = (hook.result(), hook.what());
    }
    // What is read is written, and read again as it was.
    let written = serde_json::to_value(&record).expect("a record is JSON");
    let again = Record::from_json(&written).expect("a record");
    assert_eq!(record, again);
});
