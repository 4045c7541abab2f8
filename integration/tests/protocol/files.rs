//! Files, sockets and environments: owner, mode, links, and what is handed on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::thread;

use containerd_shim_protos::api::CreateTaskResponse;
use containerd_shim_protos::protobuf::Message;
use nix::sys::stat::{Mode, umask};
use podhook_integration::Outcome;
use podhook_integration::wait::{self, SOON};
use serde_json::json;

use crate::Test;
use crate::client::Client;
use crate::podhook_only;
use crate::stage::{Failure, Kind, Stage};
use crate::start::output;
use crate::stdio::{Stdio, request, run};
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![files:
        what_the_shim_makes_is_no_wider_than_the_originals,
        a_log_file_may_be_a_link_of_roots,
        an_oci_hook_has_the_environment_that_the_original_gives,
        another_user_is_no_client,
    ];
    all.extend(podhook_only(tests![files:
        a_log_file_is_no_link_of_a_users,
        a_link_in_the_bundle_is_not_written_through,
    ]));
    all
}

/// Whatever is below `folder` but links: its name and its mode.
fn modes(folder: &Path, all: &mut BTreeMap<String, u32>) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // What is in the root file system is the image's.
        if metadata.is_dir() && name != "rootfs" {
            modes(&entry.path(), all)?;
        }
        if !metadata.is_symlink() {
            assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{name}");
            all.insert(name, metadata.mode() & 0o7777);
        }
    }
    Ok(())
}

/// `start` by somebody with this umask.
fn start_with(stage: &Stage, id: &str, mask: u32) -> Result<Client, Failure> {
    let mut command = stage.command(id)?;
    command.args(["-debug", "start"]);
    // SAFETY: umask(2) is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            umask(Mode::from_bits_truncate(mask));
            Ok(())
        });
    }
    stage.connect(&output(&mut command, &stage.start_input(id, b"")?)?)
}

/// What the originals give each file and folder where the umask takes nothing away. podhook has the same or less.
const ORIGINAL: [(&str, u32); 10] = [
    // Of containerd 1.x.
    ("address", 0o666),
    ("options.json", 0o600),
    ("runtime", 0o600),
    ("exit.json", 0o600),
    ("deep", 0o755),
    ("er", 0o755),
    ("c1.log", 0o644),
    ("rootfs", 0o755),
    // The OCI runtime's own.
    ("init.pid", 0o666),
    ("log.json", 0o644),
];

/// podhook's own, where they are others.
const OURS: [(&str, u32); 3] = [
    ("address", 0o600),
    ("deleted", 0o600),
    ("runtime.lock", 0o400),
];

fn what_the_shim_makes_is_no_wider_than_the_originals(stage: &Stage) -> Outcome {
    for (id, mask) in [("c0", 0), ("c77", 0o077)] {
        stage.make_bundle(id, &stage.spec(id, &["echo", "said"]))?;
        let mut before = BTreeMap::new();
        modes(&stage.bundle(id), &mut before)?;
        let client = start_with(stage, id, mask)?;
        let socket = client.address().trim_start_matches("unix://").to_owned();
        assert_eq!(fs::metadata(&socket)?.mode() & 0o777, 0o600);
        let folder = Path::new(&socket).parent().ok_or("no folder")?;
        assert_eq!(
            fs::metadata(folder)?.mode() & 0o022,
            0,
            "{}",
            folder.display()
        );
        let logs = stage.dir().join(format!("logs-{id}"));
        fs::create_dir(&logs)?;
        let uri = format!("file://{}", logs.join("deep/er/c1.log").display());
        let stdio = Stdio {
            stdin: "",
            stdout: &uri,
            stderr: "",
        };
        run(stage, &client, id, &stdio)?;
        client.wait(id, "")?;
        client.delete(id, "")?;
        let mut found = BTreeMap::new();
        modes(&stage.bundle(id), &mut found)?;
        modes(&logs, &mut found)?;
        client.shutdown(id);
        stage.wait_gone(id)?;
        // The original of 2.4 writes exit.json under a number first.
        let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        found.retain(|name, _| !before.contains_key(name) && !is_number(name));
        assert!(found.len() >= 5, "{found:?}");
        for (name, mode) in &found {
            let of = |table: &[(&str, u32)]| {
                let mut rows = table.iter();
                rows.find(|(file, _)| file == name).map(|(_, mode)| *mode)
            };
            let original = of(&ORIGINAL);
            let expected = match stage.kind {
                Kind::Podhook => of(&OURS).or(original),
                Kind::Go(_) => original,
            };
            let expected = expected.ok_or_else(|| format!("{name} is new: {mode:o}"))?;
            assert_eq!(
                format!("{mode:o}"),
                format!("{:o}", expected & !mask),
                "{name}"
            );
            assert_eq!(expected & !original.unwrap_or(0o600), 0, "{name}");
        }
    }
    Ok(())
}

/// Creates a container whose output goes to the file `log`.
fn to_file(stage: &Stage, id: &str, log: &Path) -> Result<Client, Failure> {
    let client = stage.shim(id, &["echo", "said"])?;
    let uri = format!("file://{}", log.display());
    let stdio = Stdio {
        stdin: "",
        stdout: &uri,
        stderr: "",
    };
    let created = client.call::<CreateTaskResponse>("Create", &request(stage, id, &stdio));
    match created {
        Ok(_) => client.start(id, "").map(|_| ())?,
        Err(error) => {
            assert!(error.message.contains("symbolic links"), "{error}");
            assert_eq!(stage.left_of(id), [""; 0]);
            client.shutdown(id);
            stage.wait_gone(id)?;
            return Err(Box::new(error));
        }
    }
    client.wait(id, "")?;
    Ok(client)
}

fn a_log_file_may_be_a_link_of_roots(stage: &Stage) -> Outcome {
    let (log, real) = (stage.dir().join("link.log"), stage.dir().join("real.log"));
    symlink(&real, &log)?;
    let client = to_file(stage, "c1", &log)?;
    client.end("c1")?;
    assert_eq!(fs::read_to_string(real)?, "said\n");
    Ok(())
}

/// The original appends to whatever file of the node the user has chosen.
fn a_log_file_is_no_link_of_a_users(stage: &Stage) -> Outcome {
    const USER: u32 = 1000;
    let folder = stage.dir().join("home");
    let victim = stage.dir().join("victim");
    fs::create_dir(&folder)?;
    fs::write(&victim, "kept")?;
    let log = folder.join("container.log");
    symlink(&victim, &log)?;
    lchown(&log, Some(USER), Some(USER))?;
    chown(&folder, Some(USER), Some(USER))?;
    assert!(to_file(stage, "c1", &log).is_err(), "the link was followed");
    assert_eq!(fs::read_to_string(&victim)?, "kept");
    // Nor one to a file that is not there yet.
    fs::remove_file(&victim)?;
    assert!(to_file(stage, "c2", &log).is_err(), "the link was followed");
    assert!(!victim.exists());
    fs::remove_file(&log)?;
    let client = to_file(stage, "c3", &log)?;
    client.end("c3")?;
    assert_eq!(fs::read_to_string(&log)?, "said\n");
    Ok(())
}

fn a_link_in_the_bundle_is_not_written_through(stage: &Stage) -> Outcome {
    let victim = stage.dir().join("victim");
    fs::write(&victim, "kept")?;
    for name in ["address", "options.json", "runtime", "log"] {
        let id = format!("c-{}", name.replace('.', "-"));
        stage.make_bundle(&id, &stage.spec(&id, &["true"]))?;
        let path = stage.bundle(&id).join(name);
        let _ = fs::remove_file(&path);
        symlink(&victim, &path)?;
        // What the shim cannot make fails the request; the log it does without.
        if let Ok(client) = stage.start(&id, None) {
            match client.run(stage, &id) {
                Ok(_) => client.end(&id)?,
                Err(_) => client.shutdown(&id),
            }
            stage.wait_gone(&id)?;
        }
        assert_eq!(fs::read_to_string(&victim)?, "kept", "{name}");
    }
    Ok(())
}

/// What the original gives its children besides.
const GO_ONLY: [&str; 2] = ["GOMAXPROCS", "OTEL_SERVICE_NAME"];

fn an_oci_hook_has_the_environment_that_the_original_gives(stage: &Stage) -> Outcome {
    let (program, seen) = (stage.dir().join("hook"), stage.dir().join("environ"));
    let script = format!("#!/bin/sh\ncat /proc/$$/environ > {}\n", seen.display());
    fs::write(&program, script)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let mut spec = stage.spec("c1", &["true"]);
    spec.0["hooks"] = json!({"createRuntime": [{"path": program}]});
    stage.make_bundle("c1", &spec)?;
    let mut command = stage.command("c1")?;
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("TTRPC_ADDRESS", stage.daemon().path())
        .env("MAX_SHIM_VERSION", "2")
        .env("HTTP_PROXY", "http://proxy")
        .env("NOTIFY_SOCKET", "/run/none")
        .args(["-debug", "start"]);
    let client = stage.connect(&output(&mut command, &stage.start_input("c1", b"")?)?)?;
    client.run(stage, "c1")?;
    client.wait("c1", "")?;
    let environ = fs::read_to_string(&seen)?;
    let names = environ.split('\0').filter_map(|line| line.split_once('='));
    let names: BTreeSet<_> = names
        .map(|(name, _)| name)
        .filter(|name| stage.kind == Kind::Podhook || !GO_ONLY.contains(name))
        .collect();
    let given = ["HTTP_PROXY", "MAX_SHIM_VERSION", "PATH", "TTRPC_ADDRESS"];
    assert_eq!(names, BTreeSet::from(given), "{environ:?}");
    Ok(client.end("c1")?)
}

/// Whether a user who connects to the socket gets an answer.
fn answers(socket: &Path, user: libc::uid_t) -> Result<bool, Failure> {
    let socket = socket.to_owned();
    let asked = thread::spawn(move || {
        // The call and not libc's function, which would change all threads.
        for call in [libc::SYS_setresgid, libc::SYS_setresuid] {
            // SAFETY: integers only.
            if unsafe { libc::syscall(call, user, user, user) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        let Ok(mut stream) = UnixStream::connect(socket) else {
            return Ok(false);
        };
        // A request for a service that is not there has an answer, too.
        let request = ttrpc::Request {
            service: "nobody".to_owned(),
            method: "None".to_owned(),
            ..Default::default()
        };
        let body = request.write_to_bytes().map_err(std::io::Error::other)?;
        let length = u32::try_from(body.len()).unwrap_or_default();
        let mut message = length.to_be_bytes().to_vec();
        message.extend([0, 0, 0, 1, 1, 0]);
        message.extend(body);
        let sent = stream.write_all(&message);
        let mut answer = [0; 10];
        Ok(sent.is_ok() && stream.read_exact(&mut answer).is_ok())
    });
    Ok(asked.join().map_err(|_| "panicked")??)
}

/// Not even where the modes of folder and socket would let it.
fn another_user_is_no_client(stage: &Stage) -> Outcome {
    const USER: libc::uid_t = 1000;
    let client = stage.shim("c1", &["sleep", "600"])?;
    let socket = Path::new(client.address().trim_start_matches("unix://")).to_owned();
    assert!(answers(&socket, 0)?);
    assert!(!answers(&socket, USER)?);
    // The same socket by a path that everybody may go.
    let open = stage.dir().join("open");
    fs::set_permissions(stage.dir(), Permissions::from_mode(0o755))?;
    fs::create_dir(&open)?;
    let linked = open.join("s");
    let _ = fs::hard_link(&socket, &linked);
    if linked.exists() {
        fs::set_permissions(&linked, Permissions::from_mode(0o666))?;
        assert!(answers(&linked, 0)?);
        assert!(!answers(&linked, USER)?, "a user was served");
        fs::set_permissions(&linked, Permissions::from_mode(0o600))?;
        fs::remove_file(&linked)?;
    } else {
        assert_ne!(stage.kind, Kind::Podhook, "no other name for the socket");
    }
    client.shutdown("c1");
    stage.wait_gone("c1")?;
    wait::until_true("the socket to be gone", SOON, || !socket.exists())?;
    Ok(())
}
