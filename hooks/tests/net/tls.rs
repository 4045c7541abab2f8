//! HTTPS without verification, and servers that speak plain HTTP where TLS is asked for.

use std::io::Write;
use std::sync::{Arc, Mutex};

use podhook_hooks::lifecycle::Scheme;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, SupportedCipherSuite, SupportedProtocolVersion};

use crate::pod_network::{Get, PodNetwork, V4, head, response};

fn https(port: u16, path: &str) -> Get<'_> {
    Get {
        scheme: Scheme::Https,
        ..Get::new(port, path)
    }
}

/// A server with a self-signed certificate for another name. `log` gets server name and request.
fn serve(
    pod: &PodNetwork,
    ip: &str,
    versions: &[&'static SupportedProtocolVersion],
    log: Arc<Mutex<Vec<String>>>,
    answer: &'static str,
) -> u16 {
    serve_with(ring::default_provider(), pod, ip, versions, log, answer)
}

/// The same with what the server has of ciphers and groups.
fn serve_with(
    provider: CryptoProvider,
    pod: &PodNetwork,
    ip: &str,
    versions: &[&'static SupportedProtocolVersion],
    log: Arc<Mutex<Vec<String>>>,
    answer: &'static str,
) -> u16 {
    let made = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    pod.serve(ip, move |mut stream| {
        let mut tls = ServerConnection::new(config.clone()).unwrap();
        let mut tls_stream = rustls::Stream::new(&mut tls, &mut stream);
        let request = head(&mut tls_stream);
        let name = tls_stream.conn.server_name().unwrap_or("no name");
        log.lock().unwrap().push(format!("{name} {request}"));
        let _ = tls_stream.write_all(answer.as_bytes());
        let _ = tls_stream.flush();
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ndrained";

#[test]
fn a_self_signed_certificate_for_another_name_will_do() {
    let pod = PodNetwork::with_addresses(&[V4]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let log = Arc::new(Mutex::new(Vec::new()));
        let port = serve(&pod, V4, &[version], log.clone(), OK);
        let outcome = pod.request(https(port, "/drain"));
        assert_eq!(
            (outcome.status, outcome.result),
            (Some(200), Ok(())),
            "{version:?}"
        );
        assert_eq!(outcome.body, b"drained");
        let seen = log.lock().unwrap().clone();
        assert!(
            seen[0].starts_with("no name GET /drain HTTP/1.1\r\n"),
            "{seen:?}"
        );
    }
}

#[test]
fn every_group_and_every_cipher_that_a_server_may_have_alone_will_do() {
    let pod = PodNetwork::with_addresses(&[V4]);
    let asked = |provider: CryptoProvider| {
        let what = format!("{:?} {:?}", provider.kx_groups, provider.cipher_suites);
        let version = provider.cipher_suites[0].version();
        let port = serve_with(provider, &pod, V4, &[version], Arc::default(), OK);
        let outcome = pod.request(https(port, "/"));
        assert_eq!(outcome.result, Ok(()), "{what}");
        assert_eq!(outcome.body, b"drained", "{what}");
    };
    assert_eq!(ring::ALL_KX_GROUPS.len(), 3);
    // The certificate of these tests has an ECDSA key.
    let of_rsa = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite()).contains("RSA_WITH");
    for group in ring::ALL_KX_GROUPS {
        for suite in ring::ALL_CIPHER_SUITES
            .iter()
            .filter(|suite| !of_rsa(suite))
        {
            asked(CryptoProvider {
                kx_groups: vec![*group],
                cipher_suites: vec![*suite],
                ..ring::default_provider()
            });
        }
    }
}

#[test]
fn a_failure_over_tls_shows_an_https_url() {
    let pod = PodNetwork::new();
    let log = Arc::default();
    let answer = "HTTP/1.1 500 no\r\n\r\nbody without length or end of TLS";
    let port = serve(&pod, "127.0.0.1", rustls::ALL_VERSIONS, log, answer);
    let outcome = pod.request(https(port, "/"));
    let url = format!("https://127.0.0.1:{port}/");
    assert_eq!(
        outcome.result,
        Err(format!("GET {url}: HTTP status 500 Internal Server Error"))
    );
    assert_eq!(outcome.body, b"body without length or end of TLS");
}

#[test]
fn a_server_that_answers_in_plain_http_is_asked_in_it_without_authorization() {
    let pod = PodNetwork::new();
    let server = pod.respond("127.0.0.1", |request| {
        if request.starts_with("GET /ok ") {
            response("200 OK", "", "plain")
        } else {
            response("400 Bad Request", "", "")
        }
    });
    // The server must answer what is no request, too: TLS has no blank line to wait for.
    let port = early(&pod, server.port);
    let headers = [("Authorization", "secret"), ("X-A", "b")];
    let get = Get {
        headers: &headers,
        ..https(port, "/ok")
    };
    let outcome = pod.request(get);
    assert_eq!((outcome.status, outcome.result), (Some(200), Ok(())));
    assert_eq!(outcome.body, b"plain");
    let request = server.requests().pop().unwrap();
    assert!(
        request.contains("\r\nX-A: b\r\n") && !request.contains("secret"),
        "{request}"
    );
    let outcome = pod.request(https(port, "/bad"));
    assert_eq!(
        outcome.result,
        Err(format!(
            "GET http://127.0.0.1:{port}/bad, after HTTPS was answered in plain HTTP: \
             HTTP status 400 Bad Request"
        ))
    );
}

/// Before the server on `behind`: answers a TLS hello as nginx does, passes requests on.
fn early(pod: &PodNetwork, behind: u16) -> u16 {
    let netns = std::fs::File::open(format!("/proc/self/fd/{}", fd(pod))).unwrap();
    pod.serve("127.0.0.1", move |mut stream| {
        let mut first = [0];
        if !matches!(stream.peek(&mut first), Ok(1)) {
            return;
        }
        if first[0] == 0x16 {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            // Read what came, so that closing does not reset the answer away.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            return;
        }
        nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let mut server = std::net::TcpStream::connect(("127.0.0.1", behind)).unwrap();
        let request = head(&mut stream);
        server.write_all(request.as_bytes()).unwrap();
        let _ = std::io::copy(&mut server, &mut stream);
    })
}

fn fd(pod: &PodNetwork) -> i32 {
    use std::os::fd::AsRawFd;
    pod.netns().as_raw_fd()
}

#[test]
fn what_is_neither_tls_nor_http_is_a_tls_failure_and_not_asked_again() {
    let pod = PodNetwork::new();
    let connections = Arc::new(Mutex::new(0));
    for (sent, said) in [
        (
            &b"SSH-2.0-OpenSSH_9\r\n"[..],
            "TLS: received corrupt message of type InvalidContentType",
        ),
        (
            b"<!DOCTYPE html>",
            "TLS: received corrupt message of type InvalidContentType",
        ),
        (b"", "TLS: "),
    ] {
        *connections.lock().unwrap() = 0;
        let counted = connections.clone();
        let port = pod.serve("127.0.0.1", move |mut stream| {
            *counted.lock().unwrap() += 1;
            let _ = stream.write_all(sent);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let outcome = pod.request(https(port, "/"));
        let error = outcome.result.unwrap_err();
        assert!(
            error.starts_with(&format!("GET https://127.0.0.1:{port}/: {said}")),
            "{error}"
        );
        assert_eq!(*connections.lock().unwrap(), 1);
    }
}
