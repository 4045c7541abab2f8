//! Answers of an HTTP server, each to one connection: heads, chunked bodies, redirects.
#![no_main]

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use podhook_hooks::handler::net::{HttpGet, Network, Statuses, http_get};
use podhook_hooks::lifecycle::Scheme;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fuzz_target!(|input: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serve = async {
            // A byte that is in no text ends an answer; the last one is given again and again.
            let mut answers = input.split(|byte| *byte == 0xff).peekable();
            let mut answer = answers.next().unwrap_or_default();
            loop {
                let Ok((mut connection, _)) = listener.accept().await else {
                    return;
                };
                let mut request = [0; 4096];
                let _ = connection.read(&mut request).await;
                let _ = connection.write_all(answer).await;
                let _ = connection.shutdown().await;
                answer = answers.next().unwrap_or(answer);
            }
        };
        let netns = File::open("/proc/self/ns/net").expect("a network namespace");
        let root = File::open("/").expect("a folder");
        let network = Network {
            netns: netns.as_fd(),
            root: root.as_fd(),
        };
        let request = HttpGet {
            path: "/",
            port,
            host: Some("127.0.0.1"),
            scheme: Scheme::Http,
            headers: &[],
        };
        let asked = http_get(network, &request, Statuses::default());
        let outcome = async {
            tokio::select! {
                outcome = asked => outcome,
                () = serve => unreachable!("the server goes on"),
            }
        };
        // The server ends every connection, so there is an end.
        let outcome = tokio::time::timeout(Duration::from_secs(30), outcome)
            .await
            .expect("an end");
        assert!(outcome.body.len() <= 4096);
        assert!(outcome.status.is_some() || outcome.result.is_err());
        if let Err(words) = &outcome.result {
            assert!(!words.contains(['\n', '\r', '\u{1b}']), "{words:?}");
        }
    });
});
