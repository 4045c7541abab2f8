//! `httpGet` and `tcpSocket` against servers in a pod's network namespace.

use std::fs::File;
use std::os::fd::AsFd;

use podhook_hooks::handler::net::{HttpGet, Network, http_get};
use podhook_hooks::lifecycle::{Scheme, Statuses};

use crate::pod_network::{Get, PATIENCE, PodNetwork, V4, V6, response, within};

#[test]
fn a_response_of_200_to_399_is_success_and_its_body_is_kept() {
    let pod = PodNetwork::new();
    for status in [
        "200 OK",
        "204 No Content",
        "304 Not Modified",
        "399 Odd",
        "302 Found",
    ] {
        let body = if status.starts_with("200") {
            "drained\n"
        } else {
            ""
        };
        let server = pod.respond("127.0.0.1", move |_| response(status, "", body));
        let outcome = pod.get(server.port, "/drain?now=1");
        assert_eq!(outcome.result, Ok(()), "{status}");
        assert_eq!(outcome.status, status[..3].parse().ok());
        assert_eq!(outcome.body, body.as_bytes());
        assert_eq!(server.targets(), ["/drain?now=1"]);
    }
}

#[test]
fn any_other_status_is_a_failure_that_says_url_and_status() {
    let pod = PodNetwork::new();
    for (status, said) in [
        ("404 Not Found", "404 Not Found"),
        ("500 permission denied", "500 Internal Server Error"),
        ("599 Whatever", "599"),
        ("400 Bad Request", "400 Bad Request"),
    ] {
        let server = pod.respond("127.0.0.1", move |_| response(status, "", "why"));
        let outcome = pod.get(server.port, "/drain");
        let url = format!("http://127.0.0.1:{}/drain", server.port);
        assert_eq!(
            outcome.result,
            Err(format!("GET {url}: HTTP status {said}"))
        );
        assert_eq!(outcome.status, said[..3].parse().ok());
        assert_eq!(outcome.body, b"why");
    }
}

#[test]
fn interim_responses_are_passed_over_and_a_protocol_is_not_switched() {
    let pod = PodNetwork::new();
    let server = pod.respond("127.0.0.1", |_| {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        format!("{interim}{}", response("200 OK", "", "drained"))
    });
    let outcome = pod.get(server.port, "/");
    assert_eq!((outcome.status, outcome.result), (Some(200), Ok(())));
    assert_eq!(outcome.body, b"drained");
    let server = pod.respond("127.0.0.1", |_| {
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_owned()
    });
    let said = pod.get(server.port, "/").result.unwrap_err();
    let url = format!("GET http://127.0.0.1:{}/: ", server.port);
    assert!(said.starts_with(&url) && said.contains("101"), "{said}");
}

#[test]
fn the_request_has_the_users_headers_and_ours() {
    let pod = PodNetwork::with_addresses(&[V4]);
    let server = pod.respond(V4, |_| response("200 OK", "", ""));
    let headers = [("x-reason", "stop"), ("X-Reason", "again"), ("Accept", "")];
    let get = Get {
        headers: &headers,
        ..Get::new(server.port, "/a b?c d")
    };
    assert_eq!(pod.request(get).result, Ok(()));
    let host = [("Host", "shop.example")];
    let get = Get {
        headers: &host,
        ..Get::new(server.port, "/")
    };
    assert_eq!(pod.request(get).result, Ok(()));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        server.requests(),
        [
            format!(
                "GET /a%20b?c%20d HTTP/1.1\r\nHost: {V4}:{}\r\nUser-Agent: podhook/{version}\r\n\
                 Connection: close\r\nX-Reason: stop\r\nX-Reason: again\r\n\r\n",
                server.port
            ),
            format!(
                "GET / HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: podhook/{version}\r\n\
                 Accept: */*\r\nConnection: close\r\n\r\n"
            ),
        ]
    );
}

#[test]
fn a_server_on_one_address_only_is_found() {
    let both = [V4, V6];
    for (has, listens) in [
        (&both[..], V4),
        (&both, V6),
        (&both, "127.0.0.1"),
        (&both, "::1"),
        (&both[..1], V4),
        (&both[1..], V6),
        (&both[..0], "127.0.0.1"),
        (&both[..0], "::1"),
    ] {
        let pod = PodNetwork::with_addresses(has);
        let server = pod.respond(listens, |_| response("200 OK", "", ""));
        let outcome = pod.get(server.port, "/");
        assert_eq!(outcome.result, Ok(()), "{has:?} {listens}");
        let host = if listens.contains(':') {
            format!("\r\nHost: [{listens}]:{}\r\n", server.port)
        } else {
            format!("\r\nHost: {listens}:{}\r\n", server.port)
        };
        assert!(server.requests()[0].contains(&host), "{host}");
        assert_eq!(pod.connect(None, server.port), Ok(()));
    }
}

#[test]
fn the_pods_own_network_comes_before_others_whatever_their_index() {
    let pod = PodNetwork::with_commands(&[
        "link set lo up",
        "addr add 10.7.0.1/32 dev lo",
        "link add net1 type veth peer name eth0",
        "link set net1 up",
        "link set eth0 up",
        "addr add 10.8.0.5/24 dev net1",
        "addr add 169.254.7.7/16 dev eth0",
        "addr add 10.9.0.5/24 dev eth0",
        "addr add 10.9.0.6/24 dev eth0",
    ]);
    let server = pod.respond("0.0.0.0", |_| response("200 OK", "", ""));
    assert_eq!(pod.get(server.port, "/").result, Ok(()));
    assert!(server.requests()[0].contains("\r\nHost: 10.9.0.5:"));
}

#[test]
fn where_nobody_listens_every_address_is_named() {
    let pod = PodNetwork::with_addresses(&[V4]);
    let tried = "connection refused; 127.0.0.1:9: connection refused; [::1]:9: connection refused";
    let outcome = pod.get(9, "/drain");
    assert_eq!(
        outcome.result,
        Err(format!("GET http://{V4}:9/drain: {tried}"))
    );
    assert_eq!((outcome.status, outcome.body.len()), (None, 0));
    assert_eq!(
        pod.connect(None, 9),
        Err(format!("connect to {V4}:9: {tried}"))
    );
}

#[test]
fn a_given_host_is_the_only_one_tried() {
    let pod = PodNetwork::with_addresses(&[V4, V6]);
    let server = pod.respond("127.0.0.1", |_| response("200 OK", "", ""));
    let port = server.port;
    for host in ["127.0.0.1", "localhost", "::ffff:127.0.0.1"] {
        let host = Some(host);
        assert_eq!(pod.connect(host, port), Ok(()), "{host:?}");
        let get = Get {
            host,
            ..Get::new(port, "/")
        };
        assert_eq!(pod.request(get).result, Ok(()), "{host:?}");
    }
    assert!(server.requests()[1].contains(&format!("\r\nHost: localhost:{port}\r\n")));
    assert_eq!(
        pod.connect(Some(V4), port),
        Err(format!("connect to {V4}:{port}: connection refused"))
    );
    assert_eq!(
        pod.connect(Some("[::1]"), port),
        Err(format!("connect to [::1]:{port}: connection refused"))
    );
    assert_eq!(
        pod.connect(Some("203.0.113.1"), port),
        Err(format!(
            "connect to 203.0.113.1:{port}: network is unreachable"
        ))
    );
}

#[test]
fn a_link_local_host_takes_its_interface_from_the_pod() {
    let pod = PodNetwork::with_commands(&[
        "link set lo up",
        "link add podnet7 type veth peer name far0",
        "addr add fe80::7/64 dev podnet7 nodad",
        "link set podnet7 up",
        "link set far0 up",
    ]);
    let server = pod.respond("::", |_| response("200 OK", "", ""));
    let get = Get {
        host: Some("fe80::7%podnet7"),
        ..Get::new(server.port, "/")
    };
    assert_eq!(pod.request(get).result, Ok(()));
    assert!(server.requests()[0].contains("\r\nHost: [fe80::7]:"));
    assert_eq!(
        pod.connect(Some("fe80::7%nowhere"), 80),
        Err("connect to [fe80::7]:80: no interface nowhere in the pod".to_owned())
    );
}

#[test]
fn the_nodes_loopback_is_out_of_reach() {
    let node = PodNetwork::of_the_node();
    let server = node.respond("127.0.0.1", |_| response("200 OK", "", "node"));
    let pod = PodNetwork::with_addresses(&[V4]);
    for host in [None, Some("127.0.0.1"), Some("localhost")] {
        assert!(pod.connect(host, server.port).is_err(), "{host:?}");
        let get = Get {
            host,
            ..Get::new(server.port, "/")
        };
        let outcome = pod.request(get);
        assert!(
            outcome.result.is_err_and(|said| said.contains("refused")),
            "{host:?}"
        );
    }
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[test]
fn a_pod_with_host_network_reaches_the_nodes_loopback() {
    let node = PodNetwork::of_the_node();
    let server = node.respond("127.0.0.1", |_| response("200 OK", "", "node"));
    assert_eq!(node.get(server.port, "/").body, b"node");
    assert_eq!(node.connect(None, server.port), Ok(()));
}

#[test]
fn what_is_no_network_namespace_is_an_error_and_the_node_stays_where_it_is() {
    let not = File::open("/dev/null").unwrap();
    let request = HttpGet {
        path: "/",
        port: 80,
        host: None,
        scheme: Scheme::Http,
        headers: &[],
    };
    let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let network = Network {
        netns: not.as_fd(),
        root: not.as_fd(),
    };
    let outcome = within(PATIENCE, http_get(network, &request, Statuses::default())).unwrap();
    assert_eq!(
        outcome.result,
        Err("GET http://:80/: enter the network namespace: invalid argument".to_owned())
    );
    assert_eq!(
        std::fs::read_link("/proc/thread-self/ns/net").unwrap(),
        before
    );
}

#[test]
fn a_namespace_without_any_interface_up_says_so() {
    let pod = PodNetwork::with_commands(&[]);
    let said = pod.connect(None, 80).unwrap_err();
    assert!(
        said.starts_with("connect to 127.0.0.1:80: network is unreachable; [::1]:80: "),
        "{said}"
    );
}

#[test]
fn a_path_no_request_line_can_hold_is_an_error() {
    let pod = PodNetwork::new();
    let server = pod.respond("127.0.0.1", |_| response("200 OK", "", ""));
    let outcome = pod.get(server.port, &format!("/{}", "x".repeat(100_000)));
    let said = outcome.result.unwrap_err();
    assert!(
        said.ends_with(": path: uri too long") && said.len() < 400,
        "{said}"
    );
}
