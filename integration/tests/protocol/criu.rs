//! Checkpoint and restore.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse, Status};
use containerd_shim_protos::events::task::TaskCreate;
use containerd_shim_protos::shim::oci::{CheckpointOptions, Options};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Outcome};
use ttrpc::Code;

use crate::Test;
use crate::client::{Client, create_request};
use crate::podhook_only;
use crate::stage::{Failure, Kind, Stage, any};
use crate::tests;
use crate::unless;

pub fn tests() -> Vec<Test> {
    let mut all = tests![criu:
        the_runtime_is_told_everything,
        a_failed_checkpoint_says_where_crius_log_is,
        a_restore_that_was_only_prepared_is_deleted,
        a_failed_restore_can_be_deleted,
    ];
    all.extend(unless(
        tests![criu: a_checkpoint_builds_on_the_images_of_its_parent],
        |kind| match kind {
            Kind::Go(generation) if generation < Generation::V2_4 => {
                Some("the original has parent_path from 2.4 on")
            }
            _ => None,
        },
    ));
    all.extend(podhook_only(
        tests![criu: checkpoint_options_of_another_type_are_refused],
    ));
    all
}

/// Those for which CRIU must work on this kernel.
pub fn live() -> Vec<Test> {
    tests![criu:
        a_container_goes_on_where_it_was,
        a_container_can_go_on_after_its_checkpoint,
    ]
}

/// Counts in a file, and says so on stdout.
const COUNTER: [&str; 3] = [
    "sh",
    "-c",
    "n=0; while :; do n=$((n+1)); echo $n > /tmp/n; usleep 20000; done",
];

/// A runtime that notes its arguments and does nothing for `verb`; restore writes a pid file, as it should.
fn pretending(stage: &Stage, verb: &str, then: &str) -> Result<(Options, PathBuf), Failure> {
    let (binary_name, calls) =
        stage.recording_runtime(&format!("case \" $* \" in *' {verb} '*) {then};; esac"))?;
    Ok((
        Options {
            binary_name,
            ..Default::default()
        },
        calls,
    ))
}

fn with_options(stage: &Stage, id: &str, options: &Options) -> CreateTaskRequest {
    CreateTaskRequest {
        options: Some(any(options)).into(),
        ..create_request(stage, id)
    }
}

/// The last call, without what comes before its verb.
fn last_of(calls: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(calls)?;
    let line = text.lines().last().unwrap_or_default();
    let (_, call) = line.split_once(" --log-format json ").unwrap_or_default();
    Ok(call.to_owned())
}

fn a_checkpoint_builds_on_the_images_of_its_parent(stage: &Stage) -> Outcome {
    let (options, calls) = pretending(stage, "checkpoint", "exit 0")?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    let _: CreateTaskResponse = client.call("Create", &with_options(stage, "c1", &options))?;
    client.start("c1", "")?;
    let mut with_parent = CheckpointOptions {
        exit: true,
        work_path: "/work".into(),
        ..Default::default()
    };
    // parent_path, which is newer than the messages here.
    let fields = with_parent.special_fields.mut_unknown_fields();
    fields.add_length_delimited(10, b"/parent".to_vec());
    client.checkpoint("c1", "/images", Some(any(&with_parent)))?;
    assert_eq!(
        last_of(&calls)?,
        "checkpoint --image-path /images --work-path /work --parent-path /parent c1"
    );
    Ok(client.end("c1")?)
}

fn the_runtime_is_told_everything(stage: &Stage) -> Outcome {
    let (options, calls) = pretending(stage, "checkpoint", "exit 0")?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    let _: CreateTaskResponse = client.call("Create", &with_options(stage, "c1", &options))?;
    client.start("c1", "")?;
    let last = || last_of(&calls);
    client.checkpoint("c1", "/images", None)?;
    let work = stage
        .bundle("c1")
        .join("work/criu-work")
        .display()
        .to_string();
    assert_eq!(
        last()?,
        format!("checkpoint --image-path /images --work-path {work} --leave-running c1")
    );
    let everything = CheckpointOptions {
        exit: true,
        open_tcp: true,
        external_unix_sockets: true,
        terminal: true,
        file_locks: true,
        empty_namespaces: vec!["network".into(), "ipc".into()],
        work_path: "/work".into(),
        ..Default::default()
    };
    client.checkpoint("c1", "/images", Some(any(&everything)))?;
    assert_eq!(
        last()?,
        "checkpoint --image-path /images --work-path /work --tcp-established --ext-unix-sk --shell-job --file-locks \
         --empty-ns network --empty-ns ipc c1"
    );
    Ok(client.end("c1")?)
}

fn checkpoint_options_of_another_type_are_refused(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let error = client
        .checkpoint("c1", "/none", Some(any(&Options::default())))
        .err()
        .ok_or("it was made")?;
    assert_eq!(error.code, Code::INVALID_ARGUMENT);
    let error = client
        .checkpoint("c1", "", None)
        .err()
        .ok_or("it was made")?;
    assert_eq!(
        error.message,
        "no path for the checkpoint's images: invalid argument"
    );
    Ok(client.end("c1")?)
}

fn a_failed_checkpoint_says_where_crius_log_is(stage: &Stage) -> Outcome {
    let fails = "w=; for a; do [ \"$l\" = --work-path ] && w=$a; l=$a; done; mkdir -p $w; echo why > $w/dump.log; \
                 echo 'criu failed: type NOTIFY errno 0' >&2; exit 1";
    let (options, _) = pretending(stage, "checkpoint", fails)?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    let _: CreateTaskResponse = client.call("Create", &with_options(stage, "c1", &options))?;
    client.start("c1", "")?;
    let error = client
        .checkpoint("c1", "/images", None)
        .err()
        .ok_or("it was made")?;
    let log = stage.bundle("c1").join("criu-dump.log");
    assert_eq!(error.code, Code::UNKNOWN);
    assert!(
        error.message.contains("criu failed: type NOTIFY errno 0"),
        "{error}"
    );
    assert!(
        error
            .message
            .ends_with(&format!(" path= {}", log.display())),
        "{error}"
    );
    assert_eq!(fs::read_to_string(log)?, "why\n");
    assert!(!stage.bundle("c1").join("work/criu-work").exists());
    // Nothing has become of the container.
    assert_eq!(
        client.state("c1", "")?.status.enum_value_or_default(),
        Status::RUNNING
    );
    Ok(client.end("c1")?)
}

/// Create from a checkpoint in a folder without images.
fn prepare(stage: &Stage, client: &Client, id: &str, options: &Options, images: &str) -> Outcome {
    let request = CreateTaskRequest {
        checkpoint: images.into(),
        ..with_options(stage, id, options)
    };
    let created: CreateTaskResponse = client.call("Create", &request)?;
    assert_eq!(created.pid, 0);
    let state = client.state(id, "")?;
    assert_eq!(
        (state.status.enum_value_or_default(), state.pid),
        (Status::CREATED, 0)
    );
    let event: TaskCreate = stage.daemon().wait("create", SOON)?.body();
    assert_eq!((event.checkpoint.as_str(), event.pid), (images, 0));
    assert!(
        client.stats(id).is_err() && client.exec(id, "e", &["true"]).is_err()
            || stage.kind == Kind::Podhook
    );
    Ok(())
}

fn a_restore_that_was_only_prepared_is_deleted(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    prepare(stage, &client, "c1", &Options::default(), "/no/images")?;
    assert_eq!(client.connect_rpc("c1")?.task_pid, 0);
    assert!(client.kill("c1", "", 9, false).is_err());
    let deleted = client.delete("c1", "")?;
    assert_eq!((deleted.pid, deleted.exit_status), (0, 0));
    client.shutdown("c1");
    Ok(())
}

fn a_failed_restore_can_be_deleted(stage: &Stage) -> Outcome {
    let (options, calls) = pretending(stage, "restore", "echo 'no such image' >&2; exit 1")?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    prepare(
        stage,
        &client,
        "c1",
        &Options {
            criu_work_path: "/criu".into(),
            no_pivot_root: true,
            ..options
        },
        "/images",
    )?;
    let started = client.start("c1", "");
    let text = fs::read_to_string(calls)?;
    let line = text
        .lines()
        .find(|line| line.contains(" restore "))
        .ok_or("no restore")?;
    let args = line.split_once(" --log-format json ").unwrap_or_default().1;
    let bundle = stage.bundle("c1").display().to_string();
    let args = args.replace(" -no-subreaper ", " --no-subreaper ");
    assert_eq!(
        args,
        format!(
            "restore --image-path /images --work-path /criu --detach --pid-file {bundle}/init.pid --no-pivot \
             --no-subreaper --bundle {bundle} c1"
        )
    );
    let error = started.err().ok_or("it started")?;
    // The original looks at the error of calling runc, and not at runc's exit status: it finds no pid.
    let words = match stage.kind {
        Kind::Podhook => "OCI runtime restore failed: ",
        Kind::Go(_) => "",
    };
    assert!(error.message.starts_with(words), "{error}");
    client.delete("c1", "")?;
    client.shutdown("c1");
    Ok(())
}

fn count(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/root/tmp/n")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn images(stage: &Stage) -> Result<String, Failure> {
    let path = stage.dir().join("images");
    fs::create_dir(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    Ok(path.display().to_string())
}

fn a_container_goes_on_where_it_was(stage: &Stage) -> Outcome {
    let images = images(stage)?;
    let client = stage.shim("c1", &COUNTER)?;
    let pid = client.run(stage, "c1")?;
    wait::until_true("a count of 20", SOON, || count(pid) >= 20)?;
    client.checkpoint(
        "c1",
        &images,
        Some(any(&CheckpointOptions {
            exit: true,
            ..Default::default()
        })),
    )?;
    // It has ended as if killed; CRIU has its memory.
    assert_eq!(client.wait("c1", "")?.exit_status, 137);
    client.delete("c1", "")?;
    // The original of 2.4 sends an exit late, and with Shutdown never.
    let exits = |topics: &[String]| topics.iter().filter(|topic| *topic == "exit").count();
    let exits = |number| {
        wait::until_true("the exits", SOON, || {
            exits(&stage.daemon().topics()) == number
        })
    };
    exits(1)?;
    client.shutdown("c1");
    stage.wait_gone("c1")?;

    let client = stage.shim("c2", &COUNTER)?;
    let request = CreateTaskRequest {
        checkpoint: images,
        ..create_request(stage, "c2")
    };
    let _: CreateTaskResponse = client.call("Create", &request)?;
    let restored = client.start("c2", "")?.pid;
    assert_eq!(
        client.state("c2", "")?.status.enum_value_or_default(),
        Status::RUNNING
    );
    // Not from the beginning.
    assert!(count(restored) >= 20, "{}", count(restored));
    let before = count(restored);
    wait::until_true("the count to go on", SOON, || count(restored) > before)?;
    // It is a container as any other.
    client.exec("c2", "e", &["sh", "-c", "exit 3"])?;
    client.start("c2", "e")?;
    assert_eq!(client.wait("c2", "e")?.exit_status, 3);
    if !matches!(stage.kind, Kind::Go(generation) if generation >= Generation::V2_3) {
        // The originals since 2.3 do not find the cgroup of one that was restored.
        client.stats("c2")?;
    }
    client.pause("c2")?;
    client.resume("c2")?;
    client.kill("c2", "", 9, false)?;
    assert_eq!(client.wait("c2", "")?.exit_status, 137);
    client.delete("c2", "e")?;
    client.delete("c2", "")?;
    exits(3)?;
    client.shutdown("c2");
    Ok(())
}

fn a_container_can_go_on_after_its_checkpoint(stage: &Stage) -> Outcome {
    let images = images(stage)?;
    let client = stage.shim("c1", &COUNTER)?;
    let pid = client.run(stage, "c1")?;
    client.checkpoint("c1", &images, None)?;
    assert!(
        fs::read_dir(&images)?
            .flatten()
            .any(|file| file.file_name() == "inventory.img")
    );
    let before = count(pid);
    wait::until_true("the count to go on", SOON, || count(pid) > before)?;
    assert!(!stage.bundle("c1").join("work/criu-work").exists());
    Ok(client.end("c1")?)
}
