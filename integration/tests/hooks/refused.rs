//! A wrong annotation fails Create, with a message that names annotation, field and reason, and leaves nothing.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use podhook_integration::suite::{Test, each_once};
use podhook_integration::{Node, Outcome, tests};

use crate::script::{Error, joined};

pub fn tests() -> Vec<Test> {
    let mut all = tests![refused:
        ctr_shows_the_message_of_every_wrong_annotation,
        the_message_names_the_pods_annotation,
        the_message_is_short_whatever_the_value,
        a_wrong_node_configuration_fails_create,
        an_annotation_of_another_container_is_not_read,
    ];
    all.extend(each_once(tests![refused:
        cri_shows_the_message_of_every_wrong_annotation,
    ]));
    all
}

/// Every way to get the annotation wrong, and what follows `podhook: annotation podhook.dev/lifecycle: `.
const TABLE: &[(&str, &str)] = &[
    // No JSON.
    ("", "is not valid JSON: it is empty"),
    (
        "{",
        "is not valid JSON: it ends too early, inside of an object at line 1 column 1",
    ),
    (
        "postStart: {}",
        "is not valid JSON: expected value at line 1 column 1: it looks like YAML, and must be JSON: \
         {\"postStart\": {\"exec\": {\"command\": [\"sh\", \"-c\", \"…\"]}}}",
    ),
    (
        "lifecycle:\n  preStop: {sleep: {seconds: 5}}\n",
        "is not valid JSON: expected value at line 1 column 1: it looks like YAML, and must be JSON, without the \
         word lifecycle: {\"preStop\": {\"sleep\": {\"seconds\": 5}}}",
    ),
    (
        r#"{"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}"#,
        "lifecycle: is one level too much, write what is in it: {\"preStop\": {\"sleep\": {\"seconds\": 5}}}",
    ),
    (
        r#"{"preStop": {"exec": {"command": ["x"], "timeoutSeconds": 5}, "timeoutSeconds": 9}}"#,
        "preStop.exec.timeoutSeconds: is 5, and timeoutSeconds of the hook is 9: write one of them",
    ),
    (
        r#"{"preStop": {},}"#,
        "is not valid JSON: trailing comma at line 1 column 16",
    ),
    (
        "{} x",
        "is not valid JSON: there is more after its end, at line 1 column 4",
    ),
    // No lifecycle.
    ("null", "must be an object"),
    ("[]", "must be an object"),
    (
        r#"{"poststart": {}}"#,
        r#"poststart: unknown field, did you mean "postStart"?"#,
    ),
    (
        r#"{"output": "capture", "output": "capture"}"#,
        "output: duplicate field",
    ),
    (
        r#"{"output": "both"}"#,
        r#"output: "both" must be capture or container"#,
    ),
    (
        r#"{"terminationGracePeriodSeconds": -1}"#,
        "terminationGracePeriodSeconds: must be between 0 and 2147483647, inclusive",
    ),
    (
        r#"{"terminationGracePeriodSeconds": 1.5}"#,
        "terminationGracePeriodSeconds: must be an integer",
    ),
    (r#"{"stopSignal": 15}"#, "stopSignal: must be a string"),
    (
        r#"{"stopSignal": "sigterm"}"#,
        r#"stopSignal: "sigterm" is not a signal name, did you mean "SIGTERM"?"#,
    ),
    (
        r#"{"stopSignal": "SIGRTMIN+31"}"#,
        r#"stopSignal: "SIGRTMIN+31" is not a signal name"#,
    ),
    // No hook.
    (
        r#"{"postStart": {}}"#,
        "postStart: must specify a handler: exec, httpGet, tcpSocket or sleep",
    ),
    (
        r#"{"preStop": {"timeoutSeconds": 3}}"#,
        "preStop: must specify a handler: exec, httpGet, tcpSocket or sleep",
    ),
    (r#"{"preStop": []}"#, "preStop: must be an object"),
    (
        r#"{"preStop": {"exec": {"command": ["x"]}, "sleep": {"seconds": 1}}}"#,
        "preStop: has exec and sleep, exactly one handler is allowed",
    ),
    (
        r#"{"preStop": {"grpc": {"port": 1}}}"#,
        "preStop.grpc: unknown field",
    ),
    (
        r#"{"preStop": {"sleep": {"seconds": 1}, "timeoutSeconds": 0}}"#,
        "preStop.timeoutSeconds: must be between 1 and 2147483647, inclusive",
    ),
    (
        r#"{"preStop": {"sleep": {"seconds": 1}, "timeoutSeconds": "3"}}"#,
        "preStop.timeoutSeconds: must be an integer",
    ),
    (
        r#"{"preStop": {"sleep": {"seconds": 1}, "onFailure": "Kill"}}"#,
        "preStop.onFailure: is allowed on postStart only",
    ),
    (
        r#"{"postStart": {"sleep": {"seconds": 1}, "onFailure": "ignore"}}"#,
        r#"postStart.onFailure: "ignore" must be Kill or Ignore"#,
    ),
    // No exec.
    (
        r#"{"postStart": {"exec": {}}}"#,
        "postStart.exec.command: is required",
    ),
    (
        r#"{"postStart": {"exec": {"command": []}}}"#,
        "postStart.exec.command: must not be empty",
    ),
    (
        r#"{"postStart": {"exec": {"command": "ls"}}}"#,
        "postStart.exec.command: must be an array",
    ),
    (
        r#"{"postStart": {"exec": {"command": [""]}}}"#,
        "postStart.exec.command[0]: must not be empty",
    ),
    (
        r#"{"postStart": {"exec": {"command": ["ls", 1]}}}"#,
        "postStart.exec.command[1]: must be a string",
    ),
    (
        r#"{"postStart": {"exec": {"command": ["ls", "a\u0000b"]}}}"#,
        "postStart.exec.command[1]: must not contain NUL",
    ),
    (
        r#"{"postStart": {"exec": {"command": ["ls"], "timeoutSeconds": 0}}}"#,
        "postStart.exec.timeoutSeconds: must be between 1 and 2147483647, inclusive",
    ),
    // No httpGet.
    (
        r#"{"preStop": {"httpGet": {"path": "/"}}}"#,
        "preStop.httpGet.port: is required",
    ),
    (
        r#"{"preStop": {"httpGet": {"port": 65536}}}"#,
        "preStop.httpGet.port: must be between 1 and 65535, inclusive",
    ),
    (
        r#"{"preStop": {"httpGet": {"port": "80"}}}"#,
        r#"preStop.httpGet.port: "80" is not a port name (a port number is written without quotes)"#,
    ),
    (
        r#"{"preStop": {"httpGet": {"port": "http"}}}"#,
        r#"preStop.httpGet.port: port name "http" is not in annotation io.kubernetes.container.ports"#,
    ),
    (
        r#"{"preStop": {"httpGet": {"port": 80, "scheme": "http"}}}"#,
        r#"preStop.httpGet.scheme: "http" must be HTTP or HTTPS"#,
    ),
    (
        r#"{"preStop": {"httpGet": {"port": 80, "path": "/ HTTP/1.1\r\nX: y"}}}"#,
        "preStop.httpGet.path: must not contain control characters",
    ),
    (
        r#"{"preStop": {"httpGet": {"port": 80, "host": "a/b"}}}"#,
        r#"preStop.httpGet.host: "a/b" must be a host name or an IP address"#,
    ),
    (
        r#"{"preStop": {"httpGet": {"port": 80, "httpHeaders": [{"name": "A"}, {"value": "y"}]}}}"#,
        "preStop.httpGet.httpHeaders[1].name: is required",
    ),
    (
        r#"{"preStop": {"httpGet": {"port": 80, "httpHeaders": [{"name": "A"}, {"name": "a b"}]}}}"#,
        r#"preStop.httpGet.httpHeaders[1].name: "a b" is not a header name"#,
    ),
    (
        r#"{"preStop": {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": "a\r\nB: c"}]}}}"#,
        "preStop.httpGet.httpHeaders[0].value: must not contain CR, LF or NUL",
    ),
    // No tcpSocket, no sleep.
    (
        r#"{"preStop": {"tcpSocket": {}}}"#,
        "preStop.tcpSocket.port: is required",
    ),
    (
        r#"{"preStop": {"tcpSocket": {"port": 1, "path": "/"}}}"#,
        "preStop.tcpSocket.path: unknown field",
    ),
    (
        r#"{"preStop": {"sleep": {}}}"#,
        "preStop.sleep.seconds: is required",
    ),
    (
        r#"{"preStop": {"sleep": 5}}"#,
        "preStop.sleep: must be an object",
    ),
    (
        r#"{"preStop": {"sleep": {"seconds": -1}}}"#,
        "preStop.sleep.seconds: must be between 0 and 2147483647, inclusive",
    ),
    (
        r#"{"preStop": {"sleep": {"seconds": "5"}}}"#,
        "preStop.sleep.seconds: must be an integer",
    ),
];

/// Tries every entry of the table, three at a time.
fn each(check: impl Fn(&str, &str) -> Outcome + Sync) -> Outcome {
    assert!(TABLE.len() >= 40);
    let queue = Mutex::new(TABLE.iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| -> Outcome {
                    while let Some((value, message)) = next() {
                        check(value, message).map_err(|error| format!("for {value}: {error}"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| joined(worker.join()))
    })
}

/// The text ends with the message; containerd adds the words of the code.
fn check_text(text: &str, message: &str) -> Outcome {
    let text = text.trim_end();
    let text = text.strip_suffix(": unknown").unwrap_or(text);
    let text = text
        .strip_suffix(": invalid argument")
        .ok_or(format!("no invalid argument: {text}"))?;
    let at = text
        .find("podhook: ")
        .ok_or(format!("not podhook's: {text}"))?;
    if &text[at..] == message {
        Ok(())
    } else {
        Err(format!("{text:?}\n  is not {message:?}").into())
    }
}

fn ctr_shows_the_message_of_every_wrong_annotation(node: &Node) -> Outcome {
    each(|value, message| {
        let (container, output) = node
            .container("wrong")
            .lifecycle(value)
            .try_start(&["sleep", "600"])?;
        assert_ne!(output.status, 0);
        check_text(
            &output.stderr,
            &format!("podhook: annotation podhook.dev/lifecycle: {message}"),
        )?;
        // Before the container is deleted, which would remove what the shim has forgotten.
        let key = (node.ctr().namespace().to_owned(), container.id().to_owned());
        node.containerd().expect_gone(&BTreeSet::from([key]))?;
        assert_eq!(container.task()?, None);
        assert!(container.events().is_empty(), "{:?}", container.events());
        Ok(())
    })
}

/// Creates the container `main` in a pod of its own with one wrong annotation; gives CRI's message.
fn refused_by_cri(
    node: &Node,
    pod: &[(&str, &str)],
    container: &[(&str, &str)],
) -> Result<String, Error> {
    let builder = pod.iter().fold(node.pod("wrong"), |pod, (key, value)| {
        pod.annotation(key, value)
    });
    let pod = builder.run()?;
    let other = pod.container("other").command(&["sleep", "600"]).start()?;
    let builder = container
        .iter()
        .fold(pod.container("main"), |container, (key, value)| {
            container.annotation(key, value)
        });
    let container = builder.command(&["sleep", "600"]).create()?;
    let error = container.start().err().ok_or("it started")?;
    let status = container.status()?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (128, "StartError")
    );
    assert!(
        status.message.contains(error.message()),
        "{}: {}",
        status.message,
        error.message()
    );
    let key = ("k8s.io".to_owned(), container.id().to_owned());
    node.containerd().expect_gone(&BTreeSet::from([key]))?;
    assert_eq!(other.state()?, "CONTAINER_RUNNING");
    Ok(error.message().to_owned())
}

fn cri_shows_the_message_of_every_wrong_annotation(node: &Node) -> Outcome {
    let pod = node.pod("wrong").run()?;
    let count = AtomicU32::new(1);
    each(|value, message| {
        let container = pod
            // Names are unique in a pod.
            .container(&format!("main-{}", count.fetch_add(1, Ordering::Relaxed)))
            .annotation("podhook.dev/lifecycle", value)
            .command(&["sleep", "600"])
            .create()?;
        let error = container.start().err().ok_or("it started")?;
        check_text(
            error.message(),
            &format!("podhook: annotation podhook.dev/lifecycle: {message}"),
        )?;
        let key = ("k8s.io".to_owned(), container.id().to_owned());
        node.containerd().expect_gone(&BTreeSet::from([key]))?;
        assert!(container.events().is_empty(), "{:?}", container.events());
        Ok(())
    })
}

fn the_message_names_the_pods_annotation(node: &Node) -> Outcome {
    let wrong = r#"{"postStart": {"exec": {"command": []}}}"#;
    let text = refused_by_cri(node, &[("lifecycle.podhook.dev/main", wrong)], &[])?;
    check_text(
        &text,
        "podhook: annotation lifecycle.podhook.dev/main: postStart.exec.command: must not be empty",
    )?;
    // A right one of higher precedence does not hide it.
    let right = r#"{"postStart": {"sleep": {"seconds": 0}}}"#;
    let text = refused_by_cri(
        node,
        &[("lifecycle.podhook.dev/main", wrong)],
        &[("podhook.dev/lifecycle", right)],
    )?;
    check_text(
        &text,
        "podhook: annotation lifecycle.podhook.dev/main: postStart.exec.command: must not be empty",
    )
}

fn the_message_is_short_whatever_the_value(node: &Node) -> Outcome {
    let long = "k".repeat(100_000);
    for value in [
        format!(r#"{{"{long}": 1}}"#),
        format!(r#"{{"stopSignal": "{long}"}}"#),
        format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)),
        "x".repeat((256 << 10) + 1),
    ] {
        let text = refused_by_cri(node, &[], &[("podhook.dev/lifecycle", &value)])?;
        assert!(
            text.len() < 600,
            "{} characters: {}",
            text.len(),
            &text[..600]
        );
        assert!(
            text.contains("podhook: annotation podhook.dev/lifecycle: "),
            "{text}"
        );
    }
    Ok(())
}

fn a_wrong_node_configuration_fails_create(node: &Node) -> Outcome {
    let path = node
        .containerd()
        .dir()
        .join(format!("wrong-{}.toml", node.shim()));
    std::fs::write(
        &path,
        "grace_period = 3\n[lifecycle.preStop.sleep]\nsecond = 1\n",
    )?;
    let (container, output) = node
        .container("node")
        .flag(["--runtime-config-path", &path.to_string_lossy()])
        .try_start(&["sleep", "600"])?;
    assert_ne!(output.status, 0);
    let text = &output.stderr;
    assert!(text.contains(&*path.to_string_lossy()), "{text}");
    assert!(
        text.contains("lifecycle.preStop.sleep.second: unknown field"),
        "{text}"
    );
    assert_eq!(container.task()?, None);
    Ok(())
}

fn an_annotation_of_another_container_is_not_read(node: &Node) -> Outcome {
    let pod = node.pod("others").lifecycle("another", "{").run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    assert!(!crate::recorded::path(&container.bundle()).exists());
    Ok(())
}
