//! Servers that are slow, silent, endless or malformed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use podhook_hooks::handler::net::{HttpGet, http_get};
use podhook_hooks::lifecycle::{Scheme, Statuses};
use tokio::sync::oneshot;

use crate::pod_network::{Get, PATIENCE, PodNetwork, head, within};

/// A server that begins so and then repeats this for ever; tells how much of it was taken.
fn endless(pod: &PodNetwork, start: &'static str, more: String) -> (u16, mpsc::Receiver<usize>) {
    let (tell, told) = mpsc::channel();
    let port = pod.serve("127.0.0.1", move |mut stream| {
        head(&mut stream);
        let mut sent = 0;
        let _ = stream.write_all(start.as_bytes());
        while stream.write_all(more.as_bytes()).is_ok() {
            sent += more.len();
        }
        let _ = tell.send(sent);
    });
    (port, told)
}

/// More than the sockets' buffers hold: who reads on takes more.
const BUFFERED: usize = 16 << 20;

#[test]
fn endless_headers_end_with_an_error() {
    let pod = PodNetwork::new();
    let one = format!("X-A: {}", "a".repeat(1000));
    for more in [one.clone(), format!("{one}\r\n"), "A:b\r\n".repeat(100)] {
        let (port, taken) = endless(&pod, "HTTP/1.1 200 OK\r\n", more);
        let said = pod.get(port, "/").result.unwrap_err();
        assert!(
            said.ends_with("/: malformed HTTP response: message head is too large"),
            "{said}"
        );
        assert!(taken.recv_timeout(PATIENCE).unwrap() < BUFFERED);
    }
}

#[test]
fn an_endless_body_is_dropped_after_10_kib() {
    let pod = PodNetwork::new();
    let body = "b".repeat(1000);
    for (start, more) in [
        ("HTTP/1.1 200 OK\r\n\r\n", body.clone()),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            body.clone(),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            format!("3e8\r\n{body}\r\n"),
        ),
    ] {
        let (port, taken) = endless(&pod, start, more);
        let outcome = pod.get(port, "/");
        assert_eq!((outcome.status, outcome.result), (Some(200), Ok(())));
        assert_eq!(outcome.body.len(), 4096);
        assert!(outcome.body.iter().all(|byte| *byte == b'b'));
        assert!(taken.recv_timeout(PATIENCE).unwrap() < BUFFERED);
    }
}

#[test]
fn a_body_that_breaks_off_changes_nothing() {
    let pod = PodNetwork::new();
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n",
    ] {
        let server = pod.respond("127.0.0.1", |_| answer.to_owned());
        let outcome = pod.get(server.port, "/");
        assert_eq!((outcome.status, outcome.result), (Some(200), Ok(())));
        assert_eq!(outcome.body, b"abc");
    }
}

#[test]
fn what_is_no_http_response_says_so() {
    let pod = PodNetwork::new();
    for (answer, said) in [
        (
            "garbage\r\n\r\n",
            "malformed HTTP response: invalid HTTP version parsed",
        ),
        (
            "SSH-2.0-OpenSSH_9.2\r\n",
            "malformed HTTP response: invalid HTTP version parsed",
        ),
        (
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "malformed HTTP response: invalid HTTP status-code parsed",
        ),
        (
            "HTTP/1.1 200 OK\r\na b\r\n\r\n",
            "malformed HTTP response: invalid HTTP header parsed",
        ),
        (
            "HTTP/1.1 200 OK\r\nA: b\r\n",
            "the server closed the connection without a response",
        ),
        ("", "the server closed the connection without a response"),
    ] {
        let server = pod.respond("127.0.0.1", |_| answer.to_owned());
        let outcome = pod.get(server.port, "/");
        let url = format!("http://127.0.0.1:{}/", server.port);
        assert_eq!(
            outcome.result,
            Err(format!("GET {url}: {said}")),
            "{answer:?}"
        );
        assert_eq!(outcome.status, None);
    }
}

#[test]
fn a_reset_connection_says_so() {
    let pod = PodNetwork::new();
    let port = pod.serve("127.0.0.1", |mut stream| {
        // Closing with something unread resets.
        let _ = stream.read(&mut [0]);
        drop(stream);
    });
    let said = pod.get(port, "/").result.unwrap_err();
    assert!(said.ends_with("/: connection reset by peer"), "{said}");
}

#[test]
fn a_slow_server_is_waited_for() {
    let pod = PodNetwork::new();
    let port = pod.serve("127.0.0.1", |mut stream| {
        head(&mut stream);
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" {
            thread::sleep(Duration::from_millis(10));
            let _ = stream.write_all(&[*byte]);
        }
    });
    let outcome = pod.get(port, "/");
    assert_eq!((outcome.result, outcome.body), (Ok(()), b"ok".to_vec()));
}

/// Gives up 300 ms after it was connected, and returns when the server has seen the end of the connection.
fn give_up(scheme: Scheme, server: impl Fn(&mut TcpStream) + Send + Sync + 'static) {
    let pod = PodNetwork::new();
    let (tell, told) = mpsc::channel();
    let (connected, connection) = oneshot::channel();
    let connected = Mutex::new(Some(connected));
    let port = pod.serve("127.0.0.1", move |mut stream| {
        if let Some(connected) = connected.lock().unwrap().take() {
            let _ = connected.send(());
        }
        server(&mut stream);
        // Ends at the client's close, by end of file or reset.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        let _ = tell.send(());
    });
    let Get { path, headers, .. } = Get::new(port, "/");
    assert!(headers.is_empty());
    let request = HttpGet {
        path,
        port,
        host: None,
        scheme,
        headers: &[],
    };
    let enough = async {
        let _ = connection.await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let given_up = async {
        tokio::select! {
            outcome = http_get(pod.network(), &request, Statuses::default()) => panic!("{outcome:?}"),
            () = enough => {}
        }
    };
    within(PATIENCE, given_up).expect("an end");
    told.recv_timeout(PATIENCE).expect("the connection closed");
}

#[test]
fn giving_up_on_a_silent_server_closes_the_connection_at_once() {
    give_up(Scheme::Http, |_| {});
    give_up(Scheme::Https, |_| {});
}

#[test]
fn giving_up_in_the_middle_of_a_body_closes_the_connection() {
    give_up(Scheme::Http, |stream| {
        head(stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    });
}

#[test]
fn interim_responses_without_end_do_not_keep_the_runtime_to_themselves() {
    give_up(Scheme::Http, |stream| {
        head(stream);
        while stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            .is_ok()
        {}
    });
}
