//! Redirects: same host, other host, no end.

use crate::pod_network::{Get, PodNetwork, response};

fn redirect(location: &str) -> String {
    response("302 Found", &format!("Location: {location}\r\n"), "moved")
}

#[test]
fn a_redirect_to_the_same_host_is_followed() {
    let pod = PodNetwork::new();
    for status in ["301 x", "302 x", "303 x", "307 x", "308 x"] {
        let server = pod.respond("127.0.0.1", move |request| {
            if request.starts_with("GET /new/x?y ") {
                response("200 OK", "", "here")
            } else {
                response(status, "Location: /new/x?y\r\n", "")
            }
        });
        let outcome = pod.get(server.port, "/old");
        assert_eq!(
            (outcome.status, outcome.result),
            (Some(200), Ok(())),
            "{status}"
        );
        assert_eq!(outcome.body, b"here");
        assert_eq!(server.targets(), ["/old", "/new/x?y"]);
    }
}

#[test]
fn a_redirect_to_another_port_of_the_host_is_followed() {
    let pod = PodNetwork::new();
    let end = pod.respond("127.0.0.1", |_| response("503 x", "", ""));
    let to = format!("http://127.0.0.1:{}/end", end.port);
    let location = to.clone();
    let start = pod.respond("127.0.0.1", move |_| redirect(&location));
    let outcome = pod.get(start.port, "/start");
    assert_eq!(
        outcome.result,
        Err(format!(
            "GET http://127.0.0.1:{}/start: redirected to {to}: HTTP status 503 Service Unavailable",
            start.port
        ))
    );
    assert!(end.requests()[0].contains(&format!("\r\nHost: 127.0.0.1:{}\r\n", end.port)));
}

#[test]
fn a_redirect_to_another_host_is_success_and_goes_nowhere() {
    let pod = PodNetwork::new();
    let other = pod.respond("127.0.0.2", |_| response("200 OK", "", ""));
    for location in [
        format!("http://127.0.0.2:{}/", other.port),
        format!("//127.0.0.2:{}/", other.port),
        "http://metadata.internal/".to_owned(),
        "mailto:x".to_owned(),
    ] {
        let server = pod.respond("127.0.0.1", move |_| redirect(&location));
        let outcome = pod.get(server.port, "/");
        assert_eq!((outcome.status, outcome.result), (Some(302), Ok(())));
        assert_eq!(outcome.body, b"moved");
    }
    assert_eq!(other.requests(), Vec::<String>::new());
}

#[test]
fn ten_redirects_are_followed_and_an_eleventh_is_not() {
    let pod = PodNetwork::new();
    let count = |redirects: usize| {
        pod.respond("127.0.0.1", move |request| {
            let target = request.split(' ').nth(1).unwrap_or_default();
            let hop: usize = target[1..].parse().unwrap_or(0);
            if hop == redirects {
                response("200 OK", "", "")
            } else {
                redirect(&format!("/{}", hop + 1))
            }
        })
    };
    let ten = count(10);
    assert_eq!(pod.get(ten.port, "/0").result, Ok(()));
    assert_eq!(ten.requests().len(), 11);
    let eleven = count(11);
    let outcome = pod.get(eleven.port, "/0");
    let url = format!("http://127.0.0.1:{}", eleven.port);
    assert_eq!(
        outcome.result,
        Err(format!(
            "GET {url}/0: redirected to {url}/10: stopped after 10 redirects"
        ))
    );
    assert_eq!(outcome.status, None);
    assert_eq!(eleven.requests().len(), 11);
}

#[test]
fn a_loop_ends() {
    let pod = PodNetwork::new();
    let server = pod.respond("127.0.0.1", |_| redirect("/"));
    let said = pod.get(server.port, "/").result.unwrap_err();
    assert!(said.ends_with(": stopped after 10 redirects"), "{said}");
}

#[test]
fn a_host_header_stays_with_relative_redirects_only() {
    let pod = PodNetwork::new();
    let server = pod.respond("127.0.0.1", |request| {
        let port = request.split("X-Port: ").nth(1).unwrap_or_default();
        let port = port.lines().next().unwrap_or_default();
        match request.split(' ').nth(1) {
            Some("/0") => redirect("/1"),
            Some("/1") => redirect(&format!("http://127.0.0.1:{port}/2")),
            _ => response("200 OK", "", ""),
        }
    });
    let port = server.port.to_string();
    let headers = [("Host", "shop"), ("X-Port", &port), ("Authorization", "a")];
    let get = Get {
        headers: &headers,
        ..Get::new(server.port, "/0")
    };
    assert_eq!(pod.request(get).result, Ok(()));
    let own = format!("127.0.0.1:{port}");
    for (request, host) in server.requests().iter().zip(["shop", "shop", &own]) {
        assert!(
            request.contains(&format!("\r\nHost: {host}\r\n")),
            "{request}"
        );
        assert!(request.contains("\r\nAuthorization: a\r\n"), "{request}");
    }
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_redirect_without_location_is_a_response_as_any_other() {
    let pod = PodNetwork::new();
    let server = pod.respond("127.0.0.1", |_| response("302 Found", "", ""));
    assert_eq!(pod.get(server.port, "/").result, Ok(()));
}

#[test]
fn a_redirect_that_leads_nowhere_is_a_failure() {
    let pod = PodNetwork::new();
    let server = pod.respond("127.0.0.1", |_| redirect("gopher://127.0.0.1/x"));
    let said = pod.get(server.port, "/").result.unwrap_err();
    assert!(
        said.ends_with(r#"/: bad redirect to "gopher://127.0.0.1/x""#),
        "{said}"
    );
    let server = pod.respond("127.0.0.1", |_| redirect("http://127.0.0.1:9/x"));
    let said = pod.get(server.port, "/").result.unwrap_err();
    assert!(
        said.ends_with("/: redirected to http://127.0.0.1:9/x: connection refused"),
        "{said}"
    );
}
