//! Manifests, YAML and JSON, to what is asked of CRI.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podhook::manifest::{self, Facts, Object, Placement};

fuzz_target!(|text: &str| {
    let Ok(objects) = manifest::parse(text, "pod.yaml", None) else {
        return;
    };
    for object in objects {
        let Object::Pod(pod) = object else { continue };
        let placement = Placement {
            memory_capacity: 8 << 30,
            ..Placement::default()
        };
        let _ = manifest::sandbox::config(&pod, &placement);
        let _ = manifest::qos(&pod);
        let _ = manifest::lifecycle_doubts(&pod);
        for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
            let _ = manifest::container::config(&pod, container, &placement, &Facts::default());
            let _ = manifest::lifecycle_annotation(container);
        }
    }
});
