//! Containers that want the shim's binary (CVE-2019-5736): ctr's, and those of a pod without a pause container, whose
//! processes see each other and the holder. What else a container may try is tested on the engine itself, in
//! `hooks/tests/exec_hostile`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use podhook_integration::shim::podhook_shim;
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, ShimKind, tests};
use sha2::{Digest, Sha256};

pub fn tests() -> Vec<Test> {
    tests![hostile:
        a_container_that_catches_the_shim_can_neither_write_nor_run_it,
        a_program_that_leads_to_the_shim_is_refused,
    ]
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Executes a command in the container: its status, and what it or who could not start it said.
type Exec<'a> = &'a dyn Fn(&[&str]) -> Result<(i32, String), Error>;

/// What a hostile container has beside its program.
#[derive(Default)]
struct More<'a> {
    path: Option<&'a str>,
    ptrace: bool,
}

/// Runs it, and `attack` while it runs. It is killed then.
fn in_container(
    node: &Node,
    trace: &Trace,
    command: &[&str],
    more: More<'_>,
    attack: impl FnOnce(Exec<'_>) -> Outcome,
) -> Outcome {
    if node.shim() == ShimKind::Pauseless {
        return in_pod(node, trace, command, more, attack);
    }
    let mut container = node.container("hostile").flag(["--mount", &trace.mount()]);
    if more.ptrace {
        container = container.flag(["--cap-add", "CAP_SYS_PTRACE"]);
    }
    if let Some(path) = more.path {
        container = container.flag(["--env", &format!("PATH={path}")]);
    }
    let container = container.start(command)?;
    attack(&|words| {
        let ended = container.exec(words)?;
        Ok((ended.status, ended.stderr))
    })?;
    container.kill("SIGKILL")?;
    container.wait_exit(SOON)?;
    Ok(())
}

fn in_pod(
    node: &Node,
    trace: &Trace,
    command: &[&str],
    more: More<'_>,
    attack: impl FnOnce(Exec<'_>) -> Outcome,
) -> Outcome {
    let pod = node.pod("hostile").shared_pid().run()?;
    let mut container = pod
        .container("main")
        .shared_pid()
        .host_path(trace.dir(), "/trace")
        .command(command);
    if more.ptrace {
        container = container.config(|config| {
            let linux = config.linux.get_or_insert_default();
            let security = linux.security_context.get_or_insert_default();
            let capabilities = security.capabilities.get_or_insert_default();
            capabilities.add_capabilities = vec!["SYS_PTRACE".to_owned()];
        });
    }
    if let Some(path) = more.path {
        container = container.env("PATH", path);
    }
    let container = container.start()?;
    attack(&|words| match container.exec_within(60, words) {
        Ok(ended) => {
            let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
            Ok((ended.exit_code, stderr))
        }
        Err(refused) => Ok((-1, refused.message().to_owned())),
    })?;
    assert_eq!(pod.state()?, "SANDBOX_READY");
    container.stop(0)?;
    Ok(())
}

fn digest(path: &Path) -> std::io::Result<Vec<u8>> {
    Ok(Sha256::digest(fs::read(path)?).to_vec())
}

fn a_container_that_catches_the_shim_can_neither_write_nor_run_it(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hooks/overwriter.c");
    let built = Command::new("gcc")
        .args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(trace.dir().join("overwriter"))
        .arg(source)
        .status()?;
    assert!(built.success());
    let before = digest(&podhook_shim()?)?;
    // A long way from joining to the command, to be caught on.
    let dirs: Vec<_> = (0..6000).map(|n| format!("/nowhere/{n}")).collect();
    let path = format!("{}:/bin", dirs.join(":"));
    let more = More {
        path: Some(&path),
        ptrace: true,
    };
    let results = || fs::read_to_string(trace.dir().join("result")).unwrap_or_default();
    let caught = || {
        let results = results();
        let lines = results.lines();
        lines.filter(|line| line.starts_with("execute ")).count()
    };
    let command = ["/trace/overwriter", "/trace/result"];
    in_container(node, &trace, &command, more, |exec| {
        let mut tries = 0;
        while caught() < 5 {
            let ended = exec(&["true"])?;
            assert_eq!(ended.0, 0, "{ended:?}");
            tries += 1;
            assert!(tries < 100, "the shim was not caught: {}", results());
        }
        Ok(())
    })?;
    let results = results();
    let errors = |attempt: &str| -> Vec<i32> {
        results
            .lines()
            .filter_map(|line| line.strip_prefix(attempt)?.strip_prefix(' ')?.parse().ok())
            .collect()
    };
    assert!(
        errors("read").contains(&0),
        "it was not even opened: {results}"
    );
    for attempt in ["mode", "mode-by-name"] {
        assert!(!errors(attempt).is_empty());
        assert!(
            errors(attempt).iter().all(|&errno| errno == libc::EROFS),
            "{results}"
        );
    }
    // Read-only, or busy: the kernel looks at that first.
    let busy = [libc::EROFS, libc::ETXTBSY];
    assert!(
        errors("write").iter().all(|errno| busy.contains(errno)),
        "{results}"
    );
    assert!(
        errors("execute").iter().all(|&errno| errno == libc::EACCES),
        "{results}"
    );
    assert_eq!(digest(&podhook_shim()?)?, before);
    Ok(())
}

fn a_program_that_leads_to_the_shim_is_refused(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let script = trace.dir().join("script");
    fs::write(&script, "#!/proc/self/exe\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    std::os::unix::fs::symlink("/proc/self/exe", trace.dir().join("link"))?;
    let command = ["sleep", "6000"];
    in_container(node, &trace, &command, More::default(), |exec| {
        for program in ["/trace/script", "/trace/link", "/proc/self/exe"] {
            let (status, said) = exec(&[program])?;
            assert_ne!(status, 0, "{program}");
            assert!(said.contains("permission denied"), "{program}: {said}");
        }
        assert_eq!(exec(&["true"])?.0, 0);
        Ok(())
    })
}
