//! Everything that must fail Create, with the exact message users see.

use std::collections::BTreeMap;

use podhook_hooks::lifecycle::{Lifecycle, MAX_VALUE_BYTES, Policy};

const KEY: &str = "podhook.dev/lifecycle";
const PREFIX: &str = "podhook: annotation podhook.dev/lifecycle: ";

fn message(value: &str) -> String {
    let annotations = BTreeMap::from([(KEY.to_owned(), value.to_owned())]);
    match Lifecycle::from_annotations(&annotations, None, &Policy::default()) {
        Ok(lifecycle) => panic!("{value} was accepted: {lifecycle:?}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(table: &[(&str, &str)]) {
    for (value, expected) in table {
        assert_eq!(message(value), format!("{PREFIX}{expected}"), "for {value}");
    }
}

#[test]
fn what_is_no_json() {
    check(&[
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
            "{preStop: {sleep: {seconds: 5}}}",
            "is not valid JSON: key must be a string at line 1 column 2: it looks like YAML, and must be JSON: \
             {\"preStop\": {\"sleep\": {\"seconds\": 5}}}",
        ),
        (
            "lifecycle:\n  preStop:\n    sleep:\n      seconds: 5\n",
            "is not valid JSON: expected value at line 1 column 1: it looks like YAML, and must be JSON, without the \
             word lifecycle: {\"preStop\": {\"sleep\": {\"seconds\": 5}}}",
        ),
        (
            r#"{"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}"#,
            "lifecycle: is one level too much, write what is in it: {\"preStop\": {\"sleep\": {\"seconds\": 5}}}",
        ),
        (
            "{\"preStop\": {\n  'exec': 1}}",
            "is not valid JSON: key must be a string at line 2 column 3",
        ),
        (
            "{} x",
            "is not valid JSON: there is more after its end, at line 1 column 4",
        ),
        (
            "{\"preStop\": {},}",
            "is not valid JSON: trailing comma at line 1 column 16",
        ),
        (
            "{\"output\": \"\\ud800\"}",
            "is not valid JSON: unexpected end of hex escape at line 1 column 19",
        ),
        (
            "{\"stopSignal\": 01}",
            "is not valid JSON: invalid number at line 1 column 17",
        ),
        (
            "{\"terminationGracePeriodSeconds\": 1e999}",
            "is not valid JSON: number out of range at line 1 column 39",
        ),
        (
            "\u{feff}{}",
            "is not valid JSON: expected value at line 1 column 1",
        ),
    ]);
}

#[test]
fn what_is_no_lifecycle() {
    check(&[
        ("null", "must be an object"),
        ("[]", "must be an object"),
        ("\"x\"", "must be an object"),
        (
            r#"{"poststart": {}}"#,
            r#"poststart: unknown field, did you mean "postStart"?"#,
        ),
        (r#"{"Lifecycle": {}}"#, "Lifecycle: unknown field"),
        (r#"{"": {}}"#, r#"[""]: unknown field"#),
        (
            r#"{"pre.Stop\n": null}"#,
            r#"["pre.Stop\n"]: unknown field, did you mean "preStop"?"#,
        ),
        (
            r#"{"preStop": {"sleep": {"seconds": 1}}, "preStop": null}"#,
            "preStop: duplicate field",
        ),
        (
            r#"{"output": "capture", "\u006futput": "capture"}"#,
            "output: duplicate field",
        ),
        (
            r#"{"output": "both"}"#,
            r#"output: "both" must be capture or container"#,
        ),
        (r#"{"output": true}"#, "output: must be a string"),
        (
            r#"{"terminationGracePeriodSeconds": -1}"#,
            "terminationGracePeriodSeconds: must be between 0 and 2147483647, inclusive",
        ),
        (
            r#"{"terminationGracePeriodSeconds": 2147483648}"#,
            "terminationGracePeriodSeconds: must be between 0 and 2147483647, inclusive",
        ),
        (
            r#"{"terminationGracePeriodSeconds": 1.5}"#,
            "terminationGracePeriodSeconds: must be an integer",
        ),
        (
            r#"{"terminationGracePeriodSeconds": "30"}"#,
            "terminationGracePeriodSeconds: must be an integer",
        ),
        (r#"{"stopSignal": 15}"#, "stopSignal: must be a string"),
        (
            r#"{"stopSignal": "15"}"#,
            r#"stopSignal: "15" is not a signal name, did you mean "SIGTERM"?"#,
        ),
        (
            r#"{"stopSignal": ""}"#,
            r#"stopSignal: "" is not a signal name"#,
        ),
        (
            r#"{"stopSignal": "sigterm"}"#,
            r#"stopSignal: "sigterm" is not a signal name, did you mean "SIGTERM"?"#,
        ),
        (
            r#"{"stopSignal": "SIGRTMIN+31"}"#,
            r#"stopSignal: "SIGRTMIN+31" is not a signal name"#,
        ),
    ]);
}

#[test]
fn what_is_no_hook() {
    let none = "must specify a handler: exec, httpGet, tcpSocket or sleep";
    let some = r#""sleep": {"seconds": 1}"#;
    check(&[
        (r#"{"postStart": {}}"#, &format!("postStart: {none}")),
        (
            r#"{"preStop": {"exec": null}}"#,
            &format!("preStop: {none}"),
        ),
        (
            r#"{"preStop": {"timeoutSeconds": 3}}"#,
            &format!("preStop: {none}"),
        ),
        (r#"{"preStop": []}"#, "preStop: must be an object"),
        (
            r#"{"preStop": {"exec": {"command": ["x"]}, "sleep": {"seconds": 1}}}"#,
            "preStop: has exec and sleep, exactly one handler is allowed",
        ),
        (
            r#"{"preStop": {"sleep": {}, "tcpSocket": {}, "exec": {}}}"#,
            "preStop: has exec and tcpSocket and sleep, exactly one handler is allowed",
        ),
        (
            r#"{"preStop": {"grpc": {"port": 1}}}"#,
            "preStop.grpc: unknown field",
        ),
        (
            r#"{"preStop": {"sleep": {"seconds": 1}, "sleep": {"seconds": 1}}}"#,
            "preStop.sleep: duplicate field",
        ),
        (
            &format!(r#"{{"preStop": {{{some}, "timeoutSeconds": 0}}}}"#),
            "preStop.timeoutSeconds: must be between 1 and 2147483647, inclusive",
        ),
        (
            &format!(r#"{{"preStop": {{{some}, "timeoutSeconds": 1.0}}}}"#),
            "preStop.timeoutSeconds: must be an integer",
        ),
        (
            &format!(r#"{{"preStop": {{{some}, "timeoutSeconds": 18446744073709551616}}}}"#),
            "preStop.timeoutSeconds: must be an integer",
        ),
        (
            &format!(r#"{{"preStop": {{{some}, "onFailure": "Kill"}}}}"#),
            "preStop.onFailure: is allowed on postStart only",
        ),
        (
            &format!(r#"{{"postStart": {{{some}, "onFailure": "ignore"}}}}"#),
            r#"postStart.onFailure: "ignore" must be Kill or Ignore"#,
        ),
        (
            &format!(r#"{{"postStart": {{{some}, "onFailure": {{}}}}}}"#),
            "postStart.onFailure: must be a string",
        ),
    ]);
}

#[test]
fn what_is_no_exec() {
    check(&[
        (
            r#"{"postStart": {"exec": {}}}"#,
            "postStart.exec.command: is required",
        ),
        (
            r#"{"postStart": {"exec": {"command": null}}}"#,
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
            r#"{"postStart": {"exec": ["ls"]}}"#,
            "postStart.exec: must be an object",
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
            r#"{"postStart": {"exec": {"command": ["ls", null]}}}"#,
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
        (
            r#"{"postStart": {"exec": {"command": ["ls"], "timeoutSeconds": "5"}}}"#,
            "postStart.exec.timeoutSeconds: must be an integer",
        ),
        (
            r#"{"postStart": {"exec": {"command": ["ls"], "timeoutSeconds": 5}, "timeoutSeconds": 9}}"#,
            "postStart.exec.timeoutSeconds: is 5, and timeoutSeconds of the hook is 9: write one of them",
        ),
        (
            r#"{"postStart": {"exec": {"command": ["ls"], "command": ["ls"]}}}"#,
            "postStart.exec.command: duplicate field",
        ),
    ]);
}

#[test]
fn what_is_no_http_get() {
    let http = |fields: &str| format!(r#"{{"preStop": {{"httpGet": {{{fields}}}}}}}"#);
    let table = [
        (r#""path": "/""#, "port: is required"),
        (
            r#""port": 0"#,
            "port: must be between 1 and 65535, inclusive",
        ),
        (
            r#""port": 65536"#,
            "port: must be between 1 and 65535, inclusive",
        ),
        (
            r#""port": -80"#,
            "port: must be between 1 and 65535, inclusive",
        ),
        (r#""port": 80.5"#, "port: must be an integer"),
        (r#""port": true"#, "port: must be an integer or a string"),
        (
            r#""port": "80""#,
            r#"port: "80" is not a port name (a port number is written without quotes)"#,
        ),
        (
            r#""port": """#,
            r#"port: "" is not a port name (at most 15 characters of a-z, 0-9 and -, at least one letter)"#,
        ),
        (
            r#""port": "HTTP""#,
            r#"port: "HTTP" is not a port name (at most 15 characters of a-z, 0-9 and -, at least one letter)"#,
        ),
        (
            r#""port": "http""#,
            r#"port: port name "http" is not in annotation io.kubernetes.container.ports"#,
        ),
        (
            r#""port": 80, "scheme": "http""#,
            r#"scheme: "http" must be HTTP or HTTPS"#,
        ),
        (
            r#""port": 80, "scheme": """#,
            r#"scheme: "" must be HTTP or HTTPS"#,
        ),
        (r#""port": 80, "path": 1"#, "path: must be a string"),
        (
            r#""port": 80, "path": "/ HTTP/1.1\r\nX: y""#,
            "path: must not contain control characters",
        ),
        (
            r#""port": 80, "host": "a/b""#,
            r#"host: "a/b" must be a host name or an IP address"#,
        ),
        (
            r#""port": 80, "host": "a b""#,
            r#"host: "a b" must be a host name or an IP address"#,
        ),
        (
            r#""port": 80, "host": "u@h""#,
            r#"host: "u@h" must be a host name or an IP address"#,
        ),
        (
            r#""port": 80, "host": "10.0.0""#,
            r#"host: "10.0.0" must be a host name or an IP address"#,
        ),
        (
            r#""port": 80, "host": "db:80""#,
            r#"host: "db:80" must be a host name or an IP address"#,
        ),
        (
            r#""port": 80, "host": "[::1]""#,
            r#"host: "[::1]" must be a host name or an IP address"#,
        ),
        (r#""port": 80, "headers": []"#, "headers: unknown field"),
        (
            r#""port": 80, "httpHeaders": {"X": "y"}"#,
            "httpHeaders: must be an array",
        ),
        (
            r#""port": 80, "httpHeaders": [null]"#,
            "httpHeaders[0]: must be an object",
        ),
        (
            r#""port": 80, "httpHeaders": [{"name": "A"}, {"value": "y"}]"#,
            "httpHeaders[1].name: is required",
        ),
        (
            r#""port": 80, "httpHeaders": [{"name": "A"}, {"name": "a b"}]"#,
            r#"httpHeaders[1].name: "a b" is not a header name"#,
        ),
        (
            r#""port": 80, "httpHeaders": [{"name": "A:"}]"#,
            r#"httpHeaders[0].name: "A:" is not a header name"#,
        ),
        (
            r#""port": 80, "httpHeaders": [{"name": ""}]"#,
            r#"httpHeaders[0].name: "" is not a header name"#,
        ),
        (
            r#""port": 80, "httpHeaders": [{"name": "é"}]"#,
            r#"httpHeaders[0].name: "é" is not a header name"#,
        ),
        (
            r#""port": 80, "httpHeaders": [{"name": "A", "value": "a\r\nB: c"}]"#,
            "httpHeaders[0].value: must not contain CR, LF or NUL",
        ),
        (
            r#""port": 80, "httpHeaders": [{"name": "A", "value": "\u0000"}]"#,
            "httpHeaders[0].value: must not contain CR, LF or NUL",
        ),
        (
            r#""port": 80, "httpHeaders": [{"name": "A", "values": "x"}]"#,
            r#"httpHeaders[0].values: unknown field, did you mean "value"?"#,
        ),
        (
            r#""port": 80, "httpHeaders": [{"name": "A", "name": "B"}]"#,
            "httpHeaders[0].name: duplicate field",
        ),
    ];
    for (fields, expected) in table {
        assert_eq!(
            message(&http(fields)),
            format!("{PREFIX}preStop.httpGet.{expected}"),
            "for {fields}"
        );
    }
}

#[test]
fn what_is_no_tcp_socket_and_no_sleep() {
    check(&[
        (
            r#"{"preStop": {"tcpSocket": {}}}"#,
            "preStop.tcpSocket.port: is required",
        ),
        (
            r#"{"preStop": {"tcpSocket": {"port": "5432"}}}"#,
            r#"preStop.tcpSocket.port: "5432" is not a port name (a port number is written without quotes)"#,
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
        (
            r#"{"preStop": {"sleep": {"seconds": 9223372036854775808}}}"#,
            "preStop.sleep.seconds: must be an integer",
        ),
    ]);
}

#[test]
fn whatever_its_size_the_value_gives_a_short_message() {
    let long = "k".repeat(200_000);
    let values = [
        format!(r#"{{"{long}": 1}}"#),
        format!(r#"{{"stopSignal": "{long}"}}"#),
        format!(r#"{{"output": "{}"}}"#, "\\u0001".repeat(30_000)),
        format!(r#"{{"preStop": {{"httpGet": {{"port": "{long}"}}}}}}"#),
        format!(r#"{{"preStop": {{"httpGet": {{"port": 1, "host": "{long}"}}}}}}"#),
        format!(
            r#"{{"preStop": {{"httpGet": {{"port": 1, "httpHeaders": [{{"name": " {long}"}}]}}}}}}"#
        ),
        format!(r#"{{"preStop": {{"httpGet": {{"port": 1, "scheme": "{long}"}}}}}}"#),
        format!("{{{}", r#""a":0,"#.repeat(40_000)),
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        r#"{"preStop":"#.repeat(20_000),
        "9".repeat(200_000),
        "x".repeat(MAX_VALUE_BYTES + 1),
    ];
    for value in values {
        let message = message(&value);
        assert!(
            message.len() < 400 && message.starts_with(PREFIX),
            "{message}"
        );
        assert!(!message.contains(char::is_control), "{message}");
    }
}

/// The kernel's MAX_ARG_STRLEN: 128 KiB with the NUL.
#[test]
fn an_argument_that_no_kernel_takes() {
    let value = |len| {
        let script = "x".repeat(len);
        format!(r#"{{"preStop": {{"exec": {{"command": ["sh", "-c", "{script}"]}}}}}}"#)
    };
    let annotations = BTreeMap::from([(KEY.to_owned(), value(131_071))]);
    assert!(Lifecycle::from_annotations(&annotations, None, &Policy::default()).is_ok());
    let expected = "preStop.exec.command[2]: has 131072 bytes, the kernel takes at most 131071 in one argument";
    assert_eq!(message(&value(131_072)), format!("{PREFIX}{expected}"));
}

#[test]
fn a_value_is_at_most_256_kib() {
    let fits = format!("{{}}{}", " ".repeat(MAX_VALUE_BYTES - 2));
    let annotations = BTreeMap::from([(KEY.to_owned(), fits.clone())]);
    assert_eq!(
        Lifecycle::from_annotations(&annotations, None, &Policy::default()),
        Ok(None)
    );
    let expected = "has 262145 bytes, at most 262144 are allowed";
    assert_eq!(message(&format!("{fits} ")), format!("{PREFIX}{expected}"));
}

#[test]
fn the_annotation_of_a_strange_container_is_named_short_and_harmless() {
    let name = format!("\n{}", "x".repeat(100_000));
    let annotations = BTreeMap::from([
        ("io.kubernetes.cri.container-name".to_owned(), name.clone()),
        (format!("lifecycle.podhook.dev/{name}"), "[]".to_owned()),
    ]);
    let message = Lifecycle::from_annotations(&annotations, None, &Policy::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("podhook: annotation lifecycle.podhook.dev/\\nxxx"),
        "{message}"
    );
    assert!(
        message.ends_with("…: must be an object") && message.len() < 200,
        "{message}"
    );
}
