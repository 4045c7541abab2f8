//! A shim that is killed while its OCI runtime makes a container: `delete` comes at once, and nothing is left.

use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use containerd_shim_protos::api::Status;
use containerd_shim_protos::shim::oci::Options;
use nix::mount::{MntFlags, umount2};
use podhook_integration::containerd::remains;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Outcome, hierarchy};

use crate::Test;
use crate::client::{Answer, Client};
use crate::podhook_only;
use crate::stage::{Failure, Stage, any};
use crate::tests;
use crate::verbs::kill9;

pub fn tests() -> Vec<Test> {
    // The original leaves its socket, and cgroups as well.
    podhook_only(tests![killed:
        nothing_is_left_of_a_container_that_was_being_made,
        nothing_is_left_of_a_container_that_was_being_started,
        nothing_is_left_of_a_container_that_was_being_deleted,
        what_the_runtime_has_started_makes_nothing_after_delete,
        a_runtime_whose_delete_hangs_leaves_nothing,
        a_runtime_whose_delete_is_killed_leaves_nothing,
        a_container_that_containerd_has_lost_makes_room_for_the_next,
        a_container_in_the_same_cgroup_is_not_killed_with_it,
        the_sandboxs_delete_ends_every_container_of_its_shim,
        the_sandboxs_delete_ends_no_container_of_a_shim_that_lives,
    ])
}

/// Create, on a thread of its own: its answer never comes.
fn creating(client: &Client, stage: &Stage, id: &str) -> thread::JoinHandle<Answer<()>> {
    let (client, request) = (client.clone(), crate::client::create_request(stage, id));
    thread::spawn(move || {
        client
            .call::<containerd_shim_protos::api::CreateTaskResponse>("Create", &request)
            .map(drop)
    })
}

/// Waits for the end of every one.
fn wait_no_process(text: &str) -> Outcome {
    let is_over = || remains::processes_with(text).is_empty();
    Ok(wait::until_true(
        &format!("the end of {text}"),
        SOON,
        is_over,
    )?)
}

fn nothing_is_left_of_a_container_that_was_being_made(stage: &Stage) -> Outcome {
    // runc makes its cgroups about 20 ms after Create has come, on an idle machine.
    for delay in (0..60).step_by(2) {
        let id = format!("c{delay}");
        let client = stage.shim(&id, &["sleep", "600"])?;
        let pid = stage.shim_pid(&id);
        let create = creating(&client, stage, &id);
        thread::sleep(Duration::from_millis(delay));
        kill9(pid)?;
        let output = stage.delete_verb(&id)?;
        assert!(output.status.success(), "{output:?}");
        // Not a moment later: containerd looks no more.
        let left = stage.left_of(&id);
        assert!(left.is_empty(), "after {delay} ms: {left:?}");
        let _ = create.join();
        wait_no_process(&stage.bundle(&id).display().to_string())?;
        let left = stage.left_of(&id);
        assert!(left.is_empty(), "later, after {delay} ms: {left:?}");
    }
    Ok(())
}

/// Kills the shim a little later each time after `call` was begun for a container that `prepare` has got there.
fn killed_during(
    stage: &Stage,
    prepare: impl Fn(&Client, &str) -> Answer<()>,
    call: fn(&Client, &str) -> Answer<()>,
) -> Outcome {
    // What podhook does itself takes some milliseconds.
    for delay in (0..6000).step_by(300) {
        let id = format!("c{delay}");
        let client = stage.shim(&id, &["sleep", "600"])?;
        client.create(stage, &id)?;
        prepare(&client, &id)?;
        let pid = stage.shim_pid(&id);
        let calling = {
            let (client, id) = (client.clone(), id.clone());
            thread::spawn(move || call(&client, &id))
        };
        thread::sleep(Duration::from_micros(delay));
        kill9(pid)?;
        let output = stage.delete_verb(&id)?;
        assert!(output.status.success(), "{output:?}");
        let left = stage.left_of(&id);
        assert!(left.is_empty(), "after {delay} us: {left:?}");
        let _ = calling.join();
    }
    Ok(())
}

fn nothing_is_left_of_a_container_that_was_being_started(stage: &Stage) -> Outcome {
    killed_during(
        stage,
        |_, _| Ok(()),
        |client, id| client.start(id, "").map(drop),
    )
}

fn nothing_is_left_of_a_container_that_was_being_deleted(stage: &Stage) -> Outcome {
    let ended = |client: &Client, id: &str| {
        client.start(id, "")?;
        client.kill(id, "", 9, false)?;
        client.wait(id, "").map(drop)
    };
    killed_during(stage, ended, |client, id| client.delete(id, "").map(drop))
}

/// A runtime whose `create` leaves a process of its own that makes the container's cgroup later, as crun's does.
fn runtime_that_goes_on(stage: &Stage, id: &str) -> Result<String, Failure> {
    let begun = stage.dir().join("begun");
    let body = format!(
        "case \" $* \" in *' create '*)\n\
         setsid sh -c 'trap \"\" HUP TERM; touch {begun}; sleep 1; mkdir -p {hierarchy}/{namespace}/{id}; sleep 1' &\n\
         wait; exit 1;;\nesac",
        begun = begun.display(),
        hierarchy = hierarchy::of("pids").display(),
        namespace = stage.namespace(),
    );
    Ok(stage.recording_runtime(&body)?.0)
}

fn what_the_runtime_has_started_makes_nothing_after_delete(stage: &Stage) -> Outcome {
    let options = any(&Options {
        binary_name: runtime_that_goes_on(stage, "c1")?,
        ..Default::default()
    });
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let client = stage.start("c1", Some(&options))?;
    let mut request = crate::client::create_request(stage, "c1");
    request.options = Some(options).into();
    let create = thread::spawn(move || {
        client.call::<containerd_shim_protos::api::CreateTaskResponse>("Create", &request)
    });
    let begun = stage.dir().join("begun");
    wait::until_true("the runtime's child", SOON, || begun.exists())?;
    kill9(stage.shim_pid("c1"))?;
    let output = stage.delete_verb("c1")?;
    assert!(output.status.success(), "{output:?}");
    let _ = create.join();
    wait_no_process(&format!("touch {}", begun.display()))?;
    let left = stage.left_of("c1");
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// containerd kills a `delete` that takes longer than 5 s, and asks no second time.
fn a_runtime_whose_delete_hangs_leaves_nothing(stage: &Stage) -> Outcome {
    let hang = "case \" $* \" in *' delete '*) exec sleep 5593;; esac";
    let options = any(&Options {
        binary_name: stage.recording_runtime(hang)?.0,
        ..Default::default()
    });
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "5594"]))?;
    let client = stage.start("c1", Some(&options))?;
    let mut request = crate::client::create_request(stage, "c1");
    request.options = Some(options).into();
    client.call::<containerd_shim_protos::api::CreateTaskResponse>("Create", &request)?;
    client.start("c1", "")?;
    kill9(stage.shim_pid("c1"))?;
    let output = stage.delete_verb("c1")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("timed out"), "{said}");
    wait_no_process("sleep\x005594")?;
    // It may have been slow only, and would finish its work.
    let hangs = remains::processes_with("sleep\x005593");
    assert_eq!(hangs.len(), 1);
    kill9(Some(hangs[0]))?;
    // What only the runtime itself knows of.
    fs::remove_dir_all(remains::runc_state(&(
        stage.namespace().into(),
        "c1".into(),
    )))?;
    let left = stage.left_of("c1");
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// What it knows of the container is in the way of the next one of that id.
fn a_runtime_whose_delete_is_killed_leaves_nothing(stage: &Stage) -> Outcome {
    let dies = "case \" $* \" in *' delete '*) mkdir \"$0.killed\" && kill -9 $$;; esac";
    let options = any(&Options {
        binary_name: stage.recording_runtime(dies)?.0,
        ..Default::default()
    });
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let client = stage.start("c1", Some(&options))?;
    let mut request = crate::client::create_request(stage, "c1");
    request.options = Some(options).into();
    client.call::<containerd_shim_protos::api::CreateTaskResponse>("Create", &request)?;
    client.start("c1", "")?;
    kill9(stage.shim_pid("c1"))?;
    let output = stage.delete_verb("c1")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("signal: 9"), "{said}");
    let left = stage.left_of("c1");
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// It lost the connection to the shim, which serves others still, and has cleaned up as after one that was killed.
fn a_container_that_containerd_has_lost_makes_room_for_the_next(stage: &Stage) -> Outcome {
    let client = stage.shim("c0", &["sleep", "600"])?;
    client.run(stage, "c0")?;
    let make = || -> Result<(), Failure> {
        stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
        Ok(fs::write(stage.bundle("c1").join("sandbox"), "c0")?)
    };
    make()?;
    client.run(stage, "c1")?;
    // While its bundle is there it is not lost.
    let again = client.run(stage, "c1");
    assert!(again.is_err());
    let output = stage.delete_verb("c1")?;
    assert!(output.status.success(), "{output:?}");
    fs::remove_dir_all(stage.bundle("c1"))?;
    make()?;
    client.run(stage, "c1")?;
    client.end("c1")?;
    assert_eq!(stage.left_of("c1"), Vec::<String>::new());
    client.end("c0")?;
    Ok(())
}

/// Which `ctr run --cgroup` and docker's `--cgroup-parent` allow: what is in a cgroup need not be one container's.
fn a_container_in_the_same_cgroup_is_not_killed_with_it(stage: &Stage) -> Outcome {
    let refuse = "case \" $* \" in *' delete '*) [ -e \"$0.refuses\" ] && exit 1;; esac";
    let program = stage.recording_runtime(refuse)?.0;
    let options = any(&Options {
        binary_name: program.clone(),
        ..Default::default()
    });
    let shared = format!("/{}/shared", stage.namespace());
    let mut clients = Vec::new();
    for (id, below) in [("c1", ""), ("c2", ""), ("c3", "/below")] {
        let mut spec = stage.spec(id, &["sleep", "600"]);
        spec.0["linux"]["cgroupsPath"] = format!("{shared}{below}").into();
        stage.make_bundle(id, &spec)?;
        let client = stage.start(id, Some(&options))?;
        let mut request = crate::client::create_request(stage, id);
        request.options = Some(options.clone()).into();
        client.call::<containerd_shim_protos::api::CreateTaskResponse>("Create", &request)?;
        client.start(id, "")?;
        clients.push(client);
    }
    let init = clients[0].state("c1", "")?.pid;
    let refuses = format!("{program}.refuses");
    fs::write(&refuses, "")?;
    kill9(stage.shim_pid("c1"))?;
    let output = stage.delete_verb("c1")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("is in this container's cgroup"), "{said}");
    wait::until_true("the end of init", SOON, || {
        !Path::new(&format!("/proc/{init}")).exists()
    })?;
    fs::remove_file(&refuses)?;
    for (id, client) in [("c2", &clients[1]), ("c3", &clients[2])] {
        let state = client.state(id, "")?;
        assert_eq!(state.status(), Status::RUNNING, "{id}");
    }
    clients[2].end("c3")?;
    clients[1].end("c2")?;
    // What only the runtime itself knows of.
    fs::remove_dir_all(remains::runc_state(&(
        stage.namespace().into(),
        "c1".into(),
    )))?;
    Ok(())
}

/// containerd with version 3: no `start` for the second container, and its bundle is gone when `delete` comes for the
/// sandbox.
fn the_sandboxs_delete_ends_every_container_of_its_shim(stage: &Stage) -> Outcome {
    let client = stage.shim("c0", &["sleep", "600"])?;
    let sandbox = client.run(stage, "c0")?;
    let mut inits = vec![sandbox];
    for id in ["c1", "c2"] {
        stage.make_bundle(id, &stage.spec(id, &["sh", "-c", "sleep 600 & sleep 600"]))?;
        fs::write(stage.bundle(id).join("sandbox"), "c0")?;
        inits.push(client.run(stage, id)?);
    }
    let members = stage.bundle("c0").with_file_name(".c0+members");
    let kept = |id: &str| members.join(id).join("init.pid").exists();
    assert!(kept("c1") && kept("c2"));
    // One that was deleted is none any more.
    client.remove("c2")?;
    assert!(kept("c1") && !members.join("c2").exists());
    kill9(stage.shim_pid("c0"))?;
    stage.wait_gone("c0")?;
    let bundle = stage.bundle("c1");
    umount2(&bundle.join("rootfs"), MntFlags::MNT_DETACH)?;
    fs::remove_dir_all(&bundle)?;
    let output = stage.delete_verb("c0")?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    for id in ["c0", "c1"] {
        assert_eq!(stage.left_of(id), Vec::<String>::new(), "{id}");
    }
    for pid in inits {
        wait::until_true("the end of the process", SOON, || {
            !Path::new(&format!("/proc/{pid}/cwd")).exists()
        })?;
    }
    Ok(())
}

/// containerd calls the verb after every deletion of a sandbox; the kubelet stops the others then, in its own time.
fn the_sandboxs_delete_ends_no_container_of_a_shim_that_lives(stage: &Stage) -> Outcome {
    let client = stage.shim("c0", &["true"])?;
    client.run(stage, "c0")?;
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    fs::write(stage.bundle("c1").join("sandbox"), "c0")?;
    let pid = client.run(stage, "c1")?;
    client.wait("c0", "")?;
    client.delete("c0", "")?;
    let output = stage.delete_verb("c0")?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(client.state("c1", "")?.status(), Status::RUNNING);
    // A socket whose name somebody has removed does not make it a shim that is gone.
    let socket = fs::read_to_string(stage.bundle("c0").join("address"))?;
    fs::remove_file(socket.trim_start_matches("unix://"))?;
    let output = stage.delete_verb("c0")?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(client.state("c1", "")?.status(), Status::RUNNING);
    assert!(Path::new(&format!("/proc/{pid}/cwd")).exists());
    // containerd removes the sandbox's bundle then; others can be made all the same.
    fs::remove_dir_all(stage.bundle("c0"))?;
    stage.make_bundle("c2", &stage.spec("c2", &["sleep", "600"]))?;
    fs::write(stage.bundle("c2").join("sandbox"), "c0")?;
    client.run(stage, "c2")?;
    for id in ["c1", "c2"] {
        client.remove(id)?;
    }
    client.shutdown("c0");
    stage.wait_gone("c0")
}
