//! The pods of the Kubernetes tutorial on lifecycle hooks, from `examples/`.

use std::path::Path;

use super::*;
use crate::manifest::load;

fn example(name: &str) -> (PodSandboxConfig, ContainerConfig) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(name);
    let Some(Object::Pod(pod)) = load(&[path], None).expect(name).pop() else {
        panic!("{name} is no pod");
    };
    let spec = pod.spec.as_ref().expect("a spec");
    assert_eq!(spec.runtime_class_name.as_deref(), Some("podhook"));
    let placement = placement();
    let config = container::config(&pod, &spec.containers[0], &placement, &facts());
    (sandbox::config(&pod, &placement), config)
}

const ANNOTATION: &str = "lifecycle.podhook.dev/lifecycle-demo-container";

#[test]
fn a_post_start_hook_becomes_the_pod_annotation_of_its_container() {
    let (sandbox, container) = example("lifecycle-demo-poststart.yaml");
    assert_eq!(
        sandbox.annotations[ANNOTATION],
        r#"{"postStart":{"exec":{"command":["/bin/sh","-c","echo Hello from the postStart handler > /usr/share/message"]}}}"#
    );
    assert_eq!(sandbox.metadata.unwrap().name, "lifecycle-demo-poststart");
    assert_eq!(
        container.image.unwrap().image,
        "docker.io/library/nginx:latest"
    );
    assert_eq!(
        container.annotations["io.kubernetes.pod.terminationGracePeriod"],
        "30"
    );
}

#[test]
fn a_pre_stop_hook_is_not_left_to_a_kubelet() {
    let (sandbox, container) = example("lifecycle-demo-prestop.yaml");
    assert_eq!(
        sandbox.annotations[ANNOTATION],
        r#"{"preStop":{"exec":{"command":["/bin/sh","-c","nginx -s quit; while killall -0 nginx; do sleep 1; done"]}}}"#
    );
    assert!(
        !container
            .annotations
            .contains_key("io.kubernetes.container.preStopHandler")
    );
}

#[test]
fn a_host_path_is_mounted_and_ports_are_known_to_the_hooks() {
    let (sandbox, container) = example("lifecycle-demo2-prestop.yaml");
    assert_eq!(
        sandbox.annotations[ANNOTATION],
        r#"{"preStop":{"exec":{"command":["/bin/sh","-c","echo Hello from the preStop Handler > /usr/share/message"]}}}"#
    );
    let mount = &container.mounts[0];
    assert_eq!(
        (mount.host_path.as_str(), mount.container_path.as_str()),
        ("/tmp", "/usr/share/")
    );
    assert!(!mount.readonly);
    assert_eq!(
        container.annotations["io.kubernetes.container.ports"],
        r#"[{"containerPort":80,"protocol":"TCP"}]"#
    );
    assert_eq!(sandbox.port_mappings[0].container_port, 80);
    assert_eq!(
        sandbox.port_mappings[0].host_port, 0,
        "not published on the node"
    );
}

#[test]
fn the_whole_folder_can_be_applied() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let objects = load(&[folder], None).expect("every example is valid");
    let pods = objects
        .iter()
        .filter(|o| matches!(o, Object::Pod(_)))
        .count();
    let classes: Vec<_> = objects
        .iter()
        .filter_map(|o| match o {
            Object::RuntimeClass(class) => {
                Some((class.metadata.name.as_deref(), class.handler.as_str()))
            }
            Object::Pod(_) => None,
        })
        .collect();
    assert!(pods >= 3);
    assert_eq!(classes, [(Some("podhook"), "podhook")]);
}
