//! The instructions that the shim executes for what each container has, in callgrind. They are as many on a busy machine as on a
//! quiet one, which no time is.

use std::collections::BTreeMap;
use std::fs;

use containerd_shim_protos::api::{DeleteRequest, ExecProcessRequest, StartRequest, WaitRequest};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::callgrind::Callgrind;
use crate::Fallible;
use crate::client::Direct;
use crate::direct::{create_request, delete_request, start_request};
use crate::shims::Shim;
use crate::spot::Spot;
use crate::verbs::Bare;

pub const START_VERB: &str = "start verb";
pub const LIFE: &str = "Create, Start, Delete";
pub const EXEC: &str = "Exec, Start, Wait, Delete of a process";

/// Processes in one container, after one that is not counted.
const EXECS: u32 = 16;

/// Thousands of instructions.
///
/// # Errors
/// What cannot be counted.
pub fn count(spot: Spot) -> Fallible<BTreeMap<String, f64>> {
    let state = tempfile::tempdir()?;
    let bare = Bare::open(spot, state.path().to_owned(), None)?;
    let callgrind = Callgrind::new(&bare, &Shim::Podhook.program(spot.generation)?)?;
    let verb = callgrind.start_verb("verb")?;
    let nothing = callgrind.server("nothing", |_| Ok(()))?;
    // Create to Delete, with so many processes in between. The server ends only when nothing runs.
    let life = |id: &'static str, execs: u32| {
        callgrind.server(id, |client| {
            client.call("Create", &create_request(&bare, id))?;
            client.call("Start", &start_request(id))?;
            (0..execs).try_for_each(|number| exec(client, id, number))?;
            // Not by the shim: valgrind has no pidfd_send_signal.
            let pid = fs::read_to_string(bare.bundle(id).join("init.pid"))?;
            kill(Pid::from_raw(pid.trim().parse()?), Signal::SIGKILL)?;
            let wait = WaitRequest {
                id: id.to_owned(),
                ..Default::default()
            };
            client.call("Wait", &wait)?;
            client.call("Delete", &delete_request(id)).map(drop)
        })
    };
    let started = life("started", 0)?;
    let (one, more) = (life("one", 1)?, life("more", 1 + EXECS)?);
    let row = |what: &str, count: f64| (what.to_owned(), count / 1000.0);
    Ok(BTreeMap::from([
        row(START_VERB, verb),
        row(LIFE, started - nothing),
        row(EXEC, (more - one) / f64::from(EXECS)),
    ]))
}

/// As every client does it, without stdio.
fn exec(client: &Direct, id: &str, number: u32) -> Fallible<()> {
    let exec_id = format!("exec-{number}");
    let process =
        json!({"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let spec = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
        value: serde_json::to_vec(&process)?,
        ..Default::default()
    };
    let request = ExecProcessRequest {
        id: id.to_owned(),
        exec_id: exec_id.clone(),
        spec: MessageField::some(spec),
        ..Default::default()
    };
    let start = StartRequest {
        id: id.to_owned(),
        exec_id: exec_id.clone(),
        ..Default::default()
    };
    let wait = WaitRequest {
        id: id.to_owned(),
        exec_id: exec_id.clone(),
        ..Default::default()
    };
    let delete = DeleteRequest {
        id: id.to_owned(),
        exec_id,
        ..Default::default()
    };
    let calls: [(&str, &dyn Encoded); 4] = [
        ("Exec", &request),
        ("Start", &start),
        ("Wait", &wait),
        ("Delete", &delete),
    ];
    for (method, request) in calls {
        client.call_bytes(method, request.encoded()?)?;
    }
    Ok(())
}

trait Encoded {
    fn encoded(&self) -> Fallible<Vec<u8>>;
}

impl<M: Message> Encoded for M {
    fn encoded(&self) -> Fallible<Vec<u8>> {
        Ok(self.write_to_bytes()?)
    }
}
