//! `podhook agent`, with the account of `deploy/kustomize/agent`: what `kubectl describe pod` and `kubectl events` show of hooks
//! that did not succeed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use podhook_integration::generation::{cache, repository};
use podhook_integration::kubernetes::suite::{Test, alone};
use podhook_integration::kubernetes::{LONG, Namespace};
use podhook_integration::podhook::Podhook;
use podhook_integration::trace::Trace;
use podhook_integration::wait::SOON;
use podhook_integration::{Outcome, command, kubernetes_tests, wait};
use serde_json::{Value, json};

use crate::steps::{Error, MAIN, exec, one, polite, restarts, trace};

pub fn tests() -> Vec<Test> {
    let shared = kubernetes_tests![agent:
        a_pre_stop_that_fails_is_an_event_that_describe_shows,
        a_post_start_that_times_out_is_one_too,
    ];
    // An agent of another test would tell of its pods.
    let own = alone(kubernetes_tests![agent:
        one_that_is_killed_posts_nothing_twice_and_what_it_has_missed,
    ]);
    [shared, own].concat()
}

/// An agent of the node, as a pod of the DaemonSet would be one; killed when dropped.
struct Agent {
    child: Child,
    log: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    fn start(kube: &Namespace<'_>) -> Result<Self, Error> {
        let containerd = kube.cluster().containerd();
        let dir = containerd.dir().join(format!("agent-{}", kube.name()));
        fs::create_dir_all(&dir)?;
        let kubeconfig = dir.join("kubeconfig");
        fs::write(&kubeconfig, account(kube)?.to_string())?;
        let log = dir.join("log");
        let child = Podhook::new(containerd)
            .command()
            .arg("agent")
            .args(["--node", kube.cluster().node()])
            .args(["--listen", "127.0.0.1:0"])
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .arg("--position")
            .arg(dir.join("agent.json"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        Ok(Self { child, log })
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for an Event of a pod.
    fn told(&self, kube: &Namespace<'_>, pod: &str, text: &str) -> Result<(), Error> {
        let told = kube.wait_event(pod, text);
        told.map_err(|error| format!("{error}\nthe agent: {}", self.log()))?;
        Ok(())
    }

    fn page(&self) -> Result<String, Error> {
        let address = wait::until("the agent's address", SOON, || {
            let log = self.log();
            let (_, rest) = log.split_once("serving http://")?;
            Some(rest.split_once("/metrics")?.0.to_owned())
        })?;
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, page) = text.split_once("\r\n\r\n").ok_or("no page")?;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{text}");
        Ok(page.to_owned())
    }
}

/// The kubeconfig of an account that may what the DaemonSet's may.
fn account(kube: &Namespace<'_>) -> Result<Value, Error> {
    let path = repository().join("deploy/kustomize/agent/agent.yaml");
    let manifests = fs::read_to_string(path)?;
    let manifests = manifests.split("---\n");
    let rights: Vec<_> = manifests
        .filter(|text| !text.contains("kind: DaemonSet"))
        .map(|text| {
            text.replace("namespace: podhook", &format!("namespace: {}", kube.name()))
                .replace(
                    "name: podhook-agent",
                    &format!("name: agent-{}", kube.name()),
                )
        })
        .collect();
    kube.apply(&rights.join("---\n"))?;
    let name = format!("agent-{}", kube.name());
    let token = kube.ok(&["create", "token", &name])?;
    let mut config = kube.json(&["config", "view", "--raw"])?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    Ok(config)
}

/// `REASON MESSAGE COUNT` of podhook's Events of a pod.
fn told(kube: &Namespace<'_>, pod: &str) -> Result<Vec<String>, Error> {
    let selector = format!("involvedObject.name={pod},reportingComponent=podhook");
    let list = kube.json(&["get", "events", "--field-selector", &selector])?;
    let line = |event: &Value| {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", text("reason"), text("message"), event["count"])
    };
    let mut lines: Vec<_> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(line)
        .collect();
    lines.sort();
    Ok(lines)
}

/// A pod whose container is sick when the trace says so, and whose preStop fails.
pub fn sick(kube: &Namespace<'_>, trace: &Trace, name: &str) -> Outcome {
    let mut spec = one(trace, &polite());
    let mut probe = exec(&format!("test ! -e /trace/{name}"));
    probe["periodSeconds"] = json!(1);
    probe["timeoutSeconds"] = json!(60);
    probe["failureThreshold"] = json!(1);
    spec["containers"][0]["livenessProbe"] = probe;
    let script = format!("rm -f /trace/{name}; echo cannot flush; exit 4");
    kube.pod(name, &[(MAIN, &json!({"preStop": exec(&script)}))], spec)?;
    kube.ready(name)?;
    Ok(())
}

pub fn fall_ill(kube: &Namespace<'_>, trace: &Trace, name: &str) -> Outcome {
    fs::write(trace.dir().join(name), "")?;
    kube.wait(name, "restarted", |pod| restarts(pod) == 1)?;
    Ok(())
}

pub const FLUSH: &str = "exited with status 4: cannot flush";

fn a_pre_stop_that_fails_is_an_event_that_describe_shows(kube: &Namespace<'_>) -> Outcome {
    let agent = Agent::start(kube)?;
    let trace = trace(kube)?;
    sick(kube, &trace, "web")?;
    fall_ill(kube, &trace, "web")?;
    agent.told(kube, "web", FLUSH)?;
    let words = [
        "Warning",
        "FailedPreStopHook",
        "podhook",
        "preStop hook failed (exec, ",
        FLUSH,
    ];
    let described = kube.ok(&["describe", "pod", "web"])?;
    let events = kube.ok(&["events", "--for", "pod/web", "--types", "Warning"])?;
    let has_all = |text: &str| {
        text.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(has_all(&described), "{described}");
    // That table has no column for whom it is from.
    let line = events
        .lines()
        .find(|line| line.contains("FailedPreStopHook"));
    assert!(line.is_some_and(|line| line.contains(FLUSH)), "{events}");
    let all = kube.json(&["get", "events", "--field-selector=reason=FailedPreStopHook"])?;
    let event = &all["items"][0];
    assert_eq!(
        event["involvedObject"]["fieldPath"],
        "spec.containers{main}"
    );
    assert_eq!(event["source"]["host"], kube.cluster().node());
    // And it is on the page for Prometheus.
    let page = agent.page()?;
    let labels = format!(
        "namespace=\"{}\",pod=\"web\",container=\"main\",hook=\"preStop\",result=\"Failed\"",
        kube.name()
    );
    let sample = format!("podhook_container_hooks_total{{{labels}}} 1\n");
    assert!(page.contains(&sample), "{page}");
    judged(&["check", "metrics"], &page)?;
    let rules = repository().join("deploy/prometheus/rules.yaml");
    judged(&["check", "rules", &rules.to_string_lossy()], "")
}

/// Prometheus' own judgement.
fn judged(words: &[&str], input: &str) -> Outcome {
    let mut promtool = Command::new(cache().join("promtool"));
    let output = command::run(promtool.args(words), Some(input.as_bytes()), SOON)?;
    assert_eq!(
        (output.status, &*output.stderr),
        (0, ""),
        "{}",
        output.stdout
    );
    Ok(())
}

fn a_post_start_that_times_out_is_one_too(kube: &Namespace<'_>) -> Outcome {
    let agent = Agent::start(kube)?;
    let trace = trace(kube)?;
    let script = "test -e /trace/second && exit 0; : > /trace/second; exec sleep 600";
    let mut hook = exec(script);
    hook["timeoutSeconds"] = json!(1);
    let hooks = json!({"postStart": hook});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    kube.ready("web")?;
    agent.told(kube, "web", "postStart hook timed out (exec, ")?;
    let described = kube.ok(&["describe", "pod", "web"])?;
    let line = described
        .lines()
        .find(|line| line.contains("FailedPostStartHook") && line.contains("podhook "));
    let words = ["Warning", "timed out after 1s (timeoutSeconds)"];
    assert!(
        line.is_some_and(|line| words.iter().all(|word| line.contains(word))),
        "{described}"
    );
    Ok(())
}

fn one_that_is_killed_posts_nothing_twice_and_what_it_has_missed(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    for pod in ["first", "second"] {
        sick(kube, &trace, pod)?;
    }
    let agent = Agent::start(kube)?;
    fall_ill(kube, &trace, "first")?;
    agent.told(kube, "first", FLUSH)?;
    drop(agent);
    fall_ill(kube, &trace, "second")?;
    assert_eq!(told(kube, "second")?, Vec::<String>::new());
    let agent = Agent::start(kube)?;
    agent.told(kube, "second", FLUSH)?;
    for pod in ["first", "second"] {
        let told = told(kube, pod)?;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with(" 1"), "{told:?}");
    }
    drop(agent);
    // One that knows nothing of the others.
    let dir = kube.cluster().containerd().dir();
    fs::remove_file(dir.join(format!("agent-{}/agent.json", kube.name())))?;
    let agent = Agent::start(kube)?;
    let posted = |page: &str| {
        page.contains("podhook_agent_events_waiting 0\n") && page.contains("hooks_total{")
    };
    wait::until_true("the agent to have read everything", LONG, || {
        agent.page().is_ok_and(|page| posted(&page))
    })?;
    for pod in ["first", "second"] {
        assert_eq!(told(kube, pod)?.len(), 1);
    }
    // It counts on where they were.
    kube.ok(&["delete", "pod", "first"])?;
    let again = wait::until_true("the Event's second time", LONG, || {
        told(kube, "first").is_ok_and(|told| told.iter().any(|line| line.ends_with(" 2")))
    });
    again.map_err(|error| format!("{error}: {:?}; {}", told(kube, "first"), agent.log()))?;
    assert_eq!(told(kube, "first")?.len(), 1);
    Ok(())
}
