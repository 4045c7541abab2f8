//! What the node's operator decides: `/etc/podhook/config.toml`, here by `--runtime-config-path`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::{fs, thread};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use podhook_integration::node::ContainerBuilder;
use podhook_integration::suite::{Test, each_once, own_containerd};
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::{self, Recorded};
use crate::script::{Error, exec, marks, polite, sh, together, words};

pub fn tests() -> Vec<Test> {
    let mut all = tests![node_config:
        the_first_rule_for_a_container_decides,
        an_annotation_wins_over_a_rule_field_by_field,
        what_the_node_forbids_is_refused,
        the_nodes_own_lifecycle_may_be_what_it_forbids_to_others,
        the_nodes_output_holds_where_the_lifecycle_has_none,
        any_http_status_can_be_a_success,
        every_mistake_is_named_and_hangs_nothing,
        the_log_level_is_the_nodes,
        every_line_about_a_pods_hook_names_the_pod,
    ];
    // A file of containerd's configuration, so a containerd of its own.
    all.extend(own_containerd(each_once(tests![node_config:
        containerds_options_name_the_file_and_its_mistakes_reach_the_cri_client,
    ])));
    all
}

/// A configuration file of the test's own.
fn config(trace: &Trace, text: &str) -> Result<PathBuf, Error> {
    let path = trace.dir().join("config.toml");
    fs::write(&path, text)?;
    Ok(path)
}

fn builder<'a>(
    node: &'a Node,
    name: &str,
    trace: &Trace,
    text: &str,
) -> Result<ContainerBuilder<'a>, Error> {
    let path = config(trace, text)?;
    Ok(node
        .container(name)
        .flag(["--mount", &trace.mount()])
        .flag(["--runtime-config-path", &path.to_string_lossy()]))
}

/// The annotations by which CRI says which container it is.
fn of_pod<'a>(
    builder: ContainerBuilder<'a>,
    namespace: &str,
    pod: &str,
    name: &str,
    image: &str,
) -> ContainerBuilder<'a> {
    builder
        .annotation("io.kubernetes.cri.container-type", "container")
        .annotation("io.kubernetes.cri.sandbox-namespace", namespace)
        .annotation("io.kubernetes.cri.sandbox-name", pod)
        .annotation("io.kubernetes.cri.container-name", name)
        .annotation("io.kubernetes.cri.image-name", image)
}

const RULES: &str = r#"
[lifecycle]
terminationGracePeriodSeconds = 1

[[rules]]
namespace = ["kube-*", "monitoring"]

[[rules]]
namespace = "shop"
container = "nginx"
lifecycle.terminationGracePeriodSeconds = 2

[[rules]]
image = "docker.io/library/postgres:*"
lifecycle.terminationGracePeriodSeconds = 3

[[rules]]
pod = "web-?"
[rules.lifecycle]
terminationGracePeriodSeconds = 4
"#;

fn the_first_rule_for_a_container_decides(node: &Node) -> Outcome {
    let nginx = "docker.io/library/nginx:1.27";
    let postgres = "docker.io/library/postgres:17";
    let table = [
        (Some(["kube-system", "dns-0", "nginx", postgres]), None),
        (Some(["monitoring", "web-0", "nginx", nginx]), None),
        (Some(["shop", "web-0", "nginx", postgres]), Some(2)),
        (Some(["shop", "web-0", "db", postgres]), Some(3)),
        (Some(["shop", "web-0", "app", nginx]), Some(4)),
        (Some(["shop", "web-10", "app", nginx]), Some(1)),
        // Outside of pods no selector matches.
        (None, Some(1)),
    ];
    together(&table, |(names, expected)| {
        let trace = Trace::new(node)?;
        let mut builder = builder(node, "ruled", &trace, RULES)?;
        if let Some([namespace, pod, name, image]) = names {
            builder = of_pod(builder, namespace, pod, name, image);
        }
        let container = builder.start(&words(&polite()))?;
        trace.wait("ready")?;
        assert_eq!(
            recorded::path(&container.bundle()).exists(),
            expected.is_some(),
            "{names:?}"
        );
        container.kill("SIGTERM")?;
        assert_eq!(container.wait_exit(SOON)?, 7);
        if expected.is_some() {
            let grace = container
                .wait_end()?
                .number("/termination/gracePeriodSeconds");
            assert_eq!(grace, *expected, "{names:?}");
        }
        Ok(())
    })
}

fn an_annotation_wins_over_a_rule_field_by_field(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let rules = r#"
[[rules]]
namespace = "shop"
[rules.lifecycle]
terminationGracePeriodSeconds = 21
preStop.exec.command = ["sh", "-c", "echo rule >> /trace/log"]
"#;
    let builder = of_pod(
        builder(node, "both", &trace, rules)?,
        "shop",
        "web-0",
        "nginx",
        "x",
    );
    let container = builder
        .lifecycle(&json!({"preStop": marks("own")}).to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(trace.marks(), ["ready", "own", "got-TERM"]);
    let grace = container
        .wait_end()?
        .number("/termination/gracePeriodSeconds");
    assert_eq!(grace, Some(21));
    Ok(())
}

fn what_the_node_forbids_is_refused(node: &Node) -> Outcome {
    let text = "allowed_handlers = [\"exec\", \"httpGet\"]\nallowed_hosts = \"pod\"\n";
    let http = |host: Value| json!({"preStop": {"httpGet": {"port": 80, "host": host}}});
    let table = [
        (
            json!({"postStart": {"sleep": {"seconds": 1}}}),
            Some(
                "postStart.sleep: is not allowed on this node: allowed_handlers of CONFIG has exec, httpGet",
            ),
        ),
        (
            http(json!("169.254.169.254")),
            Some(
                "preStop.httpGet.host: must be absent, localhost or a loopback address on this node: allowed_hosts of CONFIG is \"pod\"",
            ),
        ),
        (http(json!("127.0.0.1")), None),
        (http(Value::Null), None),
        (json!({"preStop": exec("true")}), None),
    ];
    together(&table, |(lifecycle, message)| {
        let trace = Trace::new(node)?;
        let builder = builder(node, "forbidden", &trace, text)?.lifecycle(&lifecycle.to_string());
        let (container, output) = builder.try_start(&["sleep", "600"])?;
        let Some(message) = message else {
            output.success()?;
            return Ok(());
        };
        assert_ne!(output.status, 0);
        let path = trace.dir().join("config.toml").display().to_string();
        let wanted = format!(
            "podhook: annotation podhook.dev/lifecycle: {}",
            message.replace("CONFIG", &path)
        );
        // ctr quotes what it shows.
        let shown = output.stderr.replace("\\\"", "\"");
        assert!(shown.contains(&wanted), "{wanted}\n{shown}");
        assert_eq!(container.task()?, None);
        Ok(())
    })
}

fn the_nodes_own_lifecycle_may_be_what_it_forbids_to_others(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let text = "allowed_handlers = []\n[lifecycle.postStart.sleep]\nseconds = 0\n";
    let container = builder(node, "own", &trace, text)?.start(&["sleep", "600"])?;
    assert_eq!(container.recorded()?.result("postStart"), "Succeeded");
    Ok(())
}

fn the_nodes_output_holds_where_the_lifecycle_has_none(node: &Node) -> Outcome {
    for (output, shown) in [(None, true), (Some("capture"), false)] {
        let trace = Trace::new(node)?;
        let mut lifecycle = json!({"postStart": exec("echo from the hook")});
        if let Some(output) = output {
            lifecycle["output"] = json!(output);
        }
        let container = builder(node, "output", &trace, "output = \"container\"\n")?
            .lifecycle(&lifecycle.to_string())
            .start(&["sh", "-c", "sleep 1; echo own; exec sleep 600"])?;
        container.wait_output("own\n", SOON)?;
        assert_eq!(
            container.output().contains("from the hook\n"),
            shown,
            "{output:?}"
        );
    }
    Ok(())
}

fn any_http_status_can_be_a_success(node: &Node) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let lifecycle = json!({"postStart": {"httpGet": {"host": "127.0.0.1", "port": port}, "onFailure": "Ignore"}});
    for (text, result) in [
        ("", "Failed"),
        ("http_success = \"any\"", "Succeeded"),
        ("http_success = \"200-499\"", "Succeeded"),
    ] {
        let trace = Trace::new(node)?;
        let container = builder(node, "status", &trace, text)?
            .flag(["--net-host"])
            .lifecycle(&lifecycle.to_string())
            .start(&["sleep", "600"])?;
        let hook = container.wait_hook("postStart")?.hook("postStart")?;
        assert_eq!(
            (hook.text("/result"), hook.number("/httpStatus")),
            (result, Some(404)),
            "{text}"
        );
    }
    Ok(())
}

fn every_mistake_is_named_and_hangs_nothing(node: &Node) -> Outcome {
    let table = [
        ("grace = 3", "line 1: grace: unknown field"),
        (
            "\ngrace_period = '3'",
            "line 2: grace_period: must be an integer",
        ),
        (
            "http_success = \"ok\"",
            "line 1: http_success: \"ok\" must be any, or a range of statuses as 200-399",
        ),
        (
            "allowed_handlers = [\"http\"]",
            "line 1: allowed_handlers[0]: \"http\" must be exec, httpGet, tcpSocket or sleep",
        ),
        (
            "allowed_hosts = \"none\"",
            "line 1: allowed_hosts: \"none\" must be any or pod",
        ),
        (
            "[[rules]]\nlifecycle = {}",
            "rules[0]: must have namespace, pod, container or image",
        ),
        (
            "[[rules]]\nnamespace = 'a'\n[[rules]]\nnamspace = 'b'",
            "line 4: rules[1].namspace: unknown field",
        ),
        (
            "[[rules]]\npod = 'a'\n[rules.lifecycle.preStop]\nsleep.second = 1",
            "line 4: rules[0].lifecycle.preStop.sleep.second: unknown field",
        ),
        ("grace_period = ", "line 1: is not valid TOML: "),
    ];
    together(&table, |(text, message)| {
        let trace = Trace::new(node)?;
        let (container, output) =
            builder(node, "wrong", &trace, text)?.try_start(&["sleep", "600"])?;
        assert_ne!(output.status, 0);
        let path = trace.dir().join("config.toml").display().to_string();
        let shown = output.stderr.replace("\\\"", "\"");
        assert!(
            shown.contains(&path) && shown.contains(message),
            "{message}\n{shown}"
        );
        assert_eq!(container.task()?, None);
        Ok(())
    })?;
    // A file that cannot be read to its end is not waited for.
    let trace = Trace::new(node)?;
    let fifo = trace.dir().join("fifo");
    mkfifo(&fifo, Mode::S_IRUSR)?;
    for (path, message) in [
        (fifo, "is not a regular file"),
        (trace.dir().to_owned(), "is not a regular file"),
        (trace.dir().join("none"), "No such file or directory"),
    ] {
        let path = path.display().to_string();
        let (_container, output) = node
            .container("unread")
            .flag(["--runtime-config-path", &path])
            .try_start(&["sleep", "600"])?;
        assert_ne!(output.status, 0);
        let wanted = format!("read configuration {path}: {message}");
        assert!(
            output.stderr.contains(&wanted),
            "{wanted}\n{}",
            output.stderr
        );
    }
    Ok(())
}

fn the_log_level_is_the_nodes(node: &Node) -> Outcome {
    for (level, logged) in [("error", false), ("info", true)] {
        let trace = Trace::new(node)?;
        let container = builder(node, level, &trace, &format!("log_level = \"{level}\"\n"))?
            .lifecycle(&json!({"postStart": exec("true")}).to_string())
            .start(&["sleep", "600"])?;
        assert_eq!(container.recorded()?.result("postStart"), "Succeeded");
        let id = format!("id={}", container.id());
        let found = || {
            let log = node.containerd().log();
            log.lines()
                .any(|line| line.contains(&id) && line.contains("hook ends"))
        };
        if logged {
            wait::until_true("the hook's line", SOON, found)?;
        } else {
            assert!(!found());
        }
    }
    Ok(())
}

fn every_line_about_a_pods_hook_names_the_pod(node: &Node) -> Outcome {
    let lifecycle = json!({"postStart": exec("true"), "preStop": exec("exit 4")}).to_string();
    let mut name = String::new();
    let pod = node
        .pod("named")
        .lifecycle("main", &lifecycle)
        .config(|config| name = config.metadata.clone().unwrap_or_default().name)
        .run()?;
    for (attempt, suffix) in [(Some("3"), " attempt=3"), (None, "")] {
        let mut builder = pod.container("main").command(&words(&sh(
            "trap 'exit 7' TERM; while :; do sleep 600 & wait $!; done",
        )));
        if let Some(attempt) = attempt {
            builder = builder.annotation("io.kubernetes.container.restartCount", attempt);
        }
        let container = builder.start()?;
        container.stop(30)?;
        container.wait_exit(SOON)?;
        container.remove()?;
        let id = format!("id={}", container.id());
        let labels =
            format!(" pod_namespace=default pod={name} container=main{suffix} namespace=k8s.io");
        let log = node.containerd().log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains(&id) && line.contains("runtime=io.containerd.podhook.v1"))
            .filter(|line| {
                ["hook=", "lifecycle", "\"stop signal\"", "\"exec hook"]
                    .iter()
                    .any(|part| line.contains(part))
            })
            .collect();
        assert!(lines.len() >= 8, "{lines:#?}");
        assert!(
            lines.iter().all(|line| line.contains(&labels)),
            "{labels}: {lines:#?}"
        );
    }
    Ok(())
}

fn containerds_options_name_the_file_and_its_mistakes_reach_the_cri_client(node: &Node) -> Outcome {
    let path = node.containerd().dir().join("podhook.toml");
    fs::write(&path, "\n\ngrace_perod = 3\n")?;
    let error = match node.pod("wrong").configured().run() {
        Ok(_) => return Err("the pod runs".into()),
        Err(error) => error.to_string(),
    };
    let message = format!("{}: line 3: grace_perod: unknown field", path.display());
    assert!(error.contains(&message), "{error}");

    fs::write(
        &path,
        r#"
[[rules]]
image = "docker.io/library/busybox:*"
container = "ma*"
[rules.lifecycle]
output = "container"
postStart.exec.command = ["echo", "from the rule"]
"#,
    )?;
    let pod = node.pod("ruled").configured().run()?;
    let ruled = pod.container("main").command(&["sleep", "600"]).start()?;
    ruled.wait_log("from the rule", SOON)?;
    assert_eq!(ruled.recorded()?.result("postStart"), "Succeeded");
    let other = pod.container("other").command(&["sleep", "600"]).start()?;
    assert!(!recorded::path(&other.bundle()).exists());
    Ok(())
}
