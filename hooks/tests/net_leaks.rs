//! Alone in its process, since it counts the process' threads and descriptors.

#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "net/pod_network.rs"]
mod pod_network;

use std::time::{Duration, Instant};
use std::{fs, thread};

use podhook_hooks::handler::net::{HttpGet, http_get, tcp_connect};
use podhook_hooks::lifecycle::{Scheme, Statuses};

use pod_network::{PATIENCE, PodNetwork, V4, response, within};

fn count(folder: &str) -> usize {
    fs::read_dir(folder).expect(folder).count()
}

/// The counts once they stay the same for a while.
fn settled(counts: &impl Fn() -> (usize, usize)) -> (usize, usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let (mut last, mut since) = (counts(), Instant::now());
    while since.elapsed() < Duration::from_millis(300) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
        let now = counts();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[test]
fn a_hundred_requests_leave_no_thread_and_no_descriptor() {
    let pod = PodNetwork::with_addresses(&[V4]);
    let server = pod.respond("127.0.0.1", |_| response("200 OK", "", "drained"));
    let silent = pod.serve("127.0.0.1", |stream| {
        let _ = std::io::copy(&mut &stream, &mut std::io::sink());
    });
    pod.write("etc/hosts", "127.0.0.1 web\n");
    // Nobody listens there; with a server that never answers it would be the same.
    pod.write("etc/resolv.conf", "nameserver 127.0.0.53\n");
    let get = |port, scheme| HttpGet {
        path: "/",
        port,
        host: None,
        scheme,
        headers: &[],
    };
    let rounds = |number: usize| {
        for _ in 0..number {
            let network = pod.network();
            let fine = get(server.port, Scheme::Http);
            let fine =
                within(PATIENCE, http_get(network, &fine, Statuses::default())).expect("an end");
            assert_eq!(fine.result, Ok(()));
            let by_name = HttpGet {
                host: Some("web"),
                ..get(server.port, Scheme::Http)
            };
            let by_name = within(PATIENCE, http_get(network, &by_name, Statuses::default()));
            assert_eq!(by_name.expect("an end").result, Ok(()));
            let unknown = tcp_connect(network, Some("db"), 9);
            let unknown = within(Duration::from_millis(10), unknown);
            assert!(unknown.is_none_or(|said| said.is_err()));
            let tls = get(silent, Scheme::Https);
            assert!(
                within(
                    Duration::from_millis(10),
                    http_get(network, &tls, Statuses::default())
                )
                .is_none()
            );
            let refused = tcp_connect(network, None, 9);
            assert!(within(PATIENCE, refused).expect("an end").is_err());
        }
    };
    let counts = || (count("/proc/self/task"), count("/proc/self/fd"));
    // Once before the count: the runtime opens what it keeps for the life of the process.
    rounds(1);
    // The servers' own threads are not in the way of the count for long: they end when they see
    // their connections end.
    let before = settled(&counts);
    rounds(100);
    let deadline = Instant::now() + PATIENCE;
    // Fewer than before: a server's thread of the first round that took its time to end.
    let none_more = || {
        let (threads, files) = counts();
        threads <= before.0 && files <= before.1
    };
    while !none_more() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(none_more(), "{before:?} before, {:?} now", counts());
}
