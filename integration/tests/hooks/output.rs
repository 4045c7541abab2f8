//! `output: container`: what a hook prints is in the container's own log.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use podhook_integration::node::PodContainer;
use podhook_integration::suite::Test;
use podhook_integration::trace::{Trace, mark};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, command, tests};
use serde_json::{Value, json};

use crate::network::{Network, response};
use crate::recorded::Recorded;
use crate::script::{Error, after, exec, polite, sh, with, words};

pub fn tests() -> Vec<Test> {
    tests![output:
        kubectl_logs_shows_a_hooks_output_stream_by_stream,
        the_record_has_both_streams_as_they_were_written,
        without_the_field_the_log_is_the_containers_alone,
        pre_stop_prints_after_the_container_has_closed_its_output,
        an_http_hooks_answer_is_printed_as_its_output,
        a_hook_that_timed_out_leaves_its_last_line,
        no_line_is_torn,
        a_log_file_gets_a_hooks_output,
        a_log_program_gets_a_hooks_output,
        a_terminals_log_has_a_hooks_lines_as_its_own,
        a_terminal_shows_a_hooks_lines_from_its_left_edge,
        output_that_goes_nowhere_is_recorded,
        a_reader_that_has_stopped_hangs_nothing,
        a_longer_line_than_the_limit_is_broken,
    ]
}

/// The lifecycle with `output: container`.
fn to_container(mut lifecycle: Value) -> String {
    lifecycle["output"] = json!("container");
    lifecycle.to_string()
}

/// The lines of a CRI log that a stream has.
fn stream(container: &PodContainer<'_>, name: &str) -> Result<Vec<String>, Error> {
    let lines = container.log()?.into_iter();
    Ok(lines
        .filter(|(stream, _)| stream == name)
        .map(|(_, line)| line)
        .collect())
}

fn kubectl_logs_shows_a_hooks_output_stream_by_stream(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({
        "postStart": exec("echo post out; echo post err >&2"),
        "preStop": exec("echo pre out; echo pre err >&2"),
    });
    let pod = node
        .pod("logs")
        .lifecycle("main", &to_container(lifecycle))
        .run()?;
    // The hook prints before the container does.
    let script = format!(
        "{}; trap 'echo bye; exit 7' TERM; echo own; {}; while :; do sleep 600 & wait $!; done",
        after("go"),
        mark("ready")
    );
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&sh(&script)))
        .start()?;
    let record = container.watch_record();
    container.wait_log("post out", SOON)?;
    container.wait_log("post err", SOON)?;
    fs::write(trace.dir().join("go"), "")?;
    trace.wait("ready")?;
    container.stop(30)?;
    container.wait_exit(SOON)?;
    assert_eq!(
        stream(&container, "stdout")?,
        ["post out", "own", "pre out", "bye"]
    );
    assert_eq!(stream(&container, "stderr")?, ["post err", "pre err"]);
    // The record has it as well.
    let record = record.latest();
    let output = record.hooks.iter().find(|hook| hook.hook == "preStop");
    let output = output
        .and_then(|hook| hook.output.clone())
        .unwrap_or_default();
    assert_eq!(output, "pre out\npre err\n", "as they were written");
    Ok(())
}

fn the_record_has_both_streams_as_they_were_written(node: &Node) -> Outcome {
    let script =
        "i=100; while [ $i -lt 300 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; echo end";
    let lines = (100..300).map(|i| format!("out {i}\nerr {i}\n"));
    let written = lines.collect::<String>() + "end\n";
    for output in ["capture", "container"] {
        let lifecycle = json!({"postStart": exec(script), "output": output});
        let container = node
            .container("order")
            .lifecycle(&lifecycle.to_string())
            .start(&["sleep", "600"])?;
        let hook = container.recorded()?.hook("postStart")?;
        assert_eq!(hook.text("/output"), written, "{output}");
    }
    Ok(())
}

fn without_the_field_the_log_is_the_containers_alone(node: &Node) -> Outcome {
    let lifecycle = json!({"postStart": exec("echo hook"), "preStop": exec("echo hook")});
    let pod = node
        .pod("alone")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .command(&words(&sh(
            "trap 'echo bye; exit 7' TERM; echo own; while :; do sleep 600 & wait $!; done",
        )))
        .start()?;
    container.wait_log("own", SOON)?;
    container.stop(30)?;
    container.wait_exit(SOON)?;
    assert_eq!(stream(&container, "stdout")?, ["own", "bye"]);
    Ok(())
}

fn an_http_hooks_answer_is_printed_as_its_output(node: &Node) -> Outcome {
    let pod = node.pod("answer").run()?;
    let server = Network::of_pod(&pod)?
        .respond("127.0.0.1", |_| response("200 OK", "", "drained\n3 left"))?;
    let hook = json!({"httpGet": {"host": "127.0.0.1", "port": server.port}});
    let container = pod
        .container("main")
        .annotation(
            "podhook.dev/lifecycle",
            &to_container(json!({"preStop": hook})),
        )
        .command(&words(&sh(
            "trap 'echo bye; exit 7' TERM; echo own; while :; do sleep 600 & wait $!; done",
        )))
        .start()?;
    container.wait_log("own", SOON)?;
    container.stop(30)?;
    container.wait_exit(SOON)?;
    assert_eq!(
        stream(&container, "stdout")?,
        ["own", "drained", "3 left", "bye"]
    );
    assert_eq!(stream(&container, "stderr")?, [""; 0]);
    Ok(())
}

fn pre_stop_prints_after_the_container_has_closed_its_output(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = to_container(json!({"preStop": exec("echo late; echo late err >&2")}));
    let pod = node.pod("closed").lifecycle("main", &lifecycle).run()?;
    let script = format!(
        "trap 'exit 7' TERM; printf 'the last'; exec >&- 2>&-; {}; while :; do sleep 600 & wait $!; done",
        mark("ready")
    );
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&sh(&script)))
        .start()?;
    trace.wait("ready")?;
    container.stop(30)?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 7);
    assert_eq!(stream(&container, "stdout")?, ["the last", "late"]);
    assert_eq!(stream(&container, "stderr")?, ["late err"]);
    Ok(())
}

fn a_hook_that_timed_out_leaves_its_last_line(node: &Node) -> Outcome {
    let hook = exec("echo one; printf 'step 2'; exec sleep 600");
    let lifecycle =
        json!({"postStart": with(hook, json!({"timeoutSeconds": 1, "onFailure": "Ignore"}))});
    let pod = node
        .pod("cut")
        .lifecycle("main", &to_container(lifecycle))
        .run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    container.wait_log("step 2", SOON)?;
    assert_eq!(stream(&container, "stdout")?, ["one", "step 2"]);
    Ok(())
}

fn no_line_is_torn(node: &Node) -> Outcome {
    let count = 3000;
    let print = |word: &str| {
        format!(
            "i=0; while [ $i -lt {count} ]; do printf '{word} '; echo {word} $i; i=$((i+1)); done"
        )
    };
    let lifecycle = to_container(json!({"postStart": exec(&print("hook"))}));
    let pod = node.pod("torn").lifecycle("main", &lifecycle).run()?;
    let container = pod
        .container("main")
        .command(&words(&sh(&format!("{}; exec sleep 600", print("own")))))
        .start()?;
    let last = count - 1;
    container.wait_log(&format!("own own {last}"), SOON)?;
    container.wait_log(&format!("hook hook {last}"), SOON)?;
    let lines = stream(&container, "stdout")?;
    for word in ["hook", "own"] {
        let of_word: Vec<_> = lines
            .iter()
            .filter(|line| line.starts_with(word))
            .cloned()
            .collect();
        let expected: Vec<_> = (0..count).map(|i| format!("{word} {word} {i}")).collect();
        let first = of_word
            .iter()
            .zip(&expected)
            .find(|(found, wanted)| found != wanted);
        assert_eq!(first, None);
        assert_eq!(of_word.len(), count, "{word}");
    }
    assert_eq!(lines.len(), 2 * count);
    Ok(())
}

fn a_log_file_gets_a_hooks_output(node: &Node) -> Outcome {
    let lifecycle = json!({
        "postStart": exec("echo post out; echo post err >&2"),
        "preStop": exec("echo pre out"),
    });
    let trace = Trace::new(node)?;
    let container = node
        .container("file")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&to_container(lifecycle))
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    container.wait_output("post out\n", SOON)?;
    container.wait_output("post err\n", SOON)?;
    container.kill("SIGTERM")?;
    container.wait_exit(SOON)?;
    container.wait_output("pre out\n", SOON)?;
    Ok(())
}

fn a_log_program_gets_a_hooks_output(node: &Node) -> Outcome {
    let dir = node.containerd().dir();
    let lifecycle = json!({
        "postStart": exec("echo post out; echo post err >&2"),
        "preStop": exec("echo pre out"),
    });
    let trace = Trace::new(node)?;
    let builder = node
        .container("program")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&to_container(lifecycle));
    let program = dir.join(format!("{}.sh", builder.id()));
    let log = |stream: &str| trace.dir().join(stream);
    let script = format!(
        "#!/bin/sh\nexec 5>&-\ncat <&3 >>{} & cat <&4 >>{}\nwait\n",
        log("out").display(),
        log("err").display()
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let script = format!(
        "trap 'echo bye; exit 7' TERM; echo own; {}; while :; do sleep 600 & wait $!; done",
        mark("ready")
    );
    let container = builder.start_with_log(
        &format!("binary://{}", program.display()),
        &words(&sh(&script)),
    )?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    let sorted = |stream| {
        let text = fs::read_to_string(log(stream)).unwrap_or_default();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    wait::until_true("everything in the program's logs", SOON, || {
        sorted("out") == ["bye", "own", "post out", "pre out"] && sorted("err") == ["post err"]
    })
    .map_err(|e| format!("{e}: {:?} {:?}", sorted("out"), sorted("err")))?;
    Ok(())
}

fn a_terminals_log_has_a_hooks_lines_as_its_own(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": exec("echo hook out; echo hook err >&2")});
    let pod = node
        .pod("terminal")
        .lifecycle("main", &to_container(lifecycle))
        .run()?;
    let container = pod
        .container("main")
        .config(|config| config.tty = true)
        .host_path(trace.dir(), "/trace")
        .command(&words(&sh(&format!(
            "printf 'prompt> '; {}; echo own; exec sleep 600",
            after("go")
        ))))
        .start()?;
    container.wait_log("hook err", SOON)?;
    fs::write(trace.dir().join("go"), "")?;
    container.wait_log("own", SOON)?;
    let mut lines = stream(&container, "stdout")?;
    // The prompt came before the hook, and its line was ended; or after it.
    let prompt = lines.iter().position(|line| line.starts_with("prompt> "));
    if prompt == Some(0) && lines.len() == 4 {
        lines.remove(0);
    } else if let Some(line) = lines.last_mut() {
        *line = line.trim_start_matches("prompt> ").to_owned();
    }
    assert_eq!(lines, ["hook out", "hook err", "own"]);
    Ok(())
}

fn a_terminal_shows_a_hooks_lines_from_its_left_edge(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let hook = exec(&format!(
        "echo hook one; echo hook two; {}",
        mark("printed")
    ));
    let script = format!("{}; echo own; usleep 300000", after("printed"));
    let ctr = node
        .container("tty")
        .flag(["--tty"])
        .flag(["--mount", &trace.mount()])
        .lifecycle(&to_container(json!({"postStart": hook})))
        .run_rm_command(&words(&sh(&script)))?;
    // ctr refuses --tty without a terminal.
    let quote =
        |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"));
    let line: Vec<_> = std::iter::once(ctr.get_program())
        .chain(ctr.get_args())
        .map(quote)
        .collect();
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command"]);
    terminal.args([&line.join(" "), "/dev/null"]);
    let shown = command::run(&mut terminal, None, Duration::from_secs(60))?.stdout;
    // script(1) may translate once more, but then all of it.
    let own = shown.split_once("own").ok_or("no own line")?.1;
    let end = own.split_inclusive('\n').next().unwrap_or_default();
    assert!(end.starts_with('\r') && end.trim().is_empty(), "{shown:?}");
    let hook = format!("hook one{end}hook two{end}");
    assert!(shown.contains(&hook), "{shown:?}");
    Ok(())
}

fn output_that_goes_nowhere_is_recorded(node: &Node) -> Outcome {
    let lifecycle = to_container(json!({"postStart": exec("echo out; echo err >&2")}));
    let (container, mut ctr) = node
        .container("null")
        .flag(["--null-io"])
        .lifecycle(&lifecycle)
        .start_command(&["sleep", "600"])?;
    // Of the two ctr takes --null-io.
    command::run(&mut ctr, None, Duration::from_secs(60))?.success()?;
    let hook = container.recorded()?.hook("postStart")?;
    assert_eq!(hook.text("/result"), "Succeeded");
    assert_eq!(hook.text("/output").lines().count(), 2);
    assert!(!container.output().contains("out"));
    Ok(())
}

fn a_reader_that_has_stopped_hangs_nothing(node: &Node) -> Outcome {
    let lifecycle = json!({
        "postStart": exec("yes | head -c 5000000; echo post end"),
        "preStop": exec("yes | head -c 5000000; echo pre end"),
    });
    let trace = Trace::new(node)?;
    let builder = node
        .container("stopped")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&to_container(lifecycle));
    let id = builder.id().to_owned();
    let mut ctr: Command = builder.run_rm_command(&words(&polite()))?;
    // ctr writes into a pipe that nobody reads: it stops, and so does the fifo.
    let mut attached = ctr.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let ended = (|| -> Outcome {
        let running = || {
            node.ctr()
                .tasks()
                .is_ok_and(|tasks| tasks.get(&id).is_some_and(|task| task.status == "RUNNING"))
        };
        wait::until_true("the container to run", SOON, running)?;
        trace.wait("ready")?;
        node.ctr().run(&["task", "kill", "-s", "SIGTERM", &id])?;
        trace.wait("got-TERM")?;
        let exit = node.events().wait(&id, "exit", SOON)?;
        assert_eq!(exit.exit_status(), 7);
        for hook in ["postStart", "preStop"] {
            let line = wait::until(&format!("a line of what {hook} lost"), SOON, || {
                let log = node.containerd().log();
                let mut lines = log.lines();
                let dropped = lines.find(|line| {
                    line.contains(&id)
                        && line.contains(&format!("hook={hook}"))
                        && line.contains("hook output dropped")
                });
                dropped.map(str::to_owned)
            })?;
            let bytes = line
                .split("bytes=")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            let bytes: u64 = bytes.ok_or("no count")?.parse()?;
            assert!((4_000_000..5_000_100).contains(&bytes), "{line}");
        }
        Ok(())
    })();
    // Read on, so that ctr can end and remove the container.
    let mut rest = Vec::new();
    if let Some(mut out) = attached.stdout.take() {
        std::io::Read::read_to_end(&mut out, &mut rest)?;
    }
    attached.wait()?;
    ended?;
    assert!(rest.starts_with(b"y\ny\n"));
    Ok(())
}

fn a_longer_line_than_the_limit_is_broken(node: &Node) -> Outcome {
    let hook = exec("head -c 40000 /dev/zero | tr '\\0' x; echo; echo next");
    let container = node
        .container("long")
        .lifecycle(&to_container(json!({"postStart": hook})))
        .start(&["sleep", "600"])?;
    container.wait_output("next\n", SOON)?;
    let lengths: Vec<_> = container.output().lines().map(str::len).collect();
    assert_eq!(lengths, [16384, 16384, 40000 - 2 * 16384, 4]);
    Ok(())
}
