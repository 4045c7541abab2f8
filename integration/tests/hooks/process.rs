//! What a hook is: a process like the container's own, and nothing that clients see as an exec.

use podhook_integration::cri::v1;
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, OciRuntime, Outcome, tests};
use serde_json::json;

use crate::recorded::Recorded;
use crate::script::{exec, held, polite, processes, sh, words};

pub fn tests() -> Vec<Test> {
    tests![process:
        a_hook_is_as_the_containers_own_process,
        a_cri_hook_is_as_the_containers_own_process,
        a_hooks_arguments_are_passed_without_a_shell,
        a_hooks_input_is_empty,
        a_hook_in_a_container_with_a_terminal_has_none,
        a_hooks_output_is_kept_to_its_last_four_kibibytes,
        a_hook_is_no_exec_to_clients,
    ]
}

/// Everything a process can say of itself that should be alike, into a file of the trace.
fn describe(file: &str) -> String {
    let fields = "Uid|Gid|Groups|Umask|NoNewPrivs|Seccomp:|Cap...";
    let spaces = "cgroup ipc mnt net pid user uts";
    format!(
        "{{ id; pwd; env | grep -v ^SHLVL | sort; grep -E '^({fields})' /proc/self/status; \
         cat /proc/self/limits /proc/self/oom_score_adj /proc/self/cgroup; \
         for n in {spaces}; do readlink /proc/self/ns/$n; done; \
         readlink /proc/self/root; ls /proc/self/fd | wc -l; cut -d ' ' -f 18,19,41 /proc/self/stat; }} > /trace/{file} 2>&1"
    )
}

/// The two must be alike.
fn compare(node: &Node, trace: &Trace) -> Outcome {
    let (own, mut hook) = (trace.read("own")?, trace.read("hook")?);
    let place = node.place();
    if (place.generation, place.runtime) == (Generation::V1_6, OciRuntime::Crun) {
        // crun 1.8 gives no HOME to a user whom /etc/passwd does not name; the engine gives "/", as runc does.
        assert!(!own.contains("HOME=/\n"), "{own}");
        hook = hook.replace("HOME=/\n", "");
    }
    assert!(own.lines().count() > 40, "{own}");
    let different: Vec<_> = own
        .lines()
        // A container that sees the host's cgroups sees the hook's own, by which its tree is found, in one hierarchy
        // without limits. In a cgroup namespace of its own it sees none.
        .zip(
            hook.lines()
                .map(|line| line.rsplit_once("/podhook-").map_or(line, |(own, _)| own)),
        )
        .filter(|(own, hook)| own != hook && !are_cgroup_namespaces(own, hook))
        .collect();
    assert!(different.is_empty(), "own and hook: {different:#?}");
    assert_eq!(own.lines().count(), hook.lines().count());
    Ok(())
}

/// A hook has one of its own where the container has: rooted at the hook's cgroup, so that it reads `/` as the container does.
fn are_cgroup_namespaces(own: &str, hook: &str) -> bool {
    [own, hook].iter().all(|line| line.starts_with("cgroup:["))
}

fn a_hook_is_as_the_containers_own_process(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": exec(&describe("hook"))});
    let own = format!("{}; exec sleep 600", describe("own"));
    let mut builder = node
        .container("alike")
        .flag(["--mount", &trace.mount()])
        .flag(["--env", "COLOUR=dark green"])
        .flag(["--cwd", "/usr/share"])
        .flag(["--cap-drop", "CAP_MKNOD"])
        .flag(["--cap-add", "CAP_SYS_TIME"])
        .flag(["--seccomp"])
        .lifecycle(&lifecycle.to_string());
    if node.containerd().generation() != Generation::V1_6 {
        // ctr of 1.6 has no such flag.
        builder = builder.flag(["--user", "1234:567"]);
    }
    let container = builder.start(&words(&sh(&own)))?;
    wait::until_true("the entrypoint", SOON, || {
        processes(node, container.id()) == ["sleep 600"]
    })?;
    compare(node, &trace)?;
    assert!(trace.read("hook")?.contains("COLOUR=dark green\n"));
    assert_eq!(trace.read("hook")?.lines().nth(1), Some("/usr/share"));
    Ok(())
}

fn a_cri_hook_is_as_the_containers_own_process(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node
        .pod("alike")
        .lifecycle(
            "main",
            &json!({"postStart": exec(&describe("hook"))}).to_string(),
        )
        .run()?;
    let own = format!("{}; exec sleep 600", describe("own"));
    let container = pod
        .container("main")
        .env("COLOUR", "green")
        .host_path(trace.dir(), "/trace")
        .command(&words(&sh(&own)))
        .config(|config| {
            config.working_dir = "/home".to_owned();
            let linux = config.linux.get_or_insert_default();
            let security = linux.security_context.get_or_insert_default();
            security.run_as_user = Some(v1::Int64Value { value: 1234 });
            security.run_as_group = Some(v1::Int64Value { value: 567 });
            security.supplemental_groups = vec![11, 22, 33];
            security.no_new_privs = true;
            security.capabilities = Some(v1::Capability {
                drop_capabilities: vec!["ALL".to_owned()],
                add_capabilities: vec!["NET_BIND_SERVICE".to_owned()],
                ..Default::default()
            });
            security.seccomp = Some(v1::SecurityProfile {
                profile_type: v1::security_profile::ProfileType::RuntimeDefault.into(),
                ..Default::default()
            });
            linux.resources = Some(v1::LinuxContainerResources {
                oom_score_adj: 500,
                memory_limit_in_bytes: 64 << 20,
                ..Default::default()
            });
        })
        .start()?;
    wait::until_true("the entrypoint", SOON, || {
        processes(node, container.id()) == ["sleep 600"]
    })?;
    compare(node, &trace)?;
    let hook = trace.read("hook")?;
    assert!(
        hook.starts_with("uid=1234 gid=567 groups=11,22,33")
            || hook.starts_with("uid=1234 gid=567 groups=567,11,22,33"),
        "{hook}"
    );
    assert!(
        hook.contains("NoNewPrivs:\t1\n") && hook.contains("Seccomp:\t2\n"),
        "{hook}"
    );
    Ok(())
}

fn a_hooks_arguments_are_passed_without_a_shell(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let arguments = [
        "plain",
        "two words",
        "$HOME",
        "*",
        "`id`",
        "a;b|c>d&e",
        "'\"\\",
        "",
        "-n",
        "é\nü",
        "%s",
    ];
    let mut command = vec![
        "sh",
        "-c",
        "printf '[%s]\\n' \"$@\" > /trace/arguments",
        "name",
    ];
    command.extend(arguments);
    let direct = json!({"exec": {"command": ["touch", "/trace/$HOME; *"]}});
    let lifecycle = json!({"postStart": {"exec": {"command": command}}, "preStop": direct});
    let container = node
        .container("arguments")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&["sleep", "600"])?;
    let expected: String = arguments
        .iter()
        .map(|argument| format!("[{argument}]\n"))
        .collect();
    assert_eq!(trace.read("arguments")?, expected);
    container.kill("SIGTERM")?;
    wait::until_true("the file", SOON, || trace.dir().join("$HOME; *").exists())?;
    Ok(())
}

fn a_hooks_input_is_empty(node: &Node) -> Outcome {
    let script = "readlink /proc/self/fd/0; wc -c";
    let lifecycle = json!({"postStart": exec(script)}).to_string();
    let container = node
        .container("input")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let hook = container.recorded()?.hook("postStart")?;
    assert_eq!(hook.text("/output"), "/dev/null\n0\n");
    Ok(())
}

fn a_hook_in_a_container_with_a_terminal_has_none(node: &Node) -> Outcome {
    let hook = exec("for n in 0 1 2; do test -t $n && echo $n is a terminal; done; echo done");
    let pod = node
        .pod("terminal")
        .lifecycle("main", &json!({"postStart": hook}).to_string())
        .run()?;
    let container = pod
        .container("main")
        .config(|config| config.tty = true)
        .command(&["sh", "-c", "test -t 1 && exec sleep 600"])
        .start()?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    let hook = container.recorded()?.hook("postStart")?;
    assert_eq!(hook.text("/output"), "done\n");
    Ok(())
}

fn a_hooks_output_is_kept_to_its_last_four_kibibytes(node: &Node) -> Outcome {
    let script = "head -c 20000000 /dev/zero | tr '\\0' x; printf '\\377\\033[31m'; echo the end";
    let lifecycle = json!({"postStart": exec(script)}).to_string();
    let container = node
        .container("much")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let hook = container.recorded()?.hook("postStart")?;
    let output = hook.text("/output");
    assert!(
        output.starts_with("xxxx") || output.starts_with("…xxx"),
        "{output}"
    );
    assert!(output.ends_with("the end\n"), "{output}");
    // A byte that is no UTF-8 becomes a character of three.
    assert!((4000..=4100).contains(&output.len()), "{}", output.len());
    Ok(())
}

fn a_hook_is_no_exec_to_clients(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": exec("true"), "preStop": held(&trace, "hook")?});
    let container = node
        .container("silent")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    trace.wait("hook-begin")?;
    let table = node.ctr().run(&["task", "ps", container.id()])?;
    assert!(!table.contains("xec"), "{table}");
    trace.release("hook")?;
    container.wait_exit(SOON)?;
    container.has_events(["create", "start", "exit"]);
    Ok(())
}
