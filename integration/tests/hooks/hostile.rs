//! Containers that want the shim's binary (CVE-2019-5736). What else a container may try is tested on the
//! engine itself, in `hooks/tests/exec_hostile`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use podhook_integration::shim::podhook_shim;
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use sha2::{Digest, Sha256};

pub fn tests() -> Vec<Test> {
    tests![hostile:
        a_container_that_catches_the_shim_can_neither_write_nor_run_it,
        a_program_that_leads_to_the_shim_is_refused,
    ]
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
    let path = format!("PATH={}:/bin", dirs.join(":"));
    let container = node
        .container("writer")
        .flag(["--mount", &trace.mount()])
        .flag(["--cap-add", "CAP_SYS_PTRACE"])
        .flag(["--env", &path])
        .start(&["/trace/overwriter", "/trace/result"])?;
    let results = || fs::read_to_string(trace.dir().join("result")).unwrap_or_default();
    let mut tries = 0;
    while results()
        .lines()
        .filter(|line| line.starts_with("execute "))
        .count()
        < 5
    {
        assert_eq!(container.exec(&["true"])?.status, 0);
        tries += 1;
        assert!(tries < 100, "the shim was not caught: {}", results());
    }
    container.kill("SIGKILL")?;
    container.wait_exit(SOON)?;
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
    let container = node
        .container("leads")
        .flag(["--mount", &trace.mount()])
        .start(&["sleep", "6000"])?;
    for program in ["/trace/script", "/trace/link", "/proc/self/exe"] {
        let output = container.exec(&[program])?;
        assert_ne!(output.status, 0, "{program}");
        assert!(
            output.stderr.contains("permission denied"),
            "{program}: {}",
            output.stderr
        );
    }
    assert_eq!(container.exec(&["true"])?.status, 0);
    Ok(())
}
