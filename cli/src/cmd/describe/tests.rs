//! The page of a pod whose hooks have run.

use k8s_cri::v1::{ContainerMetadata, ContainerState, ContainerStatus, PodSandbox};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use podhook_hooks::record::Record;
use serde_json::json;

use super::page;
use crate::manifest::{Object, parse};
use crate::pods::PodView;

const MANIFEST: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: shop, tier: front}}
spec:
  runtimeClassName: podhook
  volumes: [{name: data, emptyDir: {}}]
  containers:
  - name: nginx
    image: nginx
    ports: [{containerPort: 80, name: http}]
    command: [nginx, -g, daemon off;]
    env: [{name: A, value: b}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    resources: {limits: {cpu: 500m, memory: 64Mi}}
    volumeMounts: [{name: data, mountPath: /data, readOnly: true}]
    lifecycle:
      postStart: {exec: {command: [/bin/sh, -c, echo hi]}}
      preStop: {httpGet: {path: /drain, port: http}}
"#;

const RECORD: &str = r#"{"version": 1, "id": "c1", "phase": "PreStop",
  "hooks": [
    {"hook": "postStart", "handler": "exec", "result": "Failed", "startedAt": "2026-11-23T20:00:00.100Z",
     "finishedAt": "2026-11-23T20:00:00.112Z", "durationMs": 12.44, "exitCode": 3,
     "message": "exited with status 3", "cpuUserUsec": 800, "cpuSystemUsec": 300,
     "memoryPeakBytes": 1310720, "output": "one\ntwo\n"},
    {"hook": "preStop", "handler": "httpGet", "startedAt": "2026-11-23T20:01:00Z"}],
  "termination": {"requestedAt": "2026-11-23T20:01:00Z", "signal": "SIGTERM", "gracePeriodSeconds": 30}}"#;

fn view() -> PodView {
    let Some(Object::Pod(pod)) = parse(MANIFEST, "pod.yaml", None).unwrap().pop() else {
        panic!("no pod");
    };
    let container = ContainerStatus {
        id: "c1".to_owned(),
        metadata: Some(ContainerMetadata {
            name: "nginx".to_owned(),
            attempt: 0,
        }),
        state: ContainerState::ContainerRunning.into(),
        started_at: 1_136_214_245_000_000_000,
        ..Default::default()
    };
    PodView {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        uid: "u".to_owned(),
        sandboxes: vec![PodSandbox {
            id: "s1".to_owned(),
            ..Default::default()
        }],
        status: None,
        containers: vec![container],
        manifest: Some(*pod as Pod),
        deletion: None,
        created: Timestamp::from_second(1_136_214_245).ok(),
    }
}

#[test]
fn the_page_of_a_pod() {
    let record: Record = serde_json::from_str(RECORD).unwrap();
    let text = page(&view(), &|id| (id == "c1").then(|| record.clone()));
    let expected = "\
Name:                web
Namespace:           default
Runtime Class Name:  podhook
";
    assert!(text.starts_with(expected), "{text}");
    for part in [
        "Labels:              app=shop\n                     tier=front\n",
        "Status:              Running\n",
        "    Container ID:   containerd://c1\n",
        "    Port:           80/TCP (http)\n    Host Port:      0/TCP\n",
        "    Command:\n      nginx\n      -g\n      daemon off;\n",
        "    State:          Running\n      Started:  Mon, 02 Jan 2006 15:04:05 +0000\n",
        "    Limits:\n      cpu:     500m\n      memory:  64Mi\n    Requests:\n",
        "    Environment:\n      A:   b\n      IP:  (v1:status.podIP)\n",
        "    Mounts:\n      /data from data (ro)\n",
        "Volumes:\n  data:\n    Type:       EmptyDir",
        "QoS Class:           Guaranteed\n",
    ] {
        assert!(text.contains(part), "{part}\n--- not in\n{text}");
    }
}

#[test]
fn what_became_of_the_hooks() {
    let record: Record = serde_json::from_str(RECORD).unwrap();
    let text = page(&view(), &|_| Some(record.clone()));
    let expected = "    Lifecycle:
      PostStart:    exec [/bin/sh -c echo hi]
        Result:       Failed (exited with status 3)
        Started:      2026-11-23T20:00:00.100Z
        Finished:     2026-11-23T20:00:00.112Z
        Duration:     12ms
        CPU Time:     800us user, 300us system
        Peak Memory:  1280Ki
        Output:
          one
          two
      PreStop:      http-get http://:http/drain
        Result:   running
        Started:  2026-11-23T20:01:00.000Z
      Phase:        PreStop
      Termination:  SIGTERM
        Grace Period:  30s
        Requested:     2026-11-23T20:01:00.000Z
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn hooks_without_a_record_are_described_all_the_same() {
    let text = page(&view(), &|_| None);
    assert!(
        text.contains("      PostStart:  exec [/bin/sh -c echo hi]\n"),
        "{text}"
    );
    assert!(!text.contains("Result:"), "{text}");
}

#[test]
fn a_lifecycle_that_is_an_annotation_is_shown_as_well() {
    let mut view = view();
    let pod = view.manifest.as_mut().unwrap();
    pod.spec.as_mut().unwrap().containers[0].lifecycle = None;
    let lifecycle = json!({"preStop": {"sleep": {"seconds": 5}, "timeoutSeconds": 9}});
    let key = "lifecycle.podhook.dev/nginx".to_owned();
    pod.metadata.annotations = Some([(key, lifecycle.to_string())].into());
    let text = page(&view, &|_| None);
    assert!(text.contains("      PreStop:  sleep 5s\n"), "{text}");
}

#[test]
fn what_cri_does_not_know_of_a_kubelets_pod_is_left_out() {
    let mut view = view();
    view.manifest = None;
    let text = page(&view, &|_| None);
    for unknown in ["Port:", "Mounts:", "Environment:", "Volumes:", "QoS Class:"] {
        assert!(!text.contains(unknown), "{unknown}: {text}");
    }
    let container = view.containers.first_mut().unwrap();
    container.mounts = vec![k8s_cri::v1::Mount {
        container_path: "/data".to_owned(),
        host_path: "/srv".to_owned(),
        readonly: true,
        ..Default::default()
    }];
    let ports = r#"[{"name":"http","containerPort":80,"protocol":"TCP"}]"#;
    container.annotations = [("io.kubernetes.container.ports".to_owned(), ports.to_owned())].into();
    let text = page(&view, &|_| None);
    assert!(text.contains("80/TCP (http)"), "{text}");
    assert!(text.contains("/data from /srv (ro)"), "{text}");
}
