//! Commands in the containers of a pod, attached clients, forwarded ports.

use std::thread;
use std::time::{Duration, Instant};

use podhook_integration::stream::Stream;
use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};

pub fn tests() -> Vec<Test> {
    tests![pod_exec:
        exec_sync_without_a_limit_waits_for_the_end,
        exec_sync_of_a_missing_program_says_so,
        exec_sync_in_an_ended_container_is_an_error,
        exec_sync_killed_by_a_signal_is_128_and_the_signal,
        exec_sync_brings_all_of_much_output,
        twenty_exec_syncs_at_once_get_their_own_output,
        fifty_probes_one_after_another_leave_no_process,
        a_timed_out_exec_sync_leaves_the_container_running,
        an_exec_stream_goes_both_ways,
        an_exec_stream_gives_the_exit_status,
        an_exec_stream_of_a_missing_program_says_so,
        an_exec_with_a_terminal_has_the_clients_size,
        an_attached_client_sees_and_feeds_the_container,
        two_attached_clients_both_see_the_output,
        an_attached_terminal_has_the_clients_size,
        input_given_once_ends_with_the_client,
        a_forwarded_port_reaches_the_pods_listener,
        a_forwarded_port_without_a_listener_says_so,
    ]
}

const SLEEP: [&str; 2] = ["sleep", "600"];

fn exec_sync_without_a_limit_waits_for_the_end(node: &Node) -> Outcome {
    let pod = node.pod("no-limit").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    let answer = container.exec_within(0, &["sh", "-c", "sleep 1; echo late; exit 6"])?;
    assert_eq!((answer.exit_code, &answer.stdout[..]), (6, &b"late\n"[..]));
    Ok(())
}

fn exec_sync_of_a_missing_program_says_so(node: &Node) -> Outcome {
    let pod = node.pod("missing").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    for program in ["no-such-program", "/no/such/program"] {
        let error = container
            .exec_within(60, &[program])
            .err()
            .ok_or("it ran")?;
        let text = error.message().to_lowercase();
        assert!(
            text.contains("not found in $path") || text.contains("no such file or directory"),
            "{error}"
        );
    }
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    Ok(())
}

fn exec_sync_in_an_ended_container_is_an_error(node: &Node) -> Outcome {
    let pod = node.pod("ended").run()?;
    let container = pod.container("main").command(&["true"]).start()?;
    container.wait_exit(SOON)?;
    let error = container.exec_within(60, &["true"]).err().ok_or("it ran")?;
    assert!(error.message().contains("CONTAINER_EXITED"), "{error}");
    Ok(())
}

fn exec_sync_killed_by_a_signal_is_128_and_the_signal(node: &Node) -> Outcome {
    let pod = node.pod("signal").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    for signal in [9, 15, 11] {
        let answer = container.exec_within(60, &["sh", "-c", &format!("kill -{signal} $$")])?;
        assert_eq!(answer.exit_code, 128 + signal);
    }
    Ok(())
}

fn exec_sync_brings_all_of_much_output(node: &Node) -> Outcome {
    let pod = node.pod("much").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    let answer = container.exec_within(
        60,
        &[
            "sh",
            "-c",
            "head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2",
        ],
    )?;
    assert_eq!(
        (answer.stdout.len(), &answer.stderr[..]),
        (3_000_000, &b"end\n"[..])
    );
    Ok(())
}

fn twenty_exec_syncs_at_once_get_their_own_output(node: &Node) -> Outcome {
    let pod = node.pod("twenty").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    thread::scope(|scope| {
        let execs: Vec<_> = (0..20)
            .map(|n| {
                let container = &container;
                scope.spawn(move || {
                    container.exec_within(60, &["sh", "-c", &format!("echo {n}; exit {n}")])
                })
            })
            .collect();
        for (n, exec) in execs.into_iter().enumerate() {
            let answer = exec.join().map_err(|_| "an exec panicked")??;
            let stdout = String::from_utf8_lossy(&answer.stdout).into_owned();
            assert_eq!(
                (answer.exit_code, stdout),
                (i32::try_from(n)?, format!("{n}\n"))
            );
        }
        Ok(())
    })
}

fn fifty_probes_one_after_another_leave_no_process(node: &Node) -> Outcome {
    let pod = node.pod("probes").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    for n in 0..50 {
        let answer = container.exec_within(5, &["sh", "-c", &format!("exit $(({n} % 2))")])?;
        assert_eq!(answer.exit_code, n % 2);
    }
    let processes = container.exec(&["ps", "-o", "comm"])?;
    assert_eq!(
        processes.lines().collect::<Vec<_>>(),
        ["COMMAND", "sleep", "ps"]
    );
    Ok(())
}

fn a_timed_out_exec_sync_leaves_the_container_running(node: &Node) -> Outcome {
    let pod = node.pod("timeout").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    for _ in 0..2 {
        let error = container
            .exec_within(1, &["sleep", "88"])
            .err()
            .ok_or("it ended")?;
        assert!(error.message().contains("timeout 1s exceeded"), "{error}");
    }
    assert_eq!(container.exec_within(60, &["true"])?.exit_code, 0);
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    Ok(())
}

fn an_exec_stream_goes_both_ways(node: &Node) -> Outcome {
    let pod = node.pod("stream").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    let script = "read line; echo got $line; echo err >&2; read line; echo then $line";
    let mut stream = container.exec_stream(&["sh", "-c", script], false)?;
    stream.write(b"one\n")?;
    stream.wait_stdout("got one\n", SOON)?;
    stream.write(b"two\n")?;
    assert_eq!(stream.exit_status(SOON)?, 0);
    stream.wait_stdout("then two\n", SOON)?;
    assert_eq!(stream.stderr(), "err\n");
    Ok(())
}

fn an_exec_stream_gives_the_exit_status(node: &Node) -> Outcome {
    let pod = node.pod("status").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    for status in [0, 3, 137] {
        let script = format!("exit {status}");
        let mut stream = container.exec_stream(&["sh", "-c", &script], false)?;
        assert_eq!(stream.exit_status(SOON)?, status);
    }
    Ok(())
}

fn an_exec_stream_of_a_missing_program_says_so(node: &Node) -> Outcome {
    let pod = node.pod("missing").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    let mut stream = container.exec_stream(&["no-such-program"], false)?;
    let error = stream.exit_status(SOON).err().ok_or("it ran")?.to_string();
    assert!(error.contains("not found in $PATH"), "{error}");
    Ok(())
}

fn an_exec_with_a_terminal_has_the_clients_size(node: &Node) -> Outcome {
    let pod = node.pod("tty").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    let script = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && tty; read _; stty size; exit 7";
    let mut stream = container.exec_stream(&["sh", "-c", script], true)?;
    stream.wait_stdout("/dev/pts/", SOON)?;
    stream.resize(91, 37)?;
    // The size goes another way than the input: it may come later.
    wait::until_true("the size", SOON, || {
        container
            .exec(&["sh", "-c", "stty size < /dev/pts/0"])
            .is_ok_and(|size| size == "37 91\n")
    })?;
    stream.write(b"\n")?;
    assert_eq!(stream.exit_status(SOON)?, 7);
    assert!(stream.stdout().contains("37 91\r\n"), "{}", stream.stdout());
    Ok(())
}

/// Says a line until it is answered: containerd passes a new client's input on before it passes on output, and on a busy
/// machine an answer can be faster than that.
fn answered(stream: &mut Stream, line: &str, answer: &str) -> Outcome {
    let begun = Instant::now();
    loop {
        stream.write(format!("{line}\n").as_bytes())?;
        match stream.wait_stdout(answer, A_WHILE) {
            Err(_) if begun.elapsed() < SOON => {}
            other => return Ok(other?),
        }
    }
}

/// For one answer.
const A_WHILE: Duration = Duration::from_secs(5);

fn an_attached_client_sees_and_feeds_the_container(node: &Node) -> Outcome {
    let pod = node.pod("attach").run()?;
    let script = "while read line; do echo got $line; echo err $line >&2; done";
    let container = pod
        .container("main")
        .config(|config| config.stdin = true)
        .command(&["sh", "-c", script])
        .start()?;
    for word in ["one", "two"] {
        let mut stream = container.attach(false)?;
        answered(&mut stream, word, &format!("got {word}\n"))?;
        container.wait_log(&format!("err {word}"), SOON)?;
    }
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    Ok(())
}

fn two_attached_clients_both_see_the_output(node: &Node) -> Outcome {
    let pod = node.pod("attach-two").run()?;
    let container = pod
        .container("main")
        .config(|config| config.stdin = true)
        .command(&["sh", "-c", "while read line; do echo got $line; done"])
        .start()?;
    let (mut one, mut two) = (container.attach(false)?, container.attach(false)?);
    // A client that is not attached yet misses what is said meanwhile.
    for (n, client) in [0, 1].iter().zip([&mut one, &mut two]) {
        answered(client, &format!("hello {n}"), &format!("got hello {n}\n"))?;
    }
    one.write(b"all\n")?;
    one.wait_stdout("got all\n", SOON)?;
    two.wait_stdout("got all\n", SOON)?;
    Ok(())
}

fn an_attached_terminal_has_the_clients_size(node: &Node) -> Outcome {
    let pod = node.pod("attach-tty").run()?;
    let container = pod
        .container("main")
        .config(|config| {
            config.stdin = true;
            config.tty = true;
        })
        .command(&[
            "sh",
            "-c",
            "while read line; do echo got $line; stty size; done",
        ])
        .start()?;
    let mut stream = container.attach(true)?;
    stream.resize(83, 29)?;
    wait::until_true("the size", SOON, || {
        container
            .exec(&["sh", "-c", "stty size < /dev/pts/0"])
            .is_ok_and(|size| size == "29 83\n")
    })?;
    stream.write(b"line\n")?;
    stream.wait_stdout("29 83\r\n", SOON)?;
    container.wait_log("got line", SOON)?;
    Ok(())
}

fn input_given_once_ends_with_the_client(node: &Node) -> Outcome {
    let pod = node.pod("once").run()?;
    let container = pod
        .container("main")
        .config(|config| {
            config.stdin = true;
            config.stdin_once = true;
        })
        .command(&["sh", "-c", "read a; echo got $a; read b || exit 3; exit 4"])
        .start()?;
    let mut stream = container.attach(false)?;
    stream.write(b"one\n")?;
    // Not the client's own output: see [`answered`].
    container.wait_log("got one", SOON)?;
    drop(stream);
    assert_eq!(container.wait_exit(SOON)?.exit_code, 3);
    Ok(())
}

fn a_forwarded_port_reaches_the_pods_listener(node: &Node) -> Outcome {
    let pod = node.pod("forward").run()?;
    let script = "while :; do echo listening; echo hello from the pod | nc -l -p 8080; done";
    let container = pod
        .container("main")
        .command(&["sh", "-c", script])
        .start()?;
    container.wait_log("listening", SOON)?;
    // The log's line is out before the port is open.
    wait::until_true("the pod to answer", SOON, || {
        pod.port_forward(8080).is_ok_and(|mut stream| {
            stream
                .wait_data("hello from the pod\n", Duration::from_secs(10))
                .is_ok()
        })
    })?;
    Ok(())
}

fn a_forwarded_port_without_a_listener_says_so(node: &Node) -> Outcome {
    let pod = node.pod("forward-none").run()?;
    let error = pod.port_forward(8081)?.forward_error(SOON)?;
    assert!(error.contains("8081"), "{error}");
    assert_eq!(pod.state()?, "SANDBOX_READY");
    Ok(())
}
