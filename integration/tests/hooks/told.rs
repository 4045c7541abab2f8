//! What users are told of a hook: what ran, what was missing, and nothing that a terminal would act on.

use podhook_integration::podhook::Podhook;
use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::json;

use crate::recorded::Recorded;
use crate::script::{exec, sh, words};

pub fn tests() -> Vec<Test> {
    tests![told:
        a_missing_program_is_named_wherever_users_look,
        the_record_has_the_handler_in_full,
        the_error_of_a_start_cannot_write_to_a_terminal,
        the_name_of_a_program_cannot_write_to_a_terminal,
        a_refused_annotation_cannot_write_to_a_terminal,
    ]
}

/// Ends at a SIGTERM.
const WAITS: &str = "trap 'exit 7' TERM; while :; do sleep 600 & wait $!; done";

/// Sets the title, rings, clears the screen by C0 and by C1, overwrites the line, reorders, deletes.
const EVIL: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\rlast";

/// Nothing of it may be in what a client prints.
#[track_caller]
fn harmless(text: &str) {
    let acts = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}';
    assert!(!text.contains(acts), "{text:?}");
    assert!(text.contains("owned"), "escaped, not lost: {text:?}");
}

fn a_missing_program_is_named_wherever_users_look(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let command = ["/opt/drain", "--all", "a b"];
    let lifecycle = json!({"preStop": {"exec": {"command": command}}});
    let container = node
        .container("missing")
        .lifecycle(&lifecycle.to_string())
        .start(&words(&sh(WAITS)))?;
    container.wait_record("it to run", SOON, |record| record.phase() == "Running")?;
    container.kill("SIGTERM")?;
    let record = container.wait_hook("preStop")?;
    let hook = record.hook("preStop")?;
    let says = r#"exec: "/opt/drain": stat /opt/drain: no such file or directory"#;
    assert_eq!(hook.text("/message"), says);
    assert_eq!(hook.json()["action"], json!({"exec": {"command": command}}));
    let table = podhook.run(&["ps"])?;
    let row = table.lines().find(|line| line.contains(container.id()));
    let shown = row.is_some_and(|row| row.contains(r#"exec: "/opt/drain": stat /opt/drain"#));
    assert!(shown, "{table}");
    let page = podhook.run(&["inspect", container.id()])?;
    let ran = r#"preStop:  exec ["/opt/drain" "--all" "a b"]"#;
    assert!(page.contains(ran), "{page}");
    assert!(page.contains(&format!("Failed ({says})")), "{page}");
    let id = container.id().to_owned();
    let line = || {
        let log = node.containerd().log();
        let line = log.lines().find(|line| {
            line.contains(&id) && line.contains("hook ends") && line.contains("preStop")
        })?;
        Some(line.to_owned())
    };
    let line = wait::until("the hook's line in the log", SOON, line)?;
    for part in [
        r#"handler="exec [\"/opt/drain\" \"--all\" \"a b\"]""#,
        r#"message="exec: \"/opt/drain\": stat /opt/drain: no such file or directory""#,
    ] {
        assert!(line.contains(part), "{line}");
    }
    Ok(())
}

fn the_record_has_the_handler_in_full(node: &Node) -> Outcome {
    let script = format!("# {}\n:", "long ".repeat(1000));
    let request = json!({"path": "/drain?now", "port": 9, "host": "127.0.0.1",
        "httpHeaders": [{"name": "Authorization", "value": "Bearer s3cret"}]});
    let lifecycle = json!({"postStart": exec(&script), "preStop": {"httpGet": request}});
    let container = node
        .container("full")
        .lifecycle(&lifecycle.to_string())
        .start(&words(&sh(WAITS)))?;
    let record = container.recorded()?;
    assert_eq!(
        record.json()["hooks"][0]["action"],
        json!({"exec": {"command": ["sh", "-c", script]}})
    );
    container.kill("SIGTERM")?;
    let record = container.wait_hook("preStop")?;
    assert_eq!(
        record.hook("preStop")?.json()["action"],
        json!({"httpGet": {"path": "/drain?now", "port": 9, "host": "127.0.0.1", "scheme": "HTTP",
                           "httpHeaders": [{"name": "Authorization"}]}})
    );
    assert!(!record.json().to_string().contains("s3cret"));
    let page = Podhook::new(node.containerd()).run(&["inspect", container.id()])?;
    let says = "httpGet HTTP 127.0.0.1:9/drain?now (headers Authorization)";
    assert!(page.contains(says), "{page}");
    Ok(())
}

fn the_error_of_a_start_cannot_write_to_a_terminal(node: &Node) -> Outcome {
    let print = r"printf '\033]0;owned\007\033[2J\302\2331m\342\200\256\177\000\200\rlast'; exit 3";
    let lifecycle =
        json!({"postStart": exec(print), "terminationGracePeriodSeconds": 0}).to_string();
    let (container, output) = node
        .container("evil")
        .lifecycle(&lifecycle)
        .try_start(&["sleep", "600"])?;
    assert_ne!(output.status, 0);
    harmless(&output.stderr);
    let escaped =
        "exited with status 3: \\x1b]0;owned\\x07\\x1b[2J\\u009b1m\\u202e\\x7f\\x00\u{fffd}\\rlast";
    assert!(output.stderr.contains(escaped), "{:?}", output.stderr);
    // The record keeps what was printed, in a file that can be shown all the same.
    let file = std::fs::read_to_string(container.bundle().join("podhook.json"))?;
    harmless(&file);
    let recorded = container.recorded()?.hook("postStart")?;
    let text = recorded.text("/output");
    assert!(text.starts_with("\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}1m"));
    let pod = node.pod("evil").lifecycle("main", &lifecycle).run()?;
    let in_pod = pod.container("main").command(&["sleep", "600"]).create()?;
    let error = in_pod.start().err().ok_or("it started")?;
    harmless(error.message());
    harmless(&in_pod.status()?.message);
    Ok(())
}

fn the_name_of_a_program_cannot_write_to_a_terminal(node: &Node) -> Outcome {
    for program in [EVIL.to_owned(), format!("/{EVIL}")] {
        let hook = json!({"exec": {"command": [program]}});
        let lifecycle = json!({"postStart": hook, "terminationGracePeriodSeconds": 0});
        let (container, output) = node
            .container("named")
            .lifecycle(&lifecycle.to_string())
            .try_start(&["sleep", "600"])?;
        harmless(&output.stderr);
        let hook = container.recorded()?.hook("postStart")?;
        harmless(hook.text("/message"));
        assert_eq!(hook.json()["action"]["exec"]["command"], json!([program]));
    }
    // The same by an exec of a client's.
    let container = node.container("exec").start(&["sleep", "600"])?;
    for program in [EVIL.to_owned(), format!("/{EVIL}")] {
        let output = container.exec(&[&program])?;
        assert_ne!(output.status, 0);
        harmless(&output.stderr);
    }
    let id = container.id();
    let log = node.containerd().log();
    let lines = log.lines().filter(|line| line.contains(id));
    let acts = |c: char| c.is_control() && c != '\t';
    assert_eq!(lines.clone().find(|line| line.contains(acts)), None);
    Ok(())
}

fn a_refused_annotation_cannot_write_to_a_terminal(node: &Node) -> Outcome {
    for lifecycle in [
        json!({"preStop": {"exec": {"command": ["true"]}, EVIL: 1}}),
        json!({"stopSignal": EVIL}),
        json!({"preStop": {"httpGet": {"port": EVIL}}}),
        json!({"output": EVIL}),
    ] {
        let output = node
            .container("refused")
            .lifecycle(&lifecycle.to_string())
            .run_rm(&["true"])?;
        assert_ne!(output.status, 0);
        harmless(&output.stderr);
    }
    Ok(())
}
