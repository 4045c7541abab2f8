//! An exec whose Start hangs: it is killed, deleted, too late, or its container ends.
//!
//! What holds the process that comes to join is a file system that does not answer. When it answers again,
//! nothing of what was given up may run.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use containerd_shim_protos::api::{
    CreateTaskResponse, DeleteRequest, DeleteResponse, StartRequest, StartResponse, Status,
};
use containerd_shim_protos::shim::oci::Options;
use podhook_integration::Outcome;
use podhook_integration::hanging::{Hanging, PLACE};
use podhook_integration::wait::{self, SOON};
use serde_json::json;
use ttrpc::Code;

use crate::Test;
use crate::client::{Answer, Client, create_request, exec_request};
use crate::options::generic;
use crate::podhook_only;
use crate::stage::{Failure, Stage, any};
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![given_up:
        another_signal_waits_until_the_exec_is_there,
        delete_waits_until_the_exec_is_there,
    ];
    all.extend(podhook_only(tests![given_up:
        an_exec_whose_deadline_is_over_never_runs,
        sigkill_ends_an_exec_that_is_on_its_way,
        an_exec_on_its_way_ends_with_its_container,
        by_the_runtime_an_exec_whose_deadline_is_over_never_runs,
        by_the_runtime_sigkill_ends_an_exec_that_is_on_its_way,
        a_container_that_is_deleted_while_it_is_created_does_not_stay,
        a_shim_that_is_told_to_end_while_its_container_is_given_up_ends,
        a_shim_whose_last_container_is_deleted_for_nobody_ends,
    ]));
    all
}

/// A container, and an exec `e` whose working directory does not answer.
struct Scene<'a> {
    stage: &'a Stage,
    client: Client,
    /// Of the container's init.
    pid: u32,
    hanging: Hanging,
    /// The shim's descriptors before.
    files: usize,
}

/// What the exec makes when it runs.
const RAN: &str = "/tmp/ran";

impl<'a> Scene<'a> {
    fn new(stage: &'a Stage, command: &[&str], by_runtime: bool) -> Result<Self, Failure> {
        // Another container's pid namespace, so that init's end does not end what is in it.
        let mut spec = stage.spec("c1", &["sleep", "600"]);
        if let Some(namespaces) = spec.0["linux"]["namespaces"].as_array_mut() {
            namespaces.retain(|namespace| namespace["type"] != "pid");
        }
        let client = stage.shim_of("c1", &spec)?;
        let mut request = create_request(stage, "c1");
        if by_runtime {
            let path = stage.dir().join("podhook.toml");
            fs::write(&path, "exec = \"runtime\"\n")?;
            request.options = Some(generic(&path.display().to_string(), "")).into();
        }
        client.call::<CreateTaskResponse>("Create", &request)?;
        let pid = client.start("c1", "")?.pid;
        // One that goes well: what the shim keeps from the first on is there then.
        client.exec("c1", "first", &["true"])?;
        client.start("c1", "first")?;
        client.wait("c1", "first")?;
        client.delete("c1", "first")?;
        let hanging = Hanging::mount(pid)?;
        let mut scene = Self {
            stage,
            client,
            pid,
            hanging,
            files: 0,
        };
        scene.files = scene.open_files()?;
        let mut request = exec_request("c1", "e", command);
        let cwd = format!("{PLACE}/cwd");
        let process = json!({
            "args": command, "cwd": cwd, "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
        });
        request.spec.mut_or_insert_default().value = process.to_string().into_bytes();
        scene
            .client
            .call::<containerd_shim_protos::api::Empty>("Exec", &request)?;
        Ok(scene)
    }

    /// Calls Start, and returns when the process hangs.
    fn start(
        &self,
        deadline: Option<Duration>,
    ) -> Result<JoinHandle<Answer<StartResponse>>, Failure> {
        let client = self.client.again()?;
        let request = StartRequest {
            id: "c1".into(),
            exec_id: "e".into(),
            ..Default::default()
        };
        let start = thread::spawn(move || match deadline {
            Some(deadline) => client.call_with_deadline("Start", &request, deadline),
            None => client.call("Start", &request),
        });
        self.hanging.wait_for_request()?;
        Ok(start)
    }

    fn open_files(&self) -> Result<usize, Failure> {
        let shim = self.stage.shim_pid("c1").ok_or("no shim")?;
        Ok(fs::read_dir(format!("/proc/{shim}/fd"))?.count())
    }

    /// All processes that the shim has made and that are not the container's init.
    fn children(&self) -> Vec<String> {
        let shim = self.stage.shim_pid("c1").unwrap_or_default();
        let list = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children"));
        let list = list.unwrap_or_default();
        let others = list
            .split_whitespace()
            .filter(|pid| *pid != self.pid.to_string());
        others.map(str::to_owned).collect()
    }

    fn root(&self) -> String {
        format!("/proc/{}/root", self.pid)
    }

    /// Nothing is left of the exec, and nothing of it runs when the file system answers again.
    fn never_runs(self) -> Outcome {
        wait::until_true("the end of its processes", SOON, || {
            self.children().is_empty()
        })?;
        wait::until_true("its descriptors to be closed", SOON, || {
            self.open_files().is_ok_and(|files| files <= self.files)
        })?;
        let state = self.client.state("c1", "e")?;
        assert_eq!(state.status.enum_value_or_default(), Status::STOPPED);
        self.client.delete("c1", "e")?;
        let (ran, client) = (format!("{}{RAN}", self.root()), self.client);
        self.hanging.answer();
        // Another exec in the same place shows that it answers.
        client.exec("c1", "after", &["true"])?;
        client.start("c1", "after")?;
        client.wait("c1", "after")?;
        client.delete("c1", "after")?;
        assert!(!Path::new(&ran).exists(), "it ran");
        Ok(client.end("c1")?)
    }
}

fn deadline(stage: &Stage, by_runtime: bool) -> Outcome {
    let scene = Scene::new(stage, &["touch", RAN], by_runtime)?;
    let start = scene.start(Some(wait::scaled(Duration::from_secs(1))))?;
    start.join().map_err(|_| "Start")?.expect_err("it started");
    scene.never_runs()
}

fn an_exec_whose_deadline_is_over_never_runs(stage: &Stage) -> Outcome {
    deadline(stage, false)
}

fn by_the_runtime_an_exec_whose_deadline_is_over_never_runs(stage: &Stage) -> Outcome {
    deadline(stage, true)
}

fn sigkill(stage: &Stage, by_runtime: bool) -> Outcome {
    let scene = Scene::new(stage, &["touch", RAN], by_runtime)?;
    let start = scene.start(None)?;
    scene.client.kill("c1", "e", 9, false)?;
    let error = start.join().map_err(|_| "Start")?.expect_err("it started");
    assert!(error.message.contains("killed"), "{error}");
    assert_eq!(scene.client.wait("c1", "e")?.exit_status, 128 + 9);
    let error = scene
        .client
        .kill("c1", "e", 9, false)
        .expect_err("a second signal");
    assert_eq!(error.code, Code::NOT_FOUND);
    scene.never_runs()
}

fn sigkill_ends_an_exec_that_is_on_its_way(stage: &Stage) -> Outcome {
    sigkill(stage, false)
}

fn by_the_runtime_sigkill_ends_an_exec_that_is_on_its_way(stage: &Stage) -> Outcome {
    sigkill(stage, true)
}

fn an_exec_on_its_way_ends_with_its_container(stage: &Stage) -> Outcome {
    let scene = Scene::new(stage, &["touch", RAN], false)?;
    let start = scene.start(None)?;
    scene.client.kill("c1", "", 9, false)?;
    let error = start.join().map_err(|_| "Start")?.expect_err("it started");
    assert!(
        error.message.contains("init process is not running"),
        "{error}"
    );
    scene.client.wait("c1", "")?;
    wait::until_true("the end of its processes", SOON, || {
        scene.children().is_empty()
    })?;
    scene.client.delete("c1", "e")?;
    scene.client.delete("c1", "")?;
    scene.client.shutdown("c1");
    Ok(())
}

fn another_signal_waits_until_the_exec_is_there(stage: &Stage) -> Outcome {
    let scene = Scene::new(stage, &["sleep", "600"], false)?;
    let start = scene.start(None)?;
    let client = scene.client.again()?;
    let kill = thread::spawn(move || client.kill("c1", "e", 15, false));
    thread::sleep(Duration::from_millis(200));
    assert!(!kill.is_finished(), "there is nothing to signal yet");
    let client = scene.client;
    scene.hanging.answer();
    let pid = start.join().map_err(|_| "Start")??.pid;
    assert!(pid > 0);
    kill.join().map_err(|_| "Kill")??;
    assert_eq!(client.wait("c1", "e")?.exit_status, 128 + 15);
    Ok(client.end("c1")?)
}

fn delete_waits_until_the_exec_is_there(stage: &Stage) -> Outcome {
    let scene = Scene::new(stage, &["sleep", "600"], false)?;
    let start = scene.start(None)?;
    let client = scene.client.again()?;
    let delete = thread::spawn(move || client.delete("c1", "e"));
    thread::sleep(Duration::from_millis(200));
    assert!(!delete.is_finished(), "it may run yet");
    let client = scene.client;
    scene.hanging.answer();
    start.join().map_err(|_| "Start")??;
    let error = delete.join().map_err(|_| "Delete")?.expect_err("it runs");
    assert_eq!(error.message, "cannot delete a running process");
    client.kill("c1", "e", 9, false)?;
    client.wait("c1", "e")?;
    Ok(client.end("c1")?)
}

/// `create`, as soon as the OCI runtime is at it, and what lets that go on.
fn held_create(
    stage: &Stage,
    client: &Client,
    id: &str,
) -> Result<(JoinHandle<Answer<()>>, PathBuf), Failure> {
    let (begun, go) = (stage.dir().join("begun"), stage.dir().join("go"));
    let body = format!(
        "case \" $* \" in *' create '*{id}*) touch {}; until [ -e {} ]; do sleep 0.02; done;; esac",
        begun.display(),
        go.display(),
    );
    let options = any(&Options {
        binary_name: stage.recording_runtime(&body)?.0,
        ..Default::default()
    });
    let mut request = create_request(stage, id);
    request.options = Some(options).into();
    let client = client.again()?;
    let create = thread::spawn(move || {
        let answer = client.call::<CreateTaskResponse>("Create", &request);
        answer.map(drop)
    });
    wait::until_true("the OCI runtime", SOON, || begun.exists())?;
    Ok((create, go))
}

/// So does containerd where its client has given Create up, or when it was started again meanwhile. It asks no second time.
fn give_up(client: &Client, id: &str) -> Outcome {
    let deleted = client.delete(id, "");
    let code = deleted.err().map(|error| error.code);
    assert_eq!(code, Some(Code::NOT_FOUND));
    Ok(())
}

fn a_container_that_is_deleted_while_it_is_created_does_not_stay(stage: &Stage) -> Outcome {
    let client = stage.shim("c0", &["sleep", "600"])?;
    client.run(stage, "c0")?;
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    fs::write(stage.bundle("c1").join("sandbox"), "c0")?;
    let (create, go) = held_create(stage, &client, "c1")?;
    give_up(&client, "c1")?;
    // The other containers of the pod need it.
    client.shutdown("c0");
    fs::write(go, "")?;
    let answer = create.join().map_err(|_| "Create panicked")?;
    let error = answer.err().ok_or("it was created")?;
    assert_eq!(error.code, Code::NOT_FOUND, "{error:?}");
    assert_eq!(stage.left_of("c1"), Vec::<String>::new());
    assert_eq!(client.state("c0", "")?.status(), Status::RUNNING);
    // The id is free.
    client.run(stage, "c1")?;
    client.end("c1")?;
    client.end("c0")?;
    Ok(())
}

fn a_shim_that_is_told_to_end_while_its_container_is_given_up_ends(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let (create, go) = held_create(stage, &client, "c1")?;
    give_up(&client, "c1")?;
    client.shutdown("c1");
    fs::write(go, "")?;
    let answer = create.join().map_err(|_| "Create panicked")?;
    assert!(answer.is_err());
    stage.wait_gone("c1")?;
    assert_eq!(stage.left_of("c1"), Vec::<String>::new());
    Ok(())
}

/// The client that has asked for that says nothing more: a containerd that was started again finds no task.
fn a_shim_whose_last_container_is_deleted_for_nobody_ends(stage: &Stage) -> Outcome {
    let (begun, go) = (stage.dir().join("begun"), stage.dir().join("go"));
    let body = format!(
        "case \" $* \" in *' delete '*) touch {}; until [ -e {} ]; do sleep 0.02; done;; esac",
        begun.display(),
        go.display(),
    );
    let options = any(&Options {
        binary_name: stage.recording_runtime(&body)?.0,
        ..Default::default()
    });
    stage.make_bundle("c1", &stage.spec("c1", &["true"]))?;
    let client = stage.start("c1", Some(&options))?;
    client.create_with(stage, "c1", &options)?;
    client.start("c1", "")?;
    client.wait("c1", "")?;
    let request = DeleteRequest {
        id: "c1".into(),
        ..Default::default()
    };
    let deadline = Duration::from_secs(1);
    let answer = client.call_with_deadline::<DeleteResponse>("Delete", &request, deadline);
    assert!(answer.is_err());
    wait::until_true("the OCI runtime", SOON, || begun.exists())?;
    // There are clients, and the shim does not end for want of them.
    fs::write(go, "")?;
    stage.wait_gone("c1")?;
    assert_eq!(stage.left_of("c1"), Vec::<String>::new());
    Ok(())
}
