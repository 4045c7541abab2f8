//! `podhook ps` and `podhook inspect`, and the schema of what they read.

use std::fs;

use podhook_integration::generation::repository;
use podhook_integration::podhook::Podhook;
use podhook_integration::suite::{Test, each_once, own_containerd};
use podhook_integration::trace::Trace;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::{self, Recorded};
use crate::script::{Error, exec, held, polite, words};
use crate::watching::Watching;

pub fn tests() -> Vec<Test> {
    let shared = tests![inspect:
        real_records_are_as_the_schema_says,
        ps_shows_a_hook_while_it_runs_and_how_it_ended,
        ps_shows_the_containers_of_every_namespace,
        a_watch_sees_every_step_to_the_end,
        a_container_is_found_by_its_names,
        what_a_hook_prints_cannot_reach_the_terminal,
        results_are_shown_without_containerd,
    ];
    // Bad records fail the commands of whoever looks at the node.
    let own = tests![inspect: bad_records_are_named_and_hide_no_others];
    [shared, each_once(own_containerd(own))].concat()
}

/// What is wrong with a record, by the published schema.
fn violations(record: &Value) -> Result<Vec<String>, Error> {
    let text = fs::read(repository().join("docs/podhook.schema.json"))?;
    let schema = serde_json::from_slice(&text)?;
    let validator = jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&schema)
        .map_err(|e| e.to_string())?;
    let errors = validator.iter_errors(record);
    Ok(errors
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect())
}

/// Any field that a record has and the schema has not.
fn unknown_fields(record: &Value, schema: &Value, part: &str, found: &mut Vec<String>) {
    let known = schema.pointer(part).and_then(Value::as_object);
    for (name, value) in record.as_object().into_iter().flatten() {
        if !known.is_some_and(|known| known.contains_key(name)) {
            found.push(format!("{part}/{name}"));
        }
        match name.as_str() {
            "pod" => unknown_fields(value, schema, "/$defs/pod/properties", found),
            "termination" => unknown_fields(value, schema, "/$defs/termination/properties", found),
            "hooks" => {
                for hook in value.as_array().into_iter().flatten() {
                    unknown_fields(hook, schema, "/$defs/hook/properties", found);
                }
            }
            _ => {}
        }
    }
}

fn check(record: &recorded::Record) -> Outcome {
    assert_eq!(violations(record.json())?, [""; 0], "{record:?}");
    let text = fs::read(repository().join("docs/podhook.schema.json"))?;
    let mut unknown = Vec::new();
    unknown_fields(
        record.json(),
        &serde_json::from_slice(&text)?,
        "/properties",
        &mut unknown,
    );
    assert_eq!(unknown, [""; 0], "{record:?}");
    Ok(())
}

fn real_records_are_as_the_schema_says(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "post")?, "preStop": held(&trace, "pre")?});
    let (container, starting) = node
        .container("schema")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&polite()))?;
    trace.wait("post-begin")?;
    trace.wait("ready")?;
    check(&container.recorded()?)?;
    trace.release("post")?;
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    check(&container.recorded()?)?;
    container.kill("SIGTERM")?;
    trace.wait("pre-begin")?;
    check(&container.recorded()?)?;
    trace.release("pre")?;
    let last = container.wait_end()?;
    assert_eq!(last.phase(), "Stopped");
    check(&last)?;

    // Of a pod, with the handlers that run no process: one fails, one sleeps.
    let refused = json!({"httpGet": {"port": 9, "host": "127.0.0.1"}, "onFailure": "Ignore"});
    let lifecycle = json!({"postStart": refused, "preStop": {"sleep": {"seconds": 0}}});
    let pod = node
        .pod("schema")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .command(&words(&polite_here()))
        .start()?;
    let record = container.recorded()?;
    assert_eq!(record.result("postStart"), "Failed");
    check(&record)?;
    let watch = container.watch_record();
    container.stop(10)?;
    watch.wait("the end", SOON, |record| {
        record
            .hooks
            .iter()
            .any(|hook| hook.hook == "preStop" && hook.result.is_some())
    })?;
    Ok(())
}

/// A server that ends on SIGTERM and leaves no marks.
pub fn polite_here() -> [String; 3] {
    let script = "trap 'exit 0' TERM; while :; do sleep 600 & wait $!; done";
    ["sh".to_owned(), "-c".to_owned(), script.to_owned()]
}

/// The rows of a table that have this word, as their words.
pub fn rows(table: &str, word: &str) -> Vec<Vec<String>> {
    table
        .lines()
        .map(|line| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|row| row.iter().any(|cell| cell == word))
        .collect()
}

fn ps_shows_a_hook_while_it_runs_and_how_it_ended(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let trace = Trace::new(node)?;
    let lifecycle =
        json!({"postStart": exec("echo one; echo two"), "preStop": held(&trace, "pre")?});
    let container = node
        .container("glance")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    let (id, namespace) = (container.id(), node.ctr().namespace().to_owned());
    let table = podhook.run(&["ps"])?;
    assert!(table.starts_with("NAMESPACE "), "{table}");
    let row = rows(&table, id).pop().ok_or(table)?;
    assert_eq!(
        row[..7],
        [
            &namespace,
            "<none>",
            id,
            "Running",
            "postStart",
            "exec",
            "Succeeded"
        ]
    );
    assert_eq!(row.last().map(String::as_str), Some("two"), "{row:?}");

    container.kill("SIGTERM")?;
    trace.wait("pre-begin")?;
    let table = podhook.run(&["ps", "--namespace", &namespace, "--no-headers"])?;
    let found = rows(&table, id);
    assert_eq!(found.len(), 2, "{table}");
    assert_eq!(
        found[1][3..7],
        ["PreStop", "preStop", "exec", "Running"],
        "{table}"
    );

    let page = podhook.run(&["inspect", id, "-o", "wide"])?;
    for part in [
        r#"  preStop:    exec ["sh" "-c" "#,
        "    Result:   running\n",
        "Lifecycle:",
        "podhook.dev/lifecycle: {",
    ] {
        assert!(page.contains(part), "{part:?} in\n{page}");
    }
    let json: Value = serde_json::from_str(&podhook.run(&["inspect", id, "-o", "json"])?)?;
    assert_eq!(&json, container.recorded()?.json());
    let yaml = podhook.run(&["inspect", id, "-o", "yaml"])?;
    assert!(yaml.contains("phase: PreStop\n"), "{yaml}");
    let list: Value = serde_json::from_str(&podhook.run(&["ps", "-o", "json"])?)?;
    let items = list["items"].as_array().ok_or("no items")?;
    assert!(items.iter().any(|item| item["id"] == id), "{list}");
    trace.release("pre")?;
    container.wait_exit(SOON)?;
    Ok(())
}

fn ps_shows_the_containers_of_every_namespace(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let lifecycle = json!({"preStop": exec("true")}).to_string();
    let plain = node
        .container("everywhere")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let without = node.container("nowhere").start(&["sleep", "600"])?;
    let mut name = String::new();
    let pod = node
        .pod("everywhere")
        .lifecycle("main", &lifecycle)
        .config(|config| name = config.metadata.clone().unwrap_or_default().name)
        .run()?;
    let in_pod = pod.container("main").command(&["sleep", "600"]).start()?;
    for words in [&["ps", "-o", "wide"][..], &["ps", "-A", "-o", "wide"]] {
        let table = podhook.run(words)?;
        let row = rows(&table, &name).pop().ok_or(table.clone())?;
        assert_eq!(row[..4], ["default", &name, "main", "Running"], "{table}");
        assert_eq!(row.last().map(String::as_str), Some(in_pod.id()), "{table}");
        assert_eq!(rows(&table, plain.id()).len(), 1, "{table}");
        assert_eq!(rows(&table, without.id()).len(), 0, "{table}");
    }
    // By the pod's namespace and by containerd's.
    for (namespace, plain_there, pod_there) in [
        ("default", 0, 1),
        ("k8s.io", 0, 1),
        (node.ctr().namespace(), 1, 0),
    ] {
        let table = podhook.run(&["ps", "-n", namespace])?;
        let found = (rows(&table, plain.id()).len(), rows(&table, &name).len());
        assert_eq!(found, (plain_there, pod_there), "{namespace}: {table}");
    }
    let none = podhook.try_run(&["ps", "-n", "none"])?.success()?;
    assert_eq!(
        (none.stdout.as_str(), none.stderr.trim()),
        ("", "No hooks found in none namespace.")
    );
    let both = podhook.try_run(&["ps", "-n", "default", "-A"])?;
    assert!(
        both.stderr.contains("exclude each other"),
        "{}",
        both.stderr
    );
    Ok(())
}

fn a_watch_sees_every_step_to_the_end(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let podhook = Podhook::new(node.containerd());
    let watching = Watching::start(&podhook, &["ps", "-n", node.ctr().namespace()])?;
    let lifecycle = json!({"postStart": held(&trace, "post")?, "preStop": held(&trace, "pre")?});
    let (container, starting) = node
        .container("watched")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&polite()))?;
    let id = &container.id().to_owned();
    watching.until(&[id, "PostStart", "postStart", "Running"])?;
    trace.wait("ready")?;
    trace.release("post")?;
    watching.until(&[id, "Running", "postStart", "Succeeded"])?;
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    container.kill("SIGTERM")?;
    watching.until(&[id, "PreStop", "preStop", "Running"])?;
    trace.wait("pre-begin")?;
    trace.release("pre")?;
    // Everything but what the container controls is seen, however short it lives.
    watching.until(&[id, "Stopped", "preStop", "Succeeded"])?;
    drop(container);
    watching.until(&[id, "Removed"])?;
    Ok(())
}

fn a_container_is_found_by_its_names(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let lifecycle = json!({"preStop": exec("true")}).to_string();
    let mut name = String::new();
    let pod = node
        .pod("named")
        .lifecycle("one", &lifecycle)
        .lifecycle("two", &lifecycle)
        .config(|config| name = config.metadata.clone().unwrap_or_default().name)
        .run()?;
    let one = pod.container("one").command(&["sleep", "600"]).start()?;
    let two = pod.container("two").command(&["sleep", "600"]).start()?;
    let plain = pod.container("plain").command(&["sleep", "600"]).start()?;
    for (wanted, id) in [
        (one.id().to_owned(), one.id()),
        (one.id()[..13].to_owned(), one.id()),
        (format!("{name}/two"), two.id()),
        (format!("default/{name}/two"), two.id()),
    ] {
        let page = podhook.run(&["inspect", &wanted])?;
        assert!(
            page.contains(&format!("Container ID:          {id}\n")),
            "{wanted}: {page}"
        );
    }
    for (wanted, says) in [
        (
            name.as_str(),
            format!("error: {name:?} is more than one container:\n"),
        ),
        (
            plain.id(),
            format!("error: container {:?} has no lifecycle hooks\n", plain.id()),
        ),
        (
            "none",
            "error: no container \"none\" with lifecycle hooks below ".to_owned(),
        ),
    ] {
        let output = podhook.try_run(&["inspect", wanted])?;
        assert_eq!(output.status, 1, "{output:?}");
        assert!(
            output.stderr.starts_with(&says),
            "{wanted}: {}",
            output.stderr
        );
        assert_eq!(output.stdout, "");
    }
    Ok(())
}

fn what_a_hook_prints_cannot_reach_the_terminal(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    // Sets the title, clears the screen, and C1's CSI.
    let evil = r"printf '\033]0;owned\007\033[2J\302\2331m\rlast'";
    let lifecycle = json!({"postStart": exec(evil)}).to_string();
    let container = node
        .container("evil")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let recorded = container.recorded()?.hook("postStart")?;
    assert!(recorded.text("/output").contains('\u{1b}'), "{recorded:?}");
    let id = container.id();
    for words in [
        &["ps"][..],
        &["ps", "-o", "wide"],
        &["ps", "-o", "json"],
        &["ps", "-o", "yaml"],
        &["inspect", id],
        &["inspect", id, "-o", "wide"],
        &["inspect", id, "-o", "json"],
        &["inspect", id, "-o", "yaml"],
    ] {
        let text = podhook.run(words)?;
        assert!(text.contains("owned"), "{words:?}: {text:?}");
        let hidden = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(hidden), "{words:?}: {text:?}");
    }
    // Escaped, not lost.
    let json: Value = serde_json::from_str(&podhook.run(&["inspect", id, "-o", "json"])?)?;
    assert_eq!(json["hooks"][0]["output"], recorded.text("/output"));
    Ok(())
}

fn bad_records_are_named_and_hide_no_others(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let lifecycle = json!({"preStop": exec("true")}).to_string();
    let good = node
        .container("good")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let bad = node
        .container("bad")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let namespace = node.ctr().namespace().to_owned();
    let path = recorded::path(&bad.bundle());
    for text in [
        "",
        "{\"version\": 1, \"id\": \"b",
        "[1]",
        "{\"hooks\": 7}",
        "\u{0}\u{1b}[2J",
    ] {
        fs::write(&path, text)?;
        let output = podhook.try_run(&["ps", "-n", &namespace])?;
        assert_eq!(output.status, 1, "{text:?}: {output:?}");
        assert_eq!(
            rows(&output.stdout, good.id()).len(),
            1,
            "{text:?}: {output:?}"
        );
        let says = format!("error: {}: not a record: ", path.display());
        assert!(output.stderr.starts_with(&says), "{text:?}: {output:?}");
        let output = podhook.try_run(&["inspect", bad.id()])?;
        assert!(output.stderr.starts_with(&says), "{text:?}: {output:?}");
    }
    podhook.run(&["inspect", good.id()])?;
    // Half gone: containerd has begun to remove the bundle.
    fs::remove_file(&path)?;
    let table = podhook.run(&["ps", "-n", &namespace])?;
    assert_eq!(rows(&table, bad.id()).len(), 0, "{table}");
    Ok(())
}

fn results_are_shown_without_containerd(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let lifecycle = json!({"postStart": exec("echo hello")}).to_string();
    let container = node
        .container("alone")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let state = node.containerd().dir().join("state");
    let run = |words: &[&str]| {
        let mut command = podhook.command();
        command
            .env("CONTAINERD_ADDRESS", "/nowhere/containerd.sock")
            .args(words);
        podhook_integration::command::run(&mut command, None, SOON)
    };
    let state = state.display().to_string();
    let output = run(&["ps", "--state", &state])?.success()?;
    assert_eq!(rows(&output.stdout, container.id()).len(), 1, "{output:?}");
    let output = run(&["ps", "--state", "/nowhere"])?;
    assert_eq!(output.status, 1);
    assert_eq!(
        output.stderr,
        "error: cannot read /nowhere: No such file or directory (os error 2)\n  \
         hint: --state names containerd's state directory, as /run/containerd\n"
    );
    Ok(())
}
