//! Manifests in, CRI configuration or an error out.

mod annotations;
mod errors;
mod invalid;
mod kubelet;
mod tutorial;
mod unsupported;

use std::path::PathBuf;

use k8s_cri::v1::{ContainerConfig, PodSandboxConfig};
use k8s_openapi::api::core::v1::Pod;

use super::container;
use super::parse;
use super::sandbox;
use super::{Facts, Object, Placement};

fn placement() -> Placement {
    Placement {
        uid: "7e0a".to_owned(),
        directory: PathBuf::from("/var/lib/podhook/pods/7e0a"),
        log_directory: PathBuf::from("/var/lib/podhook/logs/default_web_7e0a"),
        cgroup_parent: "/podhook".to_owned(),
        memory_capacity: 8 << 30,
        resolv_conf: "nameserver 192.0.2.1\nsearch node.example\noptions ndots:2 rotate\n"
            .to_owned(),
    }
}

fn facts() -> Facts {
    Facts {
        pod_ips: vec!["10.0.0.7".to_owned(), "fd00::7".to_owned()],
        node_name: "node-1".to_owned(),
    }
}

/// The one pod of a manifest.
fn pod(text: &str) -> Pod {
    match parse(text, "pod.yaml", None)
        .expect("a valid manifest")
        .pop()
    {
        Some(Object::Pod(pod)) => *pod,
        other => panic!("not a pod: {other:?}"),
    }
}

/// A pod of one container with these lines in `spec` and in the container.
fn manifest(spec: &str, container: &str) -> String {
    let indent = |text: &str, by: usize| -> String {
        let blanks = " ".repeat(by);
        text.lines()
            .map(|line| format!("{blanks}{line}\n"))
            .collect()
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n{}  containers:\n  - name: c\n    image: nginx\n{}",
        indent(spec, 2),
        indent(container, 4)
    )
}

fn sandbox_of(text: &str) -> PodSandboxConfig {
    sandbox::config(&pod(text), &placement())
}

fn container_of(text: &str) -> ContainerConfig {
    let pod = pod(text);
    let first = &pod.spec.as_ref().expect("a spec").containers[0];
    container::config(&pod, first, &placement(), &facts())
}

/// The error of a manifest, as the user sees it.
fn error(text: &str) -> String {
    match parse(text, "pod.yaml", None) {
        Ok(objects) => panic!("accepted: {objects:?}"),
        Err(e) => e.to_string(),
    }
}
