//! Files as people write them, and what becomes of them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::text::{Converted, convert};
use super::{RUNTIME_CLASS, joined};
use crate::manifest::convert::Wish;
use crate::manifest::yaml;

fn wish() -> Wish {
    Wish {
        runtime_class: Some(RUNTIME_CLASS.to_owned()),
        is_named: false,
    }
}

fn leave_class() -> Wish {
    Wish {
        runtime_class: None,
        is_named: true,
    }
}

fn forward(text: &str) -> Converted {
    convert(text, "a.yaml", false, &wish()).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

fn back(text: &str) -> Converted {
    convert(text, "a.yaml", true, &wish()).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// All that is said when a text is refused.
fn refused(text: &str, is_back: bool) -> Vec<String> {
    let reports = convert(text, "a.yaml", is_back, &wish()).expect_err(text);
    reports.iter().map(ToString::to_string).collect()
}

fn there_and_back(text: &str, there: &str, again: &str) {
    let converted = forward(text);
    assert_eq!(converted.text, there, "there");
    let converted = back(&converted.text);
    assert_eq!(converted.text, again, "back");
    assert_eq!(
        yaml::documents(text).unwrap(),
        yaml::documents(again).unwrap()
    );
}

#[test]
fn a_deployment_goes_there_and_back() {
    let text = "\
# The shop.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # its name
spec:
  replicas: 2

  template:
    metadata:
      labels: {app: web}
    spec:
      # One is enough.
      containers:
      - name: nginx
        image: nginx
        # Connections first.
        lifecycle:
          preStop:  # before SIGTERM
            exec:
              command:
              - sh
              - -c
              - |
                nginx -s quit
                sleep 5
        ports:
        - containerPort: 80
      - name: log
        image: log
---
apiVersion: v1
kind: Service
metadata: {name: web}   # untouched:   really
";
    let there = "\
# The shop.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # its name
spec:
  replicas: 2

  template:
    metadata:
      labels: {app: web}
      annotations:
        # Connections first.
        # before SIGTERM
        lifecycle.podhook.dev/nginx: |
          {\"preStop\": {\"exec\": {\"command\": [\"sh\", \"-c\", \"nginx -s quit\\nsleep 5\\n\"]}}}
    spec:
      runtimeClassName: podhook
      # One is enough.
      containers:
      - name: nginx
        image: nginx
        ports:
        - containerPort: 80
      - name: log
        image: log
---
apiVersion: v1
kind: Service
metadata: {name: web}   # untouched:   really
";
    let again = "\
# The shop.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # its name
spec:
  replicas: 2

  template:
    metadata:
      labels: {app: web}
    spec:
      # One is enough.
      containers:
      - name: nginx
        image: nginx
        ports:
        - containerPort: 80
        # Connections first.
        # before SIGTERM
        lifecycle:
          preStop:
            exec:
              command:
                - sh
                - \"-c\"
                - |
                  nginx -s quit
                  sleep 5
      - name: log
        image: log
---
apiVersion: v1
kind: Service
metadata: {name: web}   # untouched:   really
";
    there_and_back(text, there, again);
    assert!(forward(text).reports.is_empty());
}

#[test]
fn json_stays_json_with_its_indentation() {
    let text = "{\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\n\t\t\"name\": \"a\"\n\t},\n\t\"spec\": {\n\t\t\"containers\": [\n\t\t\t{\n\t\t\t\t\"lifecycle\": {\"preStop\": {\"sleep\": {\"seconds\": 5}}},\n\t\t\t\t\"name\": \"web\"\n\t\t\t}\n\t\t]\n\t}\n}\n";
    let there = "{\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\n\t\t\"name\": \"a\",\n\t\t\"annotations\": {\n\t\t\t\"lifecycle.podhook.dev/web\": \"{\\\"preStop\\\":{\\\"sleep\\\":{\\\"seconds\\\":5}}}\"\n\t\t}\n\t},\n\t\"spec\": {\n\t\t\"runtimeClassName\": \"podhook\",\n\t\t\"containers\": [\n\t\t\t{\n\t\t\t\t\"name\": \"web\"\n\t\t\t}\n\t\t]\n\t}\n}\n";
    let converted = forward(text);
    assert_eq!(converted.text, there);
    let again = back(&converted.text).text;
    assert_eq!(
        serde_json::from_str::<Value>(&again).unwrap(),
        serde_json::from_str::<Value>(text).unwrap()
    );
    let compact = r#"{"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"web","lifecycle":{"preStop":{"sleep":{"seconds":5}}}}]}}"#;
    let there = r#"{"kind":"Pod","metadata":{"name":"a","annotations":{"lifecycle.podhook.dev/web":"{\"preStop\":{\"sleep\":{\"seconds\":5}}}"}},"spec":{"runtimeClassName":"podhook","containers":[{"name":"web"}]}}"#;
    there_and_back(compact, there, compact);
}

#[test]
fn yaml_between_brackets_stays_so() {
    let text = "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{lifecycle: {preStop: {sleep: {seconds: 5}}}, name: web}, {name: b}]}\n";
    let there = "kind: Pod\nmetadata: {name: a, annotations: {lifecycle.podhook.dev/web: '{\"preStop\": {\"sleep\": {\"seconds\": 5}}}'}}\nspec: {runtimeClassName: podhook, containers: [{name: web}, {name: b}]}\n";
    let again = "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: web, lifecycle: {preStop: {sleep: {seconds: 5}}}}, {name: b}]}\n";
    there_and_back(text, there, again);
}

#[test]
fn the_ends_of_lines_stay() {
    let text = "\u{feff}kind: Pod\r\nmetadata:\r\n  name: a\r\nspec:\r\n  containers:\r\n  - name: web\r\n    lifecycle:\r\n      preStop: {sleep: {seconds: 5}}";
    let there = "\u{feff}kind: Pod\r\nmetadata:\r\n  name: a\r\n  annotations:\r\n    lifecycle.podhook.dev/web: |\r\n      {\"preStop\": {\"sleep\": {\"seconds\": 5}}}\r\nspec:\r\n  runtimeClassName: podhook\r\n  containers:\r\n  - name: web\r\n";
    let again = "\u{feff}kind: Pod\r\nmetadata:\r\n  name: a\r\nspec:\r\n  containers:\r\n  - name: web\r\n    lifecycle:\r\n      preStop:\r\n        sleep:\r\n          seconds: 5\r\n";
    there_and_back(text, there, again);
}

#[test]
fn a_lifecycle_right_after_the_dash_gives_its_place_to_the_next_field() {
    let text = "\
kind: Pod
metadata:
  name: a
  annotations: {}  # none
spec:
  containers:
  - lifecycle:
      preStop: {sleep: {seconds: 5}}
    # its name
    name: web
";
    let there = "\
kind: Pod
metadata:
  name: a
  annotations:  # none
    lifecycle.podhook.dev/web: |
      {\"preStop\": {\"sleep\": {\"seconds\": 5}}}
spec:
  runtimeClassName: podhook
  containers:
  # its name
  - name: web
";
    assert_eq!(forward(text).text, there);
}

#[test]
fn there_are_annotations_already_and_text_in_blocks() {
    let text = "\
kind: CronJob
spec:
  jobTemplate:
    spec:
      template:
        metadata:
          annotations:
            note: |+
              # no comment

            other: >-
              folded
              text

          # the labels
          labels: {a: b}
        spec:
          initContainers:
          - name: proxy
            restartPolicy: Always
            lifecycle: {postStart: {exec: {command: [wait, -]}}}
          containers:
          - name: web
...
---
# nothing
---
kind: List
items:
- kind: Pod
  metadata: {name: b}
  spec:
    runtimeClassName:
    containers:
    - {name: c, lifecycle: {stopSignal: SIGQUIT}, image: d}
";
    let there = "\
kind: CronJob
spec:
  jobTemplate:
    spec:
      template:
        metadata:
          annotations:
            note: |+
              # no comment

            other: >-
              folded
              text
            lifecycle.podhook.dev/proxy: |
              {\"postStart\": {\"exec\": {\"command\": [\"wait\", \"-\"]}}}

          # the labels
          labels: {a: b}
        spec:
          runtimeClassName: podhook
          initContainers:
          - name: proxy
            restartPolicy: Always
          containers:
          - name: web
...
---
# nothing
---
kind: List
items:
- kind: Pod
  metadata: {name: b, annotations: {lifecycle.podhook.dev/c: '{\"stopSignal\": \"SIGQUIT\"}'}}
  spec:
    runtimeClassName: podhook
    containers:
    - {name: c, image: d}
";
    let converted = forward(text);
    assert_eq!(converted.text, there);
    assert_eq!(
        converted.done,
        ["cronjob converted: proxy", "pod/b converted: c"]
    );
    let again = back(there).text;
    let nulls = yaml::documents(&text.replace("    runtimeClassName:\n", "")).unwrap();
    assert_eq!(yaml::documents(&again).unwrap(), nulls);
}

const ANCHORS: &str = "\
kind: Pod
metadata: {name: a}
spec:
  containers:
  - name: web
    lifecycle: &hooks
      preStop: {sleep: {seconds: 5}}
  - name: log
    lifecycle: *hooks
";

#[test]
fn an_anchor_may_go_with_all_that_refer_to_it_and_not_without() {
    let converted = forward(ANCHORS);
    let documents = yaml::documents(&converted.text).unwrap();
    let annotations = documents[0]["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations.len(), 2, "{}", converted.text);
    let elsewhere =
        ANCHORS.replace("{name: a}", "{name: a, labels: {b: &hooks c}}") + "    env: *hooks\n";
    let said = refused(&elsewhere, false);
    assert_eq!(
        said,
        ["error: a.yaml:6:16: &hooks is used elsewhere, in line 10\n  hint: write it out there"]
    );
}

#[test]
fn what_is_written_once_for_several_is_not_changed_for_all() {
    let text = "\
kind: List
items:
- kind: Pod
  metadata: {name: a}
  spec: &spec
    containers:
    - name: web
      lifecycle: {preStop: {sleep: {seconds: 5}}}
- kind: Pod
  metadata: {name: b}
  spec: *spec
";
    let said = refused(text, false);
    assert!(
        said[0].starts_with("error: a.yaml:11:9: ") && said[0].contains("written elsewhere"),
        "{said:?}"
    );
    let merged = "\
kind: Pod
metadata: {name: a}
spec:
  containers:
  - &base
    name: web
    lifecycle: {preStop: {sleep: {seconds: 5}}}
  - <<: *base
    name: log
";
    let said = refused(merged, false);
    assert!(said[0].starts_with("error: a.yaml:8:5: "), "{said:?}");
}

#[test]
fn comments_that_cannot_go_along_are_named() {
    let text = "\
kind: Pod
metadata: {name: a}
spec:
  containers:
  - name: web
    lifecycle:
      # drain
      preStop: {sleep: {seconds: 5}}
    image: x
";
    let converted = forward(text);
    let said: Vec<_> = converted.reports.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["warning: a.yaml:7:7: this comment has no place any more: # drain"]
    );
}

#[test]
fn what_cannot_be_moved_is_an_error_with_its_place() {
    let pod = |metadata: &str, spec: &str| {
        format!(
            "kind: Pod\nmetadata:\n  name: a\n{metadata}spec:\n  containers:\n  - name: web\n{spec}"
        )
    };
    let hook = "    lifecycle:\n      preStop:\n        sleep: {seconds: 5}\n";
    for (text, says) in [
        (
            pod(
                "",
                "    lifecycle:\n      preStop:\n        grpc: {port: 5}\n",
            ),
            "error: a.yaml:9:9: pod/a: spec.containers[0].lifecycle.preStop.grpc: unknown field\n  hint: take it away",
        ),
        (
            pod(
                "",
                "    lifecycle:\n      preStop:\n        sleep: {seconds: -5}\n",
            ),
            "error: a.yaml:9:17: pod/a: spec.containers[0].lifecycle.preStop.sleep.seconds: Invalid value: -5",
        ),
        (
            pod(
                "  annotations:\n    lifecycle.podhook.dev/web: '{}'\n",
                hook,
            ),
            "error: a.yaml:9:5: pod/a: spec.containers[0].lifecycle: the annotation lifecycle.podhook.dev/web is there",
        ),
        (
            pod(
                "  annotations:\n    podhook.dev/lifecycle: '{\"preStop\": {\"sleep\": {\"seconds\": 5}}}'\n",
                hook,
            ),
            "error: a.yaml:10:7: pod/a: spec.containers[0].lifecycle.preStop: the annotation podhook.dev/lifecycle sets",
        ),
        (
            pod("", &format!("  initContainers:\n  - name: init\n{hook}")),
            "error: a.yaml:9:5: pod/a: spec.initContainers[0].lifecycle: Kubernetes allows no lifecycle in an init",
        ),
        (
            pod("", &format!("{hook}  runtimeClassName: gvisor\n")),
            "error: a.yaml:10:3: pod/a: spec.runtimeClassName: is gvisor already, and not podhook\n  hint: if gvisor",
        ),
        ("a: b\n c: {{ .Values.x }}\n".to_owned(), "error: a.yaml:2:"),
    ] {
        let said = refused(&text, false);
        assert!(said[0].starts_with(says), "{text}\n{said:?}");
    }
    let said = refused("a: b\n c: {{ .Values.x }}\n", false);
    assert!(said[0].contains("helm template"), "{said:?}");
}

#[test]
fn what_only_podhook_has_does_not_go_back() {
    let pod = |json: &str| {
        format!(
            "kind: Pod\nmetadata:\n  name: a\n  annotations:\n    lifecycle.podhook.dev/web: |\n      {json}\nspec:\n  \
             containers:\n  - name: web\n"
        )
    };
    for (json, says) in [
        (
            r#"{"preStop": {"sleep": {"seconds": 5}, "timeoutSeconds": 9}}"#,
            "error: a.yaml:6:45: pod/a: metadata.annotations[lifecycle.podhook.dev/web]: preStop.timeoutSeconds: Kubernetes \
             has no such field\n  hint: take it away",
        ),
        (
            r#"{"preStop": {"sleep": {}}}"#,
            "error: a.yaml:6:20: pod/a: metadata.annotations[lifecycle.podhook.dev/web]: preStop.sleep.seconds: is required",
        ),
    ] {
        let said = refused(&pod(json), true);
        assert!(said[0].starts_with(says), "{json}\n{said:?}");
    }
    let said = refused(&pod("{}").replace("dev/web", "dev/wbe"), true);
    assert!(
        said[0].contains("the pod has no container \"wbe\""),
        "{said:?}"
    );
    let all = pod(r#"{"preStop": {"sleep": {"seconds": 5}}}"#)
        .replace("lifecycle.podhook.dev/web", "podhook.dev/lifecycle");
    assert!(back(&all).text.contains("    lifecycle:\n      preStop:\n"));
    let said = refused(&(all + "  - name: log\n"), true);
    assert!(said[0].contains("for every container"), "{said:?}");
}

#[test]
fn what_has_no_hooks_stays_as_it_is_and_so_does_another_kind() {
    for text in [
        "",
        "---\n---\n# only a comment\n",
        "kind: Pod\nspec:\n  runtimeClassName: podhook\n  containers:\n  - {name: web, lifecycle: {}}\n",
        "kind: ConfigMap\ndata:\n  a: |\n    lifecycle: x\n",
    ] {
        for converted in [forward(text), back(text)] {
            assert_eq!(converted.text, text);
            assert!(converted.done.is_empty() && converted.reports.is_empty());
        }
    }
    let rollout = "kind: Rollout\nspec:\n  template:\n    spec:\n      containers:\n      - {name: web, lifecycle: {stopSignal: SIGQUIT}}\n";
    let converted = forward(rollout);
    assert_eq!(converted.text, rollout);
    assert!(
        converted.reports[0].message.contains("Rollout is no kind"),
        "{:?}",
        converted.reports
    );
}

#[test]
fn several_files_are_documents_of_one_text() {
    let file = |text: &str| super::File {
        path: "a".into(),
        origin: "a".to_owned(),
        was: String::new(),
        converted: forward(text),
    };
    let files = [
        file("a: 1"),
        file("\u{feff}---\nb: 2\n"),
        file("{\"c\": 3}\n"),
    ];
    assert_eq!(joined(&files), "a: 1\n---\nb: 2\n---\n{\"c\": 3}\n");
}

/// Text as scripts and headers have it, and some that is awkward in YAML.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z/.-]{1,8}",
        "[ -~]{0,20}",
        "([ -~]{0,12}\n){1,3}",
        "\\PC{0,6}",
        Just("-".to_owned()),
        Just("yes".to_owned()),
        Just("a: b # c".to_owned()),
        Just("\t\u{85}\u{2028}\u{feff}\r\n".to_owned()),
    ]
}

fn handler() -> impl Strategy<Value = Value> {
    let command = proptest::collection::vec(words(), 1..4);
    prop_oneof![
        command.prop_map(|args| {
            let command: Vec<_> = std::iter::once("sh".to_owned()).chain(args).collect();
            json!({"exec": {"command": command}})
        }),
        (0..1000_i64).prop_map(|seconds| json!({"sleep": {"seconds": seconds}})),
        (1..65536_i64).prop_map(|port| json!({"tcpSocket": {"port": port}})),
        ("[a-zA-Z-]{1,9}", "[ -~]{0,9}").prop_map(|(name, value)| json!({"httpGet": {
            "port": "http", "path": "/drain", "httpHeaders": [{"name": name, "value": value.trim()}]}})),
    ]
}

fn lifecycle() -> impl Strategy<Value = Option<Value>> {
    let hook = || proptest::option::of(handler());
    let signal = proptest::option::of(Just("SIGQUIT"));
    (hook(), hook(), signal).prop_map(|(post_start, pre_stop, signal)| {
        let fields = [
            ("postStart", post_start),
            ("preStop", pre_stop),
            ("stopSignal", signal.map(Value::from)),
        ];
        let fields: Map<_, _> = fields
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect();
        (!fields.is_empty()).then(|| fields.into())
    })
}

prop_compose! {
    fn pod()(
        lifecycles in proptest::collection::vec(lifecycle(), 1..4),
        annotations in proptest::option::of(proptest::collection::btree_map("[a-z]{1,5}/[a-z]{1,5}", words(), 1..3)),
        labels in any::<bool>(),
        runtime_class in proptest::option::of(Just("podhook")),
        grace in proptest::option::of(0..600_i64),
    ) -> Value {
        let mut metadata = json!({"name": "web"});
        if let Some(annotations) = annotations {
            metadata["annotations"] = json!(annotations);
        }
        if labels {
            metadata["labels"] = json!({"app": "web"});
        }
        let containers: Vec<Value> = lifecycles
            .into_iter()
            .enumerate()
            .map(|(i, lifecycle)| {
                let mut container = json!({"name": format!("c{i}"), "image": "nginx",
                    "ports": [{"name": "http", "containerPort": 80}]});
                if let Some(lifecycle) = lifecycle {
                    container["lifecycle"] = lifecycle;
                }
                container
            })
            .collect();
        let mut spec = json!({"containers": containers});
        if let Some(class) = runtime_class {
            spec["runtimeClassName"] = json!(class);
        }
        if let Some(grace) = grace {
            spec["terminationGracePeriodSeconds"] = json!(grace);
        }
        json!({"metadata": metadata, "spec": spec})
    }
}

/// A pod in one of the objects that hold one.
fn within(kind: usize, mut pod: Value) -> Value {
    match kind {
        0 => {
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            pod
        }
        1 => json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"template": pod}}),
        2 => {
            pod["metadata"].as_object_mut().unwrap().remove("name");
            if pod["metadata"].as_object().unwrap().is_empty() {
                pod.as_object_mut().unwrap().remove("metadata");
            }
            json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": pod}}}})
        }
        _ => {
            pod["kind"] = json!("Pod");
            json!({"apiVersion": "v1", "kind": "List", "items": [{"kind": "Service"}, pod]})
        }
    }
}

fn written(style: usize, value: &Value) -> String {
    match style {
        0 => serde_saphyr::to_string(value).unwrap(),
        1 => serde_saphyr::to_string(value)
            .unwrap()
            .replace('\n', "\r\n"),
        2 => serde_json::to_string(value).unwrap(),
        3 => serde_json::to_string_pretty(value).unwrap(),
        _ => format!(
            "# first\n---\n{}...\n---\na: b # last\n",
            serde_saphyr::to_string(value).unwrap()
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_pod_is_the_same_after_there_and_back(pod in pod(), kind in 0..4_usize, style in 0..5_usize) {
        let has_class = pod["spec"].get("runtimeClassName").is_some();
        let wish = if has_class { leave_class() } else { wish() };
        let text = written(style, &within(kind, pod));
        let documents = yaml::documents(&text).unwrap();
        let there = convert(&text, "a", false, &wish).unwrap();
        prop_assert_eq!(there.text != text, !there.done.is_empty());
        prop_assert!(there.done.is_empty() || !there.text.contains("postStart:"), "{}", there.text);
        let again = convert(&there.text, "a", true, &wish).unwrap();
        prop_assert_eq!(yaml::documents(&again.text).unwrap(), documents, "{}\n{}", there.text, again.text);
        prop_assert_eq!(again.done, there.done);
    }
}
