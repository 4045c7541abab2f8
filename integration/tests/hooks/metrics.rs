//! `podhook metrics`: the counters of the node's shims.
//!
//! Each test has a containerd of its own: the numbers are sums over the node.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::containerd::remains;
use podhook_integration::generation::cache;
use podhook_integration::node::Container;
use podhook_integration::podhook::Podhook;
use podhook_integration::suite::{Test, each_once, own_containerd};
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, command, tests};
use serde_json::json;

use crate::recorded::Recorded;
use crate::script::{Error, exec, held, polite, stubborn, words};

pub fn tests() -> Vec<Test> {
    each_once(own_containerd(tests![metrics:
        what_a_pod_did_stays_counted_when_it_is_gone,
        an_exec_by_the_oci_runtime_is_counted_with_its_reason,
        each_end_of_a_container_is_counted_as_such,
        a_hung_shim_and_a_killed_one_hold_up_nobody_and_lose_nothing,
        the_page_is_served_and_written_as_prometheus_wants_it,
    ]))
}

/// The samples of a page: name with labels to value.
#[derive(Debug, PartialEq)]
struct Page(BTreeMap<String, f64>);

impl Page {
    fn parse(text: &str) -> Result<Self, Error> {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').ok_or(line.to_owned())?;
            let value = value.parse().map_err(|e| format!("{line}: {e}"))?;
            Ok::<_, Error>((name.to_owned(), value))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Ok(Self(lines.map(sample).collect::<Result<_, _>>()?))
    }

    /// The value of a sample; 0 where there is none.
    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The counters and the histogram: what must not fall.
    fn counters(&self) -> BTreeMap<&str, f64> {
        let counter = |name: &str| {
            name.contains("_total") || name.starts_with("podhook_hook_duration_seconds")
        };
        let samples = self.0.iter().filter(|(name, _)| counter(name));
        samples
            .map(|(name, value)| (name.as_str(), *value))
            .collect()
    }
}

fn scrape(podhook: &Podhook) -> Result<Page, Error> {
    Page::parse(&podhook.run(&["metrics", "--timeout", "10"])?)
}

/// Waits until a page is as `wanted`.
fn wait_page(podhook: &Podhook, what: &str, wanted: impl Fn(&Page) -> bool) -> Result<Page, Error> {
    let found = wait::until(what, SOON, || scrape(podhook).ok().filter(&wanted));
    found.map_err(|e| format!("{e}: {:#?}", scrape(podhook)).into())
}

const SHIMS: &str = "podhook_shims";

fn what_a_pod_did_stays_counted_when_it_is_gone(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let empty = scrape(&podhook)?;
    assert_eq!(empty.get(SHIMS), 0.0);
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": exec("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"),
                           "preStop": held(&trace, "pre")?});
    let container = node
        .container("counted")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    for _ in 0..3 {
        container.exec(&["true"])?.success()?;
    }
    let missing = container.exec(&["/no/such/program"])?;
    assert_ne!(missing.status, 0);
    let page = scrape(&podhook)?;
    assert_eq!(page.get(SHIMS), 1.0);
    let post_start = r#"podhook_hooks_total{hook="postStart",handler="exec",result="Succeeded"}"#;
    assert_eq!(page.get(post_start), 1.0, "{page:#?}");
    assert_eq!(
        page.get(r#"podhook_execs_total{path="native",reason=""}"#),
        3.0
    );
    assert_eq!(page.get("podhook_exec_failures_total"), 1.0);
    let record = container.recorded()?.hook("postStart")?;
    let recorded = record.json()["durationMs"].as_f64().ok_or("no duration")? / 1000.0;
    let sum = page.get(r#"podhook_hook_duration_seconds_sum{hook="postStart",handler="exec"}"#);
    assert!((sum - recorded).abs() < 0.001, "{sum} and {recorded} s");
    let of_mode = |mode: &str| {
        page.get(&format!(
            r#"podhook_hook_cpu_seconds_total{{hook="postStart",handler="exec",mode="{mode}"}}"#
        ))
    };
    let used = record.number("/cpuUserUsec").unwrap_or_default()
        + record.number("/cpuSystemUsec").unwrap_or_default();
    let cpu = of_mode("user") + of_mode("system");
    assert!(
        used > 0 && (cpu - used as f64 / 1e6).abs() < 1e-5,
        "{cpu} and {used} µs"
    );

    container.kill("SIGTERM")?;
    trace.wait("pre-begin")?;
    let page = scrape(&podhook)?;
    assert_eq!(
        page.get(r#"podhook_containers{phase="PreStop"}"#),
        1.0,
        "{page:#?}"
    );
    let since = page
        .0
        .iter()
        .find(|(name, _)| name.starts_with("podhook_hook_start_time_seconds{"));
    let (labels, since) = since.ok_or(format!("no running hook in {page:#?}"))?;
    let began = container.recorded()?.hook("preStop")?.time("/startedAt")?;
    let began = began.duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    assert!((since - began).abs() < 0.01, "{since} and {began}");
    let id = container.id();
    let wanted = format!(r#"pod="",container="{id}",hook="preStop",handler="exec"}}"#);
    assert!(labels.ends_with(&wanted), "{labels}");
    trace.release("pre")?;
    container.wait_exit(SOON)?;
    drop(container);
    // The shim has ended, right after the hook.
    let last = wait_page(&podhook, "the end of the shim", |page| {
        page.get(SHIMS) == 0.0
    })?;
    let pre_stop = r#"podhook_hooks_total{hook="preStop",handler="exec",result="Succeeded"}"#;
    let end = r#"podhook_terminations_total{end="Signalled"}"#;
    for name in [post_start, pre_stop, end] {
        assert_eq!(last.get(name), 1.0, "{name} in {last:#?}");
    }
    for (name, value) in page.counters() {
        assert!(
            last.get(name) >= value,
            "{name} has fallen to {}",
            last.get(name)
        );
    }
    Ok(())
}

fn an_exec_by_the_oci_runtime_is_counted_with_its_reason(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let container = node
        .container("runtime")
        // The engine leaves such a container to the runtime; runc does not know the annotation.
        .annotation("run.oci.keep_original_groups", "0")
        .start(&["sleep", "600"])?;
    for _ in 0..2 {
        container.exec(&["true"])?.success()?;
    }
    let page = scrape(&podhook)?;
    let runtime = r#"podhook_execs_total{path="runtime",reason="unsupported"}"#;
    assert_eq!(page.get(runtime), 2.0, "{page:#?}");
    let native = r#"podhook_execs_total{path="native",reason=""}"#;
    assert_eq!(page.get(native), 0.0, "{page:#?}");
    Ok(())
}

/// Starts a container with a lifecycle that leaves the mark `ready`.
fn start<'a>(
    node: &'a Node,
    trace: &Trace,
    lifecycle: &serde_json::Value,
    command: &[String; 3],
) -> Result<Container<'a>, Error> {
    let container = node
        .container("end")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(command))?;
    trace.wait("ready")?;
    Ok(container)
}

fn each_end_of_a_container_is_counted_as_such(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let hook = json!({"preStop": {"sleep": {"seconds": 0}}});
    let begin = |lifecycle: &serde_json::Value, command: &[String; 3]| {
        let trace = Trace::new(node)?;
        let container = start(node, &trace, lifecycle, command)?;
        Ok::<_, Error>((trace, container))
    };
    let (_, signalled) = begin(&hook, &polite())?;
    signalled.kill("SIGTERM")?;
    let grace = json!({"preStop": {"sleep": {"seconds": 0}}, "terminationGracePeriodSeconds": 1});
    let (_, overdue) = begin(&grace, &stubborn())?;
    overdue.kill("SIGTERM")?;
    let (_, killed) = begin(&hook, &stubborn())?;
    killed.kill("SIGKILL")?;
    // As nginx -s quit in the tutorial: the hook itself ends the container.
    let quits = json!({"preStop": exec("kill -TERM 1; sleep 600")});
    let (_, quit) = begin(&quits, &polite())?;
    quit.kill("SIGTERM")?;
    let ends = node.container("exits").lifecycle(&hook.to_string());
    let exited = ends.start(&["sh", "-c", "usleep 100000"])?;
    for container in [&signalled, &overdue, &killed, &quit, &exited] {
        container.wait_exit(SOON)?;
    }
    let ends = [
        "Signalled",
        "GraceKilled",
        "ClientKilled",
        "PreStop",
        "Exited",
    ];
    let count =
        |page: &Page, end: &str| page.get(&format!("podhook_terminations_total{{end=\"{end}\"}}"));
    let page = wait_page(&podhook, "five ends", |page| {
        ends.iter().map(|end| count(page, end)).sum::<f64>() == 5.0
    })?;
    for end in ends {
        assert_eq!(count(&page, end), 1.0, "{end} in {page:#?}");
    }
    let aborted = r#"podhook_hooks_total{hook="preStop",handler="exec",result="Aborted"}"#;
    assert_eq!(page.get(aborted), 1.0, "{page:#?}");
    // Containers without a lifecycle end uncounted, and their shims leave nothing behind.
    let plain = node.container("plain").run_rm(&["true"])?;
    plain.success()?;
    drop((signalled, overdue, killed, quit, exited));
    let last = wait_page(&podhook, "the end of the shims", |page| {
        page.get(SHIMS) == 0.0
    })?;
    assert_eq!(last.counters(), page.counters());
    Ok(())
}

/// The pid of a container's shim.
fn shim(node: &Node, container: &Container<'_>) -> Result<Pid, Error> {
    let shims = remains::shims(&node.containerd().address());
    let shim = shims.iter().find(|shim| shim.id == container.id());
    Ok(Pid::from_raw(shim.ok_or("no shim")?.pid))
}

fn a_hung_shim_and_a_killed_one_hold_up_nobody_and_lose_nothing(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let lifecycle = json!({"postStart": exec("true")}).to_string();
    let start = |name| {
        node.container(name)
            .lifecycle(&lifecycle)
            .start(&["sleep", "600"])
    };
    let (hung, other) = (start("hung")?, start("other")?);
    let succeeded = r#"podhook_hooks_total{hook="postStart",handler="exec",result="Succeeded"}"#;
    let before = scrape(&podhook)?;
    assert_eq!((before.get(SHIMS), before.get(succeeded)), (2.0, 2.0));
    let pid = shim(node, &hung)?;
    kill(pid, Signal::SIGSTOP)?;
    let output = podhook.try_run(&["metrics", "--timeout", "5"]);
    kill(pid, Signal::SIGCONT)?;
    let output = output?.success()?;
    assert!(
        output.stderr.contains("no answer in time"),
        "{}",
        output.stderr
    );
    let page = Page::parse(&output.stdout)?;
    let shims = (page.get(SHIMS), page.get("podhook_shims_silent"));
    assert_eq!(shims, (1.0, 1.0));
    assert_eq!(page.counters(), before.counters());
    // Killed by the kernel, say: nobody hears its last words.
    kill(pid, Signal::SIGKILL)?;
    let key = (node.ctr().namespace().to_owned(), hung.id().to_owned());
    let socket = remains::socket(&node.containerd().address(), &key);
    let page = wait_page(&podhook, "one shim", |page| page.get(SHIMS) == 1.0)?;
    assert_eq!(page.counters(), before.counters());
    drop((other, hung));
    wait::until_true("delete to remove the killed shim's socket", SOON, || {
        !socket.exists()
    })?;
    let page = wait_page(&podhook, "no shim", |page| page.get(SHIMS) == 0.0)?;
    assert_eq!(page.get(succeeded), 2.0, "{page:#?}");
    Ok(())
}

/// `podhook metrics --listen`, ended when dropped.
struct Server {
    child: Child,
    at: String,
}

impl Server {
    fn start(podhook: &Podhook) -> Result<Self, Error> {
        let mut command = podhook.command();
        command.args(["metrics", "--listen", "127.0.0.1:0", "--timeout", "10"]);
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stderr.take().ok_or("no stderr")?).read_line(&mut line)?;
        let at = line.trim().strip_prefix("serving http://");
        let at = at.and_then(|rest| rest.strip_suffix("/metrics"));
        let at = at.ok_or(format!("unexpected: {line:?}"))?.to_owned();
        Ok(Self { child, at })
    }

    fn get(&self, path: &str) -> Result<(String, String), Error> {
        let mut stream = TcpStream::connect(&self.at)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.at)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(text.clone())?;
        Ok((head.to_owned(), body.to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prometheus' own judgement.
fn check(page: &str) -> Outcome {
    let mut promtool = std::process::Command::new(cache().join("promtool"));
    promtool.args(["check", "metrics"]);
    let output = command::run(&mut promtool, Some(page.as_bytes()), SOON)?;
    let said = (
        output.status,
        output.stdout.as_str(),
        output.stderr.as_str(),
    );
    assert_eq!(said, (0, "", ""), "{page}");
    Ok(())
}

fn the_page_is_served_and_written_as_prometheus_wants_it(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    check(&podhook.run(&["metrics"])?)?;
    let mut server = Server::start(&podhook)?;
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": exec("true"), "preStop": exec("true")});
    let pod = node
        .pod("page")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    trace.wait("ready")?;
    container.exec(&["true"])?;
    let (head, page) = server.get("/metrics")?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    check(&page)?;
    let page = Page::parse(&page)?;
    // One shim for the sandbox and its container.
    assert_eq!(page.get(SHIMS), 1.0, "{page:#?}");
    assert_eq!(page.get(r#"podhook_containers{phase="Running"}"#), 1.0);
    let native = r#"podhook_execs_total{path="native",reason=""}"#;
    assert_eq!(page.get(native), 1.0, "{page:#?}");

    let folder = node.containerd().dir().join("textfile");
    fs::create_dir_all(&folder)?;
    let file = folder.join("podhook.prom");
    let output = podhook.run(&["metrics", "--output", &file.display().to_string()])?;
    assert_eq!(output, "");
    check(&fs::read_to_string(&file)?)?;
    assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(&folder)?.count(), 1);

    container.stop(10)?;
    drop(container);
    drop(pod);
    wait::until_true("the end of the pod's shim", SOON, || {
        let page = server
            .get("/metrics")
            .ok()
            .and_then(|(_, page)| Page::parse(&page).ok());
        page.is_some_and(|page| page.get(SHIMS) == 0.0 && page.get(native) == 1.0)
    })?;
    kill(
        Pid::from_raw(i32::try_from(server.child.id())?),
        Signal::SIGTERM,
    )?;
    assert!(server.child.wait()?.success());
    let refused = podhook.try_run(&["metrics", "--listen", "0.0.0.0:0"])?;
    assert_eq!(refused.status, 1);
    assert!(
        refused.stderr.contains("not a loopback address"),
        "{}",
        refused.stderr
    );
    Ok(())
}
