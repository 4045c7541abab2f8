//! Hosts of hooks that are names: they mean what they mean to the container.

use std::net::Ipv4Addr;

use podhook_integration::cri::v1;
use podhook_integration::node::Pod;
use podhook_integration::suite::Test;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::network::{Network, response};
use crate::recorded::Recorded;
use crate::script::Error;
use crate::web::{asked, get_with, told};

pub fn tests() -> Vec<Test> {
    tests![names:
        a_service_name_is_looked_up_by_the_pods_name_servers,
        a_name_of_the_containers_hosts_file_is_found,
        a_name_that_nobody_knows_fails_the_hook_and_says_so,
        a_name_server_that_never_answers_ends_with_the_hooks_timeout,
    ]
}

const SERVER: &str = "127.0.0.53";

/// With the resolver configuration that a kubelet gives a pod.
fn pod<'a>(node: &'a Node, name: &str, options: &[&str]) -> Result<Pod<'a>, Error> {
    let options = [&["ndots:5"], options].concat();
    node.pod(name)
        .config(|config| {
            config.dns_config = Some(v1::DnsConfig {
                servers: vec![SERVER.to_owned()],
                searches: ["shop.svc.cluster.local", "svc.cluster.local"]
                    .map(str::to_owned)
                    .to_vec(),
                options: options.into_iter().map(str::to_owned).collect(),
            });
        })
        .run()
}

fn connect(host: &str, port: u16) -> Value {
    json!({"tcpSocket": {"host": host, "port": port}})
}

fn a_service_name_is_looked_up_by_the_pods_name_servers(node: &Node) -> Outcome {
    let pod = pod(node, "service", &[])?;
    let network = Network::of_pod(&pod)?;
    let ip: Ipv4Addr = pod.ip()?.parse()?;
    let names = network.names(SERVER, move |name| match name {
        "db.shop.svc.cluster.local" => Some(vec![ip]),
        _ => Some(Vec::new()),
    })?;
    let server = network.respond(&ip.to_string(), |_| response("200 OK", "", "db"))?;
    for host in ["db", "db.shop"] {
        let run = asked(&pod, &get_with("/", server.port, json!({"host": host})))?;
        assert_eq!(told(&run), ("Succeeded", Some(200), ""), "{host}");
        let run = asked(&pod, &connect(host, server.port))?;
        assert_eq!(told(&run), ("Succeeded", None, ""), "{host}");
    }
    let expected = [
        "db.shop.svc.cluster.local",
        "db.shop.shop.svc.cluster.local",
    ];
    assert_eq!(names.asked(), expected);
    // The server sees who was asked for.
    let host = format!("\r\nHost: db:{}\r\n", server.port);
    assert!(
        server.requests()[0].contains(&host),
        "{:?}",
        server.requests()
    );
    Ok(())
}

fn a_name_of_the_containers_hosts_file_is_found(node: &Node) -> Outcome {
    let script = "echo '127.0.0.1 web' > /etc/hosts; mkdir /www; echo hello > /www/index.html; \
                  httpd -p 8080 -h /www; echo ready; trap 'exit 0' TERM; while :; do usleep 20000; done";
    let web = node
        .container("web")
        .lifecycle(r#"{"preStop": {"httpGet": {"host": "web", "port": 8080}}}"#)
        .start(&["sh", "-c", script])?;
    web.wait_output("ready", SOON)?;
    web.kill("SIGTERM")?;
    assert_eq!(web.wait_exit(SOON)?, 0);
    let run = web.wait_end()?.hook("preStop")?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    assert_eq!(run.text("/output"), "hello\n");
    Ok(())
}

fn a_name_that_nobody_knows_fails_the_hook_and_says_so(node: &Node) -> Outcome {
    let pod = pod(node, "unknown", &[])?;
    // Nobody listens.
    let run = asked(&pod, &connect("db", 5432))?;
    let said = format!("connect to db:5432: lookup db on {SERVER}:53: connection refused");
    assert_eq!(told(&run), ("Failed", None, said.as_str()));
    let _names = Network::of_pod(&pod)?.names(SERVER, |_| Some(Vec::new()))?;
    let run = asked(&pod, &get_with("/", 80, json!({"host": "db.shop"})))?;
    let said = format!("GET http://db.shop:80/: lookup db.shop on {SERVER}:53: no such host");
    assert_eq!(told(&run), ("Failed", None, said.as_str()));
    Ok(())
}

fn a_name_server_that_never_answers_ends_with_the_hooks_timeout(node: &Node) -> Outcome {
    let pod = pod(node, "silent", &["timeout:30", "attempts:5"])?;
    let _names = Network::of_pod(&pod)?.names(SERVER, |_| None)?;
    let mut hook = connect("db", 5432);
    hook["timeoutSeconds"] = json!(1);
    let run = asked(&pod, &hook)?;
    assert_eq!(
        told(&run),
        ("TimedOut", None, "timed out after 1s (timeoutSeconds)")
    );
    Ok(())
}
