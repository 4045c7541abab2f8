//! Exec hooks in containers that the engine does not serve: `runc exec` runs them.

use std::fs;

use podhook_integration::node::{Container, ContainerBuilder};
use podhook_integration::suite::Test;
use podhook_integration::trace::{Trace, mark};
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::{Error, after, exec, held, polite, sh, wait_gone, wait_processes, with, words};

pub fn tests() -> Vec<Test> {
    tests![fallback:
        a_hook_runs_as_the_containers_own_process,
        a_failure_is_told_as_by_the_engine,
        a_command_that_is_not_there_is_named,
        a_timeout_kills_the_session_and_says_what_that_is,
        the_end_of_the_process_aborts_the_hook,
        an_abort_while_the_runtime_works_leaves_nothing,
        what_a_hook_leaves_running_stays,
        the_output_is_shared_with_the_container_too,
        the_node_can_ask_for_the_runtime,
        an_engine_that_can_is_used,
        an_exec_called_init_leaves_the_containers_pid_file,
    ]
}

/// crun's, and nothing to runc: so runc runs it, and the engine does not.
const UNSUPPORTED: &str = "run.oci.keep_original_groups";

fn builder<'a>(
    node: &'a Node,
    name: &str,
    trace: &Trace,
    lifecycle: &Value,
) -> ContainerBuilder<'a> {
    node.container(name)
        .flag(["--mount", &trace.mount()])
        .annotation(UNSUPPORTED, "0")
        .lifecycle(&lifecycle.to_string())
}

/// The lines of containerd's log about how a container's hooks were run.
fn ways(node: &Node, container: &Container<'_>) -> Vec<String> {
    let id = format!("id={}", container.id());
    let log = node.containerd().log();
    log.lines()
        .filter(|line| line.contains(&id) && line.contains("exec hook by"))
        .map(str::to_owned)
        .collect()
}

fn check_way(node: &Node, container: &Container<'_>, way: &str) -> Outcome {
    let lines = ways(node, container);
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line.contains(way)),
        "{lines:#?}"
    );
    Ok(())
}

fn a_hook_runs_as_the_containers_own_process(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let describe = |file: &str| {
        format!(
            "{{ id; pwd; env | grep -v SHLVL | sort; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; \
                 cat /proc/self/cgroup; for n in ipc mnt net pid uts; do readlink /proc/self/ns/$n; done; \
                 readlink /proc/self/fd/0; }} > /trace/{file} 2>&1"
        )
    };
    let lifecycle =
        json!({"postStart": exec(&format!("{}; echo printed; echo errors >&2", describe("hook")))});
    let own = format!(
        "exec < /dev/null; {}; {}; exec sleep 600",
        describe("own"),
        mark("ready")
    );
    let container = builder(node, "alike", &trace, &lifecycle)
        .flag(["--env", "COLOUR=dark green"])
        .flag(["--cap-drop", "CAP_MKNOD"])
        .flag(["--cwd", "/usr/share"])
        .start(&words(&sh(&own)))?;
    trace.wait("ready")?;
    assert_eq!(trace.read("own")?, trace.read("hook")?);
    assert!(trace.read("hook")?.contains("COLOUR=dark green\n"));
    let hook = container.recorded()?.hook("postStart")?;
    assert_eq!(
        (hook.text("/result"), hook.number("/exitCode")),
        ("Succeeded", Some(0))
    );
    assert_eq!(hook.text("/output"), "printed\nerrors\n");
    check_way(
        node,
        &container,
        &format!("by the OCI runtime: not supported by the exec engine: annotation {UNSUPPORTED}"),
    )?;
    let left: Vec<_> = container
        .bundle()
        .read_dir()?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("hook-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // No exec to clients.
    container.has_events(["create", "start"]);
    Ok(())
}

fn a_failure_is_told_as_by_the_engine(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle =
        json!({"postStart": exec("echo no luck; exit 3"), "terminationGracePeriodSeconds": 0});
    let (container, output) =
        builder(node, "failing", &trace, &lifecycle).try_start(&["sleep", "600"])?;
    let message = r#"FailedPostStartHook: exec ["sh" "-c" "echo no luck; exit 3"]: exited with status 3: no luck"#;
    assert!(output.stderr.contains(message), "{}", output.stderr);
    assert_eq!(
        container.wait_hook("postStart")?.result("postStart"),
        "Failed"
    );
    Ok(())
}

fn a_command_that_is_not_there_is_named(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": {"exec": {"command": ["no-such-command"]}}, "terminationGracePeriodSeconds": 0});
    let (_container, output) =
        builder(node, "missing", &trace, &lifecycle).try_start(&["sleep", "600"])?;
    let text = &output.stderr;
    assert!(
        text.contains(r#"FailedPostStartHook: exec ["no-such-command"]: "#),
        "{text}"
    );
    // crun has the file's name in the middle.
    assert!(
        text.contains("executable file ") && text.contains("not found in $PATH"),
        "{text}"
    );
    Ok(())
}

fn a_timeout_kills_the_session_and_says_what_that_is(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let hook = exec("sleep 3331 & sleep 3332 & echo begun; wait");
    let fields = json!({"timeoutSeconds": 2, "onFailure": "Ignore"});
    let container = builder(
        node,
        "cut",
        &trace,
        &json!({"postStart": with(hook, fields)}),
    )
    .start(&words(&polite()))?;
    wait_gone(node, container.id(), "sleep 3331")?;
    wait_gone(node, container.id(), "sleep 3332")?;
    let hook = container.wait_hook("postStart")?.hook("postStart")?;
    assert_eq!(
        (hook.text("/result"), hook.text("/output")),
        ("TimedOut", "begun\n")
    );
    let message = format!(
        "timed out after 2s (timeoutSeconds); run by the OCI runtime (not supported by the exec engine: \
         annotation {UNSUPPORTED}): what left its session was not killed"
    );
    assert_eq!(hook.text("/message"), message);
    Ok(())
}

fn the_end_of_the_process_aborts_the_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let script = format!("{}; exit 5", after("go"));
    let (container, starting) =
        builder(node, "ended", &trace, &lifecycle).start_behind(&words(&sh(&script)))?;
    trace.wait("hook-begin")?;
    fs::write(trace.dir().join("go"), "")?;
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    assert_eq!(container.wait_exit(SOON)?, 5);
    let record = container.wait_hook("postStart")?;
    assert_eq!(record.result("postStart"), "Aborted");
    assert!(!trace.has("hook-end"));
    Ok(())
}

fn an_abort_while_the_runtime_works_leaves_nothing(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": exec(&format!("{}; sleep 3333", mark("hook")))});
    let container = builder(node, "raced", &trace, &lifecycle)
        .start(&words(&sh(&format!("{}; exec sleep 600", mark("ready")))))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    // At once: the runtime may not have made the process yet.
    container.kill("SIGKILL")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    let record = container.wait_hook("preStop")?;
    assert_eq!(record.result("preStop"), "Aborted");
    wait_gone(node, container.id(), "sleep 3333")
}

fn what_a_hook_leaves_running_stays(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": exec("sleep 3334 & echo done")});
    let container = builder(node, "left", &trace, &lifecycle).start(&words(&polite()))?;
    wait_processes(node, container.id(), &["sleep 3334"])?;
    assert_eq!(container.recorded()?.result("postStart"), "Succeeded");
    Ok(())
}

fn the_output_is_shared_with_the_container_too(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": exec("echo from the hook"), "output": "container"});
    let container = builder(node, "shared", &trace, &lifecycle).start(&words(&polite()))?;
    container.wait_output("from the hook\n", SOON)?;
    Ok(())
}

fn plain<'a>(node: &'a Node, config: Option<&str>) -> Result<Container<'a>, Error> {
    let lifecycle = json!({"postStart": exec("echo printed")}).to_string();
    let mut builder = node.container("plain").lifecycle(&lifecycle);
    if let Some(config) = config {
        builder = builder.flag(["--runtime-config-path", config]);
    }
    let container = builder.start(&["sleep", "600"])?;
    let hook = container.recorded()?.hook("postStart")?;
    assert_eq!(
        (hook.text("/result"), hook.text("/output")),
        ("Succeeded", "printed\n")
    );
    Ok(container)
}

fn the_node_can_ask_for_the_runtime(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let config = trace.dir().join("config.toml");
    fs::write(&config, "exec = \"runtime\"\n")?;
    let container = plain(node, Some(&config.to_string_lossy()))?;
    check_way(
        node,
        &container,
        r#"by the OCI runtime: exec = \"runtime\""#,
    )
}

fn an_engine_that_can_is_used(node: &Node) -> Outcome {
    let container = plain(node, None)?;
    check_way(node, &container, "by the engine")
}

/// The OCI runtime writes the exec's pid, as it has written init's.
fn an_exec_called_init_leaves_the_containers_pid_file(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let container = builder(node, "called", &trace, &json!({})).start(&["sleep", "600"])?;
    let file = container.bundle().join("init.pid");
    let before = fs::read_to_string(&file)?;
    let fifos = node.ctr().fifos().display().to_string();
    let id = container.id();
    let exec = [
        "task",
        "exec",
        "--exec-id",
        "init",
        "--fifo-dir",
        &fifos,
        id,
        "true",
    ];
    node.ctr().run(&exec)?;
    assert_eq!(fs::read_to_string(&file)?, before);
    Ok(())
}
