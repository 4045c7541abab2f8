//! What is said of manifests and of annotations.

use podhook_hooks::config::Config;
use podhook_hooks::lifecycle::Policy;

use super::{At, Finding, NO_HOOKS, Rules, TWICE, Verdict, findings, looks_like_manifest, refused};
use crate::manifest::source::Source;

fn check(text: &str, policy: &Policy) -> Vec<Finding> {
    let rules = Rules {
        policy: policy.clone(),
        whole: true,
        apply: true,
        classes: Vec::new(),
    };
    let source = Source::read(text);
    match &source {
        Err(wrong) if looks_like_manifest(text) => {
            let says = wrong.to_string();
            vec![refused(&At::default(), "", says)]
        }
        _ => findings(text, source.as_ref().ok(), &rules),
    }
}

fn one(text: &str) -> (Verdict, String) {
    let mut findings = check(text, &Policy::default());
    assert_eq!(findings.len(), 1, "{findings:?}");
    let finding = findings.remove(0);
    let subject = match finding.subject.as_str() {
        "" => String::new(),
        subject => format!("{subject}: "),
    };
    (finding.verdict, subject + &finding.text)
}

#[test]
fn an_annotations_value_is_judged_as_create_does() {
    for (text, verdict, says) in [
        (
            r#"{"preStop": {"sleep": {"seconds": 5}, "timeoutSeconds": 9}, "terminationGracePeriodSeconds": 60}"#,
            Verdict::Good,
            "ok: preStop sleep 5s within 9s; grace period 60s",
        ),
        (
            r#"{"postStart": {"exec": {"command": []}}}"#,
            Verdict::Refused,
            "podhook: annotation podhook.dev/lifecycle: postStart.exec.command: must not be empty",
        ),
        (
            r#"{"preStop": {"exec": {"command": ["a"]}, "sleep": {"seconds": 1}}}"#,
            Verdict::Refused,
            "podhook: annotation podhook.dev/lifecycle: preStop: has exec and sleep, exactly one handler is allowed",
        ),
        ("{}\n", Verdict::Good, "no hooks"),
    ] {
        assert_eq!(one(text), (verdict, says.to_owned()), "{text}");
    }
    // YAML is no annotation, and neither is nothing.
    for text in ["preStop: {sleep: {seconds: 5}}", "", "[", "\u{1b}[2J"] {
        let (verdict, says) = one(text);
        assert_eq!(verdict, Verdict::Refused, "{text:?}");
        assert!(
            says.contains("podhook.dev/lifecycle: is not valid JSON: "),
            "{says}"
        );
    }
}

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        lifecycle.podhook.dev/web: '{"preStop": {"httpGet": {"port": "http"}}}'
        lifecycle.podhook.dev/wbe: '{"preStop": {"sleep": {"seconds": 1}}}'
    spec:
      runtimeClassName: podhook
      containers:
      - name: web
        livenessProbe: {httpGet: {port: 80}}
        ports: [{name: http, containerPort: 8080}]
      - name: log
        lifecycle: {preStop: {httpGet: {port: nope}}}
---
"#;

#[test]
fn the_containers_of_a_manifest_are_judged_one_by_one() {
    let findings = check(DEPLOYMENT, &Policy::default());
    let said: Vec<_> = findings
        .iter()
        .map(|f| (&f.verdict, format!("{}: {}", f.subject, f.text)))
        .collect();
    assert_eq!(
        said,
        [
            (&Verdict::Good, "container web: ok: preStop httpGet HTTP :8080/".to_owned()),
            (
                &Verdict::Refused,
                "container log: spec.template.spec.containers[1].lifecycle.preStop.httpGet.port: \
                 Invalid value: port name \"nope\" is not a port of the container"
                    .to_owned()
            ),
            (
                &Verdict::Doubtful,
                "annotation lifecycle.podhook.dev/wbe: the pod has no such container: its hooks will not run"
                    .to_owned()
            ),
        ]
    );
}

fn pod(annotations: &str) -> Vec<(Verdict, String)> {
    let text = format!(
        "kind: Pod\napiVersion: v1\nmetadata:\n  name: shop\n  annotations:\n    {annotations}\n\
         spec:\n  runtimeClassName: podhook\n  containers: [{{name: web, image: a}}, {{name: log, image: a}}]\n  initContainers: [{{name: init}}]\n"
    );
    let mut findings = check(&text, &Policy::default());
    let last = findings.pop().unwrap();
    assert_eq!(last.verdict, Verdict::Doubtful);
    assert_eq!(
        last.text,
        "podhook apply would refuse the pod: spec.initContainers: not supported by podhook"
    );
    let said = findings
        .into_iter()
        .map(|f| (f.verdict, format!("{}: {}", f.subject, f.text)));
    said.collect()
}

#[test]
fn an_annotation_for_every_container_is_judged_for_each_as_create_does() {
    let good = pod(r#"podhook.dev/lifecycle: '{"preStop": {"sleep": {"seconds": 5}}}'"#);
    let expected = ["web", "log", "init"].map(|name| {
        (
            Verdict::Good,
            format!("container {name}: ok: preStop sleep 5s"),
        )
    });
    assert_eq!(good, expected);
    let refused = pod(r#"podhook.dev/lifecycle: '{"preStop": {"sleep": {}}}'"#);
    let expected = ["web", "log", "init"].map(|name| {
        let says = "podhook: annotation podhook.dev/lifecycle: preStop.sleep.seconds: is required";
        (Verdict::Refused, format!("container {name}: {says}"))
    });
    assert_eq!(refused, expected);
}

#[test]
fn yaml_in_the_place_of_json_is_refused_with_the_json() {
    let json = r#"{"preStop":{"sleep":{"seconds":5}}}"#;
    // A block of text, and no text at all: the API server takes only the first.
    for (value, says) in [
        (
            "|\n      lifecycle:\n        preStop: {sleep: {seconds: 5}}",
            ", without the word lifecycle: ",
        ),
        (
            "{preStop: {sleep: {seconds: 5}}}",
            "must be a string: write the JSON in quotes, '",
        ),
    ] {
        let found = pod(&format!("lifecycle.podhook.dev/web: {value}"));
        assert_eq!(found.len(), 1, "{found:?}");
        let (verdict, text) = &found[0];
        assert_eq!(*verdict, Verdict::Refused);
        assert!(text.contains(&format!("{says}{json}")), "{text}");
    }
}

#[test]
fn a_broken_manifest_is_not_taken_for_an_annotation() {
    let (verdict, says) = one("kind: Pod\nmetadata:\n  name: a\n  name: b\n");
    assert_eq!(verdict, Verdict::Refused);
    assert!(
        says.contains("key \"name\" is there twice") && !says.contains("JSON"),
        "{says}"
    );
}

#[test]
fn annotations_that_no_pod_will_have_are_doubtful() {
    let text = DEPLOYMENT.replacen(
        "spec:",
        "metadata: {annotations: {podhook.dev/lifecycle: '{}'}}\nspec:",
        1,
    );
    let found = check(&text, &Policy::default());
    let misplaced = found
        .iter()
        .find(|f| f.subject == "annotation podhook.dev/lifecycle")
        .unwrap();
    assert_eq!(misplaced.verdict, Verdict::Doubtful);
    assert!(
        misplaced
            .text
            .contains("spec.template.metadata.annotations"),
        "{}",
        misplaced.text
    );
    let found = pod("podhook.dev/lifecyle: '{}'");
    assert!(
        found[0].0 == Verdict::Doubtful && found[0].1.contains("knows no such annotation"),
        "{found:?}"
    );
}

#[test]
fn what_the_nodes_operator_does_not_allow_is_refused() {
    let policy = Config::parse("allowed_hosts = 'pod'", "config.toml")
        .unwrap()
        .policy();
    let text = r#"{"preStop": {"tcpSocket": {"port": 1, "host": "db"}}}"#;
    let found = check(text, &policy);
    assert_eq!(found[0].verdict, Verdict::Refused);
    assert!(
        found[0].text.contains("allowed_hosts of config.toml"),
        "{}",
        found[0].text
    );
    assert_eq!(check(text, &Policy::default())[0].verdict, Verdict::Good);
}

/// The findings for a Pod whose container `a` has these lines.
fn in_spec(metadata: &str, container: &str) -> Vec<(Verdict, String)> {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a{metadata}}}\n\
         spec: {{runtimeClassName: podhook, containers: [{{name: a, image: a, {container}}}]}}\n"
    );
    let findings = check(&text, &Policy::default());
    findings.into_iter().map(|f| (f.verdict, f.text)).collect()
}

#[test]
fn what_apply_refuses_in_a_pods_spec_is_refused() {
    for (container, says) in [
        (
            "lifecycle: {preStop: {sleep: {seconds: 1}, timeoutSeconds: 5}}",
            "unknown field \"spec.containers[0].lifecycle.preStop.timeoutSeconds\" (podhook's own",
        ),
        (
            "lifecycle: {postStart: {sleep: {seconds: 1}, onFailure: Ignore}}",
            "unknown field \"spec.containers[0].lifecycle.postStart.onFailure\"",
        ),
        (
            "lifecycle: {output: container}",
            "unknown field \"spec.containers[0].lifecycle.output\"",
        ),
        (
            "lifecycle: {terminationGracePeriodSeconds: 5}",
            "unknown field \"spec.containers[0].lifecycle.terminationGracePeriodSeconds\"",
        ),
        (
            "lifecycle: 5",
            "spec.containers[0].lifecycle: expected an object, found 5",
        ),
        (
            "lifecycle: {preStop: {sleep: {seconds: soon}}}",
            "spec.containers[0].lifecycle.preStop.sleep.seconds: expected a whole number, found \"soon\"",
        ),
        (
            "lifecycle: {preStop: {}}",
            "spec.containers[0].lifecycle.preStop: Required value: must specify a handler type",
        ),
        (
            "lifecycel: {}",
            "unknown field \"spec.containers[0].lifecycel\"",
        ),
    ] {
        let found = in_spec("", container);
        let refused: Vec<_> = found
            .iter()
            .filter(|(v, _)| *v == Verdict::Refused)
            .collect();
        assert_eq!(refused.len(), 1, "{container}: {found:?}");
        assert!(refused[0].1.starts_with(says), "{container}: {found:?}");
    }
    // What a kubelet runs and podhook does not is no error of the pod.
    let found = in_spec(
        "",
        "livenessProbe: {tcpSocket: {port: 1}}, lifecycle: {preStop: {sleep: {seconds: 5.0}}}",
    );
    let expected = [
        (Verdict::Good, "ok: preStop sleep 5s"),
        (
            Verdict::Doubtful,
            "podhook apply would refuse the pod: spec.containers[0].livenessProbe: not supported by podhook",
        ),
    ];
    assert_eq!(
        found,
        expected.map(|(verdict, says)| (verdict, says.to_owned()))
    );
}

#[test]
fn misspelt_containers_are_an_error_of_the_field_and_of_what_was_for_them() {
    let annotations =
        r#"annotations: {lifecycle.podhook.dev/a: '{"preStop": {"sleep": {"seconds": 4}}}'}"#;
    let spec = "spec: {runtimeClassName: podhook, containrs: [{name: a, image: a}]}";
    let pod = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: w, {annotations}}}\n{spec}\n");
    let template = format!(
        "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    metadata: {{{annotations}}}\n    {spec}\n"
    );
    for text in [pod, template] {
        let found = check(&text, &Policy::default());
        let unknown = found
            .iter()
            .find(|f| f.verdict == Verdict::Refused)
            .unwrap();
        assert!(unknown.text.contains("spec.containrs"), "{found:?}");
        let lost = found
            .iter()
            .find(|f| f.subject.starts_with("annotation"))
            .unwrap();
        assert!(lost.text.contains("no such container"), "{found:?}");
    }
}

#[test]
fn every_wrong_type_is_named_of_a_pod_and_of_a_template() {
    let spec = "{runtimeClassName: podhook, terminationGracePeriodSeconds: \"60\", restartPolicy: Allways, containers: \
                [{name: a, image: a, tty: 1, ports: [{containerPort: \"80\"}], lifecycle: {preStop: {sleep: {seconds: 40}}}}]}";
    for (text, prefix) in [
        (
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {spec}\n"),
            "",
        ),
        (
            format!(
                "apiVersion: apps/v1\nkind: Deployment\nspec: {{template: {{spec: {spec}}}}}\n"
            ),
            "spec.template.",
        ),
    ] {
        let found = check(&text, &Policy::default());
        let said: Vec<_> = found
            .iter()
            .filter(|f| f.verdict != Verdict::Good)
            .map(|f| f.text.clone())
            .collect();
        let expected = [
            "spec.containers[0].ports[0].containerPort: expected a whole number, found \"80\"",
            "spec.containers[0].tty: expected true or false, found 1",
            "spec.restartPolicy: expected one of Always, OnFailure, Never, found \"Allways\"",
            "spec.terminationGracePeriodSeconds: expected a whole number, found \"60\"",
        ];
        let mut said = said;
        said.sort();
        assert_eq!(said, expected.map(|says| format!("{prefix}{says}")));
    }
}

/// What is said of a Pod with hooks, and this in its spec.
fn of_spec(spec: &str, classes: &[&str]) -> Vec<String> {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, annotations: {{podhook.dev/lifecycle: '{{\"stopSignal\": \
         \"SIGQUIT\"}}'}}}}\nspec: {{{spec}}}\n"
    );
    let rules = Rules {
        policy: Policy::default(),
        whole: true,
        apply: false,
        classes: classes.iter().map(|class| (*class).to_owned()).collect(),
    };
    let found = findings(&text, Source::read(&text).as_ref().ok(), &rules);
    let doubts = found.into_iter().filter(|f| f.verdict != Verdict::Good);
    doubts.map(|f| f.text).collect()
}

#[test]
fn a_runtime_class_that_is_not_podhooks_is_doubtful() {
    let with =
        |class: &str| format!("runtimeClassName: {class}, containers: [{{name: a, image: a}}]");
    for class in ["podhook", "podhook-pauseless", "podhook-v1"] {
        assert!(of_spec(&with(class), &[]).is_empty(), "{class}");
    }
    let said = of_spec(&with("runc"), &[]);
    assert!(
        said.len() == 1 && said[0].contains("is runc: unless"),
        "{said:?}"
    );
    assert!(of_spec(&with("mine"), &["mine"]).is_empty());
}

#[test]
fn a_stop_signal_in_a_spec_without_an_os_is_doubtful() {
    let spec = "runtimeClassName: podhook, containers: [{name: a, image: a}, {name: b, image: b, lifecycle: {stopSignal: \
                SIGTERM}}]";
    let says = "spec.containers[1].lifecycle.stopSignal: Kubernetes refuses it in a pod without spec.os.name";
    let said = of_spec(spec, &[]);
    assert!(said.iter().any(|text| text == says), "{said:?}");
    let said = of_spec(&format!("os: {{name: linux}}, {spec}"), &[]);
    assert!(
        !said.iter().any(|text| text.contains("os.name")),
        "{said:?}"
    );
}

#[test]
fn an_exec_timeout_in_a_pods_spec_is_taken_as_apply_does() {
    let found = in_spec(
        "",
        "lifecycle: {preStop: {exec: {command: [a, -], timeoutSeconds: 5}}}",
    );
    let says = r#"ok: preStop exec ["a" "-"] within 5s"#.to_owned();
    assert_eq!(found, [(Verdict::Good, says)]);
}

#[test]
fn hooks_in_the_spec_and_in_an_annotation_are_refused_as_apply_does() {
    let spec = "lifecycle: {preStop: {sleep: {seconds: 1}}}";
    for (key, says) in [
        (
            "lifecycle.podhook.dev/a",
            "spec.containers[0].lifecycle: Forbidden: metadata.annotations[lifecycle.podhook.dev/a] sets the \
             lifecycle of this container too",
        ),
        (
            "podhook.dev/lifecycle",
            "spec.containers[0].lifecycle.preStop: Forbidden: metadata.annotations[podhook.dev/lifecycle] sets it \
             for every container",
        ),
    ] {
        let annotation = r#"'{"preStop": {"sleep": {"seconds": 1}}}'"#;
        let found = in_spec(&format!(", annotations: {{{key}: {annotation}}}"), spec);
        let refused: Vec<_> = found
            .iter()
            .filter(|(v, _)| *v == Verdict::Refused)
            .collect();
        assert_eq!(refused, [&(Verdict::Refused, says.to_owned())], "{found:?}");
    }
    // Under a kubelet both run.
    let text = DEPLOYMENT
        .replace("port: nope", "port: 80")
        .replace("/wbe", "/log");
    let found = check(&text, &Policy::default());
    let doubts: Vec<_> = found
        .iter()
        .filter(|f| f.verdict == Verdict::Doubtful)
        .collect();
    assert_eq!(doubts.len(), 1, "{found:?}");
    assert_eq!(
        doubts[0].text,
        format!("spec.template.spec.containers[1].lifecycle: {TWICE}")
    );
}

#[test]
fn a_lifecycle_in_the_spec_that_says_nothing_is_no_hooks() {
    for lifecycle in ["{}", "{preStop: null}", "{postStart: null, preStop: null}"] {
        let found = in_spec("", &format!("lifecycle: {lifecycle}"));
        assert_eq!(
            found,
            [(Verdict::Good, "no hooks".to_owned())],
            "{lifecycle}"
        );
    }
}

#[test]
fn a_manifest_without_hooks_says_so() {
    let text = "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: [{name: a, image: a}]}\n";
    let (verdict, says) = one(text);
    assert_eq!(
        (verdict, says.as_str()),
        (Verdict::Doubtful, "no container with lifecycle hooks")
    );
}

/// What `kubectl apply --dry-run=server` says of them, in its words.
#[test]
fn what_the_api_server_refuses_of_a_template_is_refused() {
    let says = |pod: &str, containers: &str| {
        let text = format!(
            "kind: Deployment\nspec: {{template: {{spec: {{{pod} containers: [{containers}]}}}}}}\n"
        );
        let findings = check(&text, &Policy::default());
        let all = findings
            .iter()
            .filter(|finding| finding.verdict != Verdict::Good);
        let all: Vec<_> = all
            .map(|finding| (finding.verdict == Verdict::Refused, finding.text.clone()))
            .collect();
        all
    };
    let refused = |pod: &str, containers: &str| match &says(pod, containers)[..] {
        [(true, text)] => text.strip_prefix("spec.template.spec.").unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    let sleep = |seconds| {
        format!("{{name: a, image: x, lifecycle: {{preStop: {{sleep: {{seconds: {seconds}}}}}}}}}")
    };
    assert_eq!(
        refused("", &sleep(31)),
        "containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than \
         terminationGracePeriodSeconds (30)"
    );
    assert!(refused("terminationGracePeriodSeconds: 4,", &sleep(5)).contains("Seconds (4)"));
    let [(false, cut)] = &says("", &sleep(30))[..] else {
        panic!("{:?}", says("", &sleep(30)));
    };
    assert!(cut.contains("leaves preStop 28s"), "{cut}");
    assert!(says("", &sleep(28)).is_empty());

    assert!(refused("", "{name: A, image: x}").starts_with("containers[0].name: Invalid value"));
    assert_eq!(
        refused("", "{image: x}"),
        "containers[0].name: Required value"
    );
    let twice = "{name: a, image: x}, {name: a, image: x}";
    assert_eq!(
        refused("", twice),
        "containers[1].name: Duplicate value: \"a\""
    );
    let signal = "{name: a, image: x, lifecycle: {stopSignal: SIGUSR1}}";
    assert!(refused("", signal).contains("without spec.os.name"));
    assert!(says("os: {name: linux},", signal).is_empty());
    let init = |more: &str| {
        format!(
            "initContainers: [{{name: i, image: x, {more} lifecycle: {{postStart: {{sleep: {{seconds: 1}}}}}}}}],"
        )
    };
    assert_eq!(
        refused(&init(""), "{name: a, image: x}"),
        "initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always"
    );
    assert!(says(&init("restartPolicy: Always,"), "{name: a, image: x}").is_empty());

    // The rest of a patch is in another file.
    for containers in [signal, &sleep(31)] {
        let patch = containers.replace("image: x, ", "");
        assert!(
            says("", &patch).iter().all(|(refused, _)| !refused),
            "{patch}"
        );
    }
    let [(false, image)] = &says("", "{name: a, image: x}, {name: b}")[..] else {
        panic!("an image is missing");
    };
    assert!(
        image.contains("containers[1].image: Required value, unless"),
        "{image}"
    );
}

#[test]
fn a_template_where_another_kind_has_it_makes_no_pod() {
    let job = "kind: CronJob\nspec: {template: {spec: {containers: [{name: a, image: x}]}}}\n";
    assert_eq!(
        one(job),
        (
            Verdict::Refused,
            "spec.template: its pods' template is spec.jobTemplate.spec.template".to_owned()
        )
    );
    let right = "kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: x}]}}}}}\n";
    assert_eq!(one(right).0, Verdict::Doubtful);
    assert_eq!(one("kind: Deployment\nspec: {replicas: 3}\n").1, NO_HOOKS);
}
