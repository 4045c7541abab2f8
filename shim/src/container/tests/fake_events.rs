//! Events that are recorded.

use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOOM, TaskPaused,
    TaskResumed, TaskStart,
};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

use super::fakes::Fakes;
use crate::containerd::events::Events;

/// Into the list of all that happened.
pub struct FakeEvents(pub Fakes);

impl Events for FakeEvents {
    fn take(&self, topic: String, event: Any) {
        let line = describe(&topic, &event.value);
        self.0.note(format!("event {line}"));
    }
}

fn parse<M: Message>(bytes: &[u8]) -> M {
    M::parse_from_bytes(bytes).unwrap()
}

fn describe(topic: &str, bytes: &[u8]) -> String {
    match topic {
        "/tasks/create" => format!("create {}", parse::<TaskCreate>(bytes).container_id),
        "/tasks/start" => format!("start {}", parse::<TaskStart>(bytes).container_id),
        "/tasks/exit" => {
            let exit: TaskExit = parse(bytes);
            let name = match exit.id == exit.container_id {
                true => exit.id,
                false => format!("{}/{}", exit.container_id, exit.id),
            };
            format!("exit {name} {}", exit.exit_status)
        }
        "/tasks/delete" => {
            let delete: TaskDelete = parse(bytes);
            format!("delete {} {}", delete.container_id, delete.exit_status)
        }
        "/tasks/exec-added" => {
            let added: TaskExecAdded = parse(bytes);
            format!("exec-added {}/{}", added.container_id, added.exec_id)
        }
        "/tasks/exec-started" => {
            let started: TaskExecStarted = parse(bytes);
            format!("exec-started {}/{}", started.container_id, started.exec_id)
        }
        "/tasks/oom" => format!("oom {}", parse::<TaskOOM>(bytes).container_id),
        "/tasks/paused" => format!("paused {}", parse::<TaskPaused>(bytes).container_id),
        "/tasks/resumed" => format!("resumed {}", parse::<TaskResumed>(bytes).container_id),
        other => panic!("an event of topic {other}"),
    }
}
