//! What a hook leaves running goes on printing: its stdout and stderr have a reader as long as it lives.

use std::time::Duration;
use std::{fs, thread};

use podhook_integration::containerd::remains;
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::{Error, exec, polite, together, wait_gone, wait_processes, words};

pub fn tests() -> Vec<Test> {
    tests![left_running:
        it_lives_on_whatever_it_prints_to,
        it_lives_on_in_a_pod_and_is_in_kubectl_logs,
        it_lives_on_where_the_oci_runtime_has_run_the_hook,
        it_lives_on_after_a_hook_that_failed,
        nobody_reads_the_containers_output_and_it_lives_on,
        a_silent_one_wakes_no_shim,
        the_container_ends_with_it,
    ]
}

/// Leaves a process behind that prints, and counts in the trace how often it could.
fn talker(how: &str, streams: &str) -> Value {
    let turn = match streams {
        "stdout" => "echo line $i",
        "stderr" => "echo line $i >&2",
        _ => "echo line $i; echo error $i >&2",
    };
    exec(&format!(
        "{how} sh -c 'i=0; while :; do i=$((i+1)); {turn}; echo $i > /trace/count; usleep 20000; done' & echo begun"
    ))
}

/// Waits until it has printed a few times more.
fn goes_on(trace: &Trace) -> Result<u64, Error> {
    let count = || -> u64 {
        let text = fs::read_to_string(trace.dir().join("count")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let before = count();
    wait::until_true("what the hook has left to print more", SOON, || {
        count() > before + 10
    })?;
    Ok(count())
}

fn it_lives_on_whatever_it_prints_to(node: &Node) -> Outcome {
    let mut table = Vec::new();
    // The second is what nohup(1) does where there is no terminal.
    for how in ["", "trap '' HUP;", "setsid"] {
        for streams in ["stdout", "stderr", "both"] {
            for output in ["capture", "container"] {
                table.push((how, streams, output));
            }
        }
    }
    together(&table, |(how, streams, output)| {
        let trace = Trace::new(node)?;
        let lifecycle = json!({"postStart": talker(how, streams), "output": output});
        let container = node
            .container("talks")
            .flag(["--mount", &trace.mount()])
            .lifecycle(&lifecycle.to_string())
            .start(&["sleep", "600"])?;
        let hook = container.recorded()?.hook("postStart")?;
        assert_eq!(hook.text("/result"), "Succeeded");
        let told = |e| format!("{how} {streams} {output}: {e}");
        let count = goes_on(&trace).map_err(told)?;
        if *output == "container" {
            let word = if *streams == "both" { "error" } else { "line" };
            container.wait_output(&format!("{word} {count}\n"), SOON)?;
        } else {
            assert!(!container.output().contains("line"));
        }
        Ok(())
    })
}

fn it_lives_on_in_a_pod_and_is_in_kubectl_logs(node: &Node) -> Outcome {
    together(&["capture", "container"], |output| {
        let trace = Trace::new(node)?;
        let lifecycle = json!({"postStart": talker("", "both"), "output": output});
        let pod = node
            .pod("talks")
            .lifecycle("main", &lifecycle.to_string())
            .run()?;
        let container = pod
            .container("main")
            .host_path(trace.dir(), "/trace")
            .command(&["sleep", "600"])
            .start()?;
        let count = goes_on(&trace)?;
        if *output == "container" {
            container.wait_log(&format!("line {count}"), SOON)?;
            container.wait_log(&format!("error {count}"), SOON)?;
            let lines = container.log()?;
            let stray = lines
                .iter()
                .find(|(stream, line)| (stream == "stderr") != line.starts_with("error"));
            assert_eq!(stray, None);
        } else {
            assert_eq!(container.log()?, []);
        }
        container.stop(0)?;
        Ok(())
    })
}

fn it_lives_on_where_the_oci_runtime_has_run_the_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let config = trace.dir().join("config.toml");
    fs::write(&config, "exec = \"runtime\"\n")?;
    let lifecycle = json!({"postStart": talker("", "both")});
    let _container = node
        .container("talks")
        .flag(["--mount", &trace.mount()])
        .flag(["--runtime-config-path", &config.to_string_lossy()])
        .lifecycle(&lifecycle.to_string())
        .start(&["sleep", "600"])?;
    goes_on(&trace)?;
    Ok(())
}

fn it_lives_on_after_a_hook_that_failed(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let mut hook = talker("", "both");
    let script = hook["exec"]["command"][2].as_str().unwrap_or_default();
    hook["exec"]["command"][2] = format!("{script}; exit 3").into();
    hook["onFailure"] = "Ignore".into();
    let container = node
        .container("talks")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&json!({"postStart": hook}).to_string())
        .start(&["sleep", "600"])?;
    assert_eq!(container.recorded()?.result("postStart"), "Failed");
    goes_on(&trace)?;
    Ok(())
}

fn nobody_reads_the_containers_output_and_it_lives_on(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": talker("", "both"), "output": "container"});
    let (_container, mut ctr) = node
        .container("null")
        .flag(["--null-io"])
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_command(&["sleep", "600"])?;
    podhook_integration::command::run(&mut ctr, None, Duration::from_secs(60))?.success()?;
    goes_on(&trace)?;
    Ok(())
}

fn a_silent_one_wakes_no_shim(node: &Node) -> Outcome {
    for output in ["capture", "container"] {
        let lifecycle = json!({"postStart": exec("sleep 4341 & echo begun"), "output": output});
        let container = node
            .container("silent")
            .lifecycle(&lifecycle.to_string())
            .start(&["sleep", "600"])?;
        let shims = remains::shims(&node.containerd().address());
        let shim = shims.iter().find(|shim| shim.id == container.id());
        let path = format!("/proc/{}/status", shim.ok_or("no shim")?.pid);
        let field = |name: &str| -> Result<String, Error> {
            let status = fs::read_to_string(&path)?;
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            Ok(line.ok_or("no such field")?.trim().to_owned())
        };
        // After its work the shim gives memory back, and then it has nothing to do.
        wait::until_true("two seconds in which the shim sleeps", SOON, || {
            let before = field("voluntary_ctxt_switches:").ok();
            thread::sleep(Duration::from_secs(2));
            before.is_some() && before == field("voluntary_ctxt_switches:").ok()
        })?;
        assert_eq!(field("Threads:")?, "1");
        wait_processes(node, container.id(), &["sleep 600", "sleep 4341"])?;
    }
    Ok(())
}

fn the_container_ends_with_it(node: &Node) -> Outcome {
    // What it prints last is there, nothing waits for it, and the suite looks for what is left.
    let trace = Trace::new(node)?;
    let lifecycle = json!({
        "postStart": talker("", "both"),
        "preStop": exec("(while :; do echo stopping; usleep 20000; done) &"),
        "output": "container",
    });
    let pod = node
        .pod("ends")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    goes_on(&trace)?;
    container.stop(30)?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 7);
    wait_gone(node, container.id(), "sleep 600")
}
