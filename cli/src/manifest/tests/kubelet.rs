//! The translation is the kubelet's.

use k8s_cri::v1::security_profile::ProfileType;
use k8s_cri::v1::{
    Image, Int64Value, LinuxContainerSecurityContext, MountPropagation, NamespaceMode,
};

use super::*;
use crate::manifest::{Qos, check_non_root, qos};

fn security(container: ContainerConfig) -> LinuxContainerSecurityContext {
    container.linux.unwrap().security_context.unwrap()
}

#[test]
fn labels_and_annotations_are_the_kubelets() {
    let text = manifest(
        "terminationGracePeriodSeconds: 7",
        "terminationMessagePolicy: FallbackToLogsOnError",
    )
    .replace(
        "  name: web\n",
        "  name: web\n  labels: {app: shop}\n  annotations: {team: a}\n",
    );
    let (sandbox, container) = (sandbox_of(&text), container_of(&text));
    for (key, value) in [
        ("app", "shop"),
        ("io.kubernetes.pod.name", "web"),
        ("io.kubernetes.pod.namespace", "default"),
        ("io.kubernetes.pod.uid", "7e0a"),
    ] {
        assert_eq!(sandbox.labels[key], value);
    }
    assert_eq!(
        sandbox.annotations.len(),
        1,
        "the pod's own, and no empty lifecycle"
    );
    assert_eq!(sandbox.annotations["team"], "a");
    assert_eq!(container.labels.len(), 4);
    assert_eq!(container.labels["io.kubernetes.container.name"], "c");
    for (key, value) in [
        ("io.kubernetes.container.restartCount", "0"),
        (
            "io.kubernetes.container.terminationMessagePath",
            "/dev/termination-log",
        ),
        (
            "io.kubernetes.container.terminationMessagePolicy",
            "FallbackToLogsOnError",
        ),
        ("io.kubernetes.pod.terminationGracePeriod", "7"),
    ] {
        assert_eq!(container.annotations[key], value);
    }
    let hash = &container.annotations["io.kubernetes.container.hash"];
    assert!(u64::from_str_radix(hash, 16).is_ok(), "{hash}");
    assert!(
        !container
            .annotations
            .contains_key("io.kubernetes.container.ports")
    );
    assert_eq!(container.log_path, "c/0.log");
}

#[test]
fn variables_see_earlier_ones_and_the_command_sees_all() {
    let container = container_of(&manifest(
        "",
        "env:\n- {name: A, value: one}\n- {name: B, value: \"$(A)-$(LATER)-$$(A)\"}\n\
         - {name: LATER, value: x}\n- {name: A, value: \"$(A)+\"}\n\
         - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}\n\
         - {name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}\n\
         - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}\n\
         - {name: NONE, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['x']\"}}}\n\
         command: [sh, \"$(B)\"]\nargs: [\"$(NODE)\", \"$(NOPE)\"]",
    ));
    let value = |name: &str| {
        container
            .envs
            .iter()
            .find(|e| e.key == name)
            .map(|e| e.value.as_str())
    };
    assert_eq!(value("B"), Some("one-$(LATER)-$(A)"));
    assert_eq!(value("A"), Some("one+"), "the last one wins");
    assert_eq!(container.envs.iter().filter(|e| e.key == "A").count(), 1);
    assert_eq!(value("POD"), Some("web"));
    assert_eq!(value("IPS"), Some("10.0.0.7,fd00::7"));
    assert_eq!(value("NODE"), Some("node-1"));
    assert_eq!(value("NONE"), Some(""));
    assert_eq!(container.command, ["sh", "one-$(LATER)-$(A)"]);
    assert_eq!(container.args, ["node-1", "$(NOPE)"]);
}

#[test]
fn resources_become_shares_quota_and_limit() {
    let linux = |resources: &str| {
        let container = container_of(&manifest("", &format!("resources: {resources}")));
        container.linux.unwrap().resources.unwrap()
    };
    let none = linux("{}");
    assert_eq!(
        (none.cpu_shares, none.cpu_quota, none.memory_limit_in_bytes),
        (2, 0, 0)
    );
    assert_eq!(none.oom_score_adj, 1000, "BestEffort");
    let guaranteed = linux("{limits: {cpu: 500m, memory: 64Mi}}");
    assert_eq!(
        (
            guaranteed.cpu_shares,
            guaranteed.cpu_quota,
            guaranteed.cpu_period
        ),
        (512, 50_000, 100_000)
    );
    assert_eq!(
        (guaranteed.memory_limit_in_bytes, guaranteed.oom_score_adj),
        (64 << 20, -997)
    );
    // 2 GiB of the node's 8 GiB.
    let burstable = linux("{requests: {memory: 2Gi, cpu: 1.5}, limits: {cpu: 2}}");
    assert_eq!((burstable.cpu_shares, burstable.cpu_quota), (1536, 200_000));
    assert_eq!(burstable.oom_score_adj, 750);
    assert_eq!(
        linux("{requests: {memory: 1}}").oom_score_adj,
        999,
        "never as bad as BestEffort"
    );
    assert_eq!(
        linux("{requests: {memory: 8Gi}}").oom_score_adj,
        3,
        "never as good as Guaranteed"
    );
    assert_eq!(
        linux("{limits: {cpu: 1m}}").cpu_quota,
        1000,
        "the least quota"
    );
}

#[test]
fn quality_of_service_classes() {
    for (resources, class) in [
        ("{}", Qos::BestEffort),
        ("{requests: {cpu: 1}}", Qos::Burstable),
        ("{limits: {cpu: 1}}", Qos::Burstable),
        ("{limits: {cpu: 1, memory: 1Gi}}", Qos::Guaranteed),
        (
            "{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}",
            Qos::Burstable,
        ),
        (
            "{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1000m}}",
            Qos::Guaranteed,
        ),
    ] {
        assert_eq!(
            qos(&pod(&manifest("", &format!("resources: {resources}")))),
            class,
            "{resources}"
        );
    }
}

#[test]
fn the_containers_security_context_wins_over_the_pods() {
    let text = manifest(
        "securityContext: {runAsUser: 1000, runAsGroup: 1001, fsGroup: 2000, supplementalGroups: [3000], \
         seccompProfile: {type: RuntimeDefault}, sysctls: [{name: net.core.somaxconn, value: \"1024\"}]}",
        "securityContext: {runAsUser: 5, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, \
         capabilities: {add: [NET_ADMIN], drop: [ALL]}}",
    );
    let sandbox = sandbox_of(&text).linux.unwrap();
    assert_eq!(sandbox.sysctls["net.core.somaxconn"], "1024");
    assert_eq!(
        sandbox.security_context.unwrap().run_as_user,
        Some(Int64Value { value: 1000 })
    );
    let own = security(container_of(&text));
    assert_eq!(own.run_as_user, Some(Int64Value { value: 5 }));
    assert_eq!(own.run_as_group, Some(Int64Value { value: 1001 }));
    assert_eq!(own.supplemental_groups, [2000, 3000]);
    assert!(own.readonly_rootfs && own.no_new_privs && !own.privileged);
    let capabilities = own.capabilities.unwrap();
    assert_eq!(capabilities.add_capabilities, ["NET_ADMIN"]);
    assert_eq!(capabilities.drop_capabilities, ["ALL"]);
    assert_eq!(
        own.seccomp.unwrap().profile_type(),
        ProfileType::RuntimeDefault
    );
}

#[test]
fn without_a_security_context_there_is_no_seccomp_profile_and_no_no_new_privs() {
    let own = security(container_of(&manifest("", "")));
    assert_eq!(own.seccomp.unwrap().profile_type(), ProfileType::Unconfined);
    assert!(!own.no_new_privs && own.run_as_user.is_none() && own.capabilities.is_none());
    let privileged = manifest(
        "securityContext: {seccompProfile: {type: RuntimeDefault}}",
        "securityContext: {privileged: true}",
    );
    let own = security(container_of(&privileged));
    assert!(own.privileged);
    assert_eq!(own.seccomp.unwrap().profile_type(), ProfileType::Unconfined);
    assert!(
        sandbox_of(&privileged)
            .linux
            .unwrap()
            .security_context
            .unwrap()
            .privileged
    );
}

#[test]
fn namespaces_are_the_nodes_the_pods_or_the_containers() {
    let options = |spec: &str| {
        let own = security(container_of(&manifest(spec, "")))
            .namespace_options
            .unwrap();
        (own.network(), own.pid(), own.ipc())
    };
    use NamespaceMode::{Container, Node, Pod};
    assert_eq!(options(""), (Pod, Container, Pod));
    assert_eq!(options("shareProcessNamespace: true"), (Pod, Pod, Pod));
    assert_eq!(
        options("hostNetwork: true\nhostPID: true\nhostIPC: true"),
        (Node, Node, Node)
    );
}

#[test]
fn host_names_and_host_ports() {
    let hostname = |spec: &str, name: &str| {
        sandbox_of(&manifest(spec, "").replace("name: web", &format!("name: {name}"))).hostname
    };
    assert_eq!(hostname("", "web"), "web");
    assert_eq!(hostname("hostname: other", "web"), "other");
    assert_eq!(hostname("hostNetwork: true", "web"), "", "the node's");
    let long = format!("{}.b", "a".repeat(62));
    assert_eq!(
        hostname("", &long),
        "a".repeat(62),
        "63 bytes, and no dot at the end"
    );
    let port = |spec: &str| {
        let text = manifest(
            spec,
            "ports: [{containerPort: 80, protocol: UDP, hostIP: 127.0.0.1}]",
        );
        sandbox_of(&text).port_mappings.remove(0)
    };
    assert_eq!(port("").host_port, 0);
    assert_eq!(port("").host_ip, "127.0.0.1");
    assert_eq!(port("").protocol, 1);
    assert_eq!(port("hostNetwork: true").host_port, 80);
}

#[test]
fn mounts_are_the_volumes_and_the_termination_message() {
    let container = container_of(&manifest(
        "volumes: [{name: e, emptyDir: {}}, {name: h, hostPath: {path: /srv, type: Directory}}]",
        "volumeMounts:\n- {name: h, mountPath: data, readOnly: true, mountPropagation: HostToContainer}\n\
         - {name: e, mountPath: /e}",
    ));
    let [host, empty, message] = container.mounts.as_slice() else {
        panic!("{:?}", container.mounts);
    };
    assert_eq!(
        (host.host_path.as_str(), host.container_path.as_str()),
        ("/srv", "/data")
    );
    assert!(host.readonly);
    assert_eq!(
        host.propagation(),
        MountPropagation::PropagationHostToContainer
    );
    assert_eq!(empty.host_path, "/var/lib/podhook/pods/7e0a/volumes/e");
    assert_eq!(empty.propagation(), MountPropagation::PropagationPrivate);
    assert_eq!(message.container_path, "/dev/termination-log");
    assert_eq!(
        message.host_path,
        "/var/lib/podhook/pods/7e0a/termination-log/c"
    );
}

#[test]
fn dns_settings_are_merged_with_the_nodes() {
    let dns = |spec: &str| sandbox_of(&manifest(spec, "")).dns_config;
    assert_eq!(dns(""), None, "the node's resolv.conf as it is");
    let merged = dns("dnsConfig: {nameservers: [192.0.2.9, 192.0.2.1], options: [{name: ndots, value: \"5\"}, {name: edns0}]}").unwrap();
    assert_eq!(merged.servers, ["192.0.2.1", "192.0.2.9"]);
    assert_eq!(merged.searches, ["node.example"]);
    assert_eq!(merged.options, ["rotate", "ndots:5", "edns0"]);
    let alone =
        dns("dnsPolicy: None\ndnsConfig: {nameservers: [192.0.2.9], searches: [a.example]}")
            .unwrap();
    assert_eq!(
        (alone.servers, alone.searches, alone.options),
        (
            vec!["192.0.2.9".to_owned()],
            vec!["a.example".to_owned()],
            vec![]
        )
    );
}

#[test]
fn run_as_non_root_looks_at_the_user_that_will_run() {
    let check = |security: &str, image: Image| {
        let pod = pod(&manifest("", &format!("securityContext: {security}")));
        check_non_root(&pod, &pod.spec.as_ref().unwrap().containers[0], &image)
    };
    let uid = |value| Image {
        uid: Some(Int64Value { value }),
        ..Default::default()
    };
    let named = || Image {
        username: "app".to_owned(),
        ..Default::default()
    };
    assert!(check("{}", uid(0)).is_ok());
    assert!(check("{runAsNonRoot: true}", uid(1000)).is_ok());
    assert!(check("{runAsNonRoot: true, runAsUser: 1000}", uid(0)).is_ok());
    assert!(
        check("{runAsNonRoot: true}", uid(0))
            .unwrap_err()
            .contains("image will run as root")
    );
    assert!(
        check("{runAsNonRoot: true}", Image::default())
            .unwrap_err()
            .contains("image will run as root")
    );
    assert!(
        check("{runAsNonRoot: true}", named())
            .unwrap_err()
            .contains("non-numeric user (app)")
    );
    assert!(
        check("{runAsNonRoot: true, runAsUser: 0}", uid(1000))
            .unwrap_err()
            .contains("breaks non-root policy")
    );
}
