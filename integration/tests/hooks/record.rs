//! `podhook.json`: what users see of a container's hooks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use serde_json::json;

use crate::recorded::{self, Recorded};
use crate::script::{Error, exec, held, polite, sh, together, with, words};

pub fn tests() -> Vec<Test> {
    tests![record:
        the_record_follows_the_containers_life,
        the_record_of_a_cri_container_names_its_pod,
        the_record_is_for_root_only,
        there_is_no_record_without_a_lifecycle,
        the_shims_log_has_a_line_per_phase,
        an_ignored_timeout_is_recorded_before_start_answers,
        no_phase_comes_before_the_result_of_its_hook,
        a_hook_that_cannot_die_has_its_result_all_the_same,
    ]
}

/// Prints, and ends at no signal that it could take.
const STUBBORN: &str = "echo so far; trap '' TERM; while :; do sleep 600; done";

fn an_ignored_timeout_is_recorded_before_start_answers(node: &Node) -> Outcome {
    let hook = with(
        exec(STUBBORN),
        json!({"timeoutSeconds": 1, "onFailure": "Ignore"}),
    );
    let container = node
        .container("ignored")
        .lifecycle(&json!({"postStart": hook}).to_string())
        .start(&["sleep", "600"])?;
    let hook = container.recorded()?.hook("postStart")?;
    assert_eq!(hook.text("/result"), "TimedOut");
    assert_eq!(hook.text("/message"), "timed out after 1s (timeoutSeconds)");
    assert_eq!(hook.text("/signal"), "SIGKILL");
    assert_eq!(hook.text("/output"), "so far\n");
    container.has_events(["create", "start"]);
    Ok(())
}

/// A container frozen by somebody else than its shim, until this is dropped.
struct Frozen(PathBuf, &'static str);

impl Frozen {
    fn new(node: &Node, id: &str) -> Result<Self, Error> {
        for (name, freeze, thaw) in [
            ("freezer.state", "FROZEN", "THAWED"),
            ("cgroup.freeze", "1", "0"),
        ] {
            let files = node.containerd().cgroups(id);
            let mut files = files.into_iter().map(|cgroup| cgroup.join(name));
            if let Some(file) = files.find(|file| file.exists()) {
                fs::write(&file, freeze)?;
                return Ok(Self(file, thaw));
            }
        }
        Err("no freezer".into())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, self.1);
    }
}

fn a_hook_that_cannot_die_has_its_result_all_the_same(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let hook = with(
        held(&trace, "hook")?,
        json!({"timeoutSeconds": 3, "onFailure": "Ignore"}),
    );
    let (container, starting) = node
        .container("frozen")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&json!({"postStart": hook}).to_string())
        .start_behind(&["sleep", "600"])?;
    trace.wait("hook-begin")?;
    let frozen = Frozen::new(node, container.id())?;
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    let record = container.recorded()?;
    assert_eq!(record.phase(), "Running");
    let hook = record.hook("postStart")?;
    assert_eq!(hook.text("/result"), "TimedOut");
    assert_eq!(hook.text("/message"), "timed out after 3s (timeoutSeconds)");
    assert!(!hook.text("/finishedAt").is_empty());
    drop(frozen);
    // What else there is to know comes when it is dead.
    let record = container.wait_record("the hook's end", SOON, |record| {
        let hook = record.hook("postStart");
        hook.is_ok_and(|hook| hook.text("/signal") == "SIGKILL")
    })?;
    assert_eq!(record.result("postStart"), "TimedOut");
    assert!(!trace.has("hook-end"));
    Ok(())
}

fn no_phase_comes_before_the_result_of_its_hook(node: &Node) -> Outcome {
    let hook = || with(exec(STUBBORN), json!({"timeoutSeconds": 1}));
    let post_start = with(hook(), json!({"onFailure": "Ignore"}));
    let table = [
        // Cut, and the container lives on; a preStop that is cut as well.
        (
            json!({"postStart": post_start, "preStop": hook()}),
            "SIGTERM",
        ),
        // Cut, and it does not.
        (json!({"postStart": hook(), "preStop": hook()}), ""),
        // SIGKILL, amid a preStop.
        (json!({"preStop": exec(STUBBORN)}), "SIGKILL"),
        // The process ends amid it.
        (
            json!({"preStop": exec("kill -USR1 1; sleep 600")}),
            "SIGTERM",
        ),
    ];
    together(&table, |(lifecycle, signal)| {
        let command = sh("trap : TERM; trap 'exit 8' USR1; while :; do sleep 600 & wait $!; done");
        let mut lifecycle = lifecycle.clone();
        lifecycle["terminationGracePeriodSeconds"] = 4.into();
        let (container, _) = node
            .container("phases")
            .lifecycle(&lifecycle.to_string())
            .try_start(&words(&command))?;
        let record = container.watch_record();
        if !signal.is_empty() {
            container.kill("SIGTERM")?;
        }
        if *signal == "SIGKILL" {
            record.wait("preStop", SOON, |record| record.phase == "PreStop")?;
            container.kill("SIGKILL")?;
        }
        container.wait_exit(SOON)?;
        container.wait_end()?;
        let ahead = record.find(|record| {
            let pending = |hook: &str| {
                let run = record.hooks.iter().find(|run| run.hook == hook);
                run.is_some_and(|run| run.result.is_none())
            };
            pending("postStart") && record.phase != "PostStart"
                || pending("preStop") && record.phase != "PreStop"
        });
        assert_eq!(ahead, None, "{lifecycle}");
        for hook in container.recorded()?.json()["hooks"]
            .as_array()
            .into_iter()
            .flatten()
        {
            assert!(hook["result"].is_string(), "{hook}");
        }
        Ok(())
    })
}

fn the_record_follows_the_containers_life(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "post")?, "preStop": held(&trace, "pre")?});
    let (container, starting) = node
        .container("life")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&polite()))?;
    trace.wait("post-begin")?;
    trace.wait("ready")?;
    let record = container.recorded()?;
    assert_eq!(record.phase(), "PostStart");
    assert_eq!(record.json()["version"], 1);
    assert_eq!(
        (record.text("/id"), record.text("/namespace")),
        (container.id(), node.ctr().namespace())
    );
    assert!(record.json().get("pod").is_none() && record.json().get("termination").is_none());
    let hook = record.hook("postStart")?;
    hook.time("/startedAt")?;
    assert!(hook.json().get("finishedAt").is_none() && hook.json().get("result").is_none());

    trace.release("post")?;
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    let record = container.recorded()?;
    assert_eq!(record.phase(), "Running");
    let hook = record.hook("postStart")?;
    assert_eq!(
        (hook.text("/handler"), hook.text("/result")),
        ("exec", "Succeeded")
    );
    assert_eq!(hook.number("/exitCode"), Some(0));
    let wall = hook.between("/startedAt", "/finishedAt")?.as_secs_f64() * 1000.0;
    let duration = hook.json()["durationMs"].as_f64().ok_or("no duration")?;
    assert!((wall - duration).abs() < 50.0, "{wall} and {duration} ms");
    for field in ["cpuUserUsec", "cpuSystemUsec"] {
        assert!(hook.number(&format!("/{field}")).is_some(), "{hook:?}");
    }
    assert_eq!(hook.text("/output"), "");

    container.kill("SIGTERM")?;
    trace.wait("pre-begin")?;
    let record = container.recorded()?;
    assert_eq!(
        (record.phase(), record.text("/termination/signal")),
        ("PreStop", "SIGTERM")
    );
    record.time("/termination/requestedAt")?;
    assert_eq!(record.text("/termination/signalledAt"), "");
    trace.release("pre")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    let record = container.wait_end()?;
    assert_eq!(record.phase(), "Stopped");
    assert_eq!(record.number("/termination/gracePeriodSeconds"), Some(30));
    let times = ["requestedAt", "signalledAt", "exitedAt"]
        .map(|name| record.time(&format!("/termination/{name}")));
    let times = times.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert!(times.is_sorted(), "{record:?}");
    assert!(
        !record.text("/termination/exitedAt").is_empty()
            && record.text("/termination/exitedAt").ends_with('Z')
    );
    Ok(())
}

fn the_record_of_a_cri_container_names_its_pod(node: &Node) -> Outcome {
    let lifecycle = json!({"preStop": exec("true")}).to_string();
    let mut name = String::new();
    let pod = node
        .pod("named")
        .lifecycle("main", &lifecycle)
        .config(|config| name = config.metadata.clone().unwrap_or_default().name)
        .run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let record = container.recorded()?;
    assert_eq!(record.text("/namespace"), "k8s.io");
    assert_eq!(record.text("/pod/namespace"), "default");
    assert_eq!(
        (record.text("/pod/name"), record.text("/pod/container")),
        (&*name, "main")
    );
    assert_eq!(record.text("/pod/uid"), format!("uid-{name}"));
    Ok(())
}

fn the_record_is_for_root_only(node: &Node) -> Outcome {
    let lifecycle = json!({"postStart": exec("true")}).to_string();
    let container = node
        .container("mode")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let metadata = recorded::path(&container.bundle()).metadata()?;
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o600, 0));
    // Replaced as a whole: nothing of the writing is left beside it.
    let mut names = Vec::new();
    for entry in container.bundle().read_dir()? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let ours: Vec<_> = names
        .iter()
        .filter(|name| name.contains("podhook"))
        .collect();
    assert_eq!(ours, ["podhook.json"], "{names:?}");
    Ok(())
}

fn there_is_no_record_without_a_lifecycle(node: &Node) -> Outcome {
    let container = node.container("plain").start(&["sleep", "600"])?;
    assert!(!recorded::path(&container.bundle()).exists());
    let empty = node
        .container("empty")
        .lifecycle("{}")
        .start(&["sleep", "600"])?;
    assert!(!recorded::path(&empty.bundle()).exists());
    let pod = node.pod("plain").run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    assert!(!recorded::path(&container.bundle()).exists());
    assert!(container.bundle().join("config.json").exists());
    Ok(())
}

fn the_shims_log_has_a_line_per_phase(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": exec("true"), "preStop": exec("exit 4")});
    let container = node
        .container("logged")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    container.wait_exit(SOON)?;
    let log = node.containerd().log();
    let id = format!("id={}", container.id());
    let lines: Vec<_> = log.lines().filter(|line| line.contains(&id)).collect();
    for (hook, result) in [("postStart", "Succeeded"), ("preStop", "Failed")] {
        let (hook, result) = (format!("hook={hook}"), format!("result={result}"));
        let found = lines
            .iter()
            .filter(|line| line.contains(&hook) && line.contains(&result))
            .count();
        assert_eq!(found, 1, "{hook} {result} in {lines:#?}");
    }
    Ok(())
}
