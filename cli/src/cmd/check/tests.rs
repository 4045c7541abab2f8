//! What is said, and where it is said to be.

use podhook_hooks::lifecycle::Policy;

use super::{Input, Rules, reports};

fn said(text: &str, input: Input) -> Vec<String> {
    let rules = Rules {
        policy: Policy::default(),
        whole: true,
        apply: false,
        classes: Vec::new(),
    };
    let reports = reports(text, "a.yaml", input, &rules);
    reports.iter().map(ToString::to_string).collect()
}

const DEPLOYMENT: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    metadata:
      annotations:
        lifecycle.podhook.dev/nginx: |
          {"preStop": {"exec": {"command": ["a"]}, "timeoutSeconds": 40},
           "postStart": {"sleep": {"seconds": "5"}}}
        lifecycle.podhook.dev/ngnix: '{}'
        lifecycle.podhook.dev/log: '{"preStop": {"exec": {"command": ["it''s"]} "x"}}'
        lifecycle.podhook.dev/third: "{\"preStop\": {\n\n  \"sleep\": {\"seconds\":\t40}}}"
    spec:
      contaners: []
      containers:
      - name: nginx
        lifecycle: {preStop: {exec: {command: [a]}}}
      - name: log
      - name: third
"#;

#[test]
fn everything_is_said_with_its_place_in_the_order_of_the_file() {
    let expected = [
        "error: a.yaml:11:36: deployment/web: container nginx: podhook: annotation lifecycle.podhook.dev/nginx: \
         postStart.sleep.seconds: must be an integer",
        "warning: a.yaml:12:9: deployment/web: annotation lifecycle.podhook.dev/ngnix: the pod has no such container: its \
         hooks will not run\n  hint: the pod's containers: nginx, log, third",
        "warning: a.yaml:13:9: deployment/web: annotation lifecycle.podhook.dev/log: the pod has no runtimeClassName: its \
         hooks run only where podhook is the nodes' default runtime\n  hint: spec.template.spec.runtimeClassName: podhook",
        "error: a.yaml:13:81: deployment/web: container log: podhook: annotation lifecycle.podhook.dev/log: is not valid \
         JSON: expected `,` or `}` at line 1 column 44",
        "a.yaml:14:9: deployment/web: container third: ok: preStop sleep 40s",
        "warning: a.yaml:14:72: deployment/web: container third: preStop.sleep.seconds: is 40s, and the default grace \
         period of 30s leaves preStop 28s: then it is ended\n  hint: terminationGracePeriodSeconds: 42 of the pod, or less \
         here",
        "error: a.yaml:16:7: deployment/web: unknown field \"spec.template.spec.contaners\" (did you \
         mean \"containers\"?)",
        "a.yaml:19:9: deployment/web: container nginx: ok: preStop exec [\"a\"]",
        "warning: a.yaml:19:9: deployment/web: container nginx: spec.template.spec.containers[0].lifecycle: an annotation \
         of the pod sets hooks of this container too: under a kubelet those of both run",
    ];
    assert_eq!(said(DEPLOYMENT, Input::Manifests), expected);
}

#[test]
fn a_list_and_several_documents_are_looked_through() {
    let pod = |name: &str| {
        format!(
            "{{kind: Pod, apiVersion: v1, metadata: {{name: {name}, annotations: {{lifecycle.podhook.dev/a: '{{'}}}}, \
             spec: {{runtimeClassName: podhook, containers: [{{name: a, image: b}}]}}}}"
        )
    };
    let text = format!(
        "kind: Service\n---\n---\nkind: List\nitems:\n- {}\n- {}\n",
        pod("x"),
        pod("z")
    );
    let said = said(&text, Input::Manifests);
    assert_eq!(said.len(), 2, "{said:?}");
    for (said, (line, name)) in said.iter().zip([(6, "x"), (7, "z")]) {
        let start =
            format!("error: a.yaml:{line}:91: pod/{name}: container a: podhook: annotation");
        assert!(said.starts_with(&start), "{said}");
    }
}

#[test]
fn the_value_of_an_annotation_is_a_text_of_its_own() {
    let text = "{\"preStop\": {\"sleep\": {\"seconds\": 5}},\n \"postStart\": {\"exec\": {\"command\": []}}}";
    let start = "error: a.yaml:2:25: podhook: annotation podhook.dev/lifecycle: postStart.exec.command: must not be";
    assert!(
        said(text, Input::Any)[0].starts_with(start),
        "{:?}",
        said(text, Input::Any)
    );
    let broken = text.replace("\"exec\":", "\"exec\"");
    assert!(
        said(&broken, Input::Any)[0].starts_with("error: a.yaml:2:23: "),
        "{:?}",
        said(&broken, Input::Any)
    );
    // With -f a text without a kind is no manifest: the values of a chart, for one.
    assert!(said(text, Input::Manifests).is_empty());
    assert!(said("kind: Service\n", Input::Manifests).is_empty());
}

#[test]
fn a_text_that_cannot_be_read_is_an_error_with_its_place() {
    let text = "kind: Pod\nspec:\n\tcontainers: []\n";
    for input in [Input::Any, Input::Manifests] {
        assert!(
            said(text, input)[0].starts_with("error: a.yaml:3:2: tabs"),
            "{:?}",
            said(text, input)
        );
    }
    let template = "kind: Pod\nmetadata: {name: {{ .Release.Name }}}\n";
    assert!(
        said(template, Input::Manifests)[0]
            .contains("\n  hint: if this is a template of a Helm chart")
    );
}

#[test]
fn an_annotation_that_is_no_text_is_refused_once() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, annotations: {lifecycle.podhook.dev/nginx: 5}}\n\
                spec: {runtimeClassName: podhook, containers: [{name: nginx, image: nginx}]}\n";
    let said = said(text, Input::Manifests);
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(
        said[0].contains("must be a string: write the JSON in quotes"),
        "{said:#?}"
    );
}

#[test]
fn a_slip_in_the_domain_of_an_annotation_is_a_warning() {
    for key in ["lifecycle.podhok.dev/nginx", "lifecycles.podhook.dev/nginx"] {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, annotations: {{{key}: '{{}}'}}}}\n\
             spec: {{runtimeClassName: podhook, containers: [{{name: nginx, image: nginx}}]}}\n"
        );
        let said = said(&text, Input::Manifests);
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].starts_with("warning: "), "{said:#?}");
        assert!(
            said[0].contains("did you mean lifecycle.podhook.dev/nginx?"),
            "{said:#?}"
        );
    }
}
