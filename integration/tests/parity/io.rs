//! Standard input and output, terminals and logs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use podhook_integration::node::held;
use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, command, tests};

use crate::terminal::on_terminal_shown;

pub fn tests() -> Vec<Test> {
    tests![io:
        run_rm_passes_output_and_input,
        eight_megabytes_of_output_arrive,
        a_log_file_loses_nothing_at_the_end,
        a_log_file_gets_both_streams,
        a_log_program_gets_both_streams,
        a_terminal_is_a_terminal,
        an_exec_gets_a_terminal_of_its_own,
    ]
}

fn run_rm_passes_output_and_input(node: &Node) -> Outcome {
    // `ctr run` never closes the container's input: read a line, not to the end.
    let output = node
        .container("cat")
        .run_rm_with_input(&["sh", "-c", "head -n 1; echo done >&2"], b"from ctr\n")?;
    assert_eq!(
        (
            output.stdout.as_str(),
            output.stderr.as_str(),
            output.status
        ),
        ("from ctr\n", "done\n", 0)
    );
    Ok(())
}

fn eight_megabytes_of_output_arrive(node: &Node) -> Outcome {
    // ctr drops what it has not read when the task ends, with every shim: the task waits for it.
    let script = "head -c 8388608 /dev/zero | tr '\\0' x; echo over";
    let builder = node.container("much");
    let id = builder.id().to_owned();
    let mut run = builder.run_rm_command(&["sh", "-c", &format!("{script}; {}", held("shown"))])?;
    let release = || release(node, &id);
    let output = command::run_shown(&mut run, Some(b""), 2 * SOON, &["over"], release)?;
    assert_eq!(
        (output.stdout.len(), output.status),
        ((8 << 20) + 5, 0),
        "{}",
        output.stderr
    );
    Ok(())
}

/// Lets a container go on that `ctr run --rm` runs.
fn release(node: &Node, id: &str) {
    let touch = [
        "task",
        "exec",
        "--exec-id",
        "release",
        id,
        "touch",
        "/tmp/shown",
    ];
    drop(node.ctr().run(&touch));
}

fn a_log_file_loses_nothing_at_the_end(node: &Node) -> Outcome {
    let container =
        node.container("file")
            .start(&["sh", "-c", "head -c 8388608 /dev/zero | tr '\\0' x"])?;
    assert_eq!(container.wait_exit(SOON)?, 0);
    let log = container.log();
    container.delete()?;
    assert_eq!(fs::metadata(log)?.len(), 8 << 20);
    Ok(())
}

fn a_log_file_gets_both_streams(node: &Node) -> Outcome {
    // The original now and then loses a line that comes just before the end.
    let script = "echo to stdout; echo to stderr >&2; exec sleep 600";
    let container = node.container("log").start(&["sh", "-c", script])?;
    container.wait_output("to stdout\n", SOON)?;
    container.wait_output("to stderr\n", SOON)?;
    Ok(())
}

fn a_log_program_gets_both_streams(node: &Node) -> Outcome {
    let dir = node.containerd().dir();
    let builder = node.container("logger");
    let (program, log) = (
        dir.join(format!("{}.sh", builder.id())),
        dir.join(format!("{}.out", builder.id())),
    );
    // The contract of binary:// : stdout on 3, stderr on 4, and 5 is closed when the program is ready.
    fs::write(
        &program,
        format!(
            "#!/bin/sh\nexec 5>&-\ncat <&3 >>{0} & cat <&4 >>{0}\nwait\n",
            log.display()
        ),
    )?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let container = builder.start_with_log(
        &format!("binary://{}", program.display()),
        &["sh", "-c", "echo to stdout; echo to stderr >&2"],
    )?;
    assert_eq!(container.wait_exit(SOON)?, 0);
    let text = || fs::read_to_string(&log).unwrap_or_default();
    wait::until_true("the program to log both", SOON, || {
        text().contains("to stdout\n") && text().contains("to stderr\n")
    })?;
    Ok(())
}

/// Prints the terminal, if all three streams are one, and a last word, and waits until that was shown.
fn terminal() -> String {
    let look = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && tty; stty size; echo over";
    format!("{look}; {}; exit 6", held("shown"))
}

fn a_terminal_is_a_terminal(node: &Node) -> Outcome {
    let builder = node.container("tty").flag(["--tty"]);
    let id = builder.id().to_owned();
    let run = builder.run_rm_command(&["sh", "-c", &terminal()])?;
    let output = on_terminal_shown(&run, None, &["over"], || release(node, &id))?;
    assert_eq!(output.status, 6, "{output:?}");
    assert!(output.stdout.contains("/dev/pts/0"), "{output:?}");
    Ok(())
}

fn an_exec_gets_a_terminal_of_its_own(node: &Node) -> Outcome {
    let container = node.container("tty-exec").start(&["sleep", "600"])?;
    let mut exec = node.ctr().command();
    exec.args(["task", "exec", "--tty", "--exec-id", "tty", container.id()])
        .args(["sh", "-c", &terminal()]);
    let release = || container.release("shown");
    let output = on_terminal_shown(&exec, None, &["over"], release)?;
    assert_eq!(output.status, 6, "{output:?}");
    assert!(output.stdout.contains("/dev/pts/"), "{output:?}");
    Ok(())
}
