//! Hosts that are names: what they mean to the container.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use podhook_hooks::handler::net::tcp_connect;
use podhook_hooks::lifecycle::Scheme;

use crate::dns::{Dns, Reply};
use crate::pod_network::{Get, PodNetwork, Server, V4, response, within};

/// Where the name server of a test is.
const SERVER: &str = "127.0.0.53";

fn addresses(texts: &[&str]) -> Reply {
    Reply::Addresses(
        texts
            .iter()
            .map(|text| text.parse::<IpAddr>().unwrap())
            .collect(),
    )
}

fn web(pod: &PodNetwork, ip: &str) -> Server {
    pod.respond(ip, |_| response("200 OK", "", "web"))
}

fn get<'a>(host: &'a str, server: &Server) -> Get<'a> {
    Get {
        host: Some(host),
        ..Get::new(server.port, "/")
    }
}

/// Names of resolv.conf have one server, which is asked once, for at most a second.
fn ask(pod: &PodNetwork, more: &str) {
    let conf = format!("nameserver {SERVER}\noptions timeout:1 attempts:1\n{more}");
    pod.write("etc/resolv.conf", &conf);
}

#[test]
fn a_name_of_the_containers_hosts_file_is_found_without_asking_anybody() {
    let pod = PodNetwork::with_addresses(&[V4]);
    let server = web(&pod, V4);
    pod.write(
        "etc/hosts",
        &format!("127.0.0.1 localhost\n{V4} db.shop db # the service\n"),
    );
    ask(&pod, "");
    let dns = Dns::serve(&pod, SERVER, |_| addresses(&["127.0.0.1"]));
    let outcome = pod.request(get("DB", &server));
    assert_eq!((outcome.result, outcome.body), (Ok(()), b"web".to_vec()));
    assert_eq!(pod.connect(Some("db.shop."), server.port), Ok(()));
    assert_eq!(dns.asked(), [""; 0]);
    // The server is asked by the name that was given.
    assert!(server.requests()[0].contains(&format!("\r\nHost: DB:{}\r\n", server.port)));
}

#[test]
fn a_service_is_found_by_the_search_list_as_in_kubernetes() {
    let pod = PodNetwork::with_addresses(&[V4]);
    let server = web(&pod, V4);
    ask(
        &pod,
        "search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
    );
    let dns = Dns::serve(&pod, SERVER, |name| match name {
        "db.shop.svc.cluster.local" => addresses(&[V4]),
        _ => Reply::NoSuchName,
    });
    for host in ["db", "db.shop", "db.shop.svc.cluster.local."] {
        assert_eq!(pod.request(get(host, &server)).result, Ok(()), "{host}");
    }
    let expected = [
        "db.shop.svc.cluster.local",
        "db.shop.shop.svc.cluster.local",
        "db.shop.svc.cluster.local",
    ];
    assert_eq!(dns.asked(), expected);
}

#[test]
fn a_name_that_nobody_knows_says_so() {
    let pod = PodNetwork::new();
    ask(&pod, "search shop.svc\n");
    let _dns = Dns::serve(&pod, SERVER, |name| match name {
        "empty.shop.svc" => addresses(&[]),
        _ => Reply::NoSuchName,
    });
    for host in ["db", "empty"] {
        let said = pod.connect(Some(host), 5432).unwrap_err();
        let expected =
            format!("connect to {host}:5432: lookup {host} on {SERVER}:53: no such host");
        assert_eq!(said, expected);
    }
    let said = pod.request(Get {
        host: Some("db"),
        ..Get::new(80, "/drain")
    });
    let expected = format!("GET http://db:80/drain: lookup db on {SERVER}:53: no such host");
    assert_eq!((said.status, said.result), (None, Err(expected)));
}

#[test]
fn a_name_that_only_the_node_knows_is_none() {
    let pod = PodNetwork::new();
    let node = std::fs::read_to_string("/etc/hosts").unwrap();
    let names = node
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(1));
    for name in names.filter(|name| *name != "localhost" && !name.contains(':')) {
        let said = pod.connect(Some(name), 80).unwrap_err();
        // Without a resolv.conf the container's own loopback is asked, as by glibc.
        assert!(
            said.ends_with(" on 127.0.0.1:53: connection refused"),
            "{said}"
        );
    }
    let said = pod.connect(Some("a-name-of-the-node"), 80).unwrap_err();
    assert!(
        said.ends_with(" on 127.0.0.1:53: connection refused"),
        "{said}"
    );
}

#[test]
fn a_server_that_never_answers_is_given_up_and_the_next_is_asked() {
    let pod = PodNetwork::with_addresses(&[V4]);
    let server = web(&pod, V4);
    let _silent = Dns::serve(&pod, SERVER, |_| Reply::Silence);
    let _failing = Dns::serve(&pod, "127.0.0.54", |_| Reply::Failure);
    let good = Dns::serve(&pod, "127.0.0.55", |_| addresses(&[V4]));
    // Nobody listens at the first; of the last one, glibc and podhook know nothing.
    ask(
        &pod,
        "nameserver 127.0.0.54\nnameserver 127.0.0.55\nnameserver 127.0.0.56\n",
    );
    assert_eq!(pod.request(get("db", &server)).result, Ok(()));
    assert_eq!(good.asked(), ["db"]);
    ask(&pod, "");
    let said = pod.connect(Some("db"), 80).unwrap_err();
    assert!(
        said.ends_with(&format!("lookup db on {SERVER}:53: i/o timeout")),
        "{said}"
    );
    ask(&pod, "");
    pod.write("etc/resolv.conf", "nameserver 127.0.0.54");
    let said = pod.connect(Some("db"), 80).unwrap_err();
    assert!(
        said.ends_with("lookup db on 127.0.0.54:53: server misbehaving"),
        "{said}"
    );
}

#[test]
fn giving_up_ends_a_lookup_at_once() {
    let pod = PodNetwork::new();
    let _silent = Dns::serve(&pod, SERVER, |_| Reply::Silence);
    pod.write(
        "etc/resolv.conf",
        &format!("nameserver {SERVER}\noptions timeout:30 attempts:5\n"),
    );
    let begun = Instant::now();
    let connect = tcp_connect(pod.network(), Some("db"), 80);
    assert!(within(Duration::from_millis(300), connect).is_none());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn an_answer_that_fits_no_datagram_is_asked_for_over_tcp() {
    let pod = PodNetwork::with_addresses(&[V4]);
    let server = web(&pod, V4);
    let _dns = Dns::serve(&pod, SERVER, |_| Reply::TooLong(vec![V4.parse().unwrap()]));
    for options in ["", "options use-vc\n"] {
        ask(&pod, options);
        assert_eq!(
            pod.request(get("db", &server)).result,
            Ok(()),
            "{options:?}"
        );
    }
}

#[test]
fn a_name_with_ipv6_addresses_only_and_one_with_a_dead_address_first() {
    let v6 = "fd09::5";
    let pod = PodNetwork::with_addresses(&[V4, v6]);
    let server = web(&pod, v6);
    ask(&pod, "");
    let _dns = Dns::serve(&pod, SERVER, move |name| match name {
        "six" => addresses(&[v6]),
        // Both families are asked for; at the first address nobody listens.
        _ => addresses(&[v6, V4]),
    });
    for host in ["six", "both"] {
        assert_eq!(pod.request(get(host, &server)).result, Ok(()), "{host}");
    }
    let said = pod.connect(Some("both"), 9).unwrap_err();
    let expected =
        format!("connect to both:9: {V4}:9: connection refused; [{v6}]:9: connection refused");
    assert_eq!(said, expected);
}

#[test]
fn a_hostile_name_server_gets_nothing_but_an_error() {
    let pod = PodNetwork::new();
    for (number, reply, says) in [
        (1, Reply::Noise(20), "i/o timeout"),
        (2, Reply::Noise(10_000), "it answers other questions"),
        (3, Reply::Cut, "it closed the connection early"),
        (4, Reply::Addresses(vec![]), "no such host"),
    ] {
        let ip = format!("127.0.1.{number}");
        let _dns = Dns::serve(&pod, &ip, move |_| reply.clone());
        pod.write(
            "etc/resolv.conf",
            &format!("nameserver {ip}\noptions timeout:1 attempts:1\n"),
        );
        let said = pod.connect(Some("db"), 80).unwrap_err();
        assert!(said.ends_with(says), "{number}: {said}");
    }
}

#[test]
fn localhost_is_never_looked_up() {
    let pod = PodNetwork::with_addresses(&[V4]);
    let elsewhere = web(&pod, V4);
    pod.write("etc/hosts", &format!("{V4} localhost\n"));
    let said = pod.connect(Some("localhost"), elsewhere.port).unwrap_err();
    assert!(
        said.contains("127.0.0.1") && said.contains("refused"),
        "{said}"
    );
}

#[test]
fn an_https_server_is_told_the_name_that_it_was_asked_by() {
    let pod = PodNetwork::with_addresses(&[V4]);
    pod.write("etc/hosts", &format!("{V4} shop.example\n"));
    let (tell, told) = std::sync::mpsc::channel();
    let port = pod.serve(V4, move |mut stream| {
        let mut hello = [0; 2048];
        let length = std::io::Read::read(&mut stream, &mut hello).unwrap_or_default();
        let _ = tell.send(hello[..length].to_vec());
    });
    for (host, expected) in [("shop.example", true), (V4, false)] {
        let get = Get {
            host: Some(host),
            scheme: Scheme::Https,
            ..Get::new(port, "/")
        };
        assert!(pod.request(get).result.is_err(), "it says nothing");
        let hello = told.recv_timeout(Duration::from_secs(60)).unwrap();
        let named = hello.windows(12).any(|bytes| bytes == b"shop.example");
        assert_eq!(named, expected, "{host}");
    }
}
