//! What a hook's request can reach: what the container can, and nothing else.

use std::fs;
use std::net::TcpStream;

use podhook_integration::cri::v1;
use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, command, tests};
use serde_json::{Value, json};

use crate::network::{Network, response};
use crate::recorded::Recorded;
use crate::script::{Error, with};
use crate::web::{asked, get, get_with, told};

pub fn tests() -> Vec<Test> {
    tests![http_reach:
        the_nodes_loopback_is_refused,
        an_address_the_pod_has_no_route_to_is_unreachable,
        a_pod_with_host_network_reaches_the_nodes_loopback,
        a_ctr_container_with_host_network_reaches_the_nodes_loopback,
        a_ctr_container_without_a_network_reaches_itself,
    ]
}

fn connect(host: Option<&str>, port: u16) -> Value {
    let host = host.map_or(json!({}), |host| json!({"host": host}));
    json!({"tcpSocket": with(json!({"port": port}), host)})
}

fn the_nodes_loopback_is_refused(node: &Node) -> Outcome {
    let server = Network::of_node()?.respond("127.0.0.1", |_| response("200 OK", "", "node"))?;
    let port = server.port;
    let pod = node.pod("own").run()?;
    for host in [
        None,
        Some("127.0.0.1"),
        Some("localhost"),
        Some("::ffff:127.0.0.1"),
    ] {
        let fields = host.map_or(json!({}), |host| json!({"host": host}));
        for hook in [get_with("/", port, fields), connect(host, port)] {
            let run = asked(&pod, &hook)?;
            let (result, status, message) = told(&run);
            assert_eq!((result, status), ("Failed", None), "{host:?} {message}");
            assert!(message.contains("connection refused"), "{host:?} {message}");
        }
    }
    assert_eq!(server.requests(), Vec::<String>::new());
    // The server is there.
    TcpStream::connect(("127.0.0.1", port))?;
    Ok(())
}

fn an_address_the_pod_has_no_route_to_is_unreachable(node: &Node) -> Outcome {
    // An address of the node's that is no neighbour of the pods; it goes with the test's bridge.
    let bridge = fs::read_to_string(node.containerd().dir().join("bridge"))?;
    let far = format!("192.0.2.{}", std::process::id() % 250 + 1);
    let added = command::stdout_of("ip", &["addr", "add", &format!("{far}/32"), "dev", &bridge]);
    // A test with another shim may have added it.
    let _ = added;
    wait::until_true("the address", SOON, || {
        std::net::TcpListener::bind((far.as_str(), 0)).is_ok()
    })?;
    let server = Network::of_node()?.respond(&far, |_| response("200 OK", "", "node"))?;
    let pod = node.pod("far").run()?;
    for (host, port) in [(far.as_str(), server.port), ("169.254.169.254", 80)] {
        let fields = json!({"host": host});
        let run = asked(&pod, &get_with("/", port, fields))?;
        let said = format!("GET http://{host}:{port}/: network is unreachable");
        assert_eq!(told(&run), ("Failed", None, said.as_str()));
        let run = asked(&pod, &connect(Some(host), port))?;
        let said = format!("connect to {host}:{port}: network is unreachable");
        assert_eq!(told(&run), ("Failed", None, said.as_str()));
    }
    assert_eq!(server.requests(), Vec::<String>::new());
    TcpStream::connect((far.as_str(), server.port))?;
    // What the pod does have a route to, it reaches: here the node's address on the pod network.
    let gateway = node_address(&pod.ip()?)?;
    let near = Network::of_node()?.respond(&gateway, |_| response("200 OK", "", "near"))?;
    let run = asked(&pod, &get_with("/", near.port, json!({"host": gateway})))?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    Ok(())
}

/// The node's address in the pod's subnet.
fn node_address(pod: &str) -> Result<String, Error> {
    let (subnet, _) = pod.rsplit_once('.').ok_or("no IPv4 address")?;
    Ok(format!("{subnet}.1"))
}

fn a_pod_with_host_network_reaches_the_nodes_loopback(node: &Node) -> Outcome {
    let server = Network::of_node()?.respond("127.0.0.1", |_| response("200 OK", "", "node"))?;
    let of_node = |options: &mut Option<v1::NamespaceOption>| {
        options.get_or_insert_default().network = v1::NamespaceMode::Node.into();
    };
    let pod = node
        .pod("host")
        .config(|config| {
            // CRI refuses a host name of its own there.
            config.hostname = String::new();
            let linux = config.linux.get_or_insert_default();
            of_node(
                &mut linux
                    .security_context
                    .get_or_insert_default()
                    .namespace_options,
            );
        })
        .run()?;
    for hook in [get("/host", server.port), connect(None, server.port)] {
        let lifecycle = json!({"postStart": hook}).to_string();
        let container = pod
            .container("main")
            .annotation("podhook.dev/lifecycle", &lifecycle)
            .config(|config| {
                let linux = config.linux.get_or_insert_default();
                of_node(
                    &mut linux
                        .security_context
                        .get_or_insert_default()
                        .namespace_options,
                );
            })
            .command(&["sleep", "600"])
            .start()?;
        assert_eq!(container.recorded()?.result("postStart"), "Succeeded");
        container.remove()?;
    }
    assert_eq!(server.requests().len(), 1);
    Ok(())
}

fn a_ctr_container_with_host_network_reaches_the_nodes_loopback(node: &Node) -> Outcome {
    let server = Network::of_node()?.respond("127.0.0.1", |_| response("200 OK", "", "node"))?;
    for hook in [
        get("/", server.port),
        get_with("/", server.port, json!({"host": "localhost"})),
    ] {
        let container = node
            .container("host")
            .flag(["--net-host"])
            .lifecycle(&json!({"postStart": hook}).to_string())
            .start(&["sleep", "600"])?;
        let run = container.recorded()?.hook("postStart")?;
        assert_eq!(told(&run), ("Succeeded", Some(200), ""));
        assert_eq!(run.text("/output"), "node");
    }
    Ok(())
}

fn a_ctr_container_without_a_network_reaches_itself(node: &Node) -> Outcome {
    let near = Network::of_node()?.respond("127.0.0.1", |_| response("200 OK", "", "node"))?;
    let container = node
        .container("alone")
        .lifecycle(&json!({"preStop": get("/bye", 8080)}).to_string())
        .start(&[
            "sh",
            "-c",
            "trap : TERM; while :; do sleep 600 & wait $!; done",
        ])?;
    let pid = container.task()?.ok_or("no task")?.pid;
    let network = Network::of_process(pid)?;
    let server = network.respond_on("127.0.0.1", 8080, |_| response("200 OK", "", "itself"))?;
    container.kill("SIGTERM")?;
    let run = container.wait_hook("preStop")?.hook("preStop")?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    assert_eq!(
        (run.text("/output"), server.requests().len()),
        ("itself", 1)
    );
    assert_eq!(near.requests(), Vec::<String>::new());
    Ok(())
}
