//! Files of the image that are not what they are called.

use std::fs;
use std::future::pending;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;
use std::time::Duration;

use podhook_hooks::handler::{Outcome, exec};
use serde_json::json;

use crate::support::bundle::TestContainer;
use crate::support::{Config, children, in_time, run, strings};

/// HOME of an exec, which the engine reads from this container's /etc/passwd.
async fn home(container: &TestContainer) -> String {
    let ran = container.engine_exec(&["sh", "-c", "echo $HOME"]).await;
    ran.unwrap().ok().stdout.trim().to_string()
}

/// runc reads what it finds, as long as it takes.
#[tokio::test]
async fn a_passwd_that_is_no_file_is_no_passwd() {
    let container = Config::default().start();
    let passwd = container.rootfs().join("etc/passwd");
    assert_eq!(home(&container).await, "/root");
    let path = passwd.to_str().unwrap();
    for make in [
        &["mkfifo", path][..],
        &["mknod", path, "c", "1", "5"],
        &["mknod", path, "c", "5", "0"],
        &["mkdir", path],
        &["ln", "-s", "passwd", path],
        &["ln", "-s", "/proc/self/fd/0", path],
        &["ln", "-s", "/proc/self/environ", path],
        &["ln", "-s", "/proc/kmsg", path],
    ] {
        let _ = fs::remove_file(&passwd).or_else(|_| fs::remove_dir(&passwd));
        run(Command::new(make[0]).args(&make[1..])).ok();
        let home = in_time("the look at passwd", home(&container)).await;
        assert_eq!(home, "/", "{make:?}");
    }
}

#[tokio::test]
async fn a_passwd_of_a_gigabyte_is_not_read_to_its_end() {
    let container = Config::default().start();
    let path = container.rootfs().join("etc/passwd");
    let passwd = fs::File::create(&path).unwrap();
    // Holes cost the image nothing; the entry at the end is beyond what is read.
    passwd.set_len(1 << 30).unwrap();
    use std::os::unix::fs::FileExt;
    passwd
        .write_at(b"\nroot:x:0:0::/late:/bin/sh\n", 1 << 30)
        .unwrap();
    let ran = container.engine_exec(&["sh", "-c", "echo $HOME"]).await;
    let ran = ran.unwrap().ok();
    assert_eq!(ran.stdout, "/\n");
    // 16 MiB at the most.
    let cpu = ran.exit.cpu_user + ran.exit.cpu_system;
    assert!(cpu < Duration::from_secs(5), "{cpu:?}");
}

/// What stands in the way of a lookup is passed over, or refused; nothing is waited for.
#[tokio::test]
async fn a_path_with_hostile_entries() {
    let container = Config::default().start();
    let root = container.rootfs();
    for dir in ["a", "b/tool", "c", "d", "e"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    run(Command::new("mkfifo").arg(root.join("a/tool"))).ok();
    symlink("tool", root.join("c/tool")).unwrap();
    fs::write(root.join("d/tool"), "not executable").unwrap();
    symlink("/proc/self/exe", root.join("e/exe")).unwrap();
    symlink("../bin/busybox", root.join("e/echo")).unwrap();
    let mut process = container.bundle_process();
    let mut env = |path: &str| process["env"] = json!([format!("PATH={path}")]);
    env("/a:/b:/c:/d:/etc/passwd:/proc/self/fd/3:/proc/1/root/e:/e:\u{7f}:");
    let error = container.engine_exec_with(&process, &["tool"]).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with("executable file not found in $PATH"),
        "{error}"
    );
    // The engine's program itself, through /proc/self/exe: whether it can run there at all differs.
    match container.engine_exec_with(&process, &["exe"]).await {
        Ok(ran) => assert_ne!(ran.exit.code(), Some(0), "{ran:?}"),
        Err(error) => assert!(error.to_string().starts_with("exec exe: "), "{error}"),
    }
    let ran = container
        .engine_exec_with(&process, &["echo", "found"])
        .await;
    assert_eq!(ran.unwrap().ok().stdout, "found\n");
}

/// CVE-2024-21626: a working directory that leads through a descriptor of who joins, by itself or by a link.
#[tokio::test]
async fn a_working_directory_leads_to_no_descriptor() {
    let container = Config::default().start();
    let _open: Vec<_> = (0..20).map(|_| fs::File::open("/").unwrap()).collect();
    for number in 3..40 {
        let link = container.rootfs().join("w");
        let _ = fs::remove_file(&link);
        symlink(format!("/proc/self/fd/{number}"), &link).unwrap();
        for cwd in ["/w", &format!("/proc/self/fd/{number}")] {
            let mut process = container.bundle_process();
            process["cwd"] = json!(cwd);
            let ran = container.engine_exec_with(&process, &["pwd"]).await;
            let error = ran.unwrap_err().to_string();
            assert!(error.starts_with("chdir to cwd"), "{number}: {error}");
        }
    }
}

/// CVE-2025-31133, CVE-2025-52565: what a container calls /dev/null is not used, nor is its /dev/pts.
#[tokio::test]
async fn a_replaced_dev_null_is_not_used() {
    let container = Config::default().start();
    let dev = format!("/proc/{}/root/dev", container.pid);
    for replace in [
        "rm -f null; echo mine > null",
        "rm -f null; ln -s /proc/sys/kernel/core_pattern null",
        "rm -f null; mkfifo null",
        "rm -f null; mknod null c 1 5",
    ] {
        run(Command::new("sh").args(["-c", &format!("cd {dev} && {replace}")])).ok();
        let script = "stat -L -c '%t:%T %s' /proc/self/fd/0; cat; echo end";
        let command = strings(&["/bin/sh", "-c", script]);
        let result = exec::run(&container.container, &command, &children(), pending(), None).await;
        assert_eq!(result.outcome, Outcome::Succeeded, "{replace}: {result:?}");
        let output = String::from_utf8(result.output).unwrap();
        assert_eq!(output, "1:3 0\nend\n", "{replace}");
    }
    let mine = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    assert!(!mine.contains("end"), "{mine}");
}

/// What the node's /dev/null is, put back at the end.
struct NodesNull(fs::Metadata);

impl NodesNull {
    fn now() -> (u32, u32, i64, i64) {
        let now = fs::metadata("/dev/null").unwrap();
        (now.mode(), now.uid(), now.mtime(), now.ctime())
    }
}

impl Drop for NodesNull {
    fn drop(&mut self) {
        let file = fs::File::open("/dev/null").unwrap();
        std::os::unix::fs::fchown(&file, Some(self.0.uid()), Some(self.0.gid())).unwrap();
        file.set_permissions(self.0.permissions()).unwrap();
    }
}

/// A hook's stdin was the node's own /dev/null: `chmod 0600 /proc/self/fd/0` took it from every other user.
#[tokio::test]
async fn a_hook_that_changes_its_stdin_changes_nothing_of_the_node() {
    let container = Config::default().start();
    let _node = NodesNull(fs::metadata("/dev/null").unwrap());
    let before = NodesNull::now();
    for change in ["chmod 0667", "chown 0:7", "touch -d 2001-01-01"] {
        let script = format!("busybox {change} /proc/self/fd/0 2>&1");
        let command = strings(&["/bin/sh", "-c", &script]);
        let result = exec::run(&container.container, &command, &children(), pending(), None).await;
        let output = String::from_utf8(result.output).unwrap();
        assert_eq!(NodesNull::now(), before, "{change}: {output}");
        assert!(
            output.contains("Read-only file system"),
            "{change}: {output}"
        );
    }
    // And it is called as runc's is.
    let ran = hook_output(&container, "busybox readlink /proc/self/fd/0").await;
    assert_eq!(ran, "/dev/null\n");
    // /dev/stdin can be opened, to write as well.
    let ran = hook_output(
        &container,
        "echo gone > /proc/self/fd/0; cat /proc/self/fd/0; echo end",
    );
    assert_eq!(ran.await, "end\n");
}

async fn hook_output(container: &TestContainer, script: &str) -> String {
    let command = strings(&["/bin/sh", "-c", script]);
    let result = exec::run(&container.container, &command, &children(), pending(), None).await;
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
    String::from_utf8(result.output).unwrap()
}

/// CVE-2019-5736: the command is the engine's own program. Here it is this test's, which the container may
/// execute but does not own; integration/tests/hooks/hostile.rs does it to the shim.
#[tokio::test]
async fn a_command_that_is_the_engines_own_program_runs_with_the_containers_rights() {
    let container = Config::default()
        .set("/process/capabilities", json!({}))
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .start();
    let script = container.rootfs().join("bin/self");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).unwrap();
    // A dynamic program of the host finds no loader in the container, a static one finds itself restricted.
    match container.engine_exec(&["/bin/self"]).await {
        Ok(ran) => assert_ne!(ran.exit.code(), Some(0), "{ran:?}"),
        Err(error) => assert!(error.to_string().starts_with("exec /bin/self"), "{error}"),
    }
}
