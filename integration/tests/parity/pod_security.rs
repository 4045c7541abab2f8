//! Users, capabilities, seccomp, read-only trees: the same for the container's process and for what is executed in it.

use std::fs;

use podhook_integration::cri::v1;
use podhook_integration::node::{Pod, PodContainer, PodContainerBuilder};
use podhook_integration::suite::Test;
use podhook_integration::{Node, Outcome, tests};

pub fn tests() -> Vec<Test> {
    tests![pod_security:
        user_and_groups_are_those_of_the_container,
        a_user_by_name_is_looked_up_in_the_image,
        all_capabilities_can_be_dropped,
        a_capability_can_be_added,
        no_new_privileges_holds_for_execs_too,
        the_default_seccomp_profile_is_on,
        an_unconfined_container_has_no_seccomp_profile,
        a_seccomp_profile_of_the_node_holds_for_execs_too,
        a_read_only_root_cannot_be_written,
        masked_and_read_only_paths_are_so,
        a_privileged_container_sees_the_devices,
        sysctls_of_the_pod_are_set,
        a_device_of_the_node_is_mapped,
    ]
}

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const SLEEP: [&str; 2] = ["sleep", "600"];

fn secure<'a>(
    pod: &'a Pod<'a>,
    change: impl FnOnce(&mut v1::LinuxContainerSecurityContext),
) -> PodContainerBuilder<'a> {
    pod.container("main").command(&SLEEP).config(|config| {
        change(
            config
                .linux
                .get_or_insert_default()
                .security_context
                .get_or_insert_default(),
        );
    })
}

/// A line of /proc/PID/status, which must be the same for the container's process and an exec.
fn status(container: &PodContainer<'_>, name: &str) -> Fallible<String> {
    let line =
        |pid: &str| container.exec(&["grep", &format!("^{name}:"), &format!("/proc/{pid}/status")]);
    let (first, exec) = (line("1")?, line("self")?);
    assert_eq!(first, exec, "an exec differs");
    Ok(first
        .split_once(':')
        .unwrap_or_default()
        .1
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" "))
}

fn user_and_groups_are_those_of_the_container(node: &Node) -> Outcome {
    let pod = node.pod("user").run()?;
    let container = secure(&pod, |security| {
        security.run_as_user = Some(v1::Int64Value { value: 1234 });
        security.run_as_group = Some(v1::Int64Value { value: 2345 });
        security.supplemental_groups = vec![3456, 4567];
    })
    .start()?;
    assert_eq!(status(&container, "Uid")?, "1234 1234 1234 1234");
    assert_eq!(status(&container, "Gid")?, "2345 2345 2345 2345");
    let groups = status(&container, "Groups")?;
    assert!(groups.ends_with("3456 4567"), "{groups}");
    assert_eq!(status(&container, "CapEff")?, "0000000000000000");
    Ok(())
}

fn a_user_by_name_is_looked_up_in_the_image(node: &Node) -> Outcome {
    let pod = node.pod("name").run()?;
    let container = secure(&pod, |security| {
        security.run_as_username = "www-data".to_owned()
    })
    .start()?;
    assert_eq!(status(&container, "Uid")?, "33 33 33 33");
    assert_eq!(status(&container, "Gid")?, "33 33 33 33");
    Ok(())
}

fn all_capabilities_can_be_dropped(node: &Node) -> Outcome {
    let pod = node.pod("drop").run()?;
    let container = secure(&pod, |security| {
        security.capabilities = Some(v1::Capability {
            drop_capabilities: vec!["ALL".to_owned()],
            ..Default::default()
        });
    })
    .start()?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&container, set)?, "0000000000000000", "{set}");
    }
    Ok(())
}

fn a_capability_can_be_added(node: &Node) -> Outcome {
    let pod = node.pod("add").run()?;
    let container = secure(&pod, |security| {
        security.capabilities = Some(v1::Capability {
            drop_capabilities: vec!["ALL".to_owned()],
            add_capabilities: vec!["NET_ADMIN".to_owned()],
            ..Default::default()
        });
    })
    .start()?;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(&container, set)?, "0000000000001000", "{set}");
    }
    // The namespace is the pod's: its administrator may do as much.
    container.exec(&["ip", "link", "add", "dummy", "type", "bridge"])?;
    Ok(())
}

fn no_new_privileges_holds_for_execs_too(node: &Node) -> Outcome {
    let pod = node.pod("nnp").run()?;
    for wanted in [false, true] {
        let container = secure(&pod, |security| security.no_new_privs = wanted)
            .config(|config| config.metadata.get_or_insert_default().name = format!("c{wanted}"))
            .start()?;
        assert_eq!(
            status(&container, "NoNewPrivs")?,
            i32::from(wanted).to_string()
        );
    }
    Ok(())
}

fn seccomp(kind: v1::security_profile::ProfileType, path: &str) -> Option<v1::SecurityProfile> {
    Some(v1::SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: path.to_owned(),
    })
}

fn the_default_seccomp_profile_is_on(node: &Node) -> Outcome {
    let pod = node.pod("seccomp").run()?;
    let container = secure(&pod, |security| {
        security.seccomp = seccomp(v1::security_profile::ProfileType::RuntimeDefault, "");
    })
    .start()?;
    assert_eq!(status(&container, "Seccomp")?, "2");
    // Another user namespace needs no capability, but the profile's permission.
    let answer = container.exec_within(60, &["unshare", "-U", "true"])?;
    assert_ne!(answer.exit_code, 0);
    assert!(
        String::from_utf8_lossy(&answer.stderr).contains("not permitted"),
        "{answer:?}"
    );
    Ok(())
}

fn an_unconfined_container_has_no_seccomp_profile(node: &Node) -> Outcome {
    let pod = node.pod("unconfined").run()?;
    let container = secure(&pod, |security| {
        security.seccomp = seccomp(v1::security_profile::ProfileType::Unconfined, "");
    })
    .start()?;
    assert_eq!(status(&container, "Seccomp")?, "0");
    Ok(())
}

fn a_seccomp_profile_of_the_node_holds_for_execs_too(node: &Node) -> Outcome {
    let profile = node.containerd().dir().join("no-mkdir.json");
    fs::write(
        &profile,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42}]}"#,
    )?;
    let pod = node.pod("localhost").run()?;
    let container = secure(&pod, |security| {
        security.seccomp = seccomp(
            v1::security_profile::ProfileType::Localhost,
            &profile.display().to_string(),
        );
    })
    .start()?;
    assert_eq!(status(&container, "Seccomp")?, "2");
    let answer = container.exec_within(60, &["mkdir", "/tmp/folder"])?;
    // ENOMSG, which nothing else would give.
    assert!(
        String::from_utf8_lossy(&answer.stderr).contains("No message of desired type"),
        "{answer:?}"
    );
    container.exec(&["touch", "/tmp/file"])?;
    Ok(())
}

fn a_read_only_root_cannot_be_written(node: &Node) -> Outcome {
    let pod = node.pod("read-only").run()?;
    let data = node.containerd().dir().join("read-only-data");
    fs::create_dir_all(&data)?;
    let container = secure(&pod, |security| security.readonly_rootfs = true)
        .host_path(&data, "/data")
        .start()?;
    let answer = container.exec_within(60, &["touch", "/file"])?;
    assert!(
        String::from_utf8_lossy(&answer.stderr).contains("Read-only file system"),
        "{answer:?}"
    );
    container.exec(&["touch", "/data/file", "/dev/shm/file"])?;
    Ok(())
}

fn masked_and_read_only_paths_are_so(node: &Node) -> Outcome {
    let pod = node.pod("masked").run()?;
    let container = secure(&pod, |security| {
        security.masked_paths = vec!["/proc/timer_list".to_owned(), "/usr/share".to_owned()];
        security.readonly_paths = vec!["/proc/sys".to_owned(), "/home".to_owned()];
    })
    .start()?;
    assert_eq!(container.exec(&["cat", "/proc/timer_list"])?, "");
    assert_eq!(container.exec(&["ls", "/usr/share"])?, "");
    for path in ["/home/file", "/proc/sys/kernel/domainname"] {
        let answer = container.exec_within(60, &["sh", "-c", &format!("echo x > {path}")])?;
        assert_ne!(answer.exit_code, 0, "{path}");
    }
    Ok(())
}

fn a_privileged_container_sees_the_devices(node: &Node) -> Outcome {
    let pod = node
        .pod("privileged")
        .config(|config| {
            let linux = config.linux.get_or_insert_default();
            linux.security_context.get_or_insert_default().privileged = true;
        })
        .run()?;
    let container = secure(&pod, |security| security.privileged = true).start()?;
    assert_eq!(status(&container, "Seccomp")?, "0");
    let full = fs::read_to_string("/proc/self/status")?;
    let bounding = full
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .unwrap_or_default()
        .trim()
        .to_owned();
    assert_eq!(status(&container, "CapEff")?, bounding);
    container.exec(&["ls", "/dev/kmsg"])?;
    container.exec(&["sh", "-c", "mkdir /tmp/m && mount -t tmpfs none /tmp/m"])?;
    Ok(())
}

fn sysctls_of_the_pod_are_set(node: &Node) -> Outcome {
    let pod = node
        .pod("sysctl")
        .config(|config| {
            let linux = config.linux.get_or_insert_default();
            linux.sysctls.insert(
                "net.ipv4.ip_local_port_range".to_owned(),
                "4242 4343".to_owned(),
            );
            linux
                .sysctls
                .insert("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
        })
        .run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    let range = container.exec(&["cat", "/proc/sys/net/ipv4/ip_local_port_range"])?;
    assert_eq!(
        range.split_whitespace().collect::<Vec<_>>(),
        ["4242", "4343"]
    );
    assert_eq!(
        container.exec(&["cat", "/proc/sys/kernel/shm_rmid_forced"])?,
        "1\n"
    );
    Ok(())
}

fn a_device_of_the_node_is_mapped(node: &Node) -> Outcome {
    let pod = node.pod("device").run()?;
    let container = pod
        .container("main")
        .config(|config| {
            config.devices.push(v1::Device {
                host_path: "/dev/full".to_owned(),
                container_path: "/dev/mapped".to_owned(),
                permissions: "rw".to_owned(),
            });
        })
        .command(&SLEEP)
        .start()?;
    let answer = container.exec_within(60, &["sh", "-c", "echo x > /dev/mapped"])?;
    assert!(
        String::from_utf8_lossy(&answer.stderr).contains("No space left"),
        "{answer:?}"
    );
    Ok(())
}
