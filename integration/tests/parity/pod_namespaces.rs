//! What the containers of a pod share with each other and with the node.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use podhook_integration::cri::v1;
use podhook_integration::node::PodBuilder;
use podhook_integration::suite::{Test, unless};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, OciRuntime, Outcome, Place, ShimKind, tests};

pub fn tests() -> Vec<Test> {
    let mut all = tests![pod_namespaces:
        a_pod_on_the_nodes_network_has_the_nodes_namespace,
        a_pod_with_the_nodes_processes_sees_them,
        what_a_container_leaves_among_the_nodes_processes_ends_with_it,
        containers_of_a_shared_process_namespace_see_each_other,
        what_a_container_leaves_in_a_shared_process_namespace_ends_with_it,
        a_pod_with_the_nodes_ipc_has_the_nodes_namespace,
        containers_share_memory_and_ipc,
        the_hostname_is_the_pods,
        a_folder_of_the_node_is_shared,
        a_read_only_folder_cannot_be_written,
        containers_have_files_of_their_own,
    ];
    all.extend(unless(
        tests![pod_namespaces: later_mounts_of_the_node_arrive_if_asked_for],
        |place| {
            place
                .runtime
                .is_crun()
                .then_some("containerd has mounts of its own there")
        },
    ));
    all.extend(unless(
        tests![pod_namespaces:
            a_pod_with_users_of_its_own_maps_them,
            an_exec_in_a_pod_with_users_of_its_own_is_mapped,
        ],
        own_users,
    ));
    all
}

const SLEEP: [&str; 2] = ["sleep", "600"];

fn own_users(place: Place) -> Option<&'static str> {
    match (place.generation, place.shim) {
        (Generation::V1_6 | Generation::V1_7, _) => {
            Some("user namespaces of pods came with containerd 2.0")
        }
        _ if place.oci() == OciRuntime::Runc1_1 => {
            Some("runc 1.1 maps no ids of volumes, which containerd 2 asks for")
        }
        (Generation::V2, ShimKind::PodhookV1) => {
            Some("containerd 2.1 asks only io.containerd.runc.v2 whether it knows user namespaces")
        }
        _ => None,
    }
}

fn options(pod: PodBuilder<'_>, change: impl FnOnce(&mut v1::NamespaceOption)) -> PodBuilder<'_> {
    pod.config(|config| {
        let linux = config.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        change(security.namespace_options.get_or_insert_default());
    })
}

fn own(name: &str) -> std::io::Result<String> {
    let link = fs::read_link(format!("/proc/self/ns/{name}"))?;
    Ok(format!("{}\n", link.display()))
}

fn a_pod_on_the_nodes_network_has_the_nodes_namespace(node: &Node) -> Outcome {
    let host = |o: &mut v1::NamespaceOption| o.network = v1::NamespaceMode::Node.into();
    let pod = options(node.pod("host-net"), host)
        .config(|config| config.hostname.clear())
        .run()?;
    let container = pod
        .container("main")
        .namespaces(host)
        .command(&SLEEP)
        .start()?;
    for pid in ["self", "1"] {
        assert_eq!(
            container.exec(&["readlink", &format!("/proc/{pid}/ns/net")])?,
            own("net")?
        );
    }
    Ok(())
}

fn a_pod_with_the_nodes_processes_sees_them(node: &Node) -> Outcome {
    let host = |o: &mut v1::NamespaceOption| o.pid = v1::NamespaceMode::Node.into();
    let pod = options(node.pod("host-pid"), host).run()?;
    let container = pod
        .container("main")
        .namespaces(host)
        .command(&SLEEP)
        .start()?;
    assert_eq!(
        container.exec(&["readlink", "/proc/self/ns/pid"])?,
        own("pid")?
    );
    let pid = std::process::id().to_string();
    container.exec(&["test", "-d", &format!("/proc/{pid}")])?;
    Ok(())
}

fn what_a_container_leaves_among_the_nodes_processes_ends_with_it(node: &Node) -> Outcome {
    let host = |o: &mut v1::NamespaceOption| o.pid = v1::NamespaceMode::Node.into();
    let pod = options(node.pod("host-pid-left"), host).run()?;
    let script = "sleep 600 & echo $!; read _";
    let container = pod
        .container("main")
        .namespaces(host)
        .config(|config| config.stdin = true)
        .command(&["sh", "-c", script])
        .start()?;
    wait::until_true("the child's pid", SOON, || {
        container.log().is_ok_and(|log| !log.is_empty())
    })?;
    let child = container.log()?[0].1.clone();
    let alive = || {
        fs::read_to_string(format!("/proc/{child}/cmdline"))
            .is_ok_and(|line| line.starts_with("sleep"))
    };
    // The shell tells its pid before it is sleep.
    wait::until_true("the child to run", SOON, alive)?;
    let mut client = container.attach(false)?;
    client.write(b"\n")?;
    container.wait_exit(SOON)?;
    wait::until_true("the child to end", SOON, || !alive())?;
    Ok(())
}

fn containers_of_a_shared_process_namespace_see_each_other(node: &Node) -> Outcome {
    let pod = node.pod("shared").shared_pid().run()?;
    let one = pod
        .container("one")
        .shared_pid()
        .command(&["sleep", "601"])
        .start()?;
    let two = pod
        .container("two")
        .shared_pid()
        .command(&["sleep", "602"])
        .start()?;
    // A start may return a moment before the OCI runtime's process has become the command.
    wait::until_true("pause and both containers", SOON, || {
        one.exec(&["ps", "-o", "args"]).is_ok_and(|processes| {
            ["/pause", "sleep 601", "sleep 602"]
                .iter()
                .all(|wanted| processes.contains(wanted))
        })
    })?;
    one.stop(0)?;
    let processes = two.exec(&["ps", "-o", "args"])?;
    assert!(!processes.contains("sleep 601"), "{processes}");
    assert_eq!(two.state()?, "CONTAINER_RUNNING");
    Ok(())
}

fn what_a_container_leaves_in_a_shared_process_namespace_ends_with_it(node: &Node) -> Outcome {
    let pod = node.pod("left").shared_pid().run()?;
    let other = pod
        .container("other")
        .shared_pid()
        .command(&SLEEP)
        .start()?;
    let container = pod
        .container("main")
        .shared_pid()
        .command(&["sh", "-c", "setsid sleep 603 & sleep 0.3; exit 4"])
        .start()?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 4);
    wait::until_true("the child to end", SOON, || {
        other
            .exec(&["ps", "-o", "args"])
            .is_ok_and(|processes| !processes.contains("sleep 603"))
    })?;
    assert_eq!(other.state()?, "CONTAINER_RUNNING");
    Ok(())
}

fn a_pod_with_the_nodes_ipc_has_the_nodes_namespace(node: &Node) -> Outcome {
    let host = |o: &mut v1::NamespaceOption| o.ipc = v1::NamespaceMode::Node.into();
    let pod = options(node.pod("host-ipc"), host).run()?;
    let container = pod
        .container("main")
        .namespaces(host)
        .command(&SLEEP)
        .start()?;
    assert_eq!(
        container.exec(&["readlink", "/proc/self/ns/ipc"])?,
        own("ipc")?
    );
    Ok(())
}

fn containers_share_memory_and_ipc(node: &Node) -> Outcome {
    let pod = node.pod("shm").run()?;
    let one = pod.container("one").command(&SLEEP).start()?;
    let two = pod.container("two").command(&SLEEP).start()?;
    one.exec(&["sh", "-c", "echo shared > /dev/shm/file"])?;
    assert_eq!(two.exec(&["cat", "/dev/shm/file"])?, "shared\n");
    let ipc = ["readlink", "/proc/self/ns/ipc"];
    assert_eq!(one.exec(&ipc)?, two.exec(&ipc)?);
    assert_ne!(one.exec(&ipc)?, own("ipc")?);
    Ok(())
}

fn the_hostname_is_the_pods(node: &Node) -> Outcome {
    let pod = node
        .pod("hostname")
        .config(|config| config.hostname = "web-0".to_owned())
        .run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    assert_eq!(container.exec(&["hostname"])?, "web-0\n");
    Ok(())
}

fn a_folder_of_the_node_is_shared(node: &Node) -> Outcome {
    let pod = node.pod("volume").run()?;
    let folder = node.containerd().dir().join(format!("volume-{}", pod.id()));
    fs::create_dir(&folder)?;
    let one = pod
        .container("one")
        .host_path(&folder, "/data")
        .command(&SLEEP)
        .start()?;
    let two = pod
        .container("two")
        .host_path(&folder, "/other")
        .command(&SLEEP)
        .start()?;
    one.exec(&["sh", "-c", "echo message > /data/file"])?;
    assert_eq!(two.exec(&["cat", "/other/file"])?, "message\n");
    assert_eq!(fs::read_to_string(folder.join("file"))?, "message\n");
    assert_eq!(fs::metadata(folder.join("file"))?.uid(), 0);
    Ok(())
}

fn a_read_only_folder_cannot_be_written(node: &Node) -> Outcome {
    let pod = node.pod("volume-ro").run()?;
    let folder = node.containerd().dir().join(format!("volume-{}", pod.id()));
    fs::create_dir(&folder)?;
    let container = pod
        .container("main")
        .config(|config| {
            config.mounts.push(v1::Mount {
                host_path: folder.display().to_string(),
                container_path: "/data".to_owned(),
                readonly: true,
                ..Default::default()
            });
        })
        .command(&SLEEP)
        .start()?;
    let answer = container.exec_within(60, &["touch", "/data/file"])?;
    assert!(
        String::from_utf8_lossy(&answer.stderr).contains("Read-only"),
        "{answer:?}"
    );
    Ok(())
}

fn containers_have_files_of_their_own(node: &Node) -> Outcome {
    let pod = node.pod("files").run()?;
    let one = pod.container("one").command(&SLEEP).start()?;
    let two = pod.container("two").command(&SLEEP).start()?;
    one.exec(&["touch", "/tmp/mine"])?;
    assert_ne!(two.exec_within(60, &["ls", "/tmp/mine"])?.exit_code, 0);
    Ok(())
}

fn later_mounts_of_the_node_arrive_if_asked_for(node: &Node) -> Outcome {
    let pod = node.pod("propagation").run()?;
    let folder = node.containerd().dir().join(format!("volume-{}", pod.id()));
    fs::create_dir_all(folder.join("later"))?;
    // A mount of its own, so that it can be shared whatever the node's root is.
    let none: Option<&str> = None;
    mount(Some(&folder), &folder, none, MsFlags::MS_BIND, none)?;
    mount(none, &folder, none, MsFlags::MS_SHARED, none)?;
    let volume = |path: &str, propagation: v1::MountPropagation| v1::Mount {
        host_path: folder.display().to_string(),
        container_path: path.to_owned(),
        propagation: propagation.into(),
        ..Default::default()
    };
    let mounts = vec![
        volume("/private", v1::MountPropagation::PropagationPrivate),
        volume("/slave", v1::MountPropagation::PropagationHostToContainer),
    ];
    let container = pod
        .container("main")
        .config(|config| config.mounts = mounts)
        .command(&SLEEP)
        .start()?;
    mount(
        Some("none"),
        &folder.join("later"),
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )?;
    fs::write(folder.join("later/file"), "late")?;
    let seen = container.exec_within(60, &["cat", "/slave/later/file"]);
    let hidden = container.exec_within(60, &["cat", "/private/later/file"]);
    umount2(&folder, MntFlags::MNT_DETACH)?;
    assert_eq!(seen?.stdout, b"late");
    assert_ne!(hidden?.exit_code, 0);
    Ok(())
}

/// Root in the pod is user 700000 of the node.
fn with_own_users(options: &mut v1::NamespaceOption) {
    let mapping = vec![v1::IdMapping {
        host_id: 700_000,
        container_id: 0,
        length: 65_536,
    }];
    options.userns_options = Some(v1::UserNamespace {
        mode: v1::NamespaceMode::Pod.into(),
        uids: mapping.clone(),
        gids: mapping,
    });
}

fn a_pod_with_users_of_its_own_maps_them(node: &Node) -> Outcome {
    let pod = options(node.pod("userns"), with_own_users).run()?;
    let container = pod
        .container("main")
        .namespaces(with_own_users)
        .command(&[
            "sh",
            "-c",
            "id -u; ls -ldn /etc | awk '{print $3}'; exec sleep 600",
        ])
        .start()?;
    container.wait_log("0", SOON)?;
    let owner = fs::metadata(format!("/proc/{}", container.pid()?))?.uid();
    assert_eq!(owner, 700_000);
    wait::until_true("both lines", SOON, || {
        container.log().is_ok_and(|log| log.len() == 2)
    })?;
    assert!(
        container.log()?.iter().all(|(_, line)| line == "0"),
        "{:?}",
        container.log()?
    );
    Ok(())
}

fn an_exec_in_a_pod_with_users_of_its_own_is_mapped(node: &Node) -> Outcome {
    let pod = options(node.pod("userns-exec"), with_own_users).run()?;
    let container = pod
        .container("main")
        .namespaces(with_own_users)
        .command(&SLEEP)
        .start()?;
    let map = container.exec(&["cat", "/proc/self/uid_map"])?;
    assert_eq!(
        map.split_whitespace().collect::<Vec<_>>(),
        ["0", "700000", "65536"]
    );
    assert_eq!(container.exec(&["id", "-u"])?, "0\n");
    container.exec(&["sh", "-c", "echo x > /tmp/file && chown 33 /tmp/file"])?;
    let user = ["readlink", "/proc/self/ns/user"];
    assert_ne!(container.exec(&user)?, own("user")?);
    let mut stream = container.exec_stream(&["sh", "-c", "read _; tty; id -u"], true)?;
    stream.write(b"\n")?;
    assert_eq!(stream.exit_status(SOON)?, 0);
    assert!(
        stream.stdout().contains("/dev/pts/0"),
        "{}",
        stream.stdout()
    );
    Ok(())
}
