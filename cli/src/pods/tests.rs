//! What users see of a pod, from what CRI says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use k8s_cri::v1::{
    ContainerMetadata, ContainerResources, ContainerState, ContainerStatus,
    LinuxContainerResources, PodSandbox, PodSandboxState,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tonic::body::Body;
use tonic::codegen::{Service, http, tokio_stream};
use tonic::{Code, Status, server::NamedService};

use super::PodView;
use super::object;
use super::row::row;
use crate::cri;
use crate::store::Deletion;
use ContainerState::{
    ContainerCreated as Created, ContainerExited as Exited, ContainerRunning as Running,
};

/// A container by its state, exit code and reason.
type State = (ContainerState, i32, &'static str);

fn view(states: &[Option<State>]) -> PodView {
    let name = |i: usize| format!("c{i}");
    let containers: Vec<_> = (0..states.len())
        .map(|i| json!({"name": name(i), "image": "nginx"}))
        .collect();
    let statuses = states.iter().enumerate().filter_map(|(i, state)| {
        let (state, exit_code, reason) = (*state)?;
        Some(ContainerStatus {
            id: format!("id{i}"),
            metadata: Some(ContainerMetadata {
                name: name(i),
                attempt: 0,
            }),
            state: state.into(),
            exit_code,
            reason: reason.to_owned(),
            ..Default::default()
        })
    });
    PodView {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        uid: "u".to_owned(),
        sandboxes: vec![PodSandbox::default()],
        status: None,
        containers: statuses.collect(),
        manifest: serde_json::from_value(json!({
            "metadata": {"name": "web"}, "spec": {"containers": containers}
        }))
        .ok(),
        deletion: None,
        created: Timestamp::from_second(0).ok(),
    }
}

/// READY, STATUS and the phase.
fn shown(view: &PodView) -> (String, String, String) {
    let pod = object(view);
    let cells = row(&pod, false, Timestamp::from_second(5).unwrap());
    assert_eq!(
        (cells[0].as_str(), cells[3].as_str(), cells[4].as_str()),
        ("web", "0", "5s")
    );
    (
        cells[1].clone(),
        cells[2].clone(),
        pod.status.unwrap().phase.unwrap(),
    )
}

#[test]
fn ready_status_and_phase_are_kubectls() {
    type Case = (
        &'static [Option<State>],
        (&'static str, &'static str, &'static str),
    );
    let cases: &[Case] = &[
        // Also while a postStart hook runs.
        (
            &[Some((Created, 0, ""))],
            ("0/1", "ContainerCreating", "Pending"),
        ),
        (&[None], ("0/1", "ContainerCreating", "Pending")),
        (&[Some((Running, 0, ""))], ("1/1", "Running", "Running")),
        (
            &[Some((Running, 0, "")), Some((Created, 0, ""))],
            ("1/2", "ContainerCreating", "Running"),
        ),
        (
            &[Some((Exited, 0, "Completed"))],
            ("0/1", "Completed", "Succeeded"),
        ),
        (&[Some((Exited, 1, "Error"))], ("0/1", "Error", "Failed")),
        (
            &[Some((Exited, 137, "OOMKilled"))],
            ("0/1", "OOMKilled", "Failed"),
        ),
        (&[Some((Exited, 2, ""))], ("0/1", "ExitCode:2", "Failed")),
        // A postStart hook that failed.
        (
            &[Some((Exited, 128, "StartError"))],
            ("0/1", "RunContainerError", "Failed"),
        ),
        (
            &[Some((Running, 0, "")), Some((Exited, 0, "Completed"))],
            ("1/2", "NotReady", "Running"),
        ),
        (
            &[Some((Running, 0, "")), Some((Exited, 1, "Error"))],
            ("1/2", "Error", "Running"),
        ),
    ];
    for (states, (ready, status, phase)) in cases {
        let expected = (
            (*ready).to_owned(),
            (*status).to_owned(),
            (*phase).to_owned(),
        );
        assert_eq!(shown(&view(states)), expected, "{states:?}");
    }
}

#[test]
fn a_pod_being_deleted_is_terminating_and_ready_while_it_runs() {
    let mut view = view(&[Some((Running, 0, ""))]);
    view.deletion = Some(Deletion {
        deletion_timestamp: Timestamp::from_second(30).unwrap(),
        grace_period_seconds: 30,
    });
    assert_eq!(shown(&view).0, "1/1");
    assert_eq!(shown(&view).1, "Terminating");
    let metadata = object(&view).metadata;
    assert_eq!(metadata.deletion_grace_period_seconds, Some(30));
}

#[test]
fn a_pod_without_sandbox_is_pending_and_one_with_a_dead_sandbox_unknown() {
    let mut view = view(&[None]);
    view.sandboxes.clear();
    assert_eq!(shown(&view).2, "Pending");
    view.sandboxes = vec![PodSandbox {
        state: PodSandboxState::SandboxNotready.into(),
        ..Default::default()
    }];
    assert_eq!(shown(&view).2, "Unknown");
}

/// containerd says Go's zero time of a sandbox that it could not make: it was shown as 272 years old, and as Succeeded.
#[test]
fn a_sandbox_that_was_never_made_has_no_age_and_has_not_succeeded() {
    const GO_ZERO_TIME: i64 = -6_795_364_578_871_345_152;
    let mut view = view(&[]);
    view.manifest = None;
    view.sandboxes[0].state = PodSandboxState::SandboxNotready.into();
    view.created = super::api::timestamp(GO_ZERO_TIME);
    let cells = row(&object(&view), false, Timestamp::UNIX_EPOCH);
    assert_eq!(cells, ["web", "0/0", "Unknown", "0", "<unknown>"]);
}

#[test]
fn a_pod_of_another_cri_client_is_shown_from_what_cri_knows() {
    let mut view = view(&[Some((Running, 0, ""))]);
    view.manifest = None;
    view.sandboxes[0].labels = [("app", "shop"), ("io.kubernetes.pod.name", "web")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    view.sandboxes[0].runtime_handler = "podhook".to_owned();
    let pod = object(&view);
    let spec = pod.spec.unwrap();
    assert_eq!(spec.containers[0].name, "c0");
    assert_eq!(spec.runtime_class_name.as_deref(), Some("podhook"));
    let labels = pod.metadata.labels.unwrap();
    assert_eq!(
        labels.len(),
        1,
        "the runtime's own are not the pod's: {labels:?}"
    );
}

/// Of a pod that a kubelet made: when the container of this name was made and when it ended.
fn times(view: &mut PodView, n: usize, created: i64, finished: i64) {
    view.containers[n].created_at = created;
    view.containers[n].finished_at = finished;
}

#[test]
fn a_kubelets_init_container_that_has_done_its_work_is_not_counted() {
    let mut view = view(&[
        Some((Exited, 0, "Completed")),
        Some((Running, 0, "")),
        Some((Running, 0, "")),
    ]);
    view.manifest = None;
    times(&mut view, 0, 1, 2);
    times(&mut view, 1, 3, 0);
    times(&mut view, 2, 4, 0);
    let shown = |view: &PodView| row(&object(view), false, Timestamp::UNIX_EPOCH)[1..3].join(" ");
    assert_eq!(shown(&view), "2/2 Running");
    let spec = object(&view).spec.unwrap();
    assert_eq!(spec.init_containers.unwrap()[0].name, "c0");
    // The others were there before it ended, one of them once before: it is one of them.
    view.containers[2].metadata.as_mut().unwrap().attempt = 1;
    times(&mut view, 0, 1, 4);
    assert_eq!(shown(&view), "2/3 NotReady");
    // One that has failed is none that others wait for.
    times(&mut view, 0, 1, 2);
    view.containers[0].exit_code = 1;
    assert!(object(&view).spec.unwrap().init_containers.is_none());
}

#[test]
fn a_kubelets_class_of_service_is_told_by_what_its_containers_have_or_not_at_all() {
    let mut view = view(&[Some((Running, 0, ""))]);
    view.manifest = None;
    let class = |view: &PodView| object(view).status.unwrap().qos_class;
    assert_eq!(class(&view), None);
    for (score, memory, quota, expected) in [
        (1000, 0, 0, Some("BestEffort")),
        (900, 1, 0, Some("Burstable")),
        (-997, 1, 1, Some("Guaranteed")),
        (-997, 0, 0, None),
        (0, 1, 1, None),
    ] {
        let linux = LinuxContainerResources {
            oom_score_adj: score,
            memory_limit_in_bytes: memory,
            cpu_quota: quota,
            ..Default::default()
        };
        view.containers[0].resources = Some(ContainerResources {
            linux: Some(linux),
            ..Default::default()
        });
        assert_eq!(class(&view).as_deref(), expected, "{score}");
    }
}

#[test]
fn the_container_of_a_command_is_the_first_the_annotated_or_the_wanted() {
    let mut view = view(&[None, None]);
    assert_eq!(view.choose_container(None).unwrap(), "c0");
    assert_eq!(view.choose_container(Some("c1")).unwrap(), "c1");
    let error = view.choose_container(Some("c9")).unwrap_err().to_string();
    assert_eq!(
        error,
        "Error from server (BadRequest): container c9 is not valid for pod web"
    );
    let key = "kubectl.kubernetes.io/default-container".to_owned();
    view.sandboxes[0].annotations = [(key, "c1".to_owned())].into();
    assert_eq!(view.choose_container(None).unwrap(), "c1");
}

/// A containerd that answers each call with the next of some errors.
#[derive(Clone)]
struct Refusing(Arc<Mutex<VecDeque<Status>>>);

impl NamedService for Refusing {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

impl Service<http::Request<Body>> for Refusing {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let next = self.0.lock().unwrap().pop_front();
        ready(Ok(next.expect("a further answer").into_http()))
    }
}

/// What `sandbox_status` makes of these answers, and how many of them it did not ask for.
async fn status_of(answers: &[(Code, &str)]) -> (Result<bool, String>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("containerd.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let answers = answers.iter().map(|(code, text)| Status::new(*code, *text));
    let refusing = Refusing(Arc::new(Mutex::new(answers.collect())));
    let left = Arc::clone(&refusing.0);
    let served = tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        tonic::transport::Server::builder()
            .add_service(refusing)
            .serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(client)))
            .await
    });
    let client = cri::Client::connect(&socket).await.unwrap();
    let status = super::sandbox_status(&client, "a").await;
    served.abort();
    let left = left.lock().unwrap().len();
    (status.map(|s| s.is_some()).map_err(|e| e.to_string()), left)
}

/// containerd's words while a pod without a pause container is being removed.
#[tokio::test]
async fn a_pod_whose_shim_is_closed_is_asked_for_until_it_is_gone() {
    let closed = (
        Code::Unknown,
        "failed to query controller status: failed to query sandbox a status: ttrpc: closed",
    );
    let gone = (Code::NotFound, "not found");
    assert_eq!(status_of(&[closed, closed, gone]).await, (Ok(false), 0));
    let (other, left) = status_of(&[(Code::Unknown, "ttrpc: closed early"), gone]).await;
    assert!(other.unwrap_err().contains("closed early"));
    assert_eq!(left, 1);
}
