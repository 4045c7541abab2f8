//! The whole tree of a hook: found and killed as one when the hook is aborted, left alone when it succeeds.

use podhook_integration::suite::Test;
use podhook_integration::trace::{Trace, mark};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::json;

use crate::recorded::Recorded;
use crate::script::{
    anywhere, exec, own_sleep, polite, processes, server, wait_gone, wait_processes, with, words,
};

pub fn tests() -> Vec<Test> {
    tests![tree:
        a_background_child_delays_no_hook_and_stays,
        a_cri_hooks_background_child_delays_nothing_and_stays,
        a_hook_that_times_out_dies_with_its_whole_tree,
        an_aborted_pre_stop_dies_with_its_whole_tree,
        what_outlives_a_hook_dies_with_the_container_in_a_shared_process_namespace,
        a_hook_kills_nothing_of_the_container,
    ]
}

/// Leaves a process behind that holds the hook's output and is no child of the hook's any more.
const LEAVE: &str = "(setsid sleep 4321 &); setsid sleep 4322 & echo done";

fn a_background_child_delays_no_hook_and_stays(node: &Node) -> Outcome {
    let lifecycle = json!({"postStart": exec(LEAVE)}).to_string();
    let container = node
        .container("left")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let hook = container.recorded()?.hook("postStart")?;
    assert_eq!(
        (hook.text("/result"), hook.text("/output")),
        ("Succeeded", "done\n")
    );
    wait_processes(
        node,
        container.id(),
        &["sleep 600", "sleep 4321", "sleep 4322"],
    )
}

fn a_cri_hooks_background_child_delays_nothing_and_stays(node: &Node) -> Outcome {
    let pod = node
        .pod("left")
        .lifecycle("main", &json!({"postStart": exec(LEAVE)}).to_string())
        .run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    assert_eq!(
        container.recorded()?.hook("postStart")?.text("/output"),
        "done\n"
    );
    wait_processes(
        node,
        container.id(),
        &["sleep 600", "sleep 4321", "sleep 4322"],
    )
}

/// A tree: a child, a grandchild whose parent is gone, one in a session of its own that ignores
/// signals, and the hook itself.
const TREE: &str = "sleep 4331 & (sleep 4332 &); (trap '' TERM INT HUP; setsid sh -c 'trap \"\" TERM INT HUP; sleep 4333; :' &); exec sleep 4334";

/// The tree's processes once it stands.
const SLEEPERS: [&str; 4] = ["sleep 4331", "sleep 4332", "sleep 4333", "sleep 4334"];

fn a_hook_that_times_out_dies_with_its_whole_tree(node: &Node) -> Outcome {
    // Ignored: the container lives on, and shows what is left in it.
    let hook = with(
        exec(TREE),
        json!({"timeoutSeconds": 3, "onFailure": "Ignore"}),
    );
    let lifecycle = json!({"postStart": hook}).to_string();
    let (container, starting) = node
        .container("tree")
        .lifecycle(&lifecycle)
        .start_behind(&["sleep", "600"])?;
    let tree = wait_processes(node, container.id(), &SLEEPERS);
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    tree?;
    assert_eq!(
        container.wait_hook("postStart")?.result("postStart"),
        "TimedOut"
    );
    let left = processes(node, container.id());
    assert_eq!(left, ["sleep 600"]);
    Ok(())
}

fn an_aborted_pre_stop_dies_with_its_whole_tree(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": with(exec(TREE), json!({"timeoutSeconds": 3}))});
    let pod = node
        .pod("tree")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&server(&["TERM"], &[])))
        .start()?;
    trace.wait("ready")?;
    let ctr = node.containerd().ctr_in("k8s.io");
    ctr.run(&["task", "kill", "-s", "SIGTERM", container.id()])?;
    wait_processes(node, container.id(), &SLEEPERS)?;
    trace.wait("got-TERM")?;
    assert_eq!(
        container.wait_hook("preStop")?.result("preStop"),
        "TimedOut"
    );
    for line in SLEEPERS {
        wait_gone(node, container.id(), line)?;
    }
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    container.stop(0)?;
    Ok(())
}

fn what_outlives_a_hook_dies_with_the_container_in_a_shared_process_namespace(
    node: &Node,
) -> Outcome {
    let owner = node.container("owner").start(&["sleep", "600"])?;
    let pid = owner.task()?.ok_or("no task")?.pid;
    let unique = own_sleep();
    let script = format!("(setsid {unique} &); exec sleep 600");
    let trace = Trace::new(node)?;
    let container = node
        .container("shared")
        .flag(["--mount", &trace.mount()])
        .flag(["--with-ns", &format!("pid:/proc/{pid}/ns/pid")])
        .lifecycle(&json!({"preStop": exec(&script)}).to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    wait::until_true("the hook's grandchild", SOON, || anywhere(&unique) == 1)?;
    container.kill("SIGKILL")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    // It is killed by then, and dies when it gets the processor.
    wait::until_true("the grandchild's end", SOON, || anywhere(&unique) == 0)?;
    assert_eq!(owner.status()?, "RUNNING");
    Ok(())
}

fn a_hook_kills_nothing_of_the_container(node: &Node) -> Outcome {
    // The end of a hook's tree is not the end of execs and of what an earlier hook has left.
    let trace = Trace::new(node)?;
    let stop = with(
        exec(&format!("{}; exec sleep 600", mark("hook"))),
        json!({"timeoutSeconds": 1}),
    );
    let lifecycle = json!({"postStart": exec(LEAVE), "preStop": stop});
    let container = node
        .container("others")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&server(&["TERM"], &[])))?;
    trace.wait("ready")?;
    let ctr = node.ctr();
    let exec = [
        "task",
        "exec",
        "-d",
        "--exec-id",
        "one",
        "--log-uri",
        "file:///dev/null",
    ];
    ctr.run(&[&exec[..], &[container.id(), "sleep", "4341"]].concat())?;
    container.kill("SIGTERM")?;
    trace.wait("hook")?;
    trace.wait("got-TERM")?;
    wait_processes(
        node,
        container.id(),
        &["sleep 4321", "sleep 4322", "sleep 4341"],
    )
}
