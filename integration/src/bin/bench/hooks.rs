//! What hooks cost: StartContainer with a postStart over one without, StopContainer with a preStop over a plain one, and the same
//! hook the kubelet's way, which is an ExecSync of its own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Fallible;
use crate::arguments::Sizes;
use crate::pods::{Pods, Runs};
use crate::rounds::{SETTLE, rotate, timed};
use crate::row::Label;
use crate::samples::Samples;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;

/// How a container gets its hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    None,
    /// podhook's, of this handler.
    Own(&'static str),
    /// An exec hook by the client.
    Kubelet,
}

struct Side {
    shim: Shim,
    way: Way,
    start: Samples,
    stop: Samples,
}

/// Measures.
///
/// # Errors
/// containerd's answer.
pub fn run(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let host = stage.containerd().node_address();
    let port = serve(host)?;
    let handler = |name: &str| -> Value {
        match name {
            "exec" => json!({"exec": {"command": ["/bin/true"]}}),
            "httpGet" => json!({"httpGet": {"host": host, "port": port, "path": "/"}}),
            "tcpSocket" => json!({"tcpSocket": {"host": host, "port": port}}),
            _ => json!({"sleep": {"seconds": 0}}),
        }
    };
    let pods = stage.pods()?;
    let own = ["exec", "httpGet", "tcpSocket", "sleep"].map(Way::Own);
    let podhook = [Way::None, Way::Kubelet].into_iter().chain(own);
    let podhook = podhook.map(|way| (Shim::Podhook, way));
    let original = [Way::None, Way::Kubelet].map(|way| (Shim::Original, way));
    let mut sides: Vec<_> = podhook
        .chain(original)
        .map(|(shim, way)| Side {
            shim,
            way,
            start: Samples::default(),
            stop: Samples::default(),
        })
        .collect();
    let rounds = sizes.share(0.6);
    rotate(
        "container with hooks",
        rounds,
        &mut sides,
        |side, counts| {
            let lifecycle = match side.way {
                Way::Own(name) => {
                    json!({"postStart": handler(name), "preStop": handler(name)}).to_string()
                }
                _ => String::new(),
            };
            let before = stage.used()?;
            let (start, stop) = hooked(&pods, side.shim, side.way, &lifecycle)?;
            thread::sleep(SETTLE);
            let used = stage.used()? - before;
            if counts {
                side.start.push(start);
                side.start.spent(used);
                side.stop.push(stop);
            }
            Ok(())
        },
    )?;
    for side in &sides {
        let (post, pre) = match side.way {
            Way::None => ("no postStart".to_owned(), "no preStop".to_owned()),
            Way::Own(name) => (format!("postStart {name}"), format!("preStop {name}")),
            Way::Kubelet => (
                "postStart exec, the kubelet's way".to_owned(),
                "preStop exec, the kubelet's way".to_owned(),
            ),
        };
        let name = side.shim.name();
        sheet.times(&Label::new(&format!("start: {post}"), name), &side.start);
        sheet.times(&Label::new(&format!("stop: {pre}"), name), &side.stop);
    }
    Ok(())
}

/// From StartContainer until postStart is over, and from the beginning of preStop until StopContainer is answered.
fn hooked(
    pods: &Pods<'_>,
    shim: Shim,
    way: Way,
    lifecycle: &str,
) -> Fallible<(Duration, Duration)> {
    let pod = pods.run(shim, pods.config())?;
    let lifecycle = Some(lifecycle).filter(|text| !text.is_empty());
    // The exec hooks need a program, and the stop an end at once: busybox's sleep with SIGTERM as the first process has none.
    let container = pod.create(Runs::Script, lifecycle)?;
    let by_client = || match way {
        Way::Kubelet => pods.exec_sync(&container, &["/bin/true"]).map(drop),
        _ => Ok(()),
    };
    let ((), start) = timed(|| pod.start(&container).and_then(|()| by_client()))?;
    pods.wait_ready(&container, Runs::Script)?;
    let ((), stop) = timed(|| by_client().and_then(|()| pod.stop_container(&container)))?;
    pod.stop()?;
    pod.remove()?;
    Ok((start, stop))
}

/// Answers every connection to the port with an empty page, as long as the program runs.
fn serve(host: &str) -> Fallible<u16> {
    let listener = TcpListener::bind((host, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                let mut request = [0; 4096];
                if stream.read(&mut request).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    );
                }
            });
        }
    });
    Ok(port)
}
