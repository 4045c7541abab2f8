//! A shim's containers in a world of fakes, as a client sees them.

use std::fmt::Display;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::api::{
    CheckpointTaskRequest, CreateTaskRequest, DeleteResponse, ExecProcessRequest, Status,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc;
use podhook_hooks::handler::{HookRun, Outcome};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::fake_events::FakeEvents;
use super::fake_runtime::FakeRuntimes;
use super::fake_system::FakeSystem;
use super::fakes::{Does, Fakes};
use crate::container::Container;
use crate::container::deps::{Deps, TakenIds};
use crate::counters::Counting;
use crate::error::{Error, Result};
use crate::host::members::Members;
use crate::journal::Journaling;

pub const TERM: i32 = libc::SIGTERM;
pub const KILL: i32 = libc::SIGKILL;

/// A postStart and a preStop by commands that the fakes know them by.
pub const POST: &str = r#"{"postStart": {"exec": {"command": ["post"]}}}"#;
pub const POST_IGNORED: &str =
    r#"{"postStart": {"exec": {"command": ["post"]}, "onFailure": "Ignore"}}"#;
pub const PRE: &str = r#"{"preStop": {"exec": {"command": ["pre"]}}}"#;
pub const BOTH: &str =
    r#"{"postStart": {"exec": {"command": ["post"]}}, "preStop": {"exec": {"command": ["pre"]}}}"#;

pub struct World {
    pub fakes: Fakes,
    pub deps: Arc<Deps>,
    dir: TempDir,
}

impl World {
    pub fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    /// With its bundles where no disk is: for many of them.
    pub fn in_memory() -> Self {
        Self::at(
            tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
        )
    }

    fn at(dir: TempDir) -> Self {
        let fakes = Fakes::new();
        let deps = Arc::new(deps(&fakes, dir.path()));
        std::fs::write(dir.path().join("config.toml"), "").unwrap();
        Self { fakes, deps, dir }
    }

    /// With this configuration of the node.
    pub fn configured(config: &str) -> Self {
        let world = Self::new();
        std::fs::write(world.dir.path().join("config.toml"), config).unwrap();
        world
    }

    /// What Create of container `id` asks for, in a bundle of its own.
    pub fn request(&self, id: &str, annotations: Value) -> CreateTaskRequest {
        let bundle = self.dir.path().join(id);
        let _ = std::fs::create_dir(&bundle);
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {"args": ["init"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": "pid"}]},
            "annotations": annotations,
        });
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        let config = self.dir.path().join("config.toml");
        let path = config.display().to_string();
        // `config_path` of `runtimeoptions.v1.Options`.
        let mut value = vec![18, u8::try_from(path.len()).unwrap()];
        value.extend(path.bytes());
        CreateTaskRequest {
            id: id.to_owned(),
            bundle: bundle.display().to_string(),
            options: Some(Any {
                type_url: "runtimeoptions.v1.Options".to_owned(),
                value,
                ..Any::default()
            })
            .into(),
            ..Default::default()
        }
    }

    /// Creates a container outside of CRI, with this lifecycle, if any.
    pub async fn create(&self, id: &str, lifecycle: &str) -> Result<Task> {
        let annotations = match lifecycle {
            "" => json!({}),
            lifecycle => json!({"podhook.dev/lifecycle": lifecycle}),
        };
        self.create_by(self.request(id, annotations)).await
    }

    /// The same for one of CRI's.
    pub async fn create_cri(&self, id: &str, lifecycle: &str) -> Result<Task> {
        let annotations = json!({
            "podhook.dev/lifecycle": lifecycle,
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.container-name": id,
        });
        self.create_by(self.request(id, annotations)).await
    }

    pub async fn create_by(&self, request: CreateTaskRequest) -> Result<Task> {
        let id = request.id.clone();
        let container = Container::create(&self.deps, request, false).await?;
        let fakes = self.fakes.clone();
        Ok(Task {
            id,
            container,
            fakes,
        })
    }

    /// A container that runs, past its postStart.
    /// A container that runs, whose processes are in somebody else's pid namespace.
    pub async fn running_in_a_shared_pid_namespace(&self, id: &str) -> Task {
        let request = self.request(id, json!({}));
        let path = format!("{}/config.json", request.bundle);
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace(r#"{"type":"pid"}"#, r#"{"type":"mount"}"#);
        std::fs::write(&path, text).unwrap();
        let task = self.create_by(request).await.unwrap();
        assert_eq!(answer(task.start()).await, "ok");
        task
    }

    pub async fn running(&self, id: &str, lifecycle: &str) -> Task {
        let task = self.create(id, lifecycle).await.unwrap();
        let start = task.start();
        moment().await;
        task.hook_ends("post", true);
        assert_eq!(answer(start).await, "ok");
        task
    }

    /// The events of container `id` and its execs, without its name.
    pub fn events(&self, id: &str) -> Vec<String> {
        let lines = self.fakes.trace(&["event"]);
        let of_it = lines.iter().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (what, name) = (words.next()?, words.next()?);
            let rest = name.strip_prefix(id)?;
            let status = words.next().map(|status| format!(" {status}"));
            Some(format!("{what}{rest}{}", status.unwrap_or_default()))
        });
        of_it.collect()
    }

    /// What the runtime was asked for, without the container's name.
    pub fn calls(&self, id: &str) -> Vec<String> {
        let name = format!(" {id}");
        let lines = self.fakes.trace(&["call"]);
        let of_it = lines.iter().filter(|line| line.contains(&name));
        of_it
            .map(|line| line.replacen("call ", "", 1).replacen(&name, "", 1))
            .collect()
    }

    /// The signals that were sent by pidfd.
    pub fn signals(&self) -> Vec<String> {
        self.fakes.trace(&["signal"])
    }

    /// Where `first` and `second` stand in the list of all that happened.
    pub fn assert_order(&self, first: &str, second: &str) {
        let trace = self.fakes.lock().trace.clone();
        let at = |what: &str| {
            let at = trace.iter().position(|line| line == what);
            at.unwrap_or_else(|| panic!("no {what:?} in {trace:#?}"))
        };
        assert!(at(first) < at(second), "{first} after {second}: {trace:#?}");
    }
}

#[cfg(feature = "fuzzing")]
impl World {
    /// What the containers of another shim in this world share.
    pub fn new_deps(&self) -> Deps {
        deps(&self.fakes, self.dir.path())
    }

    /// Where the bundles are.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }
}

/// A hook ends by itself; false where it does not run.
pub fn hook_ends(fakes: &Fakes, name: &str, succeeds: bool) -> bool {
    let began = podhook_hooks::moment::Moment::now();
    let outcome = match succeeds {
        true => Outcome::Succeeded,
        false => Outcome::Failed("exited with status 3".to_owned()),
    };
    let mut result = HookRun::new(outcome, began);
    if !succeeds {
        result.exit_code = Some(3);
        result.output = b"it printed this".to_vec();
    }
    fakes.end_hook(name, result)
}

fn deps(fakes: &Fakes, folder: &Path) -> Deps {
    Deps {
        namespace: "default".to_owned(),
        runtimes: Box::new(FakeRuntimes(fakes.clone())),
        events: Arc::new(FakeEvents(fakes.clone())),
        children: Arc::new(fakes.clone()),
        counters: Counting::new(),
        journal: Arc::<Journaling>::default(),
        system: Box::new(FakeSystem(fakes.clone())),
        members: Members::of(&folder.join("shim")),
        taken: TakenIds::default(),
    }
}

/// One container as its client sees it.
#[derive(Clone)]
pub struct Task {
    pub id: String,
    pub container: Arc<Container>,
    pub fakes: Fakes,
}

/// An RPC that goes on in the background, as those of a client do.
pub type Rpc<T> = JoinHandle<Result<T>>;

impl Task {
    pub fn start(&self) -> Rpc<u32> {
        self.start_within(None)
    }

    pub fn start_within(&self, deadline: Option<Duration>) -> Rpc<u32> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { container.start(deadline).await })
    }

    pub fn kill(&self, signal: i32) -> Rpc<()> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { container.kill(signal, false).await })
    }

    pub fn kill_all(&self, signal: i32) -> Rpc<()> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { container.kill(signal, true).await })
    }

    pub fn delete(&self) -> Rpc<DeleteResponse> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { container.delete().await })
    }

    pub fn pause(&self) -> Rpc<()> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { container.pause().await })
    }

    pub fn resume(&self) -> Rpc<()> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { container.resume().await })
    }

    pub fn update(&self) -> Rpc<()> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { container.update(b"{}").await })
    }

    pub fn checkpoint(&self) -> Rpc<()> {
        let container = Arc::clone(&self.container);
        let request = CheckpointTaskRequest {
            path: "/images".to_owned(),
            ..Default::default()
        };
        tokio::spawn(async move { container.checkpoint(&request).await })
    }

    pub fn wait(&self, exec_id: &'static str) -> JoinHandle<Result<u32>> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { Ok(container.wait(exec_id).await?.status) })
    }

    pub fn exec(&self, exec_id: &str) -> Result<()> {
        self.container.exec(ExecProcessRequest {
            exec_id: exec_id.to_owned(),
            spec: Some(Any {
                value: json!({"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}})
                    .to_string()
                    .into_bytes(),
                ..Any::default()
            })
            .into(),
            ..Default::default()
        })
    }

    pub fn start_exec(&self, exec_id: &'static str) -> Rpc<u32> {
        self.start_exec_within(exec_id, None)
    }

    pub fn start_exec_within(&self, exec_id: &'static str, deadline: Option<Duration>) -> Rpc<u32> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { container.start_exec(exec_id, deadline).await })
    }

    pub fn kill_exec(&self, exec_id: &'static str, signal: i32) -> Rpc<()> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { container.kill_exec(exec_id, signal, false).await })
    }

    pub fn delete_exec(&self, exec_id: &'static str) -> Rpc<DeleteResponse> {
        let container = Arc::clone(&self.container);
        tokio::spawn(async move { container.delete_exec(exec_id).await })
    }

    /// What State says.
    pub fn status(&self) -> Status {
        let state = self.container.state("").unwrap();
        state.status.enum_value().unwrap()
    }

    pub fn init(&self) -> i32 {
        i32::try_from(self.container.pid()).unwrap()
    }

    /// Init ends by itself, with this exit code.
    pub fn init_exits(&self, code: i32) {
        self.fakes.end(self.init(), code << 8);
    }

    /// The process of an exec ends by itself.
    pub fn exec_exits(&self, exec_id: &str, code: i32) {
        let state = self.container.state(exec_id).unwrap();
        self.fakes.end(state.pid.cast_signed(), code << 8);
    }

    /// A hook ends by itself; false where it does not run.
    pub fn hook_ends(&self, hook: &str, succeeds: bool) -> bool {
        hook_ends(&self.fakes, &format!("{} {hook}", self.id), succeeds)
    }

    pub fn hook_is_running(&self, hook: &str) -> bool {
        self.fakes.hook_is_running(&format!("{} {hook}", self.id))
    }

    /// What `podhook.json` says; null where there is none.
    pub fn record(&self) -> Value {
        let path = self.container.bundle.join("podhook.json");
        let Ok(text) = std::fs::read(path) else {
            return Value::Null;
        };
        serde_json::from_slice(&text).unwrap()
    }

    pub fn phase(&self) -> String {
        self.record()["phase"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The hooks of the record and their results: `postStart Succeeded`.
    pub fn results(&self) -> Vec<String> {
        let record = self.record();
        let hooks = record["hooks"].as_array().cloned().unwrap_or_default();
        hooks
            .iter()
            .map(|hook| {
                let word = |key: &str| hook[key].as_str().unwrap_or("?").to_owned();
                format!("{} {}", word("hook"), word("result"))
            })
            .collect()
    }

    /// What the record says of a hook besides its result.
    pub fn message(&self, hook: usize) -> String {
        let record = self.record();
        record["hooks"][hook]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub fn plan(&self, verb: &'static str, does: Does) {
        self.fakes.plan(verb, does);
    }
}

/// Everything that can happen now, happens.
pub async fn moment() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

pub async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// What the client is told: `ok`, or its code and message.
pub fn told<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(e) => told_of(e),
    }
}

pub fn told_of(error: Error) -> String {
    match ttrpc::Error::from(error) {
        ttrpc::Error::RpcStatus(status) => format!("{:?}: {}", status.code(), status.message),
        other => other.to_string(),
    }
}

/// The answer of an RPC, which comes at some time.
pub async fn answer<T>(rpc: Rpc<T>) -> String {
    told(rpc.await.unwrap())
}

/// Whether it is not answered yet.
pub fn is_pending<T>(rpc: &Rpc<T>) -> bool {
    !rpc.is_finished()
}

/// Runs a story in time that passes only where all wait for it.
pub fn story<F: Future<Output = ()>>(story: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(story);
}

/// `words` is in `text`.
#[track_caller]
pub fn assert_says(text: impl Display, words: &str) {
    let text = text.to_string();
    assert!(text.contains(words), "{words:?} is not in {text:?}");
}
