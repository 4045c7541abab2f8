//! The full names of protobuf messages, by which an `Any` says what it holds.
//!
//! Not from the messages' descriptors: to ask one parses and indexes the whole of its `.proto` file, which
//! takes milliseconds, and some 100 kB for as long as the shim lives.

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

/// The package of the events that a shim publishes.
pub const EVENTS: &str = "containerd.events";
/// The package of runc's options.
pub const RUNC: &str = "containerd.runc.v1";

pub fn full_name<M: Message>(package: &str) -> String {
    format!("{package}.{}", M::NAME)
}

/// Whether `any` holds an `M` of `package`, under either form of its name.
pub fn any_is<M: Message>(any: &Any, package: &str) -> bool {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    name.strip_prefix(package)
        .and_then(|name| name.strip_prefix('.'))
        == Some(M::NAME)
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::events::task::{
        TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOOM, TaskPaused,
        TaskResumed, TaskStart,
    };
    use containerd_shim_protos::protobuf::MessageFull;
    use containerd_shim_protos::shim::oci::{CheckpointOptions, Options};

    use super::*;

    fn check<M: MessageFull>(package: &str) {
        let name = M::descriptor().full_name().to_owned();
        assert_eq!(full_name::<M>(package), name);
        let any = |type_url: String| Any {
            type_url,
            ..Any::default()
        };
        assert!(any_is::<M>(&any(name.clone()), package));
        assert!(any_is::<M>(
            &any(format!("types.containerd.io/{name}")),
            package
        ));
        for other in [
            String::new(),
            M::NAME.to_owned(),
            format!("{name}s"),
            format!("a.{name}"),
        ] {
            assert!(!any_is::<M>(&any(other.clone()), package), "{other:?}");
        }
    }

    #[test]
    fn names_are_those_of_the_descriptors() {
        check::<TaskCreate>(EVENTS);
        check::<TaskStart>(EVENTS);
        check::<TaskExit>(EVENTS);
        check::<TaskDelete>(EVENTS);
        check::<TaskOOM>(EVENTS);
        check::<TaskExecAdded>(EVENTS);
        check::<TaskExecStarted>(EVENTS);
        check::<TaskPaused>(EVENTS);
        check::<TaskResumed>(EVENTS);
        check::<Options>(RUNC);
        check::<CheckpointOptions>(RUNC);
    }
}
