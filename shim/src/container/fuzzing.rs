//! The task service on a connection, with containers on the fakes of the unit tests: for `fuzz/`.

use std::time::Duration;

use containerd_shim_protos::api::{CheckpointTaskRequest, CreateTaskRequest, ExecProcessRequest};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::r#async::transport::{Listener, Socket};
use containerd_shim_protos::ttrpc::r#async::{Client, Server};
use containerd_shim_protos::ttrpc::proto::Request;
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::tests::world::{World, hook_ends, story};
use crate::containerd::clients::Clients;
use crate::server::service;
use crate::server::shim::Shim;

const METHODS: [&str; 17] = [
    "Create",
    "Start",
    "State",
    "Delete",
    "Pids",
    "Exec",
    "Kill",
    "Wait",
    "Pause",
    "Resume",
    "Checkpoint",
    "ResizePty",
    "CloseIO",
    "Update",
    "Stats",
    "Connect",
    "Shutdown",
];

/// More than any limit of a request.
const LONG: Duration = Duration::from_secs(3600);

/// A server that a client is connected to.
async fn serve(world: &World) -> (Server, UnixStream) {
    let shim = Shim::new(world.new_deps(), async {});
    let (own, clients) = UnixStream::pair().expect("a pair of sockets");
    let connection = Clients::default().connected(own);
    let connections = stream::iter([Ok(connection)]).chain(stream::pending());
    let mut server = Server::new()
        .add_listener(Listener::new(connections))
        .register_service(service::services(&shim));
    server.start().await.expect("a server");
    (server, clients)
}

/// Bytes on the socket, as a client that speaks no ttrpc sends them. The server goes on, or closes the connection.
pub fn socket(input: &[u8]) {
    // Whatever runs a program or writes a file is out of reach: there is no container without a bundle.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = World::in_memory();
        let (mut server, client) = serve(&world).await;
        let (mut answers, mut requests) = client.into_split();
        let sent = async {
            let _ = requests.write_all(input).await;
            drop(requests);
        };
        let read = async {
            let mut bytes = Vec::new();
            let _ = answers.read_to_end(&mut bytes).await;
        };
        // A Wait may have no answer for ever.
        let _ = timeout(Duration::from_millis(200), async {
            tokio::join!(sent, read)
        })
        .await;
        let _ = server.shutdown().await;
    });
}

/// Requests to one container, one after the other, and what happens to it between them. A step is its kind, a length
/// of two bytes, and the request's message; a message that is sent must be answered in the end.
pub fn requests(input: &[u8]) {
    story(async {
        let world = World::in_memory();
        let (mut server, client) = serve(&world).await;
        let client = Client::new(Socket::new(client));
        let mut asked: Vec<(&str, JoinHandle<()>)> = Vec::new();
        let mut rest = input;
        while let Some(([kind, low, high], tail)) =
            rest.split_first_chunk::<3>().map(|(h, t)| (*h, t))
        {
            let length = usize::from(u16::from_le_bytes([low, high])).min(tail.len());
            let (message, tail) = tail.split_at(length);
            rest = tail;
            // An hour's worth of fuzzing is many short lives.
            if asked.len() == 64 {
                break;
            }
            match METHODS.get(usize::from(kind % 24)) {
                Some(method) => {
                    let Some(payload) = harmless(method, message, &world) else {
                        continue;
                    };
                    let client = client.clone();
                    let request = Request {
                        service: "containerd.task.v3.Task".to_owned(),
                        method: (*method).to_owned(),
                        payload,
                        ..Request::default()
                    };
                    let answer = tokio::spawn(async move {
                        let _ = client.request(request).await;
                    });
                    asked.push((method, answer));
                }
                None => happen(kind, &world).await,
            }
            sleep(Duration::from_millis(5)).await;
        }
        // Everything ends: the hooks, then all processes.
        sleep(LONG).await;
        for pid in world.fakes.alive() {
            world.fakes.end(pid, libc::SIGKILL);
        }
        sleep(LONG).await;
        for (method, answer) in asked {
            // An exec that is never started never ends.
            assert!(
                answer.is_finished() || method == "Wait",
                "{method} has no answer: {:#?}",
                world.fakes.trace(&[""])
            );
            answer.abort();
        }
        let _ = server.shutdown().await;
    });
}

/// What clients have no part in.
async fn happen(kind: u8, world: &World) {
    let fakes = &world.fakes;
    match kind % 24 {
        17 => {
            if let Some(init) = fakes.init("c1") {
                fakes.end(init, 42 << 8);
            }
        }
        18 => {
            if let Some(last) = fakes.alive().last() {
                fakes.end(*last, libc::SIGSEGV);
            }
        }
        19 | 20 => {
            for hook in ["post", "pre"] {
                hook_ends(fakes, &format!("c1 {hook}"), kind % 24 == 19);
            }
        }
        21 => sleep(Duration::from_secs(1)).await,
        _ => sleep(Duration::from_secs(120)).await,
    }
}

/// The message of a request, with what would reach files and programs of the machine taken out of it. None for what is
/// no message: the server's answer to that is seen by [`socket`].
fn harmless(method: &str, message: &[u8], world: &World) -> Option<Vec<u8>> {
    match method {
        "Create" => {
            let asked = CreateTaskRequest::parse_from_bytes(message).ok()?;
            // The lifecycle stands where the bundle's path would.
            let annotations = match asked.bundle.as_str() {
                "" => json!({}),
                lifecycle => json!({"podhook.dev/lifecycle": lifecycle}),
            };
            let safe = world.request("c1", annotations);
            let known = matches!(asked.id.as_str(), "" | "c1");
            CreateTaskRequest {
                id: if known { safe.id } else { asked.id },
                bundle: safe.bundle,
                options: safe.options,
                rootfs: asked.rootfs,
                terminal: false,
                ..CreateTaskRequest::default()
            }
            .write_to_bytes()
            .ok()
        }
        "Exec" => {
            let asked = ExecProcessRequest::parse_from_bytes(message).ok()?;
            let spec = asked.spec.into_option().unwrap_or_else(Any::default);
            ExecProcessRequest {
                id: asked.id,
                exec_id: asked.exec_id,
                spec: Some(spec).into(),
                ..ExecProcessRequest::default()
            }
            .write_to_bytes()
            .ok()
        }
        "Checkpoint" => {
            let asked = CheckpointTaskRequest::parse_from_bytes(message).ok()?;
            CheckpointTaskRequest {
                path: world.folder().join("image").display().to_string(),
                options: None.into(),
                ..asked
            }
            .write_to_bytes()
            .ok()
        }
        _ => Some(message.to_vec()),
    }
}
