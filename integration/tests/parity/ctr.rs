//! Containers run with ctr.

use podhook_integration::suite::Test;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};

pub fn tests() -> Vec<Test> {
    tests![ctr:
        run_rm_gives_the_exit_status,
        run_rm_passes_output_and_input,
        a_detached_task_runs_until_it_is_killed,
    ]
}

fn run_rm_gives_the_exit_status(node: &Node) -> Outcome {
    for status in [0, 1, 7, 255] {
        let output = node
            .container("exit")
            .run_rm(&["sh", "-c", &format!("exit {status}")])?;
        assert_eq!(output.status, status, "{output:?}");
    }
    Ok(())
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

fn a_detached_task_runs_until_it_is_killed(node: &Node) -> Outcome {
    let container = node.container("sleeper").start(&["sleep", "600"])?;
    assert_eq!(container.status()?, "RUNNING");
    container.kill("SIGKILL")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    assert_eq!(container.status()?, "STOPPED");
    assert_eq!(container.delete()?, 137);
    Ok(())
}
