//! How the containers of a pod start, and why they do not.

use podhook_integration::node::PodContainer;
use podhook_integration::suite::Test;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};

pub fn tests() -> Vec<Test> {
    tests![pod_start:
        starting_twice_is_an_error,
        starting_what_has_ended_is_an_error,
        a_stopped_pod_takes_no_container,
        a_program_that_cannot_be_executed_is_a_start_error,
        a_program_missing_in_the_path_is_a_start_error,
        a_working_folder_that_is_a_file_is_a_start_error,
        a_mount_onto_a_file_of_a_folder_is_a_start_error,
        after_a_failed_start_the_next_attempt_runs,
        environment_and_working_folder_arrive,
        arguments_arrive_as_they_are,
        the_working_folder_is_made_if_it_is_missing,
    ]
}

const SLEEP: [&str; 2] = ["sleep", "600"];

/// Starts what cannot be started; gives containerd's words, in lower case.
fn refused(
    container: &PodContainer<'_>,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let error = container.start().err().ok_or("it started")?;
    let status = container.status()?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (128, "StartError"),
        "{error}"
    );
    assert!(!status.message.is_empty());
    Ok(error.message().to_lowercase())
}

fn starting_twice_is_an_error(node: &Node) -> Outcome {
    let pod = node.pod("twice").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    let error = container.start().err().ok_or("it started")?;
    assert!(error.message().contains("CONTAINER_RUNNING"), "{error}");
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    Ok(())
}

fn starting_what_has_ended_is_an_error(node: &Node) -> Outcome {
    let pod = node.pod("ended").run()?;
    let container = pod
        .container("main")
        .command(&["sh", "-c", "exit 5"])
        .start()?;
    container.wait_exit(SOON)?;
    let error = container.start().err().ok_or("it started")?;
    assert!(error.message().contains("CONTAINER_EXITED"), "{error}");
    assert_eq!(container.status()?.exit_code, 5);
    Ok(())
}

fn a_stopped_pod_takes_no_container(node: &Node) -> Outcome {
    let pod = node.pod("stopped").run()?;
    let container = pod.container("main").command(&SLEEP).create()?;
    pod.stop()?;
    let error = container.start().err().ok_or("it started")?;
    assert!(error.message().contains("is not running"), "{error}");
    Ok(())
}

fn a_program_that_cannot_be_executed_is_a_start_error(node: &Node) -> Outcome {
    let pod = node.pod("no-program").run()?;
    let container = pod.container("main").command(&["/etc/passwd"]).create()?;
    let error = refused(&container)?;
    // crun says "not executable" from 1.9 or so on.
    let cruns = node.place().runtime.is_crun() && error.contains("not executable");
    assert!(cruns || error.contains("permission denied"), "{error}");
    Ok(())
}

fn a_program_missing_in_the_path_is_a_start_error(node: &Node) -> Outcome {
    let pod = node.pod("no-path").run()?;
    let container = pod
        .container("main")
        .command(&["no-such-program"])
        .create()?;
    let error = refused(&container)?;
    assert!(
        error.contains("executable file") && error.contains("not found in $path"),
        "{error}"
    );
    Ok(())
}

fn a_working_folder_that_is_a_file_is_a_start_error(node: &Node) -> Outcome {
    let pod = node.pod("no-folder").run()?;
    let container = pod
        .container("main")
        .config(|config| config.working_dir = "/etc/passwd".to_owned())
        .command(&SLEEP)
        .create()?;
    let error = refused(&container)?;
    assert!(error.contains("not a directory"), "{error}");
    Ok(())
}

fn a_mount_onto_a_file_of_a_folder_is_a_start_error(node: &Node) -> Outcome {
    let pod = node.pod("no-mount").run()?;
    let container = pod
        .container("main")
        .host_path(&node.containerd().dir().join("logs"), "/etc/passwd")
        .command(&SLEEP)
        .create()?;
    let error = refused(&container)?;
    assert!(error.contains("not a directory"), "{error}");
    Ok(())
}

fn after_a_failed_start_the_next_attempt_runs(node: &Node) -> Outcome {
    let pod = node.pod("again").run()?;
    let failed = pod
        .container("main")
        .command(&["/no/such/program"])
        .create()?;
    refused(&failed)?;
    failed.remove()?;
    let container = pod
        .container("main")
        .config(|config| config.metadata.get_or_insert_default().attempt = 1)
        .command(&SLEEP)
        .start()?;
    assert_eq!(container.exec(&["echo", "up"])?, "up\n");
    Ok(())
}

fn environment_and_working_folder_arrive(node: &Node) -> Outcome {
    let pod = node.pod("env").run()?;
    let container = pod
        .container("main")
        .env("EMPTY", "")
        .env("TWO", "a b=c")
        .config(|config| config.working_dir = "/usr/share".to_owned())
        .command(&["sh", "-c", "echo \"[$EMPTY][$TWO][$PWD]\"; exec sleep 600"])
        .start()?;
    container.wait_log("[][a b=c][/usr/share]", SOON)?;
    let exec = container.exec(&["sh", "-c", "echo \"[$EMPTY][$TWO][$PWD]\""])?;
    assert_eq!(exec, "[][a b=c][/usr/share]\n");
    Ok(())
}

fn arguments_arrive_as_they_are(node: &Node) -> Outcome {
    let pod = node.pod("args").run()?;
    let container = pod
        .container("main")
        .command(&["sh", "-c", "for a; do echo \"<$a>\"; done"])
        .config(|config| {
            config.args = ["zero", "two words", "", "$HOME", "\"'\\", "ü"]
                .map(str::to_owned)
                .to_vec();
        })
        .start()?;
    container.wait_exit(SOON)?;
    container.wait_log("<ü>", SOON)?;
    let lines: Vec<_> = container.log()?.into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["<two words>", "<>", "<$HOME>", "<\"'\\>", "<ü>"]);
    Ok(())
}

fn the_working_folder_is_made_if_it_is_missing(node: &Node) -> Outcome {
    let pod = node.pod("made").run()?;
    let container = pod
        .container("main")
        .config(|config| config.working_dir = "/not/yet/there".to_owned())
        .command(&["sh", "-c", "pwd; exec sleep 600"])
        .start()?;
    container.wait_log("/not/yet/there", SOON)?;
    Ok(())
}
