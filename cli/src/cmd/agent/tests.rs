use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use podhook_hooks::journal::Entry;
use podhook_hooks::record::Timestamp;
use serde_json::{Value, json};

use super::{Agent, notice, post, serve};
use crate::cluster::Api;
use crate::cluster::fake::{self, Fake};
use crate::node::{bundles, metrics};

/// A node with a journal, and an API server.
pub(super) struct Stage {
    folder: tempfile::TempDir,
    pub(super) api: Api,
    pub(super) server: Arc<Mutex<Fake>>,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("journal")).unwrap();
        let (api, server) = fake::start(folder.path()).await;
        Self {
            folder,
            api,
            server,
        }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A container that has hooks, in a namespace and a pod.
    pub(super) fn record(&self, id: &str, pod: Option<(&str, &str)>) {
        let bundle = bundles::folder(self.folder.path()).join("k8s.io").join(id);
        fs::create_dir_all(&bundle).unwrap();
        let mut record =
            json!({"version": 1, "id": id, "namespace": "k8s.io", "phase": "Running", "hooks": []});
        if let Some((namespace, name)) = pod {
            record["pod"] = json!({"namespace": namespace, "name": name, "container": "nginx"});
        }
        fs::write(bundle.join("podhook.json"), record.to_string()).unwrap();
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    fn segment(&self) -> PathBuf {
        self.journal().join("00000001-1764334000.jsonl")
    }

    fn position(&self) -> PathBuf {
        self.folder.path().join("agent.json")
    }

    pub(super) fn write(&self, line: &Value) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.segment())
            .unwrap();
        writeln!(file, "{line}").unwrap();
    }

    pub(super) fn agent(&self) -> Agent {
        agent(self.folder.path(), &self.position())
    }

    /// Lives until nothing waits and the API server has so many Events.
    async fn live(&self, events: usize) -> Agent {
        self.live_as(self.agent(), events).await
    }

    async fn live_as(&self, agent: Agent, events: usize) -> Agent {
        {
            let come = async {
                loop {
                    let (waiting, read) = {
                        let outbox = &agent.state().outbox;
                        let read = outbox.position.as_ref().map(|position| position.offset);
                        (outbox.waiting.len(), read)
                    };
                    let is_read = read == Some(self.segment().metadata().unwrap().len());
                    if is_read && waiting == 0 && self.events().len() == events {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let journal = self.journal();
            let lived = async {
                tokio::select! {
                    ended = agent.follow(&journal) => panic!("{ended:?}"),
                    never = post::run(&agent, &self.api) => never,
                    () = come => {}
                }
            };
            let lived = tokio::time::timeout(Duration::from_secs(60), lived).await;
            assert!(lived.is_ok(), "{:?}", self.server.lock().unwrap());
        }
        agent
    }

    fn events(&self) -> Vec<Value> {
        let server = self.server.lock().unwrap();
        server.objects.values().cloned().collect()
    }

    fn changes(&self) -> Vec<String> {
        self.server.lock().unwrap().changes.clone()
    }
}

fn agent(state: &Path, position: &Path) -> Agent {
    let tells = super::Tells {
        output: true,
        condition: false,
    };
    let node = metrics::Node {
        state: state.to_owned(),
        timeout: Duration::from_millis(500),
    };
    Agent::new(node, "node-1".to_owned(), position, tells)
}

/// A preStop of container `id` that has failed just now.
pub(super) fn failed(id: &str) -> Value {
    let now = Timestamp::from(SystemTime::now()).to_string();
    json!({"version": 1, "time": now, "event": "HookEnded", "id": id, "namespace": "k8s.io", "phase": "PreStop",
        "pod": {"namespace": "shop", "name": format!("web-{id}"), "uid": "u1", "container": "nginx"},
        "hook": {"hook": "preStop", "handler": "exec", "result": "Failed", "startedAt": now, "finishedAt": now,
            "durationMs": 12.4, "exitCode": 4, "message": "exited with status 4", "output": "one\ncannot flush\n"}})
}

fn with(mut line: Value, pointer: &str, value: Value) -> Value {
    *line.pointer_mut(pointer).unwrap() = value;
    line
}

#[tokio::test(flavor = "current_thread")]
async fn a_failed_hook_becomes_an_event_as_kubectl_shows_it() {
    let stage = Stage::new().await;
    stage.write(&failed("1"));
    stage.write(&with(failed("2"), "/hook/result", "Succeeded".into()));
    stage.write(&json!({"event": "StartFailed", "id": "1", "message": "FailedPostStartHook"}));
    stage.live(1).await;
    let event = &stage.events()[0];
    let message = "preStop hook failed (exec, 12ms): exited with status 4: cannot flush";
    for (pointer, want) in [
        ("/type", "Warning"),
        ("/reason", "FailedPreStopHook"),
        ("/message", message),
        ("/source/component", "podhook"),
        ("/source/host", "node-1"),
        ("/reportingComponent", "podhook"),
        ("/involvedObject/kind", "Pod"),
        ("/involvedObject/name", "web-1"),
        ("/involvedObject/uid", "u1"),
        ("/involvedObject/fieldPath", "spec.containers{nginx}"),
        ("/metadata/namespace", "shop"),
    ] {
        assert_eq!(event.pointer(pointer), Some(&want.into()), "{pointer}");
    }
    assert_eq!(event["count"], 1);
    // Kubernetes reads it, and has every field.
    let typed: k8s_openapi::api::core::v1::Event = serde_json::from_value(event.clone()).unwrap();
    let name = typed.metadata.name.unwrap();
    assert!(name.starts_with("web-1.") && name.len() == 22, "{name}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_restart_posts_nothing_twice_and_loses_nothing() {
    let stage = Stage::new().await;
    stage.write(&failed("1"));
    stage.live(1).await;
    stage.write(&failed("2"));
    stage.live(2).await;
    stage.live(2).await;
    assert_eq!(stage.changes(), ["POST /api/v1/namespaces/shop/events"; 2]);
    // What was the same before it still counts, however long it took.
    stage.write(&with(failed("2"), "/hook/durationMs", 99.0.into()));
    let agent = stage.live(2).await;
    assert!(agent.state().outbox.position.is_some());
    let counts: Vec<_> = stage
        .events()
        .iter()
        .map(|one| one["count"].clone())
        .collect();
    assert_eq!(counts, [1, 2]);
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_is_killed_after_it_has_posted_posts_the_same_again() {
    let stage = Stage::new().await;
    stage.write(&failed("1"));
    stage.live(1).await;
    // Its file is lost, and so is one that is no use.
    for text in [None, Some("{"), Some(r#"{"version": 7}"#)] {
        match text {
            Some(text) => fs::write(stage.position(), text).unwrap(),
            None => fs::remove_file(stage.position()).unwrap(),
        }
        stage.live(1).await;
        assert_eq!(stage.events()[0]["count"], 1);
    }
    // It had written what it was about to post.
    stage.write(&failed("1"));
    let agent = stage.agent();
    let mut follower = super::Follower::new(super::Reader::new(&stage.journal())).unwrap();
    let items = follower.next().await.unwrap();
    agent.take(items, &follower);
    let before = fs::read(stage.position()).unwrap();
    stage.live(1).await;
    fs::write(stage.position(), before).unwrap();
    stage.live(1).await;
    assert_eq!(stage.events().len(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn what_the_api_server_does_not_take_keeps_nobody_waiting() {
    let stage = Stage::new().await;
    // No API server.
    let nowhere = Api::at("localhost", 1, stage.folder.path());
    stage.write(&failed("1"));
    let agent = stage.agent();
    let journal = stage.journal();
    let read = async {
        while agent.state().outbox.waiting.len() < 2 {
            stage.write(&failed("2"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        ended = agent.follow(&journal) => panic!("{ended:?}"),
        never = post::run(&agent, &nowhere) => never,
        () = read => {}
    }
    drop(agent);
    // It comes back.
    stage.live(2).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_namespace_that_takes_no_events_keeps_no_other_waiting() {
    let stage = Stage::new().await;
    stage.server.lock().unwrap().broken = Some("/sick/".to_owned());
    stage.write(&with(failed("1"), "/pod/namespace", "sick".into()));
    stage.write(&failed("2"));
    let agent = stage.agent();
    let journal = stage.journal();
    let posted = async {
        while stage.events().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = agent.follow(&journal) => panic!("{ended:?}"),
        never = post::run(&agent, &stage.api) => never,
        () = posted => {}
    }
    assert_eq!(stage.events()[0]["metadata"]["namespace"], "shop");
    stage.server.lock().unwrap().broken = None;
    drop(agent);
    stage.live(2).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_event_that_is_too_old_for_the_api_server_is_counted_and_not_posted() {
    let stage = Stage::new().await;
    let old = SystemTime::now() - Duration::from_secs(3700);
    let old = Timestamp::from(old).to_string();
    stage.write(&with(failed("1"), "/time", old.into()));
    stage.write(&failed("2"));
    let agent = stage.live(1).await;
    let page = agent.state().page();
    assert!(
        page.contains("podhook_agent_events_total{result=\"too_old\"} 1\n"),
        "{page}"
    );
    assert!(
        page.contains("podhook_agent_events_total{result=\"posted\"} 1\n"),
        "{page}"
    );
    let labels = r#"namespace="shop",pod="web-1",container="nginx",hook="preStop",result="Failed""#;
    assert!(
        page.contains(&format!("podhook_container_hooks_total{{{labels}}} 1\n")),
        "{page}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_pod_has_a_condition_where_that_is_wanted() {
    let stage = Stage::new().await;
    let path = "/api/v1/namespaces/shop/pods/web-1/status".to_owned();
    {
        let mut server = stage.server.lock().unwrap();
        server.objects.insert(path.clone(), json!({}));
    }
    let told = async |events: usize, line: &Value| {
        stage.write(line);
        let mut agent = stage.agent();
        agent.tells.condition = true;
        // The pod's status is one of the objects.
        stage.live_as(agent, events + 1).await;
        let condition =
            stage.server.lock().unwrap().objects[&path]["status"]["conditions"][0].clone();
        ["status", "reason", "message"].map(|key| condition[key].as_str().unwrap().to_owned())
    };
    let good = with(failed("1"), "/hook/result", "Succeeded".into());
    assert_eq!(told(0, &good).await, ["True", "HooksSucceeded", ""]);
    let why = "preStop hook failed (exec): exited with status 4: cannot flush";
    let bad = ["False", "FailedPreStopHook", why];
    assert_eq!(told(1, &failed("1")).await, bad);
    // Another container's success changes nothing.
    let beside = with(good.clone(), "/pod/container", "sidecar".into());
    assert_eq!(told(1, &beside).await, bad);
    assert_eq!(told(1, &good).await[0], "True");
    // Nothing is told twice, over restarts of the agent.
    told(1, &good).await;
    let patches = stage
        .changes()
        .iter()
        .filter(|change| change.contains(&path))
        .count();
    assert_eq!(patches, 3);
    // A pod that is gone is no error.
    stage.server.lock().unwrap().objects.remove(&path);
    stage.write(&failed("1"));
    let mut agent = stage.agent();
    agent.tells.condition = true;
    let agent = stage.live_as(agent, 1).await;
    assert!(
        agent
            .state()
            .page()
            .contains("podhook_agent_event_failures_total 0\n")
    );
}

fn told(line: &Value, with_output: bool) -> Option<String> {
    let entry = Entry::from_json(line).unwrap();
    notice::of(&entry, with_output).map(|notice| format!("{}: {}", notice.reason, notice.message))
}

#[test]
fn messages_say_what_has_become_of_the_hook() {
    let with_result = |result: &str, message: &str| {
        let line = with(failed("1"), "/hook/result", result.into());
        with(line, "/hook/message", message.into())
    };
    for (result, message, want) in [
        (
            "TimedOut",
            "timed out after 1s (timeoutSeconds)",
            "preStop hook timed out (exec, 12ms): timed out after 1s (timeoutSeconds): cannot flush",
        ),
        (
            "Aborted",
            "aborted by SIGKILL",
            "preStop hook aborted (exec, 12ms): aborted by SIGKILL: cannot flush",
        ),
        (
            "Skipped",
            "the container is paused",
            "preStop hook skipped (exec, 12ms): the container is paused: cannot flush",
        ),
        (
            "Lost",
            "gone",
            "preStop hook lost (exec, 12ms): gone: cannot flush",
        ),
    ] {
        let text = told(&with_result(result, message), true).unwrap();
        assert_eq!(text, format!("FailedPreStopHook: {want}"));
    }
    // nginx -s quit.
    let over = with_result("Aborted", podhook_hooks::sequence::INIT_EXITED);
    assert_eq!(told(&over, true), None);
    let secret = told(&failed("1"), false).unwrap();
    assert!(secret.ends_with("exited with status 4"), "{secret}");
    let start = told(&with(failed("1"), "/hook/hook", "postStart".into()), true).unwrap();
    assert!(
        start.starts_with("FailedPostStartHook: postStart hook failed "),
        "{start}"
    );
    let loud = with(
        failed("1"),
        "/hook/output",
        format!("\u{1b}[2J{}", "x".repeat(4000)).into(),
    );
    let loud = told(&loud, true).unwrap();
    assert!(loud.len() < 1030 && loud.contains("\\x1b[2J"), "{loud}");
    let no_pod = with(failed("1"), "/pod", Value::Null);
    assert_eq!(told(&no_pod, true), None);
}

#[test]
fn a_name_that_is_none_leads_nowhere() {
    for pointer in ["/pod/namespace", "/pod/name"] {
        for name in ["", "../secrets", "a?b", "A", "a b", &"a".repeat(254)] {
            let line = with(failed("1"), pointer, name.into());
            assert_eq!(told(&line, true), None, "{pointer} {name}");
        }
    }
    let long = "a".repeat(253);
    let line = with(failed("1"), "/pod/name", long.as_str().into());
    let notice = notice::of(&Entry::from_json(&line).unwrap(), true).unwrap();
    assert_eq!(notice.name.len(), 253);
}

#[test]
fn the_page_has_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), &folder.path().join("agent.json"));
    let mut state = agent.state();
    for n in 0..1003 {
        let entry = Entry::from_json(&failed(&n.to_string())).unwrap();
        state.counts.line(&entry);
    }
    let page = state.page();
    let count = page
        .lines()
        .filter(|line| line.starts_with("podhook_container_hooks_total{"));
    assert_eq!(count.count(), 1000);
    assert!(
        page.contains("\npodhook_agent_containers_dropped_total 3\n"),
        "{page}"
    );
}

async fn ask(agent: &Agent, path: &str) -> (u16, String) {
    let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
    let response = serve::answer(agent, &request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn deploy(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file);
    fs::read_to_string(&path).unwrap()
}

/// Every `podhook_…` in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let names = words.filter(|word| word.starts_with("podhook_"));
    names.map(str::to_owned).collect()
}

#[tokio::test(flavor = "current_thread")]
async fn rules_and_dashboard_name_metrics_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), &folder.path().join("agent.json"));
    agent
        .state()
        .counts
        .line(&Entry::from_json(&failed("1")).unwrap());
    assert_eq!(ask(&agent, "/healthz").await, (200, "ok\n".to_owned()));
    let (status, page) = ask(&agent, "/metrics").await;
    assert_eq!(status, 200);
    let mut exposed = BTreeSet::new();
    for line in page.lines() {
        let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|it| it.split_once(' '))
        else {
            continue;
        };
        assert!(exposed.insert(name.to_owned()), "{name} is there twice");
        if kind == "histogram" {
            exposed.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
    }
    for file in ["prometheus/rules.yaml", "grafana/podhook.json"] {
        let in_file = named(&deploy(file));
        assert!(in_file.len() > 5, "{file}: {in_file:?}");
        let missing: Vec<_> = in_file.difference(&exposed).collect();
        assert!(missing.is_empty(), "{file}: {missing:?}");
    }
    let documented = named(
        &fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md"))
            .unwrap(),
    );
    for name in exposed
        .iter()
        .filter(|name| page.contains(&format!("# TYPE {name} ")))
    {
        assert!(documented.contains(name), "docs/metrics.md: no {name}");
    }
}
