//! `podhook history` and `podhook ps --all`: the results of hooks whose containers are gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use podhook_integration::containerd::remains;
use podhook_integration::podhook::Podhook;
use podhook_integration::suite::{Test, each_once, own_containerd};
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::inspect::{polite_here, rows};
use crate::recorded::Recorded;
use crate::script::{Error, exec, held, polite, words};
use crate::watching::Watching;

pub fn tests() -> Vec<Test> {
    let shared = tests![journal:
        a_pre_stop_that_has_failed_is_known_when_its_container_is_gone,
        the_post_start_of_a_container_that_never_ran_is_known_when_its_pod_is_gone,
        a_watch_sees_each_result,
        the_journal_is_where_the_node_says_and_bad_lines_are_named,
        a_node_without_a_journal_and_one_that_cannot_be_written_run_hooks,
        what_a_killed_shim_could_not_tell_is_told,
    ];
    // Nobody else's containers may be there.
    let own = tests![journal: a_container_without_lifecycle_makes_no_journal];
    [shared, each_once(own_containerd(own))].concat()
}

/// The lines about a container, once there are so many: a moment after the client's answer.
fn lines(podhook: &Podhook, words: &[&str], count: usize) -> Result<Vec<Value>, Error> {
    let read = || -> Option<Vec<Value>> {
        let words = [&["history", "-o", "json"], words].concat();
        let json: Value = serde_json::from_str(&podhook.run(&words).ok()?).ok()?;
        json["items"].as_array().cloned()
    };
    let enough = || read().filter(|items| items.len() >= count);
    wait::until(&format!("{count} lines of {words:?}"), SOON, enough)
        .map_err(|e| format!("{e}: {:#?}", read()).into())
}

/// `HookEnded preStop Failed`.
fn told(line: &Value) -> String {
    let hook = &line["hook"];
    let parts = [&line["event"], &hook["hook"], &hook["result"]];
    let words = parts.iter().filter_map(|part| part.as_str());
    words.collect::<Vec<_>>().join(" ")
}

fn all_told(lines: &[Value]) -> Vec<String> {
    lines.iter().map(told).collect()
}

fn a_pre_stop_that_has_failed_is_known_when_its_container_is_gone(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let lifecycle =
        json!({"postStart": exec("echo up"), "preStop": exec("echo one; echo no space; exit 3")});
    let container = node
        .container("gone")
        .lifecycle(&lifecycle.to_string())
        .start(&["sleep", "600"])?;
    let id = container.id().to_owned();
    let namespace = &node.ctr().namespace().to_owned();
    // While it is there it is shown once, with --all too.
    let table = podhook.run(&["ps", "--all", "-n", namespace])?;
    assert_eq!(rows(&table, &id).len(), 1, "{table}");
    container.kill("SIGTERM")?;
    let record = container.wait_hook("preStop")?;
    container.kill("SIGKILL")?;
    container.wait_exit(SOON)?;
    container.delete()?;

    let lines = lines(&podhook, &[&id], 3)?;
    assert_eq!(
        all_told(&lines),
        [
            "HookEnded postStart Succeeded",
            "HookEnded preStop Failed",
            "ContainerEnded"
        ]
    );
    let hook = &lines[1]["hook"];
    assert_eq!(hook, record.hook("preStop")?.json());
    assert_eq!(hook["output"], "one\nno space\n");
    assert_eq!(lines[2]["termination"]["signal"], "SIGTERM");
    assert_eq!(lines[1]["namespace"], *namespace);

    let table = podhook.run(&["ps", "-n", namespace])?;
    assert_eq!(rows(&table, &id).len(), 0, "{table}");
    let table = podhook.run(&["ps", "-a", "-n", namespace])?;
    let found = rows(&table, &id);
    assert_eq!(found.len(), 2, "{table}");
    assert_eq!(found[1][3..7], ["Stopped", "preStop", "exec", "Failed"]);
    let list: Value = serde_json::from_str(&podhook.run(&["ps", "-a", "-o", "json"])?)?;
    let items = list["items"].as_array().ok_or("no items")?;
    let item = items
        .iter()
        .find(|item| item["id"] == *id)
        .ok_or("not there")?;
    assert_eq!(item["hooks"][1]["exitCode"], 3);

    let table = podhook.run(&[
        "history", "--failed", "--since", "1h", "-n", namespace, "-o", "wide",
    ])?;
    let found = rows(&table, &id);
    assert_eq!(found.len(), 1, "{table}");
    assert!(table.contains("exited with status 3: no space"), "{table}");
    let none = podhook.try_run(&["history", "-n", "nowhere"])?.success()?;
    assert_eq!(none.stderr.trim(), "No results found in nowhere namespace.");
    Ok(())
}

fn the_post_start_of_a_container_that_never_ran_is_known_when_its_pod_is_gone(
    node: &Node,
) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let lifecycle = json!({"postStart": exec("echo no license; exit 4")}).to_string();
    let mut name = String::new();
    let pod = node
        .pod("never")
        .lifecycle("main", &lifecycle)
        .config(|config| name = config.metadata.clone().unwrap_or_default().name)
        .run()?;
    let container = pod
        .container("main")
        .command(&words(&polite_here()))
        .create()?;
    container.start().err().ok_or("it started")?;
    let id = container.id().to_owned();
    container.remove()?;
    pod.stop()?;
    pod.remove()?;

    let lines = lines(&podhook, &[&format!("{name}/main")], 3)?;
    assert_eq!(
        all_told(&lines),
        [
            "HookEnded postStart Failed",
            "ContainerEnded",
            "StartFailed"
        ]
    );
    assert_eq!(lines[0]["id"], *id);
    assert_eq!(lines[0]["pod"]["name"], *name);
    let message = lines[2]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("FailedPostStartHook: exec ") && message.ends_with(": no license"),
        "{message}"
    );
    let table = podhook.run(&["history", &name, "--failed"])?;
    assert_eq!(rows(&table, &name).len(), 2, "{table}");
    let table = podhook.run(&["ps", "-a", "-o", "wide"])?;
    assert_eq!(rows(&table, &id).len(), 1, "{table}");
    Ok(())
}

fn a_watch_sees_each_result(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let trace = Trace::new(node)?;
    let watching = Watching::start(&podhook, &["history", "-n", node.ctr().namespace()])?;
    let lifecycle = json!({"postStart": exec("true"), "preStop": held(&trace, "pre")?});
    let container = node
        .container("followed")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&polite()))?;
    let id = &container.id().to_owned();
    watching.until(&[id, "postStart", "Succeeded"])?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    trace.wait("pre-begin")?;
    trace.release("pre")?;
    watching.until(&[id, "preStop", "Succeeded"])?;
    watching.until(&[id, "ContainerEnded"])?;
    container.wait_exit(SOON)?;
    Ok(())
}

/// A configuration with these keys, and the flag that names it.
fn config(trace: &Trace, text: &str) -> Result<String, Error> {
    let path = trace.dir().join("config.toml");
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn the_journal_is_where_the_node_says_and_bad_lines_are_named(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let trace = Trace::new(node)?;
    let folder = trace.dir().join("kept/journal");
    let path = config(&trace, &format!("journal = '{}'", folder.display()))?;
    let container = node
        .container("elsewhere")
        .flag(["--runtime-config-path", &path])
        .lifecycle(&json!({"postStart": exec("true")}).to_string())
        .start(&["sleep", "600"])?;
    let id = container.id().to_owned();
    container.kill("SIGKILL")?;
    container.wait_exit(SOON)?;
    container.delete()?;
    let place = folder.display().to_string();
    lines(&podhook, &[&id, "--journal", &place], 2)?;
    assert!(
        podhook
            .try_run(&["history", &id])?
            .stderr
            .contains("No results found")
    );

    let mode = |path: &PathBuf| Ok::<_, Error>(fs::metadata(path)?.permissions().mode() & 0o777);
    assert_eq!(mode(&folder)?, 0o700);
    let files: Vec<PathBuf> = fs::read_dir(&folder)?
        .map(|entry| Ok::<_, Error>(entry?.path()))
        .collect::<Result<_, _>>()?;
    let [file] = &files[..] else {
        return Err(format!("{files:?}").into());
    };
    assert_eq!(mode(file)?, 0o600);
    let good = fs::read_to_string(file)?;
    fs::write(
        file,
        format!("{good}\u{1b}[2J\n{{\"version\":1,\"id\n{good}"),
    )?;
    let output = podhook.try_run(&["history", "--journal", &place])?;
    assert_eq!(output.status, 1, "{output:?}");
    assert_eq!(rows(&output.stdout, &id).len(), 4, "{output:?}");
    let says = format!("error: {}: not a line of the journal: ", file.display());
    assert!(output.stderr.starts_with(&says), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "once: {output:?}");
    Ok(())
}

fn a_node_without_a_journal_and_one_that_cannot_be_written_run_hooks(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let trace = Trace::new(node)?;
    let victim = trace.dir().join("victim");
    fs::create_dir(&victim)?;
    let link = trace.dir().join("link");
    std::os::unix::fs::symlink(&victim, &link)?;
    let places = ["off", "/proc/nowhere/journal", &link.display().to_string()];
    for place in places {
        let path = config(&trace, &format!("journal = '{place}'"))?;
        let container = node
            .container("unkept")
            .flag(["--runtime-config-path", &path])
            .lifecycle(&json!({"postStart": exec("true"), "preStop": exec("true")}).to_string())
            .start(&["sleep", "600"])?;
        container.kill("SIGTERM")?;
        let record = container.wait_hook("preStop")?;
        assert_eq!(record.result("preStop"), "Succeeded", "{place}");
        container.kill("SIGKILL")?;
        container.wait_exit(SOON)?;
        let id = container.id().to_owned();
        container.delete()?;
        assert!(
            podhook
                .try_run(&["history", &id])?
                .stderr
                .contains("No results found")
        );
    }
    assert_eq!(fs::read_dir(&victim)?.count(), 0, "through a link");
    Ok(())
}

fn what_a_killed_shim_could_not_tell_is_told(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": exec("true"), "preStop": held(&trace, "pre")?});
    let container = node
        .container("orphan")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    trace.wait("pre-begin")?;
    let shims = remains::shims(&node.containerd().address());
    let shim = shims.into_iter().find(|shim| shim.id == container.id());
    node.containerd()
        .kill_shim(&shim.ok_or("it has no shim")?, node.shim())?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    let lines = lines(&podhook, &[container.id()], 3)?;
    assert_eq!(
        all_told(&lines),
        [
            "HookEnded postStart Succeeded",
            "HookEnded preStop Aborted",
            "ContainerEnded"
        ]
    );
    assert_eq!(lines[1]["hook"]["message"], "aborted: the shim was killed");
    assert_eq!(lines[2]["termination"]["exitStatus"], 137);
    Ok(())
}

fn a_container_without_lifecycle_makes_no_journal(node: &Node) -> Outcome {
    let podhook = Podhook::new(node.containerd());
    let plain = node.container("plain").start(&["sleep", "600"])?;
    plain.exec(&["true"])?.success()?;
    plain.kill("SIGKILL")?;
    plain.wait_exit(SOON)?;
    plain.delete()?;
    let journal = node.containerd().dir().join("state/podhook/journal");
    let shims_gone = || remains::shims(&node.containerd().address()).is_empty();
    wait::until_true("the end of the shim", SOON, shims_gone)?;
    assert!(!journal.exists());
    let none = podhook.try_run(&["history"])?.success()?;
    let says = format!(
        "No results found: there is no journal yet in {}\n",
        journal.display()
    );
    assert_eq!(none.stderr, says);
    let kept = node
        .container("kept")
        .lifecycle(&json!({"postStart": exec("true")}).to_string())
        .start(&["sleep", "600"])?;
    lines(&podhook, &[kept.id()], 1)?;
    assert!(journal.is_dir());
    Ok(())
}
