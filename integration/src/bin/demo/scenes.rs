//! The scenes, in the order they are played.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use podhook::clock;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Image, Node, Outcome, ShimKind};

use crate::message;
use crate::stage::{Error, Stage};
use crate::timeline::Timeline;

/// The first tutorial pod with a slower hook; the tutorial's own takes milliseconds.
const SLOW: &str = include_str!("slow-poststart.yaml");

/// Says what is going to be shown.
pub fn open(stage: &Stage) {
    stage.scene("podhook: Kubernetes lifecycle hooks in the containerd shim");
    stage.say(&format!(
        "a private containerd {} with its state in {}; no kubelet, no API server",
        stage.containerd.version(),
        stage.containerd.dir().display()
    ));
    let first = if stage.containerd.generation() == Generation::V1_6 {
        "io.containerd.runc.v2, and the shim in PATH under that one's name: CRI of 1.6 ignores runtime_path"
    } else {
        "io.containerd.runc.v2 with runtime_path"
    };
    stage.say(&format!("runtime handler podhook: {first}"));
    stage.say("runtime handler podhook-v1: io.containerd.podhook.v1");
    stage.say("image: docker.io/library/nginx:latest, built from Debian's packages");
}

/// The path of a manifest in `examples/`.
fn example(name: &str) -> String {
    format!("examples/{name}.yaml")
}

/// The first pod of the tutorial, with both runtime configurations.
pub fn post_start(stage: &mut Stage) -> Outcome {
    let pod = "lifecycle-demo-poststart";
    stage.scene("1. postStart writes a file (lifecycle-demo-poststart)");
    let observer = stage.observe(pod)?;
    stage.podhook(&["apply", "-f", &example(pod)])?;
    observer.wait_state("CONTAINER_RUNNING")?;
    stage.podhook(&["get", "pods"])?;
    let text = stage.podhook(&["exec", pod, "--", "cat", "/usr/share/message"])?;
    stage.prove(
        "postStart: /usr/share/message in the container is the hook's",
        text == "Hello from the postStart handler\n",
    )?;
    let record = observer.record();
    let hook = record
        .hooks
        .first()
        .ok_or("no postStart hook is recorded")?;
    let result = (hook.hook.as_str(), hook.result(), hook.exit_code);
    stage.prove(
        "postStart: recorded as succeeded with status 0",
        result == ("postStart", Some("Succeeded"), Some(0)),
    )?;
    let started = stage
        .containerd
        .events()
        .wait(&observer.id()?, "start", SOON)?
        .published;
    stage.prove(
        "postStart: /tasks/start came after the hook's end",
        hook.finished_at
            .is_some_and(|end| clock::timestamp(end.into()) <= started),
    )?;
    stage.podhook(&["describe", "pod", pod])?;
    // A PID 1 that has no handler yet is not reached by a signal.
    serving(stage, pod)?;
    stage.podhook(&["delete", "pod", pod])?;
    stage.prove(
        "postStart: without a preStop the pod ends by its image's own stop signal, status 0",
        observer.exit_status()? == 0,
    )?;
    stage.keep(observer.timeline()?);

    stage.say("the same pod with the other runtime configuration, runtimeClassName: podhook-v1");
    let manifest = fs::read_to_string(example(pod))?
        .replace("runtimeClassName: podhook", "runtimeClassName: podhook-v1");
    stage.podhook_with_input(&["apply", "-f", "-"], &manifest)?;
    let text = stage.podhook(&["exec", pod, "--", "cat", "/usr/share/message"])?;
    stage.prove(
        "both runtime configurations run the hook",
        text == "Hello from the postStart handler\n",
    )?;
    stage.podhook(&["delete", "pod", pod])?;
    Ok(())
}

/// A postStart that takes three seconds: what can be seen meanwhile.
pub fn slow_post_start(stage: &mut Stage) -> Outcome {
    let pod = "lifecycle-demo-slow-poststart";
    stage.scene(
        "2. the pod while its postStart runs (not of the tutorial: the same with a hook of 3 s)",
    );
    print!("{SLOW}");
    let observer = stage.observe(pod)?;
    stage.podhook_with_input(&["apply", "--wait=false", "-f", "-"], SLOW)?;
    let id = observer.id()?;
    wait::until_true("the hook to start", SOON, || {
        !observer.record().hooks.is_empty()
    })?;
    let meanwhile = stage.podhook(&["get", "pods"])?;
    stage.prove(
        "while postStart runs, the pod is not Running",
        !meanwhile.contains("Running"),
    )?;
    let task = stage
        .containerd
        .ctr_in("k8s.io")
        .tasks()?
        .remove(&id)
        .ok_or("there is no task")?;
    println!(
        "$ ctr -n k8s.io tasks ls\n{}…    {}    {}",
        &id[..12],
        task.pid,
        task.status
    );
    stage.prove(
        "while postStart runs, ctr says CREATED, with a pid",
        task.status == "CREATED" && task.pid > 0,
    )?;
    let answer = get(&stage.pod_ip(pod)?, "/")?;
    stage.prove(
        "while postStart runs, the entrypoint runs: nginx answers",
        answer.starts_with("HTTP/1.1 200"),
    )?;
    let silent = !stage
        .containerd
        .events()
        .topics(&id)
        .contains(&"start".to_owned());
    stage.prove("while postStart runs, there is no /tasks/start", silent)?;
    observer.wait_state("CONTAINER_RUNNING")?;
    stage.podhook(&["get", "pods"])?;
    let starts = stage
        .containerd
        .events()
        .topics(&id)
        .iter()
        .filter(|topic| *topic == "start")
        .count();
    stage.prove(
        "afterwards it is Running, with exactly one /tasks/start",
        starts == 1,
    )?;
    stage.prove(
        "CRI showed CREATED, then RUNNING",
        observer.states() == ["CONTAINER_CREATED", "CONTAINER_RUNNING"],
    )?;
    stage.podhook(&["delete", "pod", pod])?;
    stage.keep(observer.timeline()?);
    Ok(())
}

/// The second pod of the tutorial: nginx quits gracefully, with a request in flight.
pub fn pre_stop(stage: &mut Stage) -> Outcome {
    let pod = "lifecycle-demo-prestop";
    stage.scene("3. preStop lets nginx quit gracefully (lifecycle-demo-prestop)");
    let observer = stage.observe(pod)?;
    stage.podhook(&["apply", "-f", &example(pod)])?;
    stage.podhook(&["get", "pods"])?;
    let ip = serving(stage, pod)?;
    stage.say(&format!(
        "GET http://{ip}/slow takes about four seconds; the pod is deleted meanwhile"
    ));
    let request = thread::spawn(move || (get(&ip, "/slow"), clock::now()));
    thread::sleep(Duration::from_millis(500));
    stage.podhook(&["delete", "pod", pod])?;
    let (answer, answered) = request.join().map_err(|_| "the request panicked")?;
    let (head, body) = answer
        .as_deref()
        .map_err(ToString::to_string)?
        .split_once("\r\n\r\n")
        .unwrap_or_default();
    let record = observer.record();
    let requested = record
        .termination
        .as_ref()
        .and_then(|end| end.requested_at)
        .map(|requested| clock::timestamp(requested.into()))
        .ok_or("no stop is recorded")?;
    let complete = head.starts_with("HTTP/1.1 200") && body.len() == 32768 && answered > requested;
    stage.prove(
        "preStop: the request in flight was answered completely, after the stop had begun",
        complete,
    )?;
    stage.prove(
        "preStop: nginx exited with status 0, not 137",
        observer.exit_status()? == 0,
    )?;
    let hook = record
        .hooks
        .iter()
        .find(|hook| hook.hook == "preStop")
        .ok_or("no preStop hook is recorded")?;
    stage.say(&format!(
        "the hook waits for nginx and ends with it: {}",
        hook.result().unwrap_or("running")
    ));
    stage.keep(observer.timeline()?);
    Ok(())
}

/// The third pod of the tutorial: its preStop writes a file on the node.
pub fn pre_stop_on_the_node(stage: &mut Stage) -> Outcome {
    let pod = "lifecycle-demo2-prestop";
    stage.scene("4. preStop leaves a message on the node (lifecycle-demo2-prestop)");
    let observer = stage.observe(pod)?;
    stage.podhook(&["apply", "-f", &example(pod)])?;
    stage.podhook(&["get", "pods"])?;
    stage.prove(
        "before the end there is no /tmp/message on the node",
        !Path::new(message::PATH).exists(),
    )?;
    serving(stage, pod)?;
    stage.podhook(&["delete", "pod", pod])?;
    let gone = stage.command().try_run(&["get", "pods"])?;
    println!(
        "$ podhook get pods\n{}{}",
        gone.stdout,
        gone.stderr.trim_end()
    );
    stage.prove(
        "the pod is gone after `podhook delete`",
        !gone.stdout.contains(pod),
    )?;
    println!("$ cat {}", message::PATH);
    let text = fs::read_to_string(message::PATH)?;
    print!("{text}");
    stage.prove(
        "the hook's message is on the node after the pod is gone",
        text == message::TEXT,
    )?;
    let record = observer.record();
    let hook = record
        .hooks
        .iter()
        .find(|hook| hook.hook == "preStop")
        .ok_or("no preStop hook is recorded")?;
    let end = record.termination.as_ref().ok_or("no stop is recorded")?;
    let ordered = end.requested_at <= hook.started_at
        && hook.finished_at <= end.signalled_at
        && end.signalled_at.is_some();
    stage.prove(
        "first the hook, then the signal, then the exit",
        ordered && hook.finished_at.is_some(),
    )?;
    stage.prove(
        "after the hook nginx exited by its signal, status 0",
        observer.exit_status()? == 0,
    )?;
    stage.keep(observer.timeline()?);
    message::remove();
    Ok(())
}

/// Hooks without Kubernetes: an annotation for ctr.
pub fn ctr(stage: &mut Stage) -> Outcome {
    stage.scene("5. the same with ctr: hooks by annotation");
    let lifecycle = r#"{"postStart": {"exec": {"command": ["/bin/sh", "-c", "sleep 1; echo done > /message"]}}, "preStop": {"sleep": {"seconds": 1}}}"#;
    let node = Node::new(
        std::sync::Arc::clone(&stage.containerd),
        ShimKind::PodhookV1,
    );
    let builder = node
        .container("web")
        .image(Image::Nginx)
        .flag(["--net-host"])
        .lifecycle(lifecycle);
    println!(
        "$ ctr run -d --runtime io.containerd.podhook.v1 --annotation 'podhook.dev/lifecycle={lifecycle}' \\\n      {} web sleep 600",
        Image::Nginx.reference()
    );
    let (container, starting) = builder.start_behind(&["sleep", "600"])?;
    wait::until_true("the task", SOON, || {
        container.status().is_ok_and(|status| !status.is_empty())
    })?;
    let watch = container.watch_record();
    watch.wait("the hook to start", SOON, |record| !record.hooks.is_empty())?;
    let status = container.status()?;
    stage.say(&format!("ctr tasks ls: {status}"));
    stage.prove("ctr: CREATED while postStart runs", status == "CREATED")?;
    starting
        .join()
        .map_err(|_| "ctr run panicked")??
        .success()?;
    stage.prove(
        "ctr: `ctr run -d` returned when the hook was done",
        container.exec(&["cat", "/message"])?.status == 0,
    )?;
    stage.prove("ctr: RUNNING then", container.status()? == "RUNNING")?;
    println!(
        "$ ctr tasks kill -s SIGKILL web   # not yet: first SIGTERM, which preStop delays by 1 s"
    );
    let start = Instant::now();
    container.kill("SIGTERM")?;
    let answered = start.elapsed();
    // sleep is the container's first process: the kernel drops a SIGTERM it has no handler for.
    watch.wait("the signal", SOON, |record| {
        record
            .termination
            .as_ref()
            .is_some_and(|end| end.signalled_at.is_some())
    })?;
    let signalled = start.elapsed();
    stage.say(&format!(
        "kill returned after {} ms, the process got its signal after {} ms",
        answered.as_millis(),
        signalled.as_millis()
    ));
    stage.prove(
        "ctr: kill returns at once, the signal comes after preStop",
        answered < Duration::from_millis(800) && signalled >= Duration::from_secs(1),
    )?;
    println!("$ ctr tasks kill -s SIGKILL web");
    container.kill("SIGKILL")?;
    stage.prove(
        "ctr: SIGKILL ends it at once, status 137",
        container.wait_exit(SOON)? == 137,
    )?;
    let mut timeline = Timeline::new(container.id());
    timeline.events(&node.events().of(container.id()));
    timeline.record(&watch.latest());
    stage.keep(timeline);
    container.delete()?;
    Ok(())
}

/// Waits until the pod's nginx answers; gives its address.
fn serving(stage: &Stage, pod: &str) -> Result<String, Error> {
    let ip = stage.pod_ip(pod)?;
    get(&ip, "/")?;
    Ok(ip)
}

/// One HTTP request; the whole answer.
fn get(host: &str, path: &str) -> Result<String, Error> {
    let mut stream = wait::until_listening(host, 80)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
