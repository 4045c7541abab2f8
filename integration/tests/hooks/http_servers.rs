//! `httpGet` and `tcpSocket` hooks of real pods against servers that are elsewhere than usual, slow,
//! silent, endless or malformed.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use podhook_integration::node::Pod;
use podhook_integration::suite::{Test, each_once};
use podhook_integration::trace::Trace;
use podhook_integration::wait::{SOON, scaled};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::network::{Network, head, response};
use crate::script::{server, with, words};
use crate::web::{asked, get, get_tls, get_with, told};

pub fn tests() -> Vec<Test> {
    each_once(tests![http_servers:
        a_server_on_one_of_the_pods_addresses_only_is_found,
        a_server_in_an_ipv6_pod_is_found,
        repeated_headers_arrive_in_their_order,
        a_slow_server_is_waited_for,
        a_silent_server_is_given_up_at_the_hooks_timeout,
        a_silent_server_is_given_up_before_the_end_of_the_grace_period,
        the_end_of_the_container_ends_the_request,
        an_endless_answer_ends,
        what_is_no_http_says_so,
    ])
}

const V6: &str = "fd09::5";

fn connect(port: u16) -> Value {
    json!({"tcpSocket": {"port": port}})
}

/// Asks a server that listens on `ip` alone, and connects to it.
fn check_found(pod: &Pod<'_>, network: &Network, ip: &str) -> Outcome {
    let server = network.respond(ip, |_| response("200 OK", "", "found"))?;
    let run = asked(pod, &get("/", server.port))?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""), "{ip}");
    let host = if ip.contains(':') {
        format!("\r\nHost: [{ip}]:{}\r\n", server.port)
    } else {
        format!("\r\nHost: {ip}:{}\r\n", server.port)
    };
    let request = server.requests().concat();
    assert!(request.contains(&host), "{request}");
    let run = asked(pod, &connect(server.port))?;
    assert_eq!(told(&run), ("Succeeded", None, ""), "{ip}");
    Ok(())
}

fn a_server_on_one_of_the_pods_addresses_only_is_found(node: &Node) -> Outcome {
    let pod = node.pod("one").run()?;
    let network = Network::of_pod(&pod)?;
    network.ip(&format!("addr add {V6}/64 dev eth0 nodad"))?;
    let ip = pod.ip()?;
    for listens in [ip.as_str(), "127.0.0.1", V6, "::1"] {
        check_found(&pod, &network, listens)?;
    }
    // Nobody there: every address that was tried is named.
    let tried = format!(
        "connection refused; [{V6}]:9: connection refused; 127.0.0.1:9: connection refused; \
         [::1]:9: connection refused"
    );
    let said = format!("GET http://{ip}:9/: {tried}");
    assert_eq!(told(&asked(&pod, &get("/", 9))?), ("Failed", None, &*said));
    let said = format!("connect to {ip}:9: {tried}");
    assert_eq!(told(&asked(&pod, &connect(9))?), ("Failed", None, &*said));
    Ok(())
}

fn a_server_in_an_ipv6_pod_is_found(node: &Node) -> Outcome {
    let pod = node.pod("six").run()?;
    let network = Network::of_pod(&pod)?;
    network.ip(&format!("addr add {V6}/64 dev eth0 nodad"))?;
    network.ip(&format!("addr del {}/24 dev eth0", pod.ip()?))?;
    for listens in [V6, "::"] {
        let server = network.respond(listens, |_| response("200 OK", "", ""))?;
        for host in [None, Some(V6)] {
            let fields = host.map_or(json!({}), |host| json!({"host": host}));
            let run = asked(&pod, &get_with("/six", server.port, fields))?;
            assert_eq!(told(&run), ("Succeeded", Some(200), ""));
        }
        let host = format!("\r\nHost: [{V6}]:{}\r\n", server.port);
        let requests = server.requests();
        assert!(
            requests.iter().all(|request| request.contains(&host)),
            "{requests:?}"
        );
        assert_eq!(requests.len(), 2);
    }
    Ok(())
}

fn repeated_headers_arrive_in_their_order(node: &Node) -> Outcome {
    let pod = node.pod("headers").run()?;
    let network = Network::of_pod(&pod)?;
    let server = network.respond("0.0.0.0", |_| response("200 OK", "", ""))?;
    let headers = json!({"httpHeaders": [
        {"name": "X-Token", "value": "one"},
        {"name": "x-empty", "value": ""},
        {"name": "X-Token", "value": "two"},
    ]});
    let run = asked(&pod, &get_with("/a b?c d#e", server.port, headers))?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    let (version, ip) = (env!("CARGO_PKG_VERSION"), pod.ip()?);
    let expected = format!(
        "GET /a%20b?c%20d HTTP/1.1\r\nHost: {ip}:{}\r\nUser-Agent: podhook/{version}\r\nAccept: */*\r\n\
         Connection: close\r\nX-Token: one\r\nX-Token: two\r\nX-Empty: \r\n\r\n",
        server.port
    );
    assert_eq!(server.requests(), [expected]);
    Ok(())
}

fn a_slow_server_is_waited_for(node: &Node) -> Outcome {
    let pod = node.pod("slow").run()?;
    let network = Network::of_pod(&pod)?;
    let server = network.serve("0.0.0.0", |mut stream| {
        head(&mut stream);
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" {
            thread::sleep(Duration::from_millis(50));
            let _ = stream.write_all(&[*byte]);
        }
    })?;
    let run = asked(&pod, &get("/", server.port))?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    assert_eq!(run.text("/output"), "ok");
    assert!(run.between("/startedAt", "/finishedAt")? >= Duration::from_secs(1));
    Ok(())
}

/// A server that takes connections and says nothing; tells the end of each.
fn silent(
    network: &Network,
) -> Result<(crate::network::Server, mpsc::Receiver<()>), crate::script::Error> {
    let (tell, told) = mpsc::channel();
    let server = network.serve("0.0.0.0", move |mut stream| {
        let _ = io::copy(&mut stream, &mut io::sink());
        let _ = tell.send(());
    })?;
    Ok((server, told))
}

fn a_silent_server_is_given_up_at_the_hooks_timeout(node: &Node) -> Outcome {
    let pod = node.pod("silent").run()?;
    let network = Network::of_pod(&pod)?;
    let (server, closed) = silent(&network)?;
    for hook in [get("/", server.port), get_tls("/", server.port)] {
        let run = asked(&pod, &with(hook, json!({"timeoutSeconds": 1})))?;
        assert_eq!(
            told(&run),
            ("TimedOut", None, "timed out after 1s (timeoutSeconds)")
        );
        closed.recv_timeout(scaled(SOON))?;
    }
    Ok(())
}

fn a_silent_server_is_given_up_before_the_end_of_the_grace_period(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("silent").run()?;
    let network = Network::of_pod(&pod)?;
    let (server, closed) = silent(&network)?;
    let lifecycle = json!({"preStop": get("/", server.port), "terminationGracePeriodSeconds": 6});
    let container = pod
        .container("main")
        .annotation("podhook.dev/lifecycle", &lifecycle.to_string())
        .host_path(trace.dir(), "/trace")
        .command(&words(&crate::script::polite()))
        .start()?;
    trace.wait("ready")?;
    let watch = container.watch_record();
    container.stop(60)?;
    assert_eq!(container.status()?.exit_code, 7);
    assert_eq!(trace.marks(), ["ready", "got-TERM"]);
    let hook = watch.latest().hooks.into_iter().next().unwrap_or_default();
    assert_eq!(hook.result(), Some("TimedOut"));
    let message = hook.message.unwrap_or_default();
    let said = message.starts_with("timed out after 4s (") && message.contains("grace period");
    assert!(said, "{message}");
    closed.recv_timeout(scaled(SOON))?;
    Ok(())
}

fn the_end_of_the_container_ends_the_request(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("ended").run()?;
    let network = Network::of_pod(&pod)?;
    let (asked, arrived) = mpsc::channel();
    let (tell, closed) = mpsc::channel();
    let server = network.serve("0.0.0.0", move |mut stream| {
        head(&mut stream);
        let _ = asked.send(());
        let _ = stream.read(&mut [0]);
        let _ = tell.send(());
    })?;
    let container = pod
        .container("main")
        .annotation(
            "podhook.dev/lifecycle",
            &json!({"preStop": get("/", server.port)}).to_string(),
        )
        .host_path(trace.dir(), "/trace")
        .command(&words(&self::server(&["USR1"], &["USR1"])))
        .start()?;
    trace.wait("ready")?;
    let watch = container.watch_record();
    thread::scope(|scope| -> Outcome {
        let stopping = scope.spawn(|| container.stop(60));
        let arrived = arrived.recv_timeout(scaled(SOON));
        let ended = container.exec(&["kill", "-USR1", "1"]);
        stopping.join().map_err(|_| "stop panicked")??;
        arrived?;
        // The exec may end with its container.
        drop(ended);
        Ok(())
    })?;
    closed.recv_timeout(scaled(SOON))?;
    assert_eq!(container.status()?.exit_code, 7);
    let record = watch.wait("the end of preStop", SOON, |record| {
        record.hooks.iter().any(|hook| hook.result.is_some())
    })?;
    assert_eq!(record.hooks[0].result(), Some("Aborted"));
    Ok(())
}

fn an_endless_answer_ends(node: &Node) -> Outcome {
    let pod = node.pod("endless").run()?;
    let network = Network::of_pod(&pod)?;
    let endless = |start: &'static str, more: &'static str| {
        network.serve("0.0.0.0", move |mut stream| {
            head(&mut stream);
            let _ = stream.write_all(start.as_bytes());
            while stream.write_all(more.repeat(100).as_bytes()).is_ok() {}
        })
    };
    let body = endless("HTTP/1.1 200 OK\r\n\r\n", "more and ")?;
    let run = asked(&pod, &get("/", body.port))?;
    assert_eq!(told(&run), ("Succeeded", Some(200), ""));
    assert_eq!(run.text("/output").len(), 4096);
    let headers = endless("HTTP/1.1 200 OK\r\n", "X-More: and more\r\n")?;
    let run = asked(&pod, &get("/", headers.port))?;
    let said = format!(
        "GET http://{}:{}/: malformed HTTP response: message head is too large",
        pod.ip()?,
        headers.port
    );
    assert_eq!(told(&run), ("Failed", None, said.as_str()));
    Ok(())
}

fn what_is_no_http_says_so(node: &Node) -> Outcome {
    let pod = node.pod("malformed").run()?;
    let network = Network::of_pod(&pod)?;
    let closed = "the server closed the connection without a response";
    for (answer, said, tls) in [
        (
            "SSH-2.0-OpenSSH_9.2\r\n",
            "malformed HTTP response: invalid HTTP version parsed",
            "TLS: received corrupt message of type InvalidContentType",
        ),
        (
            "HTTP/1.1 200 OK\r\nA: b\r\n",
            closed,
            // As the kubelet: what begins as HTTP is asked again in HTTP.
            closed,
        ),
        ("", closed, "TLS: "),
    ] {
        let server = network.serve("0.0.0.0", move |mut stream| {
            // A request, or what TLS begins with.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            let _ = io::copy(&mut stream, &mut io::sink());
        })?;
        let at = format!("{}:{}/", pod.ip()?, server.port);
        let run = asked(&pod, &get("/", server.port))?;
        let message = format!("GET http://{at}: {said}");
        assert_eq!(told(&run), ("Failed", None, &*message), "{answer:?}");
        let run = asked(&pod, &get_tls("/", server.port))?;
        let (result, status, message) = told(&run);
        assert_eq!((result, status), ("Failed", None), "{answer:?}: {message}");
        assert!(message.contains(&at) && message.contains(tls), "{message}");
    }
    let server = network.serve("0.0.0.0", |mut stream| {
        // Closing with something unread resets.
        let _ = stream.read(&mut [0]);
    })?;
    let run = asked(&pod, &get("/", server.port))?;
    let said = format!(
        "GET http://{}:{}/: connection reset by peer",
        pod.ip()?,
        server.port
    );
    assert_eq!(told(&run), ("Failed", None, said.as_str()));
    Ok(())
}
