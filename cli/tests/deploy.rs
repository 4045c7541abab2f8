//! deploy/kustomize, deploy/charts and deploy/installer: Kubernetes knows every field, podhook takes every command line, and
//! what is written in two places is the same in both. That chart and base render to the same is in the cluster's suite.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use k8s_openapi::api::admissionregistration::v1 as admission;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::node::v1 as node;
use k8s_openapi::api::policy::v1 as policy;
use k8s_openapi::api::rbac::v1 as rbac;
use podhook::args::Cli;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(deploy(path)).expect(path)
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).expect(path)
}

/// The files of a folder.
fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(deploy(folder)).expect(folder).flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

const AGENT: &str = "kustomize/agent";
const PAUSELESS: &str = "kustomize/pauseless";

/// Every object of the base.
fn objects() -> Vec<Value> {
    objects_of("kustomize/base")
}

fn objects_of(folder: &str) -> Vec<Value> {
    let names = files(folder).into_iter();
    let manifests = names.filter(|name| name != "kustomization.yaml");
    let all = manifests.flat_map(|name| {
        let text = text(&format!("{folder}/{name}"));
        serde_saphyr::from_multiple::<Value>(&text).expect("YAML")
    });
    all.collect()
}

fn object<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is).expect(name)
}

/// What becomes of an object that is read as its type, and written again.
fn again<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let typed: T = serde_json::from_value(object.clone()).expect("its type");
    serde_json::to_value(typed).expect("JSON")
}

/// Every field is there again: a type drops what it does not know.
fn lost(at: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let at = format!("{at}.{key}");
                match after.get(key) {
                    Some(after) => lost(&at, value, after, found),
                    None => found.push(at),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (i, (before, after)) in before.iter().zip(after).enumerate() {
                lost(&format!("{at}[{i}]"), before, after, found);
            }
        }
        (before, after) if before == after => {}
        (before, after) => found.push(format!("{at}: {before} is {after}")),
    }
}

#[test]
fn kubernetes_knows_every_field() {
    let others = [AGENT, PAUSELESS].into_iter().flat_map(objects_of);
    for object in objects().into_iter().chain(others) {
        let kind = object["kind"].as_str().expect("a kind");
        let after = match kind {
            "Namespace" => again::<core::Namespace>(&object),
            "Secret" => again::<core::Secret>(&object),
            "Service" => again::<core::Service>(&object),
            "ServiceAccount" => again::<core::ServiceAccount>(&object),
            "RuntimeClass" => again::<node::RuntimeClass>(&object),
            "DaemonSet" => again::<apps::DaemonSet>(&object),
            "Deployment" => again::<apps::Deployment>(&object),
            "PodDisruptionBudget" => again::<policy::PodDisruptionBudget>(&object),
            "ClusterRole" => again::<rbac::ClusterRole>(&object),
            "ClusterRoleBinding" => again::<rbac::ClusterRoleBinding>(&object),
            "Role" => again::<rbac::Role>(&object),
            "RoleBinding" => again::<rbac::RoleBinding>(&object),
            "MutatingWebhookConfiguration" => {
                again::<admission::MutatingWebhookConfiguration>(&object)
            }
            "ValidatingWebhookConfiguration" => {
                again::<admission::ValidatingWebhookConfiguration>(&object)
            }
            "ValidatingAdmissionPolicy" => again::<admission::ValidatingAdmissionPolicy>(&object),
            "ValidatingAdmissionPolicyBinding" => {
                again::<admission::ValidatingAdmissionPolicyBinding>(&object)
            }
            other => panic!("{other}: say here which type it is"),
        };
        let mut found = Vec::new();
        lost(kind, &object, &after, &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn every_manifest_is_part_of_the_base() {
    let kustomization = yaml("kustomize/base/kustomization.yaml");
    let mut listed: Vec<_> = kustomization["resources"]
        .as_array()
        .expect("resources")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    listed.push("kustomization.yaml");
    listed.sort_unstable();
    assert_eq!(files("kustomize/base"), listed);
}

/// The containers of a pod's spec.
fn containers(spec: &Value) -> Vec<&Value> {
    let lists = ["initContainers", "containers"];
    let all = lists.iter().filter_map(|list| spec[list].as_array());
    all.flatten().collect()
}

fn is_taken(args: &Value) {
    let words = args.as_array().expect("args").iter();
    let words = words.map(|word| word.as_str().expect("a word"));
    let line: Vec<_> = std::iter::once("podhook").chain(words).collect();
    assert!(Cli::try_parse_from(&line).is_ok(), "{line:?}");
}

#[test]
fn podhook_takes_every_command_line() {
    let mut count = 0;
    for object in objects() {
        for container in containers(&object["spec"]["template"]["spec"]) {
            is_taken(&container["args"]);
            count += 1;
        }
    }
    assert_eq!(count, 4);
    // The overlay: the same with other words.
    let overlay = yaml("kustomize/uninstall/kustomization.yaml");
    let patch = overlay["patches"][0]["patch"].as_str().expect("a patch");
    let ops: Value = serde_saphyr::from_str(patch).expect("YAML");
    is_taken(&ops[0]["value"]["args"]);
    is_taken(&ops[3]["value"]);
    let objects = objects();
    let node = &object(&objects, "DaemonSet", "podhook-node")["spec"]["template"]["spec"];
    let mut uninstall = node["initContainers"][0]["args"].clone();
    uninstall[0] = ops[2]["value"].clone();
    is_taken(&uninstall);
}

#[test]
fn the_node_is_written_on_by_nobody_but_the_installer() {
    for object in objects() {
        let spec = &object["spec"]["template"]["spec"];
        for container in containers(spec) {
            let security = &container["securityContext"];
            let is_installer = container["name"] == "install";
            assert_eq!(security["privileged"] == true, is_installer, "{container}");
            if is_installer {
                continue;
            }
            assert_eq!(security["allowPrivilegeEscalation"], false, "{container}");
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["capabilities"]["drop"][0], "ALL");
            let no_root = |context: &Value| context["runAsNonRoot"] == true;
            assert!(no_root(security) || no_root(&spec["securityContext"]));
            let mounts = container["volumeMounts"].as_array().expect("mounts");
            assert!(
                mounts.iter().all(|mount| mount["name"] != "host"),
                "{container}"
            );
        }
        if !spec.is_null() {
            assert_eq!(spec["automountServiceAccountToken"], false);
        }
    }
}

#[test]
fn the_same_namespaces_are_left_alone_everywhere_and_podhooks_is_one() {
    let mut lists = Vec::new();
    for object in objects() {
        let webhooks = object["webhooks"].as_array().into_iter().flatten();
        let selectors = webhooks.map(|webhook| &webhook["namespaceSelector"]);
        let of_binding = &object["spec"]["matchResources"]["namespaceSelector"];
        for selector in selectors.chain([of_binding]).filter(|one| !one.is_null()) {
            let rule = &selector["matchExpressions"][0];
            assert_eq!(rule["key"], "kubernetes.io/metadata.name");
            assert_eq!(rule["operator"], "NotIn");
            lists.push(rule["values"].clone());
        }
    }
    assert_eq!(lists.len(), 4);
    assert!(lists.windows(2).all(|two| two[0] == two[1]), "{lists:?}");
    let names = lists[0].as_array().expect("names");
    assert!(names.iter().any(|name| name == "podhook"));
    let chart = yaml("charts/podhook/values.yaml");
    let of_chart = chart["excludedNamespaces"].as_array().expect("names");
    assert_eq!(of_chart[..], names[..names.len() - 1]);
}

#[test]
fn every_version_is_this_one() {
    let kustomization = yaml("kustomize/base/kustomization.yaml");
    let image = &kustomization["images"][0];
    assert_eq!(image["newTag"], format!("v{VERSION}"));
    let name = format!("{}:v{VERSION}", image["newName"].as_str().expect("a name"));
    for file in [
        "kustomize/uninstall/kustomization.yaml",
        "installer/Dockerfile",
    ] {
        assert!(text(file).contains(&name), "{file}: no {name}");
    }
    let chart = yaml("charts/podhook/Chart.yaml");
    assert_eq!(
        (&chart["version"], &chart["appVersion"]),
        (&VERSION.into(), &VERSION.into())
    );
    let values = yaml("charts/podhook/values.yaml");
    assert_eq!(values["image"]["repository"], image["newName"]);
    let rust = fs::read_to_string(deploy("../rust-toolchain.toml")).expect("a toolchain");
    let channel = rust.split('"').nth(1).expect("a channel");
    let minor = channel.rsplit_once('.').expect("a patch").0;
    let from = format!("FROM rust:{minor}-bookworm AS build\n");
    assert!(text("installer/Dockerfile").contains(&from), "{from}");
}

#[test]
fn the_charts_values_are_those_of_its_schema() {
    let schema: Value =
        serde_json::from_str(&text("charts/podhook/values.schema.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let values = yaml("charts/podhook/values.yaml");
    let wrong: Vec<_> = validator
        .iter_errors(&values)
        .map(|e| e.to_string())
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
    for (pointer, value) in [
        ("/installer/mode", "remove".into()),
        ("/webhook/replicas", 0.into()),
        ("/webhook/failurePolicy", "Warn".into()),
        ("/runtimeClass/name", "Podhook".into()),
        ("/image", Value::Null),
    ] {
        let mut values = values.clone();
        *values.pointer_mut(pointer).expect(pointer) = value;
        assert!(!validator.is_valid(&values), "{pointer}");
    }
    let mut values = values;
    values["webhook"]["replica"] = 1.into();
    assert!(!validator.is_valid(&values));
}

#[test]
fn the_agent_reads_the_node_and_may_make_events_and_ask_who_may_what_and_nothing_else() {
    let objects = objects_of(AGENT);
    let rules = &object(&objects, "ClusterRole", "podhook-agent")["rules"];
    let expected = serde_json::json!([{"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}]);
    assert_eq!(*rules, expected);
    let rules = &object(&objects, "ClusterRole", "podhook-agent-questions")["rules"];
    let expected = serde_json::json!([
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"], "verbs": ["get"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]);
    assert_eq!(*rules, expected);
    let spec = &object(&objects, "DaemonSet", "podhook-agent")["spec"]["template"]["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    let [container] = containers(spec)[..] else {
        panic!("one container");
    };
    is_taken(&container["args"]);
    let security = &container["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"]["drop"][0], "ALL");
    let mounts = container["volumeMounts"].as_array().expect("mounts");
    let written = |mount: &&Value| mount["readOnly"] != true;
    let written = mounts.iter().filter(written);
    let written: Vec<_> = written.map(|mount| &mount["name"]).collect();
    assert_eq!(written, ["podhook", "position"]);
    let state = &mounts[0];
    // Else the agent would keep mounts of containers that have ended.
    assert_eq!(state["mountPropagation"], "HostToContainer");
}

/// The overlay adds to what is there, in the places that it names.
#[test]
fn pods_without_a_pause_container_are_one_more_class_everywhere() {
    let overlay = yaml("kustomize/pauseless/kustomization.yaml");
    let base = objects();
    let mut conditions = 0;
    for patch in overlay["patches"].as_array().expect("patches") {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (kind, name) = (
            text(&patch["target"]["kind"]),
            text(&patch["target"]["name"]),
        );
        let object = object(&base, &kind, &name);
        let ops: Vec<Value> = serde_saphyr::from_str(&text(&patch["patch"])).expect("YAML");
        for op in ops {
            let path = text(&op["path"]);
            if let Some(list) = path.strip_suffix("/-") {
                let mut args = object.pointer(list).expect(list).clone();
                args.as_array_mut().expect("args").push(op["value"].clone());
                is_taken(&args);
                continue;
            }
            conditions += 1;
            let before = text(object.pointer(&path).expect(&path));
            let after = before.replace("['podhook']", "['podhook', 'podhook-pauseless']");
            assert_ne!(before, after);
            assert_eq!(op["value"], after);
        }
    }
    assert_eq!(conditions, 3);
    let class = |folder, name| {
        let objects = objects_of(folder);
        let mut class = object(&objects, "RuntimeClass", name).clone();
        assert_eq!(class["handler"], name);
        assert_eq!(class["metadata"]["name"].take(), name);
        class["handler"].take();
        class
    };
    assert_eq!(
        class(PAUSELESS, "podhook-pauseless"),
        class("kustomize/base", "podhook")
    );
}

#[test]
fn the_agents_kustomization_is_like_the_bases() {
    let kustomization = |folder| yaml(&format!("{folder}/kustomization.yaml"));
    let (agent, base) = (kustomization(AGENT), kustomization("kustomize/base"));
    assert_eq!(agent["images"], base["images"]);
    let listed = agent["resources"].as_array().expect("resources").len();
    assert_eq!(files(AGENT).len(), listed + 1);
    // Both in one kustomization: no object is in both.
    let both = yaml("kustomize/all/kustomization.yaml");
    assert_eq!(
        both["resources"],
        serde_json::json!(["../base", "../agent"])
    );
    let name = |object: &Value| {
        (
            object["kind"].to_string(),
            object["metadata"]["name"].to_string(),
        )
    };
    let base: Vec<_> = objects().iter().map(name).collect();
    let twice = objects_of(AGENT)
        .iter()
        .map(name)
        .find(|one| base.contains(one));
    assert_eq!(twice, None);
}
