//! Commands on a terminal in a running container.

use std::process::Command;

use podhook_integration::node::{Container, Pod, PodContainer, held};
use podhook_integration::suite::{Test, podhook_only, unless};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, OciRuntime, Outcome, command, tests};

pub fn tests() -> Vec<Test> {
    let podhook = podhook_only(tests![terminal: the_engine_makes_it_without_the_runtime]);
    let users = unless(
        tests![terminal: a_terminal_belongs_to_the_commands_user],
        |place| {
            let old_crun =
                (place.generation, place.runtime) == (Generation::V1_6, OciRuntime::Crun);
            (old_crun && !place.shim.is_podhook())
                .then_some("crun 1.8 leaves an exec's terminal to root")
        },
    );
    let all = tests![terminal:
        exec_on_a_terminal_has_it_on_all_streams,
        what_is_typed_is_read,
        a_missing_program_fails_on_a_terminal_too,
        a_killed_command_on_a_terminal_says_so,
        a_container_without_devpts_gives_no_terminal,
        cri_exec_on_a_terminal_types_resizes_and_exits,
        cri_exec_passes_four_megabytes_of_terminal_output,
        cri_exec_interrupts_by_a_key,
        cri_exec_sees_the_end_of_input,
    ];
    [all, users, podhook].concat()
}

/// Runs ctr on a terminal, since it refuses `--tty` without one, with what is typed there.
pub fn on_terminal(ctr: &Command, typed: Option<&[u8]>) -> Result<command::Output, command::Error> {
    on_terminal_shown(ctr, typed, &[], || {})
}

/// The same; calls `then` as soon as the terminal has shown each of these texts.
pub fn on_terminal_shown(
    ctr: &Command,
    typed: Option<&[u8]>,
    shown: &[&str],
    then: impl FnOnce(),
) -> Result<command::Output, command::Error> {
    let quote =
        |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"));
    let line: Vec<_> = std::iter::once(ctr.get_program())
        .chain(ctr.get_args())
        .map(quote)
        .collect();
    let mut script = Command::new("script");
    script.args([
        "--quiet",
        "--return",
        "--command",
        &line.join(" "),
        "/dev/null",
    ]);
    command::run_shown(&mut script, typed, 2 * SOON, shown, then)
}

/// Whether an exec's errors are in runc's words: the engine has them whatever the OCI runtime is.
fn runcs_words(node: &Node) -> bool {
    node.shim().is_podhook() || !node.place().runtime.is_crun()
}

fn expect(output: &command::Output, words: &[&str]) {
    for words in words {
        assert!(output.stdout.contains(words), "{words:?}: {output:?}");
    }
}

fn exec(node: &Node, container: &Container<'_>, command: &[&str]) -> Command {
    let mut exec = node.ctr().command();
    exec.args(["task", "exec", "--tty", "--exec-id", "tty", container.id()])
        .args(command);
    exec
}

fn exec_on_a_terminal_has_it_on_all_streams(node: &Node) -> Outcome {
    let container = node.container("tty").start(&["sleep", "600"])?;
    let script = "for n in 0 1 2; do test -t $n && readlink /proc/self/fd/$n; done; tty; \
        ls /proc/$$/fd; echo also > /dev/tty";
    let script = format!("{script}; {}; exit 6", held("shown"));
    let exec = exec(node, &container, &["sh", "-c", &script]);
    let output = on_terminal_shown(&exec, None, &["also"], || container.release("shown"))?;
    assert_eq!(output.status, 6, "{output:?}");
    // script(1) types a NUL at the end of its input, which is echoed where ctr has not gone raw yet.
    let text = output.stdout.replace(['\r', '\0'], "").replace("^@", "");
    assert!(text.contains(&"/dev/pts/0\n".repeat(4)), "{output:?}");
    assert!(text.contains("also\n"), "{output:?}");
    Ok(())
}

fn what_is_typed_is_read(node: &Node) -> Outcome {
    let container = node.container("typed").start(&["sleep", "600"])?;
    let script = format!("read line; echo \"got $line\"; {}", held("shown"));
    let exec = exec(node, &container, &["sh", "-c", &script]);
    let release = || container.release("shown");
    let output = on_terminal_shown(&exec, Some(b"some words\n"), &["got some words"], release)?;
    assert_eq!(output.status, 0, "{output:?}");
    assert!(output.stdout.contains("got some words"), "{output:?}");
    Ok(())
}

fn a_terminal_belongs_to_the_commands_user(node: &Node) -> Outcome {
    let container = node.container("user").start(&["sleep", "600"])?;
    let script = format!(
        "stat -c '%u %a' $(tty); echo mine > $(tty); {}",
        held("shown")
    );
    let mut exec = node.ctr().command();
    exec.args([
        "task",
        "exec",
        "--tty",
        "--user",
        "1000:1000",
        "--exec-id",
        "tty",
    ])
    .arg(container.id())
    .args(["sh", "-c", &script]);
    let release = || container.release("shown");
    let output = on_terminal_shown(&exec, None, &["mine"], release)?;
    assert_eq!(output.status, 0, "{output:?}");
    assert!(output.stdout.contains("1000 620"), "{output:?}");
    assert!(output.stdout.contains("mine"), "{output:?}");
    Ok(())
}

fn a_missing_program_fails_on_a_terminal_too(node: &Node) -> Outcome {
    let container = node.container("missing-tty").start(&["sleep", "600"])?;
    let output = on_terminal(&exec(node, &container, &["no-such-program"]), None)?;
    assert_ne!(output.status, 0);
    let words: &[_] = if runcs_words(node) {
        &[
            "exec failed: unable to start container process: exec: \"no-such-program\": \
            executable file not found in $PATH",
        ]
    } else {
        &["exec failed: ", "no-such-program", "not found in $PATH"]
    };
    expect(&output, words);
    let again = on_terminal(&exec(node, &container, &["true"]), None)?;
    assert_eq!(again.status, 0, "{again:?}");
    Ok(())
}

fn a_killed_command_on_a_terminal_says_so(node: &Node) -> Outcome {
    let container = node.container("killed-tty").start(&["sleep", "600"])?;
    let output = on_terminal(
        &exec(node, &container, &["sh", "-c", "kill -KILL $$"]),
        None,
    )?;
    assert_eq!(output.status, 137, "{output:?}");
    Ok(())
}

fn a_container_without_devpts_gives_no_terminal(node: &Node) -> Outcome {
    // A file system of the container's own in its place.
    let container = node
        .container("no-devpts")
        .flag(["--mount", "type=tmpfs,src=tmpfs,dst=/dev/pts,options=rw"])
        .start(&["sleep", "600"])?;
    let output = on_terminal(&exec(node, &container, &["true"]), None)?;
    assert_ne!(output.status, 0, "{output:?}");
    // runc 1.3 names /dev/pts/ptmx, crun has the name in quotes.
    let words: &[_] = if node.shim().is_podhook() {
        &["unable to start container process: open /dev/ptmx: no such file or directory"]
    } else {
        &["exec failed: ", "/ptmx", "o such file or directory"]
    };
    expect(&output, words);
    assert_eq!(container.exec(&["true"])?.status, 0);
    Ok(())
}

fn sleeper<'a>(
    pod: &'a Pod<'a>,
) -> Result<PodContainer<'a>, Box<dyn std::error::Error + Send + Sync>> {
    pod.container("c").command(&["sleep", "600"]).start()
}

fn cri_exec_on_a_terminal_types_resizes_and_exits(node: &Node) -> Outcome {
    let pod = node.pod("tty").run()?;
    let container = sleeper(&pod)?;
    let script = "test -t 0 && test -t 1 && test -t 2 && tty; echo \"TERM $TERM\"; \
        until [ \"$(stty size)\" = '50 132' ]; do usleep 10000; done; echo resized; \
        read line; echo \"got $line\"; exit 6";
    let mut exec = container.exec_on_terminal(&["sh", "-c", script])?;
    exec.wait_output("/dev/pts/0\r\n")?;
    exec.wait_output("TERM xterm\r\n")?;
    exec.resize(132, 50)?;
    exec.wait_output("resized\r\n")?;
    exec.write("words\n")?;
    exec.wait_output("got words\r\n")?;
    assert_eq!(exec.wait_exit()?, 6);
    Ok(())
}

fn cri_exec_passes_four_megabytes_of_terminal_output(node: &Node) -> Outcome {
    let pod = node.pod("much-tty").run()?;
    let container = sleeper(&pod)?;
    let script = "head -c 4194304 /dev/zero | tr '\\0' x; echo; echo end";
    let mut exec = container.exec_on_terminal(&["sh", "-c", script])?;
    assert_eq!(exec.wait_exit()?, 0);
    let output = String::from_utf8_lossy(&exec.output);
    assert!(output.ends_with("\r\nend\r\n"), "{} bytes", output.len());
    assert_eq!(output.matches('x').count(), 4 << 20);
    Ok(())
}

fn cri_exec_interrupts_by_a_key(node: &Node) -> Outcome {
    let pod = node.pod("key").run()?;
    let container = sleeper(&pod)?;
    let script = "trap 'exit 9' INT; echo ready; while :; do usleep 20000; done";
    let mut exec = container.exec_on_terminal(&["sh", "-c", script])?;
    exec.wait_output("ready\r\n")?;
    exec.write("\x03")?;
    assert_eq!(exec.wait_exit()?, 9);
    Ok(())
}

/// Control-D: the line discipline is that of the container's terminal.
fn cri_exec_sees_the_end_of_input(node: &Node) -> Outcome {
    let pod = node.pod("end-tty").run()?;
    let container = sleeper(&pod)?;
    let mut exec = container.exec_on_terminal(&["sh", "-c", "wc -l; exit 5"])?;
    exec.write("one\ntwo\n\x04")?;
    exec.wait_output("2\r\n")?;
    assert_eq!(exec.wait_exit()?, 5);
    Ok(())
}

fn the_engine_makes_it_without_the_runtime(node: &Node) -> Outcome {
    let container = node.container("native-tty").start(&["sleep", "600"])?;
    let output = on_terminal(&exec(node, &container, &["tty"]), None)?;
    assert_eq!(output.status, 0, "{output:?}");
    let line = wait::until("the shim's line in the log", SOON, || {
        let log = node.containerd().log();
        let mut lines = log.lines();
        let line = lines.find(|line| line.contains(container.id()) && line.contains("engine="));
        line.map(str::to_owned)
    })?;
    assert!(line.contains("native"), "{line}");
    Ok(())
}
