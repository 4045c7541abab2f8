//! The log files of a pod's containers.

use std::fs;

use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};

pub fn tests() -> Vec<Test> {
    tests![pod_log:
        a_rotated_log_goes_on_in_the_new_file,
        the_log_of_an_ended_container_cannot_be_rotated,
        a_long_line_is_split_and_loses_nothing,
        a_last_line_without_end_is_there,
        the_log_of_a_terminal_has_one_stream,
        the_times_in_the_log_do_not_go_back,
        much_output_is_all_in_the_log,
    ]
}

fn a_rotated_log_goes_on_in_the_new_file(node: &Node) -> Outcome {
    let pod = node.pod("rotate").run()?;
    let script = "n=0; while :; do n=$((n+1)); echo line $n; usleep 20000; done";
    let container = pod
        .container("main")
        .command(&["sh", "-c", script])
        .start()?;
    container.wait_log("line 3", SOON)?;
    let path = container.status()?.log_path;
    let old = format!("{path}.1");
    fs::rename(&path, &old)?;
    container.reopen_log()?;
    wait::until_true("the new file to be written", SOON, || {
        container.log().is_ok_and(|lines| lines.len() > 2)
    })?;
    // Nothing is lost between the two.
    let number = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<u32>().ok());
    let last = fs::read_to_string(&old)?
        .lines()
        .last()
        .and_then(number)
        .ok_or("no last line")?;
    let first = container
        .log()?
        .first()
        .and_then(|(_, line)| number(line))
        .ok_or("no first line")?;
    assert_eq!(first, last + 1);
    Ok(())
}

fn the_log_of_an_ended_container_cannot_be_rotated(node: &Node) -> Outcome {
    let pod = node.pod("rotate-ended").run()?;
    let container = pod.container("main").command(&["true"]).start()?;
    container.wait_exit(SOON)?;
    let error = container.reopen_log().err().ok_or("it was")?;
    assert!(error.message().contains("not running"), "{error}");
    Ok(())
}

fn a_long_line_is_split_and_loses_nothing(node: &Node) -> Outcome {
    let pod = node.pod("long").run()?;
    let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo end";
    let container = pod
        .container("main")
        .command(&["sh", "-c", script])
        .start()?;
    container.wait_exit(SOON)?;
    container.wait_log("end", SOON)?;
    let text = fs::read_to_string(container.status()?.log_path)?;
    let tags: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(2))
        .collect();
    assert_eq!(tags, ["P", "P", "F", "F"]);
    let length: usize = container.log()?[..3]
        .iter()
        .map(|(_, line)| line.len())
        .sum();
    assert_eq!(length, 40_000);
    Ok(())
}

fn a_last_line_without_end_is_there(node: &Node) -> Outcome {
    let pod = node.pod("last").run()?;
    let container = pod
        .container("main")
        .command(&["printf", "first\nno end"])
        .start()?;
    container.wait_exit(SOON)?;
    container.wait_log("no end", SOON)?;
    assert_eq!(container.log()?.len(), 2);
    Ok(())
}

fn the_log_of_a_terminal_has_one_stream(node: &Node) -> Outcome {
    let pod = node.pod("tty").run()?;
    let container = pod
        .container("main")
        .config(|config| config.tty = true)
        .command(&["sh", "-c", "tty; echo err >&2; exec sleep 600"])
        .start()?;
    container.wait_log("err", SOON)?;
    let log = container.log()?;
    assert!(log.iter().all(|(stream, _)| stream == "stdout"), "{log:?}");
    assert!(log[0].1.starts_with("/dev/pts/0"), "{log:?}");
    Ok(())
}

fn the_times_in_the_log_do_not_go_back(node: &Node) -> Outcome {
    let pod = node.pod("times").run()?;
    let script = "for n in 1 2 3 4 5; do echo $n; usleep 20000; done";
    let container = pod
        .container("main")
        .command(&["sh", "-c", script])
        .start()?;
    container.wait_exit(SOON)?;
    container.wait_log("5", SOON)?;
    let text = fs::read_to_string(container.status()?.log_path)?;
    let times: Vec<_> = text
        .lines()
        .map(|line| {
            line.split(' ')
                .next()
                .unwrap_or_default()
                .parse::<k8s_openapi::jiff::Timestamp>()
        })
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    assert!(times.is_sorted(), "{text}");
    assert_eq!(times.len(), 5);
    Ok(())
}

fn much_output_is_all_in_the_log(node: &Node) -> Outcome {
    let pod = node.pod("much").run()?;
    let script = "n=0; while [ $n -lt 20000 ]; do n=$((n+1)); echo line $n; done; exec sleep 600";
    let container = pod
        .container("main")
        .command(&["sh", "-c", script])
        .start()?;
    // While it runs: containerd 1.6 now and then stops reading when a container has ended, with every shim.
    container.wait_log("line 20000", 6 * SOON)?;
    let log = container.log()?;
    assert_eq!(log.len(), 20_000);
    assert!(
        log.iter()
            .enumerate()
            .all(|(n, (_, line))| *line == format!("line {}", n + 1))
    );
    Ok(())
}
