//! What is no manifest, or not one for podhook.

use super::*;

#[test]
fn a_misspelt_field_is_unknown() {
    for (spec, container, path) in [
        ("restartpolicy: Never", "", "spec.restartpolicy"),
        (
            "",
            "imagepullpolicy: Never",
            "spec.containers[0].imagepullpolicy",
        ),
        (
            "",
            "lifecycle: {prestop: {sleep: {seconds: 1}}}",
            "spec.containers[0].lifecycle.prestop",
        ),
        (
            "",
            "lifecycle: {preStop: {exec: {cmd: [x]}}}",
            "spec.containers[0].lifecycle.preStop.exec.cmd",
        ),
        (
            "",
            "ports: [{port: 80}]",
            "spec.containers[0].ports[0].port",
        ),
    ] {
        let error = error(&manifest(spec, container));
        assert!(
            error.contains(&format!("unknown field \"{path}\"")),
            "{error}"
        );
    }
}

#[test]
fn podhooks_own_lifecycle_fields_are_sent_to_the_annotation() {
    let error = error(&manifest(
        "",
        "lifecycle: {postStart: {timeoutSeconds: 5, exec: {command: [x]}}}",
    ));
    assert!(
        error.contains("lifecycle.postStart.timeoutSeconds\" (podhook's own"),
        "{error}"
    );
    assert!(
        error.contains("lifecycle.podhook.dev/<container>"),
        "{error}"
    );
}

#[test]
fn a_wrong_type_is_named_by_its_path() {
    for (spec, container, path) in [
        (
            "",
            "ports: [{containerPort: \"80\"}]",
            "spec.containers[0].ports[0].containerPort: ",
        ),
        (
            "",
            "command: [sleep, 3600]",
            "spec.containers[0].command[1]: ",
        ),
        (
            "",
            "command: sleep",
            "spec.containers[0].command: expected a list",
        ),
        (
            "terminationGracePeriodSeconds: soon",
            "",
            "spec.terminationGracePeriodSeconds: ",
        ),
        ("hostNetwork: 1", "", "spec.hostNetwork: "),
        (
            "",
            "env: [{name: A, value: 1}]",
            "spec.containers[0].env[0].value: ",
        ),
        (
            "volumes: {}\nsecurityContext: [a]",
            "",
            "spec.securityContext: expected an object",
        ),
    ] {
        let error = error(&manifest(spec, container));
        assert!(error.contains(path), "{path} in {error}");
    }
}

#[test]
fn other_kinds_are_refused_with_what_to_do() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {}";
    assert_eq!(
        error(deployment),
        "error validating \"pod.yaml\": Deployment (apps/v1) \"web\": podhook runs Pods, \
         not controllers: write the pod of its spec.template as a Pod"
    );
    assert!(error("apiVersion: v2\nkind: Pod").contains("of apiVersion v1"));
    assert!(
        error("metadata: {name: web}")
            .contains("[apiVersion: apiVersion not set, kind: kind not set]")
    );
    assert!(error("just text").contains("not set"));
}

#[test]
fn broken_yaml_and_duplicate_keys_are_errors() {
    assert!(error("a: [").starts_with("error parsing pod.yaml: "));
    assert!(error(&manifest("hostname: a\nhostname: b", "")).contains("hostname"));
}

#[test]
fn documents_lists_and_empty_documents() {
    let one = manifest("", "");
    let two = one.replace("name: web", "name: web-2");
    let text = format!("---\n{one}---\n{two}---\n");
    assert_eq!(parse(&text, "pods.yaml", None).unwrap().len(), 2);
    let json =
        serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [pod(&one), pod(&two)]});
    assert_eq!(
        parse(&json.to_string(), "pods.json", None).unwrap().len(),
        2
    );
    assert_eq!(parse("", "empty.yaml", None).unwrap().len(), 0);
}

#[test]
fn the_namespace_of_the_command_line_fills_in_and_must_not_contradict() {
    let text = manifest("", "");
    let namespace = |text: &str, flag| match &parse(text, "pod.yaml", flag).unwrap()[0] {
        Object::Pod(pod) => pod.metadata.namespace.clone().unwrap(),
        Object::RuntimeClass(_) => unreachable!(),
    };
    assert_eq!(namespace(&text, None), "default");
    assert_eq!(namespace(&text, Some("shop")), "shop");
    let own = text.replace("  name: web\n", "  name: web\n  namespace: own\n");
    assert_eq!(namespace(&own, None), "own");
    let error = parse(&own, "pod.yaml", Some("shop"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the namespace from the provided object \"own\" does not match the namespace \"shop\". \
         You must pass '--namespace=own' to perform this operation."
    );
}

#[test]
fn files_are_read_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    for (file, name) in [
        ("b.yaml", "second"),
        ("a.yml", "first"),
        ("c.json", "third"),
        ("d.txt", "no"),
    ] {
        let text = manifest("", "").replace("name: web", &format!("name: {name}"));
        let text = if file == "c.json" {
            serde_json::to_string(&pod(&text)).unwrap()
        } else {
            text
        };
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let names: Vec<_> = crate::manifest::load(&[dir.path().to_owned()], None)
        .unwrap()
        .into_iter()
        .map(|o| match o {
            Object::Pod(pod) => pod.metadata.name.unwrap(),
            Object::RuntimeClass(_) => unreachable!(),
        })
        .collect();
    assert_eq!(names, ["first", "second", "third"]);
    let missing = crate::manifest::load(&[dir.path().join("x.yaml")], None).unwrap_err();
    assert!(
        missing.to_string().ends_with("x.yaml\" does not exist"),
        "{missing}"
    );
}

#[test]
fn a_field_that_is_like_a_known_one_is_proposed() {
    for (lifecycle, meant) in [
        ("{prestop: {sleep: {seconds: 1}}}", "preStop"),
        ("{preStop: {exec: {comand: [x]}}}", "command"),
    ] {
        let error = error(&manifest("", &format!("lifecycle: {lifecycle}")));
        let hint = format!("(did you mean \"{meant}\"?)");
        assert!(error.contains(&hint), "{error}");
    }
}

/// The key of an annotation holds dots: they are no steps of the path.
#[test]
fn the_path_of_a_value_below_a_key_with_dots_is_whole() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, annotations: {lifecycle.podhook.dev/nginx: 5}}\n\
                spec: {containers: [{name: nginx, image: nginx}]}\n";
    let error = error(text);
    assert!(
        error.contains("metadata.annotations[lifecycle.podhook.dev/nginx]: invalid type: integer"),
        "{error}"
    );
}
