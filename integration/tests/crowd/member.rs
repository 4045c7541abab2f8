//! The containers of the crowd: what each runs, what its hooks do, and what must become of it.

use podhook_integration::trace::mark;
use serde_json::{Value, json};

use crate::gate::pass;
use crate::script::{Command, exec, sh, with};

/// The gate that postStart hooks wait at.
pub const START: &str = "start";
/// The gate that processes wait at when they have their signal.
pub const END: &str = "end";

/// Longer than the crowd needs on a busy machine.
const LONG: u64 = 600;

/// How a hook must have ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub result: &'static str,
    /// Exit code or HTTP status.
    pub status: Option<i64>,
    /// Part of its message.
    pub message: &'static str,
    pub output: String,
}

/// How its start must be answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    Running,
    /// It ran, and has ended by itself with this status.
    Ended(i64),
    /// An error with this text.
    Fails(String),
}

#[derive(Debug, Clone)]
pub struct Member {
    pub command: Command,
    pub lifecycle: Option<Value>,
    /// Whether its postStart waits at [`START`].
    pub gated: bool,
    /// The mark that its process leaves once it takes signals, where that must be before its hook ends.
    pub up: Option<String>,
    pub start: Start,
    pub post_start: Option<Run>,
    pub pre_stop: Option<Run>,
    /// Of the process.
    pub exit_status: i64,
    /// It is killed, not stopped.
    pub killed: bool,
}

/// Where the servers are.
pub struct Servers<'a> {
    /// Of the test: `/ok`, `/failed`, `/moved`; behind [`START`] too.
    pub host: &'a str,
    pub port: u16,
    /// A real nginx.
    pub nginx: &'a str,
    pub tls: u16,
}

/// How many kinds there are.
pub const KINDS: usize = 16;

fn run(result: &'static str, status: Option<i64>, message: &'static str, output: &str) -> Run {
    Run {
        result,
        status,
        message,
        output: output.to_owned(),
    }
}

impl Member {
    /// The one with that number.
    pub fn number(n: usize, servers: &Servers<'_>) -> Self {
        let exit_status = i64::try_from(10 + n % 100).unwrap_or(10);
        let wait = pass(START);
        let get = |path: &str| json!({"httpGet": {"path": path, "host": servers.host, "port": servers.port}});
        let connect = |port: u16| json!({"tcpSocket": {"host": servers.host, "port": port}});
        let https = json!({"httpGet": {
            "path": "/end", "host": servers.nginx, "port": servers.tls, "scheme": "HTTPS",
        }});
        let says = |text: &str| exec(&format!("{wait}; echo {text} {n}"));
        let said = |text: &str| format!("{text} {n}\n");
        let ok = |output: &str| Some(run("Succeeded", None, "", output));
        let ran = |output: String| Some(run("Succeeded", Some(0), "", &output));
        let got = |output: &str| Some(run("Succeeded", Some(200), "", output));
        let of = |post: Option<Value>, pre: Option<Value>| {
            let mut lifecycle = json!({});
            if let Some(post) = post {
                lifecycle["postStart"] = with(json!({"timeoutSeconds": LONG}), post);
            }
            if let Some(pre) = pre {
                lifecycle["preStop"] = pre;
            }
            Some(lifecycle)
        };
        let plain = Self {
            command: stops_with(exit_status),
            lifecycle: None,
            gated: false,
            up: None,
            start: Start::Running,
            post_start: None,
            pre_stop: None,
            exit_status,
            killed: false,
        };
        // It never gets to wait at the end. A process without its handler yet would ignore the signal.
        let up = format!("up-{n}");
        let failing = Self {
            command: sh(&format!(
                "trap 'exit {exit_status}' TERM; {}; while :; do sleep 600 & wait $!; done",
                mark(&up)
            )),
            up: Some(up),
            ..plain.clone()
        };
        let fails = |text: &str| Start::Fails(text.to_owned());
        let url = format!("http://{}:{}", servers.host, servers.port);
        match n % KINDS {
            0 => plain,
            1 => Self {
                lifecycle: of(Some(says("up")), Some(exec(&format!("echo down {n}")))),
                gated: true,
                post_start: ran(said("up")),
                pre_stop: ran(said("down")),
                ..plain
            },
            2 => Self {
                lifecycle: of(
                    Some(exec(&format!("{wait}; echo bad {n}; exit 3"))),
                    Some(exec("true")),
                ),
                gated: true,
                start: Start::Fails(format!("exited with status 3: bad {n}")),
                ..failing
            },
            3 => Self {
                lifecycle: of(
                    Some(with(exec("exec sleep 600"), json!({"timeoutSeconds": 10}))),
                    Some(exec("exit 1")),
                ),
                start: fails("timed out after 10s (timeoutSeconds)"),
                ..failing
            },
            4 => Self {
                lifecycle: of(
                    Some(with(
                        exec(&format!("{wait}; echo never mind {n}; exit 3")),
                        json!({"onFailure": "Ignore"}),
                    )),
                    Some(exec(&format!("echo bad {n}; exit 4"))),
                ),
                gated: true,
                post_start: Some(run(
                    "Failed",
                    Some(3),
                    "exited with status 3",
                    &said("never mind"),
                )),
                pre_stop: Some(run("Failed", Some(4), "exited with status 4", &said("bad"))),
                ..plain
            },
            5 => Self {
                lifecycle: of(Some(get("/ok")), Some(get("/ok"))),
                gated: true,
                post_start: got("fine"),
                pre_stop: got("fine"),
                ..plain
            },
            6 => Self {
                lifecycle: of(Some(get("/failed")), None),
                gated: true,
                start: Start::Fails(format!(
                    "GET {url}/failed: HTTP status 503 Service Unavailable: no"
                )),
                ..failing
            },
            7 => Self {
                lifecycle: of(Some(get("/moved")), Some(get("/failed"))),
                gated: true,
                post_start: got("fine"),
                pre_stop: Some(run("Failed", Some(503), "/failed: HTTP status 503", "no")),
                ..plain
            },
            8 => Self {
                lifecycle: of(Some(connect(servers.port)), Some(connect(9))),
                post_start: ok(""),
                pre_stop: Some(run("Failed", None, ":9: connection refused", "")),
                ..plain
            },
            9 => Self {
                lifecycle: of(
                    Some(json!({"sleep": {"seconds": 2}})),
                    Some(json!({"sleep": {"seconds": 2}})),
                ),
                post_start: ok(""),
                pre_stop: ok(""),
                ..plain
            },
            10 => Self {
                lifecycle: of(
                    None,
                    Some(with(
                        exec(&format!("sleep 600 & echo hangs {n}; exec sleep 601")),
                        json!({"timeoutSeconds": 3}),
                    )),
                ),
                pre_stop: Some(run(
                    "TimedOut",
                    None,
                    "timed out after 3s (timeoutSeconds)",
                    &said("hangs"),
                )),
                ..plain
            },
            11 => Self {
                lifecycle: of(
                    Some(exec(&format!("{wait}; sleep 602 & echo left {n}"))),
                    Some(json!({"exec": {"command": ["no-such-program"]}})),
                ),
                gated: true,
                post_start: ran(said("left")),
                pre_stop: Some(run(
                    "Failed",
                    None,
                    r#"exec: "no-such-program": executable file not found in $PATH"#,
                    "",
                )),
                ..plain
            },
            12 => Self {
                // A job that ends while its hook runs.
                command: sh(&format!("{wait}; exit {exit_status}")),
                lifecycle: of(Some(exec("exec sleep 600")), Some(exec("true"))),
                gated: true,
                start: Start::Ended(exit_status),
                ..plain
            },
            13 => Self {
                lifecycle: of(Some(says("up")), Some(json!({"sleep": {"seconds": 600}}))),
                gated: true,
                post_start: ran(said("up")),
                exit_status: 137,
                killed: true,
                ..plain
            },
            14 => Self {
                lifecycle: of(Some(https.clone()), Some(https)),
                post_start: got("the end"),
                pre_stop: got("the end"),
                ..plain
            },
            _ => Self {
                // A great deal of output, with its end.
                lifecycle: of(
                    Some(exec(&format!(
                        "{wait}; yes | head -c 1000000 >&2; echo up {n} > /tmp/up"
                    ))),
                    Some(exec("cat /tmp/up")),
                ),
                gated: true,
                post_start: ran("y\n".repeat(2048)),
                pre_stop: ran(said("up")),
                ..plain
            },
        }
    }
}

/// A process that ends on SIGTERM with that status, as soon as the gate [`END`] is open.
fn stops_with(status: i64) -> Command {
    let end = pass(END);
    sh(&format!(
        "trap '{end}; exit {status}' TERM; while :; do sleep 600 & wait $!; done"
    ))
}
