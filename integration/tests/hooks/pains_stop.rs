//! What Kubernetes users have asked for in issues of kubernetes/kubernetes (`k/k`), and a runtime can give:
//! grace periods that are kept, hooks that run once, and hooks that survive restarts.

use std::thread;
use std::time::{Duration, Instant};

use podhook_integration::cri::{self, v1};
use podhook_integration::node::{Pod, PodContainer};
use podhook_integration::suite::{Test, each_once, own_containerd};
use podhook_integration::trace::{Trace, mark};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::{
    Command, Error, anywhere, exec, held, marks, own_sleep, polite, processes, server, stubborn,
    words,
};

pub fn tests() -> Vec<Test> {
    let shared = tests![pains_stop:
        the_grace_period_is_counted_once,
        the_signal_comes_as_soon_as_the_hook_is_done,
        a_force_deletion_does_not_wait_for_the_hook,
        a_grace_period_of_one_second_cuts_the_hook,
        the_end_of_the_container_ends_its_hook,
        a_hook_that_ends_the_container_has_not_failed,
        every_container_of_a_pod_gets_its_pre_stop,
        a_pre_stop_runs_once_though_the_kubelet_restarts,
        a_post_start_runs_again_in_the_next_container_when_the_kubelet_restarts,
    ];
    let own = own_containerd(tests![pains_stop:
        a_post_start_is_not_lost_when_containerd_restarts,
        a_pre_stop_runs_once_though_containerd_restarts,
    ]);
    each_once([shared, own].concat())
}

/// A container of the pod, once it has left the mark `ready`.
fn start<'a>(
    pod: &'a Pod<'_>,
    trace: &Trace,
    lifecycle: &Value,
    command: &Command,
) -> Result<PodContainer<'a>, Error> {
    let container = pod
        .container("main")
        .annotation("podhook.dev/lifecycle", &lifecycle.to_string())
        .host_path(trace.dir(), "/trace")
        .command(&words(command))
        .start()?;
    trace.wait("ready")?;
    Ok(container)
}

/// k/k#115817, k/k#117373, k/k#116753: preStop and signal together had twice the grace period.
fn the_grace_period_is_counted_once(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("once").run()?;
    let lifecycle = json!({"preStop": {"sleep": {"seconds": 20}}});
    let container = start(&pod, &trace, &lifecycle, &stubborn())?;
    let watch = container.watch_record();
    let begun = Instant::now();
    container.stop(25)?;
    let elapsed = begun.elapsed();
    // Not 20 + 25.
    let twice = Duration::from_secs(25) + wait::scaled(Duration::from_secs(20));
    assert!(
        elapsed >= Duration::from_secs(25) && elapsed < twice,
        "{elapsed:?}"
    );
    assert_eq!(trace.marks(), ["ready", "got-TERM"]);
    assert_eq!(container.status()?.exit_code, 137);
    let hook = watch.latest().hooks.into_iter().next().unwrap_or_default();
    assert_eq!(hook.result(), Some("Succeeded"));
    Ok(())
}

/// k/k#24695, k/k#45140.
fn the_signal_comes_as_soon_as_the_hook_is_done(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("soon").run()?;
    let container = start(&pod, &trace, &json!({"preStop": marks("hook")}), &polite())?;
    // Longer than the call may take.
    container.stop(600)?;
    assert_eq!(trace.marks(), ["ready", "hook", "got-TERM"]);
    Ok(())
}

/// k/k#123408, k/k#115819.
fn a_force_deletion_does_not_wait_for_the_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("force").run()?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let container = start(&pod, &trace, &lifecycle, &polite())?;
    thread::scope(|scope| -> Outcome {
        // A deletion with grace is under way, and its hook hangs.
        let stopping = scope.spawn(|| container.stop(600));
        let begun = trace.wait("hook-begin");
        let forced = container.stop(0);
        stopping.join().map_err(|_| "stop panicked")??;
        begun?;
        Ok(forced?)
    })?;
    assert_eq!(container.status()?.exit_code, 137);
    assert_eq!(trace.marks(), ["ready", "hook-begin"]);
    Ok(())
}

/// k/k#92432: the grace period of the deletion counts, not the pod's.
fn a_grace_period_of_one_second_cuts_the_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("second").run()?;
    let sleep = own_sleep();
    let hook = exec(&format!("{}; exec {sleep}", mark("hook")));
    let container = start(&pod, &trace, &json!({"preStop": hook}), &polite())?;
    let watch = container.watch_record();
    container.stop(1)?;
    assert_eq!(container.status()?.exit_code, 137);
    let record = watch.wait("the end of preStop", SOON, |record| {
        record.hooks.iter().any(|hook| hook.result.is_some())
    })?;
    assert_eq!(
        (record.hooks[0].result(), record.hooks[0].message.as_deref()),
        (Some("Aborted"), Some("aborted by SIGKILL"))
    );
    wait::until_true("the end of the hook", SOON, || anywhere(&sleep) == 0)?;
    Ok(())
}

/// k/k#40036: a pod is Terminating until the hook of a container that is gone has run its time.
fn the_end_of_the_container_ends_its_hook(node: &Node) -> Outcome {
    for hook in [
        exec(&format!("{}; exec sleep 600", mark("hook"))),
        json!({"sleep": {"seconds": 600}}),
    ] {
        let trace = Trace::new(node)?;
        let pod = node.pod("gone").run()?;
        let is_exec = hook.get("exec").is_some();
        let ends = server(&["USR1"], &["USR1"]);
        let container = start(&pod, &trace, &json!({"preStop": hook}), &ends)?;
        let watch = container.watch_record();
        thread::scope(|scope| -> Outcome {
            let stopping = scope.spawn(|| container.stop(600));
            let hook = watch.wait("preStop", SOON, |record| record.phase == "PreStop");
            if is_exec {
                trace.wait("hook")?;
            }
            // The exec may end with its container.
            drop(container.exec(&["kill", "-USR1", "1"]));
            stopping.join().map_err(|_| "stop panicked")??;
            hook?;
            Ok(())
        })?;
        assert_eq!(container.status()?.exit_code, 7);
        let record = watch.wait("the end of preStop", SOON, |record| {
            record.hooks.iter().any(|hook| hook.result.is_some())
        })?;
        assert_eq!(record.hooks[0].result(), Some("Aborted"));
    }
    Ok(())
}

/// k/k#39170: a hook that ends the process dies with it, and FailedPreStopHook is the thanks.
fn a_hook_that_ends_the_container_has_not_failed(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("quit").run()?;
    let hook = exec("kill -USR1 1; exec sleep 600");
    let ends = server(&["USR1"], &["USR1"]);
    let container = start(&pod, &trace, &json!({"preStop": hook}), &ends)?;
    let watch = container.watch_record();
    container.stop(60)?;
    assert_eq!(container.status()?.exit_code, 7);
    let record = watch.wait("the end of preStop", SOON, |record| {
        record.hooks.iter().any(|hook| hook.result.is_some())
    })?;
    assert_eq!(record.hooks[0].result(), Some("Aborted"), "{record:?}");
    Ok(())
}

/// k/k#53727.
fn every_container_of_a_pod_gets_its_pre_stop(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let names = ["app", "proxy", "log"];
    let mut builder = node.pod("all");
    for name in names {
        let lifecycle = json!({"preStop": held(&trace, name)?});
        builder = builder.lifecycle(name, &lifecycle.to_string());
    }
    let pod = builder.run()?;
    let containers = names
        .iter()
        .map(|name| {
            let container = pod.container(name).host_path(trace.dir(), "/trace");
            container.command(&words(&polite())).start()
        })
        .collect::<Result<Vec<_>, _>>()?;
    wait::until_true("ready", SOON, || trace.count("ready") == names.len())?;
    thread::scope(|scope| -> Outcome {
        let stops: Vec<_> = containers
            .iter()
            .map(|container| scope.spawn(|| container.stop(60)))
            .collect();
        // All at once: none waits for another.
        let begun = names
            .iter()
            .try_for_each(|name| trace.wait(&format!("{name}-begin")));
        for name in names {
            trace.release(name)?;
        }
        for stop in stops {
            stop.join().map_err(|_| "stop panicked")??;
        }
        Ok(begun?)
    })?;
    for container in &containers {
        assert_eq!(container.status()?.exit_code, 7);
    }
    Ok(())
}

/// A call of a client that goes away in the middle of it, as a kubelet that is restarted; gives up once
/// `meanwhile` is done.
fn given_up<Q: Send, A: Send + std::fmt::Debug, F>(
    node: &Node,
    name: &'static str,
    request: Q,
    call: impl FnOnce(Client, tonic::Request<Q>) -> F + Send,
    meanwhile: impl FnOnce() -> Outcome,
) -> Outcome
where
    F: Future<Output = Result<tonic::Response<A>, tonic::Status>> + Send,
{
    let (cancel, cancelled) = tokio::sync::oneshot::channel::<()>();
    let cri = node.containerd().cri()?;
    thread::scope(|scope| -> Outcome {
        let calling = scope.spawn(|| {
            cri.call(name, cri::LIMIT, request, |client, request| async move {
                tokio::select! {
                    answer = call(client, request) => answer,
                    _ = cancelled => Err(tonic::Status::cancelled("given up")),
                }
            })
        });
        let outcome = meanwhile();
        let _ = cancel.send(());
        let answer = calling.join().map_err(|_| "the call panicked")?;
        outcome?;
        assert!(answer.is_err(), "{answer:?}");
        Ok(())
    })
}

type Client = v1::runtime_service_client::RuntimeServiceClient<tonic::transport::Channel>;

/// The kubelet runs preStop again from its start, with a full grace period, after its own restart.
fn a_pre_stop_runs_once_though_the_kubelet_restarts(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("kubelet").run()?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let container = start(&pod, &trace, &lifecycle, &polite())?;
    let stop = || v1::StopContainerRequest {
        container_id: container.id().to_owned(),
        timeout: 60,
    };
    let call = |mut client: Client, request| async move { client.stop_container(request).await };
    given_up(node, "StopContainer", stop(), call, || {
        Ok(trace.wait("hook-begin")?)
    })?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    assert_eq!(container.recorded()?.phase(), "PreStop");
    thread::scope(|scope| -> Outcome {
        let again = scope.spawn(|| container.stop(60));
        thread::sleep(Duration::from_millis(300));
        let released = trace.release("hook");
        again.join().map_err(|_| "stop panicked")??;
        Ok(released?)
    })?;
    assert_eq!(
        trace.marks(),
        ["ready", "hook-begin", "hook-end", "got-TERM"]
    );
    assert_eq!(container.status()?.exit_code, 7);
    Ok(())
}

/// k/k#122803, k/k#60053: a kubelet that restarts meanwhile finds the container running, and its hook is
/// never run again. Here it was never running: the next attempt has its own hook.
fn a_post_start_runs_again_in_the_next_container_when_the_kubelet_restarts(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let pod = node
        .pod("kubelet")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let attempt = |attempt: u32| {
        pod.container("main")
            .config(|config| config.metadata.get_or_insert_default().attempt = attempt)
            .host_path(trace.dir(), "/trace")
            .command(&words(&polite()))
            .create()
    };
    let first = attempt(0)?;
    let start = v1::StartContainerRequest {
        container_id: first.id().to_owned(),
    };
    let call = |mut client: Client, request| async move { client.start_container(request).await };
    given_up(node, "StartContainer", start, call, || {
        Ok(trace.wait("hook-begin")?)
    })?;
    assert_eq!(first.wait_exit(SOON)?.reason, "StartError");
    assert!(!trace.has("hook-end"));
    wait::until_true("the end of its processes", SOON, || {
        processes(node, first.id()).is_empty()
    })?;
    let second = attempt(1)?;
    thread::scope(|scope| -> Outcome {
        let starting = scope.spawn(|| second.start());
        let begun = wait::until_true("its hook", SOON, || trace.count("hook-begin") == 2);
        let released = trace.release("hook");
        starting.join().map_err(|_| "start panicked")??;
        begun?;
        Ok(released?)
    })?;
    assert_eq!(second.state()?, "CONTAINER_RUNNING");
    assert_eq!(second.recorded()?.result("postStart"), "Succeeded");
    Ok(())
}

/// A containerd that is killed in the middle of it; `meanwhile` runs while it is away.
fn without_containerd(
    node: &Node,
    call: impl FnOnce() -> Result<(), cri::Error> + Send,
    begun: impl FnOnce() -> Outcome,
    meanwhile: impl FnOnce() -> Outcome,
) -> Outcome {
    thread::scope(|scope| -> Outcome {
        let calling = scope.spawn(call);
        let begun = begun();
        let killed = node.containerd().kill9();
        let answer = calling.join().map_err(|_| "the call panicked")?;
        begun?;
        killed?;
        assert!(answer.is_err(), "{answer:?}");
        meanwhile()
    })?;
    Ok(node.containerd().up()?)
}

/// The hook goes on without containerd, once, and the container runs when it has succeeded.
fn a_post_start_is_not_lost_when_containerd_restarts(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let pod = node
        .pod("containerd")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .create()?;
    without_containerd(
        node,
        || container.start(),
        || {
            Ok(trace
                .wait("ready")
                .and_then(|()| trace.wait("hook-begin"))?)
        },
        || {
            trace.release("hook")?;
            container.wait_record("Running", SOON, |record| record.phase() == "Running")?;
            Ok(())
        },
    )?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    assert_eq!(container.recorded()?.result("postStart"), "Succeeded");
    assert_eq!(trace.count("hook-begin"), 1);
    container.stop(20)?;
    assert_eq!(container.status()?.exit_code, 7);
    Ok(())
}

/// ExecSync hooks die with containerd, and start anew with the kubelet's next attempt.
fn a_pre_stop_runs_once_though_containerd_restarts(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("containerd").run()?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let container = start(&pod, &trace, &lifecycle, &polite())?;
    without_containerd(
        node,
        || container.stop(60),
        || Ok(trace.wait("hook-begin")?),
        || Ok(()),
    )?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    thread::scope(|scope| -> Outcome {
        let again = scope.spawn(|| container.stop(60));
        thread::sleep(Duration::from_millis(300));
        let released = trace.release("hook");
        again.join().map_err(|_| "stop panicked")??;
        Ok(released?)
    })?;
    assert_eq!(
        trace.marks(),
        ["ready", "hook-begin", "hook-end", "got-TERM"]
    );
    assert_eq!(container.status()?.exit_code, 7);
    Ok(())
}
