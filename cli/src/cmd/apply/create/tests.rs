//! What is left of a pod that containerd could not make.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use k8s_cri::v1::{ListPodSandboxResponse, PodSandbox};
use k8s_openapi::api::core::v1::Pod;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::{Service, http, tokio_stream};
use tonic::server::NamedService;
use tonic::{Code, Status};

use super::take_back;
use crate::cri::Client;
use crate::store::Store;

/// A containerd that has kept one sandbox, and is asked by one client.
#[derive(Clone)]
struct Keeping {
    /// The calls, in order.
    calls: Arc<Mutex<Vec<String>>>,
    /// What it answers to StopPodSandbox with, if that fails.
    refusal: Option<&'static str>,
}

impl NamedService for Keeping {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

impl Service<http::Request<Body>> for Keeping {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let call = path.rsplit('/').next().unwrap_or_default().to_owned();
        self.calls.lock().unwrap().push(call.clone());
        ready(Ok(match (call.as_str(), self.refusal) {
            ("ListPodSandbox", _) => answer(&ListPodSandboxResponse {
                items: vec![PodSandbox {
                    id: "kept".to_owned(),
                    ..Default::default()
                }],
            }),
            ("StopPodSandbox", Some(why)) => Status::new(Code::Unknown, why).into_http(),
            // Both answers are empty.
            ("StopPodSandbox" | "RemovePodSandbox", _) => answer(&()),
            (other, _) => Status::new(Code::Unimplemented, other).into_http(),
        }))
    }
}

fn answer(message: &impl Message) -> http::Response<Body> {
    let bytes = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    framed.extend(bytes);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frames = [
        Ok::<_, Status>(Frame::data(Bytes::from(framed))),
        Ok(Frame::trailers(trailers)),
    ];
    let body = Body::new(StreamBody::new(tokio_stream::iter(frames)));
    http::Response::builder()
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap()
}

/// Whether the pod was taken back, what containerd was asked for, and the pods that the store knows then.
async fn taken_back(
    refusal: Option<&'static str>,
) -> (Result<(), String>, Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("store")).unwrap();
    let mut pod = Pod::default();
    pod.metadata.name = Some("web".to_owned());
    pod.metadata.namespace = Some("shop".to_owned());
    drop(store.reserve("u", &pod).unwrap());
    let socket = folder.path().join("containerd.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let keeping = Keeping {
        calls: Arc::default(),
        refusal,
    };
    let calls = Arc::clone(&keeping.calls);
    let served = tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        tonic::transport::Server::builder()
            .add_service(keeping)
            .serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(client)))
            .await
    });
    let client = Client::connect(&socket).await.unwrap();
    let taken = take_back(&client, &store, "u", ("shop", "web")).await;
    served.abort();
    let calls = calls.lock().unwrap().clone();
    let taken = taken.map_err(|e| e.to_string());
    (taken, calls, store.uids().unwrap())
}

/// containerd names no sandbox in its error, and keeps it.
#[tokio::test]
async fn a_sandbox_that_containerd_kept_of_a_failed_apply_goes_with_the_pod() {
    let (taken, calls, left) = taken_back(None).await;
    assert_eq!(taken, Ok(()));
    assert_eq!(
        calls,
        ["ListPodSandbox", "StopPodSandbox", "RemovePodSandbox"]
    );
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_pod_whose_sandbox_stays_is_still_known_as_podhooks() {
    let (taken, _, left) = taken_back(Some("cni plugin not initialized")).await;
    assert_eq!(taken, Err("cni plugin not initialized".to_owned()));
    assert_eq!(left, ["u"]);
}
