//! Two hundred containers with hooks of all kinds at once on one containerd. Alone in its program, because it
//! leaves other tests no machine.

mod gate;
mod member;
mod memory;
#[allow(dead_code, reason = "the suite hooks uses the rest")]
#[path = "../hooks/network.rs"]
mod network;
#[allow(dead_code, reason = "the suite hooks uses the rest")]
#[path = "../hooks/recorded.rs"]
mod recorded;
#[allow(dead_code, reason = "the suite hooks uses the rest")]
#[path = "../hooks/script.rs"]
mod script;
#[allow(dead_code, reason = "the suite hooks uses the rest")]
#[path = "../hooks/web.rs"]
mod web;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use podhook_integration::cri::v1;
use podhook_integration::node::{Pod, PodContainer};
use podhook_integration::suite::{Test, each_once, podhook_only, run_with_threads};
use podhook_integration::trace::Trace;
use podhook_integration::{Node, Outcome, tests, wait};

use gate::Gate;
use member::{END, Member, Run, START, Servers, Start};
use network::{Network, response};
use recorded::{Record, Recorded};
use script::{Error, words};

const PODS: usize = 20;
const CONTAINERS: usize = 10;

/// What is no hook's own doing may take this long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    let tests: Vec<Test> = tests![crowd: two_hundred_containers_with_hooks_of_all_kinds_at_once];
    run_with_threads(podhook_only(each_once(tests)), 1)
}

fn two_hundred_containers_with_hooks_of_all_kinds_at_once(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let start = Gate::close(&trace, START)?;
    let end = Gate::close(&trace, END)?;
    let pods = in_parallel(4, &[(); PODS + 1], |n, ()| {
        node.pod(&format!("crowd{n}")).run()
    })?;
    let (nginx, pods) = pods.split_last().ok_or("no pods")?;
    let web = web::Web::start(node, nginx)?;
    let door = Arc::new(Door::default());
    let server = serve(nginx, Arc::clone(&door))?;
    let servers = Servers {
        host: &node_address(nginx)?,
        port: server.port,
        nginx: &web.ip,
        tls: web::TLS[0].port,
    };
    let members: Vec<_> = (0..PODS * CONTAINERS)
        .map(|n| Member::number(n, &servers))
        .collect();
    let containers = in_parallel(4, &members, |n, member| {
        create(&pods[n % PODS], n, member, &trace)
    })?;
    let crowd: Vec<_> = containers.iter().zip(&members).collect();

    // All hooks at once, held at the gate.
    thread::scope(|scope| -> Outcome {
        let starts: Vec<_> = crowd
            .iter()
            .map(|(container, _)| scope.spawn(|| container.start_within(PATIENCE * 2)))
            .collect();
        let held = wait_held(&crowd, &trace);
        let memory = memory::report(node, pods, "while all hooks run");
        let opened = start.open();
        door.open();
        let answers = starts.into_iter().map(|start| start.join());
        let answers: Vec<_> = answers.collect();
        held?;
        memory?;
        opened?;
        for ((container, member), answer) in crowd.iter().zip(answers) {
            let answer = answer.map_err(|_| "start panicked")?;
            check_start(container, member, answer)?;
        }
        Ok(())
    })?;
    memory::report(node, pods, "when all run")?;

    let running: Vec<_> = crowd
        .iter()
        .filter(|(_, member)| member.start == Start::Running)
        .copied()
        .collect();
    thread::scope(|scope| -> Outcome {
        let stops: Vec<_> = running
            .iter()
            .map(|(container, member)| {
                let grace = if member.killed { 0 } else { 600 };
                scope.spawn(move || stop(node, container, grace))
            })
            .collect();
        let checking = scope.spawn(|| {
            let stopping = running.iter().filter(|(_, member)| !member.killed);
            let mut stopping = stopping.copied();
            stopping.try_for_each(|(container, member)| check_stopping(container, member))
        });
        let checked = script::joined(checking.join());
        let opened = end.open();
        let answers: Vec<_> = stops.into_iter().map(|stop| stop.join()).collect();
        checked?;
        opened?;
        for answer in answers {
            answer.map_err(|_| "stop panicked")??;
        }
        Ok(())
    })?;
    for (container, member) in &crowd {
        check_end(node, container, member)?;
    }
    memory::report(node, pods, "when all have ended")?;
    in_parallel(4, pods, |_, pod| pod.remove())?;
    Ok(())
}

/// Does the work for each item in several threads; gives the results in the items' order.
fn in_parallel<I: Sync, T: Send>(
    threads: usize,
    items: &[I],
    work: impl Fn(usize, &I) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let next = AtomicUsize::new(0);
    let mut done = thread::scope(|scope| {
        let one = || {
            let mut done = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                match items.get(n) {
                    Some(item) => done.push((n, work(n, item)?)),
                    None => return Ok::<_, Error>(done),
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok::<_, Error>(all)
    })?;
    done.sort_by_key(|(n, _)| *n);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// A door for the server's threads.
#[derive(Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn open(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _open = self.1.wait_while(open, |open| !*open);
    }
}

/// The node's address on the pod network.
fn node_address(pod: &Pod<'_>) -> Result<String, Error> {
    let ip = pod.ip()?;
    let (subnet, _) = ip.rsplit_once('.').ok_or("no IPv4 address")?;
    Ok(format!("{subnet}.1"))
}

/// A server on the node for all pods; it answers when the door is open.
fn serve(pod: &Pod<'_>, door: Arc<Door>) -> Result<network::Server, Error> {
    Network::of_node()?.respond(&node_address(pod)?, move |request| {
        door.pass();
        match request.split(' ').nth(1) {
            Some("/ok") => response("200 OK", "", "fine"),
            Some("/moved") => response("302 Found", "Location: /ok\r\n", ""),
            _ => response("503 No", "", "no"),
        }
    })
}

fn create<'a>(
    pod: &'a Pod<'_>,
    n: usize,
    member: &Member,
    trace: &Trace,
) -> Result<PodContainer<'a>, Error> {
    let mut builder = pod
        .container(&format!("c{n}"))
        .host_path(trace.dir(), podhook_integration::trace::INSIDE)
        .annotation("io.kubernetes.pod.terminationGracePeriod", "600")
        .command(&words(&member.command));
    if let Some(lifecycle) = &member.lifecycle {
        builder = builder.annotation("podhook.dev/lifecycle", &lifecycle.to_string());
    }
    builder.create()
}

/// Waits until every hook that is held at the gate is there.
fn wait_held(crowd: &[(&PodContainer<'_>, &Member)], trace: &Trace) -> Outcome {
    for (container, member) in crowd.iter().filter(|(_, member)| member.gated) {
        container.wait_record("its postStart", PATIENCE, |record| {
            record.phase() == "PostStart"
        })?;
        assert_eq!(container.state()?, "CONTAINER_CREATED");
        if let Some(up) = &member.up {
            wait::until_true(up, PATIENCE, || trace.has(up))?;
        }
    }
    Ok(())
}

fn check_start(
    container: &PodContainer<'_>,
    member: &Member,
    answer: Result<(), podhook_integration::cri::Error>,
) -> Outcome {
    match (&member.start, answer) {
        (Start::Fails(text), Err(error)) => {
            let message = error.message();
            assert!(
                message.contains("FailedPostStartHook: ") && message.contains(text),
                "{text}: {message}"
            );
            return Ok(());
        }
        (Start::Running | Start::Ended(_), Ok(())) => {}
        (wanted, answer) => return Err(format!("{wanted:?}: {answer:?}").into()),
    }
    if member.start == Start::Running {
        assert_eq!(container.state()?, "CONTAINER_RUNNING");
        if member.lifecycle.is_some() {
            check_run(
                &container.recorded()?,
                "postStart",
                member.post_start.as_ref(),
            )?;
        }
    }
    Ok(())
}

fn check_run(record: &Record, hook: &str, wanted: Option<&Run>) -> Outcome {
    let Some(wanted) = wanted else {
        assert!(record.runs(hook).is_empty(), "{record:?}");
        return Ok(());
    };
    let run = record.hook(hook)?;
    let status = run.number("/exitCode").or(run.number("/httpStatus"));
    assert_eq!(
        (run.text("/result"), status, run.text("/output")),
        (wanted.result, wanted.status, &*wanted.output),
        "{run:?}"
    );
    assert!(run.text("/message").contains(wanted.message), "{run:?}");
    run.between("/startedAt", "/finishedAt")?;
    Ok(())
}

/// Its preStop has ended, its process has the signal and waits at the gate.
fn check_stopping(container: &PodContainer<'_>, member: &Member) -> Outcome {
    if member.lifecycle.is_none() {
        return Ok(());
    }
    // A hook that times out is recorded a moment after the signal is out.
    let record = container.wait_record("its signal", PATIENCE, |record| {
        let mut runs = record.runs("preStop").into_iter();
        record.phase() == "Signalled" && runs.all(|run| !run.text("/result").is_empty())
    });
    let record = record.map_err(|error| format!("{error}: {member:?}"))?;
    check_run(&record, "preStop", member.pre_stop.as_ref())?;
    assert_eq!(record.text("/termination/signal"), "SIGTERM");
    Ok(())
}

/// CRI `StopContainer`, with a deadline for a busy machine.
fn stop(node: &Node, container: &PodContainer<'_>, grace: i64) -> Outcome {
    let request = v1::StopContainerRequest {
        container_id: container.id().to_owned(),
        timeout: grace,
    };
    let cri = node.containerd().cri()?;
    cri.call(
        "StopContainer",
        PATIENCE * 2,
        request,
        |mut client, request| async move { client.stop_container(request).await },
    )?;
    Ok(())
}

fn check_end(node: &Node, container: &PodContainer<'_>, member: &Member) -> Outcome {
    let status = container.wait_exit(PATIENCE)?;
    let exit = node.events().wait(container.id(), "exit", PATIENCE)?;
    assert_eq!(exit.exit_status(), member.exit_status, "{member:?}");
    let wanted = match member.start {
        // The runtime's own code of a container that did not start.
        Start::Fails(_) => (128, "StartError"),
        Start::Running | Start::Ended(_) => (member.exit_status, "Error"),
    };
    assert_eq!(
        (i64::from(status.exit_code), status.reason.as_str()),
        wanted,
        "{member:?}"
    );
    node.events().wait(container.id(), "delete", PATIENCE)?;
    let topics: &[&str] = match member.start {
        Start::Fails(_) => &["create", "exit", "delete"],
        Start::Running | Start::Ended(_) => &["create", "start", "exit", "delete"],
    };
    assert_eq!(container.events(), topics, "{member:?}");
    wait::until_true("the end of its processes", PATIENCE, || {
        script::processes(node, container.id()).is_empty()
    })?;
    Ok(())
}
